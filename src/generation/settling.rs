//! How long permissions, or metadata, have been in the state that readings show.

use std::time::Duration;

use tokio::time::Instant;

/// The newest state that was seen, and since when it is surely the state.
#[derive(Clone, Debug, Default)]
pub struct Settling(Option<Seen>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    digest: [u8; 32],
    /// When it was first seen, by the end of that look. It came to be at that time or before.
    since: Instant,
    /// The start of the newest look.
    latest: Instant,
}

impl Settling {
    /// A look that started at `started` and is over at `now` showed this state. Returns whether the state has been
    /// seen for `gap` by then.
    ///
    /// The change that led to the state was made at some time before the end of the first look that shows it. So that
    /// end is what counts: the latest time at which the change can have been made. A look that started before one
    /// that is already known tells nothing about now: with another state than the newest it is never settled.
    pub fn note(&mut self, digest: [u8; 32], started: Instant, now: Instant, gap: Duration) -> bool {
        match &mut self.0 {
            Some(seen) if seen.digest == digest => {
                seen.latest = seen.latest.max(started);
                now.saturating_duration_since(seen.since) >= gap
            }
            Some(seen) if started < seen.latest => false,
            _ => {
                self.0 = Some(Seen { digest, since: now, latest: started });
                gap.is_zero()
            }
        }
    }

    /// The newest state that was seen.
    #[must_use]
    pub fn newest(&self) -> Option<[u8; 32]> {
        self.0.map(|seen| seen.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(5);

    #[test]
    fn a_state_settles_a_gap_after_it_was_first_seen() {
        let zero = Instant::now();
        let at = |seconds: u64| zero + Duration::from_secs(seconds);
        let (mut settling, a, b) = (Settling::default(), [1; 32], [2; 32]);
        // also the first one after start-up: a change may just have been made
        assert!(!settling.note(a, at(0), at(1), GAP));
        assert!(!settling.note(a, at(5), at(5), GAP), "counted from the end of the first look");
        assert!(settling.note(a, at(6), at(6), GAP));
        assert!(!settling.note(b, at(10), at(11), GAP));
        // a look that started earlier and ended later
        assert!(!settling.note(a, at(9), at(12), GAP));
        assert!(!settling.note(b, at(15), at(15), GAP));
        assert!(settling.note(b, at(16), at(16), GAP));
        // back to what it was: a new state
        assert!(!settling.note(a, at(17), at(17), GAP));
        assert!(settling.note(a, at(22), at(22), GAP));
    }
}
