//! What is not understood goes through unchanged, both ways.

use serde_json::{Value, json};

use crate::support;
use crate::support::engine::{Api, Engine, Flavour, Twist, engine_with};
use crate::support::escache::{Escache, verdict};
use crate::support::http::raw;
use crate::support::patience::until;

async fn two() -> (Engine, Escache) {
    let engine = Engine::start();
    let escache = Escache::start(&engine.url()).await;
    (engine, escache)
}

fn address(url: &str) -> std::net::SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

fn body_of(response: &[u8]) -> Value {
    let text = String::from_utf8_lossy(response);
    let start = text.find('{').unwrap_or_else(|| panic!("{text}"));
    serde_json::from_str(&text[start..=text.rfind('}').unwrap()]).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[tokio::test]
async fn methods_paths_and_queries_pass_byte_for_byte() {
    let (_engine, escache) = two().await;
    for (method, target) in [
        ("GET", "/_echo/a%2Fb/%E4%BD%A0?x=%20+&y;z=1&x=2"),
        ("PATCH", "/_echo/%2e%2e/..;/x?"),
        ("DELETE", "/_echo//double///slash"),
        ("PROPFIND", "/_echo/<logs-{now/d}>".replace(['<', '>', '{', '}'], "~").as_str()),
    ] {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: search.example\r\nX-Twice: 1\r\nX-Twice: 2\r\nConnection: close\r\n\r\n"
        );
        let seen = body_of(&raw(address(&escache.url), request.as_bytes()).await);
        assert_eq!(seen["method"], method);
        assert_eq!(seen["uri"], target, "{seen}");
        let headers = seen["headers"].to_string();
        assert!(headers.contains("\"1\"") && headers.contains("\"2\""), "{headers}");
        assert!(!headers.to_lowercase().contains("\"connection\""), "{headers}");
        assert!(headers.contains("x-forwarded-for") && headers.contains("search.example"), "{headers}");
    }
}

#[tokio::test]
async fn chunked_sized_and_expected_bodies_pass() {
    let (_engine, escache) = two().await;
    let chunked = b"GET /_echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n";
    let sized = b"GET /_echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nConnection: close\r\n\r\nabcdef";
    let expecting = b"PUT /_echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nabcdef";
    for request in [chunked.as_slice(), sized, expecting] {
        let answer = raw(address(&escache.url), request).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(text.starts_with("HTTP/1.1 100 Continue"), request == expecting, "{text}");
        let seen = body_of(&answer);
        assert!(seen.to_string().contains("abcdef") || seen.to_string().contains("YWJjZGVm"), "{seen}");
    }
}

#[tokio::test]
async fn errors_and_heads_come_as_they_are() {
    let (engine, escache) = two().await;
    engine.index("logs", "1", json!({"a": 1}));
    engine.refresh("logs");
    for (method, path) in [
        ("GET", "/nothing/_search"),
        ("GET", "/nothing/_doc/1"),
        ("HEAD", "/logs"),
        ("HEAD", "/logs/_search"),
        ("GET", "/_no/such/thing"),
    ] {
        let direct = escache.client.request(method, engine.url() + path, &[], "").await;
        let through = escache.send(method, path, &[], "").await;
        assert_eq!((through.status, &through.body), (direct.status, &direct.body), "{method} {path}");
        for (name, value) in &direct.headers {
            assert_eq!(through.headers.get(name), Some(value), "{method} {path} {name}");
        }
        let added: Vec<_> = through
            .headers
            .keys()
            .filter(|n| !direct.headers.contains_key(*n))
            .map(http::HeaderName::as_str)
            .collect();
        assert_eq!(added, ["cache-status", "x-cache"], "{method} {path}");
    }
}

