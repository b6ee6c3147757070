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
pub enum Question {
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
    pub fn question(&self) -> Question {
        match (&self.before, &self.counted) {
            (None, _) => Question::Metadata,
            (Some(_), None) => Question::Counters,
            (Some(_), Some(_)) if self.moved => Question::Metadata,
            (Some(_), Some(_)) => Question::Version,
        }
    }

    /// The answer to [`Question::Counters`]. A text that is byte for byte that of the reading before is not read again.
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

    /// The answer to [`Question::Version`]: the reading is whole if the state is still that of the metadata.
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

    /// The answer to [`Question::Metadata`]: the reading is whole if nothing that matters has moved around the
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
    let same = known
        .filter(|known| known.digest == digest && known.generation.metadata().digest() == metadata.digest());
    if let Some(known) = same {
        let generation = known.generation.clone().with_metadata(Arc::clone(metadata));
        return Ok(Known { generation, changes: Vec::new(), parts: Arc::clone(&known.parts), digest });
    }
    let counters = counted.read()?;
    let generation = Generation::new(counters, Arc::clone(metadata))?;
    let parts = Arc::new(Parts::new(counters, metadata));
    let before = known.filter(|known| known.generation != generation);
    let changes = before.map(|known| parts.changes(&known.parts)).unwrap_or_default();
    Ok(Known { generation, changes, parts, digest })
}

impl Known {
    /// About how many bytes it holds beside the metadata.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        self.parts.heap_size()
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
