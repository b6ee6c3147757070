//! The way of a multi search: taken apart into its searches, each of which is judged, keyed and validated as the
//! `_search` that it is and shares its entry with it. Hits come from the store; what is left is asked in one smaller
//! multi search, and the parts are put together as the engine would have put them.
//!
//! The engines parse all searches of a request before the first one is carried out, and one that does not parse is an
//! error for all. Whatever spoils the whole request is therefore forwarded, and an answer other than 200 goes to the
//! client as it came, whatever was found in the store.

mod items;

mod doors;

mod asking;

mod answer;

use std::sync::Arc;

use http::Response;
use http::request::Parts;
use tokio::time::Instant;

use super::{ClientAddress, Proxy};
use crate::control::Control;
use crate::elastic::api::Route;
use crate::error::ProxyError;
use crate::outcome::{CacheStatus, Outcome, Reason};
use crate::respond;
use crate::upstream::{Body, Stream};

use self::asking::is_signed;
pub use self::asking::{Several, SeveralKey};
pub use self::doors::Door;
use self::items::Hit;
pub(crate) use self::items::Searches;

impl Proxy {
    /// The street of a multi search.
    pub async fn msearch(
        self: &Arc<Self>,
        head: &Parts,
        route: &Route<'_>,
        body: Stream,
        client: ClientAddress,
    ) -> (Response<Body>, CacheStatus) {
        let live = self.live.load_full();
        let body = match self.accept(&live, head, body, client).await {
            Ok(body) => body,
            Err(answered) => return answered,
        };
        let arrival = Instant::now();
        let control = Control::of(&head.headers);
        let items = match self.items(&live, head, route, &body, &control, arrival).await {
            Ok(items) => items,
            Err(refusal) => return self.refuse(head, body, client, &control, refusal).await,
        };
        let mut hits: Vec<Option<Hit>> = items.iter().map(|item| self.item_hit(item)).collect();
        let door = self.door_key(&live, head);
        let doors: Vec<Arc<Door>> =
            [true, false].into_iter().filter_map(|explicit| self.doors.get(&(door, explicit))).collect();
        let knock = self.knock(&items, &hits, &doors);
        if let Some(opener) = knock {
            hits[opener] = None;
        }
        // one entry may be asked for many times over: what is put together in memory is no more than one that is stored
        let found: usize = hits.iter().flatten().map(|hit| hit.entry.body().len()).sum();
        let fits = found <= live.policy.max_entry_size;
        if fits && hits.iter().all(Option::is_some) {
            return self.all_hits(head, &hits, &doors, arrival);
        }
        if control.only_if_cached {
            return (respond::error(&ProxyError::OnlyIfCached), CacheStatus::new(Outcome::Miss));
        }
        if !fits {
            return self.ask_whole(head, body.clone(), client, &items, Some(Reason::EntryTooLarge)).await;
        }
        if is_signed(&head.headers) {
            hits.fill_with(|| None);
        }
        let asking = self.asking(head, &body, &items, &hits, door);
        if self.unshareable.contains(&asking.joined) {
            return self.ask_whole(head, body.clone(), client, &items, Some(Reason::EntryTooLarge)).await;
        }
        let reason = match self.ask(asking, &items, &hits, arrival).await {
            (Some(several), led) => match self.put_together(head, &items, &hits, several, led) {
                Ok(answered) => {
                    self.count_asked(&items, &hits, led);
                    return answered;
                }
                Err(reason) => Some(reason),
            },
            // the flight was lost
            (None, _) => None,
        };
        self.ask_whole(head, body.clone(), client, &items, reason).await
    }
}
