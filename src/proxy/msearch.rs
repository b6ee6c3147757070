//! The way of a multi search: taken apart into its searches, each of which is judged, keyed and validated as the
//! `_search` that it is and shares its entry with it. Hits come from the store; what is left is asked in one smaller
//! multi search, and the parts are put together as the engine would have put them.
//!
//! The engines parse all searches of a request before the first one is carried out, and one that does not parse is an
//! error for all. Whatever spoils the whole request is therefore forwarded, and an answer other than 200 goes to the
//! client as it came, whatever was found in the store.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WARNING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::fill::{Arrived, Keep, Landed, bare_head};
use super::{ClientAddress, ClientCertificate, Live, Proxy, View};
use crate::cache::{Asked, Audience, Entry, Epoch, Fetched, Storable};
use crate::control::Control;
use crate::elastic::api::{Api, Effect, Route, is_expression};
use crate::elastic::filter_path::Widening;
use crate::elastic::msearch::{self, Lines, Piece};
use crate::elastic::params::Params;
use crate::error::ProxyError;
use crate::generation::StateVersion;
use crate::key::identity::Identity;
use crate::key::{CacheKey, Inputs};
use crate::outcome::{CacheStatus, Items, Outcome, Reason, Refusal};
use crate::plan::Plan;
use crate::respond;
use crate::upstream::{Body, Collected, Stream};

/// Multi searches share an upstream request if it asks the same, under equal generations, within one purge epoch.
pub type SeveralKey = (CacheKey, Epoch);

/// How the upstream request of a multi search ends.
#[derive(Clone, Debug)]
pub enum Several {
    /// An answer, of which some parts were stored; and why the first of those that were not was not.
    Answered {
        /// The answer, as it came.
        fetched: Arc<Fetched>,
        /// How many of its parts were stored.
        stored: usize,
        /// Why another one was not.
        refusal: Option<Reason>,
    },
    /// No answer that can be shared.
    Landed(Landed),
}

/// That the engine takes multi searches from who asks, in this representation. Who may search need not be allowed to
/// (OpenSearch has a permission of its own, and `rest.action.multi.allow_explicit_index` forbids header lines to name
/// indices), so without such a proof one search is asked although all are in the store.
#[derive(Debug)]
pub struct Door {
    /// Whether a header line named indices.
    explicit: bool,
    /// The nodes, with the settings that they were started with.
    nodes: [u8; 32],
    /// The permissions of who asked.
    audience: Audience,
    asked: Asked,
    epoch: Epoch,
    /// The headers of the answer.
    headers: HeaderMap,
}

/// A search of a request.
struct Item<'a> {
    lines: Lines<'a>,
    /// Whether its header line names indices.
    explicit: bool,
    judged: Result<Known, Refusal>,
}

/// A search that may be answered from the store.
struct Known {
    plan: Arc<Plan>,
    view: View,
}

/// A search that is answered from the store.
struct Hit {
    entry: Arc<Entry>,
    age: Duration,
    ttl: Option<Duration>,
}

impl Hit {
    /// As an item of an answer.
    fn piece(&self) -> Option<Piece<'_>> {
        Piece::of_search(self.entry.body())
    }
}

/// What the upstream request of a multi search needs.
struct Asking {
    head: Parts,
    body: Bytes,
    /// What decides about each part of the answer; `None` for what is not to be stored.
    keeps: Vec<Option<(Keep, Audience)>>,
    door: CacheKey,
    explicit: bool,
    epoch: Epoch,
    /// All that is asked, under which it is remembered that the answer is too large.
    joined: CacheKey,
}