#[tokio::test]
async fn an_engine_that_is_away_is_an_honest_error() {
    let (engine, escache) = two().await;
    engine.stop().await;
    for (method, path) in [("GET", "/logs/_search"), ("PUT", "/logs/_doc/1")] {
        let refused = escache.send(method, path, &[], "").await;
        assert_eq!(refused.status, 502);
        assert_eq!(refused.json()["status"], 502);
        assert_eq!(refused.json()["error"]["type"], "bad_gateway_exception");
    }
    let (engine, _) = two().await;
    let escache = Escache::start_with(&engine.url(), |s| {
        s.upstream.response_timeout = std::time::Duration::from_secs(1);
    })
    .await;
    engine.on(Api::Search).always(Twist::Hang);
    engine.on(Api::Doc).always(Twist::Hang);
    for (method, path) in [("GET", "/logs/_search"), ("PUT", "/logs/_doc/1")] {
        let late = escache.send(method, path, &[("content-type", "application/json")], "{}").await;
        assert_eq!(late.status, 504, "{method} {path}");
        assert_eq!(late.json()["error"]["type"], "gateway_timeout_exception");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_aborts_its_request_upstream() {
    let (engine, escache) = two().await;
    let gate = engine.gate_before(Api::Doc);
    let (client, url) = (escache.client.clone(), format!("{}/logs/_doc/1", escache.url));
    let request = tokio::spawn(async move { client.get(url).await });
    gate.arrived(1).await;
    request.abort();
    engine.until_aborted(Api::Doc, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_stream_both_ways() {
    let (engine, escache) = two().await;
    let size = 64 << 20;
    let body = vec![b'x'; size];
    let headers = [("content-type", "application/x-ndjson")];
    let sent = escache.client.request("POST", format!("{}/_bulk", escache.url), &headers, body).await;
    assert_eq!((sent.status, engine.body_bytes(Api::Bulk)), (200, size as u64));
    let big = escache.client.get(format!("{}/_big?bytes={size}", escache.url)).await;
    assert_eq!(big.body.len(), size);
    assert_eq!(verdict(&big.headers), ("BYPASS", "escache; fwd=bypass; detail=api"));
}

#[tokio::test]
async fn a_search_with_a_large_body_streams_through() {
    let engine = engine_with(Flavour::Es8, json!({"a": 1}));
    let escache = Escache::start_with(&engine.url(), |s| s.policy.max_key_body = 1_000).await;
    let body = json!({"query": {"terms": {"a": vec![1; 2_000]}}});
    let answer = escache.search("/logs/_search", body).await;
    assert_eq!(verdict(&answer.headers), ("BYPASS", "escache; fwd=bypass; detail=body-too-large"));
    assert_eq!(answer.json()["hits"]["total"]["value"], 1);
}

#[tokio::test]
async fn pages_of_another_origin_may_read_hits() {
    let (engine, escache) = support::escache::two().await;
    let told = [
        ("access-control-allow-origin", "https://shop.example"),
        ("access-control-allow-credentials", "true"),
        ("vary", "Origin"),
        ("x-opensearch-version", "OpenSearch/3.6.0 (opensearch)"),
    ];
    for (name, value) in told {
        engine.on(Api::Search).always(Twist::Header(name, value.to_owned()));
    }
    let ask = async |accept| {
        let headers = [
            ("content-type", "application/json"),
            ("origin", "https://shop.example"),
            ("accept-encoding", accept),
        ];
        escache.send("POST", "/logs/_search", &headers, "{}").await
    };
    for (answer, outcome) in
        [(ask("identity").await, "MISS"), (ask("identity").await, "HIT"), (ask("gzip").await, "HIT")]
    {
        assert_eq!(verdict(&answer.headers).0, outcome);
        for (name, value) in told {
            assert!(answer.headers.get_all(name).iter().any(|told| told == value), "{outcome}: {name}");
        }
    }
}

#[tokio::test]
async fn followers_are_told_what_pages_of_another_origin_need() {
    let (engine, escache) = support::escache::two().await;
    engine.on(Api::Search).always(Twist::Header("access-control-allow-origin", "*".to_owned()));
    let gate = engine.gate_before(Api::Search);
    let ask = || async {
        let headers = [("content-type", "application/json"), ("origin", "https://shop.example")];
        escache.send("POST", "/logs/_search", &headers, "{}").await
    };
    let (one, other, ()) = tokio::join!(ask(), ask(), async {
        until("both wait", async || escache.proxy.stats.plain.followers.get() == 1).await;
        gate.release();
    });
    for answer in [one, other] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    assert_eq!(engine.seen(Api::Search), 1);
}
