//! Searches that are asked ahead of their users: warm-up from a list, and refresh ahead (`refresh_ahead`), which looks
//! after those that are asked most. They walk the steps of the street up to the store, and nobody is answered: what is
//! stored is a fill as any other.
//!
//! Only searches without an identity are kept for it, or with the credential that the configuration names; that one is
//! added when they are asked, and a client's is never kept.

mod hottest;

mod search;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::HeaderValue;
use http::request::Parts;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub(super) use self::hottest::Candidate;
use self::hottest::Hottest;
pub use self::search::Search;
use super::fill::Landed;
use super::plans::Planned;
use super::{Live, Proxy, Searches, View, plain};
use crate::control::Control;
use crate::elastic::api::route;
use crate::outcome::{Reason, Refusal};

/// How searches are asked ahead.
#[derive(Clone, Debug)]
pub struct AheadSettings {
    /// `warm.rate`: how many a second are sent to the engine at most.
    pub rate: u32,
    /// `warm.max_refreshed`: how many are looked after.
    pub most: usize,
    /// `warm.authorization_file`: as whom they are asked.
    pub authorization: Option<HeaderValue>,
}

impl Default for AheadSettings {
    fn default() -> AheadSettings {
        AheadSettings { rate: 20, most: 100, authorization: None }
    }
}

/// What came of a search that was asked ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// What is stored is current.
    Current,
    /// It was asked, and its answer is stored.
    Stored,
    /// It was asked, and its answer is not stored.
    NotStored(Reason),
    /// It was not asked.
    Refused(Refusal),
    /// It was asked, and there is no answer.
    Failed,
}

/// How many are asked at once.
const AT_ONCE: usize = 4;

/// The searches that are asked most, and how fast any are asked ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    /// How many a second are sent.
    rate: u32,
    /// As whom they are asked.
    authorization: Option<HeaderValue>,
    hottest: Hottest,
    /// When the next one may be sent.
    next: Mutex<Option<Instant>>,
}

impl Ahead {
    pub(super) fn new(settings: AheadSettings) -> Ahead {
        let AheadSettings { rate, most, authorization } = settings;
        let hottest = Hottest::new(most, authorization.as_ref());
        Ahead { rate: rate.max(1), authorization, hottest, next: Mutex::default() }
    }

    /// Waits until one more may be sent.
    async fn turn(&self) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
            *next = Some(turn + Duration::from_secs(1) / self.rate);
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

impl Proxy {
    /// Asks the searches that are asked most and whose answers are no longer current. Returns how many were stored.
    pub async fn refresh_hottest(self: &Arc<Self>) -> usize {
        let hottest = self.ahead.hottest.at(Instant::now());
        let refreshed = self.warm(hottest.iter().map(|hot| hot.search.clone()).collect()).await;
        refreshed.iter().filter(|found| **found == Refreshed::Stored).count()
    }

    /// Looks after the searches that are asked most, for ever; returns at once if that is off.
    pub async fn refresh_ahead(self: Arc<Self>) {
        let Some(interval) = self.live.load().policy.refresh_ahead else { return };
        loop {
            tokio::time::sleep(interval).await;
            if self.reachable() {
                self.refresh_hottest().await;
            }
        }
    }

    /// Asks many searches ahead, a few at once, and tells what came of each.
    pub async fn warm(self: &Arc<Self>, all: Vec<Search>) -> Vec<Refreshed> {
        let turns = Semaphore::new(AT_ONCE);
        let refreshed = all.into_iter().map(async |search| {
            let _turn = turns.acquire().await;
            self.refresh(&search).await
        });
        join_all(refreshed).await
    }

    /// Asks a search ahead, if what is stored is not current; of a multi search each of its searches.
    pub async fn refresh(self: &Arc<Self>, search: &Search) -> Refreshed {
        self.refresh_understood(search).await.unwrap_or_else(Refreshed::Refused)
    }

