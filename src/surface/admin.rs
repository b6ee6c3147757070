//! The admin listener: health, statistics, `explain`, clearing. Never reachable through the data listener.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{explain, metrics, overview, page, warm};
use crate::proxy::{Proxy, Readiness};
use crate::respond;
use crate::upstream::{Body, Collected, Stream, collect};

/// The largest body that the admin listener takes.
const MAX_BODY: usize = 4 << 20;

/// What an operator can do here besides looking, and who is one.
#[derive(Default)]
pub struct Controls {
    /// `admin.token`
    pub token: Option<Token>,
    /// `admin.allowed_hosts`, in lower case: by which names other than localhost it may be asked.
    pub allowed_hosts: Vec<String>,
    /// `admin.show_queries`
    pub show_queries: bool,
    /// Reads the configuration again, and tells what came of it.
    pub reload: Option<Box<Reload>>,
}

/// Reads the configuration again.
pub type Reload = dyn Fn() -> Result<Value, String> + Send + Sync;

impl fmt::Debug for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controls")
            .field("token", &self.token)
            .field("allowed_hosts", &self.allowed_hosts)
            .field("show_queries", &self.show_queries)
            .finish_non_exhaustive()
    }
}

/// A secret that operators show. Only its hash is kept, whose comparison takes the same time whatever differs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(blake3::Hash);

impl Token {
    /// From the secret.
    #[must_use]
    pub fn new(secret: &str) -> Token {
        Token(blake3::hash(secret.as_bytes()))
    }

