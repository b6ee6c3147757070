//! Reads generations and shares the reads: one at a time per target, and who arrives while one runs waits for the
//! next (group commit). So the engine sees at most 1/latency readings per target, whatever the load of clients.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::cache::{Asked, Bounded, shows_a_cache};
use crate::elastic::target::Target;
use crate::generation::{
    COUNTERS_FILTER, Counters, Generation, METADATA_FILTER, Metadata, Question, Reading, SEGMENTS_FILTER,
    Sandwich, StateVersion, Whole, segments,
};
use crate::outcome::Reason;
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

/// If the two clocks drift apart by more than this between a reading and its use, the machine was suspended.
const MOST_DRIFT: Duration = Duration::from_secs(1);

/// After a reading that failed for good (no permission, no such endpoint), requests are forwarded for this long
/// before the engine is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads generations of targets.
#[derive(Debug)]
pub struct Watcher {
    upstream: Arc<Upstream>,
    stats: Arc<Stats>,
    settings: WatcherSettings,
    targets: Bounded<Target, Arc<Watch>>,
    permits: Semaphore,
    born: Instant,
    /// Nanoseconds from `born` to the latest mark, plus one; 0 if there was none.
    mark: AtomicU64,
}

/// What is known of one target.
#[derive(Debug, Default)]
struct Watch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<(Reading, SystemTime)>,
    metadata: Option<Arc<Metadata>>,
    current: Option<(Instant, watch::Receiver<Option<Reading>>)>,
    next: Option<watch::Sender<Option<Reading>>>,
    driven: bool,
}

