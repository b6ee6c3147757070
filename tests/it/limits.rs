//! What a client may take of the listener, and what it sees when that is all.

use std::time::Duration;

use bytes::Bytes;
use escache::server::Limits;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::engine::{Api, Engine, engine};
use crate::support::escache::{Escache, verdict};
use crate::support::http::Client;
use crate::support::patience::until;
use crate::support::wire::{Wire, address, ask};

/// Short enough for a test to wait for, and far too long for an exchange on this machine to take.
const SHORT: Duration = Duration::from_millis(150);

async fn within(change: impl FnOnce(&mut Limits)) -> (Engine, Escache) {
    let engine = engine();
    let mut limits = Limits::default();
    change(&mut limits);
    let escache = Escache::start_within(&engine.url(), limits, |_| {}).await;
    (engine, escache)
}

#[tokio::test]
async fn heads_have_a_size() {
    let (engine, escache) = within(|limits| {
        limits.max_line = 100;
        limits.max_header_size = 1_000;
    })
    .await;
    let seen = engine.seen_in_all();
    let get = |path: &str, header: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{header}\r\n");
    let long_line = ask(&escache.url, get(&format!("/{}", "x".repeat(100)), "")).await;
    assert_eq!((long_line.status, &long_line.json()["status"]), (414, &json!(414)));
    let reason = long_line.json()["error"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("http.max_initial_line_length"), "{reason}");

    let large = ask(&escache.url, get("/", &format!("X: {}\r\n", "x".repeat(1_000)))).await;
    assert_eq!(
        (large.status, &large.json()["error"]["type"]),
        (431, &json!("too_long_http_header_exception"))
    );
    // beyond what is read at all there are no words, and what was not read may cost the answer, too
    let mut huge = Wire::to(&escache.url).await;
    let _ = huge.0.write_all(get("/", &format!("X: {}\r\n", "x".repeat(100_000))).as_bytes()).await;
    let told = huge.rest().await;
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 431"), "{told}");
    let many = ask(&escache.url, get("/", &"X: 1\r\n".repeat(150))).await;
    assert_eq!(many.status, 431);
    assert_eq!(engine.seen_in_all(), seen, "none of it reached the engine");
    let counted = &escache.proxy.stats.plain;
    until("all counted", async || counted.limited_headers.get() == 3).await;
    assert_eq!(counted.limited_request_lines.get(), 1);
}

/// Below and above what the library would take by itself.
#[tokio::test]
async fn the_number_of_fields_is_that_of_the_setting() {
    for most in [3, 300] {
        let (_engine, escache) = within(|limits| limits.max_header_count = most).await;
        // three are there; the engine has a limit of its own, and is not asked
        let get = |fields: usize| {
            let others = "X: 1\r\n".repeat(fields - 3);
            let own = "Connection: close\r\nCache-Control: only-if-cached";
            format!("GET /logs/_search HTTP/1.1\r\nHost: a\r\n{own}\r\n{others}\r\n")
        };
        assert_eq!(ask(&escache.url, get(most)).await.status, 504, "{most}");
        assert_eq!(ask(&escache.url, get(most + 1)).await.status, 431, "{most}");
        let counted = &escache.proxy.stats.plain.limited_headers;
        until("counted", async || counted.get() == 1).await;
    }
}

