//! The searches of a multi search: each is walked to as the `_search` that it is, judged, keyed, validated, looked up.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use std::vec::IntoIter;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, WARNING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::cache::Entry;
use crate::control::Control;
use crate::elastic::api::{Api, Effect, Route, is_expression};
use crate::elastic::msearch::{self, Common, Lines, Piece};
use crate::key::CacheKey;
use crate::outcome::{Reason, Refusal};
use crate::proxy::{Live, Proxy, View, plans};

/// A search of a request.
pub(super) struct Item<'a> {
    pub(super) lines: Lines<'a>,
    /// Whether its header line names indices.
    pub(super) explicit: bool,
    /// The key that it has as a `_search`, if it was understood.
    pub(super) key: Option<CacheKey>,
    pub(super) judged: Result<Known, Refusal>,
}

/// A search that may be answered from the store.
pub(super) struct Known {
    pub(super) plan: Arc<plans::Known>,
    pub(super) view: View,
}

/// A search that is answered from the store.
pub(super) struct Hit {
    pub(super) entry: Arc<Entry>,
    pub(super) age: Duration,
    pub(super) ttl: Option<Duration>,
}

impl Hit {
    /// As an item of an answer.
    pub(super) fn piece(&self) -> Option<Piece<'_>> {
        Piece::of_search(self.entry.body())
    }
}

impl Proxy {
    /// Classify, key, validate: the searches of a request. At least one of them may be cached.
    pub(super) async fn items<'a>(
        &self,
        live: &Live,
        head: &Parts,
        route: &Route<'a>,
        body: &'a Bytes,
        control: &Control,
        arrival: Instant,
    ) -> Result<Vec<Item<'a>>, Refusal> {
        let (mut searches, mut planned) = (Searches::of(head, route, body)?, Vec::new());
        while let Some((lines, search)) = searches.next() {
            let plan = search.and_then(|search| {
                let plan = self.understand(live, search.head, &search.route, &search.body, control)?;
                Ok((search.explicit, plan))
            });
            if let Err(refusal) = &plan
                && spoils_all(refusal.reason)
            {
                return Err(refusal.clone());
            }
            planned.push((lines, plan));
        }
        let item_head = &searches.head;
        // one request does not use up the readings that all have
        let turns = Semaphore::new(self.watcher.share_of_readings());
        let judge = async |plan| {
            let _turn = turns.acquire().await;
            let plan = self.at_this_time(plan).await?;
            let view = self.validate(live, &plan, control, item_head, arrival).await?;
            Ok(Known { plan, view })
        };
        let items = planned.into_iter().map(async |(lines, planned)| {
            let (explicit, key, judged) = match planned {
                Ok((explicit, plan)) => (explicit, Some(plan.key), judge(plan).await),
                Err(refusal) => (true, None, Err(refusal)),
            };
            Item { lines, explicit, key, judged: judged.map_err(discreet) }
        });
        let items = join_all(items).await;
        if items.iter().all(|item| item.judged.is_err()) {
            return Err(first_refusal(&items).unwrap_or_else(|| Reason::Api.into()));
        }
        Ok(items)
    }

    /// Look up: the answer to a search, if it may be served as an item.
    pub(super) fn item_hit(&self, item: &Item<'_>) -> Option<Hit> {
        let Known { plan, view } = item.judged.as_ref().ok()?;
        let (entry, age, ttl) = self.look_up(plan, view)?;
        // warnings of several searches come in an order that only the engine knows
        let hit = Hit { entry, age, ttl };
        (hit.piece().is_some() && are_ambient(&hit.entry.head().to_map())).then_some(hit)
    }
}

/// The walk over the searches of a request, for all who do something with each of them.
pub(crate) struct Searches<'a> {
    common: Common,
    of_path: Option<Cow<'a, str>>,
    body: &'a Bytes,
    lines: IntoIter<Lines<'a>>,
    head: Parts,
}

/// A search of a multi search, as the `_search` that it is.
pub(crate) struct Search<'w, 'a> {
    /// Whether its header line names indices.
    explicit: bool,
    pub(crate) head: &'w Parts,
    pub(crate) route: Route<'a>,
    pub(crate) body: Bytes,
}

impl<'a> Searches<'a> {
    /// Takes a request apart.
    pub(crate) fn of(head: &Parts, route: &Route<'a>, body: &'a Bytes) -> Result<Searches<'a>, Refusal> {
        // it is of the whole body, and says nothing of the searches in it
        if head.headers.contains_key(CONTENT_ENCODING) {
            return Err(Refusal::at(Reason::ContentType, CONTENT_ENCODING.as_str()));
        }
        let common = msearch::common(head.uri.query().unwrap_or_default())?;
        let lines = msearch::split(body)?.into_iter();
        Ok(Searches { common, of_path: route.index.clone(), body, lines, head: head_of_items(head) })
    }

    /// The next search as it stands in the request, and as a `_search`, if its header line is understood.
    pub(crate) fn next(&mut self) -> Option<(Lines<'a>, Result<Search<'_, 'a>, Refusal>)> {
        let lines = self.lines.next()?;
        Some((lines, self.search(lines)))
    }

    fn search(&mut self, lines: Lines<'a>) -> Result<Search<'_, 'a>, Refusal> {
        let header = msearch::header(lines.header)?;
        let (explicit, query) = (header.index.is_some(), self.common.query(&header));
        let index = match header.index {
            None => self.of_path.clone(),
            Some(None) => None,
            Some(Some(index)) if is_expression(&index) => Some(Cow::Owned(index)),
            Some(Some(_)) => return Err(Refusal::at(Reason::UnknownWord, "header line: index")),
        };
        let path = index.as_deref().map(|index| format!("/{}", utf8_percent_encode(index, NON_ALPHANUMERIC)));
        let mark = if query.is_empty() { "" } else { "?" };
        let path = PathAndQuery::try_from(format!("{}/_search{mark}{query}", path.unwrap_or_default()));
        self.head.uri = path.map_err(|_| Refusal::from(Reason::QueryString))?.into();
        let route = Route { api: Api::Search, index, detail: None, effect: Effect::None };
        Ok(Search { explicit, head: &self.head, route, body: self.body.slice_ref(lines.body) })
    }
}

/// The head of a multi search as that of its searches, but for the path.
pub(super) fn head_of_items(head: &Parts) -> Parts {
    let mut head = head.clone();
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(msearch::content_type);
    if let Some(Ok(kind)) = kind.map(|kind| HeaderValue::try_from(kind.as_ref())) {
        head.headers.insert(CONTENT_TYPE, kind);
    }
    head
}

/// Whether the engines refuse the whole request for this.
fn spoils_all(reason: Reason) -> bool {
    matches!(reason, Reason::NotJson | Reason::DuplicateKey | Reason::TooDeep)
}

/// A refusal as it may be told before the engine has said whether the client may know anything of the target.
fn discreet(refusal: Refusal) -> Refusal {
    if refusal.reason.tells_of_the_target() { Reason::Target.into() } else { refusal }
}

/// The first that is not to be answered from the store, if any.
pub(super) fn first_refusal(items: &[Item<'_>]) -> Option<Refusal> {
    items.iter().find_map(|item| item.judged.as_ref().err().cloned())
}

/// Whether an answer has no warnings but for the one that Elasticsearch gives with every answer while its security is
/// not set up.
pub(super) fn are_ambient(headers: &HeaderMap) -> bool {
    let ambient = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.contains("built-in security features are not enabled"))
    };
    headers.get_all(WARNING).iter().all(ambient)
}
