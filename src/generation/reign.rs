//! The time during which a target has one generation, as far as readings have seen it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A generation's time at a target. Whoever holds it learns when it is over: generations do not come back.
#[derive(Debug)]
pub struct Reign {
    began: Instant,
    over: AtomicBool,
}

/// Where indices are written to they are refreshed every second: what is younger than some of these tells nothing.
const LEAST_SEEN: Duration = Duration::from_secs(10);

/// A reign is taken to last when it was seen for this many times as long as nobody has looked since. Where changes
/// come at any time with equal chance, one in ten of such guesses is wrong.
const SEEN_PER_UNSEEN: u32 = 9;

impl Reign {
    /// One that a reading at `now` was the first to see.
    #[must_use]
    pub fn since(now: Instant) -> Arc<Reign> {
        Arc::new(Reign { began: now, over: AtomicBool::new(false) })
    }

    /// A later reading has found another generation.
    pub fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Whether a later reading has found another generation.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Whether it probably lasts at `now`, if the reading that saw it last started at `seen`. A guess: nothing may be
    /// served by it.
    #[must_use]
    pub fn probably_lasts(&self, seen: Instant, now: Instant) -> bool {
        let was_seen_for = seen.saturating_duration_since(self.began);
        let unseen = now.saturating_duration_since(seen);
        !self.is_over() && was_seen_for >= LEAST_SEEN && unseen * SEEN_PER_UNSEEN <= was_seen_for
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_lasted_probably_lasts() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let reign = Reign::since(began);
        assert!(reign.probably_lasts(at(90), at(100)) && !reign.probably_lasts(at(90), at(101)));
        assert!(reign.probably_lasts(at(10), at(11)) && !reign.probably_lasts(at(9), at(9)));
        reign.end();
        assert!(!reign.probably_lasts(at(90), at(90)));
    }
}
