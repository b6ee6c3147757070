//! The searches that are asked most: which they are, and what is remembered of one when it is answered.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::search::{Search, keep_keyed};
use crate::cache::Bounded;
use crate::key::CacheKey;
use crate::key::headers::{HeaderRole, HeaderRules};
use crate::plan::Plan;
use crate::proxy::{ClientCertificate, Live, Proxy};

/// What is kept of the searches that are asked ahead, in bytes at most ...
const MOST_BYTES: u64 = 16 << 20;
/// ... and of the body of one.
const LONGEST_BODY: usize = 64 << 10;

/// What was asked neither in this nor in the last such time is no longer looked after.
const WINDOW: Duration = Duration::from_secs(60);

/// The searches that are asked most.
#[derive(Debug)]
pub(super) struct Hottest {
    searches: Bounded<CacheKey, Arc<Hot>>,
    /// How many of them are looked after.
    most: usize,
    /// A hash of the credential that the configuration names.
    ours: Option<blake3::Hash>,
    /// When the present window began.
    window: Mutex<Option<Instant>>,
}

/// A search, and how often it was asked.
#[derive(Debug)]
pub(super) struct Hot {
    key: CacheKey,
    pub(super) search: Search,
    /// How often it was asked in this and in the last window.
    asked: [AtomicU32; 2],
}

/// A search that may become one of them.
pub(in crate::proxy) struct Candidate {
    key: CacheKey,
    body: Bytes,
    as_ours: bool,
}

impl Hot {
    fn score(&self) -> u32 {
        self.asked.iter().fold(0, |sum, asked| sum.saturating_add(asked.load(Ordering::Relaxed)))
    }
}

impl Hottest {
    pub(super) fn new(most: usize, authorization: Option<&HeaderValue>) -> Hottest {
        let searches = Bounded::weighed(MOST_BYTES, |_: &CacheKey, hot: &Arc<Hot>| hot.search.weight());
        let ours = authorization.map(|value| blake3::hash(value.as_bytes()));
        Hottest { searches, most, ours, window: Mutex::default() }
    }

    /// Whether a request names nobody but whom the configuration names.
    fn is_ours(&self, rules: &HeaderRules, headers: &HeaderMap) -> bool {
        let mut carriers = headers.iter().filter(|(name, _)| rules.role(name) == HeaderRole::Identity);
        let (Some((name, value)), None) = (carriers.next(), carriers.next()) else { return false };
        name == AUTHORIZATION && self.ours == Some(blake3::hash(value.as_bytes()))
    }

    /// The searches that were asked most by `now`, the hottest first.
    pub(super) fn at(&self, now: Instant) -> Vec<Arc<Hot>> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let over = window.get_or_insert(now).checked_add(WINDOW).is_some_and(|end| end <= now);
        let mut hot: Vec<_> = self.searches.values().map(|hot| (hot.score(), hot)).collect();
        if over {
            *window = Some(now);
            for (score, hot) in &hot {
                let asked = hot.asked[0].swap(0, Ordering::Relaxed);
                hot.asked[1].store(asked, Ordering::Relaxed);
                if *score == 0 {
                    self.searches.remove(&hot.key);
                }
            }
        }
        hot.retain(|(score, _)| *score > 0);
        hot.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        hot.into_iter().take(self.most).map(|(_, hot)| hot).collect()
    }
}

impl Proxy {
    /// What is to be remembered of a search when it is answered, if those that are asked most are looked after.
    pub(in crate::proxy) fn candidate(
        &self,
        live: &Live,
        head: &Parts,
        body: &Bytes,
        plan: &Plan,
    ) -> Option<Box<Candidate>> {
        if live.policy.refresh_ahead.is_none() || body.len() > LONGEST_BODY || plan.api.is_asynchronous() {
            return None;
        }
        let named = !plan.anonymous && !self.ahead.hottest.is_ours(&live.headers, &head.headers);
        if named || head.extensions.get::<ClientCertificate>().is_some() {
            return None;
        }
        // who named nobody is asked for as nobody: whatever that may see
        Some(Box::new(Candidate { key: plan.key, body: body.clone(), as_ours: !plan.anonymous }))
    }

    /// Remembers that a search was asked, unless it was answered by an error: who is refused must not take the places
    /// of searches that are answered.
    pub(in crate::proxy) fn note_asked(
        &self,
        live: &Live,
        head: &Parts,
        candidate: Option<Box<Candidate>>,
        status: StatusCode,
    ) {
        let Some(candidate) = candidate.filter(|_| status.as_u16() < 400) else { return };
        let Candidate { key, body, as_ours } = *candidate;
        let searches = &self.ahead.hottest.searches;
        let hot = searches.get(&key).unwrap_or_else(|| {
            let mut headers = head.headers.clone();
            keep_keyed(&live.headers, &mut headers);
            // in memory of its own: what came over the wire is a part of the connection's buffer
            let body = Bytes::copy_from_slice(&body);
            let (method, uri) = (head.method.clone(), head.uri.clone());
            let search = Search { method, uri, headers, body, as_ours };
            searches.get_or_insert_with(key, || Arc::new(Hot { key, search, asked: Default::default() }))
        });
        hot.asked[0].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, Uri};

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
    async fn what_nobody_asks_any_more_is_forgotten() {
        let hottest = Hottest::new(2, None);
        for (number, asked) in [(1, 1), (2, 5), (3, 3)] {
            let (key, hot) = hot(number);
            hot.asked[0].store(asked, Ordering::Relaxed);
            hottest.searches.insert(key, hot);
        }
        let scores = |now| hottest.at(now).iter().map(|hot| hot.score()).collect::<Vec<_>>();
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
        assert!(hottest.searches.is_empty());
    }

    #[test]
    fn only_the_credential_of_the_configuration_is_ours() {
        let ours = HeaderValue::from_static("ApiKey a");
        let (hottest, none) = (Hottest::new(1, Some(&ours)), Hottest::new(1, None));
        let rules = HeaderRules::default();
        let mut headers = HeaderMap::new();
        assert!(!hottest.is_ours(&rules, &headers));
        headers.insert(AUTHORIZATION, ours.clone());
        assert!(hottest.is_ours(&rules, &headers) && !none.is_ours(&rules, &headers));
        headers.append(AUTHORIZATION, ours);
        assert!(!hottest.is_ours(&rules, &headers));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("ApiKey b"));
        assert!(!hottest.is_ours(&rules, &headers));
    }
}
