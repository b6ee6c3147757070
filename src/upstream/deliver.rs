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

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpInfo;
use tokio::time::Instant;

use super::exchange::Failed;
use super::health::is_trouble;
use super::hosts::{Choice, Failure};
use super::{Body, Host, Upstream};
use crate::error::ProxyError;
use crate::generation::StateVersion;

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

/// One of the times that something is sent.
struct Sending<'a> {
    /// To which host.
    index: usize,
    purpose: Purpose,
    /// Whether it was not sent before.
    first: bool,
    /// The hosts that were tried, this one included.
    tried: &'a [usize],
}

impl Upstream {
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
        let mut renewed = false;
        self.heed_closed();
        loop {
            let choice = match purpose {
                Purpose::Question => self.state().choose_to_ask(&tried, Instant::now()),
                Purpose::Read | Purpose::Write => self.state().choose(&tried, Instant::now()),
            };
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
            let sending = Sending { index: choice.index, purpose, first, tried: &tried };
            let mut question = Question::put(self, choice.index, purpose);
            match self.exchange(sending, request?, || make(&member.host, None)).await {
                Ok(response) => {
                    question.in_vain = is_trouble(response.status());
                    let from = address(&response);
                    let status = (purpose != Purpose::Question).then(|| response.status());
                    self.answered(choice.index, from, status);
                    let giver = Giver { host: choice.index, from, applied: applied.contains(&from) };
                    return Ok(Delivered { response, giver });
                }
                Err(Failed { error, how: None, .. }) => {
                    if matches!(error, ProxyError::TimedOut(_)) {
                        self.troubled(choice.index, None);
                    }
                    return Err(error);
                }
                Err(Failed { error, how: Some(how), unsent: again }) => {
                    // there are other rules for who fails
                    question.upstream = None;
                    // who found it silent has said so
                    if how != Failure::Silent {
                        self.failed(choice.index, how, &error);
                    }
                    // a new connection to the same host may do, where there is no other one
                    if how == Failure::Stale
                        && purpose != Purpose::Write
                        && !std::mem::replace(&mut renewed, true)
                    {
                        tried.pop();
                    }
                    (last, unsent) = (error, again);
                }
            }
        }
    }

    /// Sends a request to one host, and does what its purpose allows if that host, or another one, is silent.
    async fn exchange(
        &self,
        sending: Sending<'_>,
        request: Request<Body>,
        again: impl FnOnce() -> Option<Result<Request<Body>, ProxyError>>,
    ) -> Result<Response<Incoming>, Failed> {
        let Sending { index, purpose, first, tried } = sending;
        let silences = self.member(index).silences.subscribe();
        let exchange = self.send(request);
        match purpose {
            Purpose::Read if self.has_one_host() => exchange.await,
            Purpose::Read if first => {
                let exchange = pin!(self.unless_silent(index, exchange, silences, tried));
                self.or_again(sending.index, exchange, again).await
            }
            Purpose::Read => self.or_again(sending.index, pin!(exchange), again).await,
            Purpose::Question if first => self.unless_silent(index, exchange, silences, tried).await,
            Purpose::Question | Purpose::Write => exchange.await,
        }
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
        let shown = || match self.state().proven(index) {
            true => Ok(()),
            false => Err(ProxyError::Unreachable("the host does not show the cluster".to_owned())),
        };
        if choice.unproven || choice.ejected {
            match choice.ejected {
                true => self.knock(index).await?,
                false => self.listen(index).await?,
            }
            shown()?;
        }
        let Some(tag) = tag else { return Ok(Vec::new()) };
        if !self.state().has_applied(index, tag) {
            let listened = self.listen_to(index, true).await;
            if let Err(error) = listened
                && (error.is_for_want_of_connection() || self.state().has_other(tried, Instant::now()))
            {
                return Err(error);
            }
            // another cluster may be at its address by now
            shown()?;
        }
        Ok(self.state().applied_by(index, tag))
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

/// A question of escache's own that a host has been asked. Whoever waits for it may give it up, so what came of it is noted
/// when it is dropped.
struct Question<'a> {
    upstream: Option<&'a Upstream>,
    index: usize,
    in_vain: bool,
}

impl Question<'_> {
    fn put(upstream: &Upstream, index: usize, purpose: Purpose) -> Question<'_> {
        let upstream = (purpose == Purpose::Question).then_some(upstream);
        Question { upstream, index, in_vain: true }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if let Some(upstream) = self.upstream {
            upstream.state().asked(self.index, self.in_vain, Instant::now());
        }
    }
}

/// The address that an answer came from.
pub(super) fn address<T>(response: &Response<T>) -> Option<SocketAddr> {
    response.extensions().get::<HttpInfo>().map(HttpInfo::remote_addr)
}
