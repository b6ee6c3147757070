//! Searches that the cache does not answer: refused, not judged, or missed by one request alone.

use bytes::Bytes;
use http::request::Parts;
use tokio::time::Instant;

use super::told::Sent;
use super::{Answered, ClientAddress, Proxy, View};
use crate::control::Control;
use crate::error::ProxyError;
use crate::outcome::{CacheStatus, Outcome, Reason, Refusal};
use crate::respond;
use crate::upstream::Body;

/// `limits.max_concurrent_misses` is exceeded.
pub(super) fn too_many(status: &CacheStatus) -> Answered {
    (respond::too_many_misses(), CacheStatus { refusal: Some(Reason::MissesLimit.into()), ..status.clone() })
}

impl Proxy {
    /// A miss that nobody shares: streamed.
    pub(super) async fn miss_alone(
        &self,
        head: &Parts,
        body: Bytes,
        client: ClientAddress,
        view: &View,
        reason: Option<Reason>,
    ) -> Answered {
        self.stats.indices(view.generation.metadata().names()).misses.inc();
        let refusal = reason.map(Refusal::from);
        let status = CacheStatus { refusal, ..CacheStatus::new(Outcome::Miss) };
        self.forward_in_turn(head, body, client, status).await
    }

    /// Forward a request that was judged and refused; its body is at hand. What the refusal tells of the target is not
    /// for those whom the engine turns away, and never where in the metadata it was found.
    pub(super) async fn refuse(
        &self,
        head: &Parts,
        body: Bytes,
        client: ClientAddress,
        control: &Control,
        refusal: Refusal,
    ) -> Answered {
        if control.only_if_cached {
            // the engine has not said whether this client may know anything of the target
            let told = if refusal.reason.tells_of_the_target() { Reason::Status.into() } else { refusal };
            return (respond::error(&ProxyError::OnlyIfCached), CacheStatus::bypass(told));
        }
        let passes = refusal.reason.passes();
        let status = CacheStatus::bypass(refusal);
        let answered = match passes {
            true => self.forward_in_turn(head, body, client, status).await,
            false => self.forward_judged(head, body, client, status).await,
        };
        let (response, mut status) = answered;
        let turned_away = matches!(response.status().as_u16(), 401 | 403 | 404);
        if let Some(refusal) = status.refusal.as_mut().filter(|refusal| refusal.reason.tells_of_the_target())
        {
            refusal.place.clear();
            if turned_away {
                refusal.reason = Reason::Status;
            }
        }
        (response, status)
    }

    /// Forward a search that another moment would have answered from the cache: it takes its turn with those that fill it,
    /// so that neither failing readings nor followers that are let go can flatten the cluster. Whoever comes here holds no
    /// permit: that of a flight is given back before it lands.
    async fn forward_in_turn(
        &self,
        head: &Parts,
        body: Bytes,
        client: ClientAddress,
        status: CacheStatus,
    ) -> Answered {
        // until the answer begins: then the engine has searched
        let Some(_permit) = self.fills.permit().await else { return too_many(&status) };
        self.forward_judged(head, body, client, status).await
    }

    /// Forward a search whose body is at hand, and tell what it cost.
    async fn forward_judged(
        &self,
        head: &Parts,
        body: Bytes,
        client: ClientAddress,
        mut status: CacheStatus,
    ) -> Answered {
        let (sent, began) = (Sent::of(&self.live.load(), head, &body), Instant::now());
        let response = self.forward(head.clone(), Body::whole(body), client).await;
        let took = began.elapsed();
        let lacking = respond::lacks_answer(&response).then(|| Refusal::from(Reason::NoAnswer));
        self.tell(&sent, took, status.outcome, lacking.as_ref().or(status.refusal.as_ref()));
        status.notes.upstream = Some(took);
        (response, status)
    }

    /// Forward a request that was not judged.
    pub(super) async fn bypass(
        &self,
        head: &Parts,
        body: Body,
        client: ClientAddress,
        refusal: Refusal,
    ) -> Answered {
        (self.forward(head.clone(), body, client).await, CacheStatus::bypass(refusal))
    }
}
