//! Answers to multi searches: from the store alone, from the store and the engine, or as the engine gives them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::WARNING;
use http::request::Parts;
use http::{Response, StatusCode};
use tokio::time::Instant;

use super::asking::{Request, Several};
use super::doors::Door;
use super::items::{Item, Judged, first_refusal};
use crate::budget::{Share, hold};
use crate::elastic::api::Api;
use crate::elastic::msearch::{self, Form, Piece};
use crate::outcome::{CacheStatus, Items, Notes, Outcome, Reason, Refusal};
use crate::proxy::bypass::too_many;
use crate::proxy::fill::Landed;
use crate::proxy::serve::Hit;
use crate::proxy::{Answered, ClientAddress, Proxy};
use crate::respond;
use crate::upstream::Body;

impl Proxy {
    /// Respond from the store alone.
    pub(super) fn all_hits(
        &self,
        head: &Parts,
        hits: &[Option<Hit>],
        doors: &[Arc<Door>],
        arrival: Instant,
        room: Share,
    ) -> Answered {
        let hits: Vec<&Hit> = hits.iter().flatten().collect();
        let (response, age) =
            from_store(head, &hits, doors.first().map(Arc::as_ref), arrival.elapsed(), room);
        let ttl = hits.iter().filter_map(|hit| hit.ttl).min().map(|ttl| ttl.as_secs());
        hits.iter().for_each(|hit| self.count_hit(&hit.entry));
        let items = Some(Items { hits: hits.len(), all: hits.len() });
        let notes = Notes { age: Some(age), ..Notes::default() };
        let status =
            CacheStatus { ttl, items, unwatched: self.unwatched(), notes, ..CacheStatus::new(Outcome::Hit) };
        (response, status)
    }

    /// Respond from what was found and what was asked; or why the whole request has to be asked.
    pub(super) fn put_together(
        &self,
        request: &Request<'_>,
        items: &[Item<'_>],
        hits: &[Option<Hit>],
        doors: &[Arc<Door>],
        several: Several,
        led: bool,
    ) -> Result<Answered, Reason> {
        let (head, found) = (request.head, hits.iter().flatten().count());
        let status = CacheStatus {
            items: Some(Items { hits: found, all: items.len() }),
            collapsed: !led,
            unwatched: self.unwatched(),
            refusal: first_refusal(items),
            ..CacheStatus::new(Outcome::Miss)
        };
        let (fetched, stored, refusal, form) = match several {
            Several::Answered { fetched, stored, refusal, form } => (fetched, stored, refusal, form),
            // what is found cannot be put into a stream
            Several::Landed(Landed::TooLarge(_, reason)) if found > 0 => return Err(reason),
            Several::Landed(landed) => return self.land(head, &landed, led),
        };
        let mut response =
            if led { respond::fetched(&fetched) } else { respond::shared(&fetched, &head.headers) };
        let status = CacheStatus {
            stored: stored > 0,
            refusal: status.refusal.or(refusal.map(Refusal::from)),
            notes: Notes { upstream: Some(fetched.took), ..Notes::default() },
            ..status
        };
        // engines refuse a request without a template that they could render, and the whole has some
        let of_templates = request.api.0 == Api::MsearchTemplate;
        if of_templates && found > 0 && fetched.status == StatusCode::BAD_REQUEST {
            return Err(Reason::Status);
        }
        // the engine has refused it all
        if found == 0 || fetched.status != StatusCode::OK {
            let items = Some(Items { hits: 0, all: items.len() });
            return Ok((response, CacheStatus { items, ..status }));
        }
        let parts = msearch::take_apart(&fetched.body).ok_or(Reason::PartialityUnknown)?;
        if parts.items.len() + found != items.len() {
            return Err(Reason::PartialityUnknown);
        }
        // as the engine writes them now, or has written them lately
        let form = match of_templates {
            false => Some(Form::Status),
            true => form.or_else(|| doors.first().map(|door| door.form)),
        };
        let form = form.ok_or(Reason::PartialityUnknown)?;
        let bytes =
            hits.iter().flatten().map(|hit| hit.entry.body().len()).sum::<usize>() + fetched.body.len();
        let room = self.budget.take_for_reader(bytes).ok_or(Reason::MemoryLimit)?;
        let mut asked = parts.items.into_iter();
        let pieces: Vec<Piece<'_>> = hits
            .iter()
            .filter_map(|hit| match hit {
                Some(hit) => hit.piece(form),
                None => asked.next().map(Piece::of_answer),
            })
            .collect();
        let whole = msearch::assemble(parts.took, pieces.into_iter());
        *response.body_mut() = Body::whole(hold(whole.into(), room));
        hits.iter().flatten().for_each(|hit| self.count_hit(&hit.entry));
        Ok((response, status))
    }

    /// The whole request, for this client alone: streamed.
    pub(super) async fn ask_whole(
        &self,
        head: &Parts,
        body: Bytes,
        client: ClientAddress,
        items: &[Item<'_>],
        reason: Option<Reason>,
    ) -> Answered {
        for Judged { view, .. } in items.iter().filter_map(|item| item.judged.as_ref().ok()) {
            self.stats.indices(view.generation.metadata().names()).misses.inc();
        }
        let items = Some(Items { hits: 0, all: items.len() });
        let status =
            CacheStatus { refusal: reason.map(Refusal::from), items, ..CacheStatus::new(Outcome::Miss) };
        let Some(_permit) = self.fills.permit().await else { return too_many(&status) };
        let response = self.forward(head.clone(), Body::whole(body), client).await;
        (response, status)
    }
}

/// An answer from the store alone, and the age of its oldest part.
pub(super) fn from_store(
    head: &Parts,
    hits: &[&Hit],
    door: Option<&Door>,
    took: Duration,
    room: Share,
) -> (Response<Body>, Duration) {
    let form = door.map_or(Form::Status, |door| door.form);
    let took = took.as_millis().to_string();
    let body = msearch::assemble(took.as_bytes(), hits.iter().filter_map(|hit| hit.piece(form)));
    let body = hold(body.into(), room);
    let mut headers = door.map(|door| door.headers.clone()).unwrap_or_default();
    let mut warnings = HashSet::new();
    let lines = hits.iter().flat_map(|hit| hit.entry.head().iter());
    for (_, warning) in lines.filter(|(name, _)| name == WARNING) {
        if warnings.insert(warning) {
            headers.append(WARNING, warning.clone());
        }
    }
    let age = hits.iter().map(|hit| hit.age).max().unwrap_or_default();
    (respond::assembled(headers, body, &head.headers, age), age)
}
