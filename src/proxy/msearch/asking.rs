//! What is left of a multi search is asked in one smaller multi search, and what comes is stored item by item.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::WARNING;
use http::request::Parts;
use http::{Response, StatusCode};
use tokio::time::Instant;

use super::doors::Door;
use super::items::{Item, Judged, are_ambient, head_of_items};
use crate::cache::{Audience, Epoch, Fetched, Storable};
use crate::elastic::api::{Api, Distribution};
use crate::elastic::filter_path::Widening;
use crate::elastic::msearch::{self, Form};
use crate::generation::StateVersion;
use crate::key::CacheKey;
use crate::outcome::{Outcome, Reason, Refusal};
use crate::proxy::fill::{Arrived, Keep, Landed, bare_head, too_large};
use crate::proxy::serve::Hit;
use crate::proxy::told::Sent;
use crate::proxy::{Live, Proxy};
use crate::upstream::{Collected, Excess, Giver};

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
        /// How the engine has written an item; not known if none of them is a search's answer.
        form: Option<Form>,
    },
    /// No answer that can be shared.
    Landed(Landed),
}

/// What the upstream request of a multi search needs.
pub(super) struct Asking {
    pub(super) head: Parts,
    pub(super) body: Bytes,
    /// What decides about each part of the answer; `None` for what is not to be stored.
    pub(super) keeps: Vec<Option<(Keep, Audience, Sent)>>,
    /// The key of each search that was understood, whether it is to be stored or not.
    pub(super) keys: Vec<Option<CacheKey>>,
    pub(super) door: CacheKey,
    pub(super) explicit: bool,
    pub(super) epoch: Epoch,
    /// All that is asked, under which it is remembered that the answer is too large.
    pub(super) joined: CacheKey,
    /// The endpoint, and who answers it.
    pub(super) api: (Api, Option<Distribution>),
}

/// A request of several searches, as it came and as it is without a content coding.
#[derive(Clone, Copy)]
pub(super) struct Request<'r> {
    pub(super) live: &'r Live,
    pub(super) api: (Api, Option<Distribution>),
    /// As it came.
    pub(super) head: &'r Parts,
    /// As it came.
    pub(super) body: &'r Bytes,
    pub(super) plain_head: &'r Parts,
    pub(super) plain_body: &'r Bytes,
}

impl Proxy {
    /// What is asked of the engine: what is not a hit.
    pub(super) fn asking(
        &self,
        request: &Request<'_>,
        items: &[Item<'_>],
        hits: &[Option<Hit>],
        door: CacheKey,
    ) -> Asking {
        let Request { live, plain_head, plain_body, .. } = *request;
        let epoch = self.store.epoch();
        let asked: Vec<&Item<'_>> =
            items.iter().zip(hits).filter(|(_, hit)| hit.is_none()).map(|(item, _)| item).collect();
        let known = asked.iter().filter_map(|item| item.judged.as_ref().ok());
        let explicit = asked.iter().any(|item| item.explicit && item.judged.is_ok());
        let known = known.map(|known| (known.plan.key, *known.view.generation.moment().as_bytes()));
        // what has no key counts as it stands: too large with it does not mean too large without
        let others = asked.iter().filter(|item| item.judged.is_err());
        let others = others.map(|item| (door, *blake3::hash(&msearch::join([item.lines])).as_bytes()));
        let head_line = [(door, [u8::from(explicit); 32])].into_iter();
        let joined = CacheKey::joined(head_line.chain(known).chain(others));
        let of_items = head_of_items(plain_head);
        let keep = |item: &&Item<'_>| {
            let Judged { plan, view } = item.judged.as_ref().ok()?;
            let sent = Sent::of_item(plan, &of_items.headers, plain_body.slice_ref(item.lines.body));
            Some((Keep::new(plan, view, epoch), view.audience, sent))
        };
        for item in &asked {
            if let Err(refusal) = &item.judged {
                self.tell_refused(
                    &Sent::of_head(live, plain_head, plain_body.slice_ref(item.lines.body)),
                    refusal,
                );
            }
        }
        let whole = asked.len() == items.len();
        let lines = asked.iter().map(|item| item.lines);
        Asking {
            head: bare_head(if whole { request.head } else { plain_head }),
            body: if whole { request.body.clone() } else { msearch::join(lines).into() },
            keeps: asked.iter().map(keep).collect(),
            keys: asked.iter().map(|item| item.key()).collect(),
            api: request.api,
            door,
            explicit,
            epoch,
            joined,
        }
    }

