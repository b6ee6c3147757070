//! A stored answer, with the generation that was read before it was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::freshness::{Audience, Stamp};
use super::head::{EntityTag, StoredHead};
use super::origin::Origin;
use super::storable::Storable;
use crate::budget::Kept;
use crate::generation::{Generation, Reign, Tag};
use crate::key::CacheKey;
use crate::stats::IndexSet;
use crate::stats::searches::RowId;

/// A node may search by a cluster state that the master shows only when all others have applied it, or after
/// `cluster.publish.timeout` (30 s). So what the master shows says by which state a search was *not* carried out only this
/// long after it: twice that time.
pub const PUBLICATION: Duration = Duration::from_secs(60);

/// What the store itself needs beside an entry: moka's nodes and its hash table (counted: 250 to 280 bytes without the
/// key), the `Arc`, and the count of who reads the body.
const OVERHEAD: usize = 310;

/// What so many bytes take that are allocated at once: allocators have four sizes between two powers of two.
const fn allocated(bytes: usize) -> usize {
    let step = bytes.next_power_of_two() / 8;
    if step > 8 { bytes.next_multiple_of(step) } else { bytes.next_multiple_of(8) }
}

/// A stored answer. What it has in common with others is in its origin: a cache holds many entries.
#[derive(Debug)]
pub struct Entry {
    origin: Arc<Origin>,
    entity_tag: EntityTag,
    body: Bytes,
    /// Until the entry is dropped, its body is counted here and not with what is held in memory beside the cache.
    _kept: Option<Kept>,
    /// In microseconds.
    cost: u32,
    /// Microseconds from when it was asked for to when it had come, and no fewer.
    landed: u32,
    asked: Stamp,
    row: RowId,
    /// Nanoseconds from when it was asked for to the latest start of what has shown it to be current.
    proven: AtomicU64,
    /// The cluster state that was read before it was asked for; 0 once that was still the state after it had come.
    state: AtomicU64,
}

impl Entry {
    /// An answer that was checked, under the generation whose reading had *completed* before it was asked for (R1).
    /// `audience` may still have it when nothing can be asked (`stale_if_error`).
    #[must_use]
    pub fn new(
        answer: Storable,
        generation: &Generation,
        asked: Stamp,
        indices: Arc<IndexSet>,
        audience: Audience,
    ) -> Entry {
        let Storable { head, tag: entity_tag, body, share, took } = answer;
        let cost = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let (tag, reign) = (generation.tag(), generation.reign().cloned());
        let origin = Origin { head, tag, reign, indices, audience }.shared();
        let row = RowId::NONE;
        let (proven, state) = (AtomicU64::new(0), AtomicU64::new(generation.state()));
        let (_kept, landed) = (share.map(Kept::new), u32::MAX);
        Entry { origin, entity_tag, body, _kept, cost, landed, asked, row, proven, state }
    }

    /// The same, which had come at `now`. Unless this is said, nothing [confirms](Entry::confirm) it.
    #[must_use]
    pub fn landed(self, now: Instant) -> Entry {
        let took = now.saturating_duration_since(self.asked.at).as_micros() + 1;
        Entry { landed: u32::try_from(took).unwrap_or(u32::MAX), ..self }
    }

    /// Whether it is known that its search has met the cluster state that was read before it: by what was read after it had
    /// come, or since that is the state now (then an answer by a later one is what a search could give now).
    ///
    /// Between the reading and the search an index may have joined the target, which has left it since, or a setting of the
    /// cluster may have had another value; counters and metadata tell nothing of that once it is over.
    #[must_use]
    pub fn met(&self, state: u64) -> bool {
        self.is_confirmed() || self.state.load(Ordering::Relaxed) == state
    }

    /// A question to the master that was sent at `started` has found this state. If it was sent [long enough](PUBLICATION)
    /// after the answer had come, and the state is the one that was read before it was asked for, that holds for ever.
    pub fn confirm(&self, state: u64, started: Instant) {
        let least = Duration::from_micros(self.landed.into()) + PUBLICATION;
        let after = self.landed != u32::MAX && started.saturating_duration_since(self.asked.at) >= least;
        if after {
            self.confirm_by_giver(state);
        }
    }

    /// The node that gave the answer, asked after it had come, has applied this state and no later one. What it had applied
    /// before it was asked for the answer is known to be no earlier than what was read
    /// ([`Giver::applied`](crate::upstream::Giver)), so if the two are equal that holds for ever.
    pub fn confirm_by_giver(&self, state: u64) {
        if self.state.load(Ordering::Relaxed) == state {
            self.state.store(0, Ordering::Relaxed);
        }
    }

    /// Whether it is known for ever to have [met](Entry::met) that state.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.state.load(Ordering::Relaxed) == 0
    }

    /// The same, counted with other searches like it.
    #[must_use]
    pub fn counted_in(self, row: RowId) -> Entry {
        Entry { row, ..self }
    }

    /// Where its hits are counted with those of other searches like it.
    #[must_use]
    pub fn row(&self) -> RowId {
        self.row
    }

    /// Who may have it when nothing can be asked.
    #[must_use]
    pub fn audience(&self) -> Audience {
        self.origin.audience
    }

    /// A reading that started at `started` has shown that it is current.
    pub fn prove(&self, started: Instant) {
        let since = started.saturating_duration_since(self.asked.at).as_nanos();
        self.proven.fetch_max(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// For how long nothing has shown that it is current: since it was asked for, or the last proof started. The time
    /// that the machine slept counts as after the proof.
    #[must_use]
    pub fn unproven_for(&self, now: Stamp) -> Duration {
        self.asked.age(now).saturating_sub(Duration::from_nanos(self.proven.load(Ordering::Relaxed)))
    }

    /// The headers to answer with, but for the entity tag.
    #[must_use]
    pub fn head(&self) -> &StoredHead {
        &self.origin.head
    }

    /// The entity tag of the body.
    #[must_use]
    pub fn entity_tag(&self) -> EntityTag {
        self.entity_tag
    }

    /// The body to answer with.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The time that the engine took for it.
    #[must_use]
    pub fn cost(&self) -> Duration {
        Duration::from_micros(self.cost.into())
    }

    /// The generation that was read before it was asked for.
    #[must_use]
    pub fn tag(&self) -> Tag {
        self.origin.tag
    }

    /// Whether its target is known to have changed since: nothing will show it to be current again.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.origin.reign.as_deref().is_some_and(Reign::is_over)
    }

    /// When it was asked for.
    #[must_use]
    pub fn asked(&self) -> Stamp {
        self.asked
    }

    /// The counters of the indices that it belongs to.
    #[must_use]
    pub fn indices(&self) -> &Arc<IndexSet> {
        &self.origin.indices
    }

    /// The bytes that it costs to keep it: key, headers, body, overhead.
    #[must_use]
    pub fn weight(&self) -> u32 {
        let held = self.origin.head.heap_size() + allocated(self.body.len());
        let bytes = size_of::<CacheKey>() + size_of::<Entry>() + held + OVERHEAD;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_small() {
        assert!(size_of::<Entry>() <= 128, "{}", size_of::<Entry>());
        for (bytes, takes) in [(1, 8), (64, 64), (65, 80), (1024, 1024), (1025, 1280), (5000, 5120)] {
            assert_eq!(allocated(bytes), takes);
        }
    }
}
