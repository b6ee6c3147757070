//! Misses that do not wait for a reading, and entries that leave when their target has changed.

use std::time::Duration;

use serde_json::json;

use crate::support::engine::{Api, engine};
use crate::support::escache::{Escache, verdict};
use crate::support::http::Client;
use crate::support::patience::until;

const STORED: &str = "escache; fwd=miss; stored";

async fn ask(escache: &Escache, size: usize) -> (String, String) {
    let answer = escache.send("GET", &format!("/logs/_search?size={size}"), &[], "").await;
    let (cache, status) = verdict(&answer.headers);
    (cache.to_owned(), status.to_owned())
}

/// The target was read, and again after so long that its generation probably lasts.
async fn known_for_long(escache: &Escache) {
    assert_eq!(ask(escache, 1).await.1, STORED);
    tokio::time::pause();
    // shorter than connections are kept without a request
    tokio::time::advance(Duration::from_secs(600)).await;
    tokio::time::resume();
    assert_eq!(ask(escache, 1).await.0, "HIT");
}

fn early(escache: &Escache) -> (u64, u64) {
    let plain = &escache.proxy.stats.plain;
    (plain.early.get(), plain.early_dead.get())
}

#[tokio::test]
async fn a_miss_waits_for_no_reading_where_the_target_is_quiet() {
    let engine = engine();
    let escache = Escache::start(&engine.url()).await;
    known_for_long(&escache).await;
    assert_eq!(early(&escache), (0, 0));

    let readings = engine.seen(Api::Stats);
    assert_eq!(ask(&escache, 2).await.1, STORED);
    assert_eq!((engine.seen(Api::Stats), early(&escache)), (readings, (1, 0)));
    // what it has stored is served after a reading, as anything else
    assert_eq!(ask(&escache, 2).await.0, "HIT");
    assert_eq!((engine.seen(Api::Stats), early(&escache)), (readings + 1, (1, 0)));
}

#[tokio::test]
async fn an_entry_that_is_dead_on_arrival_is_counted_and_never_served() {
    let engine = engine();
    let escache = Escache::start(&engine.url()).await;
    known_for_long(&escache).await;

    engine.index("logs", "2", json!({"team": "b"}));
    let before = engine.seen(Api::Search);
    assert_eq!(ask(&escache, 2).await.1, STORED);
    engine.refresh("logs");
    let answer = escache.send("GET", "/logs/_search?size=2", &[], "").await;
    assert_eq!((verdict(&answer.headers).1, engine.seen(Api::Search)), (STORED, before + 2));
    assert_eq!(answer.json()["hits"]["total"]["value"], 2);
    assert_eq!(early(&escache), (1, 1));
    // it has changed just now, so the next miss waits
    assert_eq!(ask(&escache, 3).await.1, STORED);
    assert_eq!(early(&escache), (1, 1));
}

/// A setting of the cluster that has its old value again by the next reading leaves nothing to see, in no counter and no
/// version of an index. What was answered in between is in no hit.
#[tokio::test]
async fn what_was_asked_for_under_another_setting_of_the_cluster_is_never_served() {
    let engine = engine();
    let escache = Escache::start(&engine.url()).await;
    let set = async |value: &str| {
        let body = json!({"persistent": {"search.allow_expensive_queries": value}});
        let (status, _) = Client::at(&engine.url()).json("PUT", "/_cluster/settings", Some(body)).await;
        assert_eq!(status, 200);
    };
    set("false").await;
    known_for_long(&escache).await;

    set("true").await;
    assert_eq!(ask(&escache, 2).await.1, STORED);
    assert_eq!(early(&escache), (1, 0), "under the generation that was read before");
    set("false").await;
    assert_eq!(ask(&escache, 2).await.0, "MISS");
    assert_eq!(ask(&escache, 1).await.0, "HIT", "the generation is what it was");
}

/// R5: who comes while such a search is under way needs a reading of its own before it may share the answer.
#[tokio::test]
async fn who_joins_a_search_that_did_not_wait_has_a_reading() {
    let engine = engine();
    let escache = Escache::start(&engine.url()).await;
    known_for_long(&escache).await;

    let gate = engine.gate_after(Api::Search);
    let two = || {
        let (client, url) = (escache.client.clone(), format!("{}/logs/_search?size=2", escache.url));
        tokio::spawn(async move { client.get(url).await })
    };
    let leader = two();
    gate.arrived(1).await;
    // the engine has answered, and then the index changes
    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
    let late = two();
    gate.arrived(2).await;
    gate.release();
    let (leader, late) = (leader.await.unwrap(), late.await.unwrap());
    assert_eq!(leader.json()["hits"]["total"]["value"], 1);
    assert_eq!(late.json()["hits"]["total"]["value"], 2, "{}", verdict(&late.headers).1);
    assert_eq!(early(&escache), (1, 1));
}

/// Entries of a target that has changed are gone soon, although nobody asks for them again.
#[tokio::test(flavor = "multi_thread")]
async fn entries_leave_when_their_target_has_changed() {
    let engine = engine();
    engine.index("other", "1", json!({"team": "a"}));
    engine.refresh("other");
    let escache = Escache::start(&engine.url()).await;
    for size in 1..=20 {
        assert_eq!(ask(&escache, size).await.1, STORED);
    }
    escache.send("GET", "/other/_count", &[], "").await;
    let store = &escache.proxy.store;
    assert_eq!(store.iter().count(), 21);

    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
    assert_eq!(ask(&escache, 1).await.1, STORED);
    // the other target's, and the one that was asked for since
    until("they have left", async || store.iter().count() == 2).await;
    assert_eq!(escache.send("GET", "/other/_count", &[], "").await.status, 200);
    assert_eq!(ask(&escache, 1).await.0, "HIT");
    assert_eq!(store.iter().count(), 2);
    store.settle();
    let swept = escache.proxy.stats.plain.swept.get();
    assert!((19..=20).contains(&swept), "{swept}");
    assert_eq!(escache.proxy.stats.total().memory, store.size().1);
}

/// With `stale_if_error` they go to where such entries are kept, bounded by `limits.max_stale_memory`.
#[tokio::test(flavor = "multi_thread")]
async fn entries_that_stale_if_error_wants_are_kept_beside_the_others() {
    let engine = engine();
    let escache = Escache::start_with(&engine.url(), |settings| {
        settings.policy.stale_if_error = Some(Duration::from_secs(300));
    })
    .await;
    for size in 1..=20 {
        assert_eq!(ask(&escache, size).await.1, STORED);
    }
    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
    assert_eq!(ask(&escache, 1).await.1, STORED);
    let store = &escache.proxy.store;
    until("they have left", async || {
        store.settle();
        store.iter().count() == 1 && store.superseded().0 == 19
    })
    .await;
    engine.on_any().always(crate::support::engine::Twist::error(503, "unavailable_exception", "in trouble"));
    assert_eq!(ask(&escache, 7).await.0, "STALE");
}