    /// Join or lead a flight; or ask alone, where something that is not to be shared is asked, too. `None` if the flight
    /// was lost. Returns whether this request led.
    pub(super) async fn ask(
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
    pub(super) fn count_asked(&self, items: &[Item<'_>], hits: &[Option<Hit>], led: bool) {
        for (item, _) in items.iter().zip(hits).filter(|(_, hit)| hit.is_none()) {
            if let Ok(Judged { view, .. }) = &item.judged {
                let indices = self.stats.indices(view.generation.metadata().names());
                if led { indices.misses.inc() } else { indices.hits.inc() }
            }
        }
    }

    /// Forward, decide what is storable, store. May run on a task of its own.
    async fn fill_several(self: Arc<Self>, asking: Asking) -> Several {
        let Asking { head, body, keeps, keys, door, explicit, epoch, joined, api } = asking;
        let Some(_permit) = self.fills.permit().await else { return Several::Landed(Landed::Refused) };
        let asked = self.watcher.now();
        let versions: Vec<&StateVersion> =
            keeps.iter().flatten().map(|(keep, ..)| keep.generation.metadata().version()).collect();
        let tag = versions.iter().max_by_key(|version| version.version).copied();
        let of_one_cluster = versions.windows(2).all(|pair| pair[0].cluster_uuid == pair[1].cluster_uuid);
        let tag = tag.filter(|_| !self.unwatched());
        let headers = head.headers.clone();
        let Arrived { giver, head: answer, body } = match self.fetch(head, body, tag).await {
            Ok(arrived) => arrived,
            Err(error) => {
                self.note_unanswered("multi search", &error);
                return Several::Landed(Landed::Failed(error));
            }
        };
        let body = match body {
            Collected::Whole(body) => body,
            Collected::TooLong(rest, excess) => {
                if excess == Excess::Limit
                    && let Some((keep, ..)) = keeps.iter().flatten().next()
                {
                    self.unshareable.insert(joined, keep.generation.tag());
                }
                let response = Some(Response::from_parts(answer, rest));
                let response = Arc::new(Mutex::new(response));
                return Several::Landed(Landed::TooLarge(response, too_large(excess)));
            }
        };
        let giver = Giver { applied: giver.applied && of_one_cluster, ..giver };
        let took = asked.at.elapsed();
        self.stats.plain.upstream_microseconds.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let fetched = Arc::new(Fetched { status: answer.status, headers: answer.headers, body, took });
        let parts = msearch::take_apart(&fetched.body).filter(|parts| parts.items.len() == keeps.len());
        let Some(parts) = parts.filter(|_| fetched.status == StatusCode::OK) else {
            if matches!(fetched.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                keys.iter().flatten().for_each(|key| self.says_no(key, &headers, fetched.status));
            }
            return Several::Answered { fetched, stored: 0, refusal: Some(Reason::Status), form: None };
        };
        for (item, key) in parts.items.iter().zip(&keys) {
            if let (Some(no), Some(key)) = (msearch::refusal_of(item), key) {
                self.says_no(key, &headers, no);
            }
        }
        // a warning does not tell of which search it is
        let told = parts.items.len() == 1 || are_ambient(&fetched.headers);
        let how_many = u32::try_from(parts.items.len()).unwrap_or(u32::MAX);
        let kept = parts.items.iter().zip(keeps).map(async |(item, keep)| {
            let (mut keep, audience, sent) = keep?;
            let took = took_alone(item).unwrap_or(took / how_many);
            if !told {
                return Some(Err(Reason::Warnings));
            }
            let nodes = keep.generation.metadata().nodes();
            let form = Form::of(api.0, api.1, item);
            let checked = check_item(item, form, &fetched, &keep, took);
            let checked = checked.map(|answer| answer.within(&self.budget));
            let refusal = checked.as_ref().err().map(|reason| Refusal::from(*reason));
            keep.row = self.tell(&sent, took, Outcome::Miss, refusal.as_ref());
            let stored = match checked {
                Ok(answer) => self.keep(answer, keep, asked, giver).await,
                Err(reason) => Err(reason),
            };
            Some(stored.map(|entry| (entry, form, nodes, audience)))
        });
        let (mut stored, mut refusal, mut form) = (0, None, None);
        for kept in join_all(kept).await.into_iter().flatten() {
            match kept {
                Ok((entry, written, nodes, audience)) => {
                    stored += 1;
                    form = Some(written);
                    let mut headers = entry.head().to_map();
                    headers.remove(WARNING);
                    self.doors.insert(
                        (door, explicit),
                        Arc::new(Door { explicit, nodes, audience, asked, epoch, headers, form: written }),
                    );
                }
                Err(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        Several::Answered { fetched, stored, refusal, form }
    }
}

/// What the engine says that it took for an item: they are searched for at the same time, so what they all took says
/// little of one. Not known if it is less than a millisecond.
fn took_alone(item: &[u8]) -> Option<Duration> {
    let digits = item.strip_prefix(br#"{"took":"#)?.split(|byte| !byte.is_ascii_digit()).next()?;
    let millis = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (millis > 0).then(|| Duration::from_millis(millis))
}

/// Decide if storable: an item, as the answer to the search that it is.
fn check_item(
    item: &[u8],
    form: Form,
    fetched: &Fetched,
    keep: &Keep,
    took: Duration,
) -> Result<Storable, Reason> {
    let body = msearch::search_of(item, form).ok_or(Reason::Status)?.into();
    let answer = Fetched { status: StatusCode::OK, headers: fetched.headers.clone(), body, took };
    Storable::check(&answer, Api::Search, Widening::None, &keep.generation.extent())
}
