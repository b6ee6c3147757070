//! Brings a request to a host: chooses one, asks it who it is where that is not known, and takes another one where
//! nothing was sent, or where sending twice does no harm.
//!
//! A tag's state and the host that searches. An entry carries the version of the state that the master had applied when
//! its generation was read. The coordinator that executes the search must have applied at least that state *when it
//! executes it*: else the answer may come from older metadata and carry a newer tag, and be served for as long as the
//! tag stands. A node's applied version only rises. So a version read *before* the search is sent, and at least the
//! tag's, proves it; one read afterwards proves nothing, for the node may have caught up after it searched. Therefore
//! the host is asked first (`local=true`, only if it is not known to have got there), the search then goes to that
//! host, and the address that answers must be one of which it was known before. A coordinator that is ahead of the
//! tag does no harm: its answer carries an older tag, which will not match again if anything of the target changed, but
//! for indices that have joined it and left it again (`Entry::met`).
//!
//! Names: a host is all addresses that its name has (`names.rs`). Behind a balancer that hides nodes behind one address this proof cannot be had.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpInfo;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::hosts::{Choice, Failure, Hosts, News, Standing, Told};
use super::{Body, Host, Upstream, Verification};
use crate::cache::shows_a_cache;
use crate::error::ProxyError;
use crate::generation::StateVersion;

/// Which state a host has applied.
const STATE: &str = "/_cluster/state/version?local=true&filter_path=cluster_uuid,version,state_uuid";

/// How long a host may take to say who it is.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// And one that is suspect, where another one can take over.
const SUSPECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a request waits where all hosts are ejected and another request is asking the one whether it is back.
const PROBE_PATIENCE: Duration = Duration::from_millis(100);

/// An answer, and what is known of the host that gave it.
#[derive(Debug)]
pub struct Delivered {
    /// The answer.
    pub response: Response<Incoming>,
    /// Who gave it.
    pub giver: Giver,
}

/// The host that gave an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Giver {
    /// Its number in `upstream.hosts`, from 0.
    pub host: usize,
    /// The address that answered, if it is known.
    pub from: Option<SocketAddr>,
    /// Whether it was known to have applied the tag's state before it was sent the request.
    pub applied: bool,
}

/// What is to be seen of a host from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReport {
    /// Its address, as configured.
    pub host: String,
    /// What it has said about its cluster.
    pub standing: Standing,
    /// Whether it is out because it failed.
    pub ejected: bool,
    /// Whether requests go to it.
    pub used: bool,
    /// Requests that wait for their answers to begin.
    pub outstanding: usize,
}

/// A request that failed without an answer.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: ProxyError,
    /// Whose fault it is; `None` if not the host's.
    pub(super) how: Option<Failure>,
    /// The body of the request, if there was no connection to send it on.
    pub(super) unsent: Option<Body>,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A client's request, which may be sent twice.
    Read,
    /// A client's request, which may not.
    Write,
    /// A question of escache's own, which may be sent twice, and whose answer says little of how clients fare.
    Question,
}

/// Asking a host who it is: one at a time, and who waited for the answer has it.
#[derive(Debug, Default)]
pub(super) struct Question {
    rounds: AtomicU64,
    latest: Mutex<Option<ProxyError>>,
}

impl Upstream {
    /// The cluster whose hosts are used; `None` while no host has told.
    #[must_use]
    pub fn cluster_uuid(&self) -> Option<String> {
        self.state().cluster().map(str::to_owned)
    }

    /// Whether there is one host, and never was another.
    #[must_use]
    pub fn has_one_host(&self) -> bool {
        self.members.load().len() == 1
    }

