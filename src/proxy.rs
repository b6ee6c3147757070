//! The way of a request: accept, classify, key, look up, validate, join or lead a flight, forward, decide if storable,
//! store, respond. `Proxy::search` walks it; the steps never call each other. Classify and key are in `understand`,
//! validate is in `validate`, look up and respond in `serve`, flights are in `fly` and what they do in `fill`, the way of a
//! multi search is in `msearch`, what is not answered from the cache in `bypass`, what is not cached in `pass`, what is served
//! when the engine is in trouble in `stale`, how hits are compared with the engine in `shadow`, what search templates
//! render to in `template`.

mod accept;

mod ahead;

mod bypass;

mod confirm;

mod dearer;

mod early;

mod fill;

mod fills;

mod fly;

mod live;

mod msearch;

mod pass;

mod plans;

mod ready;

mod represent;

mod serve;

mod shadow;

mod stale;

mod sweep;

mod template;

mod told;

mod unanswered;

mod understand;

mod validate;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use tokio::time::Instant;

use crate::access::AccessLog;
use crate::budget::Budget;
use crate::cache::{Bounded, Codings, Epoch, Eviction, Flights, Store};
use crate::clocks::Clocks;
use crate::control::Control;
use crate::elastic::api::{Engine, Route};
use crate::error::ProxyError;
use crate::generation::Tag;
use crate::key::CacheKey;
use crate::key::headers::HeaderRules;
use crate::outcome::{CacheStatus, Outcome, Reason, Refusal};
use crate::policy::Policy;
use crate::respond;
use crate::scope::{Scope, ScopeSettings};
use crate::spans::Spans;
use crate::stats::Stats;
use crate::upstream::{Body, Stream, Upstream, UpstreamSettings, collect};
use crate::watcher::{Watcher, WatcherSettings};

use self::accept::accept;
use self::ahead::{Ahead, Candidate};
pub use self::ahead::{AheadSettings, Refreshed, Search};
use self::confirm::Confirming;
use self::dearer::DearReadings;
pub use self::fill::Landed;
use self::fills::Fills;
use self::fly::Flown;
pub use self::live::Live;
pub use self::msearch::{Door, Several, SeveralKey};
pub(crate) use self::msearch::{Searches, plain};
use self::plans::Planned;
pub use self::ready::{Probed, Readiness};
use self::shadow::Shadows;
use self::sweep::Sweeper;
use self::unanswered::Unanswered;
pub(crate) use self::validate::View;

/// What is known of the engine behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its family and version; `None` while it is not known.
    pub engine: Option<Engine>,
    /// The cluster; empty while it is not known.
    pub cluster_uuid: String,
}

/// Everything that a request meets on its way.
#[derive(Debug)]
pub struct Proxy {
    /// What the operator decided, and may decide anew.
    pub live: ArcSwap<Live>,
    /// `freshness.ttl_only`, which stays: nothing is watched for changes.
    unwatched: bool,
    /// What is known of the engine.
    pub engine: ArcSwap<EngineInfo>,
    /// The way to the engine.
    pub upstream: Arc<Upstream>,
    /// Who reads generations.
    pub watcher: Arc<Watcher>,
    /// Who knows the nodes' clocks.
    pub clocks: Clocks,
    /// Who proves what an identity may see.
    pub scope: Scope,
    /// What is held in memory beside the caches.
    pub budget: Arc<Budget>,
    /// The entries.
    pub store: Store,
    /// How many bytes they may take.
    pub capacity: u64,
    /// Compressed forms of their bodies.
    pub codings: Codings,
    /// Upstream searches under way.
    pub flights: Arc<Flights<FlightKey, Landed>>,
    /// Upstream multi searches under way.
    pub multi_flights: Arc<Flights<SeveralKey, Several>>,
    /// From whom the engine is known to take multi searches, and whether header lines with indices, too.
    pub doors: Bounded<(CacheKey, bool), Arc<Door>>,
    /// Keys whose answers were too large to share, and under which generation.
    pub unshareable: Bounded<CacheKey, Tag>,
    /// The counters.
    pub stats: Arc<Stats>,
    /// What search templates render to.
    renderings: template::Renderings,
    /// Lines for requests.
    pub access: AccessLog,
    /// Spans of requests.
    pub spans: Spans,
    /// Keys whose searches are cheaper than a reading.
    dear: DearReadings,
    /// Upstream searches that fill the cache.
    fills: Fills,
    /// Searches that are asked ahead of their users.
    ahead: Ahead,
    /// Hits that are being compared with the engine.
    shadows: Shadows,
    /// Who removes entries whose target has changed.
    sweeper: Sweeper,
    /// Whether entries were lost because nobody asked again in time.
    confirming: Confirming,
    /// What the log was told of requests without an answer.
    unanswered: Unanswered,
    /// Whether the engine answered when it was last asked who it is.
    probed: Mutex<Probed>,
    /// What the upstream answered, if it looks like no search engine.
    stranger: ArcSwapOption<String>,
    /// Whether escache is about to stop.
    pub draining: AtomicBool,
}