#[tokio::test]
async fn a_head_has_a_time() {
    let (_engine, escache) = within(|limits| limits.header_timeout = SHORT).await;
    let mut slow = Wire::to(&escache.url).await;
    slow.send("GET /_echo HTTP/1.1\r\nHost: a\r\nX-Slow: ").await;
    let late = slow.last_answer().await;
    assert_eq!((late.status, &late.json()["error"]["type"]), (408, &json!("request_timeout_exception")));
    assert_eq!(escache.proxy.stats.plain.limited_slow_heads.get(), 1);

    // the second head of a connection has that time too, from its first byte
    let mut slow = Wire::to(&escache.url).await;
    slow.send("GET /_echo HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(slow.answer().await.status, 200);
    slow.send("GET /").await;
    assert_eq!(slow.last_answer().await.status, 408);

    // who says nothing is told nothing
    assert_eq!(Wire::to(&escache.url).await.rest().await, "");
    assert_eq!(escache.proxy.stats.plain.limited_idle.get(), 1);
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_and_a_long_request_is_not() {
    let (engine, escache) = within(|limits| {
        limits.idle_timeout = SHORT;
        limits.header_timeout = SHORT;
        limits.body_timeout = SHORT;
        limits.write_timeout = SHORT;
    })
    .await;
    let mut idle = Wire::to(&escache.url).await;
    idle.send("GET /_echo HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(idle.answer().await.status, 200);
    assert_eq!(idle.rest().await, "");
    assert_eq!(escache.proxy.stats.plain.limited_idle.get(), 1);

    let gate = engine.gate_before(Api::Doc);
    let mut busy = Wire::to(&escache.url).await;
    busy.send("PUT /logs/_doc/1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}").await;
    gate.arrived(1).await;
    // another connection that began later shows that all those times are over
    let mut other = Wire::to(&escache.url).await;
    assert_eq!(other.rest().await, "");
    gate.release();
    assert!(busy.answer().await.status < 300);
}

#[tokio::test]
async fn a_head_that_was_answered_at_once_is_not_waited_for() {
    let (_engine, escache) = within(|limits| limits.header_timeout = SHORT).await;
    escache.search("/logs/_search", json!({})).await;
    let hit = "GET /logs/_search HTTP/1.1\r\nHost: a\r\n\r\n";
    let refused = "GET /logs/_search HTTP/1.1\r\nHost: a\r\nCache-Control: only-if-cached, no-store\r\n\r\n";
    for request in [hit, refused] {
        let mut idle = Wire::to(&escache.url).await;
        idle.send(request).await;
        idle.answer().await;
        // others show that the time for a head is over, and over again
        assert_eq!(Wire::to(&escache.url).await.rest().await, "");
        assert_eq!(Wire::to(&escache.url).await.rest().await, "");
        idle.send(request).await;
        idle.answer().await;
    }
    assert_eq!(escache.proxy.stats.plain.limited_slow_heads.get(), 0);
}

#[tokio::test]
async fn a_body_has_a_time() {
    let (engine, escache) = within(|limits| limits.body_timeout = SHORT).await;
    let post = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{"
        )
    };
    for path in ["/logs/_search", "/logs/_doc", "/logs/_cache/clear"] {
        let late = ask(&escache.url, post(path)).await;
        assert_eq!(
            (late.status, &late.json()["error"]["type"]),
            (408, &json!("request_timeout_exception")),
            "{path}"
        );
    }
    assert_eq!(escache.proxy.stats.plain.limited_slow_bodies.get(), 3);
    assert_eq!(engine.answered(Api::Doc), 0, "half a document is none");

    // a byte now and then is not enough where the whole is wanted
    let mut drip = Wire::to(&escache.url).await;
    drip.send(post("/logs/_search").replace("Length: 9", "Length: 100000")).await;
    assert_eq!(drips(drip).await, "HTTP/1.1 408");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let (engine, escache) = within(|limits| limits.write_timeout = SHORT).await;
    let mut deaf = Wire::to(&escache.url).await;
    deaf.send("GET /_big?bytes=100000000 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    engine.until_aborted(Api::Big, 1).await;
    until("counted", async || escache.proxy.stats.plain.limited_slow_readers.get() == 1).await;
}

/// The beginning of the answer to a request of whose body something comes now and then, and never all.
async fn drips(request: Wire) -> String {
    let (mut read, mut write) = request.0.into_split();
    let dripping = tokio::spawn(async move {
        let mut pause = tokio::time::interval(SHORT / 10);
        while write.write_all(b" ").await.is_ok() {
            pause.tick().await;
        }
    });
    let mut answer = vec![0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut read, &mut answer).await.unwrap();
    dripping.abort();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The time of a request that began before this is over: so is that of this one.
async fn until_over(engine: &Engine, escache: &Escache) {
    let _gate = engine.gate_before(Api::Doc);
    let late = escache.send("PUT", "/logs/_doc/1", &[("content-type", "application/json")], "{}").await;
    assert_eq!((late.status, &late.json()["error"]["type"]), (504, &json!("gateway_timeout_exception")));
    assert!(late.text().contains("http.request_timeout"), "{}", late.text());
}

/// So long that the beginning of an answer is there before it is over.
const IN_ALL: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_a_time_in_all() {
    let (engine, escache) = within(|limits| limits.request_timeout = IN_ALL).await;
    let counted = &escache.proxy.stats.plain;
    // a write is given up, and not sent again
    until_over(&engine, &escache).await;
    assert_eq!((engine.seen(Api::Doc), counted.limited_slow_requests.get()), (1, 1));

    // one whose own body does not end, though something of it comes now and then
    let mut drip = Wire::to(&escache.url).await;
    let head = "PUT /logs/_doc/2 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    drip.send(format!("{head}Content-Length: 100000\r\n\r\n")).await;
    assert_eq!(drips(drip).await, "HTTP/1.1 504");

    // an answer that has begun is cut off, and nobody takes it for whole
    for path in ["/_big?bytes=100000", "/_big?bytes=100000&chunked"] {
        let _gate = engine.gate_body(Api::Big);
        let url = format!("{}{path}", escache.url);
        let cut = escache.client.start("GET", &url, &[], "").await.unwrap();
        assert_eq!(cut.status(), 200);
        assert!(cut.into_body().collect().await.is_err(), "{path}");
    }
    assert_eq!(counted.limited_slow_requests.get(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_http_2_that_takes_too_long_is_reset() {
    let (engine, escache) = within(|limits| {
        limits.unencrypted_http2 = true;
        limits.request_timeout = IN_ALL;
    })
    .await;
    let stream = Wire::to(&escache.url).await.0;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let get =
        |path: &str| http::Request::get(format!("http://a{path}")).body(Full::new(Bytes::new())).unwrap();
    let _gate = engine.gate_body(Api::Big);
    for path in ["/_big?bytes=100000", "/_big?bytes=100000&chunked"] {
        sender.ready().await.unwrap();
        let answer = sender.send_request(get(path)).await.unwrap();
        assert_eq!(answer.status(), 200);
        // the connection goes on
        assert!(answer.into_body().collect().await.is_err());
    }
    assert_eq!(escache.proxy.stats.plain.limited_slow_requests.get(), 2);
}

/// Also an answer that is in memory, and whose client takes a little of it now and then.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_read_too_slowly_is_cut_off() {
    let engine = engine();
    for id in 2..9 {
        engine.index("logs", &id.to_string(), json!({ "text": "x".repeat(1 << 20) }));
    }
    engine.refresh("logs");
    // a hit that waits for nothing, so that its time begins with its answer, however slow this machine is
    let bound = Duration::from_secs(3600);
    let mut escache = Escache::start_with(&engine.url(), |s| s.policy.max_staleness = bound).await;
    escache.send("GET", "/logs/_search", &[], "").await;
    escache.listeners[0].limit(Limits { request_timeout: SHORT, ..Limits::default() });
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut slow = Wire(socket.connect(address(&escache.url)).await.unwrap());
    slow.send("GET /logs/_search HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut begin = vec![0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut slow.0, &mut begin).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&begin), "HTTP/1.1 200");
    // connections keep the limits that they began with
    escache.client = Client::new();
    until_over(&engine, &escache).await;
    let rest = slow.rest().await;
    assert!(rest.len() < 7 << 20, "{} bytes", rest.len());
    assert_eq!(escache.proxy.stats.plain.limited_slow_requests.get(), 2);
}

#[tokio::test]
async fn connections_are_counted() {
    let (_engine, escache) = within(|limits| limits.max_connections = 2).await;
    let counted = &escache.proxy.stats.plain;
    let mut held = vec![Wire::to(&escache.url).await, Wire::to(&escache.url).await];
    until("two connections", async || counted.connections.get() == 2).await;
    let refused = ask(&escache.url, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["type"]),
        (503, &json!("es_rejected_execution_exception"))
    );
    assert_eq!(counted.limited_connections.get(), 1);
    // operators have room of their own, and those who are in are served
    assert_eq!(escache.client.get(format!("{}/ready", escache.admin)).await.status, 200);
    held[0].send("GET /_echo HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(held[0].answer().await.status, 200);
    let admitted = || escache.proxy.stats.plain.connections.get();
    let before = admitted();
    drop(held.pop());
    until("a place", async || {
        let _knock = std::net::TcpStream::connect(address(&escache.url));
        admitted() > before
    })
    .await;

    let (_engine, escache) = within(|limits| limits.max_connections_per_address = 1).await;
    let _held = Wire::to(&escache.url).await;
    until("one connection", async || escache.proxy.stats.plain.connections.get() == 1).await;
    let refused = ask(&escache.url, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((refused.status, &refused.json()["status"]), (429, &json!(429)));
    assert_eq!(escache.proxy.stats.plain.limited_connections_per_address.get(), 1);
}

#[tokio::test]
async fn the_admin_listener_has_connections_of_its_own() {
    const MOST: u64 = 256;
    let (_engine, escache) = within(|_| {}).await;
    let counted = &escache.proxy.stats.plain;
    let before = counted.connections.get();
    let mut held = Vec::new();
    for _ in 0..MOST {
        held.push(Wire::to(&escache.admin).await);
    }
    until("all are let in", async || counted.connections.get() == before + MOST).await;
    let live = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(ask(&escache.admin, live).await.status, 503);
    assert_eq!(counted.limited_connections.get(), 1);
    // those who are in are served, and so are clients
    held[0].send(live).await;
    assert_eq!(held[0].answer().await.status, 200);
    assert_eq!(escache_echo(&escache).await.0, 200);
    held.truncate(100);
    until("there is room again", async || {
        let mut next = Wire::to(&escache.admin).await;
        next.send(live).await;
        next.answer().await.status == 200
    })
    .await;
}

#[tokio::test]
async fn unencrypted_http_2_is_spoken_where_it_is_asked_for() {
    let (engine, escache) = within(|limits| {
        limits.unencrypted_http2 = true;
        limits.max_concurrent_streams = 2;
    })
    .await;
    let stream = Wire::to(&escache.url).await.0;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let send = |path: &str, body: &str| {
        let request = http::Request::post(format!("http://search.example{path}"))
            .header("content-type", "application/json")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .unwrap();
        let mut sender = sender.clone();
        async move {
            sender.ready().await.unwrap();
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            (head, body.collect().await.unwrap().to_bytes())
        }
    };
    let (head, body) = send("/_echo", "{}").await;
    assert_eq!((head.status.as_u16(), head.version), (200, http::Version::HTTP_2));
    let seen = String::from_utf8_lossy(&body).into_owned();
    for expected in ["search.example", "a=1; b=2", "2.0 escache"] {
        assert!(seen.contains(expected), "{expected}: {seen}");
    }
    // the same question, and the same key, in both protocols
    let plain = escache
        .send("POST", "/logs/_search", &[("content-type", "application/json"), ("cookie", "a=1; b=2")], "{}")
        .await;
    let (head, _) = send("/logs/_search", "{}").await;
    assert_eq!(verdict(&plain.headers), verdict(&head.headers));

    let gate = engine.gate_before(Api::Doc);
    let all = futures_util::future::join_all((0..5).map(|_| send("/logs/_doc", "{}")));
    let watch = async {
        gate.arrived(2).await;
        let (head, _) = escache_echo(&escache).await;
        assert_eq!((head, gate.came()), (200, 2), "no third request before one of two has ended");
        gate.release();
    };
    let (answers, ()) = tokio::join!(all, watch);
    assert!(answers.iter().all(|(head, _)| head.status.is_success()));
    // HTTP/1 is spoken beside it
    assert_eq!(escache_echo(&escache).await.0, 200);

    let (_engine, escache) = within(|_| {}).await;
    let mut refused = Wire::to(&escache.url).await;
    refused.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(refused.rest().await, "");
}

/// A pool may open it long before it has something to ask. Only its first byte is waited for as a head is.
#[tokio::test]
async fn a_connection_of_http_2_without_a_request_is_idle() {
    let (_engine, escache) = within(|limits| {
        limits.unencrypted_http2 = true;
        limits.header_timeout = SHORT;
    })
    .await;
    let stream = Wire::to(&escache.url).await.0;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // others that began later and say nothing show that its time is over
    for _ in 0..3 {
        assert_eq!(Wire::to(&escache.url).await.rest().await, "");
    }
    let request = http::Request::get("http://a/_echo").body(Full::new(Bytes::new())).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
}

async fn escache_echo(escache: &Escache) -> (u16, Bytes) {
    let echo = escache.send("GET", "/_echo", &[], "").await;
    (echo.status, echo.body)
}

/// HTTP/2 names no transfer coding, so the body of a GET has no sign of its own.
#[tokio::test]
async fn a_body_of_unknown_length_reaches_the_engine_whatever_the_method() {
    let (engine, escache) = within(|limits| limits.unencrypted_http2 = true).await;
    let stream = Wire::to(&escache.url).await.0;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for method in ["GET", "POST"] {
        let frames =
            ["{\"docs\"", ":[]}"].map(|text| Ok::<_, std::io::Error>(Frame::data(Bytes::from(text))));
        let request = http::Request::builder()
            .method(method)
            .uri("http://search.example/logs/_mget")
            .header("content-type", "application/json")
            .body(StreamBody::new(futures_util::stream::iter(frames)))
            .unwrap();
        sender.ready().await.unwrap();
        sender.send_request(request).await.unwrap().into_body().collect().await.unwrap();
        let seen = engine.all_requests().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.json()), (method, json!({"docs": []})));
    }
}
