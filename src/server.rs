//! The listeners: accept, serve, and drain with a deadline.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::error::ProxyError;
use crate::proxy::Proxy;
use crate::respond;
use crate::surface::{admin, data};
use crate::upstream::Body;

/// Which of the two listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// For clients of the engine.
    Data,
    /// For operators.
    Admin,
}

/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Binds an address.
///
/// # Errors
/// It is taken, or not ours.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `stop` says so, then lets running requests end for at most `drain`.
pub async fn serve(
    proxy: Arc<Proxy>,
    listener: TcpListener,
    role: Role,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => connection(&proxy, stream, peer, role, &graceful),
            Err(error) => {
                // out of descriptors, most likely: the pause lets some be given back
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(?role, ?drain, "connections were still busy when the time to drain was over");
    }
}

fn connection(
    proxy: &Arc<Proxy>,
    stream: TcpStream,
    peer: SocketAddr,
    role: Role,
    graceful: &GracefulShutdown,
) {
    // an answer is written at once; waiting for more to send with it only costs time
    let _ = stream.set_nodelay(true);
    let proxy = Arc::clone(proxy);
    let service = service_fn(move |request| {
        let proxy = Arc::clone(&proxy);
        async move { Ok::<_, std::convert::Infallible>(guarded(&proxy, request, peer, role).await) }
    });
    let connection = http1::Builder::new()
        .auto_date_header(false)
        .header_read_timeout(HEAD_TIMEOUT)
        .timer(TokioTimer::new())
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = pin!(connection).await {
            tracing::debug!(%error, %peer, "a connection ended badly");
        }
    });
}

/// A panic costs one request, not the connection or the process.
async fn guarded(
    proxy: &Arc<Proxy>,
    request: Request<Incoming>,
    peer: SocketAddr,
    role: Role,
) -> Response<Body> {
    let answer = async {
        match role {
            Role::Data => data::answer(proxy, request, Some(peer.ip())).await,
            Role::Admin => admin::answer(proxy, request).await,
        }
    };
    match std::panic::AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            proxy.stats.plain.panics.inc();
            tracing::error!("a request ended in a panic; this is a bug of escache");
            respond::error(&ProxyError::Internal)
        }
    }
}

/// Tells the world that escache is about to stop.
pub fn announce_drain(proxy: &Proxy) {
    proxy.draining.store(true, Ordering::Release);
}
