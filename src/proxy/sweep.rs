//! Entries whose target has changed leave soon after a reading has seen it, not only when room is wanted.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::Proxy;
use crate::cache::Entry;

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
            let sweeping = sweeping(Arc::downgrade(self), Arc::clone(self.watcher.moved()));
            AbortOnDropHandle::new(tokio::spawn(sweeping))
        });
        // it landed after the sweep that should have found it
        if stored.is_over() {
            self.watcher.moved().notify_one();
        }
    }
}

async fn sweeping(proxy: Weak<Proxy>, moved: Arc<Notify>) {
    loop {
        moved.notified().await;
        let Some(proxy) = proxy.upgrade() else { return };
        let began = Instant::now();
        // it takes a while where there are many, and answers are not to wait for it
        let swept = tokio::task::spawn_blocking(move || {
            let swept = proxy.store.sweep();
            proxy.stats.plain.swept.add(swept);
        });
        if swept.await.is_err() {
            return;
        }
        tokio::time::sleep((began.elapsed() * SHARE).max(PAUSE)).await;
    }
}
