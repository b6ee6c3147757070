//! What identifies the searchable state of a target: the counters of every shard copy and the metadata digest
//! (docs/exactness.md). Compared whole, by equality only.
//!
//! A generation is a sandwich: metadata, then the counters, then the state's version again (the metadata, if that
//! has moved) and equal. So the counters belong
//! to the shards whose lives (allocation ids, primary terms, ephemeral ids) the metadata names, and equal generations
//! at two times mean that nothing that a search could see has changed between them.

mod counters;

mod judge;

mod metadata;

mod changes;

mod reign;

mod sandwich;

mod settling;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use self::changes::{Cause, Change, Part, Parts};
pub use self::counters::{COUNTERS_FILTER, Counters, SEGMENTS_FILTER, segments};
pub use self::metadata::{METADATA_FILTER, Metadata, Property, StateVersion, members};
pub use self::reign::Reign;
pub use self::sandwich::{Known, Layer, Sandwich};
pub use self::settling::Settling;
use crate::cacheability::Basis;
use crate::elastic::answer::{Extent, Indices};
use crate::outcome::{Reason, Refusal};

/// What stands for a generation in an entry: small, and compared by equality only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag([u8; 32]);

impl Tag {
    /// All of it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The first 16 hexadecimal digits, for logs and `explain`.
impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The searchable state of a target. Cheap to clone; two are equal if their tags are.
#[derive(Clone, Debug)]
pub struct Generation {
    tag: Tag,
    whole: Tag,
    longest_life: Option<Duration>,
    metadata: Arc<Metadata>,
    basis: Basis,
    reign: Option<Arc<Reign>>,
    /// What stands for the cluster state that it was read in; 0 where nobody watches.
    state: u64,
}

impl Generation {
    /// Puts counters and metadata together.
    ///
    /// # Errors
    /// [`Reason::GenerationIncomplete`] if the counters do not show every open index that the metadata lists, each of
    /// its shards with a started copy: credentials that see fewer indices than the client does would otherwise hide
    /// changes for ever.
    pub fn new(counters: &Counters, metadata: Arc<Metadata>) -> Result<Generation, Refusal> {
        for (name, index) in metadata.open_indices() {
            if !counters.has_started(name, &index.uuid, index.shards) {
                return Err(Refusal::at(Reason::GenerationIncomplete, name));
            }
        }
        let tag = |counters: [u8; 32]| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&metadata.digest()).update(&counters);
            Tag(*hasher.finalize().as_bytes())
        };
        let whole = tag(counters.digest(|_| true));
        let tag = match metadata.open_indices().all(|(name, _)| metadata.may_idle(name)) {
            true => whole,
            false => tag(counters.digest(|index| metadata.may_idle(index))),
        };
        let writing = metadata
            .open_indices()
            .filter(|(name, _)| metadata.may_idle(name) && counters.is_writing(name))
            .map(|(_, index)| index.idle_after / 2);
        let state = metadata.version().digest();
        let (longest_life, basis) = (writing.min(), Basis::Readers);
        Ok(Generation { tag, whole, longest_life, metadata, basis, reign: None, state })
    }

    /// How long an answer that carries it may live, counted from when it was asked for: where an operation had a number
    /// and was not known to be written, half of the time for which a search keeps its shard from sleeping (A3).
    ///
    /// Such an operation may become searchable without a trace in the tag: it enters Lucene, and the checkpoint follows
    /// later. That is seen by a refresh, which the tag shows, as long as the shard does not sleep; and the search that
    /// asked for the answer keeps it awake for `index.search.idle.after`. After that time the shard may sleep, and then
    /// an uncached search would wait for a refresh of what the entry does not show. Half, since the engines' clock
    /// for this is a coarse one. Where the checkpoint is that of the last number, an operation to come has a new number.
    #[must_use]
    pub fn longest_life(&self) -> Option<Duration> {
        self.longest_life
    }

    /// The same with the permissions of who asks: equal only if both are.
    #[must_use]
    pub fn within(self, scope: &[u8; 32]) -> Generation {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.tag.0).update(scope);
        Generation { tag: Tag(*hasher.finalize().as_bytes()), ..self }
    }

    /// The same for answers that rest on less than what the shards show, or on more than the metadata of the target.
    #[must_use]
    pub fn resting_on(self, basis: Basis) -> Generation {
        // the usual one, on the way of each hit
        if basis == Basis::Readers {
            return self;
        }
        let mut hasher = blake3::Hasher::new_derive_key("escache 1 tag by metadata");
        hasher.update(&match basis {
            Basis::ReadersAndState => self.tag.0,
            Basis::Readers | Basis::Metadata | Basis::State => self.metadata.digest(),
        });
        if matches!(basis, Basis::State | Basis::ReadersAndState) {
            let version = self.metadata.version();
            hasher.update(&version.version.to_le_bytes()).update(version.state_uuid.as_bytes());
        }
        // what the shards show may move without it
        Generation { tag: Tag(*hasher.finalize().as_bytes()), basis, reign: None, ..self }
    }

    /// How far an answer under it has to reach to be whole.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let shards = self.metadata.shards();
        let indices = match self.basis {
            _ if shards.is_none() => Indices::Unknown,
            Basis::Readers | Basis::ReadersAndState => Indices::Some,
            Basis::Metadata | Basis::State => Indices::All(self.metadata.open_names()),
        };
        Extent { shards, indices }
    }

    /// The same, shown by metadata of an equal digest: what is not in the digest is the version of the state.
    fn with_metadata(self, metadata: Arc<Metadata>) -> Generation {
        Generation { state: metadata.version().digest(), metadata, ..self }
    }

    /// A generation for `freshness.ttl_only`: it never changes, time alone ends what carries it.
    #[must_use]
    pub fn unwatched() -> Generation {
        let nothing = Tag([0; 32]);
        let metadata = Arc::default();
        let basis = Basis::Readers;
        Generation {
            tag: nothing,
            whole: nothing,
            longest_life: None,
            metadata,
            basis,
            reign: None,
            state: 0,
        }
    }

    /// The same as what a target has at `now`, after `before`: the reign of that goes on if the two are equal, and is
    /// over if not. Returns whether it is over.
    #[must_use]
    pub fn following(self, before: Option<&Generation>, now: Instant) -> (Generation, bool) {
        let reign_before = before.and_then(Generation::reign);
        match (before, reign_before) {
            (Some(before), Some(reign)) if *before == self => {
                (Generation { reign: Some(Arc::clone(reign)), ..self }, false)
            }
            (_, ended) => {
                if let Some(ended) = ended {
                    ended.end();
                }
                (Generation { reign: Some(Reign::since(now)), ..self }, ended.is_some())
            }
        }
    }

    /// Since when it is what the target has, and whether it still is. `None` where nobody watches.
    #[must_use]
    pub fn reign(&self) -> Option<&Arc<Reign>> {
        self.reign.as_ref()
    }

    /// What stands for it.
    #[must_use]
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// What stands for the cluster state that it was read in: equal generations may have been read in different ones. 0
    /// where nobody watches.
    #[must_use]
    pub fn state(&self) -> u64 {
        self.state
    }

    /// What stands for it in this cluster state. Searches that share an answer have both in common: a set of indices that
    /// grows while one is under way, and shrinks again, is seen by the state alone.
    #[must_use]
    pub fn moment(&self) -> Tag {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.tag.0).update(&self.state.to_le_bytes());
        Tag(*hasher.finalize().as_bytes())
    }

    /// What stands for it where not only what a search can see counts, but every write.
    #[must_use]
    pub fn whole(&self) -> &[u8; 32] {
        &self.whole.0
    }

    /// The metadata that it was read with.
    #[must_use]
    pub fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }
}

