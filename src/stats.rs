//! Counters: one table of names and help. `/metrics`, `/stats` and the ES-shaped statistics read them.

pub mod history;

pub mod latency;

pub mod searches;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::history::History;
use self::latency::{Counted, Histogram};
use self::searches::Searches;
use crate::outcome::{CacheStatus, Outcome, Reason};

macro_rules! counters {
    ($($name:ident: $help:literal,)+) => {
        /// Plain counters, all monotone.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(#[doc = $help] pub $name: Counter,)+
        }

        impl Counters {
            /// Name, help and value of each.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), $help, self.$name.get()),)+].into_iter()
            }
        }
    };
}

counters! {
    flights: "Upstream searches that fill the cache, each shared by its waiters",
    followers: "Requests that waited for the upstream search of an equal one",
    flights_cancelled: "Upstream searches dropped because the last waiter had left",
    early: "Upstream searches sent without a reading of their own, under the generation that was read last",
    early_dead: "Of these, those whose target was found changed by its next reading: their entries were dead on arrival",
    unconfirmed: "Entries whose cluster state had moved before anything showed that their search met the one that was read before it",
    stored: "Answers stored",
    not_modified: "Hits answered with 304",
    readings: "Readings of generations that ended valid",
    readings_invalid: "Readings of generations that ended invalid",
    reading_microseconds: "Time spent in readings, in microseconds",
    reading_requests: "Requests to the engine for readings",
    scope_requests: "Requests to the engine for the permissions of who asks",
    metadata_reads: "Readings that had to fetch the metadata again",
    superseded: "Entries found to be of an older generation",
    superseded_kept: "Superseded entries kept for the case that the engine is in trouble",
    expired: "Entries found to be older than their time to live",
    evictions_size: "Entries evicted for want of room",
    evictions_expired: "Entries removed because their time to live had passed",
    evictions_replaced: "Entries replaced by a newer answer",
    evictions_explicit: "Entries removed by a clear, because a shadow found them different, or because their target had changed",
    swept: "Entries removed because their target had changed, before anybody asked for them again",
    purges: "Purges: clears, analyzer reloads and the like",
    marks: "Writes, refreshes and metadata calls that readings must be newer than",
    upstream_requests: "Requests sent to the engine on behalf of clients",
    upstream_errors: "Requests to the engine that failed without an answer",
    upstream_retries: "Requests sent once more, mostly to another host: reads before an answer began, as a connection failed or a host is silent, others before a connection was made",
    upstream_closed: "Connections to the engine that its side closed",
    host_ejections: "Times that a host was left for a while because it failed",
    upstream_microseconds: "Time until the engine's answers to searches were complete, in microseconds",
    shadow_equal: "Sampled hits that were what the engine then answered under the same generation",
    shadow_different: "Sampled hits that were not what the engine then answered again and again: an alarm",
    shadow_engine_varies: "Sampled hits that differ from answers of the engine that differ from each other",
    shadow_inconclusive: "Sampled hits that could not be judged: a change came in between, or no whole answer came",
    shadow_skipped: "Sampled hits that were not judged because enough others were being judged",
    ahead_stored: "Searches that were asked ahead of their users, and stored",
    ahead_current: "Searches that were to be asked ahead of their users, and whose answers were current",
    saved_microseconds: "Engine time that hits saved, by what their entries had cost, in microseconds",
    panics: "Requests, and sweeps of the cache, that ended in a panic",
    connections: "Connections accepted",
    limited_connections: "Connections refused because there were as many as limits.max_connections",
    limited_connections_per_address: "Connections refused because their address had as many as limits.max_connections_per_address",
    limited_request_lines: "Requests refused because their line was longer than http.max_initial_line_length",
    limited_headers: "Requests refused because of http.max_header_size or http.max_header_count",
    limited_slow_heads: "Connections closed because a head, or a TLS handshake, took longer than http.header_timeout",
    limited_slow_bodies: "Requests ended because their body came more slowly than http.body_timeout allows",
    limited_slow_requests: "Requests ended because they took longer in all than http.request_timeout",
    limited_slow_readers: "Connections closed, and streams of HTTP/2 reset, because the client took nothing of an answer for http.write_timeout",
    limited_idle: "Connections closed after http.idle_timeout without a request, or http.header_timeout without a first byte",
    admin_unauthorized: "Requests to the admin listener without its token",
    reloads: "Times that the configuration was read again",
    reloads_refused: "Times that the configuration was read again, and could not be used",
    certificate_renewals: "Times that the certificate of the listener was renewed",
    certificate_errors: "Times that the certificate of the listener had changed, and could not be used",
    tls_handshakes: "TLS handshakes with clients that were completed",
    tls_handshakes_failed: "TLS handshakes with clients that failed",
    spans_exported: "Spans that the collector has taken",
    spans_dropped: "Spans that were dropped: because as many waited as may, or because the collector did not take them",
    loops: "Requests that escache had sent itself, and that came back to it",
    malformed_requests: "Connections closed because what came was not HTTP, or was ambiguous",
}

