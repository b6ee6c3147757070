//! The two ways to the engine that are compared, and what was seen on each.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::churn::ledger::lock;
use crate::churn::questions::Asked;
use crate::support::escache::verdict;

/// What came of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// The engine's answer, from the engine.
    Whole,
    /// The engine's answer, from the cache.
    Hit,
    /// An older answer that says so.
    Stale,
    /// Not of all shards.
    Partial,
    /// An error with this status; 0 where the connection broke.
    Error(u16),
    /// What the engine could not have answered.
    Wrong,
}

impl Came {
    pub(crate) fn of(asked: &Asked) -> Came {
        let Some(answer) = &asked.answer else { return Came::Error(0) };
        match verdict(&answer.headers).0 {
            _ if asked.judged.is_err() => Came::Wrong,
            _ if answer.status != 200 => Came::Error(answer.status),
            "HIT" => Came::Hit,
            "STALE" => Came::Stale,
            _ => {
                let shards = &answer.json()["_shards"];
                if shards["successful"] == shards["total"] { Came::Whole } else { Came::Partial }
            }
        }
    }

    /// Whether the client has what it wanted.
    fn serves(self) -> bool {
        matches!(self, Came::Whole | Came::Hit | Came::Stale)
    }
}

/// Who asked, and what came of it.
#[derive(Clone, Copy)]
pub(crate) struct Shot {
    pub(crate) client: usize,
    /// Whether the engine was bound to certain copies (`preference`).
    pub(crate) bound: bool,
    from: Instant,
    until: Instant,
    came: Came,
}

/// What clients of one way have seen.
#[derive(Clone, Default)]
pub(crate) struct Arm(Arc<Mutex<Vec<Shot>>>);

impl Arm {
    pub(crate) fn note(&self, client: usize, bound: bool, window: (Instant, Instant), came: Came) {
        lock(&self.0).push(Shot { client, bound, from: window.0, until: window.1, came });
    }

    /// How long those of its searches were waited for that were under way at some time of this one, with their share of
    /// those that took longer than `long`.
    pub(crate) fn waits(
        &self,
        time: (Instant, Instant),
        long: Duration,
        which: impl Fn(&Shot) -> bool,
    ) -> Waits {
        let shots = lock(&self.0);
        let met = shots.iter().filter(|shot| shot.until >= time.0 && shot.from <= time.1 && which(shot));
        let mut waits: Vec<Duration> = met.map(|shot| shot.until - shot.from).collect();
        waits.sort_unstable();
        Waits {
            searches: waits.len(),
            over: waits.iter().filter(|wait| **wait > long).count(),
            middle: waits.get(waits.len() / 2).copied().unwrap_or_default(),
            longest: waits.last().copied().unwrap_or_default(),
        }
    }

    /// How many came to this so far.
    pub(crate) fn count(&self, wanted: Came) -> usize {
        lock(&self.0).iter().filter(|shot| shot.came == wanted).count()
    }

