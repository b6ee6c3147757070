//! What no client and no engine should send: what either side sees of it. Rows are data; a row says what the client is
//! told, and which requests reached the engine.

use std::sync::Arc;

use escache::elastic::api::route;
use escache::key::headers::HeaderRules;
use escache::plan::{Asked, Context, plan};
use escache::policy::Policy;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::engine::{Api, Engine};
use crate::support::escache::Escache;
use crate::support::patience::until;
use crate::support::wire::{Wire, ask};

/// A request that must not be taken for two: if it is, the engine sees this path.
const SMUGGLED: &str = "GET /_echo/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// The statuses of all answers on a connection. The echo of the engine holds no status line.
fn statuses(text: &str) -> Vec<u16> {
    text.split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].parse().unwrap()).collect()
}

struct Row {
    name: &'static str,
    /// After `POST /_echo/n HTTP/1.1`, Host and Connection, or whole if it does not begin with a header.
    sent: String,
    /// What the client is told, in order; then the connection is closed.
    told: &'static [u16],
    /// How many requests the engine sees; never the smuggled one.
    seen: usize,
}

fn row(name: &'static str, headers: &str, body: &str, told: &'static [u16], seen: usize) -> Row {
    let sent = format!(
        "POST /_echo/{} HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}{SMUGGLED}",
        name.replace(' ', "-")
    );
    Row { name, sent, told, seen }
}

fn whole(name: &'static str, sent: &str, told: &'static [u16], seen: usize) -> Row {
    Row { name, sent: sent.to_owned(), told, seen }
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let close = "Connection: close\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        // -- framing: TE wins, and the connection is not used again (RFC 9112 6.3)
        row("CL then TE", &format!("Content-Length: 4\r\n{chunked}"), "0\r\n\r\n", &[200], 1),
        row("TE then CL", &format!("{chunked}Content-Length: 4\r\n"), "0\r\n\r\n", &[200], 1),
        row("TE that is not chunked", "Transfer-Encoding: xchunked\r\n", "", &[400], 0),
        row("TE twice", &format!("{chunked}{chunked}"), "0\r\n\r\n", &[501], 0),
        row("TE with another coding", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n", &[501], 0),
        row("TE chunked in the middle", "Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n", &[400], 0),
        row("TE behind a tab", &format!("{close}Transfer-Encoding:\tchunked\r\n"), "0\r\n\r\n", &[200], 1),
        row("TE behind a vertical tab", "Transfer-Encoding:\x0bchunked\r\n", "0\r\n\r\n", &[400], 0),
        row("TE with a space in front of the colon", "Transfer-Encoding : chunked\r\n", "0\r\n\r\n", &[400], 0),
        row("two lengths", "Content-Length: 0\r\nContent-Length: 43\r\n", "", &[400], 0),
        row("one length twice", &format!("{close}Content-Length: 2\r\nContent-Length: 2\r\n"), "{}", &[200], 1),
        row("a list of lengths", "Content-Length: 0, 43\r\n", "", &[400], 0),
        row("a length with a sign", "Content-Length: +0\r\n", "", &[400], 0),
        row("a negative length", "Content-Length: -1\r\n", "", &[400], 0),
        row("a hexadecimal length", "Content-Length: 0x0\r\n", "", &[400], 0),
        row("a length beyond 64 bits", "Content-Length: 18446744073709551616\r\n", "", &[400], 0),
        row("no length", close, "", &[200], 1),
        // -- chunks
        row("an oversized chunk", &format!("{close}{chunked}"), "fffffffffffffffff\r\n", &[400], 0),
        row("a chunk of a negative size", &format!("{close}{chunked}"), "-1\r\n", &[400], 0),
        row("a chunk size that ends in LF", &format!("{close}{chunked}"), "1\na\r\n0\r\n\r\n", &[400], 0),
        row("a chunk longer than it says", &format!("{close}{chunked}"), "1\r\nab\r\n0\r\n\r\n", &[400], 0),
        row("a chunk extension", &format!("{close}{chunked}"), "1;a=b\r\na\r\n0\r\n\r\n", &[200], 1),
        row("a chunk extension with LF", &format!("{close}{chunked}"), "1;a\nb\r\na\r\n0\r\n\r\n", &[400], 0),
        row("trailers", &format!("{close}{chunked}"), "1\r\na\r\n0\r\nAuthorization: x\r\n\r\n", &[200], 1),
        // -- lines and names
        row("a folded header", "X: a\r\n Content-Length: 43\r\n", "", &[400], 0),
        row("a folded first header", " X: a\r\n", "", &[400], 0),
        row("a lone CR in a value", "X: a\rContent-Length: 43\r\n", "", &[400], 0),
        row("NUL in a value", "X: a\0b\r\n", "", &[400], 0),
        row("NUL in a name", "X\0: a\r\n", "", &[400], 0),
        row("a name with a space", "X Y: a\r\n", "", &[400], 0),
        row("no name", ": a\r\n", "", &[400], 0),
        row("no colon", "X\r\n", "", &[400], 0),
        row("bare LF ends lines", &format!("X: a\n{close}"), "", &[200], 1),
        row("two hosts", "Host: b\r\n", "", &[400], 0),
        whole("no host", "GET /_echo/a HTTP/1.1\r\n\r\n", &[400], 0),
        // -- request lines
        whole("NUL in the target", "GET /_echo/\0 HTTP/1.1\r\nHost: a\r\n\r\n", &[400], 0),
        whole("a space in the target", "GET /_echo/a b HTTP/1.1\r\nHost: a\r\n\r\n", &[400], 0),
        whole("another version", "GET /_echo/a HTTP/1.2\r\nHost: a\r\n\r\n", &[400], 0),
        whole("TE of HTTP/1.0", &format!("POST /_echo/a HTTP/1.0\r\n{chunked}\r\n0\r\n\r\n{SMUGGLED}"), &[400], 0),
        whole("empty lines in front", &format!("\r\n\r\nGET /_echo/a HTTP/1.1\r\nHost: a\r\n{close}\r\n"), &[200], 1),
        whole("CONNECT", &format!("CONNECT other:9200 HTTP/1.1\r\nHost: other:9200\r\n\r\n{SMUGGLED}"), &[405], 0),
        whole("an absolute target", &format!("GET http://other/_echo/a HTTP/1.1\r\nHost: a\r\n{close}\r\n"), &[200], 1),
        whole("a target of another scheme", "GET ftp://other/_echo/a HTTP/1.1\r\nHost: a\r\n\r\n", &[400], 0),
        whole("a target with a user", "GET http://u:p@other/_echo/a HTTP/1.1\r\nHost: a\r\n\r\n", &[400], 0),
        whole("no HTTP", "\x16\x03\x01\x02\0\x01\0\r\n\r\n", &[400], 0),
    ]
}

