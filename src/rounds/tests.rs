mod renewal;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use futures_util::FutureExt;

use super::*;

/// Counts its measurements; each waits for a permit.
struct Probe {
    begun: AtomicUsize,
    permits: Semaphore,
    fails: AtomicUsize,
    panics: AtomicBool,
}

impl Subject for Probe {
    type Found = usize;
    type Failure = Reason;

    async fn measure(&self) -> Result<usize, Reason> {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        self.permits.acquire().await.unwrap().forget();
        assert!(!self.panics.load(Ordering::SeqCst), "on purpose");
        match self.fails.load(Ordering::SeqCst) {
            0 => Ok(number),
            1 => Err(Reason::GenerationUnknown),
            _ => Err(Reason::GenerationIncomplete),
        }
    }
}

const PAUSE: Duration = Duration::from_secs(1);

const LATE: Duration = Duration::from_secs(2);

thread_local!(static SLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) });

/// Goes with the paused clock, but for the time that the machine slept.
fn wall() -> SystemTime {
    thread_local!(static BORN: Instant = Instant::now());
    SystemTime::UNIX_EPOCH + SLEPT.get() + BORN.with(Instant::elapsed)
}

/// Measurements that may begin and end at once as often as `permits` says.
fn rounds(permits: usize) -> Arc<Rounds<Probe>> {
    let pace = Pace::new(wall, PAUSE, LATE, 1);
    Arc::new(Rounds::new(Probe::of(permits), Arc::new(pace)))
}

impl Probe {
    fn of(permits: usize) -> Probe {
        Probe {
            begun: AtomicUsize::new(0),
            permits: Semaphore::new(permits),
            fails: AtomicUsize::default(),
            panics: AtomicBool::default(),
        }
    }
}

impl Rounds<Probe> {
    fn begun(&self) -> usize {
        self.subject.begun.load(Ordering::SeqCst)
    }

    /// Asks now, on a task of its own, and lets everybody get as far as they can.
    async fn asks(
        self: &Arc<Self>,
        needed: Needed,
    ) -> tokio::task::JoinHandle<Option<Result<usize, Reason>>> {
        let rounds = Arc::clone(self);
        let task = tokio::spawn(async move { rounds.get(needed).await.map(|measured| measured.found) });
        settle().await;
        task
    }

    async fn lets(&self, permits: usize) {
        self.subject.permits.add_permits(permits);
        settle().await;
    }
}

/// Lets all other tasks run until they wait. The clock of the test stands.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// A moment later.
async fn pass(time: Duration) {
    tokio::time::advance(time).await;
    settle().await;
}

const MOMENT: Duration = Duration::from_micros(1);

#[tokio::test(start_paused = true)]
async fn who_comes_while_one_is_under_way_shares_the_next() {
    let rounds = rounds(0);
    let first = rounds.asks(Needed::since(Instant::now())).await;
    let mut later = Vec::new();
    for _ in 0..50 {
        pass(MOMENT).await;
        later.push(rounds.asks(Needed::since(Instant::now())).await);
    }
    assert_eq!(rounds.begun(), 1);
    rounds.lets(1).await;
    assert_eq!((first.await.unwrap(), rounds.begun()), (Some(Ok(1)), 2));
    assert!(later.iter().all(|later| !later.is_finished()));
    rounds.lets(1).await;
    for later in later {
        assert_eq!(later.await.unwrap(), Some(Ok(2)));
    }
    assert_eq!(rounds.begun(), 2);
    assert_eq!(rounds.latest().unwrap().shared, 50);
    // what started late enough serves without a question
    pass(MOMENT).await;
    let ready = rounds.get(Needed::within(Duration::from_secs(1), Instant::now())).now_or_never();
    assert_eq!(ready.unwrap().unwrap().found, Ok(2));
}

