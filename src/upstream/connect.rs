//! How connections to the engine are made: TCP, and TLS where the address says `https`. The limit of time is one for
//! all of it: looking the name up, connecting, and the handshake. Connections that the other side closes are noted: who
//! answers at that address next may be somebody else.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Extensions, Uri};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::ring;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use super::names::Names;
use super::tls::Tls;
use crate::stats::Stats;

/// Makes connections, each within a limit of time.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    inner: HttpsConnector<HttpConnector<Names>>,
    limit: Duration,
    /// Where it is noted which connections the other side has closed, if anybody wants to know.
    closed: Option<Arc<Closed>>,
}

impl Connector {
    /// Without `tls` no certificate is trusted.
    pub(crate) fn new(
        limit: Duration,
        tls: Option<Tls>,
        names: Names,
        closed: Option<Arc<Closed>>,
    ) -> Connector {
        let mut tcp = HttpConnector::new_with_resolver(names);
        tcp.set_connect_timeout(Some(limit));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let (config, name) = tls.map_or_else(|| (nobody(), None), |tls| (tls.config, tls.server_name));
        let mut builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        if let Some(name) = name {
            builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
        }
        Connector { inner: builder.enable_http1().wrap_connector(tcp), limit, closed }
    }
}

fn nobody() -> ClientConfig {
    ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("ring speaks all versions of TLS that rustls does")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = TokioIo<Noted>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let (connecting, limit) = (self.inner.call(address.clone()), self.limit);
        let closed = self.closed.clone();
        Box::pin(async move {
            let connected = tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| {
                let reason = format!("no connection within {limit:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, reason).into())
            })?;
            let spoken = Spoken::default();
            Ok(TokioIo::new(Noted { inner: TokioIo::new(connected), address, closed, spoken }))
        })
    }
}

/// The addresses of which connections were closed by the other side.
#[derive(Debug)]
pub(crate) struct Closed {
    any: AtomicBool,
    addresses: Mutex<HashSet<Uri>>,
    stats: Arc<Stats>,
}

impl Closed {
    pub(super) fn new(stats: Arc<Stats>) -> Closed {
        Closed { any: AtomicBool::new(false), addresses: Mutex::default(), stats }
    }

    /// Those since this was asked last.
    pub(super) fn take(&self) -> HashSet<Uri> {
        if !self.any.swap(false, Ordering::AcqRel) {
            return HashSet::new();
        }
        std::mem::take(&mut *self.addresses.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, address: &Uri) {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).insert(address.clone());
        self.any.store(true, Ordering::Release);
        self.stats.plain.upstream_closed.inc();
    }
}

/// A connection whose end is noted, if it is not ours.
#[derive(Debug)]
pub(crate) struct Noted {
    inner: TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>,
    /// Scheme and authority.
    address: Uri,
    closed: Option<Arc<Closed>>,
    spoken: Spoken,
}

/// Whether the other side has ever said something on a connection. Where it has, and the connection breaks before the next
/// answer begins, it may have been given up for being idle, just as the request was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Spoken(Arc<AtomicBool>);

impl Spoken {
    /// Whether it has on this one.
    pub(super) fn on(connection: &Connected) -> bool {
        let mut extras = Extensions::new();
        connection.get_extras(&mut extras);
        extras.get::<Spoken>().is_some_and(|spoken| spoken.0.load(Ordering::Acquire))
    }
}

impl Connection for Noted {
    fn connected(&self) -> Connected {
        self.inner.inner().connected().extra(self.spoken.clone())
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        let ended = match &read {
            Poll::Ready(Ok(())) => room > 0 && buf.remaining() == room,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if ended && let Some(closed) = &self.closed {
            closed.note(&self.address);
        }
        if buf.remaining() < room {
            self.spoken.0.store(true, Ordering::Release);
        }
        read
    }
}

impl AsyncWrite for Noted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
