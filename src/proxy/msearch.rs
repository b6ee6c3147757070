//! The way of a multi search: taken apart into its searches, each of which is judged, keyed and validated as the
//! `_search` that it is and shares its entry with it. Hits come from the store; what is left is asked in one smaller
//! multi search, and the parts are put together as the engine would have put them.
//!
//! The engines parse all searches of a request before the first one is carried out, and one that does not parse is an
//! error for all. Whatever spoils the whole request is therefore forwarded, and an answer other than 200 goes to the
//! client as it came, whatever was found in the store. Of search templates (`_msearch/template`) only those that can be
//! rendered are parsed so early: where the smaller request is refused, the whole one is asked.

mod items;

mod doors;

mod asking;

mod answer;

mod trouble;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use tokio::time::Instant;

use super::accept::accept;
use super::serve::Hit;
use super::{Answered, ClientAddress, Live, Proxy};
use crate::control::{Control, is_signed};
use crate::elastic::api::{Api, Route};
use crate::error::ProxyError;
use crate::key::CacheKey;
use crate::outcome::{CacheStatus, Outcome, Reason, Refusal};
use crate::respond;
use crate::upstream::{Stream, collect};

use self::asking::Request;
pub use self::asking::{Several, SeveralKey};
pub use self::doors::Door;
use self::items::{Item, first_refusal};
pub(crate) use self::items::{Searches, plain};

impl Proxy {
    /// The street of a multi search.
    pub async fn msearch(
        self: &Arc<Self>,
        head: &Parts,
        route: &Route<'_>,
        body: Stream,
        client: ClientAddress,
    ) -> Answered {
        let live = self.live.load_full();
        let body = match accept(collect(body, live.policy.max_key_body, &self.budget).await) {
            Ok(body) => body,
            Err(why) => return self.not_whole(head, client, why).await,
        };
        let arrival = Instant::now();
        let control = Control::of(&head.headers);
        let (plain_head, plain_body) = match self.takes(&live, head, route, &body) {
            Ok(plain) => plain,
            Err(refusal) => return self.refuse(head, body.clone(), client, &control, refusal).await,
        };
        let distribution = self.engine.load().engine.map(|engine| engine.distribution);
        let request = Request {
            live: &live,
            api: (route.api, distribution),
            head,
            body: &body,
            plain_head: &plain_head,
            plain_body: &plain_body,
        };
        let mut items = match self.items(&live, &plain_head, route, &plain_body, &control, arrival).await {
            Ok(items) => items,
            Err(refusal) => return self.refuse(head, body.clone(), client, &control, refusal).await,
        };
        let door = self.door_key(&live, route.api, &plain_head);
        let mut hits: Vec<Option<Hit>> = items.iter().map(|item| self.item_hit(item)).collect();
        let asked = self.answer_items(&live, &request, &items, &mut hits, &control, door, client, arrival);
        let answered = asked.await;
        self.note_items(&live, &plain_head, &mut items, &hits, answered.0.status());
        let answered = self.items_or_stale(&live, &request, &items, &hits, &control, door, answered).await;
        self.shadow_items(&live, &plain_head, items, hits, &answered.1);
        answered
    }

    /// The request without its coding, if it may be taken apart.
    fn takes<'r>(
        &self,
        live: &Live,
        head: &'r Parts,
        route: &Route<'_>,
        body: &'r Bytes,
    ) -> Result<(Cow<'r, Parts>, Cow<'r, Bytes>), Refusal> {
        // how it writes the items is known of those engines that are
        if route.api == Api::MsearchTemplate && self.engine.load().engine.is_none() {
            return Err(Refusal::at(Reason::GenerationUnknown, "engine"));
        }
        self.plain(head, body, live.policy.max_key_body)
    }

    /// Respond from the store, from the engine, or from both.
    #[expect(clippy::too_many_arguments, reason = "the part of the street on which all is known")]
    async fn answer_items(
        self: &Arc<Self>,
        live: &Live,
        request: &Request<'_>,
        items: &[Item<'_>],
        hits: &mut [Option<Hit>],
        control: &Control,
        door: CacheKey,
        client: ClientAddress,
        arrival: Instant,
    ) -> Answered {
        let Request { head, body, .. } = *request;
        if items.iter().all(|item| item.judged.is_err()) {
            let refusal = first_refusal(items).unwrap_or_else(|| Reason::Api.into());
            return self.refuse(head, body.clone(), client, control, refusal).await;
        }
        let doors = self.doors_of(door, items);
        let knock = self.knock(items, hits, &doors);
        if let Some(opener) = knock {
            hits[opener] = None;
        }
        // one entry may be asked for many times over: what is put together in memory is no more than one that is stored
        let found: usize = hits.iter().flatten().map(|hit| hit.entry.body().len()).sum();
        let room = match found <= live.policy.max_entry_size {
            true => self.budget.take_for_reader(found).ok_or(Reason::MemoryLimit),
            false => Err(Reason::EntryTooLarge),
        };
        let no_room = match room {
            Ok(room) if hits.iter().all(Option::is_some) => {
                return self.all_hits(head, hits, &doors, arrival, room);
            }
            Ok(_) => None,
            Err(reason) => Some(reason),
        };
        if control.only_if_cached {
            return (respond::error(&ProxyError::OnlyIfCached), CacheStatus::new(Outcome::Miss));
        }
        if no_room.is_some() {
            hits.fill_with(|| None);
            return self.ask_whole(head, body.clone(), client, items, no_room).await;
        }
        if is_signed(&head.headers) {
            hits.fill_with(|| None);
        }
        let asking = self.asking(request, items, hits, door);
        if self.unshareable.contains(&asking.joined) {
            hits.fill_with(|| None);
            return self.ask_whole(head, body.clone(), client, items, Some(Reason::EntryTooLarge)).await;
        }
        let reason = match self.ask(asking, items, hits, arrival).await {
            (Some(several), led) => match self.put_together(request, items, hits, &doors, several, led) {
                Ok(answered) => {
                    self.count_asked(items, hits, led);
                    return answered;
                }
                Err(reason) => Some(reason),
            },
            // the flight was lost
            (None, _) => None,
        };
        hits.fill_with(|| None);
        self.ask_whole(head, body.clone(), client, items, reason).await
    }
}
