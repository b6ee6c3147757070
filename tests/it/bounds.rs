//! What all requests together may take: memory outside the cache (`limits.max_buffered`), and turns at the engine
//! (`limits.max_concurrent_misses`).

use escache::outcome::Reason;
use escache::proxy::ProxySettings;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::support::engine::{Api, Engine, Twist, engine};
use crate::support::escache::{Escache, verdict};
use crate::support::http::Response;
use crate::support::patience::until;
use crate::support::wire::{Wire, address};

const KB: u64 = 1 << 10;
const MB: u64 = 1 << 20;
const NO_ROOM: &str = "escache; fwd=bypass; detail=memory-limit";

async fn within(change: impl FnOnce(&mut ProxySettings)) -> (Engine, Escache) {
    let engine = engine();
    let escache = Escache::start_with(&engine.url(), change).await;
    (engine, escache)
}

fn held(escache: &Escache) -> u64 {
    escache.proxy.budget.held()
}

/// Everything is given back, as soon as the store has done what it puts off.
async fn until_given_back(escache: &Escache) {
    until("all is given back", async || {
        escache.proxy.store.settle();
        held(escache) == 0
    })
    .await;
}

/// A search in so many bytes.
fn long_search(bytes: usize, size: usize) -> String {
    let text = format!("{{\"size\":{size}");
    let space = " ".repeat(bytes - text.len() - 1);
    format!("{text}{space}}}")
}

fn post(bytes: usize) -> String {
    format!(
        "POST /logs/_search HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n"
    )
}