impl Watch {
    /// Its size in bytes, about.
    fn weight(&self, target: &Target) -> u32 {
        let metadata = self.lock().metadata.as_ref().map_or(0, |metadata| metadata.heap_size());
        u32::try_from(metadata + target.heap_size() + 500).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    /// A watcher that asks through `upstream`.
    #[must_use]
    pub fn new(upstream: Arc<Upstream>, stats: Arc<Stats>, settings: WatcherSettings) -> Arc<Watcher> {
        Arc::new(Watcher {
            upstream,
            stats,
            targets: Bounded::weighed(settings.max_bytes, |target: &Target, watch: &Arc<Watch>| {
                watch.weight(target)
            }),
            permits: Semaphore::new(settings.max_concurrent),
            born: Instant::now(),
            mark: AtomicU64::new(0),
            settings,
        })
    }

    /// From now on only readings that start later serve. Called when a write, refresh or metadata call that passes
    /// through ends, in whatever way, before a byte of its answer goes to the client.
    pub fn mark(&self, now: Instant) {
        let at = u64::try_from(now.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX - 1);
        self.mark.fetch_max(at + 1, Ordering::AcqRel);
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

    /// How long a request waits for what it needs to know before it is forwarded.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.settings.timeout
    }

    /// Now, on both clocks.
    #[must_use]
    pub fn now(&self) -> Asked {
        Asked { at: Instant::now(), wall: (self.settings.wall)() }
    }

    /// [`reading`](Watcher::reading), but who has waited for the time of one reading waits no longer.
    pub async fn reading_in_time(self: &Arc<Self>, target: &Target, needed: Instant) -> Reading {
        let reading = tokio::time::timeout(self.settings.timeout, self.reading(target, needed)).await;
        reading.unwrap_or_else(|_| invalid(needed, Reason::GenerationUnknown))
    }

    /// Forgets all readings, as after a change of the cluster behind the address.
    pub fn forget(&self) {
        self.targets.clear();
    }

    /// How many targets are remembered.
    #[must_use]
    pub fn targets(&self) -> u64 {
        self.targets.len()
    }

    /// Whether what was read by questions that started at `started` serves a request that needs them to have started at
    /// `needed` or later: marks and a machine that slept count as they do for readings.
    #[must_use]
    pub fn holds(&self, started: Asked, needed: Instant) -> bool {
        self.counts(started.at, needed) && !self.slept_since(started.at, started.wall)
    }

    /// The latest reading of a target if it serves who needs one that started at `needed` or later. Asks and waits for
    /// nothing.
    #[must_use]
    pub fn at_hand(&self, target: &Target, needed: Instant) -> Option<Reading> {
        self.serving(&self.targets.get(target)?.lock(), needed)
    }

    /// A reading of a target that started at `needed` or later: the latest one, the one under way, or the next.
    pub async fn reading(self: &Arc<Self>, target: &Target, needed: Instant) -> Reading {
        let watch = self.targets.get_or_insert_with(target.clone(), Arc::default);
        let mut landing = {
            let mut state = watch.lock();
            if let Some(reading) = self.serving(&state, needed) {
                return reading;
            }
            match &state.current {
                Some((started, landing)) if self.counts(*started, needed) => landing.clone(),
                _ => {
                    let landing = state.next.get_or_insert_with(|| watch::channel(None).0).subscribe();
                    if !std::mem::replace(&mut state.driven, true) {
                        let driver = Driver {
                            watcher: Arc::clone(self),
                            target: target.clone(),
                            watch: Arc::clone(&watch),
                        };
                        tokio::spawn(driver.drive());
                    }
                    landing
                }
            }
        };
        let landed = landing.wait_for(Option::is_some).await.ok().and_then(|reading| reading.clone());
        landed.unwrap_or_else(|| invalid(needed, Reason::GenerationUnknown))
    }

    /// The latest reading if it may serve; a recent failure serves too, since it only leads to forwarding.
    fn serving(&self, state: &State, needed: Instant) -> Option<Reading> {
        let (reading, wall) = state.last.as_ref()?;
        // a failure has a pause of its own, whatever the bound
        let needed = match reading.found {
            Ok(_) => needed,
            Err(Reason::GenerationUnknown | Reason::GenerationIncomplete) => {
                Instant::now().checked_sub(PAUSE).unwrap_or_else(Instant::now)
            }
            Err(_) => return None,
        };
        (self.counts(reading.started, needed) && !self.slept_since(reading.started, *wall))
            .then(|| reading.clone())
    }

    fn counts(&self, started: Instant, needed: Instant) -> bool {
        invalid(started, Reason::GenerationUnknown).serves(needed, self.last_mark())
    }

    fn slept_since(&self, started: Instant, wall: SystemTime) -> bool {
        let by_wall = (self.settings.wall)().duration_since(wall).unwrap_or(Duration::MAX);
        by_wall.abs_diff(started.elapsed()) > MOST_DRIFT
    }

    /// One reading: metadata, counters, metadata again. Returns the metadata for the next one.
    async fn read(
        &self,
        target: &Target,
        known: Option<Arc<Metadata>>,
    ) -> (Result<Generation, Reason>, Option<Arc<Metadata>>) {
        let Ok(_permit) = self.permits.try_acquire() else { return (Err(Reason::ReadingsLimit), known) };
        // what a date-math expression resolves to moves without the metadata
        let known = known.filter(|_| !target.has_date_math());
        match tokio::time::timeout(self.settings.timeout, self.sandwich(target, known)).await {
            Ok(Ok((generation, metadata))) => (Ok(generation), Some(metadata)),
            Ok(Err(reason)) => (Err(reason), None),
            Err(_) => (Err(Reason::GenerationUnknown), None),
        }
    }

    async fn sandwich(&self, target: &Target, known: Option<Arc<Metadata>>) -> Result<Whole, Reason> {
        let mut sandwich = Sandwich::new(known);
        loop {
            let whole = match sandwich.question() {
                Question::Metadata => sandwich.metadata(self.metadata(target).await?)?,
                Question::Counters => {
                    sandwich.counters(self.counters(target).await?);
                    None
                }
                Question::Version => sandwich.version(&self.version().await?)?,
            };
            if let Some(whole) = whole {
                return Ok(whole);
            }
        }
    }

    async fn counters(&self, target: &Target) -> Result<Counters, Reason> {
        let (path, options) = (target.path(), target.options());
        let stats =
            format!("/{path}/_stats/refresh,merge?level=shards&{options}&filter_path={COUNTERS_FILTER}");
        if self.settings.tag == TagSource::Counters {
            return Counters::read(&self.ask(&stats).await?);
        }
        let views = format!("/{path}/_segments?{options}&filter_path={SEGMENTS_FILTER}");
        let (stats, views) = tokio::try_join!(self.ask(&stats), self.ask(&views))?;
        Ok(Counters::read(&stats)?.with_segments(segments(&views)?))
    }

    /// Asked of the master (not `local`): it applies a state last, so what it shows has been applied by all.
    async fn version(&self) -> Result<StateVersion, Reason> {
        StateVersion::read(
            &self.ask("/_cluster/state/version?filter_path=cluster_uuid,version,state_uuid").await?,
        )
    }

    /// The state first, then what its JSON does not show: so that these are at least as new as the version says.
    async fn metadata(&self, target: &Target) -> Result<Arc<Metadata>, Reason> {
        self.stats.plain.metadata_reads.inc();
        let (path, options) = (target.path(), target.options());
        let state = format!(
            "/_cluster/state/metadata,routing_table,nodes,version/{path}?{options}&filter_path={METADATA_FILTER}"
        );
        let state = self.ask(&state).await?;
        let aliases = format!("/{path}/_alias?{options}&filter_path=*.aliases");
        let (settings, aliases) =
            tokio::join!(self.ask("/_cluster/settings?flat_settings=true"), self.ask(&aliases));
        Metadata::read(&state, settings.ok().as_deref(), &aliases?).map(Arc::new)
    }

    async fn ask(&self, question: &str) -> Result<bytes::Bytes, Reason> {
        self.stats.plain.reading_requests.inc();
        match self.upstream.ask(question).await {
            Ok((StatusCode::OK, headers, body)) if !shows_a_cache(&headers) => Ok(body),
            Ok((status, _, _)) => {
                tracing::debug!(%status, question, "the engine refused a question of a reading");
                Err(Reason::GenerationUnknown)
            }
            Err(error) => {
                tracing::debug!(%error, question, "a question of a reading was not answered");
                Err(Reason::GenerationUnknown)
            }
        }
    }
}

fn invalid(started: Instant, reason: Reason) -> Reading {
    Reading { started, took: Duration::ZERO, found: Err(reason) }
}

/// A round to read for: whom to tell, when it started, and the metadata of the one before.
type Round = (watch::Sender<Option<Reading>>, Instant, Option<Arc<Metadata>>);

/// Reads as long as somebody waits. If it is lost, those who wait are told, and the next one starts anew.
struct Driver {
    watcher: Arc<Watcher>,
    target: Target,
    watch: Arc<Watch>,
}

impl Driver {
    async fn drive(self) {
        while let Some((round, started, known)) = self.begin() {
            let wall = (self.watcher.settings.wall)();
            let had = known.clone();
            let (found, metadata) = self.watcher.read(&self.target, known).await;
            let grown = metadata.as_ref().is_some_and(|new| had.is_none_or(|had| !Arc::ptr_eq(new, &had)));
            let reading = Reading { started, took: started.elapsed(), found };
            self.count(&reading);
            {
                let mut state = self.watch.lock();
                state.metadata = metadata;
                state.current = None;
                state.last = Some((reading.clone(), wall));
            }
            round.send_replace(Some(reading));
            if grown {
                // it weighs something else now
                self.watcher.targets.insert(self.target.clone(), Arc::clone(&self.watch));
            }
        }
    }

    /// Takes the next round if somebody waits for it. The start of a reading is before its first request is sent.
    fn begin(&self) -> Option<Round> {
        let mut state = self.watch.lock();
        match state.next.take().filter(|round| round.receiver_count() > 0) {
            Some(round) => {
                let started = Instant::now();
                state.current = Some((started, round.subscribe()));
                Some((round, started, state.metadata.clone()))
            }
            None => {
                state.driven = false;
                None
            }
        }
    }

    fn count(&self, reading: &Reading) {
        let plain = &self.watcher.stats.plain;
        match reading.found {
            Ok(_) => plain.readings.inc(),
            Err(_) => plain.readings_invalid.inc(),
        }
        plain.reading_microseconds.add(u64::try_from(reading.took.as_micros()).unwrap_or(u64::MAX));
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let mut state = self.watch.lock();
        if state.driven && std::thread::panicking() {
            (state.driven, state.current, state.next) = (false, None, None);
        }
    }
}
