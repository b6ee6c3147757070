//! The way to the engine: a pooled client over TCP or TLS, its hosts and timeouts, and the headers of a request that is passed on.

mod body;

mod contact;

mod headers;

mod hosts;

mod silence;

mod repeat;

mod deliver;

mod discovery;

mod names;

mod tls;

mod connect;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::watch;
use tokio::time::Instant;

use self::body::Outgoing;
pub use self::body::{Body, BodyError, Collected, Stream, collect};
pub(crate) use self::connect::Connector;
use self::connect::{Closed, Spoken};
pub use self::contact::Contact;
use self::deliver::{Answer, Failed, Purpose, Question, address};
pub use self::deliver::{Delivered, Giver, HostReport};
pub use self::headers::{strip_hop_by_hop, tell_of_client};
pub use self::hosts::Standing;
use self::hosts::{Failure, Hosts};
pub use self::names::Names;
use self::repeat::may_repeat;
pub use self::tls::{Tls, TlsSettings, Verification};
use crate::error::ProxyError;
use crate::generation::StateVersion;
use crate::spans::ClientSpan;
use crate::stats::Stats;

/// Where the engine is and how it is asked.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Base addresses such as `http://localhost:9200`, all of one cluster. Each name is all of its addresses.
    pub hosts: Vec<Host>,
    /// The credentials of escache itself, for readings and start-up questions. Never used for a client's request.
    pub credentials: Option<Credentials>,
    /// How `https` hosts are spoken to; without it none of them is trusted.
    pub tls: Option<Tls>,
    /// Time to connect: looking the name up, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Time from the end of a request to the head of its answer.
    pub response_timeout: Duration,
    /// Idle connections kept per host.
    pub max_idle_per_host: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// How often the cluster is asked for its nodes (`upstream.discovery`), besides the hosts; never, if `None`.
    pub discovery: Option<Duration>,
    /// How names are looked up.
    pub names: Names,
}

/// One address of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    scheme: Scheme,
    authority: Authority,
    host_header: HeaderValue,
    prefix: String,
}

