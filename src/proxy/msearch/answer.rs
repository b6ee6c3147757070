//! Answers to multi searches: from the store alone, from the store and the engine, or as the engine gives them.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use http::header::WARNING;
use http::request::Parts;
use http::{Response, StatusCode};
use tokio::time::Instant;

use super::asking::Several;
use super::doors::Door;
use super::items::{Hit, Item, Known, first_refusal};
use crate::elastic::msearch::{self, Piece};
use crate::outcome::{CacheStatus, Items, Notes, Outcome, Reason, Refusal};
use crate::proxy::fill::Landed;
use crate::proxy::{ClientAddress, Proxy};
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
        let notes = Notes { age: Some(age), ..Notes::default() };
        let status =
            CacheStatus { ttl, items, unwatched: self.unwatched(), notes, ..CacheStatus::new(Outcome::Hit) };
        (respond::assembled(headers, body, &head.headers, age), status)
    }

    /// Respond from what was found and what was asked; or why the whole request has to be asked.
    pub(super) fn put_together(
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
            notes: Notes { upstream: Some(fetched.took), ..Notes::default() },
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
    pub(super) async fn ask_whole(
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
