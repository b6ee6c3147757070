//! Measured once for all who wait (group commit). Of a subject one measurement is under way at a time; who arrives
//! while it runs waits for the next one, so the engine sees at most 1/latency of them, whatever the load of clients.
//!
//! Ways in which a wait can end: a measurement lands that serves; one lands that failed; the driver is lost (it
//! panicked), then all who wait are told and the next one starts anew; the waiter leaves. A failure that came late is
//! waited for once: who comes after it has it at once, while one more attempt is made in the background, after pauses
//! that grow. What is wanted is written down when a request comes ([`Needed`], with the marks that it has to heed), so
//! marks that are set later, as under a storm of writes, never send it back to the end of the queue.

mod driver;

mod gathering;

mod needed;

mod renewal;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use self::driver::Driver;
use self::gathering::Gathering;
pub use self::needed::Needed;
use self::renewal::Renewal;
pub use self::renewal::renewal;
use crate::cache::Stamp;
use crate::outcome::{Reason, Refusal};

/// What can be measured.
pub trait Subject: Send + Sync + 'static {
    /// What is found.
    type Found: Send + Sync + 'static;
    /// Why nothing is found.
    type Failure: Failure;

    /// Whether the next measurement waits a moment for those whom the one before has answered (`gathering`).
    const GATHERS: bool = false;

    /// Asks. Its start is taken before this is called.
    fn measure(&self) -> impl Future<Output = Result<Self::Found, Self::Failure>> + Send;

    /// Told when one that found something has ended: how long it took, and how many waited for it.
    fn ended(&self, _took: Duration, _shared: usize) {}
}

/// Why a measurement found nothing.
pub trait Failure: Clone + Send + Sync + 'static {
    /// Whether it would probably fail alike if it were tried again at once (no permission, no such endpoint, no answer).
    fn lasts(&self) -> bool;

    /// Whether a write or metadata call that passes through may end it: then it is no answer after the next mark.
    fn mends(&self) -> bool;
}

impl Failure for Reason {
    fn lasts(&self) -> bool {
        use Reason::{ClockSkew, GenerationIncomplete, GenerationUnknown, ScopeUnknown};
        matches!(self, ClockSkew | GenerationIncomplete | GenerationUnknown | ScopeUnknown)
    }

    fn mends(&self) -> bool {
        *self == Reason::GenerationIncomplete
    }
}

impl Failure for Refusal {
    fn lasts(&self) -> bool {
        self.reason.lasts()
    }

    fn mends(&self) -> bool {
        self.reason.mends()
    }
}

/// A measurement that has ended.
#[derive(Debug)]
pub struct Measured<T, E> {
    /// When its first question was about to be sent.
    pub started: Stamp,
    /// How long it took.
    pub took: Duration,
    /// How many waited for it when it ended.
    pub shared: usize,
    /// What was found, or why not.
    pub found: Result<T, E>,
    /// After how many nanoseconds from the start it is to be renewed.
    renewal: AtomicU64,
}

/// What the measurements of a kind have in common.
#[derive(Debug)]
pub struct Pace {
    /// The wall clock. It tells a machine that slept from one that did not, while the monotonic one may stand still.
    pub wall: fn() -> SystemTime,
    /// After a failure that lasts it is the answer for this long; then the engine is asked again.
    pub pause: Duration,
    /// A failure that took this long is late: nobody waits for another one like it, and the pause doubles with each.
    pub late: Duration,
    /// How many may be renewed in the background at once; the others wait, and if they age out meanwhile, who needs
    /// them asks.
    pub renewals: Semaphore,
    /// What the moments of renewal are counted from.
    epoch: Instant,
}

/// The longest pause after failures that came late.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A late failure that is older than this says nothing any more.
const LATE_LASTS: Duration = Duration::from_secs(90);

/// If the two clocks drift apart by more than this between a measurement and its use, the machine was suspended.
const MOST_DRIFT: Duration = Duration::from_secs(1);

impl Pace {
    /// A pace at which so many may be renewed at once.
    #[must_use]
    pub fn new(wall: fn() -> SystemTime, pause: Duration, late: Duration, renewals: usize) -> Pace {
        Pace { wall, pause, late, renewals: Semaphore::new(renewals), epoch: Instant::now() }
    }

    /// Now, on both clocks.
    #[must_use]
    pub fn now(&self) -> Stamp {
        Stamp { at: Instant::now(), wall: (self.wall)() }
    }

    fn slept_since(&self, started: Stamp) -> bool {
        let by_wall = (self.wall)().duration_since(started.wall).unwrap_or(Duration::MAX);
        by_wall.abs_diff(started.at.elapsed()) > MOST_DRIFT
    }
}

type Landing<S> = Option<Arc<Measured<<S as Subject>::Found, <S as Subject>::Failure>>>;
type Round<S> = Arc<watch::Sender<Landing<S>>>;

/// The measurements of one subject.
pub struct Rounds<S: Subject> {
    /// What is measured.
    pub subject: S,
    pace: Arc<Pace>,
    /// The latest one that found something; read without a lock.
    latest: ArcSwapOption<Measured<S::Found, S::Failure>>,
    /// The latest one that did not, until one does.
    failed: ArcSwapOption<Measured<S::Found, S::Failure>>,
    /// How many failures in a row came late.
    late_streak: AtomicU32,
    state: Mutex<State<S>>,
}

