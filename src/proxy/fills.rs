//! How many searches are upstream at once that fill the cache, or could be answered from it at another moment.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Lets some fills through and some wait, so that a cold cache cannot flatten the cluster.
#[derive(Debug)]
pub(super) struct Fills {
    permits: Semaphore,
    waiting: AtomicUsize,
    most_waiting: usize,
}

impl Fills {
    pub(super) fn new(most: usize) -> Fills {
        let permits = Semaphore::new(most.min(Semaphore::MAX_PERMITS));
        Fills { permits, waiting: AtomicUsize::new(0), most_waiting: most }
    }

    /// A permit, at once or after a wait; `None` if too many wait already.
    pub(super) async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Some(permit);
        }
        let _queued = Queued::new(&self.waiting, self.most_waiting)?;
        self.permits.acquire().await.ok()
    }
}

/// A place among those who wait, given back when it is dropped.
struct Queued<'a>(&'a AtomicUsize);

impl Queued<'_> {
    fn new(count: &AtomicUsize, most: usize) -> Option<Queued<'_>> {
        let place = Queued(count);
        (count.fetch_add(1, Ordering::AcqRel) < most).then_some(place)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
