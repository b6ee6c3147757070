//! How the parts of a generation are put together: metadata, then the counters, then the metadata again and equal.
//! A pure machine that says what to ask next and is told the answers.

use std::sync::Arc;

use bytes::Bytes;

use super::{Change, Counters, Generation, Metadata, Parts, StateVersion, segments};
use crate::outcome::{Reason, Refusal};

/// How often a reading starts over because the metadata moved under it.
const MOST_TRIES: usize = 3;

/// What a reading asks the engine next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// The metadata of the target.
    Metadata,
    /// The counters of its shard copies.
    Counters,
    /// Which state the master is at.
    Version,
}

/// What a reading leaves for the next one of the same target.
#[derive(Clone, Debug)]
pub struct Known {
    /// What it found.
    pub generation: Generation,
    /// What has changed since the reading before it, if there was one and its generation was another.
    pub changes: Vec<Change>,
    parts: Arc<Parts>,
    /// The indices of its counters, if they were just those that the metadata lists as open.
    indices: Option<Arc<[String]>>,
    /// Of the counters' text that it found it by.
    digest: [u8; 32],
}

/// The counters as they came: the answer of `_stats`, and that of `_segments` where it is asked for.
#[derive(Debug)]
struct Counted {
    stats: Bytes,
    segments: Option<Bytes>,
    digest: [u8; 32],
    /// `None` while the text is that of the reading before.
    read: Option<Counters>,
}

/// A reading under way.
#[derive(Debug)]
pub struct Sandwich {
    known: Option<Known>,
    before: Option<Arc<Metadata>>,
    counted: Option<Counted>,
    moved: bool,
    tries: usize,
}

impl Sandwich {
    /// Begins with the metadata of an earlier reading, if there is one: the version shows whether it still holds.
    #[must_use]
    pub fn new(known: Option<Known>) -> Sandwich {
        let before = known.as_ref().map(|known| Arc::clone(known.generation.metadata()));
        Sandwich { known, before, counted: None, moved: false, tries: 0 }
    }

    /// What to ask next.
    #[must_use]
    pub fn next_layer(&self) -> Layer {
        match (&self.before, &self.counted) {
            (None, _) => Layer::Metadata,
            (Some(_), None) => Layer::Counters,
            (Some(_), Some(_)) if self.moved => Layer::Metadata,
            (Some(_), Some(_)) => Layer::Version,
        }
    }

    /// The indices whose counters are what the target's own name would show, if that is known: then they may be asked for
    /// beside those of other targets. It is, under metadata under which the target was read before by its name, if
    /// that showed just the indices that the metadata lists.
    #[must_use]
    pub fn indices(&self) -> Option<&Arc<[String]>> {
        let (known, before) = (self.known.as_ref()?, self.before.as_ref()?);
        let same = known.generation.metadata().digest() == before.digest();
        known.indices.as_ref().filter(|_| same)
    }

    /// The answer to [`Layer::Counters`]. A text that is byte for byte that of the reading before is not read again.
    ///
    /// # Errors
    /// See [`Counters::read`].
    pub fn counters(&mut self, stats: Bytes, segments: Option<Bytes>) -> Result<(), Reason> {
        let digest = digest(&stats, segments.as_ref());
        let mut counted = Counted { stats, segments, digest, read: None };
        if self.known.as_ref().is_none_or(|known| known.digest != digest) {
            counted.read()?;
        }
        (self.counted, self.moved) = (Some(counted), false);
        Ok(())
    }

    /// The answer to [`Layer::Version`]: the reading is whole if the state is still that of the metadata.
    ///
    /// # Errors
    /// See [`Generation::new`].
    pub fn version(&mut self, version: &StateVersion) -> Result<Option<Known>, Refusal> {
        match (&self.before, &mut self.counted) {
            (Some(before), Some(counted)) if before.version() == version => {
                whole(self.known.as_ref(), counted, before).map(Some)
            }
            _ => {
                self.moved = true;
                Ok(None)
            }
        }
    }

    /// The answer to [`Layer::Metadata`]: the reading is whole if nothing that matters has moved around the
    /// counters; otherwise they are read again.
    ///
    /// # Errors
    /// [`Reason::GenerationMoving`] if that has happened too often; see also [`Generation::new`].
    pub fn metadata(&mut self, after: Arc<Metadata>) -> Result<Option<Known>, Refusal> {
        if let (Some(before), Some(counted)) = (&self.before, &mut self.counted) {
            if before.digest() == after.digest() {
                return whole(self.known.as_ref(), counted, &after).map(Some);
            }
            self.tries += 1;
            if self.tries == MOST_TRIES {
                return Err(Reason::GenerationMoving.into());
            }
        }
        (self.before, self.counted, self.moved) = (Some(after), None, false);
        Ok(None)
    }
}

impl Counted {
    fn read(&mut self) -> Result<&Counters, Reason> {
        let read = match self.read.take() {
            Some(read) => read,
            None => {
                let counters = Counters::read(&self.stats)?;
                match &self.segments {
                    Some(views) => counters.with_segments(segments(views)?),
                    None => counters,
                }
            }
        };
        Ok(self.read.insert(read))
    }
}

