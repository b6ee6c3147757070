//! What a reading asks the engine, and how the answers are put together.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::doubt::Late;
use super::together::{self, Joining, SLOW, Together};
use super::usual::Usual;
use super::{Invalidations, TagSource, Watcher};
use crate::cache::shows_a_cache;
use crate::elastic::target::Target;
use crate::generation::{
    COUNTERS_FILTER, Generation, Known, Layer, METADATA_FILTER, Metadata, SEGMENTS_FILTER, Sandwich,
    StateVersion,
};
use crate::outcome::{Reason, Refusal};
use crate::rounds::{Needed, Rounds, Subject};
use crate::stats::{ReadingKind, Stats};
use crate::upstream::Upstream;

/// Who asks the questions of all readings.
#[derive(Debug)]
pub(super) struct Questions {
    pub(super) upstream: Arc<Upstream>,
    pub(super) stats: Arc<Stats>,
    pub(super) tag: TagSource,
    pub(super) timeout: Duration,
    pub(super) permits: Semaphore,
    pub(super) late: Late,
    pub(super) invalidations: Invalidations,
    pub(super) together: Together,
}

/// The version of the cluster state, for all targets at once: an answer to a question that was sent after the counters
/// of a target had come closes the reading of that target, whoever asked it.
#[derive(Debug)]
pub(super) struct Version(pub(super) Arc<Questions>);

/// A target that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    questions: Arc<Questions>,
    version: Arc<Rounds<Version>>,
    target: Target,
    known: Mutex<Option<Known>>,
    moved: Arc<Notify>,
    /// Searches since the last reading that were sent with its tag.
    early: AtomicU64,
    joining: Mutex<Joining>,
    /// How many bytes it takes, about.
    weight: AtomicU32,
    usual: Usual,
}

/// What is set, and of the defaults the one that decides how long shards without an interval of their own go without a
/// refresh: it may stand in the nodes' own files.
pub const CLUSTER_SETTINGS: &str = concat!(
    "/_cluster/settings?flat_settings=true&include_defaults=true",
    "&filter_path=persistent,transient,defaults.cluster*default*index*refresh_interval"
);

/// What is kept of a target beside its metadata.
const OVERHEAD: usize = 900;

impl Subject for Version {
    type Found = StateVersion;
    type Failure = Refusal;

    /// Asked of the master (not `local`): it applies a state last, so what it shows has been applied by all.
    async fn measure(&self) -> Result<StateVersion, Refusal> {
        let asked = self.0.ask("/_cluster/state/version?filter_path=cluster_uuid,version,state_uuid");
        let began = Instant::now();
        let answer = tokio::time::timeout(self.0.timeout, asked).await;
        let late = |_| Refusal::at(Reason::GenerationUnknown, "/_cluster/state: timeout");
        let found = answer.map_err(late).and_then(|answer| Ok(StateVersion::read(&answer?)?));
        self.0.stats.read(ReadingKind::Version, began.elapsed(), found.is_ok());
        found
    }
}

impl Subject for Watched {
    type Found = Generation;
    type Failure = Refusal;

    const GATHERS: bool = true;

    async fn measure(&self) -> Result<Generation, Refusal> {
        let began = Instant::now();
        let found = self.read().await;
        let plain = &self.questions.stats.plain;
        match found {
            Ok(_) => plain.readings.inc(),
            Err(_) => plain.readings_invalid.inc(),
        }
        let took = began.elapsed();
        plain.reading_microseconds.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.questions.stats.read(ReadingKind::Generation, took, found.is_ok());
        found
    }

    fn ended(&self, took: Duration, shared: usize) {
        self.usual.add(took, shared);
    }
}

impl Watched {
    pub(super) fn new(watcher: &Watcher, target: Target) -> Watched {
        let weight = u32::try_from(target.heap_size() + OVERHEAD).unwrap_or(u32::MAX);
        Watched {
            questions: Arc::clone(&watcher.questions),
            version: Arc::clone(&watcher.version),
            target,
            known: Mutex::default(),
            moved: Arc::clone(&watcher.moved),
            early: AtomicU64::new(0),
            joining: Mutex::default(),
            weight: AtomicU32::new(weight),
            usual: Usual::default(),
        }
    }

    /// What a reading usually costs each of those who share it; `None` while there were few.
    pub(super) fn usual_cost(&self) -> Option<Duration> {
        self.usual.cost()
    }

    pub(super) fn note_early(&self) {
        self.early.fetch_add(1, Ordering::Relaxed);
    }

    /// Its size in bytes, about.
    pub(super) fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    async fn read(&self) -> Result<Generation, Refusal> {
        let Ok(_permit) = self.questions.permits.try_acquire() else {
            return Err(Reason::ReadingsLimit.into());
        };
        let began = Instant::now();
        let before = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // what a date-math expression resolves to moves without the metadata
        let known = before.clone().filter(|_| !self.target.has_date_math());
        let sandwich = tokio::time::timeout(self.questions.timeout, self.sandwich(known));
        let late = |_| {
            self.questions.late.note(Instant::now());
            Err(Refusal::at(Reason::GenerationUnknown, "timeout"))
        };
        let mut found = sandwich.await.unwrap_or_else(late)?;
        // after a failure what was known stays: the next reading compares its version before it relies on it
        let changes = std::mem::take(&mut found.changes);
        self.questions.invalidations.add(&changes, Instant::now());
        let before = before.as_ref().map(|known| &known.generation);
        let (generation, moved) = found.generation.clone().following(before, began);
        let held = found.heap_size() + self.target.heap_size() + OVERHEAD;
        let weight = u32::try_from(generation.metadata().heap_size() + held).unwrap_or(u32::MAX);
        self.weight.store(weight, Ordering::Relaxed);
        found.generation = generation.clone();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        let early = self.early.swap(0, Ordering::Relaxed);
        if moved {
            self.questions.stats.plain.early_dead.add(early);
            self.moved.notify_one();
        }
        Ok(generation)
    }