    /// How each host fares.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostReport> {
        let (state, members, now) = (self.state(), self.members.load(), Instant::now());
        let hosts = members.iter().enumerate().filter(|(index, _)| state.is_there(*index));
        hosts
            .map(|(index, member)| {
                let (standing, ejected, outstanding) = state.report(index, now);
                let used = state.proven(index) && !ejected;
                HostReport { host: member.host.to_string(), standing, ejected, used, outstanding }
            })
            .collect()
    }

    /// The health check: asks who they are all hosts, or with `ailing` those that were left for their failures and
    /// have served their time, those that are suspect, and those that closed a connection, as who is killed does.
    /// Without it, names are looked up and nodes discovered as well.
    pub async fn check_hosts(&self, ailing: bool) {
        self.heed_closed();
        let mut due = self.state().to_check(ailing, Instant::now()).into_iter();
        // the first one in the list that tells is the first one heard
        while self.cluster_uuid().is_none()
            && let Some(index) = due.next()
        {
            let _ = self.listen(index).await;
        }
        futures_util::future::join_all(due.map(|index| self.listen(index))).await;
        if !ailing {
            self.look_at_names().await;
            self.discover().await;
        }
    }

    /// Sends what `make` makes. If it makes another one, the request may be sent twice: then a host whose connection
    /// failed before an answer began is followed by another one. A host that fails before anything is sent always is:
    /// `make` is given back the body of which nothing was sent. Unless it is a write, a host that is found to be silent
    /// meanwhile is followed by another one too; and one that may wait for a silent one itself is sent a read once more.
    /// `only` one host is tried, if it is said which.
    pub(super) async fn deliver(
        &self,
        mut make: impl FnMut(&Host, Option<Body>) -> Option<Result<Request<Body>, ProxyError>>,
        tag: Option<&StateVersion>,
        only: Option<usize>,
        purpose: Purpose,
    ) -> Result<Delivered, ProxyError> {
        let others = |&index: &usize| only.is_some_and(|only| only != index);
        let mut tried: Vec<usize> = (0..self.members.load().len()).filter(others).collect();
        let mut last = ProxyError::Unreachable("no host belongs to the cluster".to_owned());
        let (mut last_resort, mut sent, mut sendings, mut unsent) = (false, false, 0, None);
        self.heed_closed();
        loop {
            let choice = self.state().choose(&tried, Instant::now());
            // of hosts that are ejected one is tried, not all: a client does not wait for each to fail
            let wanted = |choice: &Choice| only.is_none_or(|only| only == choice.index);
            let Some(choice) = choice.filter(|choice| !(choice.ejected && last_resort) && wanted(choice))
            else {
                return Err(last);
            };
            last_resort |= choice.ejected;
            tried.push(choice.index);
            let _seat = Seat::take(self, choice.index);
            let applied = match self.prepare(choice, tag, &tried).await {
                Ok(applied) => applied,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            let member = self.member(choice.index);
            if unsent.is_none() {
                sendings += 1;
            }
            // once more after a failure, and not again; what was not sent does not count
            let made = if sendings <= 2 { make(&member.host, unsent.take()) } else { None };
            let Some(request) = made else { return Err(last) };
            let first = !std::mem::replace(&mut sent, true);
            if !first {
                self.stats.plain.upstream_retries.inc();
            }
            let silences = member.silences.subscribe();
            let exchange = self.send(request?);
            let again = || make(&member.host, None);
            let exchanged = match purpose {
                Purpose::Read if self.has_one_host() => exchange.await,
                Purpose::Read if first => {
                    let exchange = pin!(self.unless_silent(choice.index, exchange, silences, &tried));
                    self.or_again(choice.index, exchange, again).await
                }
                Purpose::Read => self.or_again(choice.index, pin!(exchange), again).await,
                Purpose::Question if first => {
                    self.unless_silent(choice.index, exchange, silences, &tried).await
                }
                Purpose::Question | Purpose::Write => exchange.await,
            };
            match exchanged {
                Ok(response) => {
                    let from = address(&response);
                    let status = (purpose != Purpose::Question).then(|| response.status());
                    self.answered(choice.index, from, status);
                    let giver = Giver { host: choice.index, from, applied: applied.contains(&from) };
                    return Ok(Delivered { response, giver });
                }
                Err(Failed { error, how, unsent: again }) => {
                    match how {
                        // who found it silent has said so
                        Some(Failure::Silent) => {}
                        Some(how) => {
                            self.failed(choice.index, how, &error);
                            // a new connection to the same host may do, where there is no other one
                            if how == Failure::Stale && purpose != Purpose::Write {
                                tried.pop();
                            }
                        }
                        None => {
                            if matches!(error, ProxyError::TimedOut(_)) {
                                self.troubled(choice.index, None);
                            }
                            return Err(error);
                        }
                    }
                    (last, unsent) = (error, again);
                }
            }
        }
    }

    /// Hosts that closed a connection are asked who they are before anything else.
    fn heed_closed(&self) {
        let closed = self.closed.take();
        if closed.is_empty() {
            return;
        }
        let (members, mut state) = (self.members.load(), self.state());
        for (index, member) in members.iter().enumerate() {
            if closed.iter().any(|address| member.host.is_at(address)) {
                state.closed(index);
            }
        }
    }

    fn answered(&self, index: usize, from: Option<SocketAddr>, status: Option<StatusCode>) {
        let well = status.map(|status| !matches!(status.as_u16(), 429 | 502 | 503 | 504));
        let left = self.state().answered(index, from, well, Instant::now());
        if left {
            self.left_for_trouble(index, status);
        }
        if *self.silence.borrow() {
            self.note_silence();
        }
    }

    fn troubled(&self, index: usize, status: Option<StatusCode>) {
        if self.state().troubled(index, Instant::now()) {
            self.left_for_trouble(index, status);
        }
    }

    fn left_for_trouble(&self, index: usize, status: Option<StatusCode>) {
        self.stats.plain.host_ejections.inc();
        let (host, status) = (&self.member(index).host, status.map(|status| status.as_u16()));
        tracing::warn!(%host, status, "this host is in trouble while others are not, and is left for a while");
    }

    /// Asks a host what must be known of it before it is sent a request. Returns the addresses known to have applied
    /// the tag's state. One that does not say so in time is left for another one that was not tried, if there is any.
    async fn prepare(
        &self,
        choice: Choice,
        tag: Option<&StateVersion>,
        tried: &[usize],
    ) -> Result<Vec<Option<SocketAddr>>, ProxyError> {
        let index = choice.index;
        if choice.unproven || choice.ejected {
            match choice.ejected {
                true => self.knock(index).await?,
                false => self.listen(index).await?,
            }
            if !self.state().proven(index) {
                return Err(ProxyError::Unreachable("the host does not show the cluster".to_owned()));
            }
        }
        let Some(tag) = tag else { return Ok(Vec::new()) };
        if !self.state().has_applied(index, tag)
            && let Err(error) = self.listen_to(index, true).await
            && (matches!(error, ProxyError::Unreachable(_)) || self.state().has_other(tried, Instant::now()))
        {
            return Err(error);
        }
        Ok(self.state().applied_by(index, tag))
    }

    /// Asks an ejected host whether it is back. One request at a time does, and waits as long as it takes; the others
    /// have their error at once, however long a host is silent.
    async fn knock(&self, index: usize) -> Result<(), ProxyError> {
        if self.member(index).question.latest.try_lock().is_ok() {
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
        let asked = tokio::time::timeout(CHECK_TIMEOUT, self.ask_host(&member.host, STATE, trusted)).await;
        let (status, headers, body, from) = asked.ok()?.ok()?;
        let is_its_own = from == giver.from && status == StatusCode::OK && !shows_a_cache(&headers);
        StateVersion::read(&body).ok().filter(|_| is_its_own)
    }

    /// Asks a host who it is and which state it has applied. Who comes while it is being asked shares the answer:
    /// what a host has applied only rises, so an earlier answer is never too good.
    pub(super) async fn listen(&self, index: usize) -> Result<(), ProxyError> {
        self.listen_to(index, false).await
    }

    /// The same; one that is `doubted` has as little time for it as one that is suspect.
    pub(super) async fn listen_to(&self, index: usize, doubted: bool) -> Result<(), ProxyError> {
        let member = self.member(index);
        let question = &member.question;
        let before = question.rounds.load(Ordering::Acquire);
        let mut latest = question.latest.lock().await;
        if question.rounds.load(Ordering::Acquire) == before {
            let limit = {
                let (state, now) = (self.state(), Instant::now());
                let hurry = (doubted || state.suspect(index, now)) && state.has_other(&[index], now);
                if hurry { SUSPECT_TIMEOUT } else { CHECK_TIMEOUT }
            };
            let asked = tokio::time::timeout(limit, self.identify(index, &member.host)).await;
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
                    self.failed(index, Failure::Silent, &error);
                    Some(error)
                }
            };
            question.rounds.fetch_add(1, Ordering::AcqRel);
        }
        latest.clone().map_or(Ok(()), Err)
    }

    /// Whether a host may have escache's credentials before it has shown the uuid of the cluster: one of the configuration,
    /// and one whose certificate says that it is who the address names.
    fn trusts(&self, index: usize, host: &Host) -> bool {
        let verified =
            || self.settings.tls.as_ref().is_some_and(|tls| tls.verification == Verification::Full);
        self.state().is_seed(index) || host.is_https() && verified()
    }

    /// Whether who gave an answer is still in the state of a tag: if it had applied that before ([`Giver::applied`]), it has
    /// worked in just this one.
    pub async fn is_still_in(&self, giver: Giver, tag: &StateVersion) -> bool {
        self.applied_by_giver(giver).await.is_some_and(|applied| applied == *tag)
    }

    /// `None` if it answers, but does not tell.
    async fn identify(&self, index: usize, host: &Host) -> Result<Option<Told>, Failed> {
        let trusted = self.trusts(index, host);
        let (status, headers, body, from) = self.ask_host(host, STATE, trusted).await?;
        if status == StatusCode::OK && !shows_a_cache(&headers) {
            let state = StateVersion::read(&body).ok().filter(|state| known(&state.cluster_uuid));
            return Ok(state.map(|StateVersion { cluster_uuid, version, .. }| Told {
                cluster_uuid,
                applied: Some((from, version)),
            }));
        }
        if !matches!(status.as_u16(), 400..=499) {
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

    fn heard(&self, index: usize, told: Option<Told>) {
        let (news, cluster) = {
            let mut state = self.state();
            let was_out = !state.proven(index) || state.report(index, Instant::now()).1;
            let uuid = told.as_ref().map(|told| told.cluster_uuid.clone());
            let news = state
                .heard(index, told, Instant::now())
                .or((was_out && state.proven(index)).then_some(News::Joined));
            (news.map(|news| (news, uuid)), state.cluster().unwrap_or_default().to_owned())
        };
        self.note_silence();
        let Some((news, uuid)) = news else { return };
        let (host, uuid) = (&self.member(index).host, uuid.unwrap_or_default());
        match news {
            News::LeftOut => tracing::error!(
                %host, uuid, cluster,
                "this host belongs to another cluster and is left out; see upstream.hosts"
            ),
            News::Joined => tracing::info!(%host, uuid, "this host is used"),
            News::Swapped => tracing::warn!(%host, cluster, "all hosts show another cluster than before"),
        }
    }

    fn failed(&self, index: usize, how: Failure, error: &ProxyError) {
        if self.state().failed(index, how, Instant::now()) {
            self.stats.plain.host_ejections.inc();
            tracing::warn!(host = %self.member(index).host, %error, "this host fails and is left for a while");
        }
        if how == Failure::Silent {
            self.member(index).silences.send_modify(|silences| *silences += 1);
        }
        self.note_silence();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Hosts> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that a host works on.
struct Seat<'a>(&'a Upstream, usize);

impl Seat<'_> {
    fn take(upstream: &Upstream, index: usize) -> Seat<'_> {
        upstream.state().outstanding(index, 1, Instant::now());
        Seat(upstream, index)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.state().outstanding(self.1, -1, Instant::now());
    }
}

/// A node that has not joined a cluster yet says `_na_`.
fn known(uuid: &str) -> bool {
    !uuid.is_empty() && uuid != "_na_"
}

/// The address that an answer came from.
pub(super) fn address<T>(response: &Response<T>) -> Option<SocketAddr> {
    response.extensions().get::<HttpInfo>().map(HttpInfo::remote_addr)
}

/// An answer to a question of escache's own, and who gave it.
pub(super) type Answer = (StatusCode, HeaderMap, bytes::Bytes, Option<SocketAddr>);
