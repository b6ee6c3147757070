//! What has changed from one generation of a target to the next: for people and metrics. Nothing that is served
//! depends on it; what decides is the tag alone.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::{Counters, Metadata};

/// What a change was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A refresh that may have made documents visible.
    Refresh,
    /// Merges of segments.
    Merge,
    /// Writes that wait for a search to make them visible.
    Write,
    /// The mapping, settings or aliases.
    Metadata,
    /// Shards were moved, started or lost, or the index is new, gone, opened or closed.
    Shards,
}

impl Cause {
    /// All variants.
    pub const ALL: [Cause; 5] = [Cause::Refresh, Cause::Merge, Cause::Write, Cause::Metadata, Cause::Shards];

    /// The label in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::Refresh => "refresh",
            Cause::Merge => "merge",
            Cause::Write => "write",
            Cause::Metadata => "metadata",
            Cause::Shards => "shards",
        }
    }
}

/// What of one index was counted. Two that are equal are of one state, for all that people want to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub(super) metadata: u64,
    pub(super) shards: u64,
    pub(super) refreshes: u64,
    pub(super) merges: u64,
    pub(super) writes: u64,
}

impl Part {
    #[cfg(test)]
    pub(crate) fn of_state(state: u64) -> Part {
        Part { refreshes: state, ..Part::default() }
    }

    /// Why this one is not that of before. The first cause that is found is the one that people look for: a moved shard
    /// has other counters as well, and who writes refreshes too.
    fn cause(self, before: Option<Part>) -> Option<Cause> {
        let Some(before) = before else { return Some(Cause::Shards) };
        if self.shards != before.shards {
            Some(Cause::Shards)
        } else if self.metadata != before.metadata {
            Some(Cause::Metadata)
        } else if self.refreshes != before.refreshes {
            Some(Cause::Refresh)
        } else if self.merges != before.merges {
            Some(Cause::Merge)
        } else if self.writes != before.writes {
            Some(Cause::Write)
        } else {
            None
        }
    }
}

/// What was counted of each index of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts(BTreeMap<Arc<str>, Part>);

/// An index that has changed: its name, what was counted of it now, and why. Where nothing is counted of one index
/// alone, the name is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The index.
    pub index: Arc<str>,
    /// What was counted of it now; nothing if it is gone.
    pub part: Part,
    /// Why.
    pub cause: Cause,
}

impl Parts {
    pub(super) fn new(counters: &Counters, metadata: &Metadata) -> Parts {
        let part = |name: &Arc<str>| {
            let counted = counters.part(name, metadata.may_idle(name));
            (Arc::clone(name), Part { metadata: metadata.digest_of(name), ..counted })
        };
        Parts(metadata.names().iter().map(part).collect())
    }

    /// What has changed since. At least one change, since it is asked only where the generation is another one: what
    /// is of no index is the cluster's metadata.
    pub(super) fn changes(&self, before: &Parts) -> Vec<Change> {
        let here = self.0.iter().filter_map(|(name, part)| {
            let cause = part.cause(before.0.get(name).copied())?;
            Some(Change { index: Arc::clone(name), part: *part, cause })
        });
        let gone = before.0.keys().filter(|name| !self.0.contains_key(*name));
        let gone =
            gone.map(|name| Change { index: Arc::clone(name), part: Part::default(), cause: Cause::Shards });
        let mut out: Vec<Change> = here.chain(gone).collect();
        if out.is_empty() {
            out.push(Change { index: Arc::default(), part: Part::default(), cause: Cause::Metadata });
        }
        out
    }

    /// About how many bytes it holds.
    pub(super) fn heap_size(&self) -> usize {
        self.0.len() * (size_of::<Part>() + size_of::<Arc<str>>() + 8)
    }
}

/// A small digest, for comparison within this process only.
pub(super) fn small(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(list: &[(&str, Part)]) -> Parts {
        Parts(list.iter().map(|(name, part)| (Arc::from(*name), *part)).collect())
    }

    #[track_caller]
    fn check(before: &[(&str, Part)], after: &[(&str, Part)], expected: &[(&str, Cause)]) {
        let changes = parts(after).changes(&parts(before));
        let found: Vec<_> = changes.iter().map(|change| (&*change.index, change.cause)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_index_has_the_cause_that_people_look_for() {
        let base = Part { metadata: 1, shards: 1, refreshes: 1, merges: 1, writes: 1 };
        let logs = [("logs", base), ("other", base)];
        let with = |part| [("logs", part), ("other", base)];
        let refreshed = Part { refreshes: 2, writes: 2, ..base };
        check(&logs, &with(refreshed), &[("logs", Cause::Refresh)]);
        check(&logs, &with(Part { writes: 2, ..base }), &[("logs", Cause::Write)]);
        check(&logs, &with(Part { merges: 2, ..base }), &[("logs", Cause::Merge)]);
        check(&logs, &with(Part { metadata: 2, ..refreshed }), &[("logs", Cause::Metadata)]);
        check(&logs, &with(Part { shards: 2, ..refreshed }), &[("logs", Cause::Shards)]);
        check(&logs, &logs[..1], &[("other", Cause::Shards)]);
        check(&logs[..1], &logs, &[("other", Cause::Shards)]);
        check(&logs, &logs, &[("", Cause::Metadata)]);
    }
}
