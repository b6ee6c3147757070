//! Compressed forms of stored bodies: made when the first client wants one, and kept beside the entries. They are
//! known by what they are made from, so that none can outlive its body in a way that a client could see.

use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use tokio::sync::{OnceCell, Semaphore};

use super::entry::Entry;
use super::head::EntityTag;
use super::store::Bounded;
use crate::budget::{self, Budget, Kept};
use crate::coding;
use crate::key::CacheKey;

/// Up to this size a body is compressed where it is wanted; what is larger has a thread of its own, so that nobody
/// else waits for it. In bytes.
const AT_ONCE: usize = 16 << 10;

/// What a compressed form costs beside its bytes: the map, the key, the cell.
const OVERHEAD: usize = 450 + size_of::<Id>() + size_of::<Coded>();

/// The question, so that none has what was made for another, and the body.
type Id = (CacheKey, EntityTag);

type Coded = OnceCell<Made>;

/// A compressed form. While it is among the others it is counted with them, and not with what is held in memory besides.
#[derive(Debug)]
struct Made {
    bytes: Bytes,
    _kept: Option<Kept>,
}

/// Compressed forms by what they are made from, bounded by bytes.
#[derive(Debug)]
pub struct Codings {
    known: Bounded<Id, Arc<Coded>>,
    turns: Semaphore,
}

impl Codings {
    /// Of at most so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Codings {
        let weight = |coded: &Arc<Coded>| OVERHEAD + coded.get().map_or(0, |made| made.bytes.len());
        let weight = move |_: &Id, coded: &Arc<Coded>| u32::try_from(weight(coded)).unwrap_or(u32::MAX);
        // half of the cores are for those who wait for nothing
        let turns = thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        Codings { known: Bounded::weighed(bytes, weight), turns: Semaphore::new(turns) }
    }

    /// The body of an entry, compressed, if that was made before.
    #[must_use]
    pub fn known_gzip(&self, key: CacheKey, entry: &Entry) -> Option<Bytes> {
        Some(self.known.get(&(key, entry.entity_tag()))?.get()?.bytes.clone())
    }

    /// The body of an entry, compressed. Made once, however many want it. `None` if it cannot be made now, or there is no
    /// room for it in the budget: who reads it may do so for longer than it is kept here.
    pub async fn gzip(&self, key: CacheKey, entry: &Entry, budget: &Arc<Budget>) -> Option<Bytes> {
        let id = (key, entry.entity_tag());
        let coded = self.known.get_or_insert_with(id, Arc::default);
        if let Some(known) = coded.get() {
            return Some(known.bytes.clone());
        }
        let made =
            coded.get_or_try_init(|| self.make(entry.body().clone(), budget)).await.ok()?.bytes.clone();
        // weighed again, now that it is known how long it is
        self.known.insert(id, coded);
        Some(made)
    }

    async fn make(&self, body: Bytes, budget: &Arc<Budget>) -> Result<Made, ()> {
        if body.len() <= AT_ONCE {
            return Ok(Made { bytes: coding::gzip(&body), _kept: None });
        }
        let _turn = self.turns.acquire().await.map_err(|_| ())?;
        // it hardly ever becomes longer
        let _room = budget.take(body.len()).ok_or(())?;
        let made = tokio::task::spawn_blocking(move || coding::gzip(&body)).await.map_err(|_| ())?;
        let (bytes, share) = budget::hold_anyway(made, budget);
        Ok(Made { bytes, _kept: share.map(Kept::new) })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.known.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.known.clear();
    }
}
