//! The words for what became of a request. Header, log, metric and `explain` all take them from here.

use std::fmt;
use std::time::Duration;

macro_rules! reasons {
    ($($(#[doc = $doc:expr])+ $variant:ident => $name:literal,)+) => {
        /// Why a request is not answered from the cache, or its answer not stored. Every "no" has a name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// All reasons, in the order of the table.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)+];

            /// The name that header, log, metric and `explain` show.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)+ }
            }

            /// One sentence for people, as in the documentation of the variant.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Reason::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    // -- the request as HTTP
    /// This endpoint or method is forwarded, never cached.
    Api => "api",
    /// The request is a write or an administrative call.
    Write => "write",
    /// The body is larger than what is buffered for the key (`limits.max_key_body`).
    BodyTooLarge => "body-too-large",
    /// The body is not JSON as RFC 8259 has it.
    NotJson => "not-json",
    /// A JSON object has the same member twice, or two spellings of one member.
    DuplicateKey => "duplicate-key",
    /// The JSON is nested deeper than escache follows.
    TooDeep => "too-deep",
    /// The body is coded in a way that is not read (only one member of gzip is), or has a content type other than JSON.
    ContentType => "content-type",
    /// The query string has a `;`, a repeated parameter, or an escape that does not decode.
    QueryString => "query-string",
    /// The parameter `source` stands beside a body.
    SourceAndBody => "source-and-body",
    /// A URL parameter that escache does not know for this endpoint, or a value that it does not know.
    UnknownParameter => "unknown-parameter",
    /// A word in the body that escache does not know in this place.
    UnknownWord => "unknown-word",
    /// A header asks for something that a cache cannot give (Range, Upgrade, conditional headers other than If-None-Match), or
    /// signs the request, which a fill would change.
    Header => "header",
    /// escache has sent the request itself: its hosts lead back to it.
    Loop => "loop",

    // -- the request as a search
    /// The search keeps state on the engine: scroll, point in time, slices, an asynchronous search that is kept.
    Stateful => "stateful",
    /// The answer depends on the time (`now`, a decay on a date without origin), or may (an analyzer that is not known).
    Now => "now",
    /// A rounded `now` is too near to its boundary, or the clocks of the nodes are not known well enough.
    ClockSkew => "clock-skew",
    /// The answer depends on chance (`random_score` without seed, samplers, `rare_terms`).
    Random => "random",
    /// The answer depends on documents or services elsewhere (terms lookup, indexed shapes, percolate, inference).
    Lookup => "lookup",
    /// A script could read the clock, chance, or anything else.
    Script => "script",
    /// `search_type=dfs_query_then_fetch`, `profile` or `explain`.
    Diagnostic => "diagnostic",
    /// An index on another cluster.
    RemoteIndex => "remote-index",
    /// A search pipeline may change the request or the answer.
    SearchPipeline => "search-pipeline",
    /// An approximate algorithm that may answer differently each time (kNN).
    Approximate => "approximate",
    /// The template is in the cluster state, and nothing is watched that would show its change.
    StoredTemplate => "stored-template",
    /// A feature that this version of escache leaves to the engine.
    NotYet => "not-yet",

    // -- what the client or the operator asked for
    /// The request says `request_cache=false`.
    RequestCacheFalse => "request-cache-false",
    /// The request says `Cache-Control: no-store`.
    NoStore => "no-store",
    /// The search returns hits, and `cache.hits` is false.
    Hits => "hits",
    /// A rule of the configuration says so.
    Rule => "rule",
    /// The cache is switched off.
    Off => "off",
    /// The index setting `index.requests.cache.enable` is false on an index of the target.
    IndexSetting => "index-setting",

    // -- identity
    /// The request carries an identity and nothing proves that its permissions are unchanged.
    ScopeUnknown => "scope-unknown",
    /// Permissions changed, or were first seen, so short a time ago that nodes may not yet enforce them (`auth.enforcement_gap`).
    ScopeSettling => "scope-settling",

    // -- properties of the target
    /// An alias of the target has a filter with `now`, or one that escache cannot judge.
    AliasFilter => "alias-filter",
    /// An index of the target has runtime or derived fields that a script computes.
    RuntimeField => "runtime-field",
    /// An index of the target has an analyzer that can be reloaded without a trace.
    ReloadableAnalyzer => "reloadable-analyzer",
    /// An index of the target has fields whose searches ask an inference service (`semantic_text`).
    InferenceField => "inference-field",
    /// An index of the target has a default search pipeline.
    DefaultPipeline => "default-pipeline",
    /// `index.search.idle.after` is too short against the refresh interval.
    SearchIdle => "search-idle",

    /// A property of the target of a search in a multi search; `explain` tells which.
    Target => "target",

    // -- freshness
    /// The generation could not be read (no such index, no permission, no `_stats`, engine unreachable).
    GenerationUnknown => "generation-unknown",
    /// The reading lists fewer indices than the metadata does, or a shard without a started copy.
    GenerationIncomplete => "generation-incomplete",
    /// The target changed while it was being read.
    GenerationMoving => "generation-moving",
    /// The metadata of the target changed, or was first seen, so short a time ago that a node may still go by the old (`freshness.metadata_settling`).
    MetadataSettling => "metadata-settling",
    /// Too many readings are under way (`freshness.max_concurrent_readings`).
    ReadingsLimit => "readings-limit",
    /// To ask whether anything changed costs the engine more than the search itself (`freshness.reading_dearer`).
    ReadingDearer => "reading-dearer",

    // -- the answer
    /// The engine gave no answer: it cannot be reached, took longer than it may, or broke off.
    NoAnswer => "no-answer",
    /// The status of the answer is not 200.
    Status => "status",
    /// The answer is partial: a shard failed or is missing.
    Partial => "partial",
    /// The answer timed out.
    TimedOut => "timed-out",
    /// The answer was terminated early.
    TerminatedEarly => "terminated-early",
    /// Whether the answer is partial cannot be seen in it.
    PartialityUnknown => "partiality-unknown",
    /// The answer is larger than `cache.max_entry_size`.
    EntryTooLarge => "entry-too-large",
    /// The answer shows that another cache made it (R6).
    CacheUnderneath => "cache-underneath",
    /// The cache was cleared while the answer was being fetched (R7).
    Purged => "purged",
    /// The host that answered is not known to have applied the metadata that the answer would be tagged with.
    HostLagging => "host-lagging",
    /// The answer has a coding or a type that is not stored.
    AnswerType => "answer-type",
    /// The answer to a multi search has a warning, and nothing tells of which of its searches it is.
    Warnings => "warnings",
    /// Too many upstream searches are under way and waiting (`limits.max_concurrent_misses`).
    MissesLimit => "misses-limit",
    /// There is no room to hold the request or its answer in memory (`limits.max_buffered`).
    MemoryLimit => "memory-limit",
}

impl Reason {
    /// Whether it may be over the next moment, and the same request then be answered from the cache: it lies in what could
    /// not be known just now, not in the request, its target or the configuration.
    #[must_use]
    pub fn passes(self) -> bool {
        use Reason::{
            ClockSkew, GenerationIncomplete, GenerationMoving, GenerationUnknown, HostLagging, MemoryLimit,
            MetadataSettling, MissesLimit, ReadingsLimit, ScopeSettling,
        };
        matches!(
            self,
            ClockSkew
                | GenerationIncomplete
                | GenerationMoving
                | GenerationUnknown
                | HostLagging
                | MemoryLimit
                | MetadataSettling
                | MissesLimit
                | ReadingsLimit
                | ScopeSettling
        )
    }

    /// Whether it was found in the metadata of the target, which a client may not be allowed to know.
    #[must_use]
    pub fn tells_of_the_target(self) -> bool {
        use Reason::{
            AliasFilter, DefaultPipeline, GenerationIncomplete, GenerationMoving, GenerationUnknown,
            IndexSetting, InferenceField, MetadataSettling, ReloadableAnalyzer, Rule, RuntimeField,
            SearchIdle,
        };
        matches!(
            self,
            AliasFilter
                | DefaultPipeline
                | GenerationIncomplete
                | GenerationMoving
                | GenerationUnknown
                | IndexSetting
                | InferenceField
                | MetadataSettling
                | ReloadableAnalyzer
                | Rule
                | RuntimeField
                | SearchIdle
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A reason with the place where it stands, such as `aggs.by_day.date_histogram.extended_bounds.max: now`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The name of the "no".
    pub reason: Reason,
    /// Where in the request it was found; empty where the reason says it all. Never holds a value of the request
    /// but for words of the request language, since it goes to header and log.
    pub place: String,
}

impl Refusal {
    /// A refusal at a place.
    pub fn at(reason: Reason, place: impl Into<String>) -> Refusal {
        Refusal { reason, place: place.into() }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Refusal {
        Refusal { reason, place: String::new() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => write!(f, "{}", self.reason),
            place => write!(f, "{} at {place}", self.reason),
        }
    }
}

/// What became of a request, in the words of RFC 9211.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered from the cache.
    Hit,
    /// Could have been answered from the cache, but had to be forwarded.
    Miss,
    /// Answered from the cache although newer data may exist, because the engine could not answer (`stale_if_error`).
    Stale,
    /// Forwarded, and not for want of an entry.
    Bypass,
}

impl Outcome {
    /// All variants.
    pub const ALL: [Outcome; 4] = [Outcome::Hit, Outcome::Miss, Outcome::Stale, Outcome::Bypass];

    /// The value of the `X-Cache` header.
    #[must_use]
    pub fn x_cache(self) -> &'static str {
        match self {
            Outcome::Hit => "HIT",
            Outcome::Miss => "MISS",
            Outcome::Stale => "STALE",
            Outcome::Bypass => "BYPASS",
        }
    }

    /// The label in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Hit => "hit",
            Outcome::Miss => "miss",
            Outcome::Stale => "stale",
            Outcome::Bypass => "bypass",
        }
    }
}

/// What happened to a request: the content of the headers that escache adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheStatus {
    /// Hit, miss, stale or bypass.
    pub outcome: Outcome,
    /// Whether the answer was stored, or is shared with the request that stored it.
    pub stored: bool,
    /// Whether the answer came from the search of another, equal request.
    pub collapsed: bool,
    /// The seconds for which a hit will stay fresh by time alone; `None` where only changes end it.
    pub ttl: Option<u64>,
    /// Why not; also why a miss was not stored.
    pub refusal: Option<Refusal>,
    /// `freshness.ttl_only` is on: nothing watches for changes.
    pub unwatched: bool,
    /// The status of the engine's answer that a stale one is served instead of.
    pub forward_status: Option<u16>,
    /// How many searches of a multi search were answered from the cache.
    pub items: Option<Items>,
    /// What log and metrics tell besides.
    pub notes: Notes,
}

