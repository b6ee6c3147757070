//! A stored answer, with the generation that was read before it was asked for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::freshness::Asked;
use super::storable::Storable;
use crate::generation::Tag;
use crate::key::CacheKey;
use crate::stats::IndexSet;

/// What the store itself needs beside an entry: moka's nodes and its hash table (measured: 430 to 470 bytes with the
/// key), and the `Arc`.
const OVERHEAD: usize = 450;

/// A stored answer.
#[derive(Debug)]
pub struct Entry {
    headers: HeaderMap,
    body: Bytes,
    cost: Duration,
    tag: Tag,
    asked: Asked,
    indices: Arc<IndexSet>,
}

impl Entry {
    /// An answer that was checked, under the generation whose reading had *completed* before it was asked for (R1).
    #[must_use]
    pub fn new(answer: Storable, tag: Tag, asked: Asked, indices: Arc<IndexSet>) -> Entry {
        let Storable { headers, body, took } = answer;
        Entry { headers, body, cost: took, tag, asked, indices }
    }

    /// The headers to answer with, the entity tag included.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body to answer with.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The time that the engine took for it.
    #[must_use]
    pub fn cost(&self) -> Duration {
        self.cost
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
        let headers: usize = self.headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 64).sum();
        let bytes = size_of::<CacheKey>() + size_of::<Entry>() + headers + self.body.len() + OVERHEAD;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}
