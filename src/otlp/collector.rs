//! The way to the collector: the client and the TLS that escache has for the engine.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::time::timeout;

use crate::upstream::{Connector, Names, Tls};

/// The longest time of one attempt to send spans; connecting included.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The longest answer of a collector.
const MAX_ANSWER: usize = 4 << 20;

/// The way to the collector.
pub(super) struct Collector(Client<Connector, Full<Bytes>>);

impl Collector {
    pub(super) fn new(tls: Option<Tls>) -> Collector {
        let connector = Connector::new(ATTEMPT, tls, Names::default(), None);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_timer(TokioTimer::new())
            .build(connector);
        Collector(client)
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

type Answering<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Collector {
    // as `async_trait` writes it
    fn send_bytes<'life0, 'async_trait>(&'life0 self, request: Request<Bytes>) -> Answering<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let exchange = async {
                let (head, body) = self.0.request(request.map(Full::new)).await?.into_parts();
                let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
                Ok::<_, HttpError>(Response::from_parts(head, body))
            };
            timeout(ATTEMPT, exchange).await?
        })
    }
}