/// The same text under the same metadata is the same generation, by whatever version of the state.
fn whole(known: Option<&Known>, counted: &mut Counted, metadata: &Arc<Metadata>) -> Result<Known, Refusal> {
    let digest = counted.digest;
    let same = known.filter(|known| known.generation.metadata().digest() == metadata.digest());
    if let Some(known) = same.filter(|known| known.digest == digest) {
        let generation = known.generation.clone().with_metadata(Arc::clone(metadata));
        let (parts, indices) = (Arc::clone(&known.parts), known.indices.clone());
        return Ok(Known { generation, changes: Vec::new(), parts, indices, digest });
    }
    let counters = counted.read()?;
    let generation = Generation::new(counters, Arc::clone(metadata))?;
    let parts = Arc::new(Parts::new(counters, metadata));
    let before = known.filter(|known| known.generation != generation);
    let changes = before.map(|known| parts.changes(&known.parts)).unwrap_or_default();
    let indices = match same.and_then(|known| known.indices.clone()) {
        Some(indices) => Some(indices),
        None => counters
            .names()
            .eq(metadata.open_indices().map(|(name, _)| name))
            .then(|| metadata.open_names().into()),
    };
    Ok(Known { generation, changes, parts, indices, digest })
}

impl Known {
    /// About how many bytes it holds beside the metadata.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        let names = self.indices.iter().flat_map(|indices| indices.iter());
        self.parts.heap_size() + names.map(|name| name.len() + size_of::<String>()).sum::<usize>()
    }
}

fn digest(stats: &[u8], segments: Option<&Bytes>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(stats.len() as u64).to_le_bytes()).update(stats);
    if let Some(segments) = segments {
        hasher.update(segments);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::elastic::params::Params;
    use crate::elastic::target::Target;

    fn each(names: &[&str], one: &Value) -> Value {
        names.iter().map(|name| ((*name).to_owned(), one.clone())).collect::<serde_json::Map<_, _>>().into()
    }

    fn metadata(version: u64, names: &[&str]) -> Arc<Metadata> {
        let index = json!({
            "state": "open", "primary_terms": {"0": 1}, "aliases": [],
            "settings": {"index": {"uuid": "u", "number_of_shards": "1"}},
        });
        let copy = json!({"node": "n", "state": "STARTED", "primary": true, "allocation_id": {"id": "x"}});
        let state = json!({
            "cluster_uuid": "c", "version": version, "state_uuid": "s",
            "metadata": {"indices": each(names, &index)},
            "routing_table": {"indices": each(names, &json!({"shards": {"0": [copy]}}))},
            "nodes": {"n": {"ephemeral_id": "e"}},
        });
        let target = Target::new(Some("logs-*"), &Params::default());
        Arc::new(Metadata::read(&target, state.to_string().as_bytes(), None, b"{}").unwrap())
    }

    fn counters(names: &[&str]) -> Bytes {
        let copy = json!({
            "routing": {"state": "STARTED", "primary": true, "node": "n"},
            "refresh": {"total": 5, "external_total": 4}, "merges": {"current": 0, "total": 1},
            "seq_no": {"max_seq_no": 9, "local_checkpoint": 9},
        });
        let indices = each(names, &json!({"uuid": "u", "shards": {"0": [copy]}}));
        json!({"_shards": {"failed": 0}, "indices": indices}).to_string().into()
    }

    /// A reading that begins with what an earlier one left, and finds counters of these indices.
    fn read(known: Option<Known>, before: &Arc<Metadata>, shown: &[&str]) -> Known {
        let mut sandwich = Sandwich::new(known);
        if sandwich.next_layer() == Layer::Metadata {
            assert!(sandwich.metadata(Arc::clone(before)).unwrap().is_none());
        }
        sandwich.counters(counters(shown), None).unwrap();
        sandwich.version(before.version()).unwrap().unwrap()
    }

    #[test]
    fn indices_may_be_asked_for_beside_others_once_the_targets_name_has_shown_just_them() {
        let (one, two) = (metadata(1, &["a"]), metadata(2, &["a", "b"]));
        assert!(Sandwich::new(None).indices().is_none());
        let mut first = Sandwich::new(None);
        first.metadata(Arc::clone(&one)).unwrap();
        assert!(first.indices().is_none(), "its name has not been asked for");
        let known = read(None, &one, &["a"]);
        assert_eq!(Sandwich::new(Some(known.clone())).indices().unwrap().as_ref(), ["a"]);
        assert_eq!(Sandwich::new(Some(read(Some(known.clone()), &one, &["a"]))).indices().unwrap().len(), 1);
        // its name shows more than the metadata
        let more = read(None, &one, &["a", "hidden"]);
        assert!(Sandwich::new(Some(more)).indices().is_none());
        // the metadata has moved: its name has to be asked for again
        let mut moved = Sandwich::new(Some(known));
        moved.counters(counters(&["a"]), None).unwrap();
        assert!(moved.version(two.version()).unwrap().is_none());
        assert!(moved.metadata(Arc::clone(&two)).unwrap().is_none());
        assert!(moved.indices().is_none());
    }
}