impl PartialEq for Generation {
    fn eq(&self, other: &Generation) -> bool {
        self.tag == other.tag
    }
}

impl Eq for Generation {}

/// One completed read of a generation.
#[derive(Clone, Debug)]
pub struct Reading {
    /// When its first request to the engine was about to be sent. What counts (R2, R8) is the start, never the end.
    pub started: Instant,
    /// What it found, or why it is invalid.
    pub found: Result<Generation, Refusal>,
    /// Whether the metadata of the target has been what it is for `freshness.metadata_settling`.
    pub settled: bool,
    /// What a reading of the target usually costs each of those who share it; `None` while that is not known well.
    pub usual_cost: Option<Duration>,
}

/// Hashes a JSON value so that neither the order of members nor that of array elements matters. Used for metadata,
/// whose order follows hash maps of the engine, while its versions move with every change of content.
pub(crate) fn digest_unordered(value: &serde_json::Value) -> [u8; 32] {
    use serde_json::Value;
    let mut hasher = blake3::Hasher::new();
    let mut parts: Vec<[u8; 32]> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let mut member = blake3::Hasher::new();
                member.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
                *member.update(&digest_unordered(value)).finalize().as_bytes()
            })
            .collect(),
        Value::Array(elements) => elements.iter().map(digest_unordered).collect(),
        leaf => return *hasher.update(b"v").update(leaf.to_string().as_bytes()).finalize().as_bytes(),
    };
    parts.sort_unstable();
    hasher.update(if value.is_object() { b"o" } else { b"a" });
    for part in parts {
        hasher.update(&part);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unordered_digest_tells_content_apart() {
        let base = digest_unordered(&json!({"a": [1, 2], "b": {"c": "x"}}));
        assert_eq!(base, digest_unordered(&json!({"b": {"c": "x"}, "a": [2, 1]})));
        for other in [
            json!({"a": [1, 2, 2], "b": {"c": "x"}}),
            json!({"a": ["1", 2], "b": {"c": "x"}}),
            json!({"a": [1, 2], "b": {"c": "x", "d": null}}),
            json!({"a": [1, 2], "b": [{"c": "x"}]}),
        ] {
            assert_ne!(base, digest_unordered(&other), "{other}");
        }
    }
}
