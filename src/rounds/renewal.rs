//! Renewal ahead: what is used with a bound is measured again before it ages out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Measured, Needed, Pace, Rounds, Subject};

/// Each bound is divided into so many steps; renewals begin where one ends.
const STEPS: u32 = 16;

/// What is used so late that its renewal is due waits for no longer step.
const LONGEST_STEP: Duration = Duration::from_millis(100);

/// A measurement that is to be followed by another.
pub(super) struct Renewal {
    /// When it started.
    of: Instant,
    /// When the other one is to begin.
    at: Instant,
    task: AbortHandle,
}

impl Renewal {
    /// Whether nobody needs `other` beside this one: it comes no sooner, or what it renews has a successor.
    fn outdoes(&self, other: &Renewal) -> bool {
        self.of > other.of || (self.of == other.of && self.at <= other.at && !self.task.is_finished())
    }
}

impl<S: Subject> Rounds<S> {
    /// Sees to it that a measurement that is used with a bound is followed by another before it ages out.
    pub(super) fn renew_in_time(
        self: &Arc<Self>,
        used: &Arc<Measured<S::Found, S::Failure>>,
        bound: Duration,
    ) {
        let due = renewal(bound, used.took);
        // of many targets several are renewed at the same moment, and then one call asks for all of them; never sooner than
        // `renewal` allows
        let due =
            due.saturating_sub(self.pace.since_last(used.started.at + due, bound / STEPS)).max(bound / 2);
        if nanos(due) >= used.renewal.load(Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        let due = if used.started.at + due > now {
            due
        } else {
            // of many targets that are used about once for each bound, most are late
            now - used.started.at + self.pace.until_next(now, (bound / STEPS).min(LONGEST_STEP))
        };
        if nanos(due) < used.renewal.fetch_min(nanos(due), Ordering::Relaxed) {
            self.renew_at(used, due);
        }
    }

    /// Renews a measurement at this age, unless another renewal does. Others with another bound may have come in since the
    /// caller looked, so what is needed is decided here, under the lock.
    pub(super) fn renew_at(self: &Arc<Self>, used: &Measured<S::Found, S::Failure>, due: Duration) {
        let (rounds, of) = (Arc::downgrade(self), used.started.at);
        let at = of + due;
        let task = tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            // who is forgotten is not renewed
            let Some(rounds) = rounds.upgrade() else { return };
            let Ok(_permit) = rounds.pace.renewals.acquire().await else { return };
            rounds.get(Needed::after(of)).await;
        });
        let renewal = Renewal { of, at, task: task.abort_handle() };
        let needless = match &mut self.lock().renewal {
            Some(other) if other.outdoes(&renewal) => Some(renewal),
            other => other.replace(renewal),
        };
        if let Some(needless) = needless {
            needless.task.abort();
        }
    }
}

impl<S: Subject> Drop for Rounds<S> {
    fn drop(&mut self) {
        if let Some(renewal) = self.lock().renewal.take() {
            renewal.task.abort();
        }
    }
}

impl Pace {
    /// How long before `at` the last of those moments was that are `step` apart, the same for all.
    fn since_last(&self, at: Instant, step: Duration) -> Duration {
        let since = at.saturating_duration_since(self.epoch).as_nanos();
        let past = since.checked_rem(step.as_nanos()).unwrap_or_default();
        Duration::from_nanos(u64::try_from(past).unwrap_or_default())
    }

    /// How long after `at` the next of them is.
    fn until_next(&self, at: Instant, step: Duration) -> Duration {
        step - self.since_last(at, step)
    }
}

/// A time that does not fit in takes as long as there is.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// At which age a measurement that serves for `bound` and took `took` is renewed: so late that it costs little, so
/// early that the next one has landed before this one ages out.
#[must_use]
pub fn renewal(bound: Duration, took: Duration) -> Duration {
    bound.saturating_sub((bound / 4).max(3 * took)).max(bound / 2)
}
