//! A stored answer, with the generation that was read before it was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::freshness::{Asked, Audience};
use super::head::{EntityTag, StoredHead};
use super::storable::Storable;
use crate::generation::Tag;
use crate::key::CacheKey;
use crate::stats::IndexSet;
use crate::stats::searches::RowId;

/// What the store itself needs beside an entry: moka's nodes and its hash table (measured: 430 to 470 bytes with the
/// key), and the `Arc`.
const OVERHEAD: usize = 450;

/// A stored answer.
#[derive(Debug)]
pub struct Entry {
    head: StoredHead,
    entity_tag: EntityTag,
    body: Bytes,
    /// In microseconds.
    cost: u32,
    tag: Tag,
    asked: Asked,
    indices: Arc<IndexSet>,
    row: RowId,
    audience: Audience,
    /// Nanoseconds from when it was asked for to the latest start of what has shown it to be current.
    proven: AtomicU64,
}

impl Entry {
    /// An answer that was checked, under the generation whose reading had *completed* before it was asked for (R1).
    #[must_use]
    pub fn new(answer: Storable, tag: Tag, asked: Asked, indices: Arc<IndexSet>) -> Entry {
        let Storable { head, tag: entity_tag, body, took } = answer;
        let cost = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let (audience, proven) = (Audience::Unproven, AtomicU64::new(0));
        let row = RowId::NONE;
        Entry { head, entity_tag, body, cost, tag, asked, indices, row, audience, proven }
    }

    /// The same for those who may still have it when nothing can be asked (`stale_if_error`); nobody, if this is not said.
    #[must_use]
    pub fn meant_for(self, audience: Audience) -> Entry {
        Entry { audience, ..self }
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
        self.audience
    }

    /// A reading that started at `started` has shown that it is current.
    pub fn prove(&self, started: Instant) {
        let since = started.saturating_duration_since(self.asked.at).as_nanos();
        self.proven.fetch_max(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// For how long nothing has shown that it is current: since it was asked for, or the last proof started. The time
    /// that the machine slept counts as after the proof.
    #[must_use]
    pub fn unproven_for(&self, now: Asked) -> Duration {
        self.asked.age(now).saturating_sub(Duration::from_nanos(self.proven.load(Ordering::Relaxed)))
    }

    /// The headers to answer with, but for the entity tag.
    #[must_use]
    pub fn head(&self) -> &StoredHead {
        &self.head
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
        self.tag
    }

    /// When it was asked for.
    #[must_use]
    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// The counters of the indices that it belongs to.
    #[must_use]
    pub fn indices(&self) -> &Arc<IndexSet> {
        &self.indices
    }

    /// The bytes that it costs to keep it: key, headers, body, overhead.
    #[must_use]
    pub fn weight(&self) -> u32 {
        let held = self.head.heap_size() + self.body.len();
        let bytes = size_of::<CacheKey>() + size_of::<Entry>() + held + OVERHEAD;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}
