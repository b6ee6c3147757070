//! What is served when the engine is in trouble (`stale_if_error`, off by default): an entry that nothing shows to be
//! current any more, in place of an error.
//!
//! The step stands behind all others. It looks at what a request would be answered, and only where the engine could not
//! be reached, or answered 502, 503, 504 or 429, may it answer with an entry instead, marked as stale. What escache
//! refuses by itself (`limits.max_concurrent_misses`) is no trouble of the engine. Nor does a refusal that was found in
//! the request or in the target become a stale answer: what would not be cached now is not served now.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};

use super::{Answered, Live, Proxy, View};
use crate::cache::{Audience, Entry, Lifetime, StaleIfError, Store, decide_stale};
use crate::control::Control;
use crate::key::CacheKey;
use crate::outcome::{CacheStatus, Outcome, Reason};
use crate::plan::Plan;
use crate::policy::Policy;
use crate::respond;
use crate::upstream::Body;

/// The store, with room for superseded entries if they are wanted.
pub(super) fn keeping(policy: &Policy, bytes: u64, store: Store) -> Store {
    match policy.stale_if_error {
        Some(time) => store.keeping_superseded(bytes, time),
        None => store,
    }
}

/// What an answer says of the engine.
pub(super) enum Condition {
    /// It works, or the trouble is not its own.
    Works,
    /// It has turned the client away, or knows no such target: its last word, which no old answer contradicts.
    SaysNo(StatusCode),
    /// It could not be reached, or answered that it cannot; with the status if it answered.
    InTrouble(Option<StatusCode>),
}

impl Proxy {
    /// The answer as it is; or an entry in its place, if the engine is in trouble and the operator wants that.
    pub(super) async fn or_stale(
        &self,
        live: &Live,
        head: &Parts,
        plan: &Plan,
        control: &Control,
        answered: Answered,
    ) -> Answered {
        let Some(configured) = live.policy.stale_if_error else { return answered };
        // found in a good reading: when the engine is in trouble, nothing else will tell
        let reason = answered.1.refusal.as_ref().map(|refusal| refusal.reason);
        if is_forbidden(reason) {
            self.store.remove(&plan.key);
        }
        let forward_status = match of_engine(&answered.0, reason) {
            Condition::Works => return answered,
            Condition::SaysNo(status) => {
                self.says_no(&plan.key, &head.headers, status);
                return answered;
            }
            Condition::InTrouble(status) => status,
        };
        let Some(bound) = control.stale_if_error(configured) else { return answered };
        let Some((entry, age)) = self.stale(live, head, plan, bound).await else { return answered };
        let shown = self.represent(live, head, plan.key, &entry).await;
        let response = respond::entry(&entry, shown, &head.headers, Some(age));
        let status = CacheStatus {
            unwatched: self.unwatched(),
            forward_status: forward_status.map(|status| status.as_u16()),
            ..CacheStatus::new(Outcome::Stale)
        };
        (response, status)
    }

    /// The engine has turned away the sender of these headers (401, 403), or knows no such target: its last word on the
    /// search with this key, which no old answer contradicts.
    pub(super) fn says_no(&self, key: &CacheKey, headers: &HeaderMap, status: StatusCode) {
        let live = self.live.load();
        if live.policy.stale_if_error.is_none() {
            return;
        }
        self.store.remove(key);
        if status != StatusCode::NOT_FOUND {
            self.scope.turned_away(&live.headers, headers);
        }
    }

    /// An entry of the question that may be served though the engine cannot be asked, and its age.
    pub(super) async fn stale(
        &self,
        live: &Live,
        head: &Parts,
        plan: &Plan,
        bound: Duration,
    ) -> Option<(Arc<Entry>, Duration)> {
        let now_holds = match plan.until {
            None => true,
            Some(until) => self.is_before(until, &plan.terms, None).await,
        };
        let audience = self.last_audience(live, plan.anonymous, &head.headers);
        let now = self.watcher.now();
        self.store.any(&plan.key).find_map(|entry| {
            let lifetime = self.lifetime_of(&live.policy, plan, &entry)?;
            let age = decide_stale(&entry, StaleIfError { bound, lifetime, audience, now_holds }, now)?;
            Some((entry, age))
        })
    }

