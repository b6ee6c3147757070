//! Hosts that accept and say nothing: who waits for them asks whether they are there, and need not wait any longer than
//! that takes; nor need who waits for a host that waits for them.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::time::Instant;

use super::exchange::Failed;
use super::hosts::{Failure, SUSPICION};
use super::{Body, Upstream};
use crate::error::ProxyError;

/// How long a read waits for a host that may wait for a silent one itself, before it is asked once more.
const HELD_UP: Duration = Duration::from_secs(1);

impl Upstream {
    /// The outcome of an exchange, or a failure as soon as its host is found to be silent and another one can be asked.
    pub(super) async fn unless_silent(
        &self,
        index: usize,
        exchange: impl Future<Output = Result<Response<Incoming>, Failed>>,
        mut silences: watch::Receiver<u64>,
        tried: &[usize],
    ) -> Result<Response<Incoming>, Failed> {
        let (mut exchange, mut doubt) = (pin!(exchange), pin!(self.doubt(index, tried)));
        loop {
            tokio::select! {
                biased;
                exchanged = &mut exchange => return exchanged,
                () = &mut doubt => {}
                Ok(()) = silences.changed() => {
                    if self.state().has_other(tried, Instant::now()) {
                        self.stats.plain.upstream_errors.inc();
                        let error = ProxyError::Unreachable("the host is silent".to_owned());
                        return Err(Failed { error, how: Some(Failure::Silent), unsent: None });
                    }
                }
            }
        }
    }

    /// Asks a host who it is whenever it has owed answers for too long. Never completes.
    async fn doubt(&self, index: usize, tried: &[usize]) {
        loop {
            tokio::time::sleep(SUSPICION).await;
            let doubted = {
                let (state, now) = (self.state(), Instant::now());
                state.suspect(index, now) && state.has_other(tried, now)
            };
            if doubted {
                let _ = Box::pin(self.listen(index)).await;
            }
        }
    }

    /// The outcome of an exchange with a host. One that does not answer while another one is silent may wait for that one
    /// itself, for shards that both have. Then it is sent the read once more, since a coordinator gives shards to nodes that do not
    /// owe it answers already; what comes first is taken.
    pub(super) async fn or_again(
        &self,
        index: usize,
        mut exchange: Pin<&mut impl Future<Output = Result<Response<Incoming>, Failed>>>,
        again: impl FnOnce() -> Option<Result<Request<Body>, ProxyError>>,
    ) -> Result<Response<Incoming>, Failed> {
        tokio::select! {
            biased;
            exchanged = exchange.as_mut() => return exchanged,
            () = self.held_up(index) => {}
        }
        let Some(Ok(request)) = again() else { return exchange.await };
        self.stats.plain.upstream_retries.inc();
        // boxed: it is seldom wanted
        let second = Box::pin(self.send(request));
        match select(exchange, second).await {
            Either::Left((Err(Failed { how, .. }), second)) if how != Some(Failure::Silent) => second.await,
            Either::Right((Err(_), exchange)) => exchange.await,
            Either::Left((exchanged, _)) | Either::Right((exchanged, _)) => exchanged,
        }
    }

    /// Completes when a host is silent, and whoever waits for this one has waited for a while.
    async fn held_up(&self, index: usize) {
        tokio::time::sleep(HELD_UP).await;
        tokio::select! {
            biased;
            _ = self.silence() => {}
            () = self.doubt_others(index) => {}
        }
    }

    /// Asks the other hosts who they are, as far as they were not heard of lately: nobody may be waiting for the silent
    /// one itself, and the next health check is far away. Never completes.
    async fn doubt_others(&self, index: usize) {
        loop {
            let doubted = self.state().unheard(index, Instant::now());
            join_all(doubted.into_iter().map(|other| Box::pin(self.listen_to(other, true)))).await;
            tokio::time::sleep(SUSPICION).await;
        }
    }

    /// Completes when a host is silent, and tells since when: what others are asked may have to wait for it.
    pub async fn silence(&self) -> Instant {
        let mut silence = self.silence.subscribe();
        let since = silence.wait_for(Option::is_some).await.ok().and_then(|since| *since);
        debug_assert!(since.is_some(), "the sender is here");
        since.unwrap_or_else(Instant::now)
    }

    /// Tells who waits whether a host is silent.
    pub(super) fn note_silence(&self) {
        self.silence.send_if_modified(|before| {
            let silent = self.state().has_silent();
            let changed = before.is_some() != silent;
            if changed {
                *before = silent.then(Instant::now);
            }
            changed
        });
    }
}