/// A monotone counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many endpoints requests are counted by.
const APIS: usize = 32;

/// Everything that is counted.
#[derive(Debug)]
pub struct Stats {
    /// The plain counters.
    pub plain: Counters,
    /// How long the engine took for searches that were not answered from the cache.
    pub engine: Histogram,
    /// Which searches save and cost most.
    pub searches: Searches,
    /// The last twenty minutes.
    pub history: History,
    /// How long requests took, which also says how many there were.
    answered: [[Histogram; Outcome::ALL.len()]; APIS],
    /// How long ago the readings of hits had started.
    ages: Histogram,
    /// By endpoint, outcome and reason.
    reasons: Vec<Counter>,
    readings: [Histogram; ReadingKind::ALL.len()],
    failed_readings: [Counter; ReadingKind::ALL.len()],
    sets: Mutex<Sets>,
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            plain: Counters::default(),
            engine: Histogram::default(),
            searches: Searches::default(),
            history: History::default(),
            answered: Default::default(),
            ages: Histogram::default(),
            reasons: (0..APIS * Outcome::ALL.len() * Reason::ALL.len()).map(|_| Counter::default()).collect(),
            readings: Default::default(),
            failed_readings: Default::default(),
            sets: Mutex::default(),
        }
    }
}

impl Stats {
    /// Counts a request by the number of its endpoint, what became of it, and how long it took until its answer began.
    pub fn count(&self, api: usize, status: &CacheStatus, took: Duration) {
        self.answered[api.min(APIS - 1)][status.outcome as usize].add(took);
        if let Some(age) = status.notes.age {
            self.ages.add(age);
        }
        if let Some(refusal) = &status.refusal {
            self.reasons[place(api, status.outcome, refusal.reason)].inc();
        }
    }

    /// Requests of an endpoint with an outcome.
    #[must_use]
    pub fn requests(&self, api: usize, outcome: Outcome) -> u64 {
        self.latency(api, outcome).count()
    }

    /// How long requests of an endpoint with an outcome took, until their answers began.
    #[must_use]
    pub fn latency(&self, api: usize, outcome: Outcome) -> Counted {
        self.answered[api.min(APIS - 1)][outcome as usize].counted()
    }

    /// How long ago the readings of hits had started.
    #[must_use]
    pub fn ages(&self) -> Counted {
        self.ages.counted()
    }

    /// How often a reason was given.
    #[must_use]
    pub fn reason(&self, reason: Reason) -> u64 {
        let all = (0..APIS).flat_map(|api| Outcome::ALL.map(|outcome| (api, outcome)));
        all.map(|(api, outcome)| self.reason_of(api, outcome, reason)).sum()
    }

    /// How often a reason was given to requests of an endpoint with an outcome.
    #[must_use]
    pub fn reason_of(&self, api: usize, outcome: Outcome, reason: Reason) -> u64 {
        self.reasons[place(api, outcome, reason)].get()
    }

