//! What networks do to answers: a broken one is never stored, and never presented as whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::engine::{Api, Engine, Flavour, Twist, engine_with};
use crate::support::escache::{Escache, verdict};
use crate::support::middleman::{Fault, Middleman};
use crate::support::patience::{ends, until};

const SEARCH: &str = "/logs/_search";

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long an engine may be silent, where it is.
const SILENCE: Duration = Duration::from_secs(2);

fn engine() -> Engine {
    engine_with(Flavour::Es8, json!({"team": "a", "text": "x".repeat(2_000)}))
}

/// escache, and a network that will have this fault.
async fn in_front_of(middleman: &Middleman, fault: &Fault, max_entry_size: usize) -> Escache {
    Escache::start_with(&middleman.url(), |settings| {
        if matches!(fault, Fault::Silence(_)) {
            settings.upstream.response_timeout = SILENCE;
        }
        settings.policy.max_entry_size = max_entry_size;
    })
    .await
}

/// What a client sees of a broken answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    /// The engine's own answer.
    Whole,
    /// An error of this status, in the shape of the engines.
    Error(u16),
    /// An answer that breaks off: no client takes it for whole.
    Broken,
    /// What is not the engine's answer as it was, but was all that HTTP said there was: passed on, never stored.
    AsItCame,
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

/// A search's answer that lacks its end.
const BEGIN: &str =
    r#"{"took":1,"timed_out":false,"_shards":{"total":1,"successful":1,"skipped":0,"failed":0},"hits""#;

fn instead(headers: &str, body: &str) -> Fault {
    Fault::Instead(format!("{HEAD}{headers}\r\n\r\n{body}").into_bytes())
}

const fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// Every fault; what a client sees of an answer that is taken whole before it goes on, and of one that streams.
fn faults() -> Vec<(&'static str, Fault, Seen, Seen)> {
    use Seen::{AsItCame, Broken, Error, Whole};
    let chunked = "transfer-encoding: chunked";
    let chunk = format!("{:x}\r\n{BEGIN}\r\n", BEGIN.len());
    vec![
        ("nothing", Fault::None, Whole, Whole),
        ("one byte at a time", Fault::Bytewise, Whole, Whole),
        ("latency", Fault::Delay(millis(20)..millis(21), 0), Whole, Whole),
        ("jitter", Fault::Delay(millis(0)..millis(20), 1), Whole, Whole),
        ("other jitter", Fault::Delay(millis(0)..millis(20), 2), Whole, Whole),
        ("reset before the answer", Fault::Reset(0), Error(502), Error(502)),
        ("reset in the status line", Fault::Reset(9), Error(502), Error(502)),
        ("reset in the head", Fault::Reset(40), Error(502), Error(502)),
        ("reset in the body", Fault::Reset(900), Error(502), Broken),
        ("closed before the answer", Fault::Close(0), Error(502), Error(502)),
        ("closed in the head", Fault::Close(40), Error(502), Error(502)),
        ("closed in the body", Fault::Close(900), Error(502), Broken),
        ("half-closed in the body", Fault::HalfClose(900), Error(502), Broken),
        ("black hole", Fault::Silence(0), Error(504), Error(504)),
        ("black hole in the head", Fault::Silence(40), Error(504), Error(504)),
        ("black hole in the body", Fault::Silence(900), Error(504), Broken),
        ("the request is cut off", Fault::CutRequest(30), Error(502), Error(502)),
        ("length too long", instead("content-length: 5000", BEGIN), Error(502), Broken),
        ("length too short", instead("content-length: 20", BEGIN), AsItCame, AsItCame),
        ("two lengths", instead("content-length: 20\r\ncontent-length: 30", BEGIN), Error(502), Error(502)),
        ("no number", instead("content-length: 2O", BEGIN), Error(502), Error(502)),
        ("negative length", instead("content-length: -1", BEGIN), Error(502), Error(502)),
        ("chunks without an end", instead(chunked, &chunk), Error(502), Broken),
        ("a chunk cut off", instead(chunked, &chunk[..60]), Error(502), Broken),
        ("a chunk of no size", instead(chunked, &format!("{chunk}zz\r\n{BEGIN}")), Error(502), Broken),
        ("chunks that end too early", instead(chunked, &format!("{chunk}0\r\n\r\n")), AsItCame, AsItCame),
        ("no length at all", instead("connection: close", BEGIN), AsItCame, AsItCame),
        ("no HTTP", Fault::Instead(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()), Error(502), Error(502)),
    ]
}

