//! How the parts of a generation are put together: metadata, then the counters, then the metadata again and equal.
//! A pure machine that says what to ask next and is told the answers.

use std::sync::Arc;

use super::{Counters, Generation, Metadata, StateVersion};
use crate::outcome::Reason;

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

/// A reading under way.
#[derive(Debug)]
pub struct Sandwich {
    before: Option<Arc<Metadata>>,
    counters: Option<Counters>,
    moved: bool,
    tries: usize,
}

/// What a reading found, with the metadata for the next one.
pub type Whole = (Generation, Arc<Metadata>);

impl Sandwich {
    /// Begins with the metadata of an earlier reading, if there is one: the version shows whether it still holds.
    #[must_use]
    pub fn new(known: Option<Arc<Metadata>>) -> Sandwich {
        Sandwich { before: known, counters: None, moved: false, tries: 0 }
    }

    /// What to ask next.
    #[must_use]
    pub fn question(&self) -> Question {
        match (&self.before, &self.counters) {
            (None, _) => Question::Metadata,
            (Some(_), None) => Question::Counters,
            (Some(_), Some(_)) if self.moved => Question::Metadata,
            (Some(_), Some(_)) => Question::Version,
        }
    }

    /// The answer to [`Question::Counters`].
    pub fn counters(&mut self, counters: Counters) {
        (self.counters, self.moved) = (Some(counters), false);
    }

    /// The answer to [`Question::Version`]: the reading is whole if the state is still that of the metadata.
    ///
    /// # Errors
    /// See [`Generation::new`].
    pub fn version(&mut self, version: &StateVersion) -> Result<Option<Whole>, Reason> {
        match (&self.before, &self.counters) {
            (Some(before), Some(counters)) if before.version() == version => {
                whole(counters, before).map(Some)
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
    pub fn metadata(&mut self, after: Arc<Metadata>) -> Result<Option<Whole>, Reason> {
        if let (Some(before), Some(counters)) = (&self.before, &self.counters) {
            if before.digest() == after.digest() {
                return whole(counters, &after).map(Some);
            }
            self.tries += 1;
            if self.tries == MOST_TRIES {
                return Err(Reason::GenerationMoving);
            }
        }
        (self.before, self.counters, self.moved) = (Some(after), None, false);
        Ok(None)
    }
}

fn whole(counters: &Counters, metadata: &Arc<Metadata>) -> Result<Whole, Reason> {
    Ok((Generation::new(counters, Arc::clone(metadata))?, Arc::clone(metadata)))
}
