//! Equal concurrent misses share one upstream search, and nobody is stranded.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::engine::{Api, Engine, Twist, engine};
use crate::support::escache::{Escache, verdict};
use crate::support::patience::{PATIENCE, until};

const SEARCH: &str = "/logs/_search";

/// An engine, and escache that waits for its readings however slow this machine is: who is forwarded boards nothing.
async fn two() -> (Engine, Escache) {
    let engine = engine();
    let escache = Escache::start_with(&engine.url(), |s| s.watcher.timeout = PATIENCE * 10).await;
    (engine, escache)
}

/// Starts `n` equal searches and waits until all have taken their seats.
async fn board(escache: &Escache, n: u64) -> Vec<tokio::task::JoinHandle<crate::support::http::Response>> {
    let before = aboard(escache);
    let searches = (0..n)
        .map(|_| {
            let (client, url) = (escache.client.clone(), format!("{}{SEARCH}", escache.url));
            tokio::spawn(async move { client.get(url).await })
        })
        .collect();
    until("all are aboard", async || aboard(escache) >= before + n).await;
    searches
}

fn aboard(escache: &Escache) -> u64 {
    let plain = &escache.proxy.stats.plain;
    plain.flights.get() + plain.followers.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_equal_misses_are_one_search() {
    let (engine, escache) = two().await;
    let gate = engine.gate_before(Api::Search);
    let searches = board(&escache, 500).await;
    gate.release();
    let answers = join_all(searches).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|a| a.as_ref().unwrap().body == first.body));
    let collapsed =
        answers.iter().filter(|a| verdict(&a.as_ref().unwrap().headers).1.contains("collapsed")).count();
    assert_eq!((engine.seen(Api::Search), collapsed), (1, 499));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hangs_up_strands_nobody() {
    let (engine, escache) = two().await;
    let gate = engine.gate_before(Api::Search);
    let leader = board(&escache, 1).await.remove(0);
    gate.arrived(1).await;
    let followers = board(&escache, 499).await;
    leader.abort();
    gate.release();
    let answers = join_all(followers).await;
    assert!(answers.iter().all(|a| a.as_ref().unwrap().status == 200));
    assert_eq!((answers.len(), engine.seen(Api::Search), engine.aborted(Api::Search)), (499, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_hang_up_the_search_is_cancelled() {
    let (engine, escache) = two().await;
    let gate = engine.gate_before(Api::Search);
    let searches = board(&escache, 20).await;
    gate.arrived(1).await;
    for search in &searches {
        search.abort();
    }
    engine.until_aborted(Api::Search, 1).await;
    until("cancelled", async || escache.proxy.stats.plain.flights_cancelled.get() == 1).await;
    gate.release();
    // and the next one asks anew
    assert_eq!(verdict(&escache.search(SEARCH, json!({})).await.headers).0, "MISS");
}

/// R5: who arrives after a change may not share a search that was sent before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_never_gets_a_view_older_than_its_arrival() {
    let (engine, escache) = two().await;
    let gate = engine.gate_after(Api::Search);
    let early = board(&escache, 1).await.remove(0);
    gate.arrived(1).await;
    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
    let late = board(&escache, 2).await;
    gate.arrived(2).await;
    gate.release();
    assert_eq!(early.await.unwrap().json()["hits"]["total"]["value"], 1);
    for answer in join_all(late).await {
        assert_eq!(answer.unwrap().json()["hits"]["total"]["value"], 2);
    }
    let now = escache.send("GET", SEARCH, &[], "").await;
    assert_eq!((verdict(&now.headers).0, &now.json()["hits"]["total"]["value"]), ("HIT", &json!(2)));
    assert_eq!(engine.seen(Api::Search), 2);
}

/// R1: an answer that is newer than its tag can never be a hit.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_tagged_with_what_was_read_before_it_was_asked_for() {
    let (engine, escache) = two().await;
    let gate = engine.gate_before(Api::Search);
    let search = board(&escache, 1).await.remove(0);
    gate.arrived(1).await;
    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
    gate.release();
    assert_eq!(search.await.unwrap().json()["hits"]["total"]["value"], 2);
    let again = escache.search(SEARCH, json!({})).await;
    assert_eq!(verdict(&again.headers).0, "MISS");
}

/// R7: a clear while a fill is in flight.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_before_a_clear_is_not_stored() {
    for path in ["/_cache/clear", "/logs/_cache/clear?request=true"] {
        let (engine, escache) = two().await;
        let gate = engine.gate_after(Api::Search);
        let search = board(&escache, 1).await.remove(0);
        gate.arrived(1).await;
        let cleared = escache.send("POST", path, &[], "").await;
        assert_eq!(cleared.status, 200, "{}", cleared.text());
        gate.release();
        let answer = search.await.unwrap();
        assert_eq!(verdict(&answer.headers), ("MISS", "escache; fwd=miss; detail=purged"), "{path}");
        assert_eq!(verdict(&escache.search(SEARCH, json!({})).await.headers).0, "MISS", "{path}");
        assert_eq!(verdict(&escache.search(SEARCH, json!({})).await.headers).0, "HIT", "{path}");
        escache.send("POST", path, &[], "").await;
        assert_eq!(verdict(&escache.search(SEARCH, json!({})).await.headers).0, "MISS", "{path}");
        escache.send("POST", "/logs/_cache/clear?query=true", &[], "").await;
        assert_eq!(verdict(&escache.search(SEARCH, json!({})).await.headers).0, "HIT", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_go_to_all_who_wait_and_are_not_stored() {
    let (engine, escache) = two().await;
    engine.on(Api::Search).next(Twist::error(503, "unavailable", "not now"));
    let gate = engine.gate_before(Api::Search);
    let searches = board(&escache, 10).await;
    gate.release();
    for answer in join_all(searches).await {
        assert_eq!(answer.unwrap().status, 503);
    }
    assert_eq!(engine.seen(Api::Search), 1);
    assert_eq!(escache.search(SEARCH, json!({})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_answer_is_an_honest_error() {
    for twist in [Twist::Drop, Twist::DropAfter, Twist::Truncate(30)] {
        let (engine, escache) = two().await;
        engine.on(Api::Search).always(twist.clone());
        let answer = escache.search(SEARCH, json!({})).await;
        engine.calm();
        assert_eq!(answer.status, 502, "{twist:?}");
        assert_eq!(answer.json()["error"]["type"], "bad_gateway_exception");
        assert_eq!(verdict(&escache.search(SEARCH, json!({})).await.headers).0, "MISS");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_to_share_is_streamed_to_each() {
    let engine = Engine::start();
    for i in 0..50 {
        engine.index("logs", &i.to_string(), json!({"text": "x".repeat(100)}));
    }
    engine.refresh("logs");
    let escache = Escache::start_with(&engine.url(), |s| s.policy.max_entry_size = 1_000).await;
    for path in ["/logs/_search?size=50", "/logs/_search?size=50&filter_path=hits"] {
        let direct = escache.client.get(engine.url() + path).await.json();
        for _ in 0..3 {
            let answer = escache.client.get(format!("{}{path}", escache.url)).await;
            assert_eq!(verdict(&answer.headers), ("MISS", "escache; fwd=miss; detail=entry-too-large"));
            assert_eq!(answer.json()["hits"], direct["hits"]);
            assert_eq!(answer.json().get("_shards").is_some(), direct.get("_shards").is_some());
        }
    }
}