    /// Counts a reading.
    pub fn read(&self, kind: ReadingKind, took: Duration, valid: bool) {
        self.readings[kind as usize].add(took);
        if !valid {
            self.failed_readings[kind as usize].inc();
        }
    }

    /// How long readings of a kind took, and how many of them found nothing.
    #[must_use]
    pub fn readings(&self, kind: ReadingKind) -> (Counted, u64) {
        (self.readings[kind as usize].counted(), self.failed_readings[kind as usize].get())
    }

    /// The counters of a set of indices; equal sets share them. When clients have made up too many sets, new ones share
    /// one that stands for any index.
    #[must_use]
    pub fn indices(&self, names: &[Arc<str>]) -> Arc<IndexSet> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = sets.live.get(names) {
            return Arc::clone(found);
        }
        sets.make_room();
        if sets.is_full(names.len()) {
            return Arc::clone(&sets.crowd);
        }
        let names: Arc<[Arc<str>]> = names.iter().map(|name| sets.intern(name)).collect();
        sets.slots += names.len();
        let set = Arc::new(IndexSet { names: Arc::clone(&names), ..IndexSet::default() });
        sets.live.insert(names, Arc::clone(&set));
        set
    }

    /// The numbers of each index: every request counts for every index that it touched.
    #[must_use]
    pub fn by_index(&self) -> BTreeMap<Arc<str>, RequestCache> {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = sets.retired.clone();
        for set in sets.live.values() {
            let numbers = set.numbers();
            for name in set.names.iter() {
                out.entry(Arc::clone(name)).or_default().add(numbers);
            }
        }
        out
    }

    /// The numbers of the whole cache: every request counts once.
    #[must_use]
    pub fn total(&self) -> RequestCache {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = sets.retired_total;
        for set in sets.live.values().chain([&sets.crowd]) {
            out.add(set.numbers());
        }
        out
    }
}

fn place(api: usize, outcome: Outcome, reason: Reason) -> usize {
    (api.min(APIS - 1) * Outcome::ALL.len() + outcome as usize) * Reason::ALL.len() + reason as usize
}

/// What is read of the engine before something is served from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadingKind {
    /// The generation of a target.
    Generation,
    /// The version of the cluster's state, for all targets at once: part of each generation.
    Version,
    /// Who asks, and what they may.
    Identity,
    /// The roles.
    Roles,
    /// The clocks of the nodes, for rounded `now`.
    Clocks,
}

impl ReadingKind {
    /// All variants.
    pub const ALL: [ReadingKind; 5] = [
        ReadingKind::Generation,
        ReadingKind::Version,
        ReadingKind::Identity,
        ReadingKind::Roles,
        ReadingKind::Clocks,
    ];

    /// The label in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ReadingKind::Generation => "generation",
            ReadingKind::Version => "version",
            ReadingKind::Identity => "identity",
            ReadingKind::Roles => "roles",
            ReadingKind::Clocks => "clocks",
        }
    }
}

/// How many sets of indices are counted apart.
const MOST_SETS: usize = 4_096;
/// How many names they may have together; 16 bytes each.
const MOST_SLOTS: usize = 1 << 20;
/// How many indices keep numbers of their own when no set has them any more.
const MOST_RETIRED: usize = 16_384;

#[derive(Debug, Default)]
struct Sets {
    live: BTreeMap<Arc<[Arc<str>]>, Arc<IndexSet>>,
    /// Each name once, however many sets have it.
    names: BTreeSet<Arc<str>>,
    slots: usize,
    crowd: Arc<IndexSet>,
    retired: BTreeMap<Arc<str>, RequestCache>,
    retired_total: RequestCache,
    /// When to look for room again, in calls: looking takes time.
    wait: usize,
}

impl Sets {
    fn is_full(&self, more: usize) -> bool {
        self.live.len() >= MOST_SETS || self.slots + more > MOST_SLOTS
    }

    fn intern(&mut self, name: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        self.names.insert(Arc::clone(name));
        Arc::clone(name)
    }

