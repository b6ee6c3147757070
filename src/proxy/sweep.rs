//! Entries whose target has changed leave soon after a reading has seen it, not only when room is wanted.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::Proxy;
use crate::cache::Entry;
use crate::stats::Stats;

/// Who sweeps, from the first entry on.
pub(super) type Sweeper = OnceLock<AbortOnDropHandle<()>>;

/// At least so long from one sweep to the next, however often targets change ...
const PAUSE: Duration = Duration::from_secs(1);
/// ... and so many times as long as the last one took: all entries are looked at.
const SHARE: u32 = 50;

impl Proxy {
    /// From now on there is something to sweep.
    pub(super) fn sweep_after_changes(self: &Arc<Self>, stored: &Entry) {
        if self.unwatched() {
            return;
        }
        self.sweeper.get_or_init(|| {
            let (proxy, moved) = (Arc::downgrade(self), Arc::clone(self.watcher.moved()));
            let sweep = move || proxy.upgrade().map(|proxy| move || proxy.sweep());
            AbortOnDropHandle::new(tokio::spawn(sweeping(moved, Arc::clone(&self.stats), sweep)))
        });
        // it landed after the sweep that should have found it
        if stored.is_over() {
            self.watcher.moved().notify_one();
        }
    }

    fn sweep(&self) {
        let swept = self.store.sweep();
        self.stats.plain.swept.add(swept);
    }
}

/// Sweeps after each change, as long as `next` has a sweep.
async fn sweeping<S: FnOnce() + Send + 'static>(
    moved: Arc<Notify>,
    stats: Arc<Stats>,
    next: impl Fn() -> Option<S>,
) {
    loop {
        moved.notified().await;
        let Some(sweep) = next() else { return };
        let began = Instant::now();
        // it takes a while where there are many, and answers are not to wait for it
        match tokio::task::spawn_blocking(sweep).await {
            Ok(()) => {}
            // what it has left is for the next one
            Err(error) if error.is_panic() => {
                stats.plain.panics.inc();
                tracing::error!("a sweep of the cache ended in a panic; this is a bug of escache");
            }
            // there is no runtime any more
            Err(_) => return,
        }
        tokio::time::sleep((began.elapsed() * SHARE).max(PAUSE)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sweep_that_panics_is_not_the_last_one() {
        let (moved, stats) = (Arc::new(Notify::new()), Arc::new(Stats::default()));
        let ((begun, mut seen), number) = (mpsc::unbounded_channel(), AtomicUsize::new(0));
        let sweep = move || {
            let (begun, number) = (begun.clone(), number.fetch_add(1, Ordering::SeqCst));
            Some(move || {
                begun.send(number).unwrap();
                assert!(number != 1, "on purpose");
            })
        };
        tokio::spawn(sweeping(Arc::clone(&moved), Arc::clone(&stats), sweep));
        for number in 0..4 {
            moved.notify_one();
            assert_eq!(seen.recv().await, Some(number));
        }
        assert_eq!(stats.plain.panics.get(), 1);
    }
}
