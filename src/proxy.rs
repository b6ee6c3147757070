//! The way of a request: accept, classify, key, look up, validate, join or lead a flight, forward, decide if storable,
//! store, respond. `Proxy::search` walks it; the steps stand below it and never call each other.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::cache::{
    Bounded, Decision, Entry, Epoch, Eviction, Fetched, Flights, Lifetime, Proof, Storable, Store, decide,
};
use crate::cacheability::Terms;
use crate::clocks::Clocks;
use crate::control::{self, Control};
use crate::elastic::api::{Api, Effect, Engine, Route};
use crate::elastic::filter_path::{self, Widening};
use crate::error::ProxyError;
use crate::generation::{Generation, Tag};
use crate::key::CacheKey;
use crate::key::headers::HeaderRules;
use crate::outcome::{CacheStatus, Outcome, Reason, Refusal};
use crate::plan::{Asked, Context, Plan, plan};
use crate::policy::Policy;
use crate::respond;
use crate::scope::{Confirm, Found as Scoped, Scope, ScopeSettings};
use crate::stats::Stats;
use crate::upstream::{Body, Collected, Upstream, UpstreamSettings, collect};
use crate::watcher::{Watcher, WatcherSettings};

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
    /// What the operator decided.
    pub policy: Policy,
    /// What headers mean.
    pub headers: HeaderRules,
    /// What is known of the engine.
    pub engine: ArcSwap<EngineInfo>,
    /// The way to the engine.
    pub upstream: Arc<Upstream>,
    /// Who reads generations.
    pub watcher: Arc<Watcher>,
    /// Who proves what an identity may see.
    pub scope: Scope,
    /// Who knows the nodes' clocks.
    pub clocks: Clocks,
    /// The entries.
    pub store: Store,
    /// Upstream searches under way.
    pub flights: Arc<Flights<FlightKey, Landed>>,
    /// Keys whose answers were too large to share, and under which generation.
    pub unshareable: Bounded<CacheKey, Tag>,
    /// The counters.
    pub stats: Arc<Stats>,
    /// Upstream searches that fill the cache.
    fills: Fills,
    /// Whether the engine answered when it was last asked who it is.
    pub reachable: AtomicBool,
    /// Whether escache is about to stop.
    pub draining: AtomicBool,
}

/// Requests share an upstream search if they ask the same, under an equal generation, within one purge epoch (R5, R7).
pub type FlightKey = (CacheKey, Tag, Epoch);

/// How a flight ends.
#[derive(Clone, Debug)]
pub enum Landed {
    /// The answer is stored. With the headers as they came, for the request that led.
    Stored(Arc<Entry>, Arc<Fetched>),
    /// The answer is whole, but not stored.
    Unstored(Arc<Fetched>, Reason),
    /// The answer is too large to be shared: it streams to the request that led, the others ask for themselves.
    TooLarge(Arc<Mutex<Option<Response<Body>>>>),
    /// The answer cannot be given as it was asked for: each asks for itself.
    Unusable(Reason),
    /// Too many upstream searches are under way and waiting.
    Refused,
    /// There is no answer.
    Failed(ProxyError),
}

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
}

/// Lets some fills through and some wait, so that a cold cache cannot flatten the cluster.
#[derive(Debug)]
struct Fills {
    permits: Semaphore,
    waiting: AtomicUsize,
    most_waiting: usize,
}

impl Fills {
    fn new(most: usize) -> Fills {
        let permits = Semaphore::new(most.min(Semaphore::MAX_PERMITS));
        Fills { permits, waiting: AtomicUsize::new(0), most_waiting: most }
    }

    /// A permit, at once or after a wait; `None` if too many wait already.
    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Some(permit);
        }
        let _waiting = Waiting::new(&self.waiting, self.most_waiting)?;
        self.permits.acquire().await.ok()
    }
}

/// A place among those who wait, given back when it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn new(count: &AtomicUsize, most: usize) -> Option<Waiting<'_>> {
        let place = Waiting(count);
        (count.fetch_add(1, Ordering::AcqRel) < most).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How many keys are remembered whose answers were too large to share.
