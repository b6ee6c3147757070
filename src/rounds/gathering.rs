//! Whether the next measurement waits for those whom the one before has answered. Clients that ask again at once come
//! back just after it would have begun, so they fall into two halves that wait for each other's measurements: each waits
//! two, and the engine is asked twice as often. A moment of patience brings them together.
//!
//! Clients that come on their own would wait in vain; so after each attempt that failed it is left for longer.

use std::time::Duration;

use tokio::sync::oneshot;

/// A shorter measurement is not waited for: a clock of milliseconds would make it longer.
const SHORTEST: Duration = Duration::from_micros(500);

/// No wait is longer, and none is longer than two measurements.
const LONGEST: Duration = Duration::from_millis(20);

/// After the first attempt that failed, so many measurements begin without one; then four times as many, and so on.
const FIRST_PAUSE: u32 = 16;

/// At most so many: one in a thousand may be late in vain.
const LONGEST_PAUSE: u32 = 1024;

#[derive(Debug, Default)]
pub(super) struct Gathering {
    awaited: Option<oneshot::Sender<()>>,
    /// How many are to be here before the next one begins.
    all: usize,
    /// Fewer are not worth the wait.
    some: usize,
    pause: u32,
    left: u32,
}

impl Gathering {
    /// So many were answered by a measurement that took so long, and so many wait for the next one. What to wait for
    /// before that begins, and how long at most.
    pub(super) fn begin(
        &mut self,
        answered: usize,
        waiting: usize,
        took: Duration,
    ) -> Option<(oneshot::Receiver<()>, Duration)> {
        // the last few may be late
        let awaited = (answered + waiting) - (answered + waiting) / 8;
        if awaited < 2 || waiting >= awaited || took < SHORTEST {
            return None;
        }
        if self.left > 0 {
            self.left -= 1;
            return None;
        }
        let (sender, gathered) = oneshot::channel();
        (self.all, self.some) = (awaited, usize::midpoint(waiting, awaited));
        self.awaited = Some(sender);
        Some((gathered, (2 * took).min(LONGEST)))
    }

    /// So many wait now.
    pub(super) fn joined(&mut self, waiting: usize) {
        if waiting >= self.all
            && let Some(gathered) = self.awaited.take()
        {
            let _ = gathered.send(());
        }
    }

    /// The wait is over, and so many are here.
    pub(super) fn end(&mut self, waiting: usize) {
        self.awaited = None;
        self.pause =
            if waiting >= self.some { 0 } else { (4 * self.pause).clamp(FIRST_PAUSE, LONGEST_PAUSE) };
        self.left = self.pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(1);

    #[test]
    fn those_who_were_answered_are_waited_for_and_the_last_few_not() {
        let mut gathering = Gathering::default();
        let (mut gathered, limit) = gathering.begin(32, 32, TOOK).unwrap();
        assert_eq!(limit, 2 * TOOK);
        gathering.joined(55);
        assert!(gathered.try_recv().is_err());
        gathering.joined(56);
        gathered.try_recv().unwrap();
        gathering.end(56);
        assert!(gathering.begin(56, 8, TOOK).is_some(), "what has worked is done again");
        gathering.end(32);
        assert!(gathering.begin(32, 32, TOOK).is_some(), "and what has brought half of them");
    }

    #[test]
    fn who_is_alone_or_quick_waits_for_nobody() {
        let mut gathering = Gathering::default();
        assert!(gathering.begin(1, 0, TOOK).is_none());
        assert!(gathering.begin(0, 0, TOOK).is_none());
        assert!(gathering.begin(2, 30, TOOK).is_none(), "they are here");
        assert!(gathering.begin(8, 8, TOOK / 10).is_none());
        assert_eq!(gathering.begin(8, 8, 100 * TOOK).unwrap().1, LONGEST);
    }

    #[test]
    fn what_was_in_vain_is_tried_less_and_less() {
        let mut gathering = Gathering::default();
        let mut tried = Vec::new();
        for number in 0..4_000 {
            if gathering.begin(8, 8, TOOK).is_some() {
                tried.push(number);
                gathering.end(8);
            }
        }
        assert_eq!(tried, [0, 17, 82, 339, 1364, 2389, 3414]);
        while gathering.begin(8, 8, TOOK).is_none() {}
        gathering.end(14);
        assert!(gathering.begin(8, 8, TOOK).is_some());
    }
}
