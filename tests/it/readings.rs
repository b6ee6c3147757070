//! What readings cost the engine, and who waits for them.

use std::time::Duration;

use escache::policy::ReadingDearer;
use serde_json::json;

use crate::support::engine::{Api, Engine, Flavour, Twist, engine_of};
use crate::support::escache::{Escache, verdict};
use crate::support::http::Response;
use crate::support::patience::until;
use crate::support::still::{Still, wall};

fn engine(indices: &[&str]) -> Engine {
    engine_of(Flavour::Es8, indices)
}

fn spawn(escache: &Escache, index: &str) -> tokio::task::JoinHandle<Response> {
    let (client, url) = (escache.client.clone(), format!("{}/{index}/_search", escache.url));
    tokio::spawn(async move { client.get(url).await })
}

async fn outcome(escache: &Escache, index: &str) -> String {
    let answer = escache.send("GET", &format!("/{index}/_search"), &[], "").await;
    verdict(&answer.headers).1.to_owned()
}

const HIT: &str = "escache; hit";

/// Waits until so many readings have their counters, and wait for the version that closes them.
async fn counted(escache: &Escache, readings: usize) {
    until("they are counted", async || escache.proxy.watcher.closing() == readings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_question_of_the_version_closes_the_readings_of_many_targets() {
    let names: Vec<String> = (0..20).map(|number| format!("logs-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let engine = engine(&names);
    let escache = Escache::start(&engine.url()).await;
    for name in &names {
        outcome(&escache, name).await;
    }
    let versions = engine.seen(Api::Version);
    let gate = engine.gate_before(Api::Version);
    let first = spawn(&escache, names[0]);
    gate.arrived(1).await;
    let others: Vec<_> = names[1..].iter().map(|name| spawn(&escache, name)).collect();
    counted(&escache, others.len()).await;
    gate.release_one();
    gate.arrived(1).await;
    assert_eq!(verdict(&first.await.unwrap().headers).1, HIT);
    gate.release();
    for other in others {
        assert_eq!(verdict(&other.await.unwrap().headers).1, HIT);
    }
    assert_eq!(engine.seen(Api::Version) - versions, 2, "questions for {} readings", names.len());
}

/// The answer of a question that was sent before the counters had come must not close a reading.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_from_before_the_counters_closes_nothing() {
    let engine = engine(&["one", "other"]);
    let escache = Escache::start(&engine.url()).await;
    for index in ["one", "other"] {
        outcome(&escache, index).await;
    }
    // the version is asked for by another target, and answered
    let gate = engine.gate_after(Api::Version);
    let one = spawn(&escache, "one");
    gate.arrived(1).await;
    engine.put_mapping("other", json!({"properties": {"x": {"type": "keyword"}}}));
    let other = spawn(&escache, "other");
    counted(&escache, 1).await;
    gate.release();
    assert_eq!(verdict(&one.await.unwrap().headers).1, HIT);
    assert_eq!(verdict(&other.await.unwrap().headers).0, "MISS");
}

/// Readings of all targets together are limited (`freshness.max_concurrent_readings`). Who finds no place is forwarded, and
/// who shares a reading needs none.
#[tokio::test(flavor = "multi_thread")]
async fn readings_of_all_targets_are_limited() {
    let engine = engine(&["a", "b", "c"]);
    let escache = Escache::start_with(&engine.url(), |settings| {
        settings.watcher.max_concurrent = 2;
        // however slow this machine is, no call is a slow one
        settings.watcher.timeout = Duration::from_secs(600);
    })
    .await;
    for index in ["a", "b", "c"] {
        outcome(&escache, index).await;
    }
    let gate = engine.gate_before(Api::Stats);
    let mut under_way = Vec::new();
    for (number, index) in ["a", "b"].iter().enumerate() {
        under_way.push(spawn(&escache, index));
        // at the same moment both would be asked for in one call
        gate.arrived(number + 1).await;
    }
    for _ in 0..3 {
        assert_eq!(outcome(&escache, "c").await, "escache; fwd=bypass; detail=readings-limit");
    }
    let sharing = spawn(&escache, "a");
    assert_eq!(gate.came(), 2);
    gate.release();
    for served in under_way.into_iter().chain([sharing]) {
        assert_eq!(verdict(&served.await.unwrap().headers).1, HIT);
    }
    assert_eq!(outcome(&escache, "c").await, HIT);
}

/// One target whose readings fail does not stop the others, nor does one lost answer to the shared question for long.
#[tokio::test]
async fn a_lost_version_is_asked_again() {
    let engine = engine(&["one", "other"]);
    let escache = Escache::start(&engine.url()).await;
    for index in ["one", "other"] {
        outcome(&escache, index).await;
    }
    let lost = || Twist::error(503, "unavailable", "not now");
    engine.on(Api::Version).next(lost());
    assert_eq!(outcome(&escache, "one").await, HIT);
    engine.on(Api::Version).times(2, lost());
    assert_eq!(outcome(&escache, "one").await, "escache; fwd=bypass; detail=generation-unknown");
    assert_eq!(outcome(&escache, "other").await, HIT);
}

/// A reading with the text of the one before is not parsed, and every change is seen all the same.
#[tokio::test]
async fn what_does_not_change_the_counters_is_seen_too() {
    let engine = engine(&["logs"]);
    let escache = Escache::start(&engine.url()).await;
    for _ in 0..2 {
        outcome(&escache, "logs").await;
    }
    engine.put_mapping("logs", json!({"properties": {"x": {"type": "keyword"}}}));
    assert_eq!(outcome(&escache, "logs").await, "escache; fwd=miss; stored");
    assert_eq!(outcome(&escache, "logs").await, HIT);
    escache.confirm().await;
    engine.bump_state();
    assert_eq!(outcome(&escache, "logs").await, HIT);
    engine.put_alias("logs", "al");
    assert_eq!(outcome(&escache, "logs").await, "escache; fwd=miss; stored");
}

#[tokio::test]
async fn with_a_bound_a_used_target_is_read_in_the_background() {
    let engine = engine(&["logs", "unused"]);
    let bound = Duration::from_secs(60);
    let escache = Escache::start_with(&engine.url(), |settings| {
        (settings.policy.max_staleness, settings.watcher.wall) = (bound, wall);
    })
    .await;
    for index in ["unused", "logs", "logs"] {
        outcome(&escache, index).await;
    }
    let still = Still::stand();
    let gate = engine.gate_before(Api::Stats);
    let read = engine.seen(Api::Stats);
    assert_eq!(outcome(&escache, "logs").await, HIT);
    // nobody has asked for it, and nobody waits for it
    still.pass(bound * 3 / 4).await;
    gate.arrived(1).await;
    assert!(engine.last(Api::Stats).path.starts_with("/logs/"));
    assert_eq!(outcome(&escache, "logs").await, HIT);
    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
    gate.release();
    let told =
        async || escache.send("GET", "/logs/_search", &[], "").await.json()["hits"]["total"]["value"].clone();
    until("the change is seen", async || told().await == 2).await;
    // the latest reading was used, so there is one more; what nobody uses costs nothing
    still.pass(bound).await;
    engine.until_answered(Api::Stats, read + 2).await;
    for _ in 0..4 {
        still.pass(bound).await;
    }
    assert_eq!(engine.seen(Api::Stats), read + 2);
    assert!(engine.requests(Api::Stats)[read..].iter().all(|asked| asked.path.starts_with("/logs/")));
}

/// A mark calls for a reading, though one for the bound is at hand.
#[tokio::test]
async fn a_mark_is_heeded_with_a_bound() {
    let engine = engine(&["logs"]);
    let escache =
        Escache::start_with(&engine.url(), |s| s.policy.max_staleness = Duration::from_secs(3600)).await;
    for _ in 0..2 {
        outcome(&escache, "logs").await;
    }
    let read = engine.seen(Api::Stats);
    assert_eq!((outcome(&escache, "logs").await.as_str(), engine.seen(Api::Stats)), (HIT, read));
    escache.send("POST", "/logs/_refresh", &[], "").await;
    assert_eq!(outcome(&escache, "logs").await, "escache; fwd=miss; stored");
    assert_eq!(engine.seen(Api::Stats), read + 1);
}

const DEARER: &str = "escache; fwd=bypass; detail=reading-dearer";

#[tokio::test]
async fn a_search_that_is_cheaper_than_a_reading_is_forwarded() {
    for (way, bound, expected) in [
        (ReadingDearer::Forward, Duration::ZERO, DEARER),
        (ReadingDearer::Wait, Duration::ZERO, HIT),
        (ReadingDearer::Forward, Duration::from_secs(3600), HIT),
    ] {
        let engine = engine(&["logs"]);
        let escache = Escache::start_with(&engine.url(), |s| {
            s.policy.reading_dearer = way;
            s.policy.max_staleness = bound;
        })
        .await;
        outcome(&escache, "logs").await;
        // however slow this machine is, a reading is slower than the search was
        let cost = escache.proxy.store.iter().next().unwrap().1.cost();
        engine.on(Api::Stats).always(Twist::Delay((8 * cost).max(Duration::from_millis(50))));
        // a few do not tell
        for _ in 0..7 {
            assert_eq!(outcome(&escache, "logs").await, HIT);
        }
        for _ in 0..2 {
            outcome(&escache, "logs").await;
        }
        let read = engine.seen(Api::Stats);
        assert_eq!(outcome(&escache, "logs").await, expected, "{way:?} {bound:?}");
        if expected == DEARER {
            assert_eq!(engine.seen(Api::Stats), read);
            // it is this search alone, and who wants the cache waits
            let cached = [("cache-control", "only-if-cached")];
            let cached = escache.send("GET", "/logs/_search", &cached, "").await;
            assert_eq!(verdict(&cached.headers).1, HIT);
            let explained = escache.explain("GET", "/logs/_search", json!(null)).await;
            assert_eq!(explained["reason"], "reading-dearer", "{explained}");
            // where there is no answer at all, that is the reason
            engine.stop().await;
            let lost = escache.send("GET", "/logs/_search", &[], "").await;
            let told = (lost.status, verdict(&lost.headers).1);
            assert_eq!(told, (502, "escache; fwd=bypass; detail=no-answer"));
        }
    }
}