/// What a client sees of a search.
async fn seen(escache: &Escache, path: &str, whole: &Value) -> Seen {
    let url = format!("{}{path}", escache.url);
    match escache.client.try_request("POST", &url, &[("content-type", "application/json")], "{}").await {
        Err(_) => Seen::Broken,
        Ok(answer) if answer.status != 200 => {
            assert_eq!(answer.json()["status"], answer.status, "{}", answer.text());
            assert!(answer.json()["error"]["reason"].as_str().unwrap().starts_with("escache: "));
            Seen::Error(answer.status)
        }
        Ok(answer) => match serde_json::from_slice::<Value>(&answer.body) {
            Ok(json) if json["hits"] == whole["hits"] => Seen::Whole,
            _ => Seen::AsItCame,
        },
    }
}

#[tokio::test]
async fn a_broken_answer_is_never_stored_nor_presented_as_whole() {
    let engine = engine();
    let whole = escache_less(&engine).await;
    for (name, fault, taken, streamed) in faults() {
        // taken whole; larger than an entry may be, so that it streams; and not cached at all
        for (path, max, expected) in
            [(SEARCH, 1 << 20, taken), (SEARCH, 50, streamed), ("/logs/_search?scroll=1m", 1 << 20, streamed)]
        {
            let middleman = Middleman::before(engine.addr());
            let escache = in_front_of(&middleman, &fault, max).await;
            middleman.set(fault.clone());
            let what = format!("{name}, {path}, {max}");
            let found = seen(&escache, path, &whole).await;
            assert_eq!(found, expected, "{what}");
            let stored = escache.proxy.store.iter().count();
            assert_eq!(stored, usize::from(expected == Seen::Whole && max > 50 && path == SEARCH), "{what}");
            middleman.set(Fault::None);
            // what is sent once on a connection that ends just then is told to be lost
            let again = match seen(&escache, path, &whole).await {
                Seen::Error(502) if path != SEARCH => seen(&escache, path, &whole).await,
                found => found,
            };
            assert_eq!(again, Seen::Whole, "after {what}");
            for (_, entry) in escache.proxy.store.iter() {
                assert_eq!(serde_json::from_slice::<Value>(entry.body()).unwrap()["hits"], whole["hits"]);
            }
        }
    }
}

async fn escache_less(engine: &Engine) -> Value {
    crate::support::http::Client::new().get(format!("{}{SEARCH}", engine.url())).await.json()
}

/// A body that stops in the middle: who is told of it waits for a while, and no longer, whichever way it goes.
#[tokio::test]
async fn a_body_that_stops_is_given_up() {
    let engine = engine();
    let escache =
        Escache::start_with(&engine.url(), |settings| settings.upstream.response_timeout = SILENCE).await;
    let errors = || escache.proxy.stats.plain.upstream_errors.get();
    // a statistic that is read whole; a document that streams
    for (path, api, status) in [
        ("/_stats/request_cache", Api::Stats, Some(504)),
        ("/logs/_doc/1", Api::Doc, None),
        ("/logs/_search?size=7", Api::Search, Some(504)),
    ] {
        let before = errors();
        let gate = engine.gate_body(api);
        let url = format!("{}{path}", escache.url);
        let answer = escache.client.try_request("GET", &url, &[], "");
        let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("{path} hangs"));
        assert_eq!(answer.ok().map(|answer| answer.status), status, "{path}");
        assert!(errors() > before, "{path}");
        gate.release();
    }
    assert_eq!(escache.proxy.store.iter().count(), 0);
}

