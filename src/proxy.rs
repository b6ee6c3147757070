//! The way of a request: accept, classify, key, look up, validate, join or lead a flight, forward, decide if storable,
//! store, respond. `Proxy::search` walks it; the steps stand below it and never call each other. What a flight does is in
//! `fill`, the way of a multi search in `msearch`, what is not cached in `pass`, what is served when the engine is in
//! trouble in `stale`, how hits are compared with the engine in `shadow`.

mod dearer;

mod fill;

mod live;

mod msearch;

mod pass;

mod plans;

mod shadow;

mod stale;

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Response;
use http::request::Parts;
use tokio::time::Instant;

use crate::cache::{
    Audience, Bounded, Decision, Entry, Epoch, Eviction, Flights, Lifetime, Proof, Store, decide,
};
use crate::clocks::Clocks;
use crate::control::Control;
use crate::elastic::api::{Engine, Route};
use crate::error::ProxyError;
use crate::generation::{Generation, Reading, Tag};
use crate::key::CacheKey;
use crate::key::headers::HeaderRules;
use crate::key::raw::{RawKey, Sent};
use crate::outcome::{CacheStatus, Outcome, Reason, Refusal};
use crate::plan::{Asked, Context, Plan, plan};
use crate::policy::{Policy, ReadingDearer, Ruling};
use crate::respond;
use crate::rounds::Needed;
use crate::scope::{Confirm, Found as Scoped, Scope, ScopeSettings};
use crate::stats::Stats;
use crate::upstream::{Body, Collected, Stream, Upstream, UpstreamSettings, collect};
use crate::watcher::{Watcher, WatcherSettings};

use self::dearer::DearReadings;
pub use self::fill::Landed;
use self::fill::{Fill, Fills, Keep, fill_head};
pub use self::live::Live;
pub use self::msearch::{Door, Several, SeveralKey};
pub(crate) use self::msearch::{head_of_items, searches};
use self::shadow::Shadows;

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
    /// The entries.
    pub store: Store,
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
    /// Keys whose searches are cheaper than a reading.
    dear: DearReadings,
    /// Upstream searches that fill the cache.
    fills: Fills,
    /// Hits that are being compared with the engine.
    shadows: Shadows,
    /// Whether the engine answered when it was last asked who it is.
    pub reachable: AtomicBool,
    /// Whether escache is about to stop.
    pub draining: AtomicBool,
}

/// Requests share an upstream search if they ask the same, under an equal generation, within one purge epoch (R5, R7).
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
}

/// How often a request reads at most, to have what the rules want.
const MOST_READINGS: usize = 4;

/// How many keys are remembered whose answers were too large to share.
const MOST_UNSHAREABLE: u64 = 10_000;

/// From how many clients, in how many representations, it is remembered that the engine takes multi searches.
const MOST_DOORS: u64 = 10_000;

/// Which part of the store's size the second map may have beside it.
const PLANS_SHARE: u64 = 32;

