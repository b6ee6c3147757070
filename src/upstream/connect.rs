//! How connections to the engine are made: TCP, and TLS where the address says `https`. The limit of time is one for
//! all of it: looking the name up, connecting, and the handshake.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::ring;
use tokio::net::TcpStream;
use tower_service::Service;

use super::names::Names;
use super::tls::Tls;

/// Makes connections, each within a limit of time.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    inner: HttpsConnector<HttpConnector<Names>>,
    limit: Duration,
}

impl Connector {
    /// Without `tls` no certificate is trusted.
    pub(crate) fn new(limit: Duration, tls: Option<Tls>, names: Names) -> Connector {
        let mut tcp = HttpConnector::new_with_resolver(names);
        tcp.set_connect_timeout(Some(limit));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let (config, name) = tls.map_or_else(|| (nobody(), None), |tls| (tls.config, tls.server_name));
        let mut builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        if let Some(name) = name {
            builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
        }
        Connector { inner: builder.enable_http1().wrap_connector(tcp), limit }
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
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let (connecting, limit) = (self.inner.call(address), self.limit);
        Box::pin(async move {
            tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| {
                let reason = format!("no connection within {limit:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, reason).into())
            })
        })
    }
}
