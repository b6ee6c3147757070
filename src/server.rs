//! The listeners: accept, within limits; serve; drain with a deadline.

mod allowance;

mod drain;

mod head;

mod limits;

mod patience;

mod streams;

mod tls;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::allowance::Allowance;
use self::drain::{Drain, Guest};
use self::limits::{Connections, Full, Seat};
use self::patience::{Activity, Patient};
use self::streams::{Answering, Streams};
use crate::elastic;
use crate::error::ProxyError;
use crate::proxy::{ClientCertificate, Proxy};
use crate::respond;
use crate::surface::admin::{self, Controls};
use crate::surface::data;
use crate::upstream::{Body, Stream};

pub use self::limits::Limits;
use self::tls::Tls;
pub use self::tls::{ClientAuthentication, TlsSettings};

/// Which of the two listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// For clients of the engine.
    Data,
    /// For operators.
    Admin,
}

/// A listener's own things. Several loops may accept for it: what is counted is counted for all of them.
#[derive(Debug)]
pub struct Listener {
    proxy: Arc<Proxy>,
    role: Role,
    limits: ArcSwap<Limits>,
    tls: ArcSwapOption<Tls>,
    controls: ArcSwap<Controls>,
    connections: Arc<Connections>,
    /// For those who are told that there is no room.
    refusals: Arc<Semaphore>,
}

/// Where requests come from.
#[derive(Clone, Copy, Debug)]
struct From {
    peer: SocketAddr,
    certificate: Option<ClientCertificate>,
    tls: Option<Agreed>,
}

/// What was agreed upon under TLS (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreed {
    Http1,
    Http2,
}

impl From {
    fn of(stream: &TlsStream<TcpStream>, peer: SocketAddr) -> From {
        let (_, tls) = stream.get_ref();
        let shown = tls.peer_certificates().and_then(|chain| chain.first());
        From {
            peer,
            certificate: shown.map(|shown| ClientCertificate(*blake3::hash(shown).as_bytes())),
            tls: Some(if tls.alpn_protocol() == Some(b"h2") { Agreed::Http2 } else { Agreed::Http1 }),
        }
    }
}

/// How many clients at once are told why they are refused; the others are only hung up on.
const MOST_REFUSALS: usize = 64;

/// How many streams of HTTP/2 a client may reset before they were taken up ("rapid reset").
const MOST_PENDING_RESETS: usize = 20;

/// How many resets of HTTP/2 of our own a client may provoke.
const MOST_LOCAL_RESETS: usize = 256;

impl Listener {
    /// A listener that nobody came through yet.
    #[must_use]
    pub fn new(proxy: Arc<Proxy>, role: Role, limits: Limits) -> Arc<Listener> {
        let refusals = Arc::new(Semaphore::new(MOST_REFUSALS));
        let limits = ArcSwap::from_pointee(limits);
        Arc::new(Listener {
            proxy,
            role,
            limits,
            tls: ArcSwapOption::empty(),
            controls: ArcSwap::default(),
            connections: Arc::default(),
            refusals,
        })
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Replaces the limits. Connections keep those that they began with.
    pub fn limit(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// Who may do what at the admin listener from now on.
    pub fn control(&self, controls: Controls) {
        self.controls.store(Arc::new(controls));
    }

    /// Connections that begin from now on speak TLS, or do not.
    ///
    /// # Errors
    /// What is wrong with the files; then it stays as it was.
    pub fn secure(&self, tls: Option<TlsSettings>) -> Result<(), String> {
        let tls = tls.map(Tls::new).transpose()?;
        self.tls.store(tls.map(Arc::new));
        Ok(())
    }

    /// Takes over what is new in the files of TLS. If it cannot be used, what was there before stays in use.
    pub fn renew(&self) {
        let Some(tls) = self.tls.load_full() else { return };
        match tls.renewed() {
            Ok(None) => {}
            Ok(Some(renewed)) => {
                // a reload may have come in between: then its settings stay
                let before = self.tls.compare_and_swap(&Some(Arc::clone(&tls)), Some(Arc::new(renewed)));
                if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &tls)) {
                    self.proxy.stats.plain.certificate_renewals.inc();
                    tracing::info!("the certificate of the listener was renewed");
                }
            }
            Err(error) => {
                self.proxy.stats.plain.certificate_errors.inc();
                tracing::error!(%error, "the certificate cannot be renewed; the one before stays in use");
            }
        }
    }
}