struct State<S: Subject> {
    /// Under way, and when it started.
    current: Option<(Instant, Round<S>)>,
    /// Wanted.
    next: Option<Round<S>>,
    driven: bool,
    gathering: Gathering,
    renewal: Option<Renewal>,
}

impl<S: Subject> State<S> {
    /// How many wait for the next one.
    fn waiting(&self) -> usize {
        self.next.as_ref().map_or(0, |next| next.receiver_count())
    }
}

/// What who asks under the lock gets.
enum Joined<S: Subject> {
    Landed(Arc<Measured<S::Found, S::Failure>>),
    Waiting(watch::Receiver<Landing<S>>),
}

impl<S: Subject> std::fmt::Debug for Rounds<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rounds").finish_non_exhaustive()
    }
}

impl<S: Subject> Rounds<S> {
    /// Nothing is measured yet.
    #[must_use]
    pub fn new(subject: S, pace: Arc<Pace>) -> Rounds<S> {
        let state = State {
            current: None,
            next: None,
            driven: false,
            gathering: Gathering::default(),
            renewal: None,
        };
        Rounds {
            subject,
            pace,
            latest: ArcSwapOption::empty(),
            failed: ArcSwapOption::empty(),
            late_streak: AtomicU32::new(0),
            state: Mutex::new(state),
        }
    }

    /// The latest measurement, if it serves. Takes no lock.
    #[must_use]
    pub fn serving(self: &Arc<Self>, needed: Needed) -> Landing<S> {
        let latest = self.found(needed)?;
        if !needed.bound.is_zero() {
            self.renew_in_time(&latest, needed.bound);
        }
        Some(latest)
    }

    /// The latest measurement that found something, whenever that was.
    #[must_use]
    pub fn latest(&self) -> Landing<S> {
        self.latest.load_full()
    }

    /// How many wait for the next measurement.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().waiting()
    }

    /// A measurement that serves: the latest one, the one under way, or the next. A failure that lasts is the answer for
    /// a while too, since it only leads to forwarding; one that came late, until an attempt has ended for which nobody
    /// waits. `None` if the driver was lost.
    pub async fn get(self: &Arc<Self>, needed: Needed) -> Landing<S> {
        if let Some(ready) = self.serving(needed).or_else(|| self.lasting_failure(needed)) {
            return Some(ready);
        }
        if let Some(late) = self.late_failure() {
            self.try_again();
            return Some(late);
        }
        match self.join(needed) {
            // what is served is renewed, and that takes the lock
            Joined::Landed(landed) => self.serving(needed).or(Some(landed)),
            Joined::Waiting(mut round) => {
                round.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone())
            }
        }
    }

    /// Joins a measurement that serves. One may have landed since the caller looked.
    fn join(self: &Arc<Self>, needed: Needed) -> Joined<S> {
        let mut state = self.lock();
        if let Some(landed) = self.found(needed).or_else(|| self.lasting_failure(needed)) {
            return Joined::Landed(landed);
        }
        if let Some((started, round)) = &state.current
            && needed.serves(*started)
        {
            return Joined::Waiting(round.subscribe());
        }
        let next = state.next.get_or_insert_with(|| Arc::new(watch::channel(None).0));
        let (round, waiting) = (next.subscribe(), next.receiver_count());
        state.gathering.joined(waiting);
        let driven = std::mem::replace(&mut state.driven, true);
        // a runtime that ends drops the driver here and now, and that takes the lock
        drop(state);
        if !driven {
            tokio::spawn(Driver::of(self).drive());
        }
        Joined::Waiting(round)
    }

    /// The latest measurement, if it serves; renews nothing.
    fn found(&self, needed: Needed) -> Landing<S> {
        let latest = self.latest.load();
        let latest = latest.as_ref()?;
        let serves = needed.serves(latest.started.at) && !self.pace.slept_since(latest.started);
        serves.then(|| Arc::clone(latest))
    }

    /// The latest failure, if it lasts still.
    fn lasting_failure(&self, needed: Needed) -> Landing<S> {
        self.failure_within(self.pause()).filter(|failed| {
            let marked = needed.mark.is_some_and(|mark| failed.started.at <= mark);
            !(marked && failed.found.as_ref().is_err_and(Failure::mends))
        })
    }

    /// The latest failure, if it came late and may still be what the next one would be.
    fn late_failure(&self) -> Landing<S> {
        if self.late_streak.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.failure_within(LATE_LASTS)
    }

    /// The latest failure, if it ended no longer than this ago.
    fn failure_within(&self, limit: Duration) -> Landing<S> {
        let failed = self.failed.load_full()?;
        let ended = failed.started.at + failed.took;
        (ended.elapsed() < limit && !self.pace.slept_since(failed.started)).then_some(failed)
    }

    /// For how long the latest failure is the answer.
    fn pause(&self) -> Duration {
        let late = self.late_streak.load(Ordering::Relaxed);
        if late < 2 {
            return self.pace.pause;
        }
        let factor = 1u32.checked_shl(late - 1).unwrap_or(u32::MAX);
        self.pace.pause.saturating_mul(factor).min(LONGEST_PAUSE.max(self.pace.pause))
    }

    /// Measures in the background, unless somebody does.
    fn try_again(self: &Arc<Self>) {
        if self.lock().driven {
            return;
        }
        if let Joined::Waiting(mut round) = self.join(Needed::since(Instant::now())) {
            // a round that nobody waits for is not begun
            tokio::spawn(async move { round.wait_for(Option::is_some).await.is_ok() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