/// What is known about the target when a request is decided.
pub(crate) struct View {
    /// What identifies its searchable state.
    pub(crate) generation: Generation,
    /// When the reading started; `None` with `freshness.ttl_only`.
    pub(crate) started: Option<Instant>,
    /// How long entries may live for this request.
    pub(crate) lifetime: Lifetime,
    /// Whose permissions are part of the generation, to ask once more after the search.
    pub(crate) bearer: Option<Confirm>,
    /// Whether a part of it is not proven, and time alone ends entries: `freshness.ttl_only`, `auth.entry_ttl`.
    pub(crate) by_time: bool,
    /// The purge epoch before an entry was looked up.
    pub(crate) epoch: Epoch,
    /// Who may have the answer when nothing can be asked.
    pub(crate) audience: Audience,
    /// What the reading usually costs a request, where it was made for this one.
    pub(crate) reading_cost: Option<Duration>,
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
        let store = Store::new(settings.capacity, policy.expire, settings.eviction, Arc::clone(&stats));
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
            clocks: Clocks::new(Arc::clone(&upstream), wall),
            watcher,
            upstream,
            store: stale::keeping(&policy, settings.max_stale_memory, store),
            flights: Arc::default(),
            multi_flights: Arc::default(),
            doors: Bounded::new(MOST_DOORS),
            unshareable: Bounded::new(MOST_UNSHAREABLE),
            stats,
            dear: DearReadings::new(),
            fills: Fills::new(settings.max_concurrent_misses),
            shadows: Shadows::default(),
            reachable: AtomicBool::new(false),
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
    ) -> (Response<Body>, CacheStatus) {
        let live = self.live.load_full();
        let body = match self.accept(&live, head, body, client).await {
            Ok(body) => body,
            Err(answered) => return answered,
        };
        // a request has arrived when its last byte has (R8)
        let arrival = Instant::now();
        let control = Control::of(&head.headers);
        let plan = match self.understand(&live, head, route, &body, &control) {
            Ok(plan) => plan,
            Err(refusal) => return Box::pin(self.refuse(head, body, client, &control, refusal)).await,
        };
        let plan = match self.at_this_time(plan).await {
            Ok(plan) => plan,
            Err(refusal) => return Box::pin(self.refuse(head, body, client, &control, refusal)).await,
        };
        let view = match self.validate(&live, &plan, &control, head, arrival).await {
            Ok(view) => view,
            Err(refusal) => {
                let answered = Box::pin(self.refuse(head, body, client, &control, refusal)).await;
                return Box::pin(self.or_stale(&live, head, &plan, &control, answered)).await;
            }
        };
        if let Some((entry, age, ttl)) = self.look_up(&plan, &view) {
            self.dear.weigh(&plan.key, view.reading_cost, entry.cost(), arrival);
            self.shadow(head, body, plan, view, &entry);
            return self.hit(head, &entry, age, ttl);
        }
        if control.only_if_cached {
            return (respond::error(&ProxyError::OnlyIfCached), CacheStatus::new(Outcome::Miss));
        }
        if self.unshareable.get(&plan.key) == Some(view.generation.tag()) {
            return Box::pin(self.miss_alone(head, body, client, &view, Some(Reason::EntryTooLarge))).await;
        }
        let answered = match Box::pin(self.join_or_lead(head, body.clone(), &plan, &view, arrival)).await {
            Some(Flown { landed, led }) => {
                self.dear.weigh_landed(&plan.key, view.reading_cost, &landed, arrival);
                match self.land(head, &landed, led) {
                    Ok(answer) => answer,
                    Err(reason) => Box::pin(self.miss_alone(head, body, client, &view, Some(reason))).await,
                }
            }
            // the flight was lost
            None => Box::pin(self.miss_alone(head, body, client, &view, None)).await,
        };
        Box::pin(self.or_stale(&live, head, &plan, &control, answered)).await
    }

    /// Accept: the body of a request that may be cached; or the answer, if it is too long for that or broke off.
    async fn accept(
        &self,
        live: &Live,
        head: &Parts,
        body: Stream,
        client: ClientAddress,
    ) -> Result<Bytes, (Response<Body>, CacheStatus)> {
        match collect(body, live.policy.max_key_body).await {
            Ok(Collected::Whole(body)) => Ok(body),
            Ok(Collected::TooLong(body)) => {
                Err(Box::pin(self.bypass(head, body, client, Reason::BodyTooLarge.into())).await)
            }
            Err(error) => Err((respond::error(&error.of_request()), CacheStatus::bypass(Reason::NotJson))),
        }
    }

    /// Classify and key: the request alone, without what is stored or known of the target.
    pub(crate) fn plan(
        &self,
        live: &Live,
        head: &Parts,
        route: &Route<'_>,
        body: &Bytes,
        control: &Control,
    ) -> Result<Plan, Refusal> {
        if control.no_store {
            return Err(Reason::NoStore.into());
        }
        plan_for(live, &self.engine.load(), head, route, body)
    }

    /// The same, from the second map if the request repeats one byte for byte.
    fn understand(
        &self,
        live: &Live,
        head: &Parts,
        route: &Route<'_>,
        body: &Bytes,
        control: &Control,
    ) -> Result<Arc<Plan>, Refusal> {
        if control.no_store {
            return Err(Reason::NoStore.into());
        }
        let engine = self.engine.load();
        let key = RawKey::of(&Sent {
            engine: engine.engine,
            cluster: &engine.cluster_uuid,
            certificate: head.extensions.get().map(|ClientCertificate(certificate)| certificate),
            method: &head.method,
            uri: &head.uri,
            headers: &head.headers,
            rules: &live.headers,
            body,
        });
        live.plans.of(key, || plan_for(live, &engine, head, route, body))
    }

    /// With a rounded `now`, a question is another one after the next boundary, and has another key.
    pub(crate) async fn at_this_time(&self, plan: Arc<Plan>) -> Result<Arc<Plan>, Refusal> {
        if !plan.terms.now.is_empty()
            && let Some(moment) = Box::pin(self.clocks.span()).await?.until(&plan.terms)?
        {
            return Ok(Arc::new(Plan {
                key: plan.key.until(moment),
                until: Some(moment),
                ..Plan::clone(&plan)
            }));
        }
        Ok(plan)
    }

    /// Validate: what is the target's generation, and may it be cached at all?
    pub(crate) async fn validate(
        &self,
        live: &Live,
        plan: &Plan,
        control: &Control,
        head: &Parts,
        arrival: Instant,
    ) -> Result<View, Refusal> {
        let policy = &live.policy;
        let lifetime = Lifetime(policy.expire).and(plan.ruling.ttl);
        let epoch = self.store.epoch();
        if let Some(ttl) = policy.ttl_only {
            let lifetime =
                lifetime.and(Some(ttl)).and(control.no_cache.then_some(Duration::ZERO)).and(control.max_age);
            let (lifetime, audience) = match plan.anonymous {
                true => (lifetime, Audience::Everybody),
                false => (unproven(policy, lifetime, Reason::ScopeUnknown.into())?, Audience::Unproven),
            };
            let generation = Generation::unwatched();
            return Ok(View {
                generation,
                started: None,
                lifetime,
                bearer: None,
                by_time: true,
                epoch,
                audience,
                reading_cost: None,
            });
        }
        // marks that are set from here on are later than the request
        let mark = self.watcher.last_mark();
        let needed = |ruling: &Ruling| {
            let bound = control.bound(ruling.max_staleness, policy.max_stale);
            Needed::within(bound, arrival).marked(mark)
        };
        // with a bound one reading serves many, whatever it costs
        let weighed = policy.reading_dearer == ReadingDearer::Forward && needed(&plan.ruling).is_strict();
        if weighed && !control.only_if_cached && self.dear.forwards(&plan.key, arrival) {
            return Err(Reason::ReadingDearer.into());
        }
        let (ruling, reading, scope) = self.read_by_rules(live, plan, head, needed).await?;
        if plan.terms.hits && !ruling.hits && plan.request_cache != Some(true) {
            return Err(Reason::Hits.into());
        }
        let lifetime = lifetime.and(ruling.ttl);
        let generation = reading.found?;
        let metadata = generation.metadata();
        if let Some(refusal) = metadata.refusal() {
            return Err(refusal.clone());
        }
        if metadata.property().cache_disabled && plan.request_cache != Some(true) {
            return Err(Reason::IndexSetting.into());
        }
        if policy.forbids(metadata.names().iter(), plan.api) {
            return Err(Reason::Rule.into());
        }
        let (started, audience) = (Some(reading.started), Audience::Unproven);
        let reading_cost = reading.usual_cost.filter(|_| weighed);
        let view = View {
            started,
            lifetime,
            generation,
            bearer: None,
            by_time: false,
            epoch,
            audience,
            reading_cost,
        };
        Ok(match scope? {
            Scoped::Free => View { audience: Audience::Everybody, ..view },
            Scoped::Unproven(refusal) => {
                View { lifetime: unproven(policy, lifetime, refusal)?, by_time: true, ..view }
            }
            Scoped::Proven(proven) => View {
                generation: view.generation.within(&proven.digest),
                started: Some(reading.started.min(proven.started)),
                bearer: Some(proven.bearer),
                audience: Audience::Proven(proven.digest),
                ..view
            },
        })
    }

    /// What a request needs to know of its target and of who asks, as new as the rules want it. A rule for one of the
    /// indices that an expression resolves to may be stricter than those for its text, and is known only then.
    async fn read_by_rules(
        &self,
        live: &Live,
        plan: &Plan,
        head: &Parts,
        needed: impl Fn(&Ruling) -> Needed,
    ) -> Result<(Ruling, Reading, Result<Scoped, Refusal>), Refusal> {
        let mut ruling = plan.ruling;
        // once more for each rule that is stricter than those before; who still has nothing that serves is forwarded
        for _ in 0..MOST_READINGS {
            let since = needed(&ruling);
            let (reading, scope) = match self.at_hand(plan, since) {
                Some(found) => found,
                None => Box::pin(self.read(live, plan, head, since)).await,
            };
            let Ok(found) = &reading.found else { return Ok((ruling, reading, scope)) };
            ruling = live.policy.tightened(ruling, found.metadata().names().iter(), plan.api);
            let started = match &scope {
                Ok(Scoped::Proven(proven)) => reading.started.min(proven.started),
                _ => reading.started,
            };
            if needed(&ruling).serves(started) {
                return Ok((ruling, reading, scope));
            }
        }
        Err(Reason::GenerationUnknown.into())
    }

    /// What a request needs to know, if it is known: with a bound, the target's last reading mostly serves.
    fn at_hand(&self, plan: &Plan, since: Needed) -> Option<(Reading, Result<Scoped, Refusal>)> {
        if since.is_strict() {
            return None;
        }
        let scope = self.scope.at_hand(plan.anonymous)?;
        Some((self.watcher.at_hand(&plan.target, since)?, Ok(scope)))
    }

    /// What a request needs to know, asked of the engine.
    async fn read(
        &self,
        live: &Live,
        plan: &Plan,
        head: &Parts,
        since: Needed,
    ) -> (Reading, Result<Scoped, Refusal>) {
        let (reading, scope) = tokio::join!(
            self.watcher.reading_in_time(&plan.target, since),
            tokio::time::timeout(
                self.watcher.patience(),
                self.scope.of(&live.headers, plan.anonymous, &head.headers, since)
            )
        );
        (reading, scope.unwrap_or_else(|_| Err(Reason::ScopeUnknown.into())))
    }

    /// Look up: an entry that may be served, its age, and how long its lifetime still is.
    pub(crate) fn look_up(
        &self,
        plan: &Plan,
        view: &View,
    ) -> Option<(Arc<Entry>, Duration, Option<Duration>)> {
        let entry = self.store.get(&plan.key)?;
        let proof = match view.started {
            Some(started) => Proof::Reading { generation: &view.generation, started },
            None => Proof::Unwatched { mark: self.watcher.last_mark() },
        };
        match decide(&entry, proof, view.lifetime, self.watcher.now()) {
            Decision::Serve { age, ttl } => {
                self.note_proof(view, &entry);
                return Some((entry, age, ttl));
            }
            Decision::Superseded => {
                self.stats.plain.superseded.inc();
                self.keep_superseded(plan, view, &entry);
            }
            Decision::Expired => self.stats.plain.expired.inc(),
        }
        None
    }

    /// Join or lead a flight. `None` if the flight was lost.
    async fn join_or_lead(
        self: &Arc<Self>,
        head: &Parts,
        body: Bytes,
        plan: &Plan,
        view: &View,
        arrival: Instant,
    ) -> Option<Flown> {
        let epoch = self.store.epoch();
        let key = (plan.key, view.generation.tag(), epoch);
        let not_before = self.boards_from(view, arrival);
        let cancelled = {
            let stats = Arc::clone(&self.stats);
            move || stats.plain.flights_cancelled.inc()
        };
        let waiter = self.flights.board(
            &key,
            not_before,
            || {
                let fill = Fill {
                    head: fill_head(head, plan),
                    body,
                    api: plan.api,
                    widening: plan.widening,
                    keep: Keep::new(plan, view, epoch),
                };
                Arc::clone(self).fill(fill)
            },
            cancelled,
        );
        let led = waiter.leads;
        let indices = self.stats.indices(view.generation.metadata().names());
        if led {
            self.stats.plain.flights.inc();
            indices.misses.inc();
        } else {
            self.stats.plain.followers.inc();
            // as the engines count: who gets the answer of a load under way has a hit
            indices.hits.inc();
        }
        waiter.landed().await.map(|landed| Flown { landed, led })
    }

    /// When a flight must have begun to be waited for; `None` where the generation in its key says it all.
    fn boards_from(&self, view: &View, arrival: Instant) -> Option<Instant> {
        // what is too old to be served is too old to be waited for
        let not_before = view.lifetime.0.map(|limit| arrival.checked_sub(limit).unwrap_or(arrival));
        // without readings, nothing else tells that a write has passed through since
        let mark = self.watcher.last_mark().filter(|_| view.started.is_none());
        not_before.max(mark.map(|mark| mark + Duration::from_nanos(1)))
    }

    /// Respond from a flight; or why this request has to ask for itself.
    fn land(
        &self,
        head: &Parts,
        landed: &Landed,
        led: bool,
    ) -> Result<(Response<Body>, CacheStatus), Reason> {
        let status =
            CacheStatus { collapsed: !led, unwatched: self.unwatched(), ..CacheStatus::new(Outcome::Miss) };
        Ok(match landed {
            Landed::Stored(entry, fetched) => {
                let (mut response, not_modified) = respond::entry(entry, &head.headers, None);
                if led && !not_modified {
                    // all that the engine said, and the entity tag
                    let tag = response.headers().get(http::header::ETAG).cloned();
                    response = respond::fetched(fetched);
                    response.headers_mut().extend(tag.map(|tag| (http::header::ETAG, tag)));
                }
                (response, CacheStatus { stored: true, ..status })
            }
            Landed::Unstored(fetched, reason) => {
                let response =
                    if led { respond::fetched(fetched) } else { respond::shared(fetched, &head.headers) };
                (response, CacheStatus { refusal: Some((*reason).into()), ..status })
            }
            Landed::TooLarge(_) if !led => return Err(Reason::EntryTooLarge),
            Landed::TooLarge(response) => {
                let response = response.lock().unwrap_or_else(PoisonError::into_inner).take();
                let response = response.ok_or(Reason::EntryTooLarge)?;
                (response, CacheStatus { refusal: Some(Reason::EntryTooLarge.into()), ..status })
            }
            Landed::Unusable(reason) => return Err(*reason),
            Landed::Refused => (
                respond::too_many_misses(),
                CacheStatus { refusal: Some(Reason::MissesLimit.into()), ..status },
            ),
            Landed::Failed(error) => (respond::error(error), status),
        })
    }

    /// Respond from an entry.
    fn hit(
        &self,
        head: &Parts,
        entry: &Entry,
        age: Duration,
        ttl: Option<Duration>,
    ) -> (Response<Body>, CacheStatus) {
        let (response, not_modified) = respond::entry(entry, &head.headers, Some(age));
        self.count_hit(entry);
        if not_modified {
            self.stats.plain.not_modified.inc();
        }
        let ttl = ttl.map(|ttl| ttl.as_secs());
        (response, CacheStatus { ttl, unwatched: self.unwatched(), ..CacheStatus::new(Outcome::Hit) })
    }

    fn count_hit(&self, entry: &Entry) {
        entry.indices().hits.inc();
        self.stats.plain.saved_microseconds.add(u64::try_from(entry.cost().as_micros()).unwrap_or(u64::MAX));
    }

    /// A miss that nobody shares: streamed.
    async fn miss_alone(
        &self,
        head: &Parts,
        body: Bytes,
        client: ClientAddress,
        view: &View,
        reason: Option<Reason>,
    ) -> (Response<Body>, CacheStatus) {
        self.stats.indices(view.generation.metadata().names()).misses.inc();
        let refusal = reason.map(Refusal::from);
        let response = self.forward(head.clone(), Body::whole(body), client).await;
        (response, CacheStatus { refusal, ..CacheStatus::new(Outcome::Miss) })
    }

    /// Forward a request that was judged and refused; its body is at hand. What the refusal tells of the target is not
    /// for those whom the engine turns away, and never where in the metadata it was found.
    async fn refuse(
        &self,
        head: &Parts,
        body: Bytes,
        client: ClientAddress,
        control: &Control,
        refusal: Refusal,
    ) -> (Response<Body>, CacheStatus) {
        if control.only_if_cached {
            // the engine has not said whether this client may know anything of the target
            let told = if refusal.reason.tells_of_the_target() { Reason::Status.into() } else { refusal };
            return (respond::error(&ProxyError::OnlyIfCached), CacheStatus::bypass(told));
        }
        let (response, mut status) = self.bypass(head, Body::whole(body), client, refusal).await;
        let turned_away = matches!(response.status().as_u16(), 401 | 403 | 404);
        if let Some(refusal) = status.refusal.as_mut().filter(|refusal| refusal.reason.tells_of_the_target())
        {
            refusal.place.clear();
            if turned_away {
                refusal.reason = Reason::Status;
            }
        }
        (response, status)
    }

    async fn bypass(
        &self,
        head: &Parts,
        body: Body,
        client: ClientAddress,
        refusal: Refusal,
    ) -> (Response<Body>, CacheStatus) {
        (self.forward(head.clone(), body, client).await, CacheStatus::bypass(refusal))
    }

    /// Whether nothing is watched for changes (`freshness.ttl_only`).
    pub(crate) fn unwatched(&self) -> bool {
        self.unwatched
    }
}

