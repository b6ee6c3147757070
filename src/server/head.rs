//! The head of a request as the rest of escache may take it: within the limits, unambiguous, in origin form.

use http::header::{CONNECTION, COOKIE, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};

use super::limits::Limits;
use crate::respond;
use crate::stats::Stats;
use crate::upstream::Body;

/// Refuses a head, or makes it one in origin form with one `Host` (RFC 9112 3.2.2, RFC 9113 8.3.1).
///
/// # Errors
/// The answer of refusal. The connection cannot be used after it, since what follows need not be what it seems.
pub(super) fn take(
    head: &mut Parts,
    limits: &Limits,
    https: bool,
    stats: &Stats,
) -> Result<(), Box<Response<Body>>> {
    let refused = measure(head, limits, stats).or_else(|| {
        let refusal = judge(head);
        if refusal.is_some() {
            stats.plain.malformed_requests.inc();
        }
        refusal
    });
    if let Some((status, kind, reason)) = refused {
        let mut response = respond::failure(status, kind, &format!("escache: {reason}"));
        if head.version < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        return Err(Box::new(response));
    }
    to_origin_form(head);
    if https {
        let proto = HeaderName::from_static("x-forwarded-proto");
        head.headers.entry(proto).or_insert(HeaderValue::from_static("https"));
    }
    Ok(())
}

/// How a head is turned away: the status, the type of the error, and its reason.
type Rejection = (StatusCode, &'static str, String);

fn measure(head: &Parts, limits: &Limits, stats: &Stats) -> Option<Rejection> {
    let line = head.method.as_str().len() + length_of_target(head) + " HTTP/1.1".len() + 1;
    if line > limits.max_line {
        stats.plain.limited_request_lines.inc();
        let reason = format!(
            "the request line is longer than {} bytes (http.max_initial_line_length)",
            limits.max_line
        );
        return Some((StatusCode::URI_TOO_LONG, "too_long_http_line_exception", reason));
    }
    let size: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let told = if head.headers.len() > limits.max_header_count {
        format!("there are more than {} header fields (http.max_header_count)", limits.max_header_count)
    } else if size > limits.max_header_size {
        format!("the header is larger than {} bytes (http.max_header_size)", limits.max_header_size)
    } else {
        return None;
    };
    stats.plain.limited_headers.inc();
    Some((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_long_http_header_exception", told))
}

fn length_of_target(head: &Parts) -> usize {
    let uri = &head.uri;
    uri.path_and_query().map_or(0, |path| path.as_str().len())
        + uri.authority().map_or(0, |a| a.as_str().len())
}

fn judge(head: &Parts) -> Option<Rejection> {
    let bad = |reason: &str| Some((StatusCode::BAD_REQUEST, "illegal_argument_exception", reason.to_owned()));
    if head.method == Method::CONNECT {
        let reason = "CONNECT is not supported: this is a cache, not a way to elsewhere".to_owned();
        return Some((StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed_exception", reason));
    }
    let named = |wanted: &HeaderName| head.headers.iter().filter(|(name, _)| *name == wanted).count();
    let hosts = named(&HOST);
    if hosts > 1 {
        return bad("there is more than one Host header");
    }
    if hosts == 0 && head.version == Version::HTTP_11 {
        return bad("there is no Host header");
    }
    if head.uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return bad("the target of the request is not one of http or https");
    }
    if head.uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return bad("the target of the request must not contain a user");
    }
    // anything but chunked would have to be undone before the engine is sent it
    let codings = named(&TRANSFER_ENCODING);
    let chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings > 1 || codings == 1 && !head.headers.get(TRANSFER_ENCODING).is_some_and(chunked) {
        let reason = "of transfer codings only chunked is understood".to_owned();
        return Some((StatusCode::NOT_IMPLEMENTED, "illegal_argument_exception", reason));
    }
    None
}

fn to_origin_form(head: &mut Parts) {
    if let Some(authority) = head.uri.authority() {
        if let Ok(host) = HeaderValue::try_from(authority.as_str()) {
            head.headers.insert(HOST, host);
        }
        let path = head.uri.path_and_query().cloned();
        // `OPTIONS http://host` asks for the whole server (RFC 9112 3.2.4)
        head.uri = path.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
    }
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
}

/// HTTP/2 may split a cookie header; HTTP/1 has one (RFC 9113 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(mut whole) = HeaderValue::from_bytes(&crumbs.join(b"; ".as_slice()))
    {
        whole.set_sensitive(true);
        headers.insert(COOKIE, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(version: Version, target: &str, headers: &[(&'static str, &'static str)]) -> Parts {
        let (mut head, ()) =
            http::Request::builder().uri(target).version(version).body(()).unwrap().into_parts();
        for (name, value) in headers {
            head.headers.append(*name, HeaderValue::from_static(value));
        }
        head
    }

    fn taken(mut head: Parts, https: bool) -> Result<Parts, u16> {
        let taken = take(&mut head, &Limits::default(), https, &Stats::default());
        taken.map(|()| head).map_err(|response| response.status().as_u16())
    }

    #[test]
    fn the_target_says_the_host() {
        let absolute = head(Version::HTTP_11, "http://right:9200/a?b", &[("host", "wrong")]);
        let absolute = taken(absolute, false).unwrap();
        assert_eq!(
            (absolute.uri.to_string().as_str(), &absolute.headers[HOST]),
            ("/a?b", &"right:9200".parse().unwrap())
        );
        let second = head(Version::HTTP_2, "https://right/a", &[("cookie", "a=1"), ("cookie", "b=2")]);
        let second = taken(second, true).unwrap();
        assert_eq!(
            (second.uri.to_string().as_str(), &second.headers[HOST]),
            ("/a", &"right".parse().unwrap())
        );
        assert_eq!(second.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        assert_eq!(second.headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        let status = |target: &str, headers: &[(&'static str, &'static str)]| {
            taken(head(Version::HTTP_11, target, headers), false).map_or_else(|status| status, |_| 200)
        };
        let host = ("host", "a");
        assert_eq!(status("/", &[host]), 200);
        assert_eq!(status("/", &[]), 400);
        assert_eq!(status("/", &[host, ("host", "b")]), 400);
        assert_eq!(status("ftp://a/", &[host]), 400);
        assert_eq!(status("http://u@a/", &[host]), 400);
        assert_eq!(status("/", &[host, ("transfer-encoding", "Chunked")]), 200);
        assert_eq!(status("/", &[host, ("transfer-encoding", "gzip, chunked")]), 501);
        assert_eq!(
            status("/", &[host, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]),
            501
        );
    }

    #[test]
    fn limits_are_inclusive() {
        let limits = Limits { max_line: 20, max_header_size: 20, max_header_count: 2, ..Limits::default() };
        let status = |target: &str, headers: &[(&'static str, &'static str)]| {
            let taken = take(&mut head(Version::HTTP_11, target, headers), &limits, false, &Stats::default());
            taken.map_or_else(|response| response.status().as_u16(), |()| 200)
        };
        // GET /123456 HTTP/1.1
        assert_eq!(status("/123456", &[("host", "a")]), 200);
        assert_eq!(status("/1234567", &[("host", "a")]), 414);
        assert_eq!(status("/", &[("host", "a"), ("x", "123456")]), 200);
        assert_eq!(status("/", &[("host", "a"), ("x", "1234567")]), 431);
        assert_eq!(status("/", &[("host", "a"), ("x", ""), ("y", "")]), 431);
    }
}
