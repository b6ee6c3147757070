//! The searches of a multi search: each is walked to as the `_search` that it is, judged, keyed, validated, looked up.

use std::borrow::Cow;
use std::sync::Arc;
use std::vec::IntoIter;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, WARNING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::budget::hold;
use crate::control::Control;
use crate::elastic::api::{Api, Effect, Route, is_expression};
use crate::elastic::msearch::{self, Common, Form, Lines, Piece};
use crate::key::CacheKey;
use crate::outcome::{Reason, Refusal};
use crate::plan::inflated;
use crate::proxy::ahead::Candidate;
use crate::proxy::serve::Hit;
use crate::proxy::{Live, Proxy, View, plans};

/// A search of a request.
pub(super) struct Item<'a> {
    pub(super) lines: Lines<'a>,
    /// Whether its header line names indices.
    pub(super) explicit: bool,
    /// The search that it is, if it was understood.
    pub(super) asked: Option<One>,
    /// Why it is not to be answered from the store, which is not for every client.
    pub(super) refused: Option<Reason>,
    pub(super) judged: Result<Judged, Refusal>,
}

impl Item<'_> {
    /// The key that it has as a search, if it was understood.
    pub(super) fn key(&self) -> Option<CacheKey> {
        self.asked.as_ref().map(|one| one.plan.key)
    }
}

/// A search of a request that was understood, as a request of its own.
pub(super) struct One {
    pub(super) uri: Uri,
    pub(super) body: Bytes,
    pub(super) plan: Arc<plans::Planned>,
    /// What is remembered of it when it is answered.
    pub(super) candidate: Option<Box<Candidate>>,
}

/// A search that may be answered from the store.
pub(super) struct Judged {
    pub(super) plan: Arc<plans::Planned>,
    pub(super) view: View,
}

impl Hit {
    /// As an item of an answer.
    pub(super) fn piece(&self, form: Form) -> Option<Piece<'_>> {
        Piece::of_search(self.entry.body(), form)
    }
}

impl Proxy {
    /// Classify, key, validate: the searches of a request.
    pub(super) async fn items<'a>(
        &self,
        live: &Live,
        head: &Parts,
        route: &Route<'a>,
        body: &'a Bytes,
        control: &Control,
        arrival: Instant,
    ) -> Result<Vec<Item<'a>>, Refusal> {
        // one request does not use up the readings that all have
        let turns = Semaphore::new(self.watcher.share_of_readings());
        let mut searches = Searches::of(head, route, body)?;
        let planned = self.plans_of_items(live, &mut searches, control, arrival, &turns).await;
        let mut refusals = planned.iter().filter_map(|(_, plan)| plan.as_ref().err());
        if let Some(refusal) = refusals.find(|refusal| spoils_all(refusal.reason)) {
            return Err(refusal.clone());
        }
        let item_head = &searches.head;
        let judge = async |one: &mut One| {
            let _turn = turns.acquire().await;
            one.plan = self.at_this_time(Arc::clone(&one.plan)).await?;
            let view = self.validate(live, &one.plan, control, item_head, arrival).await?;
            Ok(Judged { plan: Arc::clone(&one.plan), view })
        };
        let items = planned.into_iter().map(async |(lines, planned)| {
            let (explicit, asked, judged) = match planned {
                Ok((explicit, mut one)) => {
                    let judged = judge(&mut one).await;
                    (explicit, Some(one), judged)
                }
                Err(refusal) => (true, None, Err(refusal)),
            };
            let refused = judged.as_ref().err().map(|refusal: &Refusal| refusal.reason);
            Item { lines, explicit, asked, refused, judged: judged.map_err(discreet) }
        });
        Ok(join_all(items).await)
    }

    /// Classify and key: each search of a request. Of templates, some are rendered at once.
    async fn plans_of_items<'a>(
        &self,
        live: &Live,
        searches: &mut Searches<'a>,
        control: &Control,
        arrival: Instant,
        turns: &Semaphore,
    ) -> Vec<(Lines<'a>, Planned)> {
        let mut planned = Vec::new();
        while let Some((lines, search)) = searches.next() {
            planned.push((
                lines,
                match search {
                    Err(refusal) => Err(refusal),
                    Ok(ItemSearch { explicit, head, route, body }) if route.api == Api::Search => {
                        let plan = self.understand(live, head, &route, &body, control);
                        plan.map(|plan| Later::Now(explicit, self.one(live, head, body, plan)))
                    }
                    Ok(ItemSearch { explicit, head, route, body }) => {
                        Ok(Later::ToRender(explicit, Box::new(head.clone()), route, body))
                    }
                },
            ));
        }
        let understood = planned.into_iter().map(async |(lines, later)| {
            let (explicit, head, route, body) = match later {
                Err(refusal) => return (lines, Err(refusal)),
                Ok(Later::Now(explicit, one)) => return (lines, Ok((explicit, one))),
                Ok(Later::ToRender(explicit, head, route, body)) => (explicit, head, route, body),
            };
            let _turn = turns.acquire().await;
            let plan = self.understand_read(live, &head, &route, &body, control, arrival).await;
            (lines, plan.map(|plan| (explicit, self.one(live, &head, body, plan))))
        });
        join_all(understood).await
    }

    fn one(&self, live: &Live, head: &Parts, body: Bytes, plan: Arc<plans::Planned>) -> One {
        let candidate = self.candidate(live, head, &body, &plan);
        One { uri: head.uri.clone(), body, plan, candidate }
    }

    /// Look up: the answer to a search, if it may be served as an item.
    pub(super) fn item_hit(&self, item: &Item<'_>) -> Option<Hit> {
        let Judged { plan, view } = item.judged.as_ref().ok()?;
        let hit = self.look_up(plan, view)?;
        // warnings of several searches come in an order that only the engine knows
        (hit.piece(Form::Status).is_some() && are_ambient(&hit.entry.head().to_map())).then_some(hit)
    }
}