/// How long entries live where nothing proves that permissions are unchanged: `auth.entry_ttl`, or not at all.
fn unproven(policy: &Policy, lifetime: Lifetime, refusal: Refusal) -> Result<Lifetime, Refusal> {
    match policy.entry_ttl {
        Some(ttl) => Ok(lifetime.and(Some(ttl))),
        None => Err(refusal),
    }
}

/// The certificate that a client showed, hashed: an extension of its requests.
#[derive(Clone, Copy, Debug)]
pub struct ClientCertificate(pub [u8; 32]);

/// What came of a flight, and whether this request led it.
struct Flown {
    landed: Landed,
    led: bool,
}

/// What is understood of a request by a configuration.
fn plan_for(
    live: &Live,
    engine: &EngineInfo,
    head: &Parts,
    route: &Route<'_>,
    body: &Bytes,
) -> Result<Plan, Refusal> {
    let asked = Asked { route, query: head.uri.query(), headers: &head.headers, body };
    let context = Context {
        engine: engine.engine,
        cluster: &engine.cluster_uuid,
        policy: &live.policy,
        headers: &live.headers,
    };
    let mut plan = plan(&asked, &context)?;
    if let Some(ClientCertificate(certificate)) = head.extensions.get() {
        plan.key = plan.key.of_certificate(certificate);
    }
    Ok(plan)
}
