//! One budget of bytes for what is held in memory outside the caches (`limits.max_buffered`): bodies of requests that are
//! waited for, answers while their clients read them. Nobody waits for it, and nothing is refused for want of it: what
//! finds no room streams, and is not cached.
//!
//! A share is bound to the bytes that it stands for ([`hold`]) and is given back when the last who holds them lets them go,
//! whoever that is. While a cache counts the same bytes the budget does not ([`Kept`]); when the cache has dropped them,
//! and a client is still reading, it does again. So both together are the bound, but for what is [taken
//! anyway](Budget::take_anyway).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

/// What is smaller, in bytes, is not counted while a client reads it: the buffers of its connection are larger.
pub const SMALL: usize = 16 << 10;

/// How many bytes may be held, and how many are.
#[derive(Debug)]
pub struct Budget {
    most: u64,
    held: AtomicU64,
}

impl Budget {
    /// Of at most so many bytes.
    #[must_use]
    pub fn new(most: u64) -> Arc<Budget> {
        Arc::new(Budget { most, held: AtomicU64::new(0) })
    }

    /// How many bytes are held. They may be more than the budget has: what a cache has dropped while it is read is counted
    /// whether there is room or not.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// A share without bytes, to [grow](Share::grow).
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0, kept: AtomicBool::new(false) }
    }

    /// A share of so many bytes, if there is room.
    #[must_use]
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let mut share = self.share();
        share.grow(bytes).then_some(share)
    }

    /// A share for bytes that one client reads, if there is room. What is [small](SMALL) takes nothing.
    #[must_use]
    pub fn take_for_reader(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        self.take(if bytes < SMALL { 0 } else { bytes })
    }

    /// A share of so many bytes, which are here already, whether there is room or not.
    #[must_use]
    pub fn take_anyway(self: &Arc<Self>, bytes: usize) -> Share {
        self.held.fetch_add(bytes as u64, Ordering::Relaxed);
        let mut share = self.share();
        share.bytes = bytes;
        share
    }
}

/// A part of the budget. It is given back when this is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
    /// Whether a cache counts the bytes.
    kept: AtomicBool,
}

impl Share {
    /// Takes more bytes, if there is room.
    #[must_use]
    pub fn grow(&mut self, more: usize) -> bool {
        if more == 0 {
            return true;
        }
        let Budget { most, held } = &*self.budget;
        let with = |held: u64| held.checked_add(more as u64).filter(|sum| sum <= most);
        let fits = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with).is_ok();
        if fits {
            self.bytes += more;
        }
        fits
    }

    /// Gives back what is more than so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        let more = self.bytes.saturating_sub(bytes);
        self.bytes -= more;
        self.budget.held.fetch_sub(more as u64, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes != 0 && !*self.kept.get_mut() {
            self.budget.held.fetch_sub(self.bytes as u64, Ordering::Relaxed);
        }
    }
}

/// The same bytes, which hold their share as long as anybody holds them.
#[must_use]
pub fn hold(bytes: Bytes, share: Share) -> Bytes {
    if share.bytes == 0 { bytes } else { Bytes::from_owner(Held { bytes, _share: share }) }
}

/// The same bytes, which are here already, with a share of their own that a cache may [keep](Kept). `None` where they are
/// too [small](SMALL) to be counted.
#[must_use]
pub fn hold_anyway(bytes: Bytes, budget: &Arc<Budget>) -> (Bytes, Option<Arc<Share>>) {
    if bytes.len() < SMALL {
        return (bytes, None);
    }
    let share = Arc::new(budget.take_anyway(bytes.len()));
    (Bytes::from_owner(Held { bytes, _share: Arc::clone(&share) }), Some(share))
}

#[derive(Debug)]
struct Held<S> {
    bytes: Bytes,
    _share: S,
}

impl<S> AsRef<[u8]> for Held<S> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// As long as this is there, a cache counts the bytes of a share, and not the budget; then, while somebody else still holds
/// them, the budget does again.
#[derive(Debug)]
pub struct Kept(Arc<Share>);

impl Kept {
    /// For a cache that has the bytes from now on. There is one for each share.
    #[must_use]
    pub fn new(share: Arc<Share>) -> Kept {
        share.kept.store(true, Ordering::Relaxed);
        share.budget.held.fetch_sub(share.bytes as u64, Ordering::Relaxed);
        Kept(share)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // if nobody else has the bytes, the share is dropped just after this
        self.0.budget.held.fetch_add(self.0.bytes as u64, Ordering::Relaxed);
        self.0.kept.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_given_back_with_the_last_of_its_bytes() {
        let budget = Budget::new(100);
        let mut share = budget.take(60).unwrap();
        assert!(budget.take(41).is_none() && !share.grow(41));
        assert!(share.grow(40));
        assert_eq!(budget.held(), 100);
        share.shrink_to(50);
        let held = hold(Bytes::from_static(b"bytes"), share);
        let part = held.slice(1..2);
        drop(held);
        assert_eq!((budget.held(), &part[..]), (50, &b"y"[..]));
        drop(part);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_a_cache_has_dropped_counts_as_long_as_it_is_read() {
        let budget = Budget::new(10);
        let keep = |bytes| {
            let (held, share) = hold_anyway(Bytes::from(vec![7; bytes]), &budget);
            let counted = if share.is_some() { bytes as u64 } else { 0 };
            assert_eq!(budget.held(), counted, "no cache has it yet");
            (held, share.map(Kept::new))
        };
        let (held, kept) = keep(SMALL);
        assert_eq!(budget.held(), 0, "the cache counts it");
        drop(kept);
        assert_eq!(budget.held(), SMALL as u64);
        assert!(budget.take(1).is_none());
        drop(held);
        assert_eq!(budget.held(), 0);
        // the other way round, and what is too small to be counted
        let (held, kept) = keep(SMALL);
        drop(held);
        drop(kept);
        assert_eq!(budget.held(), 0);
        assert!(keep(SMALL - 1).1.is_none());
        assert!(budget.take_for_reader(SMALL - 1).is_some() && budget.take_for_reader(SMALL).is_none());
    }
}