impl Proxy {
    /// The street of a multi search.
    pub async fn msearch(
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
        let arrival = Instant::now();
        let control = Control::of(&head.headers);
        let items = match self.items(&live, head, route, &body, &control, arrival).await {
            Ok(items) => items,
            Err(refusal) => return self.refuse(head, body, client, &control, refusal).await,
        };
        let mut hits: Vec<Option<Hit>> = items.iter().map(|item| self.item_hit(item)).collect();
        let door = self.door_key(&live, head);
        let doors: Vec<Arc<Door>> =
            [true, false].into_iter().filter_map(|explicit| self.doors.get(&(door, explicit))).collect();
        let knock = self.knock(&items, &hits, &doors);
        if let Some(opener) = knock {
            hits[opener] = None;
        }
        // one entry may be asked for many times over: what is put together in memory is no more than one that is stored
        let found: usize = hits.iter().flatten().map(|hit| hit.entry.body().len()).sum();
        let fits = found <= live.policy.max_entry_size;
        if fits && hits.iter().all(Option::is_some) {
            return self.all_hits(head, &hits, &doors, arrival);
        }
        if control.only_if_cached {
            return (respond::error(&ProxyError::OnlyIfCached), CacheStatus::new(Outcome::Miss));
        }
        if !fits {
            return self.ask_whole(head, body.clone(), client, &items, Some(Reason::EntryTooLarge)).await;
        }
        if is_signed(&head.headers) {
            hits.fill_with(|| None);
        }
        let asking = self.asking(head, &body, &items, &hits, door);
        if self.unshareable.contains(&asking.joined) {
            return self.ask_whole(head, body.clone(), client, &items, Some(Reason::EntryTooLarge)).await;
        }
        let reason = match self.ask(asking, &items, &hits, arrival).await {
            (Some(several), led) => match self.put_together(head, &items, &hits, several, led) {
                Ok(answered) => {
                    self.count_asked(&items, &hits, led);
                    return answered;
                }
                Err(reason) => Some(reason),
            },
            // the flight was lost
            (None, _) => None,
        };
        self.ask_whole(head, body.clone(), client, &items, reason).await
    }