    /// Makes room: sets that nothing refers to any more hold no bytes, and their counts are folded by index.
    fn make_room(&mut self) {
        if self.live.len() < MOST_SETS && self.slots < MOST_SLOTS {
            return;
        }
        if self.wait > 0 {
            self.wait -= 1;
            return;
        }
        self.wait = MOST_SETS / 4;
        let (retired, total, slots) = (&mut self.retired, &mut self.retired_total, &mut self.slots);
        self.live.retain(|_, set| {
            if Arc::strong_count(set) > 1 {
                return true;
            }
            let numbers = set.numbers();
            total.add(numbers);
            for name in set.names.iter() {
                if retired.len() < MOST_RETIRED || retired.contains_key(name) {
                    retired.entry(Arc::clone(name)).or_default().add(numbers);
                }
            }
            *slots -= set.names.len();
            false
        });
        self.names.retain(|name| Arc::strong_count(name) > 1);
    }
}

/// The numbers that Elasticsearch calls `request_cache`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCache {
    /// Bytes of keys, headers, bodies and overhead.
    pub memory: u64,
    /// Entries evicted for want of room.
    pub evictions: u64,
    /// Requests answered from the cache.
    pub hits: u64,
    /// Requests that could have been answered from the cache and were forwarded.
    pub misses: u64,
}

impl RequestCache {
    fn add(&mut self, other: RequestCache) {
        self.memory += other.memory;
        self.evictions += other.evictions;
        self.hits += other.hits;
        self.misses += other.misses;
    }
}

/// Counters of the requests that resolved to one set of indices.
#[derive(Debug, Default)]
pub struct IndexSet {
    names: Arc<[Arc<str>]>,
    /// Requests answered from the cache.
    pub hits: Counter,
    /// Requests forwarded for want of an entry.
    pub misses: Counter,
    /// Entries evicted for want of room.
    pub evictions: Counter,
    bytes: AtomicI64,
}

impl IndexSet {
    /// The indices, sorted by name. Empty: any.
    #[must_use]
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Whether one of these indices may belong to it.
    #[must_use]
    pub fn touches(&self, names: &[Arc<str>]) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| names.contains(name))
    }

    /// An entry came or went.
    pub fn resize(&self, bytes: i64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn numbers(&self) -> RequestCache {
        RequestCache {
            memory: self.bytes.load(Ordering::Relaxed).max(0).unsigned_abs(),
            evictions: self.evictions.get(),
            hits: self.hits.get(),
            misses: self.misses.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Arc<[Arc<str>]> {
        list.iter().map(|n| Arc::from(*n)).collect()
    }

    #[test]
    fn an_index_counts_every_request_that_touched_it_and_the_total_each_once() {
        let stats = Stats::default();
        stats.indices(&names(&["a", "b"])).hits.add(2);
        stats.indices(&names(&["b"])).misses.inc();
        stats.indices(&names(&["a", "b"])).resize(10);
        let by = stats.by_index();
        assert_eq!(by["a"], RequestCache { memory: 10, evictions: 0, hits: 2, misses: 0 });
        assert_eq!(by["b"], RequestCache { memory: 10, evictions: 0, hits: 2, misses: 1 });
        assert_eq!(stats.total(), RequestCache { memory: 10, evictions: 0, hits: 2, misses: 1 });
    }

    #[test]
    fn sets_are_bounded_and_nothing_is_lost() {
        let stats = Stats::default();
        for i in 0..MOST_SETS + 10 {
            stats.indices(&names(&[&format!("i{i}"), "all"])).hits.inc();
        }
        let live = stats.sets.lock().unwrap().live.len();
        assert!(live <= MOST_SETS, "{live}");
        let held: Vec<_> = (0..MOST_SETS + 10).map(|i| stats.indices(&names(&[&format!("j{i}")]))).collect();
        assert!(stats.sets.lock().unwrap().live.len() <= MOST_SETS);
        assert!(held.last().unwrap().touches(&names(&["anything"])));
        assert_eq!(stats.total().hits, MOST_SETS as u64 + 10);
        assert_eq!(stats.by_index()["all"].hits, MOST_SETS as u64 + 10);
    }
}