/// Requests share an upstream search if they ask the same, under an equal generation in the same cluster state
/// (`Generation::moment`), within one purge epoch (R5, R7).
pub type FlightKey = (CacheKey, Tag, Epoch);

/// How a proxy is set up.
#[derive(Debug)]
pub struct ProxySettings {
    /// What the operator decided.
    pub policy: Policy,
    /// What headers mean.
    pub headers: HeaderRules,
    /// Where the engine is.
    pub upstream: UpstreamSettings,
    /// How generations are read.
    pub watcher: WatcherSettings,
    /// How permissions are proven.
    pub scope: ScopeSettings,
    /// The size of the store, in bytes.
    pub capacity: u64,
    /// Which entry goes when there is no room.
    pub eviction: Eviction,
    /// `limits.max_concurrent_misses`: upstream searches that fill the cache at once; as many more may wait.
    pub max_concurrent_misses: usize,
    /// `limits.max_stale_memory`: superseded entries that are kept for `stale_if_error`, in bytes.
    pub max_stale_memory: u64,
    /// `limits.max_buffered`: what is held in memory beside the caches, in bytes.
    pub max_buffered: u64,
    /// How searches are asked ahead of their users.
    pub ahead: AheadSettings,
}

/// How many keys are remembered whose answers were too large to share.
const MOST_UNSHAREABLE: u64 = 10_000;

/// From how many clients, in how many representations, it is remembered that the engine takes multi searches.
const MOST_DOORS: u64 = 10_000;

/// Which part of the store's size the second map may have beside it.
const PLANS_SHARE: u64 = 32;

/// A search that was understood.
struct Understood<'a> {
    live: &'a Live,
    head: &'a Parts,
    body: Bytes,
    client: ClientAddress,
    control: Control,
    arrival: Instant,
    plan: Arc<Planned>,
    /// What is remembered of it, to ask it ahead of its users.
    candidate: Option<Box<Candidate>>,
}

/// An answer, and what is said of how it came about.
pub type Answered = (Response<Body>, CacheStatus);

/// An answer that is here, or one that is waited for. What waits is in memory of its own, and costs a hit nothing.
#[expect(clippy::large_enum_variant, reason = "a hit is to cost no allocation for it")]
enum Answer<'a> {
    Here(Answered),
    Waits(Pin<Box<dyn Future<Output = Answered> + Send + 'a>>),
}

/// Who sent a request.
pub type ClientAddress = Option<IpAddr>;

impl Proxy {
    /// A proxy with an empty cache. Asks nobody anything yet.
    #[must_use]
    pub fn new(settings: ProxySettings) -> Arc<Proxy> {
        let stats = Arc::new(Stats::default());
        let upstream = Arc::new(Upstream::new(settings.upstream, Arc::clone(&stats)));
        let policy = settings.policy;
        let wall = settings.watcher.wall;
        let codings = if policy.compression { settings.capacity / represent::CODINGS_SHARE } else { 0 };
        let for_entries = settings.capacity - codings;
        let store = Store::new(for_entries, policy.expire, settings.eviction, Arc::clone(&stats));
        let watcher = Watcher::new(Arc::clone(&upstream), Arc::clone(&stats), settings.watcher);
        Arc::new(Proxy {
            scope: Scope::new(
                settings.scope,
                Arc::clone(&upstream),
                Arc::clone(&watcher),
                Arc::clone(&stats),
            ),
            unwatched: policy.ttl_only.is_some(),
            engine: ArcSwap::default(),
            clocks: Clocks::new(Arc::clone(&upstream), Arc::clone(&stats), wall),
            watcher,
            upstream,
            store: stale::keeping(&policy, settings.max_stale_memory, store),
            budget: Budget::new(settings.max_buffered),
            codings: Codings::new(codings),
            flights: Arc::default(),
            multi_flights: Arc::default(),
            doors: Bounded::new(MOST_DOORS),
            capacity: settings.capacity,
            unshareable: Bounded::new(MOST_UNSHAREABLE),
            stats,
            renderings: template::renderings(settings.capacity / PLANS_SHARE),
            access: AccessLog::default(),
            spans: Spans::default(),
            dear: DearReadings::new(),
            fills: Fills::new(settings.max_concurrent_misses),
            ahead: Ahead::new(settings.ahead),
            shadows: Shadows::default(),
            sweeper: Sweeper::new(),
            confirming: Confirming::default(),
            unanswered: Unanswered::default(),
            probed: Mutex::default(),
            stranger: ArcSwapOption::empty(),
            draining: AtomicBool::new(false),
            live: ArcSwap::from_pointee(Live::new(policy, settings.headers, settings.capacity / PLANS_SHARE)),
        })
    }

