//! Answers to clients: from an entry, from the engine, or an error. The one place where errors become responses.

use std::time::Duration;

use http::header::{AGE, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::cache::{Entry, Fetched};
use crate::control;
use crate::elastic;
use crate::error::ProxyError;
use crate::outcome::CacheStatus;
use crate::upstream::Body;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const X_OPAQUE_ID: HeaderName = HeaderName::from_static("x-opaque-id");

/// Adds what escache says about an answer.
#[must_use]
pub fn with_status(mut response: Response<Body>, status: &CacheStatus) -> Response<Body> {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(status.to_string()) {
        // a cache nearer to the engine has written its member before (RFC 9211 2)
        headers.append(CACHE_STATUS, value);
    }
    headers.insert(X_CACHE, HeaderValue::from_static(status.outcome.x_cache()));
    response
}

/// An entry as the answer to a request with these headers: 304 if the client has it already. Returns whether it was.
#[must_use]
pub fn entry(entry: &Entry, request: &HeaderMap, age: Option<Duration>) -> (Response<Body>, bool) {
    let has_current = entry.headers().get(ETAG).is_some_and(|etag| control::has_current(request, etag));
    let body = if has_current { Body::empty() } else { Body::whole(entry.body().clone()) };
    let mut response = Response::new(body);
    if has_current {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    *response.headers_mut() = entry.headers().clone();
    if has_current {
        response.headers_mut().remove(CONTENT_TYPE);
    }
    if let Some(age) = age {
        response.headers_mut().insert(AGE, age.as_secs().into());
    }
    echo_opaque_id(request, response.headers_mut());
    (response, has_current)
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

/// The same for another request that waited for it: without what was meant for the first alone.
#[must_use]
pub fn shared(answer: &Fetched, request: &HeaderMap) -> Response<Body> {
    let mut response = fetched(answer);
    response.headers_mut().remove(SET_COOKIE);
    response.headers_mut().remove(X_OPAQUE_ID);
    echo_opaque_id(request, response.headers_mut());
    response
}

/// An error, in the shape of the engines.
#[must_use]
pub fn error(error: &ProxyError) -> Response<Body> {
    failure(error.status(), error.kind(), &error.public())
}

/// Any refusal of escache's own, in the shape of the engines.
#[must_use]
pub fn failure(status: StatusCode, kind: &str, reason: &str) -> Response<Body> {
    json(status, elastic::error::body(status.as_u16(), kind, reason))
}

/// A JSON answer of escache's own.
pub fn json(status: StatusCode, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    response
}

/// The engines give a request's X-Opaque-Id back.
fn echo_opaque_id(request: &HeaderMap, response: &mut HeaderMap) {
    if let Some(id) = request.get(&X_OPAQUE_ID) {
        response.insert(X_OPAQUE_ID, id.clone());
    }
}
