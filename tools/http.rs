//! A small HTTP client: one pool of connections, JSON bodies.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::Failure;

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    base: String,
}

/// A response that was read to its end, and how long that took.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) took: Duration,
}

impl Response {
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// What `X-Cache` says.
    pub(crate) fn x_cache(&self) -> &str {
        self.headers.get("x-cache").and_then(|value| value.to_str().ok()).unwrap_or("nothing")
    }

    pub(crate) fn cache_status(&self) -> &str {
        self.headers.get("cache-status").and_then(|value| value.to_str().ok()).unwrap_or("nothing")
    }
}

impl Client {
    pub(crate) fn new(base: &str) -> Client {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let pool = Pool::builder(TokioExecutor::new()).build(connector);
        Client { pool, base: base.trim_end_matches('/').to_owned() }
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response, Failure> {
        self.send_as("application/json", method, path, body).await
    }

    /// POSTs lines of JSON, as `_bulk` takes them.
    pub(crate) async fn send_lines(&self, path: &str, lines: Bytes) -> Result<Response, Failure> {
        self.send_as("application/x-ndjson", Method::POST, path, lines).await
    }

    async fn send_as(
        &self,
        kind: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(Full::new(body))?;
        let asked = Instant::now();
        let (head, body) = self
            .pool
            .request(request)
            .await
            .map_err(|error| format!("{}{path}: {error}", self.base))?
            .into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Response { status: head.status.as_u16(), headers: head.headers, body, took: asked.elapsed() })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Response, Failure> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// Sends JSON, and fails unless the answer is a success.
    pub(crate) async fn ok(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response, Failure> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let response = self.send(method.clone(), path, body).await?;
        if response.status >= 300 {
            let text = String::from_utf8_lossy(&response.body);
            let text: String = text.chars().take(500).collect();
            return Err(format!("{method} {}{path}: {} {text}", self.base, response.status).into());
        }
        Ok(response)
    }
}
