//! Requests without an answer: each client is told, and the log a few times a second. While the engine is down there may be
//! thousands a second; that it is down, and which host fails, is told where that is found.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Proxy;
use crate::error::ProxyError;

/// How many lines the log has in each span of [`SPAN`].
const MOST: u32 = 10;

/// One second.
const SPAN: Duration = Duration::from_secs(1);

/// What the log was told.
#[derive(Debug, Default)]
pub(super) struct Unanswered(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// When the present span began.
    since: Option<Instant>,
    /// The lines in it.
    lines: u32,
    /// How many there might have been since the last one.
    suppressed: u64,
}

impl Unanswered {
    /// Whether the log is told of one more; if so, how many it was not told of since the last line.
    fn tells(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.since.is_none_or(|since| now.duration_since(since) >= SPAN) {
            (told.since, told.lines) = (Some(now), 0);
        }
        if told.lines == MOST {
            told.suppressed += 1;
            return None;
        }
        told.lines += 1;
        Some(std::mem::take(&mut told.suppressed))
    }
}

impl Proxy {
    /// There is no answer to a request of this kind.
    pub(super) fn note_unanswered(&self, what: &'static str, error: &ProxyError) {
        if let Some(suppressed) = self.unanswered.tells(Instant::now()) {
            tracing::warn!(%error, suppressed, "no answer to a {what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_a_few_times_a_second_and_how_often_it_was_not() {
        let (unanswered, start) = (Unanswered::default(), Instant::now());
        let told = |millis, times| -> Vec<Option<u64>> {
            (0..times).map(|_| unanswered.tells(start + Duration::from_millis(millis))).collect()
        };
        assert_eq!(told(0, 9), [Some(0); 9]);
        assert_eq!(told(500, 1), [Some(0)]);
        assert_eq!(told(999, 1_000), [None; 1_000]);
        assert_eq!(told(1_000, 2), [Some(1_000), Some(0)]);
        assert_eq!(told(1_999, 10), [[Some(0); 8].as_slice(), &[None; 2]].concat());
        assert_eq!(told(9_000, 2), [Some(2), Some(0)]);
    }
}