/// A client that has sent the first part of its body, and pauses.
async fn pausing(escache: &Escache, body: &str, sent: usize) -> Wire {
    let mut wire = Wire::to(&escache.url).await;
    wire.send(post(body.len())).await;
    wire.send(&body[..sent]).await;
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_pause_have_one_budget() {
    let (engine, escache) = within(|s| s.max_buffered = 64 * KB).await;
    let (one, other) = (long_search(60_000, 1), long_search(60_000, 2));
    let mut first = pausing(&escache, &one, 40_000).await;
    until("the first is held", async || held(&escache) > 32 * KB).await;

    // there is no room for the second: it goes to the engine as it comes, and is answered while the first is still held
    let mut second = pausing(&escache, &other, 40_000).await;
    until("it streams", async || escache.proxy.stats.plain.upstream_requests.get() == 1).await;
    assert!(held(&escache) <= 64 * KB);
    second.send(&other[40_000..]).await;
    let answer = second.answer().await;
    assert!(answer.status == 200 && answer.text.contains(NO_ROOM), "{}", answer.text);
    // what comes whole with its head needs no room
    let small = escache.search("/logs/_search", json!({"size": 3})).await;
    assert_eq!(verdict(&small.headers).1, "escache; fwd=miss; stored");

    first.send(&one[40_000..]).await;
    let answer = first.answer().await;
    assert!(answer.text.contains("escache; fwd=miss; stored"), "{}", answer.text);
    until_given_back(&escache).await;
    // and what went past the cache may be cached now
    second.send(post(other.len()) + &other).await;
    assert!(second.answer().await.text.contains("escache; fwd=miss; stored"));
    assert_eq!(engine.seen(Api::Search), 4);

    // who leaves in the middle, gives back as well
    let leaving = pausing(&escache, &one, 40_000).await;
    until("it is held", async || held(&escache) > 32 * KB).await;
    drop(leaving);
    until_given_back(&escache).await;
}

/// What is announced and never comes is not paid for.
#[tokio::test(flavor = "multi_thread")]
async fn an_announced_length_takes_nothing() {
    let (_engine, escache) = within(|s| s.max_buffered = 64 * KB).await;
    let body = long_search(1_000_000, 1);
    let _waits = join_all((0..3).map(|_| pausing(&escache, &body, 1_000))).await;
    let late = long_search(30_000, 1);
    let mut wire = pausing(&escache, &late, 10_000).await;
    until("it is held", async || held(&escache) > 8 * KB).await;
    wire.send(&late[10_000..]).await;
    assert!(wire.answer().await.text.contains("stored"));
}

/// A client that asks and reads nothing, with buffers as small as they may be.
async fn deaf(escache: &Escache, size: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let stream = socket.connect(address(&escache.url)).await.unwrap();
    let mut wire = Wire(stream);
    let body = json!({ "size": size }).to_string();
    wire.send(post(body.len()).replace("Host: a", "Host: a\r\nConnection: close") + &body).await;
    wire.0
}

async fn read(mut stream: TcpStream) -> (String, Value) {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    // chunks of what streams are not taken apart
    (head.to_ascii_lowercase(), serde_json::from_str(body).unwrap_or_default())
}

/// An engine whose answers to all searches have about seven megabytes.
async fn large(change: impl FnOnce(&mut ProxySettings)) -> (Engine, Escache) {
    let (engine, escache) = within(|s| {
        s.policy.max_entry_size = 8 << 20;
        s.policy.compression = false;
        // room for one
        s.capacity = 9 * MB;
        s.max_buffered = 18 * MB;
        change(s);
    })
    .await;
    for id in 2..9 {
        engine.index("logs", &id.to_string(), json!({ "text": "x".repeat(1 << 20) }));
    }
    engine.refresh("logs");
    (engine, escache)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_have_one_budget() {
    let (engine, escache) = large(|_| {}).await;
    let mut readers = Vec::new();
    for size in 10..18 {
        readers.push(deaf(&escache, size).await);
        until("it is answered", async || {
            escache.proxy.stats.requests(escache_api(), MISS) == size as u64 - 9
        })
        .await;
        let (held, stored) = (held(&escache), escache.proxy.store.size().1);
        assert!(held + stored <= 27 * MB, "{held} held, {stored} stored");
    }
    let no_room = escache.proxy.stats.reason(Reason::MemoryLimit);
    assert!((4..8).contains(&no_room), "{no_room} of 8 had no room");
    // those whose answers have left the cache while they are read are counted
    assert!(held(&escache) > 7 * MB, "{}", held(&escache));
    let direct = escache.client.get(engine.url() + "/logs/_search").await.json();
    for (number, reader) in readers.into_iter().enumerate() {
        let (head, body) = read(reader).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert_eq!(body["hits"], direct["hits"], "reader {number}: {head}");
    }
    until_given_back(&escache).await;
    // there is room again
    let again = escache.search("/logs/_search", json!({"size": 99})).await;
    assert_eq!(verdict(&again.headers).1, "escache; fwd=miss; stored");

    // those who leave give back as well
    let mut readers = Vec::new();
    for size in 20..23 {
        readers.push(deaf(&escache, size).await);
        until("it is answered", async || {
            escache.proxy.stats.requests(escache_api(), MISS) == size as u64 - 10
        })
        .await;
    }
    escache.proxy.store.settle();
    assert!(held(&escache) > 7 * MB, "{}", held(&escache));
    drop(readers);
    until_given_back(&escache).await;
}

const MISS: escache::outcome::Outcome = escache::outcome::Outcome::Miss;

fn escache_api() -> usize {
    escache::elastic::api::Api::Search as usize
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flight_that_is_given_up_gives_back() {
    let (engine, escache) = large(|_| {}).await;
    let gate = engine.gate_body(Api::Search);
    let searches: Vec<_> = (0..3).map(|_| spawn(&escache, "/logs/_search?size=10")).collect();
    gate.arrived(1).await;
    until("half of it is held", async || held(&escache) > 2 * MB).await;
    searches.iter().for_each(JoinHandle::abort);
    until("cancelled", async || escache.proxy.stats.plain.flights_cancelled.get() == 1).await;
    until_given_back(&escache).await;
    gate.release();
    // one that breaks off, too
    engine.on(Api::Search).next(Twist::Truncate(3 << 20));
    assert_eq!(spawn(&escache, "/logs/_search?size=10").await.unwrap().status, 502);
    until_given_back(&escache).await;
}

/// Who waits for an answer that finds no room asks for itself, as where it is too large.
#[tokio::test(flavor = "multi_thread")]
async fn followers_of_an_answer_without_room_ask_for_themselves() {
    let (engine, escache) = large(|s| s.max_buffered = MB).await;
    let gate = engine.gate_before(Api::Search);
    let searches: Vec<_> = (0..3).map(|_| spawn(&escache, "/logs/_search?size=10")).collect();
    until("all are aboard", async || escache.proxy.stats.plain.followers.get() == 2).await;
    gate.release();
    for search in searches {
        let answer = search.await.unwrap();
        assert_eq!(verdict(&answer.headers), ("MISS", "escache; fwd=miss; detail=memory-limit"));
        assert_eq!(answer.json()["hits"]["total"]["value"], 8);
    }
    assert_eq!(engine.seen(Api::Search), 3);
    until_given_back(&escache).await;
}

/// A multi search is put together in memory, also from hits alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_multi_search_is_put_together_where_there_is_room() {
    let (_engine, escache) = large(|_| {}).await;
    let ask = async || {
        let ndjson = [("content-type", "application/x-ndjson")];
        escache.send("POST", "/logs/_msearch", &ndjson, "{}\n{\"size\":10}\n").await
    };
    ask().await;
    assert_eq!(verdict(&ask().await.headers).0, "HIT");
    let room = escache.proxy.budget.take(usize::try_from(12 * MB).unwrap()).unwrap();
    let forwarded = ask().await;
    assert_eq!(verdict(&forwarded.headers).1, "escache; fwd=miss; detail=\"items-hit=0/1 memory-limit\"");
    drop(room);
    assert_eq!(verdict(&ask().await.headers).0, "HIT");
    until_given_back(&escache).await;
}

fn spawn(escache: &Escache, path: &str) -> JoinHandle<Response> {
    let (client, url) = (escache.client.clone(), format!("{}{path}", escache.url));
    tokio::spawn(async move { client.get(url).await })
}

/// Waits until so many of these were refused, and so many answered. The others are left.
async fn refused(searches: &mut Vec<JoinHandle<Response>>, number: usize, answered: usize) {
    until("some have ended", async || {
        searches.iter().filter(|search| search.is_finished()).count() >= number + answered
    })
    .await;
    let (ended, waiting): (Vec<_>, Vec<_>) = searches.drain(..).partition(JoinHandle::is_finished);
    *searches = waiting;
    let ended: Vec<_> = join_all(ended).await.into_iter().map(Result::unwrap).collect();
    let (answers, refusals): (Vec<_>, Vec<_>) = ended.iter().partition(|answer| answer.status == 200);
    assert_eq!((refusals.len(), answers.len()), (number, answered));
    for answer in refusals {
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
        assert_eq!(answer.json()["error"]["type"], "es_rejected_execution_exception");
        assert!(verdict(&answer.headers).1.ends_with("detail=misses-limit"), "{:?}", answer.headers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_that_would_be_hits_take_their_turns_when_readings_fail() {
    let (engine, escache) = within(|s| s.max_concurrent_misses = 2).await;
    escache.search("/logs/_search", json!({})).await;
    engine.on(Api::Stats).always(Twist::error(503, "unavailable", "not now"));
    let gate = engine.gate_before(Api::Search);
    let mut searches: Vec<_> = (0..10).map(|_| spawn(&escache, "/logs/_search")).collect();
    gate.arrived(2).await;
    refused(&mut searches, 6, 0).await;
    assert_eq!(gate.came(), 2, "two are under way, two wait, all others were refused");

    // what the cache never answers waits for nobody, nor does a write
    let client = escache.client.clone();
    let url = format!("{}/logs/_search", escache.url);
    let now = json!({"query": {"range": {"at": {"gte": "now"}}}});
    let bypass = tokio::spawn(async move { client.post(url, now).await });
    gate.arrived(3).await;
    let write = escache.send("PUT", "/logs/_doc/9", &[("content-type", "application/json")], "{}").await;
    assert_eq!(write.status, 201);
    gate.release();
    assert!(verdict(&bypass.await.unwrap().headers).1.contains("detail=\"now at query"));
    for search in searches {
        let answer = search.await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(verdict(&answer.headers).1, "escache; fwd=bypass; detail=generation-unknown");
    }
    // nobody has kept a turn
    let all: Vec<_> = (0..4).map(|_| spawn(&escache, "/logs/_search")).collect();
    assert!(join_all(all).await.into_iter().all(|answer| answer.unwrap().status == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_that_are_let_go_take_their_turns() {
    let (engine, escache) = within(|s| {
        s.max_concurrent_misses = 2;
        s.policy.max_entry_size = 10;
    })
    .await;
    let gate = engine.gate_before(Api::Search);
    let mut searches: Vec<_> = (0..10).map(|_| spawn(&escache, "/logs/_search")).collect();
    until("all are aboard", async || escache.proxy.stats.plain.followers.get() == 9).await;
    gate.arrived(1).await;
    gate.release_one();
    gate.arrived(2).await;
    // the leader has its answer, two ask and two wait
    refused(&mut searches, 5, 1).await;
    assert_eq!(gate.came(), 3);
    gate.release();
    for search in searches {
        assert_eq!(search.await.unwrap().status, 200);
    }
    // nor does who comes later
    assert_eq!(spawn(&escache, "/logs/_search").await.unwrap().status, 200);
}
