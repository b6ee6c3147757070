//! Reads generations. Readings are shared ([`Rounds`]): of a target one is under way at a time, and the question that
//! closes a reading, which version the cluster state has, is one for all targets.

mod doubt;

mod invalidations;

mod questions;

mod together;

mod usual;

mod watch;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapWeak;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use self::doubt::Late;
pub use self::invalidations::{CLUSTER, Invalidated, Invalidations, OTHER};
pub use self::questions::CLUSTER_SETTINGS;
use self::questions::{Questions, Version, Watched};
use self::together::Together;
use self::watch::{Watch, lost};
use crate::cache::{Bounded, Stamp};
use crate::elastic::target::Target;
use crate::generation::Reading;
use crate::rounds::{Needed, Pace, Rounds};
use crate::stats::Stats;
use crate::upstream::Upstream;

/// How generations are read.
#[derive(Clone)]
pub struct WatcherSettings {
    /// Readings of all targets that may be under way at once; beyond it requests are forwarded.
    pub max_concurrent: usize,
    /// How long one reading may take.
    pub timeout: Duration,
    /// How many bytes what is remembered of targets may take.
    pub max_bytes: u64,
    /// `freshness.tag: segments`: the segments that searches see are part of a generation.
    pub tag: TagSource,
    /// `freshness.metadata_settling`: how long the metadata of a target must have been what it is (A4).
    pub metadata_settling: Duration,
    /// The wall clock; it is compared with the monotonic one to notice a machine that slept.
    pub wall: fn() -> SystemTime,
}

impl fmt::Debug for WatcherSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatcherSettings")
            .field("max_concurrent", &self.max_concurrent)
            .finish_non_exhaustive()
    }
}

/// What shows which view the searches of a shard have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagSource {
    /// The refresh counters: moved right after a new view is in place.
    #[default]
    Counters,
    /// Also the segments of the view itself.
    Segments,
}

/// After a reading that failed for good (no permission, no such endpoint), requests are forwarded for this long
/// before the engine is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads generations of targets.
#[derive(Debug)]
pub struct Watcher {
    questions: Arc<Questions>,
    stats: Arc<Stats>,
    settings: WatcherSettings,
    pace: Arc<Pace>,
    version: Arc<Rounds<Version>>,
    targets: Bounded<Target, Arc<Watch>>,
    /// How often everything was forgotten. What was known before is never found again, by no way.
    epoch: AtomicU64,
    moved: Arc<Notify>,
    born: Instant,
    /// Nanoseconds from `born` to the latest mark, plus one; 0 if there was none.
    mark: AtomicU64,
}

/// Where what is known of a target was found, so that who asks again need not look for it by its name. It keeps nothing
/// alive.
#[derive(Debug, Default)]
pub struct Spot(ArcSwapWeak<Watch>);

impl Watcher {
    /// A watcher that asks through `upstream`.
    #[must_use]
    pub fn new(upstream: Arc<Upstream>, stats: Arc<Stats>, settings: WatcherSettings) -> Arc<Watcher> {
        let questions = Arc::new(Questions {
            upstream,
            stats: Arc::clone(&stats),
            tag: settings.tag,
            timeout: settings.timeout,
            permits: Semaphore::new(settings.max_concurrent),
            late: Late::default(),
            invalidations: Invalidations::default(),
            together: Together::default(),
        });
        let pace = |pause| {
            // so that there is always room for what somebody waits for
            let renewals = (settings.max_concurrent / 2).max(1);
            Arc::new(Pace::new(settings.wall, pause, settings.timeout, renewals))
        };
        // each target has a pause of its own; one answer that was lost is not to stop them all
        let version = Rounds::new(Version(Arc::clone(&questions)), pace(Duration::ZERO));
        Arc::new(Watcher {
            questions,
            stats,
            pace: pace(PAUSE),
            version: Arc::new(version),
            targets: Bounded::weighed(settings.max_bytes, |_: &Target, watch: &Arc<Watch>| watch.weigh()),
            epoch: AtomicU64::new(0),
            moved: Arc::default(),
            born: Instant::now(),
            mark: AtomicU64::new(0),
            settings,
        })
    }

    /// A reading of a target that serves: the latest one, the one under way, or the next.
    pub async fn reading(&self, target: &Target, needed: Needed) -> Reading {
        self.next_of(target, &self.watch(target), needed).await
    }

    /// [`reading`](Watcher::reading), but who has waited for the time of one reading waits no longer.
    pub async fn reading_in_time(&self, target: &Target, needed: Needed) -> Reading {
        let watch = self.watch(target);
        if let Some(ready) = watch.rounds.serving(needed) {
            return watch.reading(&ready);
        }
        self.in_time_of(&watch, self.next_of(target, &watch, needed)).await.unwrap_or_else(lost)
    }