    /// Who the sender of these headers is, as far as was known when the engine could last be asked.
    pub(super) fn last_audience(&self, live: &Live, anonymous: bool, headers: &HeaderMap) -> Audience {
        match (self.unwatched(), anonymous) {
            (false, anonymous) => self.scope.last(&live.headers, anonymous, headers),
            (true, true) => Audience::Everybody,
            (true, false) => Audience::Unproven,
        }
    }

    /// How long the operator lets an entry live, by the rules for the indices that it was made from. `None` if it is
    /// not to be served at all.
    fn lifetime_of(&self, policy: &Policy, plan: &Plan, entry: &Entry) -> Option<Lifetime> {
        let names = entry.indices().names();
        // with too many sets of indices, nobody knows any more which they were
        if names.is_empty() && !policy.rules.is_empty() && !self.unwatched() {
            return None;
        }
        let ruling = policy.tightened(plan.ruling, names, plan.api);
        let shows_hits = plan.terms.hits && !ruling.hits && plan.request_cache != Some(true);
        let forbidden = shows_hits || policy.forbids(names, plan.api).is_some();
        (!forbidden).then(|| Lifetime(policy.expire).and(ruling.ttl))
    }

    /// An entry was shown to be current.
    pub(super) fn note_proof(&self, view: &View, entry: &Entry) {
        if let Some(started) = view.started.filter(|_| self.live.load().policy.stale_if_error.is_some()) {
            entry.prove(started);
        }
    }

    /// An entry was shown to be superseded; or the reading is the older of the two.
    pub(super) fn keep_superseded(&self, plan: &Plan, view: &View, entry: &Arc<Entry>) {
        if self.live.load().policy.stale_if_error.is_some()
            && view.started.is_none_or(|started| started > entry.asked().at)
        {
            self.store.supersede(plan.key, entry);
            self.stats.plain.superseded_kept.inc();
        }
    }
}

/// What an answer says of the engine, where this is why it is no hit.
pub(super) fn of_engine(response: &Response<Body>, reason: Option<Reason>) -> Condition {
    if respond::lacks_answer(response) {
        return if could_be_served(reason) { Condition::InTrouble(None) } else { Condition::Works };
    }
    if respond::is_own_failure(response) {
        return Condition::Works;
    }
    match response.status() {
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => {
            Condition::SaysNo(status)
        }
        trouble @ (StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS)
            if could_be_served(reason) =>
        {
            Condition::InTrouble(Some(trouble))
        }
        _ => Condition::Works,
    }
}

/// Whether what is known of the target forbids to cache the answer.
pub(super) fn is_forbidden(reason: Option<Reason>) -> bool {
    let of_target = |reason: Reason| reason.tells_of_the_target() || reason == Reason::Hits;
    reason.is_some_and(of_target) && !could_be_served(reason)
}

/// Whether the reason why this was no hit only says that something could not be known.
pub(super) fn could_be_served(reason: Option<Reason>) -> bool {
    use Reason::{
        GenerationIncomplete, GenerationMoving, GenerationUnknown, ReadingDearer, ReadingsLimit,
        ScopeUnknown, Status,
    };
    reason.is_none_or(|reason| {
        matches!(
            reason,
            GenerationIncomplete
                | GenerationMoving
                | GenerationUnknown
                | ReadingDearer
                | ReadingsLimit
                | ScopeUnknown
                | Status
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ProxyError;

    /// Nothing tells of a multi search why it was no hit.
    #[test]
    fn what_escache_refuses_is_no_trouble_of_the_engine() {
        let refused = respond::too_many_misses();
        assert!(matches!(of_engine(&refused, None), Condition::Works));
        let none = respond::error(&ProxyError::Unreachable("gone".to_owned()));
        assert!(matches!(of_engine(&none, None), Condition::InTrouble(None)));
        let mut by_engine = Response::new(Body::empty());
        *by_engine.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        assert!(matches!(of_engine(&by_engine, None), Condition::InTrouble(Some(_))));
    }
}