impl Host {
    /// Reads `http://host:port[/prefix]`, or the same with `https`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Host, String> {
        let uri: Uri = text.parse().map_err(|e| format!("[{text}] is not a URL: {e}"))?;
        let scheme = match uri.scheme() {
            Some(scheme) if [Scheme::HTTP, Scheme::HTTPS].contains(scheme) => scheme.clone(),
            Some(other) => {
                return Err(format!("[{text}]: the scheme {other} is not supported, only http and https"));
            }
            None => return Err(format!("[{text}] must begin with http:// or https://")),
        };
        let authority = uri.authority().cloned().ok_or_else(|| format!("[{text}] names no host"))?;
        if authority.as_str().contains('@') {
            return Err("credentials do not belong into a URL; use upstream.credentials".to_owned());
        }
        if uri.query().is_some() {
            return Err(format!("[{text}] must not have a query string"));
        }
        let host_header = HeaderValue::try_from(authority.as_str()).map_err(|e| e.to_string())?;
        Ok(Host { scheme, authority, host_header, prefix: uri.path().trim_end_matches('/').to_owned() })
    }

    /// The address of what is at this path of it.
    fn uri(&self, path: PathAndQuery) -> Result<Uri, ProxyError> {
        let path = match &*self.prefix {
            "" => path,
            prefix => format!("{prefix}{path}").try_into().map_err(|_| ProxyError::Internal)?,
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).map_err(|_| ProxyError::Internal)
    }

    /// Whether connections to this scheme and authority lead there.
    fn is_at(&self, address: &Uri) -> bool {
        address.scheme() == Some(&self.scheme) && address.authority() == Some(&self.authority)
    }

    /// Whether it is spoken to by TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Whether its requests have a path before their own.
    #[must_use]
    pub fn has_path(&self) -> bool {
        !self.prefix.is_empty()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

/// The value of an `Authorization` header. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(HeaderValue);

impl Credentials {
    /// Credentials from the text of an `Authorization` header.
    ///
    /// # Errors
    /// The text has characters that a header cannot hold.
    pub fn new(authorization: &str) -> Result<Credentials, String> {
        let mut value = HeaderValue::try_from(authorization)
            .map_err(|_| "credentials that no header can hold".to_owned())?;
        value.set_sensitive(true);
        Ok(Credentials(value))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The engine, as seen from here.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    /// Replaced when its connections may lead to addresses that names no longer have.
    client: ArcSwap<Client<Connector, Outgoing>>,
    state: Mutex<Hosts>,
    /// In the order of `state`. The place of one that was found is given to another one only when it is forgotten, so that
    /// an index stays what it is while anybody works with it.
    members: ArcSwap<Vec<Arc<Member>>>,
    /// When the cluster was last asked for its nodes.
    discovered: Mutex<Option<Instant>>,
    /// Whether a host is silent.
    silence: watch::Sender<bool>,
    closed: Arc<Closed>,
    stats: Arc<Stats>,
}

/// A host, and what goes with it.
#[derive(Debug)]
struct Member {
    host: Host,
    question: Question,
    /// Moves when the host was found to be silent.
    silences: watch::Sender<u64>,
}

impl Member {
    fn new(host: Host) -> Arc<Member> {
        Arc::new(Member { host, question: Question::default(), silences: watch::Sender::new(0) })
    }
}

/// The largest answer to a question of escache's own.
const MAX_OWN_ANSWER: usize = 256 << 20;

impl Upstream {
    /// A client for these hosts; connects when it is first asked.
    #[must_use]
    pub fn new(settings: UpstreamSettings, stats: Arc<Stats>) -> Upstream {
        if settings.tls.as_ref().is_some_and(|tls| tls.verification == Verification::None) {
            tracing::error!(
                "upstream.ssl.verification_mode is none: NO CERTIFICATE OF THE ENGINE IS CHECKED, anybody on the way \
                 can read and change everything; for tests only"
            );
        }
        let closed = Arc::new(Closed::new(Arc::clone(&stats)));
        let client = ArcSwap::from_pointee(client(&settings, &closed));
        let state = Mutex::new(Hosts::new(settings.hosts.len()));
        let members: Vec<_> = settings.hosts.iter().cloned().map(Member::new).collect();
        let members = ArcSwap::from_pointee(members);
        let (discovered, silence) = (Mutex::default(), watch::Sender::new(false));
        Upstream { settings, client, state, members, discovered, silence, closed, stats }
    }

    fn member(&self, index: usize) -> Arc<Member> {
        Arc::clone(&self.members.load()[index])
    }

    /// Names are looked up again; if one has lost an address, connections are made anew.
    async fn look_at_names(&self) {
        let members = self.members.load_full();
        let names = members.iter().map(|member| member.host.authority.host());
        let moved = names.map(|name| self.settings.names.has_moved(name));
        if futures_util::future::join_all(moved).await.contains(&true) {
            tracing::info!("a host's name has lost an address: connections are made anew");
            // what is under way ends where it is
            self.client.store(Arc::new(client(&self.settings, &self.closed)));
        }
    }

    /// How it was set up.
    #[must_use]
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// Passes a client's request on, its path and query byte for byte, and gives the answer as it comes. Dropping the
    /// future, or the answer's body, aborts the exchange. A read whose body is at hand is sent to another host if the
    /// connection failed before an answer began, and to the same one if there is no other and the connection was not new;
    /// a write never is, unless there was no connection at all.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn forward(
        &self,
        head: http::request::Parts,
        body: Body,
        client: Option<IpAddr>,
    ) -> Result<Response<Incoming>, ProxyError> {
        self.pass(head, body, client, None, None).await.map(|delivered| delivered.response)
    }

    /// Like [`Upstream::forward`], for a search whose answer shall carry a tag: the host is first asked whether it has
    /// applied the tag's state, if that is not known. Without a tag nothing is asked.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn fill(
        &self,
        head: http::request::Parts,
        body: Bytes,
        client: Option<IpAddr>,
        tag: Option<&StateVersion>,
    ) -> Result<Delivered, ProxyError> {
        self.pass(head, Body::whole(body), client, tag, None).await
    }

    async fn pass(
        &self,
        mut head: http::request::Parts,
        body: Body,
        client: Option<IpAddr>,
        tag: Option<&StateVersion>,
        only: Option<usize>,
    ) -> Result<Delivered, ProxyError> {
        let again =
            if may_repeat(&head.method, head.uri.path(), head.uri.query()) { body.again() } else { None };
        let purpose = if again.is_some() { Purpose::Read } else { Purpose::Write };
        // once for a host that fails, once for one that is held up
        let more = again.as_ref().and_then(Body::again);
        let mut bodies = [Some(body), again, more].into_iter().flatten();
        self.stats.plain.upstream_requests.inc();
        let span = ClientSpan::begin(&mut head);
        let request = |host: &Host, unsent: Option<Body>| {
            let body = unsent.or_else(|| bodies.next())?;
            Some(outgoing(head.clone(), body, host, client))
        };
        let delivered = self.deliver(request, tag, only, purpose).await;
        if let Some(span) = span {
            span.end(delivered.as_ref().map(|delivered| {
                let member = self.member(delivered.giver.host);
                let at = &member.host.authority;
                (delivered.response.status(), at.host().to_owned(), at.port_u16())
            }));
        }
        let mut delivered = delivered?;
        // nobody asked to switch: `Upgrade` is not passed on
        if delivered.response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ProxyError::BrokenAnswer("it switched protocols unasked".to_owned()));
        }
        let headers = delivered.response.headers_mut();
        // the body was read by its chunks; a length beside them would desynchronise our client (RFC 9112 6.3)
        if headers.contains_key(TRANSFER_ENCODING) {
            headers.remove(CONTENT_LENGTH);
        }
        strip_hop_by_hop(headers);
        Ok(delivered)
    }

    /// Asks the engine a question of escache's own, with escache's own credentials.
    ///
    /// # Errors
    /// There is no answer, or it broke off.
    pub async fn ask(&self, path_and_query: &str) -> Result<(StatusCode, HeaderMap, Bytes), ProxyError> {
        let mut sendings = 0..2;
        let request = |host: &Host, unsent: Option<Body>| {
            unsent.map(drop).or_else(|| sendings.next().map(drop))?;
            Some(self.question(host, path_and_query, true))
        };
        let delivered = self.deliver(request, None, None, Purpose::Question).await?;
        let (status, headers, body, _) = self.whole(delivered.response).await?;
        Ok((status, headers, body))
    }

    /// Asks this host, whatever is known of it, with escache's credentials if they are `trusted` to it.
    async fn ask_host(&self, host: &Host, path_and_query: &str, trusted: bool) -> Result<Answer, Failed> {
        let no_fault = |error| Failed { error, how: None, unsent: None };
        let request = self.question(host, path_and_query, trusted).map_err(no_fault)?;
        self.whole(self.send(request).await?).await.map_err(|error| Failed {
            error,
            how: Some(Failure::Broken),
            unsent: None,
        })
    }

    fn question(
        &self,
        host: &Host,
        path_and_query: &str,
        trusted: bool,
    ) -> Result<Request<Body>, ProxyError> {
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(host.uri(PathAndQuery::try_from(path_and_query).map_err(|_| ProxyError::Internal)?)?)
            .header(HOST, host.host_header.clone())
            // R6: a cache underneath must not answer for the engine
            .header(CACHE_CONTROL, "no-cache, no-store");
        if let Some(Credentials(authorization)) = self.settings.credentials.as_ref().filter(|_| trusted) {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request.body(Body::empty()).map_err(|_| ProxyError::Internal)
    }

    /// Asks the engine a question about a client, with these of the client's own headers and never with escache's
    /// credentials. They are treated as those of a request that is passed on. `only` this host is asked, if it is said
    /// which.
    ///
    /// # Errors
    /// There is no answer, or it broke off.
    pub async fn ask_as(
        &self,
        path_and_query: &str,
        client_headers: &HeaderMap,
        only: Option<usize>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), ProxyError> {
        let mut headers = client_headers.clone();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
        let (mut head, ()) = Request::new(()).into_parts();
        head.uri = path_and_query.parse().map_err(|_| ProxyError::Internal)?;
        head.headers = headers;
        let delivered = self.pass(head, Body::empty(), None, None, only).await?;
        let (status, headers, body, _) = self.whole(delivered.response).await?;
        Ok((status, headers, body))
    }

    /// The body of an answer, of which each part has `upstream.response_timeout` to come.
    #[must_use]
    pub fn body(&self, incoming: Incoming) -> Stream {
        Stream::of_engine(incoming, self.settings.response_timeout, Arc::clone(&self.stats))
    }

    /// Reads an answer to a question of escache's own.
    async fn whole(&self, response: Response<Incoming>) -> Result<Answer, ProxyError> {
        let from = address(&response);
        let (head, body) = response.into_parts();
        match collect(self.body(body), MAX_OWN_ANSWER).await {
            Ok(Collected::Whole(bytes)) => Ok((head.status, head.headers, bytes, from)),
            Ok(Collected::TooLong(_)) => Err(ProxyError::BrokenAnswer("too long".to_owned())),
            Err(error) => Err(error.of_answer()),
        }
    }

    /// Sends a request. The clock of the answer starts when the request has been sent: a large one may take as long as
    /// its client does, but an engine that stops reading it has no longer than for an answer.
    async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Failed> {
        let (head, body) = request.into_parts();
        let (body, slot) = Outgoing::new(body);
        let limit = self.settings.response_timeout;
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
                Failed { error: fault(&error), how: blame(&error), unsent }
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
fn client(settings: &UpstreamSettings, closed: &Arc<Closed>) -> Client<Connector, Outgoing> {
    let (tls, names) = (settings.tls.clone(), settings.names.clone());
    let connector = Connector::new(settings.connect_timeout, tls, names, Some(Arc::clone(closed)));
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(settings.idle_timeout)
        .pool_max_idle_per_host(settings.max_idle_per_host)
        .pool_timer(TokioTimer::new())
        .set_host(false)
        .build(connector)
}

/// What went wrong: with the client's body, or else with the host.
fn fault(error: &hyper_util::client::legacy::Error) -> ProxyError {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(body) = inner.downcast_ref::<BodyError>() {
            return body.of_request();
        }
        cause = inner.source();
    }
    ProxyError::Unreachable(reason(error))
}

/// Whether the host is to blame, or the client whose body broke off.
fn blame(error: &hyper_util::client::legacy::Error) -> Option<Failure> {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<hyper::Error>());
    match cause {
        _ if error.is_connect() => Some(Failure::Connect),
        Some(cause) if cause.is_user() => None,
        _ if error.connect_info().is_some_and(Spoken::on) => Some(Failure::Stale),
        _ => Some(Failure::Broken),
    }
}

