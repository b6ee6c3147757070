//! Measured once for all who wait (group commit). Of a subject one measurement is under way at a time; who arrives
//! while it runs waits for the next one, so the engine sees at most 1/latency of them, whatever the load of clients.
//!
//! Ways in which a wait can end: a measurement lands that serves; one lands that failed; the driver is lost (it
//! panicked), then all who wait are told and the next one starts anew; the waiter leaves. A failure that came late is
//! waited for once: who comes after it has it at once, while one more attempt is made in the background, after pauses
//! that grow. What is wanted is written down when a request comes ([`Needed`], with the marks that it has to heed), so
//! marks that are set later, as under a storm of writes, never send it back to the end of the queue.

mod gathering;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::gathering::Gathering;
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

/// What a request needs of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    at: Instant,
    mark: Option<Instant>,
    bound: Duration,
}

impl Needed {
    /// That it started at `at` or later.
    #[must_use]
    pub fn since(at: Instant) -> Needed {
        Needed { at, mark: None, bound: Duration::ZERO }
    }

    /// That it started strictly later than `at`: the clock may not tell the two apart.
    #[must_use]
    pub fn after(at: Instant) -> Needed {
        Needed::since(at).marked(Some(at))
    }

    /// That it started no longer than `bound` before `now`. Such a measurement is renewed before it ages out, if it is
    /// used.
    #[must_use]
    pub fn within(bound: Duration, now: Instant) -> Needed {
        match now.checked_sub(bound) {
            Some(at) => Needed { at, mark: None, bound },
            None => Needed::since(now),
        }
    }

    /// And that it started after this mark (strictly).
    #[must_use]
    pub fn marked(self, mark: Option<Instant>) -> Needed {
        Needed { mark: self.mark.max(mark), ..self }
    }

    /// Whether nothing will do that had started before.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.bound.is_zero()
    }

    /// Whether a measurement that started then will do. What counts is the start, never the end (R2, R8).
    #[must_use]
    pub fn serves(&self, started: Instant) -> bool {
        started >= self.at && self.mark.is_none_or(|mark| started > mark)
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
}

/// The longest pause after failures that came late.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A late failure that is older than this says nothing any more.
const LATE_LASTS: Duration = Duration::from_secs(90);

/// If the two clocks drift apart by more than this between a measurement and its use, the machine was suspended.
const MOST_DRIFT: Duration = Duration::from_secs(1);

impl Pace {
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
    late: AtomicU32,
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

/// A measurement that is to be followed by another.
struct Renewal {
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

impl<S: Subject> Drop for Rounds<S> {
    fn drop(&mut self) {
        if let Some(renewal) = self.lock().renewal.take() {
            renewal.task.abort();
        }
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
            late: AtomicU32::new(0),
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

    /// A measurement that serves: the latest one, the one under way, or the next. A failure that lasts is the answer for
    /// a while too, since it only leads to forwarding; one that came late, until an attempt has ended for which nobody
    /// waits. `None` if the driver was lost.
    pub async fn get(self: &Arc<Self>, needed: Needed) -> Landing<S> {
        if let Some(ready) = self.serving(needed).or_else(|| self.failing(needed)) {
            return Some(ready);
        }
        if let Some(late) = self.late() {
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
        if let Some(landed) = self.found(needed).or_else(|| self.failing(needed)) {
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
            tokio::spawn(Driver { rounds: Arc::clone(self), done: false }.drive());
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
    fn failing(&self, needed: Needed) -> Landing<S> {
        let failed = self.failed.load_full()?;
        let ended = failed.started.at + failed.took;
        let marked = needed.mark.is_some_and(|mark| failed.started.at <= mark);
        let mended = marked && failed.found.as_ref().is_err_and(Failure::mends);
        let fresh = ended.elapsed() < self.pause() && !self.pace.slept_since(failed.started);
        (fresh && !mended).then_some(failed)
    }

    /// For how long the latest failure is the answer.
    fn pause(&self) -> Duration {
        let late = self.late.load(Ordering::Relaxed);
        if late < 2 {
            return self.pace.pause;
        }
        let factor = 1u32.checked_shl(late - 1).unwrap_or(u32::MAX);
        self.pace.pause.saturating_mul(factor).min(LONGEST_PAUSE.max(self.pace.pause))
    }

    /// The latest failure, if it came late and may still be what the next one would be.
    fn late(&self) -> Landing<S> {
        let failed = self.failed.load_full().filter(|_| self.late.load(Ordering::Relaxed) > 0)?;
        let ended = failed.started.at + failed.took;
        (ended.elapsed() < LATE_LASTS && !self.pace.slept_since(failed.started)).then_some(failed)
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

    /// Sees to it that a measurement that is used with a bound is followed by another before it ages out.
    fn renew_in_time(self: &Arc<Self>, used: &Arc<Measured<S::Found, S::Failure>>, bound: Duration) {
        let due = renewal(bound, used.took);
        let nanos = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
        if nanos >= used.renewal.load(Ordering::Relaxed)
            || nanos >= used.renewal.fetch_min(nanos, Ordering::Relaxed)
        {
            return;
        }
        self.renew_at(used, due);
    }

    /// Renews a measurement at this age, unless another renewal does. Others with another bound may have come in since the
    /// caller looked, so what is needed is decided here, under the lock.
    fn renew_at(self: &Arc<Self>, used: &Measured<S::Found, S::Failure>, due: Duration) {
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

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At which age a measurement that serves for `bound` and took `took` is renewed: so late that it costs little, so
/// early that the next one has landed before this one ages out.
#[must_use]
pub fn renewal(bound: Duration, took: Duration) -> Duration {
    bound.saturating_sub((bound / 4).max(3 * took)).max(bound / 2)
}

/// Measures as long as somebody waits. If it is lost, those who wait are told, and the next one starts anew.
struct Driver<S: Subject> {
    rounds: Arc<Rounds<S>>,
    done: bool,
}

impl<S: Subject> Driver<S> {
    async fn drive(mut self) {
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

    fn land(&self, round: &Round<S>, measured: Arc<Measured<S::Found, S::Failure>>) {
        let rounds = &self.rounds;
        let failure = measured.found.as_ref().err();
        let lasting = failure.is_some_and(Failure::lasts) && !rounds.pace.pause.is_zero();
        let late = lasting && measured.took >= rounds.pace.late && !failure.is_some_and(Failure::mends);
        let also = {
            let mut state = rounds.lock();
            if late {
                rounds.late.fetch_add(1, Ordering::Relaxed);
            } else {
                rounds.late.store(0, Ordering::Relaxed);
            }
            match &measured.found {
                Ok(_) => {
                    rounds.subject.ended(measured.took, measured.shared);
                    rounds.latest.store(Some(Arc::clone(&measured)));
                    rounds.failed.store(None);
                }
                // an earlier measurement that found something stays as good as it is: it knows when it started
                Err(_) if lasting => rounds.failed.store(Some(Arc::clone(&measured))),
                Err(_) => {}
            }
            state.current = None;
            // those who came meanwhile do not each try again
            let final_word = lasting && !measured.found.as_ref().is_err_and(Failure::mends);
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

#[cfg(test)]
mod tests;