#[tokio::test]
async fn no_request_is_taken_for_two() {
    let engine = Engine::start();
    let escache = Escache::start(&engine.url()).await;
    let mut wrong = Vec::new();
    for row in rows() {
        let before = engine.answered(Api::Echo);
        let mut wire = Wire::to(&escache.url).await;
        wire.send(&row.sent).await;
        let told = wire.rest().await;
        let seen = engine.answered(Api::Echo) - before;
        if statuses(&told) != row.told || seen != row.seen {
            wrong.push(format!("{}: told {:?}, seen {seen}: {told:.200}", row.name, statuses(&told)));
        }
    }
    let smuggled = engine.requests(Api::Echo).iter().filter(|seen| seen.uri().contains("smuggled")).count();
    assert!(wrong.is_empty() && smuggled == 0, "{smuggled} smuggled\n{}", wrong.join("\n"));
    assert!(escache.proxy.stats.plain.malformed_requests.get() > 10);
    assert_eq!(escache.proxy.stats.plain.panics.get(), 0);
}

/// hyper answers these before escache sees a request: there is no body to give them, but each is counted.
#[tokio::test]
async fn a_head_that_cannot_be_read_has_an_answer_without_a_body_and_is_counted() {
    let engine = Engine::start();
    let escache = Escache::start(&engine.url()).await;
    let malformed = || escache.proxy.stats.plain.malformed_requests.get();
    for line in [
        "GET /_echo/a<b HTTP/1.1",
        "GET /_echo/a>b HTTP/1.1",
        "GET /_echo/a`b HTTP/1.1",
        "GET /_echo/a b HTTP/1.1",
        "GET /_echo/a\0b HTTP/1.1",
        "GET /_echo/a HTTP/1.2",
        " /_echo/a HTTP/1.1",
        "hello",
        "GET /_echo/a HTTP/1.1\r\nX Y: a",
        "POST /_echo/a HTTP/1.1\r\nContent-Length: -1",
    ] {
        let before = malformed();
        let told = ask(&escache.url, format!("{line}\r\nHost: a\r\n\r\n")).await;
        let expected = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(told.text, expected, "{line:?}");
        until("it is counted", async || malformed() > before).await;
        assert_eq!(malformed(), before + 1, "{line:?}");
    }
    assert_eq!(engine.seen(Api::Echo), 0);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_at_once() {
    let engine = Engine::start();
    let escache = Escache::start(&engine.url()).await;
    let get = |path: &str, more: &str| format!("GET /_echo/{path} HTTP/1.1\r\nHost: a\r\n{more}\r\n");
    let mut wire = Wire::to(&escache.url).await;
    wire.send(get("one", "") + &get("two", "") + &get("three", "")[..20]).await;
    for path in ["one", "two"] {
        // although half of another is there
        let answer = wire.answer().await;
        assert!(answer.status == 200 && answer.text.contains(&format!("/_echo/{path}")), "{answer:?}");
    }
    wire.send(&get("three", "Connection: close\r\n")[20..]).await;
    assert!(wire.last_answer().await.text.contains("/_echo/three"));
    // nothing after the last
    let text = ask(&escache.url, get("a", "Connection: close\r\n") + &get("b", "")).await.text;
    assert!(statuses(&text) == [200] && !text.contains("/_echo/b"), "{text}");
}

#[tokio::test]
async fn the_engine_sees_what_the_client_said_and_nothing_between_the_lines() {
    let engine = Engine::start();
    let escache = Escache::start(&engine.url()).await;
    let request = "POST http://other.example/_echo/a HTTP/1.1\r\nHost: liar.example\r\nConnection: close, X-Secret, Authorization, Host\r\n\
        X-Secret: 1\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nUpgrade: websocket\r\nTE: trailers\r\nX-Stays: 1\r\n\
        Authorization: Basic YTpi\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\nExpect: 100-continue\r\n\r\n\
        2\r\n{}\r\n0\r\nX-Late: 1\r\nContent-Length: 9\r\n\r\n";
    let answer = ask(&escache.url, request).await;
    assert_eq!(statuses(&answer.text), [100, 200]);
    let seen = engine.last(Api::Echo);
    for absent in ["x-secret", "keep-alive", "proxy-connection", "upgrade", "te", "expect"] {
        assert_eq!(seen.header(absent), None, "{absent}");
    }
    // RFC 9110 7.6.1 forbids to name these as options, and naming them does not remove them
    assert_eq!(seen.header("authorization"), Some("Basic YTpi"));
    assert_eq!((seen.header("x-stays"), seen.header("x-forwarded-host")), (Some("1"), Some("other.example")));
    assert_eq!((seen.uri().as_str(), seen.header("content-length")), ("/_echo/a", None));
    assert_eq!(&seen.body[..], b"{}");
    let options = ask(&escache.url, "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(options.status >= 200, "{options:?}");
}

/// An engine that answers each request of `/evil/N` with the N-th text, and what it is asked else with 404.
async fn evil(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answers = Arc::clone(&answers);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        let text = String::from_utf8_lossy(&head).into_owned();
                        let number = text
                            .split("/evil/")
                            .nth(1)
                            .and_then(|n| n.split(' ').next()?.parse::<usize>().ok());
                        let none = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned();
                        let answer = number.map_or(&none, |number| &answers[number]);
                        let _ = stream.write_all(answer.as_bytes()).await;
                        head.clear();
                        if answer.contains("close-now") {
                            return;
                        }
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
#[rustfmt::skip]
async fn nothing_is_injected_on_the_way_back() {
    let ok = |headers: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}");
    // what is sent; the status that the client sees, what it must and what it must not find
    let rows: Vec<(&str, String, u16, &str, &str)> = vec![
        ("a plain answer", ok("Content-Length: 2\r\n", "ok"), 200, "ok", "poison"),
        ("a lone CR", ok("Content-Length: 2\r\nX: a\rSet-Cookie: poison\r\n", "ok"), 502, "bad_gateway", "poison"),
        ("NUL", ok("Content-Length: 2\r\nX: a\0poison\r\n", "ok"), 502, "bad_gateway", "poison"),
        ("a folded header", ok("Content-Length: 2\r\nX: a\r\n poison: 1\r\n", "ok"), 502, "bad_gateway", "poison"),
        ("a name with a space", ok("Content-Length: 2\r\nX poison: a\r\n", "ok"), 502, "bad_gateway", "poison"),
        ("two lengths", ok("Content-Length: 2\r\nContent-Length: 8\r\n", "okpoison"), 502, "bad_gateway", "poison"),
        ("TE and CL", ok("Content-Length: 99\r\nTransfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"), 200, "ok", "content-length: 99"),
        ("more than was said", ok("Content-Length: 2\r\n", "okHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"), 200, "ok", "poison"),
        ("a second answer", ok("Content-Length: 2\r\n", "ok") + &ok("Content-Length: 6\r\n", "poison"), 200, "ok", "poison"),
        ("hop-by-hop", ok("Content-Length: 2\r\nConnection: X-Poison\r\nX-Poison: 1\r\nKeep-Alive: poison\r\nProxy-Connection: poison\r\n", "ok"), 200, "ok", "oison"),
        ("trailers", ok("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\nSet-Cookie: poison\r\n\r\n"), 200, "ok", "poison"),
        ("an early hint", format!("HTTP/1.1 103 Early Hints\r\nLink: poison\r\n\r\n{}", ok("Content-Length: 2\r\n", "ok")), 200, "ok", "poison"),
        ("a switch of protocols", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: poison\r\n\r\npoison".to_owned(), 502, "bad_gateway", "poison"),
        ("no HTTP", "SSH-2.0-poison\r\n\r\n".to_owned(), 502, "cannot be read as one of HTTP/1.1", "poison"),
        ("an oversized chunk", ok("Transfer-Encoding: chunked\r\n", "2\r\nok\r\nfffffffffffffffff\r\npoison"), 200, "ok", "poison"),
    ];
    let engine = evil(rows.iter().map(|row| row.1.clone()).collect()).await;
    let escache = Escache::start(&engine).await;
    let mut wrong = Vec::new();
    for (number, (name, _, status, found, absent)) in rows.iter().enumerate() {
        let get = format!("GET /evil/{number} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = ask(&escache.url, get).await;
        if answer.status != *status || !answer.text.contains(found) || answer.text.to_lowercase().contains(absent) {
            wrong.push(format!("{name}: {answer:?}"));
        }
        // who comes next gets its own answer, not what was left of the one before
        let next = ask(&escache.url, "GET /evil/0 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        if next.status != 200 || !next.text.ends_with("\r\n\r\nok") {
            wrong.push(format!("after {name}: {next:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_truncated_answer_is_never_whole() {
    let cut = |framing: &str, body: &str| format!("HTTP/1.1 200 OK\r\nX: close-now\r\n{framing}\r\n{body}");
    let engine = evil(vec![
        cut("Content-Length: 9\r\n", "half"),
        cut("Transfer-Encoding: chunked\r\n", "9\r\nhalf"),
        cut("Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n"),
    ])
    .await;
    let escache = Escache::start(&engine).await;
    for number in 0..3 {
        let answer =
            escache.client.try_request("GET", &format!("{}/evil/{number}", escache.url), &[], "").await;
        assert!(answer.is_err(), "{number}: {answer:?}");
    }
}

/// What becomes of a request header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Requests that differ in it have different keys.
    Keyed,
    /// It changes no answer, by the list of neutral headers.
    Neutral,
    /// Requests with it are not cached.
    Refused,
}

fn key(query: &str, headers: &[(&str, &str)], body: &str) -> Option<[u8; 32]> {
    let all = headers.iter().chain(&[("content-type", "application/json")]);
    let headers: HeaderMap = all
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
        .collect();
    let route = route(&http::Method::POST, "/logs/_search", Some(query));
    let (policy, rules) = (Policy::default(), HeaderRules::default());
    let asked = Asked { route: &route, query: Some(query), headers: &headers, body: body.as_bytes() };
    let context = Context { engine: None, cluster: "c", policy: &policy, headers: &rules };
    plan(&asked, &context).ok().map(|plan| *plan.key.as_bytes())
}

/// The request headers that Elasticsearch and OpenSearch, their security plugins and their clients document, and those
/// of HTTP that a server may answer by. What is not in this list is keyed, and the last rows show it.
#[test]
fn every_request_header_is_keyed_neutral_or_refused() {
    use Fate::{Keyed, Neutral, Refused};
    const HEADERS: &[(Fate, &str)] = &[
        (
            Keyed,
            "authorization proxy-authorization cookie es-security-runas-user es-secondary-authorization
            es-client-authentication es-secondary-x-client-authentication x-client-authentication
            opendistro_security_impersonate_as opensearch_security_impersonate_as securitytenant security_tenant
            x-proxy-user x-proxy-roles x-forwarded-for forwarded x-real-ip x-forwarded-user x-amz-security-token
            x-amz-date x-api-key accept-language accept-charset origin referer access-control-request-method
            access-control-request-headers if-match if-modified-since if-unmodified-since prefer
            x-elastic-internal-origin kbn-xsrf osd-xsrf x-http-method-override x-management-request x-found-cluster
            x-original-url x-rewrite-url x-forwarded-prefix x-never-heard-of",
        ),
        (
            Neutral,
            "user-agent x-opaque-id traceparent tracestate baggage b3 x-b3-traceid x-elastic-client-meta x-request-id
            host via date accept-encoding cache-control pragma if-none-match x-forwarded-host x-forwarded-port
            x-forwarded-proto connection keep-alive te trailer proxy-connection expect content-length",
        ),
        (Refused, "range upgrade content-encoding x-elastic-product-origin accept"),
    ];
    let plain = key("", &[], "{}").unwrap();
    let mut wrong = Vec::new();
    for (fate, names) in HEADERS {
        for name in names.split_whitespace() {
            // a value that `Connection` and `Cache-Control` take for nothing
            let (one, two) = (key("", &[(name, "close")], "{}"), key("", &[(name, "te")], "{}"));
            let found = match (one, two) {
                (None, None) => Refused,
                (Some(one), Some(two)) if one == two && one == plain => Neutral,
                (Some(one), Some(two)) if one != two && one != plain && two != plain => Keyed,
                _ => {
                    wrong.push(format!("{name}: neither"));
                    continue;
                }
            };
            if found != *fate {
                wrong.push(format!("{name}: {found:?}, not {fate:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All URL parameters of `docs/cacheability.md`, which is made from the tables that decide.
#[test]
fn every_parameter_is_keyed_or_refused() {
    let text = include_str!("../../docs/cacheability.md");
    let table = text.split("## URL parameters").nth(1).unwrap().split("\n## ").next().unwrap();
    let names: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(names.len() > 50, "{} parameters only", names.len());
    let mut wrong = Vec::new();
    for name in names.iter().copied().chain(["never_heard_of", "pretty;size", "SIZE"]) {
        // the one that says how, not what
        if name == "request_cache" {
            continue;
        }
        let values = ["1", "2", "true", "false", "json", "a", "b", "query_then_fetch", "_none"];
        let mut keys: Vec<_> =
            values.iter().filter_map(|value| key(&format!("{name}={value}"), &[], "{}")).collect();
        keys.extend(key("", &[], "{}"));
        let many = keys.len();
        keys.sort_unstable();
        keys.dedup();
        if keys.len() != many {
            wrong.push(format!("{name}: {many} questions, {} keys", keys.len()));
        }
        // given twice, nobody knows which one counts
        if key(&format!("{name}=1&{name}=1"), &[], "{}").is_some() {
            wrong.push(format!("{name}: twice"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