/// A storm of writes sets marks all the time. Who waits heeds those from before it came, and no others.
#[tokio::test(start_paused = true)]
async fn marks_that_are_set_later_send_nobody_back() {
    let rounds = rounds(0);
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mark = Instant::now();
        pass(MOMENT).await;
        waiting.push(rounds.asks(Needed::since(Instant::now()).marked(Some(mark))).await);
    }
    for _ in 0..2 {
        pass(MOMENT).await;
        rounds.lets(1).await;
    }
    assert!(waiting.iter().all(tokio::task::JoinHandle::is_finished));
    assert_eq!(rounds.begun(), 2);
    // but one that was set before counts, also with a bound
    let bound = Needed::within(Duration::from_secs(1), Instant::now());
    assert!(rounds.serving(bound).is_some());
    assert!(rounds.serving(bound.marked(Some(Instant::now()))).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_the_answer_for_a_while() {
    let rounds = rounds(1);
    pass(MOMENT).await;
    assert_eq!(rounds.asks(Needed::since(Instant::now())).await.await.unwrap(), Some(Ok(1)));
    rounds.subject.fails.store(1, Ordering::SeqCst);
    pass(MOMENT).await;
    let first = rounds.asks(Needed::since(Instant::now())).await;
    pass(LATE / 2).await;
    let second = rounds.asks(Needed::since(Instant::now())).await;
    rounds.lets(1).await;
    // who came meanwhile does not try again, nor who comes within the pause, which begins with the end
    let failed = Some(Err(Reason::GenerationUnknown));
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (failed, failed));
    pass(PAUSE - MOMENT).await;
    assert_eq!(rounds.asks(Needed::since(Instant::now())).await.await.unwrap(), failed);
    assert_eq!(rounds.begun(), 2);
    // what was found earlier is as good as its age
    assert!(rounds.serving(Needed::within(Duration::from_secs(60), Instant::now())).is_some());
    rounds.subject.fails.store(0, Ordering::SeqCst);
    pass(MOMENT).await;
    rounds.lets(1).await;
    assert_eq!(rounds.asks(Needed::since(Instant::now())).await.await.unwrap(), Some(Ok(3)));
}

