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

#[derive(Clone, Copy)]
struct Shot {
    client: usize,
    from: Instant,
    until: Instant,
    came: Came,
}

/// What clients of one way have seen.
#[derive(Clone, Default)]
pub(crate) struct Arm(Arc<Mutex<Vec<Shot>>>);

impl Arm {
    pub(crate) fn note(&self, client: usize, window: (Instant, Instant), came: Came) {
        lock(&self.0).push(Shot { client, from: window.0, until: window.1, came });
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
        let longest = shots.iter().map(|shot| shot.until - shot.from.max(all.0)).max().unwrap_or_default();
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
    /// The longest wait for one answer, an error or not.
    pub(crate) longest: Duration,
    /// The longest time that one client was without an answer that served.
    pub(crate) without: Duration,
    /// From the end of the fault to the last answer that did not serve.
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
        format!(
            "| {drill} | {way} | {} | {} | {} | {} | {} | {:.1} s | {:.1} s | {:.1} s | {writes} | {} |",
            self.searches,
            self.hits,
            self.stale,
            self.told(),
            self.partial,
            self.longest.as_secs_f64(),
            self.without.as_secs_f64(),
            self.recovery.as_secs_f64(),
            self.wrong
        )
    }
}

/// The head of the table.
pub(crate) const HEAD: &str = "| drill | way | searches | hits | stale | errors | partial | longest wait | longest without an answer | \
     recovery | writes sent / acknowledged / lost | wrong |\n\
     | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";