    /// Classify, key, validate: the searches of a request. At least one of them may be cached.
    async fn items<'a>(
        &self,
        live: &Live,
        head: &Parts,
        route: &Route<'a>,
        body: &'a Bytes,
        control: &Control,
        arrival: Instant,
    ) -> Result<Vec<Item<'a>>, Refusal> {
        let mut item_head = head_of_items(head);
        let mut planned = Vec::new();
        for (lines, search) in searches(route, head.uri.query(), body)? {
            let plan = search.and_then(|search| {
                item_head.uri = search.uri;
                let plan = self.understand(live, &item_head, &search.route, &search.body, control)?;
                Ok((search.explicit, plan))
            });
            if let Err(refusal) = &plan
                && spoils_all(refusal.reason)
            {
                return Err(refusal.clone());
            }
            planned.push((lines, plan));
        }
        let item_head = &item_head;
        // one request does not use up the readings that all have
        let turns = Semaphore::new(self.watcher.share_of_readings());
        let judge = async |plan| {
            let _turn = turns.acquire().await;
            let plan = self.at_this_time(plan).await?;
            let view = self.validate(live, &plan, control, item_head, arrival).await?;
            Ok(Known { plan, view })
        };
        let items = planned.into_iter().map(async |(lines, planned)| {
            let (explicit, judged) = match planned {
                Ok((explicit, plan)) => (explicit, judge(plan).await),
                Err(refusal) => (true, Err(refusal)),
            };
            Item { lines, explicit, judged: judged.map_err(discreet) }
        });
        let items = join_all(items).await;
        if items.iter().all(|item| item.judged.is_err()) {
            return Err(first_refusal(&items).unwrap_or_else(|| Reason::Api.into()));
        }
        Ok(items)
    }

    /// Look up: the answer to a search, if it may be served as an item.
    fn item_hit(&self, item: &Item<'_>) -> Option<Hit> {
        let Known { plan, view } = item.judged.as_ref().ok()?;
        let (entry, age, ttl) = self.look_up(plan, view)?;
        // warnings of several searches come in an order that only the engine knows
        let hit = Hit { entry, age, ttl };
        (hit.piece().is_some() && are_ambient(&hit.entry.head().to_map())).then_some(hit)
    }

    /// What the doors of a request are known by: who asks, and in which representation.
    fn door_key(&self, live: &Live, head: &Parts) -> CacheKey {
        let key = CacheKey::of(&Inputs {
            engine: &self.engine.load().cluster_uuid,
            api: Api::Msearch.name(),
            target: None,
            params: &Params::default(),
            headers: &head.headers,
            rules: &live.headers,
            identity: &Identity::of(&head.headers, &live.headers),
            body: None,
        });
        let certificate = head.extensions.get::<ClientCertificate>();
        certificate.map_or(key, |certificate| key.of_certificate(&certificate.0))
    }

    /// Which hit has to be asked all the same, because nothing else shows that the engine would take the request.
    fn knock(&self, items: &[Item<'_>], hits: &[Option<Hit>], doors: &[Arc<Door>]) -> Option<usize> {
        let asked = || items.iter().zip(hits).filter(|(_, hit)| hit.is_none()).map(|(item, _)| item);
        // one that bypasses has a header line that perhaps is not understood: it shows nothing
        let shown = asked().any(|item| item.judged.is_ok());
        let shown_explicit = asked().any(|item| item.judged.is_ok() && item.explicit);
        let is_shut = |item: &Item<'_>| {
            let by_this_request = if item.explicit { shown_explicit } else { shown };
            let Ok(Known { view, .. }) = &item.judged else { return false };
            !by_this_request && !doors.iter().any(|door| self.opens(door, item.explicit, view))
        };
        let shut = |explicit| {
            let mut pairs = items.iter().zip(hits);
            pairs.position(|(item, hit)| hit.is_some() && item.explicit == explicit && is_shut(item))
        };
        shut(true).or_else(|| shut(false))
    }

    fn opens(&self, door: &Door, explicit: bool, view: &View) -> bool {
        (door.explicit || !explicit)
            && door.nodes == view.generation.metadata().nodes()
            && door.audience == view.audience
            && door.epoch == self.store.epoch()
            && view.lifetime.0.is_none_or(|limit| door.asked.age(self.watcher.now()) <= limit)
    }

    /// Respond from the store alone.
    fn all_hits(
        &self,
        head: &Parts,
        hits: &[Option<Hit>],
        doors: &[Arc<Door>],
        arrival: Instant,
    ) -> (Response<Body>, CacheStatus) {
        let hits: Vec<&Hit> = hits.iter().flatten().collect();
        let took = arrival.elapsed().as_millis().to_string();
        let body = msearch::assemble(took.as_bytes(), hits.iter().filter_map(|hit| hit.piece()));
        let mut headers = doors.first().map(|door| door.headers.clone()).unwrap_or_default();
        let mut warnings = HashSet::new();
        let lines = hits.iter().flat_map(|hit| hit.entry.head().iter());
        for (_, warning) in lines.filter(|(name, _)| name == WARNING) {
            if warnings.insert(warning) {
                headers.append(WARNING, warning.clone());
            }
        }
        let age = hits.iter().map(|hit| hit.age).max().unwrap_or_default();
        let ttl = hits.iter().filter_map(|hit| hit.ttl).min().map(|ttl| ttl.as_secs());
        hits.iter().for_each(|hit| self.count_hit(&hit.entry));
        let items = Some(Items { hits: hits.len(), all: hits.len() });
        let status =
            CacheStatus { ttl, items, unwatched: self.unwatched(), ..CacheStatus::new(Outcome::Hit) };
        (respond::assembled(headers, body, &head.headers, age), status)
    }

    /// What is asked of the engine: what is not a hit.
    fn asking(
        &self,
        head: &Parts,
        body: &Bytes,
        items: &[Item<'_>],
        hits: &[Option<Hit>],
        door: CacheKey,
    ) -> Asking {
        let epoch = self.store.epoch();
        let asked: Vec<&Item<'_>> =
            items.iter().zip(hits).filter(|(_, hit)| hit.is_none()).map(|(item, _)| item).collect();
        let known = asked.iter().filter_map(|item| item.judged.as_ref().ok());
        let explicit = asked.iter().any(|item| item.explicit && item.judged.is_ok());
        let known = known.map(|known| (known.plan.key, *known.view.generation.tag().as_bytes()));
        // what has no key counts as it stands: too large with it does not mean too large without
        let others = asked.iter().filter(|item| item.judged.is_err());
        let others = others.map(|item| (door, *blake3::hash(&msearch::join([item.lines])).as_bytes()));
        let head_line = [(door, [u8::from(explicit); 32])].into_iter();
        let joined = CacheKey::joined(head_line.chain(known).chain(others));
        let keep = |item: &&Item<'_>| {
            let Known { plan, view } = item.judged.as_ref().ok()?;
            Some((Keep::new(plan, view, epoch), view.audience))
        };
        let whole = asked.len() == items.len();
        let lines = asked.iter().map(|item| item.lines);
        Asking {
            head: bare_head(head),
            body: if whole { body.clone() } else { msearch::join(lines).into() },
            keeps: asked.iter().map(keep).collect(),
            door,
            explicit,
            epoch,
            joined,
        }
    }

    /// Join or lead a flight; or ask alone, where something that is not to be shared is asked, too. `None` if the flight
    /// was lost. Returns whether this request led.
    async fn ask(
        self: &Arc<Self>,
        asking: Asking,
        items: &[Item<'_>],
        hits: &[Option<Hit>],
        arrival: Instant,
    ) -> (Option<Several>, bool) {
        let shared = asking.keeps.iter().all(Option::is_some);
        let asked = items.iter().zip(hits).filter(|(_, hit)| hit.is_none());
        let key = (asking.joined, asking.epoch);
        let (several, led) = if shared {
            let views = asked.filter_map(|(item, _)| item.judged.as_ref().ok()).map(|known| &known.view);
            let not_before = views.filter_map(|view| self.boards_from(view, arrival)).max();
            let stats = Arc::clone(&self.stats);
            let cancelled = move || stats.plain.flights_cancelled.inc();
            let fly = || Arc::clone(self).fill_several(asking);
            let waiter = self.multi_flights.board(&key, not_before, fly, cancelled);
            let led = waiter.leads;
            let counter = if led { &self.stats.plain.flights } else { &self.stats.plain.followers };
            counter.inc();
            (waiter.landed().await, led)
        } else {
            self.stats.plain.flights.inc();
            (Some(Arc::clone(self).fill_several(asking).await), true)
        };
        (several, led)
    }

    /// Each search counts on its indices, as the engines count: who gets the answer of a load under way has a hit.
    fn count_asked(&self, items: &[Item<'_>], hits: &[Option<Hit>], led: bool) {
        for (item, _) in items.iter().zip(hits).filter(|(_, hit)| hit.is_none()) {
            if let Ok(Known { view, .. }) = &item.judged {
                let indices = self.stats.indices(view.generation.metadata().names());
                if led { indices.misses.inc() } else { indices.hits.inc() }
            }
        }
    }

    /// Forward, decide what is storable, store. May run on a task of its own.
    async fn fill_several(self: Arc<Self>, asking: Asking) -> Several {
        let Asking { head, body, keeps, door, explicit, epoch, joined } = asking;
        let Some(_permit) = self.fills.permit().await else { return Several::Landed(Landed::Refused) };
        let asked = self.watcher.now();
        let versions: Vec<&StateVersion> =
            keeps.iter().flatten().map(|(keep, _)| keep.generation.metadata().version()).collect();
        let tag = versions.iter().max_by_key(|version| version.version).copied();
        let of_one_cluster = versions.windows(2).all(|pair| pair[0].cluster_uuid == pair[1].cluster_uuid);
        let tag = tag.filter(|_| !self.unwatched());
        let Arrived { applied, head: answer, body } = match self.fetch(head, body, tag).await {
            Ok(arrived) => arrived,
            Err(error) => {
                tracing::warn!(%error, "no answer to a multi search");
                return Several::Landed(Landed::Failed(error));
            }
        };
        let body = match body {
            Collected::Whole(body) => body,
            Collected::TooLong(rest) => {
                if let Some((keep, _)) = keeps.iter().flatten().next() {
                    self.unshareable.insert(joined, keep.generation.tag());
                }
                let response = Some(Response::from_parts(answer, rest));
                return Several::Landed(Landed::TooLarge(Arc::new(Mutex::new(response))));
            }
        };
        let took = asked.at.elapsed();
        self.stats.plain.upstream_microseconds.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let fetched = Arc::new(Fetched { status: answer.status, headers: answer.headers, body, took });
        let parts = msearch::take_apart(&fetched.body).filter(|parts| parts.items.len() == keeps.len());
        let Some(parts) = parts.filter(|_| fetched.status == StatusCode::OK) else {
            return Several::Answered { fetched, stored: 0, refusal: Some(Reason::Status) };
        };
        // a warning does not tell of which search it is
        let told = parts.items.len() == 1 || are_ambient(&fetched.headers);
        let kept = parts.items.iter().zip(keeps).map(async |(item, keep)| {
            let (keep, audience) = keep?;
            if !told {
                return Some(Err(Reason::Warnings));
            }
            let nodes = keep.generation.metadata().nodes();
            let stored = match check_item(item, &fetched, &keep) {
                Ok(answer) => self.keep(answer, keep, asked, applied && of_one_cluster).await,
                Err(reason) => Err(reason),
            };
            Some(stored.map(|entry| (entry, nodes, audience)))
        });
        let (mut stored, mut refusal) = (0, None);
        for kept in join_all(kept).await.into_iter().flatten() {
            match kept {
                Ok((entry, nodes, audience)) => {
                    stored += 1;
                    let mut headers = entry.head().to_map();
                    headers.remove(WARNING);
                    self.doors.insert(
                        (door, explicit),
                        Arc::new(Door { explicit, nodes, audience, asked, epoch, headers }),
                    );
                }
                Err(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        Several::Answered { fetched, stored, refusal }
    }

    /// Respond from what was found and what was asked; or why the whole request has to be asked.
    fn put_together(
        &self,
        head: &Parts,
        items: &[Item<'_>],
        hits: &[Option<Hit>],
        several: Several,
        led: bool,
    ) -> Result<(Response<Body>, CacheStatus), Reason> {
        let found = hits.iter().flatten().count();
        let status = CacheStatus {
            items: Some(Items { hits: found, all: items.len() }),
            collapsed: !led,
            unwatched: self.unwatched(),
            refusal: first_refusal(items),
            ..CacheStatus::new(Outcome::Miss)
        };
        let (fetched, stored, refusal) = match several {
            Several::Answered { fetched, stored, refusal } => (fetched, stored, refusal),
            // what is found cannot be put into a stream
            Several::Landed(Landed::TooLarge(_)) if found > 0 => return Err(Reason::EntryTooLarge),
            Several::Landed(landed) => return self.land(head, &landed, led),
        };
        let mut response =
            if led { respond::fetched(&fetched) } else { respond::shared(&fetched, &head.headers) };
        let status = CacheStatus {
            stored: stored > 0,
            refusal: status.refusal.or(refusal.map(Refusal::from)),
            ..status
        };
        // the engine has refused it all
        if found == 0 || fetched.status != StatusCode::OK {
            let items = Some(Items { hits: 0, all: items.len() });
            return Ok((response, CacheStatus { items, ..status }));
        }
        let parts = msearch::take_apart(&fetched.body).ok_or(Reason::PartialityUnknown)?;
        if parts.items.len() + found != items.len() {
            return Err(Reason::PartialityUnknown);
        }
        let mut asked = parts.items.into_iter();
        let pieces: Vec<Piece<'_>> = hits
            .iter()
            .filter_map(|hit| match hit {
                Some(hit) => hit.piece(),
                None => asked.next().map(Piece::of_answer),
            })
            .collect();
        *response.body_mut() = Body::whole(msearch::assemble(parts.took, pieces.into_iter()));
        hits.iter().flatten().for_each(|hit| self.count_hit(&hit.entry));
        Ok((response, status))
    }

    /// The whole request, for this client alone: streamed.
    async fn ask_whole(
        &self,
        head: &Parts,
        body: Bytes,
        client: ClientAddress,
        items: &[Item<'_>],
        reason: Option<Reason>,
    ) -> (Response<Body>, CacheStatus) {
        for Known { view, .. } in items.iter().filter_map(|item| item.judged.as_ref().ok()) {
            self.stats.indices(view.generation.metadata().names()).misses.inc();
        }
        let items = Some(Items { hits: 0, all: items.len() });
        let response = self.forward(head.clone(), Body::whole(body), client).await;
        let status =
            CacheStatus { refusal: reason.map(Refusal::from), items, ..CacheStatus::new(Outcome::Miss) };
        (response, status)
    }
}

/// A search of a multi search, as the `_search` that it is.
pub(crate) struct Search<'a> {
    /// Whether its header line names indices.
    explicit: bool,
    pub(crate) uri: Uri,
    pub(crate) route: Route<'a>,
    pub(crate) body: Bytes,
}

/// A search as it stands in the request, and as a `_search`, if its header line is understood.
pub(crate) type Searched<'a> = (Lines<'a>, Result<Search<'a>, Refusal>);

/// The searches of a request.
pub(crate) fn searches<'a>(
    route: &Route<'a>,
    query: Option<&str>,
    body: &'a Bytes,
) -> Result<Vec<Searched<'a>>, Refusal> {
    let common = msearch::common(query.unwrap_or_default())?;
    let search = |lines: Lines<'a>| {
        let header = msearch::header(lines.header)?;
        let (explicit, query) = (header.index.is_some(), common.query(&header));
        let index = match header.index {
            None => route.index.clone(),
            Some(None) => None,
            Some(Some(index)) if is_expression(&index) => Some(Cow::Owned(index)),
            Some(Some(_)) => return Err(Refusal::at(Reason::UnknownWord, "header line: index")),
        };
        let path = index.as_deref().map(|index| format!("/{}", utf8_percent_encode(index, NON_ALPHANUMERIC)));
        let mark = if query.is_empty() { "" } else { "?" };
        let path = PathAndQuery::try_from(format!("{}/_search{mark}{query}", path.unwrap_or_default()));
        let uri = path.map_err(|_| Refusal::from(Reason::QueryString))?.into();
        let route = Route { api: Api::Search, index, effect: Effect::None };
        Ok(Search { explicit, uri, route, body: body.slice_ref(lines.body) })
    };
    Ok(msearch::split(body)?.into_iter().map(|lines| (lines, search(lines))).collect())
}

/// The head of a multi search as that of its searches, but for the path.
pub(crate) fn head_of_items(head: &Parts) -> Parts {
    let mut head = head.clone();
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(msearch::content_type);
    if let Some(Ok(kind)) = kind.map(|kind| HeaderValue::try_from(kind.as_ref())) {
        head.headers.insert(CONTENT_TYPE, kind);
    }
    head
}

/// Decide if storable: an item, as the answer to the search that it is.
fn check_item(item: &[u8], fetched: &Fetched, keep: &Keep) -> Result<Storable, Reason> {
    let body = msearch::search_of(item).ok_or(Reason::Status)?.into();
    let answer =
        Fetched { status: StatusCode::OK, headers: fetched.headers.clone(), body, took: fetched.took };
    Storable::check(&answer, Api::Search, Widening::None, keep.generation.metadata().shards())
}

/// Whether the engines refuse the whole request for this.
fn spoils_all(reason: Reason) -> bool {
    matches!(reason, Reason::NotJson | Reason::DuplicateKey | Reason::TooDeep)
}

/// A refusal as it may be told before the engine has said whether the client may know anything of the target.
fn discreet(refusal: Refusal) -> Refusal {
    if refusal.reason.tells_of_the_target() { Reason::Target.into() } else { refusal }
}

fn first_refusal(items: &[Item<'_>]) -> Option<Refusal> {
    items.iter().find_map(|item| item.judged.as_ref().err().cloned())
}

/// Whether an answer has no warnings but for the one that Elasticsearch gives with every answer while its security is
/// not set up.
fn are_ambient(headers: &HeaderMap) -> bool {
    let ambient = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.contains("built-in security features are not enabled"))
    };
    headers.get_all(WARNING).iter().all(ambient)
}

/// Whether the client vouches for the body: then no other one can be sent in its name.
fn is_signed(headers: &HeaderMap) -> bool {
    const DIGESTS: [&str; 6] =
        ["content-md5", "content-digest", "digest", "repr-digest", "signature", "x-amz-content-sha256"];
    let by_aws = |value: &HeaderValue| value.as_bytes().starts_with(b"AWS4-");
    DIGESTS.iter().any(|name| headers.contains_key(*name))
        || headers.get_all(AUTHORIZATION).iter().any(by_aws)
}