    /// One reading: metadata, counters, metadata again.
    async fn sandwich(&self, known: Option<Known>) -> Result<Known, Refusal> {
        let (mut sandwich, questions) = (Sandwich::new(known), &self.questions);
        loop {
            let whole = match sandwich.next_layer() {
                Layer::Metadata => sandwich.metadata(questions.metadata(&self.target).await?)?,
                Layer::Counters => {
                    let (stats, segments) = self.counters(sandwich.indices()).await?;
                    sandwich.counters(stats, segments)?;
                    None
                }
                Layer::Version => sandwich.version(&self.closing_version().await?)?,
            };
            if let Some(whole) = whole {
                return Ok(whole);
            }
        }
    }

    /// Which state the master is at, asked from now on.
    async fn closing_version(&self) -> Result<StateVersion, Refusal> {
        let needed = Needed::after(Instant::now());
        let mut asked = self.version.get(needed).await;
        // one answer that was lost is not to fail all targets that share it
        if asked.as_deref().is_none_or(|asked| asked.found.is_err()) {
            asked = self.version.get(needed).await;
        }
        asked.map_or_else(|| Err(Reason::GenerationUnknown.into()), |asked| asked.found.clone())
    }

    /// The counters, of these indices beside those of other targets if that is possible.
    async fn counters(&self, indices: Option<&Arc<[String]>>) -> Result<(Bytes, Option<Bytes>), Refusal> {
        let questions = &self.questions;
        let joining = || self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let way = *joining();
        let indices =
            indices.filter(|indices| questions.tag == TagSource::Counters && together::fits(indices));
        let tried = match (indices, way) {
            (Some(indices), Joining::Joins) => Some(together::counters(questions, indices).await),
            (Some(indices), Joining::Suspect | Joining::Apart { left: 0, .. }) => {
                Some(together::by_itself(questions, indices).await)
            }
            _ => None,
        };
        if let Some(Some(part)) = tried {
            *joining() = Joining::Joins;
            return Ok((part, None));
        }
        let began = Instant::now();
        // until there is an answer in time, also if nobody waits for it any more
        *joining() = Joining::Troubled;
        let counters = questions.counters(&self.target).await?;
        if began.elapsed() <= questions.timeout / SLOW {
            *joining() = way.answered(tried.is_some());
        }
        Ok(counters)
    }
}

impl Questions {
    async fn counters(&self, target: &Target) -> Result<(Bytes, Option<Bytes>), Refusal> {
        let (path, options) = (target.path(), target.options());
        let stats =
            format!("/{path}/_stats/refresh,merge?level=shards&{options}&filter_path={COUNTERS_FILTER}");
        if self.tag == TagSource::Counters {
            return Ok((self.ask(&stats).await?, None));
        }
        let views = format!("/{path}/_segments?{options}&filter_path={SEGMENTS_FILTER}");
        let (stats, views) = tokio::try_join!(self.ask(&stats), self.ask(&views))?;
        Ok((stats, Some(views)))
    }

    /// The state first, then what its JSON does not show: so that these are at least as new as the version says.
    async fn metadata(&self, target: &Target) -> Result<Arc<Metadata>, Refusal> {
        self.stats.plain.metadata_reads.inc();
        let (path, options) = (target.path(), target.options());
        let state = format!(
            "/_cluster/state/metadata,routing_table,nodes,version/{path}?{options}&filter_path={METADATA_FILTER}"
        );
        let state = self.ask(&state).await?;
        let aliases = format!("/{path}/_alias?{options}&filter_path=*.aliases");
        let (settings, aliases) = tokio::join!(self.ask(CLUSTER_SETTINGS), self.ask(&aliases));
        Metadata::read(target, &state, settings.ok().as_deref(), &aliases?).map(Arc::new)
    }

    pub(super) async fn ask(&self, question: &str) -> Result<Bytes, Refusal> {
        self.stats.plain.reading_requests.inc();
        let unknown =
            |why: &str| Refusal::at(Reason::GenerationUnknown, format!("{}: {why}", endpoint(question)));
        match self.upstream.ask(question).await {
            Ok((StatusCode::OK, headers, body)) if !shows_a_cache(&headers) => Ok(body),
            Ok((status, _, _)) => {
                tracing::debug!(%status, question, "the engine refused a question of a reading");
                Err(unknown(status.as_str()))
            }
            Err(error) => {
                tracing::debug!(%error, question, "a question of a reading was not answered");
                Err(unknown(if error.is_for_want_of_connection() { "no connection" } else { "no answer" }))
            }
        }
    }
}

/// The part of a path that names the endpoint, as in `/_cluster/state` or `/_stats`.
fn endpoint(question: &str) -> String {
    let path = question.split('?').next().unwrap_or_default();
    let mut words = path.split('/').filter(|segment| segment.starts_with('_') && *segment != "_all");
    let first = words.next().unwrap_or_default();
    let state = if first == "_cluster" { path.split('/').nth(2) } else { None };
    state.map_or_else(|| format!("/{first}"), |second| format!("/{first}/{second}"))
}
