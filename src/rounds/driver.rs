//! Who measures: one for each subject, as long as somebody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Failure, Measured, Round, Rounds, Subject};
use crate::cache::Stamp;

/// Measures as long as somebody waits. If it is lost, those who wait are told, and the next one starts anew.
pub(super) struct Driver<S: Subject> {
    rounds: Arc<Rounds<S>>,
    done: bool,
}

impl<S: Subject> Driver<S> {
    pub(super) fn of(rounds: &Arc<Rounds<S>>) -> Driver<S> {
        Driver { rounds: Arc::clone(rounds), done: false }
    }

    pub(super) async fn drive(mut self) {
        while let Some((round, started)) = self.begin() {
            let found = self.rounds.subject.measure().await;
            let measured = Measured {
                started,
                took: started.at.elapsed(),
                shared: round.receiver_count(),
                found,
                renewal: AtomicU64::new(u64::MAX),
            };
            let (shared, took) = (measured.shared, measured.took);
            self.land(&round, Arc::new(measured));
            if S::GATHERS {
                self.gather(shared, took).await;
            }
        }
    }

    /// Waits a moment for those who were just answered, beside those who wait already.
    async fn gather(&self, answered: usize, took: Duration) {
        let gathered = {
            let mut state = self.rounds.lock();
            let waiting = state.waiting();
            state.gathering.begin(answered, waiting, took)
        };
        if let Some((gathered, limit)) = gathered {
            let _ = tokio::time::timeout(limit, gathered).await;
            let mut state = self.rounds.lock();
            let waiting = state.waiting();
            state.gathering.end(waiting);
        }
    }

    /// Takes the next round if somebody waits for it. It starts before its first question is sent.
    fn begin(&mut self) -> Option<(Round<S>, Stamp)> {
        let mut state = self.rounds.lock();
        let next = state.next.take().filter(|round| round.receiver_count() > 0);
        let Some(round) = next else {
            (state.driven, self.done) = (false, true);
            return None;
        };
        let started = self.rounds.pace.now();
        state.current = Some((started.at, Arc::clone(&round)));
        Some((round, started))
    }

    /// Tells those who waited, and of a failure that lasts those who came meanwhile: they do not each try again.
    fn land(&self, round: &Round<S>, measured: Arc<Measured<S::Found, S::Failure>>) {
        let rounds = &self.rounds;
        let failure = measured.found.as_ref().err();
        let lasting = failure.is_some_and(Failure::lasts) && !rounds.pace.pause.is_zero();
        let final_word = lasting && !failure.is_some_and(Failure::mends);
        let also = {
            let mut state = rounds.lock();
            if final_word && measured.took >= rounds.pace.late {
                rounds.late_streak.fetch_add(1, Ordering::Relaxed);
            } else {
                rounds.late_streak.store(0, Ordering::Relaxed);
            }
            match failure {
                None => {
                    rounds.subject.ended(measured.took, measured.shared);
                    rounds.latest.store(Some(Arc::clone(&measured)));
                    rounds.failed.store(None);
                }
                // an earlier measurement that found something stays as good as it is: it knows when it started
                Some(_) if lasting => rounds.failed.store(Some(Arc::clone(&measured))),
                Some(_) => {}
            }
            state.current = None;
            if final_word { state.next.take() } else { None }
        };
        if let Some(also) = also {
            also.send_replace(Some(Arc::clone(&measured)));
        }
        round.send_replace(Some(measured));
    }
}

impl<S: Subject> Drop for Driver<S> {
    fn drop(&mut self) {
        if !self.done {
            let mut state = self.rounds.lock();
            (state.driven, state.current, state.next) = (false, None, None);
        }
    }
}