/// What was understood of a search of a request, and whether its header line names indices.
type Planned = Result<(bool, One), Refusal>;

/// A search of a request that is understood, or a template that is still to be rendered.
enum Later<'a> {
    Now(bool, One),
    ToRender(bool, Box<Parts>, Route<'a>, Bytes),
}

impl Proxy {
    /// Like [`plain`]; what is inflated takes of the budget.
    pub(in crate::proxy) fn plain<'r>(
        &self,
        head: &'r Parts,
        body: &'r Bytes,
        limit: usize,
    ) -> Result<(Cow<'r, Parts>, Cow<'r, Bytes>), Refusal> {
        let (head, body) = plain(head, body, limit)?;
        let Cow::Owned(inflated) = body else { return Ok((head, body)) };
        let room = self.budget.take(inflated.len()).ok_or(Reason::MemoryLimit)?;
        Ok((head, Cow::Owned(hold(inflated, room))))
    }
}

/// A request of several searches as if its client had not compressed it: the engines read both alike.
pub(crate) fn plain<'r>(
    head: &'r Parts,
    body: &'r Bytes,
    limit: usize,
) -> Result<(Cow<'r, Parts>, Cow<'r, Bytes>), Refusal> {
    if !head.headers.contains_key(CONTENT_ENCODING) {
        return Ok((Cow::Borrowed(head), Cow::Borrowed(body)));
    }
    let body = inflated(&head.headers, body, limit)?;
    let mut head = head.clone();
    head.headers.remove(CONTENT_ENCODING);
    Ok((Cow::Owned(head), Cow::Owned(body)))
}

/// The walk over the searches of a request, for all who do something with each of them.
pub(crate) struct Searches<'a> {
    /// The endpoint that each of them is a request of.
    api: Api,
    common: Common,
    of_path: Option<Cow<'a, str>>,
    body: &'a Bytes,
    lines: IntoIter<Lines<'a>>,
    head: Parts,
}

/// A search of a multi search, as the `_search` that it is.
pub(crate) struct ItemSearch<'w, 'a> {
    /// Whether its header line names indices.
    explicit: bool,
    pub(crate) head: &'w Parts,
    pub(crate) route: Route<'a>,
    pub(crate) body: Bytes,
}

impl<'a> Searches<'a> {
    /// Takes a request apart that is not compressed (see [`plain`]).
    pub(crate) fn of(head: &Parts, route: &Route<'a>, body: &'a Bytes) -> Result<Searches<'a>, Refusal> {
        let api = if route.api == Api::MsearchTemplate { Api::SearchTemplate } else { Api::Search };
        let common = msearch::common(route.api, head.uri.query().unwrap_or_default())?;
        let lines = msearch::split(body)?.into_iter();
        Ok(Searches { api, common, of_path: route.index.clone(), body, lines, head: head_of_items(head) })
    }

    /// The next search as it stands in the request, and as a `_search`, if its header line is understood.
    pub(crate) fn next(&mut self) -> Option<(Lines<'a>, Result<ItemSearch<'_, 'a>, Refusal>)> {
        let lines = self.lines.next()?;
        Some((lines, self.search(lines)))
    }

    fn search(&mut self, lines: Lines<'a>) -> Result<ItemSearch<'_, 'a>, Refusal> {
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
        let end = self.api.of_items();
        let path = PathAndQuery::try_from(format!("{}/{end}{mark}{query}", path.unwrap_or_default()));
        self.head.uri = path.map_err(|_| Refusal::from(Reason::QueryString))?.into();
        let route = Route { api: self.api, index, detail: None, effect: Effect::None };
        Ok(ItemSearch { explicit, head: &self.head, route, body: self.body.slice_ref(lines.body) })
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