    /// What was seen of searches that ended in this time, the fault having lasted for a part of it.
    pub(crate) fn figures(&self, all: (Instant, Instant), fault: (Instant, Instant)) -> Figures {
        let shots: Vec<Shot> = lock(&self.0).iter().filter(|shot| shot.until >= all.0).copied().collect();
        let count = |wanted: &dyn Fn(Came) -> bool| shots.iter().filter(|shot| wanted(shot.came)).count();
        let mut errors: Vec<(u16, usize)> = Vec::new();
        for shot in &shots {
            let Came::Error(status) = shot.came else { continue };
            match errors.iter_mut().find(|(known, _)| *known == status) {
                Some((_, count)) => *count += 1,
                None => errors.push((status, 1)),
            }
        }
        errors.sort_unstable();
        let longest = [false, true].map(|bound| {
            let waits = shots.iter().filter(|shot| shot.bound == bound);
            waits.map(|shot| shot.until - shot.from.max(all.0)).max()
        });
        let clients = shots.iter().map(|shot| shot.client + 1).max().unwrap_or_default();
        let mut without = Duration::ZERO;
        for client in 0..clients {
            let mut served: Vec<Instant> = shots
                .iter()
                .filter(|shot| shot.client == client && shot.came.serves())
                .map(|shot| shot.until)
                .collect();
            served.sort_unstable();
            let ends = [all.0].into_iter().chain(served.iter().copied());
            let next = served.iter().copied().chain([all.1]);
            without = ends
                .zip(next)
                .map(|(end, next)| next.saturating_duration_since(end))
                .fold(without, Duration::max);
        }
        let last = shots.iter().filter(|shot| !shot.came.serves()).map(|shot| shot.until).max();
        Figures {
            searches: shots.len(),
            hits: count(&|came| came == Came::Hit),
            stale: count(&|came| came == Came::Stale),
            partial: count(&|came| came == Came::Partial),
            wrong: count(&|came| came == Came::Wrong),
            errors,
            longest,
            without,
            recovery: last.map_or(Duration::ZERO, |last| last.saturating_duration_since(fault.1)),
        }
    }
}

/// What a drill has shown of one way.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) searches: usize,
    pub(crate) hits: usize,
    pub(crate) stale: usize,
    pub(crate) partial: usize,
    pub(crate) wrong: usize,
    /// By status; 0 is a broken connection.
    pub(crate) errors: Vec<(u16, usize)>,
    /// The longest wait for one answer, an error or not: of searches that are free, and of those that are bound.
    pub(crate) longest: [Option<Duration>; 2],
    /// The longest time that one client was without an answer that served.
    pub(crate) without: Duration,
    /// From when the fault was taken away (a node is started, or goes on) to the last answer that did not serve.
    pub(crate) recovery: Duration,
}

impl Figures {
    pub(crate) fn failed(&self) -> usize {
        self.errors.iter().map(|(_, count)| count).sum()
    }

    fn told(&self) -> String {
        if self.errors.is_empty() {
            return "0".to_owned();
        }
        let kinds: Vec<String> = self
            .errors
            .iter()
            .map(|(status, count)| match status {
                0 => format!("{count} broken"),
                status => format!("{count}x{status}"),
            })
            .collect();
        format!("{} ({})", self.failed(), kinds.join(", "))
    }

    /// A line of the table.
    pub(crate) fn row(&self, drill: &str, way: &str, writes: &str) -> String {
        let longest = self.longest.map(|longest| match longest {
            Some(longest) => format!("{:.1} s", longest.as_secs_f64()),
            None => "-".to_owned(),
        });
        format!(
            "| {drill} | {way} | {} | {} | {} | {} | {} | {} | {:.1} s | {:.1} s | {writes} | {} |",
            self.searches,
            self.hits,
            self.stale,
            self.told(),
            self.partial,
            longest.join(" / "),
            self.without.as_secs_f64(),
            self.recovery.as_secs_f64(),
            self.wrong
        )
    }
}

/// How long some searches were waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    pub(crate) searches: usize,
    over: usize,
    middle: Duration,
    longest: Duration,
}

impl Waits {
    /// A line of the table of waits.
    pub(crate) fn row(&self, way: &str) -> String {
        let (middle, longest) = (self.middle.as_secs_f64(), self.longest.as_secs_f64());
        format!("| {way} | {} | {} | {middle:.1} s | {longest:.1} s |", self.searches, self.over)
    }
}

/// The head of the table of waits, of those over [`LONG`].
pub(crate) const WAITS_HEAD: &str =
    "| searches | number | over 6 s | middle | longest |\n| --- | --- | --- | --- | --- |";

/// What it takes to find a host silent and to ask another one twice, and as much again for a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(6);

/// The head of the table.
pub(crate) const HEAD: &str = "| drill | way | searches | hits | stale | errors | partial | longest wait: free / bound | longest without an answer | \
     recovery | writes sent / acknowledged / lost | wrong |\n\
     | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";
