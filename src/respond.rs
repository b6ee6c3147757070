//! Answers to clients: from an entry, from the engine, or an error. The one place where errors become responses.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, RETRY_AFTER, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::cache::{Entry, Fetched, is_shared};
use crate::coding::Coding;
use crate::control;
use crate::elastic;
use crate::error::ProxyError;
use crate::outcome::CacheStatus;
use crate::upstream::Body;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
static X_OPAQUE_ID: [HeaderName; 1] = [HeaderName::from_static("x-opaque-id")];

/// Adds what escache says about an answer.
#[must_use]
pub fn with_status(mut response: Response<Body>, status: &CacheStatus) -> Response<Body> {
    let headers = response.headers_mut();
    // a cache nearer to the engine has written its member before (RFC 9211 2)
    headers.append(CACHE_STATUS, cache_status(status));
    headers.insert(X_CACHE, HeaderValue::from_static(status.outcome.x_cache()));
    response
}

/// The value of `Cache-Status`: for the usual hit it is not made anew.
fn cache_status(status: &CacheStatus) -> HeaderValue {
    if status.is_plain_hit() {
        return HeaderValue::from_static("escache; hit");
    }
    let mut text = String::with_capacity(96);
    let _ = write!(text, "{status}");
    HeaderValue::try_from(text).expect("a status is written in printable ASCII")
}

/// What of an entry a client gets.
#[derive(Clone, Debug)]
pub struct Representation {
    /// How it is coded.
    pub coding: Coding,
    /// The body; `None` if the client has it already.
    pub body: Option<Bytes>,
    /// Whether the request's `Accept-Encoding` had a say in it.
    pub varies: bool,
}

impl Representation {
    /// The headers that say so.
    fn tell(&self, entry: &Entry, headers: &mut HeaderMap) {
        headers.insert(ETAG, entry.entity_tag().value(self.coding));
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if self.coding == Coding::Gzip && self.body.is_some() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
}

/// An entry as the answer to a request with these headers: 304 if the client has it already.
#[must_use]
pub fn entry(
    entry: &Entry,
    shown: Representation,
    request: &HeaderMap,
    age: Option<Duration>,
) -> Response<Body> {
    let has_current = shown.body.is_none();
    // as many as there usually are: type, product, tag, age, and what escache says; or one or two more
    let mut headers = HeaderMap::with_capacity(if shown.varies { 12 } else { 6 });
    for (name, value) in entry.head().iter() {
        if !(has_current && name == CONTENT_TYPE) {
            headers.append(name.clone(), value.clone());
        }
    }
    shown.tell(entry, &mut headers);
    if let Some(age) = age {
        headers.insert(AGE, seconds(age));
    }
    echo_opaque_id(request, &mut headers);
    let mut response = Response::new(shown.body.map_or_else(Body::empty, Body::whole));
    if has_current {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    *response.headers_mut() = headers;
    response
}

/// An answer put together from entries of which the oldest has this age.
#[must_use]
pub fn assembled(headers: HeaderMap, body: Bytes, request: &HeaderMap, age: Duration) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.headers_mut() = headers;
    response.headers_mut().insert(AGE, age.as_secs().into());
    echo_opaque_id(request, response.headers_mut());
    response
}

/// Whole seconds; with readings it is one of the first.
fn seconds(age: Duration) -> HeaderValue {
    match age.as_secs() {
        0 => HeaderValue::from_static("0"),
        seconds => seconds.into(),
    }
}

/// An answer of the engine that was taken whole, for the request that had asked for it.
#[must_use]
pub fn fetched(fetched: &Fetched) -> Response<Body> {
    let mut response = Response::new(Body::whole(fetched.body.clone()));
    *response.status_mut() = fetched.status;
    *response.headers_mut() = fetched.headers.clone();
    response.headers_mut().remove(CONTENT_LENGTH);
    response
}

/// The same where it is stored as this entry, with what the client gets of that.
#[must_use]
pub fn fetched_as(answer: &Fetched, entry: &Entry, shown: Representation) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = answer.headers.clone();
    response.headers_mut().remove(CONTENT_LENGTH);
    shown.tell(entry, response.headers_mut());
    *response.body_mut() = shown.body.map_or_else(Body::empty, Body::whole);
    response
}

/// The same for another request that waited for it: with what is meant for all, by allow-list.
#[must_use]
pub fn shared(answer: &Fetched, request: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::whole(answer.body.clone()));
    *response.status_mut() = answer.status;
    for (name, value) in &answer.headers {
        if is_shared(name) {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    echo_opaque_id(request, response.headers_mut());
    response
}

/// `limits.max_concurrent_misses` is exceeded, and as many wait: the client may come again.
#[must_use]
pub fn too_many_misses() -> Response<Body> {
    let reason = "escache: too many searches are waiting for the engine (limits.max_concurrent_misses)";
    let mut response = failure(StatusCode::TOO_MANY_REQUESTS, "es_rejected_execution_exception", reason);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// An error, in the shape of the engines.
#[must_use]
pub fn error(error: &ProxyError) -> Response<Body> {
    let mut response = failure(error.status(), error.kind(), &error.public());
    // so that later steps can tell it from an answer of the engine
    response.extensions_mut().insert(error.clone());
    response
}

/// Whether this stands in the place of an answer that the engine has not given.
#[must_use]
pub fn lacks_answer(response: &Response<Body>) -> bool {
    response.extensions().get::<ProxyError>().is_some_and(ProxyError::is_for_want_of_answer)
}

/// Any refusal of escache's own, in the shape of the engines.
#[must_use]
pub fn failure(status: StatusCode, kind: &str, reason: &str) -> Response<Body> {
    let mut response = json(status, elastic::error::body(status.as_u16(), kind, reason));
    response.extensions_mut().insert(OwnFailure);
    response
}

/// Marks an answer that escache gives in place of one of the engine.
#[derive(Clone, Copy, Debug)]
struct OwnFailure;

/// Whether escache has refused the request by itself, or failed.
#[must_use]
pub fn is_own_failure(response: &Response<Body>) -> bool {
    response.extensions().get::<OwnFailure>().is_some()
}

/// A JSON answer of escache's own.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    response
}

/// The engines give a request's X-Opaque-Id back.
fn echo_opaque_id(request: &HeaderMap, response: &mut HeaderMap) {
    let [name] = &X_OPAQUE_ID;
    if control::has_any(request, &X_OPAQUE_ID)
        && let Some(id) = request.get(name)
    {
        response.insert(name.clone(), id.clone());
    }
}
