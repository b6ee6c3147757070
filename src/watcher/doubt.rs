//! How long a request waits for what is read for it. Each shard of each target is asked by a reading, so whoever waits for
//! one node waits in vain, and once is enough: while a host is silent, or a reading of whatever target has lately not
//! ended in time, who comes next waits for a part of the time alone.
//!
//! But not where the target itself has been read since the doubt arose. Else one target whose readings are always late
//! would keep all others out of the cache for ever, wherever readings take longer than that part: each would end well,
//! and nobody be there any more.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Watcher;
use super::watch::Watch;
use crate::elastic::target::Target;

/// How long a reading that did not end in time makes others doubtful.
const DOUBT: Duration = Duration::from_secs(30);

/// Which part of its time a reading is waited for while there is doubt.
const PART_IN_DOUBT: u32 = 4;

/// When a reading last did not end in time.
#[derive(Debug, Default)]
pub(super) struct Late(Mutex<Option<Instant>>);

impl Late {
    /// One did not.
    pub(super) fn note(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// When that was, if it was lately.
    fn since(&self, now: Instant) -> Option<Instant> {
        let late = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        late.filter(|late| now.duration_since(*late) < DOUBT)
    }
}

impl Watcher {
    /// What is read for a request of this target, unless it takes longer than a request waits for it.
    pub async fn in_time<T>(&self, target: &Target, read: impl Future<Output = T>) -> Option<T> {
        self.in_time_of(&self.watch(target), read).await
    }

    pub(super) async fn in_time_of<T>(&self, watch: &Watch, read: impl Future<Output = T>) -> Option<T> {
        let (mut read, patience, begun) = (pin!(read), self.settings.timeout, Instant::now());
        if let Ok(read) = tokio::time::timeout(patience / PART_IN_DOUBT, read.as_mut()).await {
            return Some(read);
        }
        let doubtful = |since: Instant| !watch.was_read_since(since);
        if self.questions.late.since(Instant::now()).is_some_and(doubtful) {
            return None;
        }
        let silence = async {
            if !doubtful(self.questions.upstream.silence().await) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            read = read => Some(read),
            () = tokio::time::sleep_until(begun + patience) => None,
            () = silence => None,
        }
    }
}