/// What log and metrics tell of a request, and the headers do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The beginning of its key.
    pub key: Option<u64>,
    /// How long ago the reading had started that a hit was served by.
    pub age: Option<Duration>,
    /// How long the engine took.
    pub upstream: Option<Duration>,
}

/// The searches of a multi search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items {
    /// How many were answered from the cache.
    pub hits: usize,
    /// How many there are.
    pub all: usize,
}

/// As in `items-hit=3/5`.
impl fmt::Display for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "items-hit={}/{}", self.hits, self.all)
    }
}

impl CacheStatus {
    /// A status without anything special.
    #[must_use]
    pub fn new(outcome: Outcome) -> CacheStatus {
        CacheStatus {
            outcome,
            stored: false,
            collapsed: false,
            ttl: None,
            refusal: None,
            unwatched: false,
            forward_status: None,
            items: None,
            notes: Notes::default(),
        }
    }

    /// Whether it is a hit, and nothing else is to be said in the headers.
    #[must_use]
    pub fn is_plain_hit(&self) -> bool {
        // all named, so that none is forgotten
        matches!(
            self,
            CacheStatus {
                outcome: Outcome::Hit,
                stored: false,
                collapsed: false,
                ttl: None,
                refusal: None,
                unwatched: false,
                forward_status: None,
                items: None,
                notes: _,
            }
        )
    }

