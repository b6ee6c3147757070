//! Questions of escache's own: to the engine, to one host of it, and about a client.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, VIA};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::Upstream;
use super::body::{Body, Collected, Stream, collect_own};
use super::deliver::{Delivered, Giver, Purpose, address};
use super::exchange::Failed;
use super::hosts::Failure;
use super::settings::{Credentials, Host};
use crate::error::ProxyError;

/// The largest answer to a question of escache's own.
const MAX_OWN_ANSWER: usize = 256 << 20;

/// An answer to a question of escache's own, and who gave it.
pub(super) type Answer = (StatusCode, HeaderMap, Bytes, Option<SocketAddr>);

impl Upstream {
    /// Asks the engine a question of escache's own, with escache's own credentials.
    ///
    /// # Errors
    /// There is no answer, or it broke off.
    pub async fn ask(&self, path_and_query: &str) -> Result<(StatusCode, HeaderMap, Bytes), ProxyError> {
        let ((status, headers, body, _), _) = self.ask_any(path_and_query).await?;
        Ok((status, headers, body))
    }

    /// Like [`Upstream::ask`]; and who has answered.
    pub(super) async fn ask_any(&self, path_and_query: &str) -> Result<(Answer, Giver), ProxyError> {
        let mut sendings = 0..2;
        let request = |host: &Host, unsent: Option<Body>| {
            unsent.map(drop).or_else(|| sendings.next().map(drop))?;
            Some(self.question(host, path_and_query, true))
        };
        let Delivered { response, giver } = self.deliver(request, None, None, Purpose::Question).await?;
        Ok((self.whole(response).await?, giver))
    }

    /// Asks this host, whatever is known of it, with escache's credentials if they are `trusted` to it.
    pub(super) async fn ask_host(
        &self,
        host: &Host,
        path_and_query: &str,
        trusted: bool,
    ) -> Result<Answer, Failed> {
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
            .header(CACHE_CONTROL, "no-cache, no-store")
            // it may lead back here
            .header(VIA, self.via.member(Version::HTTP_11).clone());
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
        match collect_own(self.body(body), MAX_OWN_ANSWER).await {
            Ok(Collected::Whole(bytes)) => Ok((head.status, head.headers, bytes, from)),
            Ok(Collected::TooLong(..)) => Err(ProxyError::BrokenAnswer("too long".to_owned())),
            Err(error) => Err(error.of_answer()),
        }
    }
}
