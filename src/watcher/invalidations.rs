//! What invalidates entries, and how often: counted by index and cause, for people and metrics. Bounded: clients and
//! indices can be many, series must not be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::generation::{Cause, Change, Part};

/// How many indices have numbers of their own. Those of the others are added up under [`OTHER`].
const MOST: usize = 100;

/// An index that has not changed for so long gives its place to one that does. So the series of a Prometheus grow by at
/// most [`MOST`] in this time, however many indices come and go.
const QUIET: Duration = Duration::from_secs(3_600);

/// The name for indices that have no numbers of their own. No index can have it: names do not begin with `_`.
pub const OTHER: &str = "_other";

/// The name for what is of no index alone, such as the settings of the cluster.
pub const CLUSTER: &str = "_cluster";

/// How often what was invalidated.
#[derive(Debug, Default)]
pub struct Invalidations(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    indices: HashMap<Arc<str>, Row>,
    other: [u64; Cause::ALL.len()],
}

#[derive(Debug)]
struct Row {
    /// What was counted of the index at the change that was counted last: several targets may see the same change.
    part: Part,
    at: Instant,
    counts: [u64; Cause::ALL.len()],
}

/// The numbers of one index, by cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalidated {
    /// The index, or [`OTHER`] or [`CLUSTER`].
    pub index: Arc<str>,
    /// How often, in the order of [`Cause::ALL`].
    pub counts: [u64; Cause::ALL.len()],
}

impl Invalidated {
    /// Nothing, of no index.
    #[must_use]
    pub fn none() -> Invalidated {
        Invalidated { index: OTHER.into(), counts: [0; Cause::ALL.len()] }
    }

    /// How often, whatever the cause.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Invalidations {
    /// Counts what a reading has found to be changed.
    pub(super) fn add(&self, changes: &[Change], now: Instant) {
        if changes.is_empty() {
            return;
        }
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Change { index, part, cause } in changes {
            let index = if index.is_empty() { Arc::from(CLUSTER) } else { Arc::clone(index) };
            table.add(index, *part, *cause, now);
        }
    }

    /// The numbers of each index, the most changed first; the others at the end, if there are any.
    #[must_use]
    pub fn each(&self) -> Vec<Invalidated> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = table.indices.iter();
        let mut out: Vec<_> =
            rows.map(|(index, row)| Invalidated { index: Arc::clone(index), counts: row.counts }).collect();
        out.sort_by(|a, b| b.total().cmp(&a.total()).then_with(|| a.index.cmp(&b.index)));
        if table.other != [0; Cause::ALL.len()] {
            out.push(Invalidated { index: OTHER.into(), counts: table.other });
        }
        out
    }
}

impl Table {
    fn add(&mut self, index: Arc<str>, part: Part, cause: Cause, now: Instant) {
        if let Some(row) = self.indices.get_mut(&index) {
            // what is of no index has no part to tell one change from the next
            if row.part != part || part == Part::default() {
                (row.part, row.at) = (part, now);
                row.counts[cause as usize] += 1;
            }
            return;
        }
        if self.indices.len() >= MOST {
            let quiet = self.indices.iter().min_by_key(|(_, row)| row.at);
            let quiet = quiet.filter(|(_, row)| now.saturating_duration_since(row.at) >= QUIET);
            let Some(quiet) = quiet.map(|(name, _)| Arc::clone(name)) else {
                self.other[cause as usize] += 1;
                return;
            };
            self.indices.remove(&quiet);
        }
        let mut counts = [0; Cause::ALL.len()];
        counts[cause as usize] = 1;
        self.indices.insert(index, Row { part, at: now, counts });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(index: &str, state: u64) -> Change {
        Change { index: index.into(), part: Part::of_state(state), cause: Cause::Refresh }
    }

    fn of(all: &Invalidations, index: &str) -> Option<u64> {
        all.each().iter().find(|row| &*row.index == index).map(Invalidated::total)
    }

    #[test]
    fn a_change_that_several_targets_see_counts_once() {
        let (all, now) = (Invalidations::default(), Instant::now());
        all.add(&[change("logs", 1), change("other", 1)], now);
        all.add(&[change("logs", 1)], now);
        all.add(&[change("logs", 2)], now);
        assert_eq!((of(&all, "logs"), of(&all, "other")), (Some(2), Some(1)));
        for _ in 0..2 {
            all.add(&[Change { index: Arc::default(), part: Part::default(), cause: Cause::Metadata }], now);
        }
        assert_eq!(of(&all, CLUSTER), Some(2));
    }

    #[test]
    fn names_are_bounded_and_do_not_come_and_go() {
        let (all, now) = (Invalidations::default(), Instant::now());
        for number in 0..MOST + 7 {
            all.add(&[change(&format!("i{number}"), 1)], now);
        }
        assert_eq!((all.each().len(), of(&all, OTHER)), (MOST + 1, Some(7)));
        let later = now + QUIET;
        all.add(&[change("i1", 2)], later);
        all.add(&[change("new", 1)], later);
        assert_eq!((all.each().len(), of(&all, "new"), of(&all, "i1")), (MOST + 1, Some(1), Some(2)));
    }
}
