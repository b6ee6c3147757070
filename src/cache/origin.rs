//! What entries that were filled under one reading have in common. It is kept once, however many they are.

use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use super::freshness::Audience;
use super::head::StoredHead;
use crate::generation::{Reign, Tag};
use crate::stats::IndexSet;

/// Under what an answer was asked for, and what all answers to such questions share.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) head: StoredHead,
    pub(super) tag: Tag,
    /// Of the generation; `None` where nobody watches.
    pub(super) reign: Option<Arc<Reign>>,
    pub(super) indices: Arc<IndexSet>,
    pub(super) audience: Audience,
}

/// How many are remembered to be shared; a power of two.
const PLACES: usize = 256;

impl Origin {
    /// The one that an entry before had, if it was the same. One that is not found again costs memory, and nothing else.
    pub(super) fn shared(self) -> Arc<Origin> {
        // weak: what no entry has any more is not held
        static RECENT: LazyLock<[Mutex<Weak<Origin>>; PLACES]> =
            LazyLock::new(|| std::array::from_fn(|_| Mutex::default()));

        let mut recent = RECENT[self.place()].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = recent.upgrade().filter(|known| known.is(&self)) {
            return known;
        }
        let origin = Arc::new(self);
        *recent = Arc::downgrade(&origin);
        origin
    }

    fn place(&self) -> usize {
        let [first, second, ..] = *self.tag.as_bytes();
        let audience = match self.audience {
            Audience::Everybody => 1,
            Audience::Proven([first, ..]) => first,
            Audience::Unproven => 0,
        };
        let of_indices = Arc::as_ptr(&self.indices).addr() / size_of::<IndexSet>();
        (usize::from(first ^ audience) + usize::from(second) * 7 + of_indices) % PLACES
    }

    fn is(&self, other: &Origin) -> bool {
        let reigns = match (&self.reign, &other.reign) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        reigns
            && self.tag == other.tag
            && self.audience == other.audience
            && Arc::ptr_eq(&self.indices, &other.indices)
            && self.head == other.head
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use tokio::time::Instant;

    use super::*;
    use crate::generation::Generation;

    #[test]
    fn equal_origins_are_one_and_others_are_not() {
        let head = |value| {
            StoredHead::of(&HeaderMap::from_iter([(http::header::WARNING, HeaderValue::from_static(value))]))
        };
        let one = Origin {
            head: head("299 origins"),
            tag: Generation::unwatched().tag(),
            reign: Some(Reign::since(Instant::now())),
            indices: Arc::default(),
            audience: Audience::Proven([3; 32]),
        };
        let shared = one.clone().shared();
        assert!(Arc::ptr_eq(&shared, &one.clone().shared()));
        for other in [
            Origin { head: head("299 others"), ..one.clone() },
            Origin { reign: Some(Reign::since(Instant::now())), ..one.clone() },
            Origin { reign: None, ..one.clone() },
            Origin { indices: Arc::default(), ..one.clone() },
            Origin { audience: Audience::Everybody, ..one.clone() },
            Origin { audience: Audience::Proven([4; 32]), ..one.clone() },
        ] {
            assert!(!other.is(&one) && !Arc::ptr_eq(&other.shared(), &shared));
        }
    }
}
