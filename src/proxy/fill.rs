//! What a flight does: forward a search, decide if its answer is storable, store it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use super::told::Sent;
use super::{Proxy, View};
use crate::cache::{Audience, Entry, Epoch, Fetched, Stamp, Storable};
use crate::cacheability::Terms;
use crate::control;
use crate::elastic::api::Api;
use crate::elastic::filter_path::{self, Widening};
use crate::error::ProxyError;
use crate::generation::{Generation, StateVersion};
use crate::key::CacheKey;
use crate::outcome::{Outcome, Reason, Refusal};
use crate::plan::Plan;
use crate::scope::Confirm;
use crate::stats::searches::RowId;
use crate::upstream::{Body, Collected, Excess, Giver, collect_answer};

/// How a flight ends.
#[derive(Clone, Debug)]
pub enum Landed {
    /// The answer is stored. With the headers as they came, for the request that led.
    Stored(Arc<Entry>, Arc<Fetched>),
    /// The answer is whole, but not stored.
    Unstored(Arc<Fetched>, Reason),
    /// The answer is whole, and means something to the request that led alone.
    Own(Arc<Fetched>, Reason),
    /// The answer is too large to be shared, or there is no room for it: it streams to the request that led, the others ask
    /// for themselves.
    TooLarge(Arc<Mutex<Option<Response<Body>>>>, Reason),
    /// The answer cannot be given as it was asked for: each asks for itself.
    Unusable(Reason),
    /// Too many upstream searches are under way and waiting.
    Refused,
    /// There is no answer.
    Failed(ProxyError),
}

/// What a flight needs.
pub(super) struct Fill {
    pub(super) head: Parts,
    pub(super) body: Bytes,
    /// What people are told of it.
    pub(super) sent: Sent,
    pub(super) api: Api,
    pub(super) widening: Widening,
    pub(super) keep: Keep,
}

/// What decides, beside the answer itself, whether it is stored, and as what.
pub(super) struct Keep {
    pub(super) key: CacheKey,
    /// The terms with a rounded `now`, and until when it holds.
    now: Option<(Terms, i64)>,
    pub(super) generation: Generation,
    bearer: Option<Confirm>,
    audience: Audience,
    epoch: Epoch,
    /// Whether it holds only for what a node has answered in just the state of the generation.
    in_this_state: bool,
    /// Where its hits are counted with others like it.
    pub(super) row: RowId,
}

impl Keep {
    /// For the answer to a request that is about to be asked, within this purge epoch.
    pub(super) fn new(plan: &Plan, view: &View, epoch: Epoch) -> Keep {
        Keep {
            key: plan.key,
            now: plan.until.map(|until| (plan.terms.clone(), until)),
            generation: view.generation.clone(),
            bearer: view.bearer.clone(),
            audience: view.audience,
            epoch,
            in_this_state: plan.within.is_some(),
            row: RowId::NONE,
        }
    }
}

impl Proxy {
    /// Forward, decide if storable, store. Runs on a task of its own.
    pub(super) async fn fill(self: Arc<Self>, fill: Fill) -> Landed {
        let Fill { head, body, sent, api, widening, mut keep } = fill;
        let Some(_permit) = self.fills.permit().await else { return Landed::Refused };
        let asked = self.watcher.now();
        let tag = (!self.unwatched()).then(|| keep.generation.metadata().version());
        let Arrived { giver, head: answer, body } = match self.fetch(head, body, tag).await {
            Ok(arrived) => arrived,
            Err(error) => {
                self.note_unanswered("search", &error);
                return Landed::Failed(error);
            }
        };
        let body = match body {
            Collected::Whole(body) => body,
            Collected::TooLong(rest, excess) => {
                let reason = too_large(excess);
                // another time there may be room
                if excess == Excess::Limit {
                    self.unshareable.insert(keep.key, keep.generation.tag());
                }
                // what was asked for beyond the client's filter cannot be cut out of a stream
                let response = (widening == Widening::None).then(|| Response::from_parts(answer, rest));
                return Landed::TooLarge(Arc::new(Mutex::new(response)), reason);
            }
        };
        let took = asked.at.elapsed();
        self.stats.plain.upstream_microseconds.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let mut fetched = Fetched { status: answer.status, headers: answer.headers, body, took };
        let checked = Storable::check(&fetched, api, widening, &keep.generation.extent());
        let refusal = checked.as_ref().err().map(|reason| Refusal::from(*reason));
        keep.row = self.tell(&sent, took, Outcome::Miss, refusal.as_ref());
        let checked = checked.map(|answer| answer.within(&self.budget));
        if let Ok(answer) = &checked {
            // one of them is enough in memory
            fetched.body = answer.body().clone();
        } else if widening == Widening::Add {
            match filter_path::cut(&fetched.body) {
                Ok(cut) => fetched.body = cut.into(),
                // an error may be anything, and was not widened; an answer must not show what was not asked for
                Err(reason) if fetched.status == StatusCode::OK => return Landed::Unusable(reason),
                Err(_) => {}
            }
        }
        let fetched = Arc::new(fetched);
        let kept = match checked {
            Ok(answer) => self.keep(answer, keep, asked, giver).await,
            Err(reason) => Err(reason),
        };
        match kept {
            Ok(entry) => Landed::Stored(entry, fetched),
            // it may name a search that the client will come back for, and end
            Err(reason) if api.is_asynchronous() => Landed::Own(fetched, reason),
            Err(reason) => Landed::Unstored(fetched, reason),
        }
    }