    async fn refresh_understood(self: &Arc<Self>, search: &Search) -> Result<Refreshed, Refusal> {
        let live = self.live.load_full();
        let head = search.head(self.ahead.authorization.as_ref());
        let route = route(&head.method, head.uri.path(), head.uri.query());
        if search.body.len() > live.policy.max_key_body {
            return Err(Reason::BodyTooLarge.into());
        }
        match route.api {
            // what does not end in time would run on for nobody
            api if api.is_read() && !api.is_asynchronous() => {
                self.refresh_one(&live, &head, &search.body).await
            }
            api if api.is_several() => {
                let (head, body) = &plain(&head, &search.body, live.policy.max_key_body)?;
                Ok(self.refresh_each(&live, Searches::of(head, &route, body)?).await)
            }
            _ => Err(route.effect.reason().into()),
        }
    }

    /// Asks the searches of a multi search ahead. What the first of them came to that went wrong; if none did, whether
    /// any was asked.
    async fn refresh_each(self: &Arc<Self>, live: &Live, mut searches: Searches<'_>) -> Refreshed {
        let mut all = Refreshed::Current;
        while let Some((_, search)) = searches.next() {
            let refreshed = match search {
                Ok(search) => self.refresh_one(live, search.head, &search.body).await,
                Err(refusal) => Err(refusal),
            };
            let one = refreshed.unwrap_or_else(Refreshed::Refused);
            if matches!(all, Refreshed::Current | Refreshed::Stored) && one != Refreshed::Current {
                all = one;
            }
        }
        all
    }

    async fn refresh_one(
        self: &Arc<Self>,
        live: &Live,
        head: &Parts,
        body: &Bytes,
    ) -> Result<Refreshed, Refusal> {
        let (plan, view) = self.prepare(live, head, body).await?;
        if self.look_up(&plan, &view).is_some() {
            self.stats.plain.ahead_current.inc();
            return Ok(Refreshed::Current);
        }
        self.ahead.turn().await;
        // read once more: what was waited for may have changed it
        let arrival = Instant::now();
        let (plan, view) = self.prepare(live, head, body).await?;
        if self.look_up(&plan, &view).is_some() {
            return Ok(Refreshed::Current);
        }
        if self.unshareable.get(&plan.key) == Some(view.generation.tag()) {
            return Err(Reason::EntryTooLarge.into());
        }
        let flown = self.join_or_lead(head, body.clone(), &plan, &view, arrival).await;
        Ok(match flown.map(|flown| flown.landed) {
            Some(Landed::Stored(..)) => {
                self.stats.plain.ahead_stored.inc();
                Refreshed::Stored
            }
            Some(
                Landed::Unstored(_, reason)
                | Landed::Own(_, reason)
                | Landed::TooLarge(_, reason)
                | Landed::Unusable(reason),
            ) => Refreshed::NotStored(reason),
            Some(Landed::Refused) => Refreshed::Refused(Reason::MissesLimit.into()),
            Some(Landed::Failed(_)) | None => Refreshed::Failed,
        })
    }

    /// Classify, key, validate.
    async fn prepare(
        &self,
        live: &Live,
        head: &Parts,
        body: &Bytes,
    ) -> Result<(Arc<Planned>, View), Refusal> {
        let (arrival, control) = (Instant::now(), Control::default());
        let route = route(&head.method, head.uri.path(), head.uri.query());
        let plan = self.understand_read(live, head, &route, body, &control, arrival).await?;
        let plan = self.at_this_time(plan).await?;
        let view = self.validate(live, &plan, &control, head, arrival).await?;
        Ok((plan, view))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_are_sent_in_a_second_than_may_be() {
        let ahead = Ahead::new(AheadSettings { rate: 2, ..AheadSettings::default() });
        let begin = Instant::now();
        join_all((0..5).map(|_| ahead.turn())).await;
        assert_eq!(begin.elapsed(), Duration::from_secs(2));
        // what was not used is not saved up
        tokio::time::advance(Duration::from_secs(60)).await;
        let begin = Instant::now();
        join_all((0..3).map(|_| ahead.turn())).await;
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
    }
}