    /// Whether the request shows it: as a bearer's token, or as the password of any user, so that a browser can ask
    /// for it.
    fn is_shown_by(self, headers: &HeaderMap) -> bool {
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let (Some(shown), None) = (shown.next().and_then(|v| v.to_str().ok()), shown.next()) else {
            return false;
        };
        let Some((scheme, credentials)) = shown.split_once(' ') else { return false };
        let secret = if scheme.eq_ignore_ascii_case("bearer") {
            credentials.trim().as_bytes().to_vec()
        } else if scheme.eq_ignore_ascii_case("basic") {
            let pair = BASE64_STANDARD.decode(credentials.trim()).unwrap_or_default();
            pair.iter().position(|byte| *byte == b':').map(|at| pair[at + 1..].to_vec()).unwrap_or_default()
        } else {
            return false;
        };
        blake3::hash(&secret) == self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Answers a request of the admin listener.
pub async fn answer(proxy: &Arc<Proxy>, controls: &Controls, request: Request<Stream>) -> Response<Body> {
    let (head, body) = request.into_parts();
    if let Err(reason) = check_origin(&head.headers, &controls.allowed_hosts) {
        return respond::failure(StatusCode::FORBIDDEN, "forbidden_exception", reason);
    }
    // whoever starts containers has no token, and learns nothing but yes or no
    let open = matches!(head.uri.path(), "/live" | "/ready");
    if !open && controls.token.is_some_and(|token| !token.is_shown_by(&head.headers)) {
        proxy.stats.plain.admin_unauthorized.inc();
        return unauthorized();
    }
    match (head.uri.path(), &head.method) {
        ("/live" | "/ready" | "/metrics" | "/stats" | "/entries", &Method::GET | &Method::HEAD) => {
            get(proxy, head.uri.path())
        }
        ("/overview", &Method::GET | &Method::HEAD) => {
            let overview = overview::json(proxy, controls.show_queries);
            respond::json(StatusCode::OK, overview.to_string())
        }
        (path, &Method::GET | &Method::HEAD) if page::file(path).is_some() => page::answer(path),
        ("/explain" | "/clear" | "/reload" | "/warm", &Method::POST) => {
            let kind = head.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
            // a form or a text could be sent by any web page; JSON cannot, without our consent
            let kind = kind.split(';').next().unwrap_or_default().trim();
            let lines = kind == "application/x-ndjson" && head.uri.path() == "/warm";
            if kind != "application/json" && !lines {
                let reason = "Content-Type must be application/json";
                return respond::failure(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "media_type_header_exception",
                    reason,
                );
            }
            match collect(body, MAX_BODY, &proxy.budget).await {
                Ok(Collected::Whole(body)) => post(proxy, controls, head.uri.path(), body).await,
                _ => bad_request("the body is too large or broke off"),
            }
        }
        ("/live" | "/ready" | "/metrics" | "/stats" | "/entries" | "/overview", _) => {
            wrong_method("GET, HEAD")
        }
        ("/explain" | "/clear" | "/reload" | "/warm", _) => wrong_method("POST"),
        (path, _) if page::file(path).is_some() => wrong_method("GET, HEAD"),
        (path, _) => {
            let reason = format!(
                "no handler found for [{path}]; there are / /live /ready /metrics /stats /entries /overview /explain /clear /reload /warm"
            );
            respond::failure(StatusCode::NOT_FOUND, "not_found_exception", &reason)
        }
    }
}

fn get(proxy: &Arc<Proxy>, path: &str) -> Response<Body> {
    match path {
        "/live" => text("text/plain; charset=utf-8", "alive\n"),
        "/ready" => {
            let readiness = proxy.readiness();
            let upstream = proxy.stranger().map_or(String::new(), |gave| {
                format!("upstream: does not look like Elasticsearch or OpenSearch ({gave})\n")
            });
            let words = format!("{}\n{upstream}", readiness.words());
            let mut response = text("text/plain; charset=utf-8", words);
            if readiness != Readiness::Ready {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            response
        }
        "/metrics" => match metrics::text(proxy) {
            Ok(metrics) => text("application/openmetrics-text; version=1.0.0; charset=utf-8", metrics),
            Err(_) => respond::failure(StatusCode::INTERNAL_SERVER_ERROR, "internal_exception", "metrics"),
        },
        "/stats" => {
            proxy.store.settle();
            respond::json(StatusCode::OK, metrics::json(proxy).to_string())
        }
        _ => entries(proxy),
    }
}

/// The entries that cost the engine most, without what they were asked for.
fn entries(proxy: &Proxy) -> Response<Body> {
    const MOST: usize = 100;
    let mut all: Vec<_> = proxy.store.iter().collect();
    let total = all.len();
    all.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.cost()));
    let shown: Vec<_> = all
        .iter()
        .take(MOST)
        .map(|(key, entry)| {
            json!({
                "key": key.to_string(),
                "indices": entry.indices().names().iter().take(10).map(AsRef::as_ref).collect::<Vec<&str>>(),
                "generation": entry.tag().to_string(),
                "bytes": entry.weight(),
                "age_seconds": entry.asked().age(proxy.watcher.now()).as_secs(),
                "engine_time_microseconds": u64::try_from(entry.cost().as_micros()).unwrap_or(u64::MAX),
            })
        })
        .collect();
    respond::json(StatusCode::OK, json!({"total": total, "entries": shown}).to_string())
}

async fn post(proxy: &Arc<Proxy>, controls: &Controls, path: &str, body: Bytes) -> Response<Body> {
    match path {
        "/explain" => {
            let question: explain::Explained = match serde_json::from_slice(&body) {
                Ok(question) => question,
                Err(e) => {
                    return bad_request(&format!(
                        "{e}; expected {{\"method\", \"path\", \"headers\", \"body\"}}, or {{\"search\"}} with the id of one of /overview"
                    ));
                }
            };
            match explain::explain(proxy, question).await {
                Ok(explanation) => respond::json(StatusCode::OK, format!("{explanation:#}\n")),
                Err(reason) => bad_request(&reason),
            }
        }
        "/warm" => match warm::warm(proxy, &body).await {
            Ok(told) => respond::json(StatusCode::OK, format!("{told:#}\n")),
            Err(reason) => bad_request(&reason),
        },
        "/reload" => match controls.reload.as_ref().map(|reload| reload()) {
            Some(Ok(told)) => respond::json(StatusCode::OK, format!("{told:#}\n")),
            Some(Err(reason)) => bad_request(&format!("nothing was changed: {reason}")),
            None => bad_request("this escache was started without a configuration to read again"),
        },
        _ => {
            let removed = proxy.purge(None);
            respond::json(StatusCode::OK, json!({"removed": removed}).to_string())
        }
    }
}

/// Against DNS rebinding and cross-site requests: a browser sends the name that it resolved as `Host`, and where the
/// page came from as `Origin`. Addresses and `localhost` cannot be rebound; of other names those are good that the operator
/// has for this listener.
fn check_origin(headers: &HeaderMap, allowed: &[String]) -> Result<(), &'static str> {
    let host = headers.get(HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let authority: Authority = host.parse().map_err(|_| "the Host header is missing or not understood")?;
    let name = authority.host().trim_matches(['[', ']']);
    let known = name == "localhost"
        || name.parse::<std::net::IpAddr>().is_ok()
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
    if !known {
        return Err("the Host header must be an address, localhost, or one of admin.allowed_hosts");
    }
    match headers.get(ORIGIN).map(HeaderValue::to_str) {
        None => Ok(()),
        Some(Ok(origin)) if origin.strip_prefix("http://") == Some(host) => Ok(()),
        Some(_) => Err("requests from other origins are refused"),
    }
}

fn unauthorized() -> Response<Body> {
    let reason = "admin.token is wanted: as a bearer's token, or as the password of any user";
    let mut response = respond::failure(StatusCode::UNAUTHORIZED, "security_exception", reason);
    let ways = HeaderValue::from_static("Basic realm=\"escache\", charset=\"UTF-8\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, ways);
    response
}

fn text(kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn bad_request(reason: &str) -> Response<Body> {
    respond::failure(StatusCode::BAD_REQUEST, "illegal_argument_exception", reason)
}

fn wrong_method(allowed: &'static str) -> Response<Body> {
    let reason = format!("allowed: [{allowed}]");
    let mut response =
        respond::failure(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed_exception", &reason);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, origin: Option<&str>, allowed: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        headers.extend(origin.map(|o| (ORIGIN, HeaderValue::from_str(o).unwrap())));
        assert_eq!(check_origin(&headers, &[]).is_ok(), allowed, "{host} {origin:?}");
        let names = ["escache".to_owned(), "escache.svc".to_owned()];
        assert_eq!(check_origin(&headers, &names).is_ok(), allowed, "{host} {origin:?}");
    }

    #[test]
    fn names_that_the_operator_has_for_it_are_good() {
        let names = ["escache".to_owned()];
        for (host, origin, allowed) in [
            ("escache:9281", None, true),
            ("Escache", Some("http://Escache"), true),
            ("escache:9281", Some("http://escache:9281"), true),
            ("escache:9281", Some("http://evil.example"), false),
            ("escache.evil.example:9281", None, false),
            ("evil-escache", None, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            headers.extend(origin.map(|o| (ORIGIN, HeaderValue::from_str(o).unwrap())));
            assert_eq!(check_origin(&headers, &names).is_ok(), allowed, "{host} {origin:?}");
            assert!(check_origin(&headers, &[]).is_err(), "{host} {origin:?}");
        }
    }

    #[test]
    fn other_names_and_other_origins_are_refused() {
        check("127.0.0.1:9281", None, true);
        check("[::1]:9281", None, true);
        check("localhost", Some("http://localhost"), true);
        check("evil.example:9281", None, false);
        check("127.0.0.1:9281", Some("http://evil.example"), false);
        check("127.0.0.1:9281", Some("null"), false);
        check("127.0.0.1:9281", Some("http://127.0.0.1:9281"), true);
    }
}
