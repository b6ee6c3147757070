//! Passing a client's request on: what of it goes to a host, and what of the answer comes back.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use super::Upstream;
use super::body::Body;
use super::deliver::{Delivered, Purpose};
use super::headers::{self, strip_hop_by_hop};
use super::repeat::may_repeat;
use super::settings::Host;
use crate::error::ProxyError;
use crate::generation::StateVersion;
use crate::spans::ClientSpan;

impl Upstream {
    /// Passes a client's request on, its path and query byte for byte, and gives the answer as it comes. Dropping the
    /// future, or the answer's body, aborts the exchange. A read whose body is at hand is sent to another host if the
    /// connection failed before an answer began, and to the same one if there is no other and the connection was not new;
    /// a write never is, unless there was no connection at all.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn forward(
        &self,
        head: Parts,
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
        head: Parts,
        body: Bytes,
        client: Option<IpAddr>,
        tag: Option<&StateVersion>,
    ) -> Result<Delivered, ProxyError> {
        self.pass(head, Body::whole(body), client, tag, None).await
    }

    pub(super) async fn pass(
        &self,
        mut head: Parts,
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
            let via = self.via.member(head.version);
            Some(outgoing(head.clone(), body, host, client, via))
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
}

/// A client's request as it goes to this host.
fn outgoing(
    mut head: Parts,
    body: Body,
    host: &Host,
    client: Option<IpAddr>,
    via: &HeaderValue,
) -> Result<Request<Body>, ProxyError> {
    // hyper frames bodies of unknown length by itself, but not for methods that seldom have one; HTTP/2 names no coding
    let chunked = body.size_hint().exact().is_none();
    headers::forward(&mut head.headers, &host.host_header, client, via);
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
