//! A small HTTP client: one pool for all tests of a process would tie them to one runtime, so each test makes its own.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client with its own pool of connections.
#[derive(Clone)]
pub(crate) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    base: String,
    header: Option<(String, String)>,
    limit: Option<Duration>,
}

/// A response that was read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Response {
    /// The body as JSON, or a failed test that shows it.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Client {
    /// A client without connections.
    pub(crate) fn new() -> Self {
        Self::at("")
    }

    /// A client whose URLs may be paths at this address.
    pub(crate) fn at(base: &str) -> Self {
        let pool = Pool::builder(TokioExecutor::new()).build_http();
        Self { pool, base: base.to_owned(), header: None, limit: None }
    }

    /// What paths are looked for at.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Sends this header with every request.
    pub(crate) fn with_header(self, name: &str, value: &str) -> Self {
        Self { header: Some((name.to_owned(), value.to_owned())), ..self }
    }

    /// Takes a response that is not whole after so long for lost: an [`Elapsed`](tokio::time::error::Elapsed).
    pub(crate) fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Sends a request and reads the whole response, or fails the test.
    pub(crate) async fn request(
        &self,
        method: &str,
        url: impl AsRef<str>,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response {
        let url = url.as_ref();
        self.try_request(method, url, headers, body)
            .await
            .unwrap_or_else(|error| panic!("{method} {url}: {error}"))
    }

    /// The same, where failing is a possible outcome. A body that is cut off is an error too.
    pub(crate) async fn try_request(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
        let whole = async {
            let (parts, body) = self.start(method, url, headers, body).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Response { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        match self.limit {
            Some(limit) => tokio::time::timeout(limit, whole).await?,
            None => whole.await,
        }
    }

    /// Sends a request and returns as soon as the head of the response is there. Dropped, it hangs up.
    pub(crate) async fn start(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<hyper::Response<Incoming>, Error> {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        let url = if url.starts_with('/') { format!("{}{url}", self.base) } else { url.to_owned() };
        *request.uri_mut() = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
        let own = self.header.as_ref().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in headers.iter().copied().chain(own) {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        }
        self.pool.request(request).await
    }

    /// GET without headers.
    pub(crate) async fn get(&self, url: impl AsRef<str>) -> Response {
        self.request("GET", url, &[], "").await
    }

    /// POST with a JSON body.
    pub(crate) async fn post(&self, url: impl AsRef<str>, body: Value) -> Response {
        self.request("POST", url, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Any method, with a JSON body if there is one.
    pub(crate) async fn json(&self, method: &str, url: &str, body: Option<Value>) -> (u16, Value) {
        let answer = match body {
            Some(body) => {
                self.request(method, url, &[("content-type", "application/json")], body.to_string()).await
            }
            None => self.request(method, url, &[], "").await,
        };
        (answer.status, answer.json())
    }

    /// PUT with a JSON body.
    pub(crate) async fn put(&self, url: impl AsRef<str>, body: Value) -> Response {
        self.request("PUT", url, &[("content-type", "application/json")], body.to_string()).await
    }
}

/// Sends these bytes on a connection of its own and reads until the other side closes it: for HTTP that no client
/// would send. Send `Connection: close`, or what the other side closes the connection for.
pub(crate) async fn raw(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset ends the answer as a close does.
    let _ = stream.read_to_end(&mut answer).await;
    answer
}