    /// The request bypassed the cache.
    #[must_use]
    pub fn bypass(refusal: impl Into<Refusal>) -> CacheStatus {
        CacheStatus { refusal: Some(refusal.into()), ..CacheStatus::new(Outcome::Bypass) }
    }
}

/// The value of the `Cache-Status` header (RFC 9211).
impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("escache; ")?;
        match self.outcome {
            Outcome::Hit => f.write_str("hit")?,
            Outcome::Miss => f.write_str("fwd=miss")?,
            // not also a hit: RFC 9211 2 wants one of the two
            Outcome::Stale => f.write_str("fwd=stale")?,
            Outcome::Bypass => f.write_str("fwd=bypass")?,
        }
        if let Some(status) = self.forward_status {
            write!(f, "; fwd-status={status}")?;
        }
        if self.stored {
            f.write_str("; stored")?;
        }
        if self.collapsed {
            f.write_str("; collapsed")?;
        }
        if let Some(ttl) = self.ttl {
            write!(f, "; ttl={ttl}")?;
        }
        if let Some(items) = &self.items {
            let reason = self.refusal.as_ref().map(|refusal| format!(" {refusal}")).unwrap_or_default();
            let unwatched = if self.unwatched { " ttl-only" } else { "" };
            return write!(f, "; detail=\"{items}{}{unwatched}\"", Quoted(&reason));
        }
        match &self.refusal {
            // a place is not a token of RFC 8941, so the two together are a string
            Some(Refusal { reason, place }) if place.is_empty() => {
                f.write_str("; detail=")?;
                f.write_str(reason.name())?;
            }
            Some(refusal) => write!(f, "; detail=\"{}\"", Quoted(&refusal.to_string()))?,
            None if self.unwatched => f.write_str("; detail=ttl-only")?,
            None => {}
        }
        Ok(())
    }
}

