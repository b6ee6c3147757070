//! Asking a host who it is: which cluster it belongs to, and which state of that it has applied.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Upstream;
use super::deliver::Giver;
use super::exchange::Failed;
use super::hosts::{Failure, Standing, Told};
use super::settings::Host;
use super::tls::Verification;
use crate::cache::shows_a_cache;
use crate::error::ProxyError;
use crate::generation::StateVersion;

/// The question which state a host has applied.
const STATE: &str = "/_cluster/state/version?local=true&filter_path=cluster_uuid,version,state_uuid";

/// How long a host may take to say who it is.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// And one that is suspect, where another one can take over.
const SUSPECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a request waits where all hosts are ejected and another request is asking the one whether it is back.
const PROBE_PATIENCE: Duration = Duration::from_millis(100);

/// Asking a host who it is: one at a time, and who waited for the answer has it.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    rounds: AtomicU64,
    latest: Mutex<Option<ProxyError>>,
}

/// What a host says when it is asked which state it has applied.
struct Stated {
    status: StatusCode,
    /// `None` if it does not tell, or if a cache told in its place.
    state: Option<StateVersion>,
    from: Option<SocketAddr>,
}

impl Upstream {
    /// Asks a host who it is and which state it has applied. Who comes while it is being asked shares the answer:
    /// what a host has applied only rises, so an earlier answer is never too good.
    pub(super) async fn listen(&self, index: usize) -> Result<(), ProxyError> {
        self.listen_to(index, false).await
    }

    /// The same; one that is `doubted` has as little time for it as one that is suspect.
    pub(super) async fn listen_to(&self, index: usize, doubted: bool) -> Result<(), ProxyError> {
        let member = self.member(index);
        let inquiry = &member.inquiry;
        let before = inquiry.rounds.load(Ordering::Acquire);
        let mut latest = inquiry.latest.lock().await;
        if inquiry.rounds.load(Ordering::Acquire) == before {
            let began = Instant::now();
            let limit = {
                let (state, now) = (self.state(), Instant::now());
                let hurry = (doubted || state.suspect(index, now)) && state.has_other(&[index], now);
                if hurry { SUSPECT_TIMEOUT } else { CHECK_TIMEOUT }
            };
            let asked = tokio::time::timeout(limit, self.identify_anew_if_stale(index, &member.host)).await;
            *latest = match asked {
                Ok(Ok(told)) => {
                    self.heard(index, told);
                    None
                }
                Ok(Err(failed)) => {
                    self.failed(index, failed.how.unwrap_or(Failure::Silent), &failed.error);
                    Some(failed.error)
                }
                Err(_) => {
                    let error = ProxyError::TimedOut(limit);
                    // a doubted host may be busy, and answer others meanwhile
                    if !doubted || !self.state().heard_since(index, began) {
                        self.failed(index, Failure::Silent, &error);
                    }
                    Some(error)
                }
            };
            inquiry.rounds.fetch_add(1, Ordering::AcqRel);
        }
        latest.clone().map_or(Ok(()), Err)
    }

    /// Asks an ejected host whether it is back. One request at a time does, and waits as long as it takes; the others
    /// have their error at once, however long a host is silent.
    pub(super) async fn knock(&self, index: usize) -> Result<(), ProxyError> {
        if self.member(index).inquiry.latest.try_lock().is_ok() {
            return self.listen(index).await;
        }
        let told = tokio::time::timeout(PROBE_PATIENCE, self.listen(index)).await;
        told.unwrap_or_else(|_| {
            Err(ProxyError::Unreachable("all hosts are left for their failures".to_owned()))
        })
    }

    /// Which state the node that gave an answer has applied by now. `None` if it does not tell, or if it was perhaps
    /// another one that did.
    pub async fn applied_by_giver(&self, giver: Giver) -> Option<StateVersion> {
        let member = self.member(giver.host);
        let trusted = self.state().proven(giver.host) || self.trusts(giver.host, &member.host);
        let asked = tokio::time::timeout(CHECK_TIMEOUT, self.ask_state(&member.host, trusted)).await;
        let Stated { state, from, .. } = asked.ok()?.ok()?;
        state.filter(|_| from == giver.from)
    }

    /// Whether who gave an answer is still in the state of a tag: if it had applied that before ([`Giver::applied`]), it has
    /// worked in just this one.
    pub async fn is_still_in(&self, giver: Giver, tag: &StateVersion) -> bool {
        self.applied_by_giver(giver).await.is_some_and(|applied| applied == *tag)
    }

    /// Whether a host may have escache's credentials before it has shown the uuid of the cluster: one of the configuration,
    /// and one whose certificate says that it is who the address names.
    fn trusts(&self, index: usize, host: &Host) -> bool {
        let verified =
            || self.settings.tls.as_ref().is_some_and(|tls| tls.verification == Verification::Full);
        self.state().is_seed(index) || host.is_https() && verified()
    }

    /// Asks who it is; once more, on a new connection, if that broke on one that had been idle. What was known of the host is
    /// dropped in between: who answers on a new connection may be another one, and must not get credentials that the one
    /// before had earned.
    async fn identify_anew_if_stale(&self, index: usize, host: &Host) -> Result<Option<Told>, Failed> {
        match self.identify(index, host).await {
            Err(Failed { how: Some(Failure::Stale), error, .. }) => {
                self.stats.plain.upstream_retries.inc();
                self.failed(index, Failure::Stale, &error);
                self.identify(index, host).await
            }
            found => found,
        }
    }

    /// `None` if it answers, but does not tell.
    async fn identify(&self, index: usize, host: &Host) -> Result<Option<Told>, Failed> {
        let trusted = self.trusts(index, host);
        let Stated { status, state, from } = self.ask_state(host, trusted).await?;
        if let Some(StateVersion { cluster_uuid, version, .. }) = state {
            return Ok(known(&cluster_uuid).then_some(Told { cluster_uuid, applied: Some((from, version)) }));
        }
        if !status.is_client_error() {
            return Ok(None);
        }
        // who may not see the state may be told by the greeting
        let (_, _, body, _) = self.ask_host(host, "/", trusted).await?;
        let greeting: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let uuid = greeting["cluster_uuid"].as_str().filter(|uuid| known(uuid));
        if uuid.is_none() && !trusted && self.state().report(index, Instant::now()).0 == Standing::Unknown {
            tracing::warn!(
                %host,
                "this node tells nobody without credentials which cluster it belongs to, and is sent none without TLS and \
                 upstream.ssl.verification_mode: full; it is not used"
            );
        }
        Ok(uuid.map(|uuid| Told { cluster_uuid: uuid.to_owned(), applied: None }))
    }

    /// Asks a host which state it has applied.
    async fn ask_state(&self, host: &Host, trusted: bool) -> Result<Stated, Failed> {
        let (status, headers, body, from) = self.ask_host(host, STATE, trusted).await?;
        let its_own = status == StatusCode::OK && !shows_a_cache(&headers);
        let state = StateVersion::read(&body).ok().filter(|_| its_own);
        Ok(Stated { status, state, from })
    }
}

/// Whether it is a cluster's. A node that has not joined a cluster yet says `_na_`.
fn known(uuid: &str) -> bool {
    !uuid.is_empty() && uuid != "_na_"
}