/// A network that is slow for one answer holds up nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_late_is_the_engines_all_the_same() {
    let engine = engine();
    let middleman = Middleman::before(engine.addr());
    let escache =
        Escache::start_with(&middleman.url(), |s| s.upstream.response_timeout = Duration::from_secs(60))
            .await;
    middleman.set(Fault::Wait);
    let (client, url) = (escache.client.clone(), format!("{}{SEARCH}", escache.url));
    let late = tokio::spawn(async move { client.get(url).await });
    until("it is asked", async || middleman.searches() > 0).await;
    for _ in 0..10 {
        assert_eq!(escache.send("GET", "/logs/_doc/1", &[], "").await.status, 200);
    }
    assert!(!late.is_finished());
    // meanwhile the target changes: the late answer carries the generation of before, and is not served
    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
    middleman.open();
    assert_eq!(late.await.unwrap().status, 200);
    let next = escache.send("GET", SEARCH, &[], "").await;
    assert_eq!((verdict(&next.headers).0, next.json()["hits"]["total"]["value"].clone()), ("MISS", 2.into()));
}

/// Searches that overtake each other on a network with jitter get each its own answer, and none of before a change that
/// they came after.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_overtake_each_other_are_not_mixed_up() {
    let engine = engine();
    let middleman = Middleman::before(engine.addr());
    let escache = Escache::start(&middleman.url()).await;
    for round in 0..5_u64 {
        middleman.set(Fault::Delay(millis(0)..millis(10), round));
        engine.index("logs", &format!("more-{round}"), json!({"team": "b"}));
        engine.refresh("logs");
        let ask = async |size: u64| {
            let answer = escache.send("GET", &format!("{SEARCH}?size={}", size % 7), &[], "").await;
            assert_eq!(answer.status, 200);
            let hits = answer.json()["hits"].clone();
            assert_eq!(hits["total"]["value"], round + 2, "{size}");
            assert_eq!(hits["hits"].as_array().unwrap().len() as u64, (size % 7).min(round + 2), "{size}");
        };
        futures_util::future::join_all((0..30).map(ask)).await;
    }
}

/// A read goes to another host if its answer never began; one whose answer has begun does not.
#[tokio::test]
async fn a_read_whose_answer_never_began_goes_elsewhere() {
    for (fault, expected) in [(Fault::Reset(0), 200), (Fault::Close(40), 200), (Fault::Reset(900), 502)] {
        let one = engine();
        let two = one.another_host();
        let middleman = Middleman::before(one.addr());
        let escache = Escache::start_with(&middleman.url(), |settings| {
            settings.upstream.hosts.push(escache::upstream::Host::parse(&two.url()).unwrap());
        })
        .await;
        middleman.set(fault.clone());
        let mut statuses = Vec::new();
        for number in 0..4 {
            statuses.push(escache.send("GET", &format!("{SEARCH}?from={number}"), &[], "").await.status);
        }
        assert_eq!(statuses.iter().any(|status| *status != 200), expected != 200, "{fault:?}: {statuses:?}");
        assert!(middleman.searches() > 0);
    }
}

/// A write of which nothing was sent goes to another host, with all of its body; one that was sent does not.
#[tokio::test]
async fn a_write_goes_to_another_host_only_if_nothing_of_it_was_sent() {
    for length in [20, 3_000_000] {
        let one = engine();
        let two = one.another_host();
        let escache = Escache::in_front_of(&[&one, &two], |_| {}).await;
        // no connection is left that could be reused
        one.stop().await;
        let body = format!("{}\n", "x".repeat(length - 1));
        for _ in 0..4 {
            let answer = escache.send("POST", "/_bulk", &[], &body).await;
            assert!(answer.status < 300, "{} {}", answer.status, answer.text());
        }
        assert_eq!((two.seen(Api::Bulk), two.body_bytes(Api::Bulk)), (4, 4 * length as u64));
        assert_eq!(one.seen(Api::Bulk), 0);
        // one that was sent may have been carried out
        two.on(Api::Bulk).next(Twist::DropAfter);
        one.start_again();
        let sent = escache.send("POST", "/_bulk", &[], &body).await;
        assert_eq!((sent.status, two.seen(Api::Bulk), one.seen(Api::Bulk)), (502, 5, 0));
    }
}