/// Binds an address.
///
/// # Errors
/// It is taken, or not ours.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `stop` says so, then lets running requests end for at most `drain`.
pub async fn serve(
    listener: Arc<Listener>,
    port: TcpListener,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) {
    let guests = Drain::default();
    loop {
        let accepted = tokio::select! {
            accepted = port.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => listener.let_in(stream, peer, guests.guest(), stop.clone()),
            Err(error) => {
                // out of descriptors, most likely: the pause lets some be given back
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(port);
    if tokio::time::timeout(drain, guests.drain()).await.is_err() {
        let role = listener.role;
        tracing::warn!(?role, ?drain, "connections were still busy when the time to drain was over");
    }
}

impl Listener {
    fn let_in(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        guest: Guest,
        stop: watch::Receiver<bool>,
    ) {
        let limits = self.limits.load_full();
        let counters = &self.proxy.stats.plain;
        match self.connections.seat(peer.ip(), &limits) {
            Ok(seat) => {
                counters.connections.inc();
                // an answer is written at once; waiting for more to send with it only costs time
                let _ = stream.set_nodelay(true);
                tokio::spawn(Arc::clone(self).serve_connection(stream, peer, limits, seat, guest, stop));
            }
            Err(full) => {
                match full {
                    Full::Connections => counters.limited_connections.inc(),
                    Full::Address => counters.limited_connections_per_address.inc(),
                }
                // words would mean nothing to who wants to begin with TLS
                if self.tls.load().is_none()
                    && let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned()
                {
                    tokio::spawn(turn_away(stream, full, permit));
                }
            }
        }
    }

    async fn serve_connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        limits: Arc<Limits>,
        seat: Seat,
        guest: Guest,
        mut stop: watch::Receiver<bool>,
    ) {
        match self.tls.load_full() {
            // boxed: who has the one need not have room for the other
            None => {
                let from = From { peer, certificate: None, tls: None };
                Box::pin(self.speak(stream, from, &limits, guest)).await;
            }
            Some(tls) => {
                let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
                // a drain does not wait for who has asked for nothing yet
                let shaken = tokio::select! {
                    shaken = self.shake_hands(acceptor, stream, peer, &limits) => shaken,
                    _ = stop.wait_for(|stop| *stop) => None,
                };
                if let Some(stream) = shaken {
                    let from = From::of(&stream, peer);
                    Box::pin(self.speak(stream, from, &limits, guest)).await;
                }
            }
        }
        drop(seat);
    }

    async fn shake_hands(
        &self,
        acceptor: TlsAcceptor,
        stream: TcpStream,
        peer: SocketAddr,
        limits: &Limits,
    ) -> Option<TlsStream<TcpStream>> {
        let counters = &self.proxy.stats.plain;
        match tokio::time::timeout(limits.header_timeout, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                counters.tls_handshakes.inc();
                return Some(stream);
            }
            Ok(Err(error)) => {
                counters.tls_handshakes_failed.inc();
                tracing::debug!(%error, %peer, "a TLS handshake failed");
            }
            Err(_) => counters.limited_slow_heads.inc(),
        }
        None
    }

    /// Speaks HTTP until the connection ends.
    async fn speak<S>(self: &Arc<Self>, stream: S, from: From, limits: &Arc<Limits>, guest: Guest)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let activity = Arc::new(Activity::default());
        let peer = from.peer;
        let stats = Arc::clone(&self.proxy.stats);
        let stream = Patient::new(stream, Arc::clone(&activity), limits, Arc::clone(&stats));
        // one count for each connection, rather than those of the listener and its limits, which all cores share
        let session = Arc::new((Arc::clone(self), Arc::clone(limits)));
        let service = service_fn(|request: Request<Incoming>| {
            let session = Arc::clone(&session);
            let busy = activity.request(request.version() == Version::HTTP_2);
            async move {
                let (listener, limits) = &*session;
                let (response, allowance) = listener.guarded(request, from, limits).await;
                Ok::<_, Infallible>(response.map(|body| Answering::new(body, allowance, busy)))
            }
        });
        let streams = Streams { write_timeout: limits.write_timeout, stats };
        let builder = protocols(limits, from.tls, streams);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = guest.served(connection, auto::Connection::graceful_shutdown).await {
            self.ended_badly(&*error, peer);
        }
    }

    fn ended_badly(&self, error: &(dyn std::error::Error + 'static), peer: SocketAddr) {
        match error.downcast_ref::<hyper::Error>() {
            Some(error) if error.is_parse_too_large() => self.proxy.stats.plain.limited_headers.inc(),
            Some(error) if error.is_parse() => self.proxy.stats.plain.malformed_requests.inc(),
            _ => {}
        }
        tracing::debug!(%error, %peer, "a connection ended badly");
    }

    /// A panic costs one request, not the connection or the process; and no request takes for ever.
    async fn guarded(
        &self,
        request: Request<Incoming>,
        from: From,
        limits: &Limits,
    ) -> (Response<Body>, Allowance) {
        let proxy = &self.proxy;
        let answer = async {
            let (mut parts, body) = request.into_parts();
            if let Err(refusal) = head::take(&mut parts, limits, from.tls.is_some(), &proxy.stats) {
                return *refusal;
            }
            if let Some(certificate) = from.certificate {
                parts.extensions.insert(certificate);
            }
            let body = Stream::of_client(body, limits.body_timeout, Arc::clone(&proxy.stats));
            match self.role {
                Role::Data => data::answer(proxy, parts, body, Some(from.peer.ip())).await,
                Role::Admin => {
                    let request = Request::from_parts(parts, body);
                    Box::pin(admin::answer(proxy, &self.controls.load_full(), request)).await
                }
            }
        };
        // where it stays: to wrap it in another future would be to move it
        let mut answer = pin!(answer);
        let mut allowance = Allowance::new(limits.request_timeout, Arc::clone(&proxy.stats));
        let answered = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
            Ok(Poll::Ready(response)) => Poll::Ready(Ok(response)),
            Ok(Poll::Pending) => allowance.poll(cx).map(Err),
            Err(_) => {
                proxy.stats.plain.panics.inc();
                tracing::error!("a request ended in a panic; this is a bug of escache");
                Poll::Ready(Err(ProxyError::Internal))
            }
        });
        let response = answered.await.unwrap_or_else(|error| respond::error(&error));
        (response, allowance)
    }
}