    /// The latest reading of a target, if it serves. Asks and waits for nothing, and takes no lock. `spot` is of this
    /// target, and is filled here.
    #[must_use]
    pub fn at_hand(&self, target: &Target, spot: &Spot, needed: Needed) -> Option<Reading> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let watch = match spot.0.load().upgrade().filter(|watch| watch.epoch == epoch) {
            Some(watch) => watch,
            None => {
                let watch = self.targets.get(target)?;
                spot.0.store(Arc::downgrade(&watch));
                watch
            }
        };
        let measured = watch.rounds.serving(needed)?;
        // so that what is found by its spot counts as used: once for each reading is enough
        let started = self.nanos(measured.started.at);
        if watch.found.load(Ordering::Relaxed) != started {
            watch.found.store(started, Ordering::Relaxed);
            let _ = self.targets.get(target);
        }
        Some(watch.reading(&measured))
    }

    /// The latest reading of a target that found something, however old it is. No proof of anything; but for a search
    /// that is sent from now on, a safe tag (R1).
    #[must_use]
    pub fn latest(&self, target: &Target) -> Option<Reading> {
        let watch = self.targets.get(target)?;
        watch.rounds.latest().map(|measured| watch.reading(&measured))
    }

    /// A search was sent with the tag of [`latest`](Watcher::latest). The next reading of the target tells whether that was
    /// in vain.
    pub fn note_early(&self, target: &Target) {
        if let Some(watch) = self.targets.get(target) {
            watch.rounds.subject.note_early();
        }
    }

    /// From now on only readings that start later serve. Called when a write, refresh or metadata call that passes
    /// through ends, in whatever way, before a byte of its answer goes to the client.
    pub fn mark(&self, now: Instant) {
        self.mark.fetch_max(self.nanos(now) + 1, Ordering::AcqRel);
        self.stats.plain.marks.inc();
    }

    /// When the last mark was set.
    #[must_use]
    pub fn last_mark(&self) -> Option<Instant> {
        match self.mark.load(Ordering::Acquire) {
            0 => None,
            at => Some(self.born + Duration::from_nanos(at - 1)),
        }
    }

    /// Forgets all readings, as after a change of the cluster behind the address.
    pub fn forget(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.targets.clear();
    }

    /// What has changed, and how often.
    #[must_use]
    pub fn invalidations(&self) -> &Invalidations {
        &self.questions.invalidations
    }

    /// Notified when a reading has found that a target has changed.
    #[must_use]
    pub fn moved(&self) -> &Arc<Notify> {
        &self.moved
    }

    /// How many readings wait for a call that asks for the counters of all of them.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.questions.together.waiting()
    }

    /// How many readings have their counters, and wait for the next question of the version to close them.
    #[must_use]
    pub fn closing(&self) -> usize {
        self.version.waiting()
    }

    /// How many targets are remembered.
    #[must_use]
    pub fn targets(&self) -> u64 {
        self.targets.len()
    }

    /// How long a request waits for what it needs to know before it is forwarded.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.settings.timeout
    }

    /// How many readings one request may wait for at once, so that one alone does not use up what all have.
    #[must_use]
    pub fn share_of_readings(&self) -> usize {
        (self.settings.max_concurrent / 4).clamp(1, 16)
    }

    /// For how long it watches.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.born.elapsed()
    }

    /// The wall clock that tells whether the machine slept.
    #[must_use]
    pub fn wall(&self) -> fn() -> SystemTime {
        self.settings.wall
    }

    /// Now, on both clocks.
    #[must_use]
    pub fn now(&self) -> Stamp {
        self.pace.now()
    }

    fn watch(&self, target: &Target) -> Arc<Watch> {
        self.targets.get(target).unwrap_or_else(|| {
            self.targets.get_or_insert_with(target.clone(), || {
                let watched = Watched::new(self, target.clone());
                let rounds = Rounds::new(watched, Arc::clone(&self.pace));
                let epoch = self.epoch.load(Ordering::Acquire);
                Arc::new(Watch::new(rounds, self.settings.metadata_settling, epoch))
            })
        })
    }

    async fn next_of(&self, target: &Target, watch: &Arc<Watch>, needed: Needed) -> Reading {
        let Some(measured) = watch.rounds.get(needed).await else { return lost() };
        if watch.has_grown() && watch.epoch == self.epoch.load(Ordering::Acquire) {
            self.targets.insert(target.clone(), Arc::clone(watch));
            // all was forgotten meanwhile: this must not come back
            if watch.epoch != self.epoch.load(Ordering::Acquire) {
                self.targets.remove(target);
            }
        }
        watch.reading(&measured)
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX - 1)
    }
}
