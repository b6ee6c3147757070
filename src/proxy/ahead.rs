//! Searches that are asked ahead of their users: warm-up from a list, and refresh ahead (`refresh_ahead`), which looks
//! after those that are asked most. They walk the steps of the street up to the store, and nobody is answered: what is
//! stored is a fill as any other.
//!
//! Only searches without an identity are kept for it, or with the credential that the configuration names; that one is
//! added when they are asked, and a client's is never kept.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::fill::Landed;
use super::fly::Flown;
use super::plans::Known;
use super::{ClientCertificate, Live, Proxy, Searches, View, plain};
use crate::cache::Bounded;
use crate::control::Control;
use crate::elastic::api::route;
use crate::key::CacheKey;
use crate::key::headers::{HeaderRules, Role};
use crate::outcome::{Reason, Refusal};
use crate::plan::Plan;

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

/// A search without a credential.
#[derive(Clone, Debug)]
pub struct Search {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    /// Whether it is asked with the credential that the configuration names.
    as_ours: bool,
}

impl Search {
    /// A search as a list has it.
    ///
    /// # Errors
    /// The header that says who asks.
    pub fn new(
        rules: &HeaderRules,
        method: Method,
        uri: Uri,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Search, http::HeaderName> {
        if let Some(name) = headers.keys().find(|name| rules.role(name) == Role::Identity) {
            return Err(name.clone());
        }
        keep_keyed(rules, &mut headers);
        Ok(Search { method, uri, headers, body, as_ours: true })
    }

    fn head(&self, authorization: Option<&HeaderValue>) -> Parts {
        let (mut head, ()) = http::Request::new(()).into_parts();
        (head.method, head.uri) = (self.method.clone(), self.uri.clone());
        head.headers.clone_from(&self.headers);
        if let Some(authorization) = authorization.filter(|_| self.as_ours) {
            head.headers.insert(AUTHORIZATION, authorization.clone());
        }
        head
    }

    fn weight(&self) -> u32 {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let bytes = 1_000 + headers + self.uri.to_string().len() + self.body.len();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// What is in the key, and nothing else.
fn keep_keyed(rules: &HeaderRules, headers: &mut HeaderMap) {
    let others: Vec<_> = headers.keys().filter(|name| rules.role(name) != Role::Keyed).cloned().collect();
    for name in others {
        headers.remove(name);
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

/// What is kept of the searches that are asked ahead, in bytes at most ...
const MOST_BYTES: u64 = 16 << 20;
/// ... and of the body of one.
const LONGEST_BODY: usize = 64 << 10;
/// How many are asked at once.
const AT_ONCE: usize = 4;
/// What was asked neither in this nor in the last such time is no longer looked after.
const WINDOW: Duration = Duration::from_secs(60);

/// The searches that are asked most, and how fast any are asked ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    settings: AheadSettings,
    authorization: Option<blake3::Hash>,
    hot: Bounded<CacheKey, Arc<Hot>>,
    /// When the next one may be sent.
    next: Mutex<Option<Instant>>,
    window: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Hot {
    key: CacheKey,
    search: Search,
    /// How often it was asked in this and in the last window.
    asked: [AtomicU32; 2],
}

/// A search that may become one of them.
pub(super) struct Candidate {
    key: CacheKey,
    body: Bytes,
    as_ours: bool,
}

impl Hot {
    fn score(&self) -> u32 {
        self.asked.iter().fold(0, |sum, asked| sum.saturating_add(asked.load(Ordering::Relaxed)))
    }
}

impl Ahead {
    pub(super) fn new(settings: AheadSettings) -> Ahead {
        let authorization = settings.authorization.as_ref().map(|value| blake3::hash(value.as_bytes()));
        let hot = Bounded::weighed(MOST_BYTES, |_: &CacheKey, hot: &Arc<Hot>| hot.search.weight());
        Ahead { settings, authorization, hot, next: Mutex::default(), window: Mutex::default() }
    }

    /// Waits until one more may be sent.
    async fn turn(&self) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
            *next = Some(turn + Duration::from_secs(1) / self.settings.rate.max(1));
            turn
        };
        tokio::time::sleep_until(turn).await;
    }

    /// Whether a request names nobody but whom the configuration names.
    fn is_ours(&self, rules: &HeaderRules, headers: &HeaderMap) -> bool {
        let mut carriers = headers.iter().filter(|(name, _)| rules.role(name) == Role::Identity);
        let (Some((name, value)), None) = (carriers.next(), carriers.next()) else { return false };
        name == AUTHORIZATION && self.authorization == Some(blake3::hash(value.as_bytes()))
    }

    /// The searches that were asked most, the hottest first.
    fn hottest(&self, now: Instant) -> Vec<Arc<Hot>> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let over = window.get_or_insert(now).checked_add(WINDOW).is_some_and(|end| end <= now);
        let mut hot: Vec<_> = self.hot.values().map(|hot| (hot.score(), hot)).collect();
        if over {
            *window = Some(now);
            for (score, hot) in &hot {
                let asked = hot.asked[0].swap(0, Ordering::Relaxed);
                hot.asked[1].store(asked, Ordering::Relaxed);
                if *score == 0 {
                    self.hot.remove(&hot.key);
                }
            }
        }
        hot.retain(|(score, _)| *score > 0);
        hot.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        hot.into_iter().take(self.settings.most).map(|(_, hot)| hot).collect()
    }
}

impl Proxy {
    /// What is to be remembered of a search when it is answered, if those that are asked most are looked after.
    pub(super) fn candidate(
        &self,
        live: &Live,
        head: &Parts,
        body: &Bytes,
        plan: &Plan,
    ) -> Option<Box<Candidate>> {
        if live.policy.refresh_ahead.is_none() || body.len() > LONGEST_BODY || plan.api.is_asynchronous() {
            return None;
        }
        let named = !plan.anonymous && !self.ahead.is_ours(&live.headers, &head.headers);
        if named || head.extensions.get::<ClientCertificate>().is_some() {
            return None;
        }
        // who named nobody is asked for as nobody: whatever that may see
        Some(Box::new(Candidate { key: plan.key, body: body.clone(), as_ours: !plan.anonymous }))
    }

    /// Remembers that a search was asked, unless it was answered by an error: who is refused must not take the places
    /// of searches that are answered.
    pub(super) fn note_asked(
        &self,
        live: &Live,
        head: &Parts,
        candidate: Option<Box<Candidate>>,
        status: StatusCode,
    ) {
        let Some(candidate) = candidate.filter(|_| status.as_u16() < 400) else { return };
        let Candidate { key, body, as_ours } = *candidate;
        let hot = self.ahead.hot.get(&key).unwrap_or_else(|| {
            let mut headers = head.headers.clone();
            keep_keyed(&live.headers, &mut headers);
            // in memory of its own: what came over the wire is a part of the connection's buffer
            let body = Bytes::copy_from_slice(&body);
            let (method, uri) = (head.method.clone(), head.uri.clone());
            let search = Search { method, uri, headers, body, as_ours };
            self.ahead
                .hot
                .get_or_insert_with(key, || Arc::new(Hot { key, search, asked: Default::default() }))
        });
        hot.asked[0].fetch_add(1, Ordering::Relaxed);
    }

    /// Asks the searches that are asked most and whose answers are no longer current. Returns how many were stored.
    pub async fn refresh_hottest(self: &Arc<Self>) -> usize {
        let hottest = self.ahead.hottest(Instant::now());
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
        let live = self.live.load_full();
        let head = search.head(self.ahead.settings.authorization.as_ref());
        let route = route(&head.method, head.uri.path(), head.uri.query());
        if search.body.len() > live.policy.max_key_body {
            return Refreshed::Refused(Reason::BodyTooLarge.into());
        }
        match route.api {
            // what does not end in time would run on for nobody
            api if api.is_read() && !api.is_asynchronous() => {
                self.refresh_one(&live, &head, &search.body).await
            }
            api if api.is_several() => {
                let whole = plain(&head, &search.body, live.policy.max_key_body);
                let whole = match &whole {
                    Ok((head, body)) => Searches::of(head, &route, body),
                    Err(refusal) => Err(refusal.clone()),
                };
                let mut searches = match whole {
                    Ok(searches) => searches,
                    Err(refusal) => return Refreshed::Refused(refusal),
                };
                let mut found = Refreshed::Current;
                while let Some((_, item)) = searches.next() {
                    let refreshed = match item {
                        Ok(item) => self.refresh_one(&live, item.head, &item.body).await,
                        Err(refusal) => Refreshed::Refused(refusal),
                    };
                    if matches!(found, Refreshed::Current | Refreshed::Stored)
                        && refreshed != Refreshed::Current
                    {
                        found = refreshed;
                    }
                }
                found
            }
            _ => Refreshed::Refused(route.effect.reason().into()),
        }
    }

    async fn refresh_one(self: &Arc<Self>, live: &Live, head: &Parts, body: &Bytes) -> Refreshed {
        match self.prepare(live, head, body).await {
            Err(refusal) => return Refreshed::Refused(refusal),
            Ok((plan, view)) if self.look_up(&plan, &view).is_some() => {
                self.stats.plain.ahead_current.inc();
                return Refreshed::Current;
            }
            Ok(_) => {}
        }
        self.ahead.turn().await;
        // read once more: what was waited for may have changed it
        let arrival = Instant::now();
        let (plan, view) = match self.prepare(live, head, body).await {
            Ok(prepared) => prepared,
            Err(refusal) => return Refreshed::Refused(refusal),
        };
        if self.look_up(&plan, &view).is_some() {
            return Refreshed::Current;
        }
        if self.unshareable.get(&plan.key) == Some(view.generation.tag()) {
            return Refreshed::Refused(Reason::EntryTooLarge.into());
        }
        match self
            .join_or_lead(head, body.clone(), &plan, &view, arrival)
            .await
            .map(|Flown { landed, .. }| landed)
        {
            Some(Landed::Stored(..)) => {
                self.stats.plain.ahead_stored.inc();
                Refreshed::Stored
            }
            Some(Landed::Unstored(_, reason) | Landed::Own(_, reason) | Landed::Unusable(reason)) => {
                Refreshed::NotStored(reason)
            }
            Some(Landed::TooLarge(_)) => Refreshed::NotStored(Reason::EntryTooLarge),
            Some(Landed::Refused) => Refreshed::Refused(Reason::MissesLimit.into()),
            Some(Landed::Failed(_)) | None => Refreshed::Failed,
        }
    }

    /// Classify, key, validate.
    async fn prepare(&self, live: &Live, head: &Parts, body: &Bytes) -> Result<(Arc<Known>, View), Refusal> {
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

    fn hot(number: u8) -> (CacheKey, Arc<Hot>) {
        let key = CacheKey::joined([]).of_certificate(&[number; 32]);
        let headers = HeaderMap::new();
        let search = Search {
            method: Method::GET,
            uri: Uri::from_static("/"),
            headers,
            body: Bytes::new(),
            as_ours: true,
        };
        (key, Arc::new(Hot { key, search, asked: Default::default() }))
    }

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

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_any_more_is_forgotten() {
        let ahead = Ahead::new(AheadSettings { most: 2, ..AheadSettings::default() });
        for (number, asked) in [(1, 1), (2, 5), (3, 3)] {
            let (key, hot) = hot(number);
            hot.asked[0].store(asked, Ordering::Relaxed);
            ahead.hot.insert(key, hot);
        }
        let scores = |now| ahead.hottest(now).iter().map(|hot| hot.score()).collect::<Vec<_>>();
        let begin = Instant::now();
        assert_eq!(scores(begin), [5, 3]);
        assert_eq!(scores(begin + WINDOW / 2), [5, 3]);
        assert_eq!(scores(begin + WINDOW), [5, 3]);
        // they were asked in the window before this one
        assert_eq!(scores(begin + WINDOW * 3 / 2), [5, 3]);
        // none was in the last two
        scores(begin + WINDOW * 2);
        assert_eq!(scores(begin + WINDOW * 2), [0_u32; 0]);
        scores(begin + WINDOW * 3);
        assert!(ahead.hot.is_empty());
    }

    #[test]
    fn only_the_credential_of_the_configuration_is_ours() {
        let ours = HeaderValue::from_static("ApiKey a");
        let ahead =
            Ahead::new(AheadSettings { authorization: Some(ours.clone()), ..AheadSettings::default() });
        let none = Ahead::new(AheadSettings::default());
        let rules = HeaderRules::default();
        let mut headers = HeaderMap::new();
        assert!(!ahead.is_ours(&rules, &headers));
        headers.insert(AUTHORIZATION, ours.clone());
        assert!(ahead.is_ours(&rules, &headers) && !none.is_ours(&rules, &headers));
        headers.append(AUTHORIZATION, ours);
        assert!(!ahead.is_ours(&rules, &headers));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("ApiKey b"));
        assert!(!ahead.is_ours(&rules, &headers));
    }
}