/// An engine behind something that closes each connection when a second request comes on it, as a balancer may that has
/// just found it idle. Counts them.
async fn hangs_up() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let cut = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&cut);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if socket.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let answer =
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                let _ = socket.write_all(answer).await;
                if socket.read(&mut head).await.unwrap_or(0) > 0 {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    (url, cut)
}

/// There is one host, whose connections are open no longer than it likes: reads do not notice. Of a write nobody knows
/// whether it was carried out.
#[tokio::test]
async fn a_connection_that_is_closed_as_it_is_used_again_costs_no_read() {
    let (url, cut) = hangs_up().await;
    let escache = Escache::start(&url).await;
    let cut = || cut.load(Ordering::SeqCst);
    let mut asked = 0;
    while cut() < 3 {
        asked += 1;
        assert!(asked < 1_000, "no connection is used again");
        assert_eq!(escache.send("GET", "/logs/_doc/1", &[], "").await.status, 200, "after {} cuts", cut());
    }
    for (method, path) in [("DELETE", "/logs/_doc/1"), ("GET", "/_search/scroll?scroll_id=x")] {
        let before = cut();
        loop {
            let status = escache.send(method, path, &[], "").await.status;
            assert_eq!((status, cut()), if cut() == before { (200, before) } else { (502, before + 1) });
            if status == 502 {
                break;
            }
        }
    }
}

/// An engine that answers every question with nothing, and reads no more than a kilobyte of a bulk request.
async fn deaf_to_bulk() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 1_024];
                loop {
                    let read = socket.read(&mut head).await.unwrap_or(0);
                    if head.starts_with(b"POST /_bulk") {
                        std::future::pending::<()>().await;
                    }
                    let answer =
                        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                    if read == 0 || socket.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn an_engine_that_stops_reading_a_write_is_given_up() {
    let url = deaf_to_bulk().await;
    let escache = Escache::start_with(&url, |settings| settings.upstream.response_timeout = SILENCE).await;
    let errors = || escache.proxy.stats.plain.upstream_errors.get();
    let before = errors();
    let mut client = TcpStream::connect(escache.url.strip_prefix("http://").unwrap()).await.unwrap();
    const LENGTH: usize = 256 << 20;
    let head = format!("POST /_bulk HTTP/1.1\r\nhost: x\r\ncontent-length: {LENGTH}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    // more than all buffers on the way hold
    let lines = vec![b'\n'; 1 << 20];
    let writer = tokio::spawn(async move { while client.write_all(&lines).await.is_ok() {} });
    until("it is given up", async || errors() > before).await;
    // and the client, which has not looked for an answer, cannot go on sending for ever
    ends("its connection", writer).await.unwrap();
}

/// All hosts are left for their silence: one request at a time asks whether they are back, the others do not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_engine_holds_up_one_request_at_a_time() {
    let engine = engine();
    let escache = Arc::new(Escache::start(&engine.url()).await);
    engine.on(Api::Version).always(Twist::Hang);
    escache.proxy.upstream.check_hosts(false).await;
    assert_eq!(escache.stats().await["hosts"][0]["ejected"], true);
    let gate = engine.gate_before(Api::Version);
    let get = || {
        let escache = Arc::clone(&escache);
        tokio::spawn(async move { escache.send("GET", "/logs/_doc/1", &[], "").await.status })
    };
    let first = get();
    gate.arrived(1).await;
    for _ in 0..5 {
        assert_eq!(get().await.unwrap(), 502);
        assert!(!first.is_finished(), "who asks waits");
    }
    assert_eq!(gate.blocked(), 1, "one asks");
    assert_eq!(engine.seen(Api::Doc), 0);
    engine.calm();
    // it was told to hang before that
    assert_eq!(first.await.unwrap(), 504);
    gate.release();
    for _ in 0..3 {
        assert_eq!(get().await.unwrap(), 200, "and by its first answer it is back");
    }
}