    /// Asks a search whose answer shall carry a tag, or be compared with one that does.
    pub(super) async fn fetch(
        &self,
        head: Parts,
        body: Bytes,
        tag: Option<&StateVersion>,
    ) -> Result<Arrived, ProxyError> {
        // not for one client alone, so the engine is not told of one: it could map roles to addresses. Where the request
        // tells of addresses, the client's is among them already, and in the key
        let delivered = self.upstream.fill(head, body, None, tag).await?;
        let (head, stream) = delivered.response.into_parts();
        // a body that never ends would hold everybody who waits for it: it has a limit of time
        let limit = self.live.load().policy.max_entry_size;
        let body = collect_answer(self.upstream.body(stream), limit, &self.budget).await;
        let body = body.map_err(|error| error.of_answer())?;
        Ok(Arrived { giver: delivered.giver, head, body })
    }

    /// Stores an answer that was checked, if what it was asked under still holds.
    pub(super) async fn keep(
        self: &Arc<Self>,
        answer: Storable,
        keep: Keep,
        asked: Stamp,
        giver: Giver,
    ) -> Result<Arc<Entry>, Reason> {
        let Keep { key, now, generation, bearer, audience, epoch, in_this_state, row } = keep;
        if !self.unwatched() && !giver.applied {
            return Err(Reason::HostLagging);
        }
        if in_this_state && !self.upstream.is_still_in(giver, generation.metadata().version()).await {
            return Err(Reason::HostLagging);
        }
        if let Some((terms, until)) = now
            && !self.is_before(until, &terms, generation.metadata().members()).await
        {
            return Err(Reason::ClockSkew);
        }
        if let Some(bearer) = bearer
            && !self.scope.confirms(&bearer, giver.host).await
        {
            return Err(Reason::ScopeSettling);
        }
        let indices = self.stats.indices(generation.metadata().names());
        let entry = Entry::new(answer, &generation, asked, indices, audience).counted_in(row);
        let entry = Arc::new(entry.landed(Instant::now()));
        if !self.store.insert(key, Arc::clone(&entry), epoch) {
            return Err(Reason::Purged);
        }
        self.stats.plain.stored.inc();
        self.sweep_after_changes(&entry);
        self.confirm_in_time(&entry, giver);
        Ok(entry)
    }

    /// Whether a search that has ended did so on this side of the boundary of its rounded `now`, on the clock of every node
    /// (of these [members](crate::generation::members), if they are given).
    pub(super) async fn is_before(&self, until: i64, terms: &Terms, members: Option<u64>) -> bool {
        self.clocks.span_of(members).await.is_ok_and(|span| span.until(terms) == Ok(Some(until)))
    }
}

/// Why an answer was not taken whole.
pub(super) fn too_large(excess: Excess) -> Reason {
    match excess {
        Excess::Limit => Reason::EntryTooLarge,
        Excess::Memory => Reason::MemoryLimit,
    }
}

/// An answer to a search.
pub(super) struct Arrived {
    pub(super) giver: Giver,
    pub(super) head: http::response::Parts,
    pub(super) body: Collected,
}

/// The head of a fill: the leader's, but for what concerns caches.
pub(super) fn fill_head(head: &Parts, plan: &Plan) -> Parts {
    let mut head = bare_head(head);
    if let Some(query) = &plan.fill_query
        && let Ok(path) = PathAndQuery::try_from(format!("{}?{query}", head.uri.path()))
    {
        head.uri = path.into();
    }
    head
}

/// The head of a request without what concerns caches and codings.
pub(super) fn bare_head(head: &Parts) -> Parts {
    let mut head = head.clone();
    control::for_fill(&mut head.headers);
    head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    head
}