/// A mark does not end a want of permission, but a target may be whole again after a call that passed through.
#[tokio::test(start_paused = true)]
async fn a_mark_ends_what_it_may_mend() {
    for (fails, asked) in [(1, 1), (2, 2)] {
        let rounds = rounds(2);
        rounds.subject.fails.store(fails, Ordering::SeqCst);
        pass(MOMENT).await;
        assert!(rounds.asks(Needed::since(Instant::now())).await.await.unwrap().unwrap().is_err());
        let marked = Needed::since(Instant::now()).marked(Some(Instant::now()));
        pass(MOMENT).await;
        assert!(rounds.asks(marked).await.await.unwrap().unwrap().is_err());
        assert_eq!(rounds.begun(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_driver_strands_nobody() {
    let rounds = rounds(0);
    rounds.subject.panics.store(true, Ordering::SeqCst);
    let first = rounds.asks(Needed::since(Instant::now())).await;
    pass(MOMENT).await;
    let second = rounds.asks(Needed::since(Instant::now())).await;
    rounds.lets(1).await;
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (None, None));
    rounds.subject.panics.store(false, Ordering::SeqCst);
    rounds.lets(1).await;
    assert_eq!(rounds.asks(Needed::since(Instant::now())).await.await.unwrap(), Some(Ok(2)));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_nobody_asks() {
    let rounds = rounds(0);
    let first = rounds.asks(Needed::since(Instant::now())).await;
    pass(MOMENT).await;
    let second = rounds.asks(Needed::since(Instant::now())).await;
    second.abort();
    rounds.lets(2).await;
    assert_eq!((first.await.unwrap(), rounds.begun()), (Some(Ok(1)), 1));
}

const BOUND: Duration = Duration::from_secs(1);

fn within() -> Needed {
    Needed::within(BOUND, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn after_a_sleep_of_the_machine_nothing_serves() {
    let rounds = rounds(2);
    pass(Duration::from_secs(100)).await;
    rounds.get(within()).await;
    assert!(rounds.serving(within()).is_some());
    SLEPT.set(Duration::from_secs(3_600));
    assert!(rounds.serving(within()).is_none());
}

#[test]
fn a_mark_wants_a_strictly_later_start() {
    let (now, moment) = (Instant::now(), Duration::from_nanos(1));
    assert!(Needed::since(now).serves(now));
    assert!(!Needed::since(now + moment).serves(now));
    assert!(!Needed::since(now).marked(Some(now)).serves(now));
    assert!(!Needed::after(now).serves(now));
    assert!(Needed::after(now).serves(now + moment));
    let earlier = Needed::since(now).marked(Some(now - moment));
    assert!(earlier.serves(now));
    assert_eq!(earlier.marked(None), earlier);
    assert!(!earlier.marked(Some(now)).marked(Some(now - moment)).serves(now));
}

/// A measurement that lands between the look without the lock and the one under it is renewed like any other, and
/// renewing takes the lock.
#[tokio::test(start_paused = true)]
async fn who_finds_a_landed_measurement_under_the_lock_does_not_block() {
    let rounds = rounds(2);
    rounds.get(Needed::since(Instant::now())).await.unwrap();
    let (done, joined) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Handle::current();
    let blocked = Arc::clone(&rounds);
    // a thread of its own: the test must end, and say so, where this never does
    std::thread::spawn(move || {
        let _runtime = runtime.enter();
        let landed = matches!(blocked.join(within()), Joined::Landed(_));
        done.send(landed).unwrap();
    });
    let landed = joined.recv_timeout(Duration::from_secs(20)).expect("no lock is taken twice");
    assert!(landed);
    assert!(rounds.get(within()).await.is_some());
}

/// Takes 4 ms, and waits for those whom it has answered.
#[derive(Default)]
struct Slow(AtomicUsize);

impl Subject for Slow {
    type Found = usize;
    type Failure = Reason;

    const GATHERS: bool = true;

    async fn measure(&self) -> Result<usize, Reason> {
        tokio::time::sleep(Duration::from_millis(4)).await;
        Ok(self.0.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

/// Two halves of clients, one begins while the other's measurement is under way. Each asks again soon after it was answered.
#[tokio::test(start_paused = true)]
async fn clients_who_ask_again_soon_come_to_share_all_measurements() {
    let pace = Pace::new(wall, PAUSE, LATE, 1);
    let rounds = Arc::new(Rounds::new(Slow::default(), Arc::new(pace)));
    let client = || {
        let rounds = Arc::clone(&rounds);
        async move {
            for _ in 0..20 {
                let asked = Instant::now();
                let measured = rounds.get(Needed::since(asked)).await.unwrap();
                assert!(measured.started.at >= asked);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let mut clients: Vec<_> = (0..4).map(|_| tokio::spawn(client())).collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    clients.extend((0..4).map(|_| tokio::spawn(client())));
    for client in clients {
        client.await.unwrap();
    }
    let measured = rounds.subject.0.load(Ordering::SeqCst);
    assert!(measured <= 22, "{measured}, where two halves need 40");
}

/// One waits for as long as it takes; nobody else does. Attempts are made all the same, ever more seldom.
#[tokio::test(start_paused = true)]
async fn who_fails_late_is_waited_for_once() {
    let rounds = rounds(0);
    rounds.subject.fails.store(1, Ordering::SeqCst);
    let asks = async |wanted: Option<Reason>| {
        let asked = rounds.asks(Needed::since(Instant::now())).await;
        let known = wanted.map(|reason| Some(Err(reason)));
        assert_eq!(asked.is_finished(), known.is_some(), "it waits, or it does not");
        if let Some(known) = known {
            assert_eq!(asked.await.unwrap(), known);
        }
    };
    let failure = Some(Reason::GenerationUnknown);
    asks(None).await;
    pass(LATE).await;
    rounds.lets(1).await;
    asks(failure).await;
    assert_eq!(rounds.begun(), 1);
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        let pause = Duration::from_secs(pause);
        pass(pause - MOMENT).await;
        let begun = rounds.begun();
        asks(failure).await;
        assert_eq!(rounds.begun(), begun, "it is not yet time, after {pause:?}");
        pass(MOMENT).await;
        for _ in 0..3 {
            asks(failure).await;
        }
        assert_eq!(rounds.begun(), begun + 1, "one attempt, after {pause:?}");
        pass(LATE).await;
        asks(failure).await;
        rounds.lets(1).await;
    }
    // it is well again: that is found out without anybody having waited, and then all is as before
    pass(Duration::from_secs(30)).await;
    rounds.subject.fails.store(0, Ordering::SeqCst);
    asks(failure).await;
    rounds.lets(1).await;
    pass(MOMENT).await;
    asks(None).await;
}

/// A failure that came at once is no reason not to wait, and one from long ago neither.
#[tokio::test(start_paused = true)]
async fn who_failed_at_once_or_long_ago_is_waited_for() {
    let rounds = rounds(0);
    rounds.subject.fails.store(1, Ordering::SeqCst);
    let first = rounds.asks(Needed::since(Instant::now())).await;
    pass(LATE - MOMENT).await;
    rounds.lets(1).await;
    assert!(first.is_finished());
    pass(PAUSE).await;
    let second = rounds.asks(Needed::since(Instant::now())).await;
    assert!(!second.is_finished());
    pass(LATE).await;
    rounds.lets(1).await;
    assert!(second.is_finished());
    pass(LATE_LASTS).await;
    let third = rounds.asks(Needed::since(Instant::now())).await;
    assert!(!third.is_finished());
}

/// A machine that slept knows nothing of the engine any more, and waits for it again.
#[tokio::test(start_paused = true)]
async fn who_failed_late_before_a_sleep_of_the_machine_is_waited_for() {
    for slept in [false, true] {
        let rounds = rounds(0);
        rounds.subject.fails.store(1, Ordering::SeqCst);
        let first = rounds.asks(Needed::since(Instant::now())).await;
        pass(LATE).await;
        rounds.lets(1).await;
        assert!(first.is_finished());
        pass(PAUSE).await;
        if slept {
            SLEPT.set(Duration::from_secs(3_600));
        }
        let second = rounds.asks(Needed::since(Instant::now())).await;
        assert_eq!(second.is_finished(), !slept);
    }
}
