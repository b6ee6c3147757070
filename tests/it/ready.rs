//! Readiness: who asks whether clients should be sent here is told what is known now, not what the last health check saw.

use std::sync::Arc;
use std::time::Duration;

use escache::probe::{self, NoAnswer};
use escache::proxy::ProxySettings;
use escache::upstream::{Host, Standing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::engine::{Api, Engine, Flavour, Seen, Twist, engine, engine_of};
use crate::support::escache::{Escache, verdict};
use crate::support::http::Response;
use crate::support::patience::{ends, until};
use crate::support::still::{MOMENT, Still};

const SEARCH: &str = "/logs/_search";

/// What `/ready` says.
async fn ready(escache: &Escache) -> (u16, String) {
    let told = escache.client.get(format!("{}/ready", escache.admin)).await;
    (told.status, told.text())
}

fn yes() -> (u16, String) {
    (200, "ready\n".to_owned())
}

fn no(why: &str) -> (u16, String) {
    (503, format!("the engine does not answer: {why}\n"))
}

const REFUSED: &str = "no host can be connected to";

/// What other surfaces say.
async fn told(escache: &Escache) -> [bool; 2] {
    let overview = escache.client.get(format!("{}/overview", escache.admin)).await.json();
    let metrics = escache.client.get(format!("{}/metrics", escache.admin)).await.text();
    let gauge = metrics.lines().find_map(|line| line.strip_prefix("escache_engine_reachable ")).unwrap();
    [overview["reachable"] == true, gauge == "1"]
}

async fn before(hosts: &[&Engine]) -> Escache {
    Escache::start_with(&hosts[0].url(), |settings| {
        settings.upstream.hosts = hosts.iter().map(|host| Host::parse(&host.url()).unwrap()).collect();
    })
    .await
}

/// Nothing but requests: the first one that no host takes ends readiness, the first answer brings it back.
#[tokio::test]
async fn the_first_request_that_no_host_takes_ends_it_and_the_first_answer_brings_it_back() {
    let one = engine();
    let two = one.another_host();
    let escache = before(&[&one, &two]).await;
    assert_eq!((ready(&escache).await, told(&escache).await), (yes(), [true, true]));
    one.stop().await;
    for _ in 0..4 {
        assert_eq!(escache.send("GET", "/logs/_doc/1", &[], "").await.status, 200);
        assert_eq!(ready(&escache).await, yes(), "another host answers");
    }
    two.stop().await;
    assert_eq!(escache.send("GET", "/logs/_doc/1", &[], "").await.status, 502);
    assert_eq!((ready(&escache).await, told(&escache).await), (no(REFUSED), [false, false]));
    one.start_again();
    assert_eq!(escache.send("GET", "/logs/_doc/1", &[], "").await.status, 200);
    assert_eq!((ready(&escache).await, told(&escache).await), (yes(), [true, true]));
}

/// A health check that finds nobody is no last word either.
#[tokio::test]
async fn what_a_health_check_found_ends_with_the_next_answer_too() {
    let engine = engine();
    let escache = before(&[&engine]).await;
    engine.stop().await;
    probe::learn(&escache.proxy, probe::ask(&escache.proxy).await);
    assert_eq!(ready(&escache).await, no(REFUSED));
    engine.start_again();
    assert_eq!(escache.send("GET", "/logs/_doc/1", &[], "").await.status, 200);
    assert_eq!(ready(&escache).await, yes());
    // one that was not there at the start
    let later = self::engine();
    later.stop().await;
    let escache = before(&[&later]).await;
    assert_eq!(ready(&escache).await, no(REFUSED));
    later.start_again();
    assert_eq!(escache.send("GET", "/logs/_doc/1", &[], "").await.status, 200);
    assert_eq!(ready(&escache).await, yes());
}

/// A reading of escache's own is as good as a client's request.
#[tokio::test]
async fn a_reading_that_no_host_takes_ends_it() {
    let engine = engine();
    let escache = before(&[&engine]).await;
    engine.stop().await;
    assert!(escache.proxy.upstream.ask("/logs/_stats").await.is_err());
    // it may have broken on a connection from before; now there is none
    assert!(escache.proxy.upstream.ask("/logs/_stats").await.is_err());
    assert_eq!(ready(&escache).await, no(REFUSED));
}

/// Without a single request: who is killed closes his connections, and whose are closed is asked at the next tick, which
/// is sooner than the health check of all.
#[tokio::test]
async fn an_engine_that_closes_its_connections_is_looked_after_at_once() {
    let engine = engine();
    let escache = before(&[&engine]).await;
    let closed = || escache.proxy.stats.plain.upstream_closed.get();
    let (before, asked) = (closed(), engine.seen(Api::Version));
    escache.proxy.upstream.check_hosts(true).await;
    assert_eq!(engine.seen(Api::Version), asked, "who is well is left alone");
    engine.stop().await;
    until("the connections have closed", async || closed() > before).await;
    escache.proxy.upstream.check_hosts(true).await;
    assert_eq!(ready(&escache).await, no(REFUSED));
    engine.start_again();
    escache.proxy.upstream.check_hosts(true).await;
    assert_eq!(ready(&escache).await, yes());
}

/// Asks for a document as often as there are connections, and once more: that one has no connection. The others wait.
async fn without_a_connection(
    engine: &Engine,
    escache: &Arc<Escache>,
) -> (Response, impl AsyncFnOnce() -> Vec<Response>) {
    let gate = engine.gate_before(Api::Doc);
    let mut waiting: Vec<JoinHandle<Response>> = Vec::new();
    loop {
        let asking = Arc::clone(escache);
        let asked = tokio::spawn(async move { asking.send("GET", "/logs/_doc/1", &[], "").await });
        let here = waiting.len() + 1;
        until("it is asked, or refused", async || gate.blocked() == here || asked.is_finished()).await;
        if asked.is_finished() {
            let answered = async move || {
                gate.release();
                let mut answers = Vec::new();
                for asked in waiting {
                    answers.push(ends("an answer", asked).await.unwrap());
                }
                answers
            };
            return (asked.await.unwrap(), answered);
        }
        waiting.push(asked);
    }
}

/// An engine that refuses connections beyond those that it has, and goes on with these, is not lost; one that says
/// nothing more on them is.
#[tokio::test]
async fn a_refused_connection_is_no_loss_while_others_answer() {
    let engine = engine();
    let escache = Arc::new(before(&[&engine]).await);
    let still = Still::stand();
    engine.refuse_more().await;
    assert_eq!(escache.send("GET", "/_echo", &[], "").await.status, 200);
    let (refused, answered) = without_a_connection(&engine, &escache).await;
    assert_eq!((refused.status, ready(&escache).await, told(&escache).await), (502, yes(), [true, true]));
    // nor is a health check that had no connection
    let found = ends("a health check", probe::ask(&escache.proxy)).await;
    assert!(found.as_ref().unwrap_err().in_passing, "{found:?}");
    probe::learn(&escache.proxy, found);
    assert_eq!(ready(&escache).await, yes());
    still.pass(Duration::from_secs(1) - MOMENT).await;
    assert_eq!(ready(&escache).await, yes());
    still.pass(MOMENT).await;
    assert_eq!((ready(&escache).await, told(&escache).await), (no(REFUSED), [false, false]));
    let answers = answered().await;
    assert!(!answers.is_empty() && answers.iter().all(|answer| answer.status == 200));
    assert_eq!(ready(&escache).await, yes());
}

/// What a health check could not ask for want of a connection says nothing of what the engine can answer.
#[tokio::test]
async fn a_health_check_without_a_connection_is_no_last_word() {
    let engine = engine();
    let escache = before(&[&engine]).await;
    for (in_passing, expected) in [(true, yes()), (false, no("not all that a health check asks"))] {
        probe::learn(&escache.proxy, Err(NoAnswer { why: "refused".to_owned(), in_passing }));
        assert_eq!(ready(&escache).await, expected);
    }
}

/// A connection that was given up while it was idle costs no health check.
#[tokio::test]
async fn a_connection_that_breaks_as_it_is_used_again_is_asked_once_more() {
    let engine = engine();
    let escache = before(&[&engine]).await;
    // what breaks later is not for having been idle
    let _still = Still::stand();
    let retries = || escache.proxy.stats.plain.upstream_retries.get();
    let (asked, retried) = (engine.seen(Api::Version), retries());
    engine.on(Api::Version).next(Twist::Drop);
    escache.proxy.upstream.check_hosts(false).await;
    assert_eq!((engine.seen(Api::Version), retries()), (asked + 2, retried + 1));
    assert_eq!(escache.proxy.upstream.hosts()[0].standing, Standing::Member);
    // once, and not for ever
    engine.on(Api::Version).always(Twist::Drop);
    let asked = engine.seen(Api::Version);
    escache.proxy.upstream.check_hosts(false).await;
    assert_eq!(engine.seen(Api::Version), asked + 2);
    assert_eq!(escache.proxy.upstream.hosts()[0].standing, Standing::Unknown);
}

/// Hosts that answer, and leave a question open that only the whole cluster can answer: no answer to another question
/// takes that back.
#[tokio::test]
async fn what_only_the_cluster_can_answer_is_asked_of_it_again() {
    let engine = engine();
    let escache = before(&[&engine]).await;
    let of_master = |request: &Seen| {
        request.api == Api::Version && !request.query.as_deref().unwrap_or_default().contains("local=true")
    };
    engine.on_any().when(of_master).always(Twist::Drop);
    probe::learn(&escache.proxy, probe::ask(&escache.proxy).await);
    assert_eq!(escache.send("GET", "/logs/_doc/1", &[], "").await.status, 200);
    assert_eq!(ready(&escache).await, no("not all that a health check asks"));
    engine.calm();
    probe::learn(&escache.proxy, probe::ask(&escache.proxy).await);
    assert_eq!(ready(&escache).await, yes());
}

/// A host that accepts and says nothing.
#[tokio::test]
async fn who_is_silent_serves_nobody() {
    let engine = engine();
    let escache = before(&[&engine]).await;
    engine.on(Api::Version).always(Twist::Hang);
    escache.proxy.upstream.check_hosts(false).await;
    assert_eq!(ready(&escache).await, no("no host says who it is"));
    engine.calm();
    escache.proxy.upstream.check_hosts(true).await;
    assert_eq!(ready(&escache).await, yes());
}

/// A host that belongs to another cluster, and one that came back and does not tell to which.
#[tokio::test]
async fn who_does_not_show_the_cluster_serves_nobody() {
    let (one, other) = (engine(), engine());
    let escache = before(&[&one, &other]).await;
    assert_eq!(ready(&escache).await, yes());
    one.stop().await;
    escache.proxy.upstream.check_hosts(false).await;
    assert_eq!(ready(&escache).await, no(REFUSED));
    one.on_any().always(Twist::error(401, "security_exception", "who are you"));
    one.start_again();
    // the time that it is left for
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    escache.proxy.upstream.check_hosts(true).await;
    assert_eq!(ready(&escache).await, no("no host shows the cluster"));
    assert_eq!(escache.send("GET", "/logs/_doc/1", &[], "").await.status, 502);
    one.calm();
    escache.proxy.upstream.check_hosts(false).await;
    assert_eq!(ready(&escache).await, yes());
}

/// Whatever would have kept an answer out of the cache: where there is none, that is the reason.
#[tokio::test]
async fn an_answer_that_the_engine_did_not_give_is_told_as_such() {
    let (long, short) = (Duration::from_secs(60), Duration::from_millis(300));
    for (twist, limit, status) in
        [(Twist::Drop, long, 502), (Twist::Truncate(10), long, 502), (Twist::Hang, short, 504)]
    {
        let engine = engine();
        let limited = |settings: &mut ProxySettings| settings.upstream.response_timeout = limit;
        let escache = Escache::start_with(&engine.url(), limited).await;
        engine.on(Api::Search).always(twist);
        let miss = escache.send("GET", SEARCH, &[], "").await;
        let told = verdict(&miss.headers).1;
        assert!(miss.status == status && told.ends_with("; detail=no-answer"), "{} {told}", miss.status);
        engine.stop().await;
        for (method, path) in
            [("GET", SEARCH), ("GET", "/logs/_search?q=a:now"), ("PUT", "/logs/_doc/1"), ("GET", "/_echo")]
        {
            let answer = escache.send(method, path, &[], "").await;
            let told = verdict(&answer.headers).1;
            assert!(answer.status == 502 && told.ends_with("; detail=no-answer"), "{method} {path}: {told}");
        }
    }
}

/// A server that answers whatever comes with this.
async fn server(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                }
            });
        }
    });
    url
}