    /// The street: answers a search or a count. What waits is boxed: the future of a hit stays small, and is moved often.
    pub async fn search(
        self: &Arc<Self>,
        head: &Parts,
        route: &Route<'_>,
        body: Stream,
        client: ClientAddress,
    ) -> Answered {
        let live = self.live.load_full();
        let accepted = accept(collect(body, live.policy.max_key_body, &self.budget).await);
        let body = match accepted {
            Ok(body) => body,
            Err(why) => return Box::pin(self.not_whole(head, client, why)).await,
        };
        // a request has arrived when its last byte has (R8)
        let arrival = Instant::now();
        let control = Control::of(&head.headers);
        let plan = match self.understand_read(&live, head, route, &body, &control, arrival).await {
            Ok(plan) => plan,
            Err(refusal) => return Box::pin(self.refuse(head, body, client, &control, refusal)).await,
        };
        let candidate = self.candidate(&live, head, &body, &plan);
        let plan = match self.at_this_time(plan).await {
            Ok(plan) => plan,
            Err(refusal) => return Box::pin(self.refuse(head, body, client, &control, refusal)).await,
        };
        let asked = Understood { live: &live, head, body, client, control, arrival, plan, candidate };
        if let Some(led) = self.lead_early(&asked) {
            return Box::pin(self.miss_early(asked, led)).await;
        }
        let answer = {
            let view = self.validate(&live, &asked.plan, &asked.control, head, arrival).await;
            self.answer(asked, view)
        };
        match answer {
            Answer::Here(answered) => answered,
            Answer::Waits(answering) => answering.await,
        }
    }

    /// Look up and respond; or what has to be waited for.
    fn answer<'a>(self: &'a Arc<Self>, asked: Understood<'a>, view: Result<View, Refusal>) -> Answer<'a> {
        let view = match view {
            Ok(view) => view,
            Err(refusal) => return Answer::Waits(Box::pin(self.refuse_or_stale(asked, refusal))),
        };
        let Some(hit) = self.look_up(&asked.plan, &view) else {
            return Answer::Waits(Box::pin(self.miss(asked, view)));
        };
        let Understood { live, head, body, plan, candidate, arrival, .. } = asked;
        let key = plan.key;
        self.dear.weigh(&key, view.reading_cost, hit.entry.cost(), arrival);
        self.shadow(head, body, plan, view, &hit.entry);
        self.note_asked(live, head, candidate, StatusCode::OK);
        match self.represent_now(live, head, key, &hit.entry) {
            Ok(shown) => Answer::Here(self.serve(head, &hit, shown, key)),
            Err(plain) => Answer::Waits(Box::pin(async move {
                let shown = self.compress(key, &hit.entry, plain).await;
                self.serve(head, &hit, shown, key)
            })),
        }
    }

    /// No entry may be served: join or lead a flight, and respond with how it landed.
    async fn miss(self: &Arc<Self>, asked: Understood<'_>, view: View) -> Answered {
        let Understood { live, head, client, arrival, .. } = asked;
        let (body, plan) = (asked.body.clone(), &asked.plan);
        if asked.control.only_if_cached {
            return (respond::error(&ProxyError::OnlyIfCached), CacheStatus::new(Outcome::Miss));
        }
        if self.unshareable.get(&plan.key) == Some(view.generation.tag()) {
            return self.miss_alone(head, body, client, &view, Some(Reason::EntryTooLarge)).await;
        }
        let flown = Box::pin(self.join_or_lead(head, body.clone(), plan, &view, arrival)).await;
        let answered = match flown {
            Some(Flown { landed, led }) => {
                self.dear.weigh_landed(&plan.key, view.reading_cost, &landed, arrival);
                match self.land_search(live, head, plan.key, &landed, led).await {
                    Ok(answer) => answer,
                    Err(reason) => Box::pin(self.miss_alone(head, body, client, &view, Some(reason))).await,
                }
            }
            // the flight was lost
            None => Box::pin(self.miss_alone(head, body, client, &view, None)).await,
        };
        self.end_miss(asked, answered).await
    }

    /// What is noted of every miss; and an older answer, if the engine is in trouble.
    async fn end_miss(&self, asked: Understood<'_>, mut answered: Answered) -> Answered {
        let Understood { live, head, control, plan, candidate, .. } = asked;
        answered.1.notes.key = Some(plan.key.prefix());
        self.note_asked(live, head, candidate, answered.0.status());
        self.or_stale(live, head, &plan, &control, answered).await
    }

    /// The target or who asks is not one whose answers are cached, or is not known: then the engine may be in trouble.
    async fn refuse_or_stale(&self, asked: Understood<'_>, refusal: Refusal) -> Answered {
        let Understood { live, head, body, client, control, plan, .. } = asked;
        let answered = self.refuse(head, body, client, &control, refusal).await;
        self.or_stale(live, head, &plan, &control, answered).await
    }

    /// Whether nothing is watched for changes (`freshness.ttl_only`).
    pub(crate) fn unwatched(&self) -> bool {
        self.unwatched
    }
}

/// The certificate that a client showed, hashed: an extension of its requests.
#[derive(Clone, Copy, Debug)]
pub struct ClientCertificate(pub [u8; 32]);
