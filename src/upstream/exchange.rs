//! One exchange with one host: a request is sent, and its answer begins or does not, and whose fault that is.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::Upstream;
use super::body::{Body, BodyError, Outgoing};
use super::connect::{Closed, Connector, Spoken};
use super::hosts::Failure;
use super::settings::UpstreamSettings;
use crate::error::ProxyError;

/// Within this time of the request, a connection that breaks was idle for too long.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A request that failed without an answer.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: ProxyError,
    /// Whose fault it is; `None` if not the host's.
    pub(super) how: Option<Failure>,
    /// The body of the request, if there was no connection to send it on.
    pub(super) unsent: Option<Body>,
}

impl Upstream {
    /// Sends a request. The clock of the answer starts when the request has been sent: a large one may take as long as
    /// its client does, but an engine that stops reading it has no longer than for an answer.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Failed> {
        let (head, body) = request.into_parts();
        let (body, slot) = Outgoing::new(body);
        let limit = self.settings.response_timeout;
        let began = Instant::now();
        let exchange = self.client.load().request(Request::from_parts(head, body));
        let answered = tokio::select! {
            biased;
            answered = exchange => Some(answered),
            () = slot.stalled(limit) => None,
        };
        let failed = match answered {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(error)) => {
                // of a body that was never asked for the host has nothing, and cannot have carried the request out
                let unsent = slot.unsent().filter(|body| error.is_connect() || !body.is_end_stream());
                Failed { error: fault(&error), how: blame(&error, began.elapsed()), unsent }
            }
            None => {
                slot.give_up();
                Failed { error: ProxyError::TimedOut(limit), how: None, unsent: None }
            }
        };
        self.stats.plain.upstream_errors.inc();
        Err(failed)
    }
}

/// A client without connections.
pub(super) fn client(settings: &UpstreamSettings, closed: &Arc<Closed>) -> Client<Connector, Outgoing> {
    let (tls, names) = (settings.tls.clone(), settings.names.clone());
    let connector = Connector::new(settings.connect_timeout, tls, names, Some(Arc::clone(closed)));
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(settings.idle_timeout)
        .pool_max_idle_per_host(settings.max_idle_per_host)
        .pool_timer(TokioTimer::new())
        .set_host(false)
        .build(connector)
}

fn of_hyper(error: &Error) -> Option<&hyper::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// What went wrong: with the client's body, or else with the host.
fn fault(error: &Error) -> ProxyError {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(body) = inner.downcast_ref::<BodyError>() {
            return body.of_request();
        }
        cause = inner.source();
    }
    match of_hyper(error) {
        _ if error.is_connect() => ProxyError::Unreachable(reason(error)),
        Some(cause) if cause.is_parse() => ProxyError::Unreadable(reason(error)),
        _ => ProxyError::Closed(reason(error)),
    }
}

/// Whether the host is to blame, or the client whose body broke off.
fn blame(error: &Error, after: Duration) -> Option<Failure> {
    match of_hyper(error) {
        _ if error.is_connect() => Some(Failure::Connect),
        Some(cause) if cause.is_user() => None,
        // later it is the work on the request that broke it
        _ if after < AT_ONCE && error.connect_info().is_some_and(Spoken::on) => Some(Failure::Stale),
        _ => Some(Failure::Broken),
    }
}

/// The error and what caused it, for the log.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
