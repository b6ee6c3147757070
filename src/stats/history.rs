//! The last twenty minutes, in steps: what the live page plots. A ring of fixed size, written by a task of its own.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::latency::Counted;

/// How many steps are kept.
const MOST: usize = 240;

/// What had been counted at a moment.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Searches by outcome, in the order of [`Outcome::ALL`](crate::outcome::Outcome::ALL).
    pub searches: [u64; 4],
    /// Lookups that were hits, and misses: the hit ratio is made of these.
    pub lookups: [u64; 2],
    /// How long hits took.
    pub hits: Counted,
    /// How long misses took.
    pub misses: Counted,
    /// How long the engine took.
    pub engine: Counted,
    /// Entries that went for want of room.
    pub evictions: u64,
    /// Changes that readings found.
    pub changes: u64,
    /// Entries stored now.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What has happened from one moment to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When it ended: the time since escache was started.
    pub at: Duration,
    /// How long it was.
    pub length: Duration,
    /// Searches by outcome.
    pub searches: [u64; 4],
    /// Lookups that were hits, and misses: the hit ratio is made of these.
    pub lookups: [u64; 2],
    /// Median and 95th percentile of hits, in seconds; `None` if there was none.
    pub hits: Option<(f64, f64)>,
    /// The same of misses.
    pub misses: Option<(f64, f64)>,
    /// The same of the engine.
    pub engine: Option<(f64, f64)>,
    /// Entries that went for want of room.
    pub evictions: u64,
    /// Changes that readings found.
    pub changes: u64,
    /// Entries stored at the end.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The steps.
#[derive(Debug, Default)]
pub struct History(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    last: Option<(Duration, Totals)>,
    steps: VecDeque<Step>,
}

impl History {
    /// Ends a step. The first call begins the first one.
    pub fn add(&self, at: Duration, totals: Totals) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, before)) = &ring.last {
            let step = step(*since, before, at, &totals);
            if ring.steps.len() == MOST {
                ring.steps.pop_front();
            }
            ring.steps.push_back(step);
        }
        ring.last = Some((at, totals));
    }

    /// All steps, the oldest first.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).steps.iter().cloned().collect()
    }
}

fn step(since: Duration, before: &Totals, at: Duration, now: &Totals) -> Step {
    let times = |now: &Counted, before: &Counted| {
        let counted = now.since(before);
        Some((counted.quantile(0.5)?, counted.quantile(0.95)?))
    };
    let (mut searches, mut lookups) = (now.searches, now.lookups);
    searches.iter_mut().zip(before.searches).for_each(|(now, then)| *now = now.saturating_sub(then));
    lookups.iter_mut().zip(before.lookups).for_each(|(now, then)| *now = now.saturating_sub(then));
    Step {
        at,
        length: at.saturating_sub(since),
        searches,
        lookups,
        hits: times(&now.hits, &before.hits),
        misses: times(&now.misses, &before.misses),
        engine: times(&now.engine, &before.engine),
        evictions: now.evictions.saturating_sub(before.evictions),
        changes: now.changes.saturating_sub(before.changes),
        entries: now.entries,
        bytes: now.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::latency::Histogram;

    #[test]
    fn a_step_is_what_came_between() {
        let (history, hits) = (History::default(), Histogram::default());
        let at = Duration::from_secs;
        hits.add(Duration::from_secs(1));
        let totals = |searches, bytes| Totals { searches, bytes, hits: hits.counted(), ..Totals::default() };
        history.add(at(1), totals([1, 0, 0, 0], 5));
        assert_eq!(history.steps(), []);
        hits.add(Duration::from_micros(20));
        history.add(at(6), totals([2, 3, 0, 0], 7));
        let steps = history.steps();
        assert_eq!(steps.len(), 1);
        let step = &steps[0];
        assert_eq!((step.at, step.length, step.searches), (at(6), at(5), [1, 3, 0, 0]));
        assert_eq!((step.hits, step.misses, step.bytes), (Some((24e-6, 24e-6)), None, 7));
        for second in 7..1_000 {
            history.add(at(second), Totals::default());
        }
        assert_eq!((history.steps().len(), history.steps()[0].at), (MOST, at(1_000 - MOST as u64)));
    }
}
