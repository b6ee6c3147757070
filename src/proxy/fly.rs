//! Join or lead a flight, and answer with how it landed.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use http::request::Parts;
use tokio::time::{Duration, Instant};

use super::bypass::too_many;
use super::fill::{Fill, Keep, Landed, fill_head};
use super::told::Sent;
use super::{Answered, Live, Proxy, View};
use crate::cache::{Epoch, Fetched, Waiter};
use crate::key::CacheKey;
use crate::outcome::{CacheStatus, Notes, Outcome, Reason};
use crate::plan::Plan;
use crate::respond;

/// What came of a flight, and whether this request led it.
pub(super) struct Flown {
    pub(super) landed: Landed,
    pub(super) led: bool,
}

impl Proxy {
    /// Join or lead a flight. `None` if the flight was lost.
    pub(super) async fn join_or_lead(
        self: &Arc<Self>,
        head: &Parts,
        body: Bytes,
        plan: &Plan,
        view: &View,
        arrival: Instant,
    ) -> Option<Flown> {
        let key = (plan.key, view.generation.moment(), self.store.epoch());
        let not_before = self.boards_from(view, arrival);
        let flight = || self.flight(head, body, plan, view, key.2);
        let waiter = self.flights.board(&key, not_before, flight, self.when_cancelled());
        let led = waiter.leads;
        self.count_flown(view, led);
        waiter.landed().await.map(|landed| Flown { landed, led })
    }

    /// Lead a flight, unless one is under way that could be joined by who knows its generation from a reading of its own.
    pub(super) fn lead(
        self: &Arc<Self>,
        head: &Parts,
        body: &Bytes,
        plan: &Plan,
        view: &View,
    ) -> Option<Waiter<Landed>> {
        let key = (plan.key, view.generation.moment(), self.store.epoch());
        let flight = || self.flight(head, body.clone(), plan, view, key.2);
        let waiter = self.flights.lead(&key, flight, self.when_cancelled())?;
        self.count_flown(view, true);
        Some(waiter)
    }

    fn flight(
        self: &Arc<Self>,
        head: &Parts,
        body: Bytes,
        plan: &Plan,
        view: &View,
        epoch: Epoch,
    ) -> impl Future<Output = Landed> + Send + 'static {
        let fill = Fill {
            head: fill_head(head, plan),
            sent: Sent::of(&self.live.load(), head, &body),
            body,
            api: plan.api,
            widening: plan.widening,
            keep: Keep::new(plan, view, epoch),
        };
        Arc::clone(self).fill(fill)
    }

    fn when_cancelled(&self) -> impl FnOnce() + Send + 'static {
        let stats = Arc::clone(&self.stats);
        move || stats.plain.flights_cancelled.inc()
    }

    fn count_flown(&self, view: &View, led: bool) {
        let indices = self.stats.indices(view.generation.metadata().names());
        if led {
            self.stats.plain.flights.inc();
            indices.misses.inc();
        } else {
            self.stats.plain.followers.inc();
            // as the engines count: who gets the answer of a load under way has a hit
            indices.hits.inc();
        }
    }

    /// When a flight must have begun to be waited for; `None` where the generation in its key says it all.
    pub(super) fn boards_from(&self, view: &View, arrival: Instant) -> Option<Instant> {
        // what is too old to be served is too old to be waited for
        let lifetime = view.lifetime.and(view.generation.longest_life());
        let not_before = lifetime.0.map(|limit| arrival.checked_sub(limit).unwrap_or(arrival));
        // without readings, nothing else tells that a write has passed through since
        let mark = self.watcher.last_mark().filter(|_| view.started.is_none());
        not_before.max(mark.map(|mark| mark + Duration::from_nanos(1)))
    }

    /// Respond from the flight of a search; or why this request has to ask for itself.
    pub(super) async fn land_search(
        &self,
        live: &Live,
        head: &Parts,
        key: CacheKey,
        landed: &Landed,
        led: bool,
    ) -> Result<Answered, Reason> {
        let Landed::Stored(entry, fetched) = landed else { return self.land(head, landed, led) };
        let shown = self.represent(live, head, key, entry).await;
        // who has led gets all that the engine said
        let response = if led && shown.body.is_some() {
            respond::fetched_as(fetched, entry, shown)
        } else {
            respond::entry(entry, shown, &head.headers, None)
        };
        Ok((response, CacheStatus { stored: true, ..self.asked(led, fetched) }))
    }

    fn missed(&self, led: bool) -> CacheStatus {
        CacheStatus { collapsed: !led, unwatched: self.unwatched(), ..CacheStatus::new(Outcome::Miss) }
    }

    /// With how long the engine took.
    fn asked(&self, led: bool, fetched: &Fetched) -> CacheStatus {
        let notes = Notes { upstream: Some(fetched.took), ..Notes::default() };
        CacheStatus { notes, ..self.missed(led) }
    }

    /// Respond from a flight, as it landed; or why this request has to ask for itself.
    pub(super) fn land(&self, head: &Parts, landed: &Landed, led: bool) -> Result<Answered, Reason> {
        let status = self.missed(led);
        let whole = |fetched: &Fetched| {
            if led { respond::fetched(fetched) } else { respond::shared(fetched, &head.headers) }
        };
        Ok(match landed {
            Landed::Own(_, reason) if !led => return Err(*reason),
            Landed::TooLarge(_, reason) if !led => return Err(*reason),
            Landed::Unusable(reason) => return Err(*reason),
            Landed::Stored(_, fetched) => {
                (whole(fetched), CacheStatus { stored: true, ..self.asked(led, fetched) })
            }
            Landed::Unstored(fetched, reason) | Landed::Own(fetched, reason) => {
                (whole(fetched), CacheStatus { refusal: Some((*reason).into()), ..self.asked(led, fetched) })
            }
            Landed::TooLarge(response, reason) => {
                let response = response.lock().unwrap_or_else(PoisonError::into_inner).take();
                let response = response.ok_or(*reason)?;
                (response, CacheStatus { refusal: Some((*reason).into()), ..status })
            }
            Landed::Refused => too_many(&status),
            Landed::Failed(error) => (respond::error(error), status),
        })
    }
}
