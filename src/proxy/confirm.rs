//! Entries that nothing has confirmed yet. An entry is served under another cluster state than the one that was read
//! before its search only where its search was carried out by that (`Entry::met`). In between an index may have joined a
//! target and left it, and a setting of the cluster may have had another value. A hit shows it after a while, since the master
//! may come to show a state up to `PUBLICATION` later than a node searches by it. Where the state moves all the time that would be
//! too late, so there the node that has answered is asked when its answer has come: by what it goes it knows at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Proxy, View};
use crate::cache::Entry;
use crate::upstream::Giver;

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

    /// Asks who has answered whether it still goes by the state that was read before the search, if a hit that shows it
    /// may come too late.
    pub(super) fn confirm_in_time(self: &Arc<Self>, entry: &Arc<Entry>, giver: Giver) {
        if !self.state_moves() || entry.is_confirmed() {
            return;
        }
        let (proxy, entry) = (Arc::clone(self), Arc::clone(entry));
        tokio::spawn(async move {
            if let Some(state) = proxy.upstream.applied_by_giver(giver).await {
                entry.confirm_by_giver(state.digest());
            }
        });
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.watcher.uptime().as_millis()).unwrap_or(u64::MAX - 1)
    }
}