/// A client's request as it goes to this host.
fn outgoing(
    mut head: http::request::Parts,
    body: Body,
    host: &Host,
    client: Option<IpAddr>,
) -> Result<Request<Body>, ProxyError> {
    // hyper frames bodies of unknown length by itself, but not for methods that seldom have one; HTTP/2 names no coding
    let chunked = body.size_hint().exact().is_none();
    headers::forward(&mut head.headers, &host.host_header, client, head.version);
    if chunked {
        head.headers.remove(CONTENT_LENGTH);
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    } else if let Some(length) = body.size_hint().exact()
        && (length > 0 || head.headers.contains_key(CONTENT_LENGTH))
    {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    head.uri = host.uri(path)?;
    head.version = Version::HTTP_11;
    Ok(Request::from_parts(head, body))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_strictly() {
        assert_eq!(Host::parse("http://localhost:9200/").unwrap().to_string(), "http://localhost:9200");
        assert_eq!(Host::parse("http://[::1]:9200/es").unwrap().to_string(), "http://[::1]:9200/es");
        assert_eq!(Host::parse("https://es.example:9243").unwrap().to_string(), "https://es.example:9243");
        for bad in ["localhost:9200", "wss://x", "http://u:p@x", "http://x?y", "ftp://x", ""] {
            assert!(Host::parse(bad).is_err(), "{bad}");
        }
        assert!(!Host::parse("http://u:secret@x").unwrap_err().contains("secret"));
    }

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(format!("{:?}", Credentials::new("Basic c2VjcmV0").unwrap()), "[redacted]");
    }
}
