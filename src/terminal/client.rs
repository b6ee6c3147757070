//! A client of the admin listener.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::upstream::Body;

/// How long the listener may take to be reached, and to answer what it knows at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// The admin listener of a running escache.
#[derive(Debug)]
pub struct Admin {
    authority: String,
    token: Option<HeaderValue>,
}

impl Admin {
    /// The listener at `host:port` or `http://host:port`.
    ///
    /// # Errors
    /// What is wrong with the address or the token, in words.
    pub fn at(url: &str, token: Option<String>) -> Result<Admin, super::Failure> {
        let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        if authority.contains("//") || authority.contains('@') || !authority.contains(':') {
            return Err(format!(
                "[{url}] is not the address of an admin listener, such as http://127.0.0.1:9281"
            )
            .into());
        }
        let token = token.map(|token| HeaderValue::try_from(format!("Bearer {token}"))).transpose();
        let token = token.map_err(|_| "the token cannot be sent in a header".to_owned())?;
        Ok(Admin { authority: authority.to_owned(), token })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.authority
    }

    /// The status that a path answers.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn status(&self, path: &str) -> Result<StatusCode, String> {
        self.ask(Method::GET, path, Bytes::new(), Some(PATIENCE)).await.map(|(status, _)| status)
    }

    /// The JSON that a path answers.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(&self, path: &str) -> Result<Value, String> {
        let (status, body) = self.ask(Method::GET, path, Bytes::new(), Some(PATIENCE)).await?;
        self.json(path, status, &body)
    }

    /// The JSON that is answered to JSON; however long that takes.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Result<Value, String> {
        let (status, body) = self.ask(Method::POST, path, body.into(), None).await?;
        self.json(path, status, &body)
    }

    fn json(&self, path: &str, status: StatusCode, body: &[u8]) -> Result<Value, String> {
        let json: Result<Value, _> = serde_json::from_slice(body);
        match (status, json) {
            (StatusCode::OK, Ok(json)) => Ok(json),
            (StatusCode::UNAUTHORIZED, _) => {
                Err(format!("{} wants its token: --token-file, or ESCACHE_ADMIN_TOKEN", self.authority))
            }
            (status, Ok(json)) if json["error"]["reason"].is_string() => Err(format!(
                "{}{path} answered {status}: {}",
                self.authority,
                json["error"]["reason"].as_str().unwrap_or_default()
            )),
            (status, _) => {
                Err(format!("{}{path} answered {status}, which is no answer of escache", self.authority))
            }
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Option<Duration>,
    ) -> Result<(StatusCode, Bytes), String> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            // a name that the listener takes, by whatever name it was reached
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Body::whole(body)).map_err(|error| error.to_string())?;
        let asked = async {
            let stream = tokio::net::TcpStream::connect(&self.authority);
            let stream = tokio::time::timeout(PATIENCE, stream).await.map_err(|_| "no answer".to_owned())?;
            let stream = stream.map_err(|error| error.to_string())?;
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = answer.status();
            let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
            Ok((status, body.to_bytes()))
        };
        let answer = match patience {
            Some(limit) => tokio::time::timeout(limit, asked)
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {limit:?}"))),
            None => asked.await,
        };
        answer.map_err(|error: String| format!("{} does not answer: {error}", self.authority))
    }
}