/// The protocols of a connection. Times are not hyper's business here, but those of [`Patient`]. Answers are not held
/// back for pipelined requests (`pipeline_flush`): a client may wait for one before it sends the rest of the next, and
/// hyper's own answers to what it cannot read would not go out.
fn protocols(limits: &Limits, tls: Option<Agreed>, streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    let mut http1 = builder.http1();
    http1
        .auto_date_header(false)
        .header_read_timeout(None)
        .timer(TokioTimer::new())
        .max_buf_size(limits.most_of_a_head());
    // setting what is the default would cost an allocation for each request
    if limits.max_header_count != Limits::default().max_header_count {
        http1.max_headers(limits.max_header_count);
    }
    builder
        .http2()
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(u32::try_from(limits.most_of_a_head()).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MOST_PENDING_RESETS)
        .max_local_error_reset_streams(MOST_LOCAL_RESETS);
    match tls {
        Some(Agreed::Http2) => builder.http2_only(),
        None if limits.unencrypted_http2 => builder,
        Some(Agreed::Http1) | None => builder.http1_only(),
    }
}

/// Says that there is no room, and reads a little, so that the answer is not lost with what the client has sent.
async fn turn_away(mut stream: TcpStream, full: Full, permit: OwnedSemaphorePermit) {
    let (code, status, setting) = match full {
        Full::Connections => (503, "503 Service Unavailable", "limits.max_connections"),
        Full::Address => (429, "429 Too Many Requests", "limits.max_connections_per_address"),
    };
    let reason = format!("escache: too many connections ({setting})");
    let answer =
        patience::plain(status, &elastic::error::body(code, "es_rejected_execution_exception", &reason));
    let told = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(64 << 10), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
    drop(permit);
}

/// Tells the world that escache is about to stop.
pub fn announce_drain(proxy: &Proxy) {
    proxy.draining.store(true, Ordering::Release);
}
