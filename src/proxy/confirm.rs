//! Entries that no reading has confirmed yet. An entry is served under another cluster state than the one that was read
//! before its search only where that was still the state after it (`Entry::met`). Its first hit mostly shows that. Where
//! the state moves all the time it would come too late, so there it is asked for when the answer has come: that question is
//! shared by all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{Proxy, View};
use crate::cache::Entry;
use crate::rounds::Needed;

/// For how long a state that has moved once is taken for one that moves.
const MOVES_FOR: Duration = Duration::from_secs(600);

/// When an entry was last found that could not be confirmed any more.
#[derive(Debug, Default)]
pub(super) struct Confirming {
    /// In milliseconds since the watcher's birth, plus one; 0 if there was none.
    lost: AtomicU64,
}

impl Proxy {
    /// An entry of an equal generation is lost, since the state has moved before anybody asked again.
    pub(super) fn note_unconfirmed(&self, view: &View, entry: &Entry) {
        if view.started.is_some() && view.generation.tag() == entry.tag() {
            self.stats.plain.unconfirmed.inc();
            self.confirming.lost.store(self.millis() + 1, Ordering::Relaxed);
        }
    }

    /// Whether the cluster state moves so often that entries were lost for it.
    pub(super) fn state_moves(&self) -> bool {
        let lost = self.confirming.lost.load(Ordering::Relaxed);
        lost > 0 && u128::from(self.millis().saturating_sub(lost)) < MOVES_FOR.as_millis()
    }

    /// Asks whether the state is still the one that was read before the search, if its first hit may come too late.
    pub(super) fn confirm_in_time(self: &Arc<Self>, entry: &Arc<Entry>) {
        if !self.state_moves() {
            return;
        }
        let (proxy, entry) = (Arc::clone(self), Arc::clone(entry));
        tokio::spawn(async move {
            let asked = Instant::now();
            if let Some(state) = proxy.watcher.state(Needed::since(asked)).await {
                entry.confirm(state, asked);
            }
        });
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.watcher.uptime().as_millis()).unwrap_or(u64::MAX - 1)
    }
}