/// What looks like no engine is named, and is passed requests all the same: to be wrong about it must cost nobody anything.
#[tokio::test]
async fn an_upstream_that_looks_like_no_engine_is_named_and_used() {
    let html = "<title>Welcome</title>";
    let future = r#"{"version": {"number": "1.2.3", "distribution": "future"}, "tagline": "Find"}"#;
    for (status, kind, body, gave) in [
        ("200 OK", "text/html; charset=utf-8", html, Some("GET / gave 200 OK, text/html")),
        ("404 Not Found", "text/html", html, Some("GET / gave 404 Not Found, text/html")),
        ("200 OK", "application/json", "{}", Some("GET / gave 200 OK, application/json")),
        ("200 OK", "text/(html)", html, Some("GET / gave 200 OK")),
        // an engine that nobody knows yet, one that wants credentials, and one in trouble
        ("200 OK", "application/json", future, None),
        ("401 Unauthorized", "application/json", "{}", None),
        ("403 Forbidden", "text/html", html, None),
        ("503 Service Unavailable", "text/html", html, None),
    ] {
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}");
        let escache = Escache::start(&server(answer).await).await;
        let detail = gave.map_or(String::new(), |gave| {
            format!("upstream: does not look like Elasticsearch or OpenSearch ({gave})\n")
        });
        assert_eq!(ready(&escache).await, (200, format!("ready\n{detail}")), "{status} {kind} {body}");
        let overview = escache.client.get(format!("{}/overview", escache.admin)).await.json();
        assert_eq!(overview["stranger"].as_str(), gave);
        let passed = escache.send("GET", "/index.html", &[], "").await;
        assert_eq!((passed.status.to_string(), passed.text().as_str()), (status[..3].to_owned(), body));
    }
}

/// What it looked like is no last word.
#[tokio::test]
async fn an_engine_that_takes_the_place_of_a_stranger_is_one() {
    let engine = engine_of(Flavour::Os2, &["logs"]);
    engine.on_any().always(Twist::Status(200, "hello".into()));
    let escache = before(&[&engine]).await;
    assert!(ready(&escache).await.1.starts_with("ready\nupstream: does not look like"));
    engine.calm();
    probe::learn(&escache.proxy, probe::ask(&escache.proxy).await);
    assert_eq!(ready(&escache).await, yes());
}