const MOST_UNSHAREABLE: u64 = 10_000;

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
        let watcher = Watcher::new(Arc::clone(&upstream), Arc::clone(&stats), settings.watcher);
        Arc::new(Proxy {
            scope: Scope::new(
                settings.scope,
                settings.headers.clone(),
                Arc::clone(&upstream),
                Arc::clone(&watcher),
                Arc::clone(&stats),
            ),
            headers: settings.headers,
            engine: ArcSwap::default(),
            watcher,
            clocks: Clocks::new(Arc::clone(&upstream), wall),
            upstream,
            store: Store::new(settings.capacity, policy.expire, settings.eviction, Arc::clone(&stats)),
            flights: Arc::default(),
            unshareable: Bounded::new(MOST_UNSHAREABLE),
            stats,
            fills: Fills::new(settings.max_concurrent_misses),
            reachable: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            policy,
        })
    }

    /// The street: answers a search or a count.
    pub async fn search(
        self: &Arc<Self>,
        head: &Parts,
        route: &Route<'_>,
        body: Incoming,
        client: ClientAddress,
    ) -> (Response<Body>, CacheStatus) {
        let body = match collect(body, self.policy.max_key_body).await {
            Ok(Collected::Whole(body)) => body,
            Ok(Collected::TooLong(body)) => {
                return self.bypass(head, body, client, Reason::BodyTooLarge.into()).await;
            }
            Err(_) => {
                return (respond::error(&ProxyError::BrokenRequest), CacheStatus::bypass(Reason::NotJson));
            }
        };
        // a request has arrived when its last byte has (R8)
        let arrival = Instant::now();
        let control = Control::of(&head.headers);
        let plan = match self.plan(head, route, &body, &control) {
            Ok(plan) => plan,
            Err(refusal) => return self.refuse(head, body, client, &control, refusal).await,
        };
        let plan = match self.at_this_time(plan).await {
            Ok(plan) => plan,
            Err(refusal) => return self.refuse(head, body, client, &control, refusal).await,
        };
        let view = match self.validate(&plan, &control, head, arrival).await {
            Ok(view) => view,
            Err(refusal) => return self.refuse(head, body, client, &control, refusal).await,
        };
        if let Some((entry, age, ttl)) = self.look_up(&plan, &view) {
            return self.hit(head, &entry, age, ttl);
        }
        if control.only_if_cached {
            return (respond::error(&ProxyError::OnlyIfCached), CacheStatus::new(Outcome::Miss));
        }
        if self.unshareable.get(&plan.key) == Some(view.generation.tag()) {
            return self.miss_alone(head, body, client, &view).await;
        }
        let flown = self.join_or_lead(head, body.clone(), &plan, &view, arrival).await;
        match flown.and_then(|Flown { landed, led }| self.land(head, &landed, led)) {
            Some(answer) => answer,
            None => self.miss_alone(head, body, client, &view).await,
        }
    }

    /// Classify and key: the request alone, without what is stored or known of the target.
    pub(crate) fn plan(
        &self,
        head: &Parts,
        route: &Route<'_>,
        body: &Bytes,
        control: &Control,
    ) -> Result<Plan, Refusal> {
        if control.no_store {
            return Err(Reason::NoStore.into());
        }
        let engine = self.engine.load();
        let asked = Asked { route, query: head.uri.query(), headers: &head.headers, body };
        let context = Context {
            engine: engine.engine,
            cluster: &engine.cluster_uuid,
            policy: &self.policy,
            headers: &self.headers,
        };
        plan(&asked, &context)
    }

    /// With a rounded `now`, a question is another one after the next boundary, and has another key.
    pub(crate) async fn at_this_time(&self, mut plan: Plan) -> Result<Plan, Refusal> {
        if !plan.terms.now.is_empty()
            && let Some(moment) = self.clocks.span().await?.until(&plan.terms)?
        {
            plan.key = plan.key.until(moment);
            plan.until = Some(moment);
        }
        Ok(plan)
    }

    /// Validate: what is the target's generation, and may it be cached at all?
    pub(crate) async fn validate(
        &self,
        plan: &Plan,
        control: &Control,
        head: &Parts,
        arrival: Instant,
    ) -> Result<View, Refusal> {
        let lifetime = Lifetime(self.policy.expire).and(plan.ruling.ttl);
        if let Some(ttl) = self.policy.ttl_only {
            let lifetime =
                lifetime.and(Some(ttl)).and(control.no_cache.then_some(Duration::ZERO)).and(control.max_age);
            let lifetime = match plan.anonymous {
                true => lifetime,
                false => self.unproven(lifetime, Reason::ScopeUnknown.into())?,
            };
            return Ok(View { generation: Generation::unwatched(), started: None, lifetime, bearer: None });
        }
        let bound = control.bound(plan.ruling.max_staleness, self.policy.max_stale);
        let needed = arrival.checked_sub(bound).unwrap_or(arrival);
        let (reading, scope) = tokio::join!(
            self.watcher.reading_in_time(&plan.target, needed),
            self.scope.of(plan.anonymous, &head.headers, needed)
        );
        let generation = reading.found?;
        let metadata = generation.metadata();
        if let Some(refusal) = metadata.refusal() {
            return Err(refusal.clone());
        }
        if metadata.property().cache_disabled && plan.request_cache != Some(true) {
            return Err(Reason::IndexSetting.into());
        }
        if self.policy.forbids(metadata.names().iter(), plan.api) {
            return Err(Reason::Rule.into());
        }
        let view = View { started: Some(reading.started), lifetime, generation, bearer: None };
        Ok(match scope? {
            Scoped::Free => view,
            Scoped::Unproven(refusal) => View { lifetime: self.unproven(lifetime, refusal)?, ..view },
            Scoped::Proven(proven) => View {
                generation: view.generation.within(&proven.digest),
                started: Some(reading.started.min(proven.started)),
                bearer: Some(proven.bearer),
                ..view
            },
        })
    }

    /// How long entries live where nothing proves that permissions are unchanged: `auth.entry_ttl`, or not at all.
    fn unproven(&self, lifetime: Lifetime, refusal: Refusal) -> Result<Lifetime, Refusal> {
        match self.policy.entry_ttl {
            Some(ttl) => Ok(lifetime.and(Some(ttl))),
            None => Err(refusal),
        }
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
            Decision::Serve { age, ttl } => return Some((entry, age, ttl)),
            Decision::Superseded => self.stats.plain.superseded.inc(),
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
        // what is too old to be served is too old to be waited for
        let not_before = view.lifetime.0.map(|limit| arrival.checked_sub(limit).unwrap_or(arrival));
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
                    key: plan.key,
                    widening: plan.widening,
                    now: plan.until.map(|until| (plan.terms.clone(), until)),
                    generation: view.generation.clone(),
                    bearer: view.bearer.clone(),
                    epoch,
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

    /// Forward, decide if storable, store. Runs on a task of its own.
    async fn fill(self: Arc<Self>, fill: Fill) -> Landed {
        let Fill { head, body, api, key, widening, now, generation, bearer, epoch } = fill;
        let Some(_permit) = self.fills.permit().await else { return Landed::Refused };
        let asked = self.watcher.now();
        let tag = (!self.unwatched()).then(|| generation.metadata().version());
        // not for one client alone, so the engine is not told of one: it could map roles to addresses
        let (applied, answer) = match self.upstream.fill(head, body, None, tag).await {
            Ok(delivered) => (delivered.applied, delivered.response),
            Err(error) => {
                tracing::warn!(%error, "no answer to a search");
                return Landed::Failed(error);
            }
        };
        let (answer, stream) = answer.into_parts();
        let body = match collect(stream, self.policy.max_entry_size).await {
            Ok(Collected::Whole(body)) => body,
            Ok(Collected::TooLong(rest)) => {
                self.unshareable.insert(key, generation.tag());
                // what was asked for beyond the client's filter cannot be cut out of a stream
                let response = (widening == Widening::None).then(|| Response::from_parts(answer, rest));
                return Landed::TooLarge(Arc::new(Mutex::new(response)));
            }
            Err(error) => return Landed::Failed(ProxyError::BrokenAnswer(error.to_string())),
        };
        let took = asked.at.elapsed();
        self.stats.plain.upstream_microseconds.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let mut fetched = Fetched { status: answer.status, headers: answer.headers, body, took };
        let checked = Storable::check(&fetched, api, widening, generation.metadata().shards());
        if widening == Widening::Add {
            match filter_path::cut(&fetched.body) {
                Ok(cut) => fetched.body = cut.into(),
                // an error may be anything, and was not widened; an answer must not show what was not asked for
                Err(reason) if fetched.status == StatusCode::OK => return Landed::Unusable(reason),
                Err(_) => {}
            }
        }
        let fetched = Arc::new(fetched);
        let answer = match checked {
            Ok(answer) => answer,
            Err(reason) => return Landed::Unstored(fetched, reason),
        };
        if let Some(bearer) = bearer
            && !self.scope.confirms(&bearer).await
        {
            return Landed::Unstored(fetched, Reason::ScopeSettling);
        }
        if tag.is_some() && !applied {
            return Landed::Unstored(fetched, Reason::HostLagging);
        }
        // the search must have ended on this side of the boundary, on every node's clock
        if let Some((terms, until)) = now
            && !self.clocks.span().await.is_ok_and(|span| span.until(&terms) == Ok(Some(until)))
        {
            return Landed::Unstored(fetched, Reason::ClockSkew);
        }
        let indices = self.stats.indices(generation.metadata().names());
        let entry = Arc::new(Entry::new(answer, generation.tag(), asked, indices));
        if !self.store.insert(key, Arc::clone(&entry), epoch) {
            return Landed::Unstored(fetched, Reason::Purged);
        }
        self.stats.plain.stored.inc();
        Landed::Stored(entry, fetched)
    }

    /// Respond from a flight. `None` if this request has to ask for itself.
    fn land(&self, head: &Parts, landed: &Landed, led: bool) -> Option<(Response<Body>, CacheStatus)> {
        let status =
            CacheStatus { collapsed: !led, unwatched: self.unwatched(), ..CacheStatus::new(Outcome::Miss) };
        Some(match landed {
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
            Landed::TooLarge(_) if !led => return None,
            Landed::TooLarge(response) => {
                let response = response.lock().unwrap_or_else(PoisonError::into_inner).take()?;
                (response, CacheStatus { refusal: Some(Reason::EntryTooLarge.into()), ..status })
            }
            Landed::Unusable(_) => return None,
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
        entry.indices().hits.inc();
        self.stats.plain.saved_microseconds.add(u64::try_from(entry.cost().as_micros()).unwrap_or(u64::MAX));
        if not_modified {
            self.stats.plain.not_modified.inc();
        }
        let ttl = ttl.map(|ttl| ttl.as_secs());
        (response, CacheStatus { ttl, unwatched: self.unwatched(), ..CacheStatus::new(Outcome::Hit) })
    }

    /// A miss that nobody shares: streamed.
    async fn miss_alone(
        &self,
        head: &Parts,
        body: Bytes,
        client: ClientAddress,
        view: &View,
    ) -> (Response<Body>, CacheStatus) {
        self.stats.indices(view.generation.metadata().names()).misses.inc();
        let refusal = Some(Reason::EntryTooLarge.into());
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
            return (respond::error(&ProxyError::OnlyIfCached), CacheStatus::bypass(refusal));
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

    /// Everything that is not cached. What it may have changed is marked at any end of the exchange, also if the
    /// client hangs up, and before a byte of the answer goes to the client.
    pub async fn pass(
        &self,
        head: Parts,
        effect: Effect,
        body: Incoming,
        client: ClientAddress,
    ) -> (Response<Body>, CacheStatus) {
        let reason = if effect == Effect::None { Reason::Api } else { Reason::Write };
        let mark = (effect != Effect::None).then(|| MarkAtEnd(&self.watcher));
        let response = self.forward(head, Body::Stream(body), client).await;
        drop(mark);
        (response, CacheStatus::bypass(reason))
    }

    /// A call that changes answers without a trace (R7). It goes on to its end even if the client hangs up, and then
    /// `purge` is run, unless the engine refused the call: also where nobody knows whether it was carried out.
    pub async fn pass_and_purge<F>(
        self: &Arc<Self>,
        head: Parts,
        body: Incoming,
        client: ClientAddress,
        purge: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> (Response<Body>, CacheStatus)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let proxy = Arc::clone(self);
        let exchange = tokio::spawn(async move {
            let (response, status) = proxy.pass(head, Effect::Mark, body, client).await;
            if !response.status().is_client_error() {
                purge(Arc::clone(&proxy)).await;
            }
            if response.status().is_server_error() {
                // the engine may still be at it
                let limit = proxy.upstream.settings().response_timeout;
                tokio::spawn(async move {
                    tokio::time::sleep(limit).await;
                    proxy.purge(None);
                });
            }
            (response, status)
        });
        exchange.await.unwrap_or_else(|_| {
            self.purge(None);
            (respond::error(&ProxyError::Internal), CacheStatus::bypass(Reason::Write))
        })
    }

    /// Passes a request on, and turns an error into an answer.
    pub async fn forward(&self, head: Parts, body: Body, client: ClientAddress) -> Response<Body> {
        match self.upstream.forward(head, body, client).await {
            Ok(answer) => answer.map(Body::Stream),
            Err(error) => {
                tracing::warn!(%error, "no answer to a request");
                respond::error(&error)
            }
        }
    }

    /// Removes the entries of these indices, or all (R7).
    pub fn purge(&self, names: Option<&[Arc<str>]>) -> u64 {
        self.stats.plain.purges.inc();
        self.store.purge(names)
    }

    fn unwatched(&self) -> bool {
        self.policy.ttl_only.is_some()
    }
}

/// What came of a flight, and whether this request led it.
struct Flown {
    landed: Landed,
    led: bool,
}

/// What a flight needs.
struct Fill {
    head: Parts,
    body: Bytes,
    api: Api,
    key: CacheKey,
    widening: Widening,
    /// The terms with a rounded `now`, and until when it holds.
    now: Option<(Terms, i64)>,
    generation: Generation,
    bearer: Option<Confirm>,
    epoch: Epoch,
}

/// The head of a fill: the leader's, but for what concerns caches.
fn fill_head(head: &Parts, plan: &Plan) -> Parts {
    let mut head = head.clone();
    control::for_fill(&mut head.headers);
    head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(query) = &plan.fill_query
        && let Ok(path) = PathAndQuery::try_from(format!("{}?{query}", head.uri.path()))
    {
        head.uri = path.into();
    }
    head
}

/// Marks when it is dropped.
struct MarkAtEnd<'a>(&'a Watcher);

impl Drop for MarkAtEnd<'_> {
    fn drop(&mut self) {
        self.0.mark(Instant::now());
    }
}