/// A string of RFC 8941: printable ASCII, with backslash and quote escaped. Anything else becomes `?`.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().take(256) {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                ' '..='~' => write!(f, "{c}")?,
                _ => f.write_str("?")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_tokens() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
        assert!(Reason::ALL.iter().all(|r| r.help().ends_with('.') || r.help().ends_with(").")));
    }

    #[test]
    fn cache_status_is_a_structured_field() {
        let miss = CacheStatus { stored: true, ..CacheStatus::new(Outcome::Miss) };
        assert_eq!(miss.to_string(), "escache; fwd=miss; stored");
        let hit = CacheStatus { ttl: Some(5), ..CacheStatus::new(Outcome::Hit) };
        assert_eq!(hit.to_string(), "escache; hit; ttl=5");
        let stale = CacheStatus { forward_status: Some(503), ..CacheStatus::new(Outcome::Stale) };
        assert_eq!(stale.to_string(), "escache; fwd=stale; fwd-status=503");
        assert_eq!(
            CacheStatus::bypass(Reason::ScopeUnknown).to_string(),
            "escache; fwd=bypass; detail=scope-unknown"
        );
        let several = CacheStatus {
            items: Some(Items { hits: 3, all: 5 }),
            refusal: Some(Reason::Now.into()),
            ..CacheStatus::new(Outcome::Miss)
        };
        assert_eq!(several.to_string(), "escache; fwd=miss; detail=\"items-hit=3/5 now\"");
        let placed = Refusal::at(Reason::Now, "query.range.ä\"\n.gte");
        assert_eq!(
            CacheStatus::bypass(placed).to_string(),
            "escache; fwd=bypass; detail=\"now at query.range.?\\\"?.gte\""
        );
    }
}
