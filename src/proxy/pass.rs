//! What is not cached, and what it does to what is: marks and purges.

use std::sync::Arc;

use http::Response;
use http::request::Parts;
use tokio::time::Instant;

use super::{Answered, ClientAddress, Proxy};
use crate::elastic::api::Effect;
use crate::error::ProxyError;
use crate::outcome::{CacheStatus, Reason};
use crate::respond;
use crate::upstream::{Body, Stream};
use crate::watcher::Watcher;

impl Proxy {
    /// Everything that is not cached. What it may have changed is marked at any end of the exchange, also if the
    /// client hangs up, and before a byte of the answer goes to the client.
    pub async fn pass(&self, head: Parts, effect: Effect, body: Stream, client: ClientAddress) -> Answered {
        let mark = (effect != Effect::None).then(|| MarkAtEnd(&self.watcher));
        let response = self.forward(head, Body::Stream(body), client).await;
        drop(mark);
        (response, CacheStatus::bypass(effect.reason()))
    }

    /// A call that changes answers without a trace (R7). It goes on to its end even if the client hangs up, and then
    /// `purge` is run, unless the engine refused the call: also where nobody knows whether it was carried out.
    pub async fn pass_and_purge<F>(
        self: &Arc<Self>,
        head: Parts,
        body: Stream,
        client: ClientAddress,
        purge: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Answered
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let proxy = Arc::clone(self);
        let exchange = tokio::spawn(async move {
            let (response, status) = proxy.pass(head, Effect::Mark, body, client).await;
            if !response.status().is_client_error() {
                purge(Arc::clone(&proxy)).await;
            }
            if response.status().is_server_error() {
                // the engine may still be at it
                let limit = proxy.upstream.settings().response_timeout;
                tokio::spawn(async move {
                    tokio::time::sleep(limit).await;
                    proxy.purge(None);
                });
            }
            (response, status)
        });
        exchange.await.unwrap_or_else(|_| {
            self.purge(None);
            (respond::error(&ProxyError::Internal), CacheStatus::bypass(Reason::Write))
        })
    }

    /// Passes a request on, and turns an error into an answer.
    pub async fn forward(&self, head: Parts, body: Body, client: ClientAddress) -> Response<Body> {
        match self.upstream.forward(head, body, client).await {
            Ok(answer) => answer.map(|body| Body::Stream(self.upstream.body(body))),
            Err(error) => {
                self.note_unanswered("request", &error);
                respond::error(&error)
            }
        }
    }

    /// Removes the entries of these indices, or all (R7).
    pub fn purge(&self, names: Option<&[Arc<str>]>) -> u64 {
        self.stats.plain.purges.inc();
        if names.is_none() {
            self.codings.clear();
        }
        self.store.purge(names)
    }
}

/// Marks when it is dropped.
struct MarkAtEnd<'a>(&'a Watcher);

impl Drop for MarkAtEnd<'_> {
    fn drop(&mut self) {
        self.0.mark(Instant::now());
    }
}
