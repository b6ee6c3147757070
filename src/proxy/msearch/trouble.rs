//! What stands behind the street of a multi search: answers from the store when the engine is in trouble
//! (`stale_if_error`), and hits that are compared with the engine (`shadow.sample`).
//!
//! An old answer is put together only where there is one for each of the searches, and where the engine is known to have
//! taken a multi search from the same sender with the same permissions. It stands in the place of a whole answer that did
//! not come, or said that the engine cannot; what the engine says of a single search in an answer of status 200 is
//! passed on.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::answer::from_store;
use super::asking::Request;
use super::doors::Door;
use super::items::{Item, Judged, are_ambient, head_of_items};
use crate::cache::Audience;
use crate::control::Control;
use crate::elastic::msearch::Form;
use crate::key::CacheKey;
use crate::outcome::{CacheStatus, Items, Outcome};
use crate::proxy::serve::Hit;
use crate::proxy::stale::{Condition, could_be_served, is_forbidden, of_engine};
use crate::proxy::{Answered, Live, Proxy};

impl Proxy {
    /// The answer as it is; or one from the store in its place, if the engine is in trouble and the operator wants that.
    #[expect(clippy::too_many_arguments, reason = "all that was found on the street")]
    pub(super) async fn items_or_stale(
        &self,
        live: &Live,
        request: &Request<'_>,
        items: &[Item<'_>],
        hits: &[Option<Hit>],
        control: &Control,
        door: CacheKey,
        answered: Answered,
    ) -> Answered {
        let Some(configured) = live.policy.stale_if_error else { return answered };
        let headers = &request.plain_head.headers;
        // found in a good reading: when the engine is in trouble, nothing else will tell
        for item in items.iter().filter(|item| is_forbidden(item.refused)) {
            if let Some(key) = item.key() {
                self.store.remove(&key);
            }
        }
        let forward_status = match of_engine(&answered.0, None) {
            Condition::Works => return answered,
            Condition::SaysNo(status) => {
                [true, false].iter().for_each(|explicit| self.doors.remove(&(door, *explicit)));
                items.iter().filter_map(Item::key).for_each(|key| self.says_no(&key, headers, status));
                return answered;
            }
            Condition::InTrouble(status) => status,
        };
        let Some(bound) = control.stale_if_error(configured) else { return answered };
        let Some(door) = self.last_door(live, items, headers, door) else { return answered };
        let Some(found) = self.old_items(live, request.plain_head, items, bound, door.form).await else {
            return answered;
        };
        let all: Vec<&Hit> = found.iter().collect();
        let bytes: usize = all.iter().map(|hit| hit.entry.body().len()).sum();
        if bytes > live.policy.max_entry_size {
            return answered;
        }
        let Some(room) = self.budget.take_for_reader(bytes) else { return answered };
        let (response, _) = from_store(request.head, &all, Some(&door), Duration::ZERO, room);
        let items = Items { hits: hits.iter().flatten().count(), all: all.len() };
        let status = CacheStatus {
            unwatched: self.unwatched(),
            forward_status: forward_status.map(|status| status.as_u16()),
            items: Some(items),
            ..CacheStatus::new(Outcome::Stale)
        };
        (response, status)
    }

    /// An entry for each of the searches that may be served though the engine cannot be asked.
    async fn old_items(
        &self,
        live: &Live,
        head: &Parts,
        items: &[Item<'_>],
        bound: Duration,
        form: Form,
    ) -> Option<Vec<Hit>> {
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            let one = item.asked.as_ref().filter(|_| could_be_served(item.refused))?;
            let (entry, age) = self.stale(live, head, &one.plan, bound).await?;
            let hit = Hit { entry, age, ttl: None };
            if hit.piece(form).is_none() || !are_ambient(&hit.entry.head().to_map()) {
                return None;
            }
            found.push(hit);
        }
        Some(found)
    }

    /// A door that was open when the engine could last be asked.
    fn last_door(
        &self,
        live: &Live,
        items: &[Item<'_>],
        headers: &HeaderMap,
        door: CacheKey,
    ) -> Option<Arc<Door>> {
        let anonymous = items.first()?.asked.as_ref()?.plan.anonymous;
        let audience = self.last_audience(live, anonymous, headers);
        let explicit = items.iter().any(|item| item.explicit);
        let epoch = self.store.epoch();
        let open = |door: &Arc<Door>| {
            (door.explicit || !explicit)
                && door.epoch == epoch
                && door.audience == audience
                && audience != Audience::Unproven
        };
        [true, false].into_iter().filter_map(|explicit| self.doors.get(&(door, explicit))).find(open)
    }

    /// Remembers those of the searches that were answered, if those that are asked most are looked after: as hits, or by
    /// what was stored just now or is to be asked again.
    pub(super) fn note_items(
        &self,
        live: &Live,
        head: &Parts,
        items: &mut [Item<'_>],
        hits: &[Option<Hit>],
        status: StatusCode,
    ) {
        if live.policy.refresh_ahead.is_none() || !status.is_success() {
            return;
        }
        let mut head = head_of_items(head);
        for (item, hit) in items.iter_mut().zip(hits) {
            let Some(one) = &mut item.asked else { continue };
            if hit.is_some() || self.store.get(&one.plan.key).is_some() {
                head.uri = one.uri.clone();
                self.note_asked(live, &head, one.candidate.take(), status);
            }
        }
    }

    /// Compares those of the hits with the engine that are sampled, each as the search that it is.
    pub(super) fn shadow_items(
        self: &Arc<Self>,
        live: &Live,
        head: &Parts,
        items: Vec<Item<'_>>,
        hits: Vec<Option<Hit>>,
        answered: &CacheStatus,
    ) {
        let served = matches!(answered.outcome, Outcome::Hit | Outcome::Miss)
            && answered.items.is_some_and(|items| items.hits > 0);
        if live.policy.shadow_sample.get() == 0.0 || !served {
            return;
        }
        let mut head = head_of_items(head);
        for (item, hit) in items.into_iter().zip(hits) {
            if let (Some(hit), Some(one), Ok(Judged { plan, view })) = (hit, item.asked, item.judged) {
                head.uri = one.uri;
                self.shadow(&head, one.body, plan, view, &hit.entry);
            }
        }
    }
}
