//! Counters of several targets in one call.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::engine::{Api, Engine, Flavour, Gate, Seen, Twist, engine_of};
use crate::support::escache::{Escache, verdict};
use crate::support::http::Response;
use crate::support::patience::until;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const HIT: &str = "escache; hit";

/// An engine with an index of each name, and escache that has read each by its own name and has an answer of each.
async fn read_before() -> (Engine, Escache) {
    let engine = engine_of(Flavour::Es8, &NAMES);
    // however slow this machine is, no call is a slow one
    let escache = Escache::start_with(&engine.url(), |s| s.watcher.timeout = Duration::from_secs(600)).await;
    // again, so that their state is known to have been the same after the search
    for outcome in ["escache; fwd=miss; stored", HIT] {
        for index in NAMES {
            assert_eq!(self::outcome(ask(&escache, index)).await, outcome);
        }
    }
    (engine, escache)
}

fn ask(escache: &Escache, index: &str) -> JoinHandle<Response> {
    let (client, url) = (escache.client.clone(), format!("{}/{index}/_search", escache.url));
    tokio::spawn(async move { client.get(url).await })
}

async fn outcome(asked: JoinHandle<Response>) -> String {
    verdict(&asked.await.unwrap().headers).1.to_owned()
}

/// The indices that questions for counters named since there had been so many of them.
fn asked_since(engine: &Engine, before: usize) -> Vec<String> {
    let asked = engine.requests(Api::Stats);
    asked[before..].iter().map(named).collect()
}

/// The indices that a question names.
fn named(question: &Seen) -> String {
    question.uri().split('/').nth(1).unwrap().to_owned()
}

/// Whether a question is one by a target's own name.
fn by_its_name(question: &Seen) -> bool {
    question.uri().contains("expand_wildcards")
}

/// All are asked for while two calls are under way, which the gate holds; so many wait for the next one.
async fn all_at_once(
    engine: &Engine,
    escache: &Escache,
    joining: usize,
) -> (Gate, Vec<JoinHandle<Response>>) {
    let gate = engine.gate_before(Api::Stats);
    let mut asked = vec![ask(escache, NAMES[0])];
    gate.arrived(1).await;
    asked.push(ask(escache, NAMES[1]));
    gate.arrived(2).await;
    asked.extend(NAMES[2..].iter().map(|index| ask(escache, index)));
    until("they wait", async || escache.proxy.watcher.waiting() == joining).await;
    (gate, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_while_calls_are_under_way_is_asked_for_together() {
    let (engine, escache) = read_before().await;
    let before = engine.seen(Api::Stats);
    let (gate, asked) = all_at_once(&engine, &escache, 4).await;
    gate.release();
    for asked in asked {
        assert_eq!(outcome(asked).await, HIT);
    }
    assert_eq!(asked_since(&engine, before), ["a", "b", "c,d,e,f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_changed_is_seen_among_the_others() {
    let (engine, escache) = read_before().await;
    let (gate, asked) = all_at_once(&engine, &escache, 4).await;
    engine.index("d", "2", json!({"team": "b"}));
    engine.refresh("d");
    gate.release();
    for (index, asked) in NAMES.iter().zip(asked) {
        let wanted = if *index == "d" { "escache; fwd=miss; stored" } else { HIT };
        assert_eq!(outcome(asked).await, wanted, "{index}");
    }
    assert_eq!(outcome(ask(&escache, "d")).await, HIT, "by whatever call it was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_is_nobodys_answer() {
    let (engine, escache) = read_before().await;
    let before = engine.seen(Api::Stats);
    let (gate, asked) = all_at_once(&engine, &escache, 4).await;
    engine.on(Api::Stats).when(|seen| seen.uri().contains("c,d")).next(Twist::error(503, "x", "not now"));
    gate.release();
    for asked in asked {
        assert_eq!(outcome(asked).await, HIT);
    }
    let mut alone = asked_since(&engine, before);
    alone.sort();
    assert_eq!(alone, ["a", "b", "c", "c,d,e,f", "d", "e", "f"]);
}

/// Its own question would be answered 404: that is nothing to do with the others.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_gone_harms_nobody_else() {
    let (engine, escache) = read_before().await;
    escache.confirm().await;
    let (gate, asked) = all_at_once(&engine, &escache, 4).await;
    engine.delete_index("e");
    gate.release();
    for (index, asked) in NAMES.iter().zip(asked) {
        let answer = asked.await.unwrap();
        match *index {
            "e" => assert_eq!(answer.status, 404),
            _ => assert_eq!(verdict(&answer.headers).1, HIT, "{index}"),
        }
    }
}

/// What failed by its own name is not asked for beside others until that has been answered again.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_asked_for_alone() {
    let (engine, escache) = read_before().await;
    engine.on(Api::Stats).when(|seen| seen.uri().contains("/b/")).times(2, Twist::error(503, "x", "not now"));
    assert_eq!(outcome(ask(&escache, "b")).await, "escache; fwd=bypass; detail=generation-unknown");
    assert_eq!(outcome(ask(&escache, "a")).await, HIT);
    assert!(!by_its_name(&engine.last(Api::Stats)));
    tokio::time::sleep(Duration::from_millis(1_100)).await; // the pause after a failed reading
    for alone in [true, false] {
        assert_eq!(outcome(ask(&escache, "b")).await, HIT);
        assert_eq!(by_its_name(&engine.last(Api::Stats)), alone);
    }
}

/// Its own name is answered, and its index is refused where that is named: who only may see an alias is in this position.
#[tokio::test(flavor = "multi_thread")]
async fn what_spoils_calls_with_others_is_found_out() {
    let (engine, escache) = read_before().await;
    let refused = |seen: &Seen| named(seen).contains('e') && !by_its_name(seen);
    engine.on(Api::Stats).when(refused).always(Twist::forbidden("indices:monitor/stats"));
    let (gate, asked) = all_at_once(&engine, &escache, 4).await;
    gate.release();
    for asked in asked {
        assert_eq!(outcome(asked).await, HIT);
    }
    // each by itself
    for index in NAMES {
        let before = engine.seen(Api::Stats);
        assert_eq!(outcome(ask(&escache, index)).await, HIT);
        assert_eq!(engine.seen(Api::Stats) - before, if index == "e" { 2 } else { 1 }, "{index}");
    }
    let before = engine.seen(Api::Stats);
    let (gate, asked) = all_at_once(&engine, &escache, 3).await;
    gate.release();
    for asked in asked {
        assert_eq!(outcome(asked).await, HIT);
    }
    let mut seen = asked_since(&engine, before);
    seen.sort();
    assert_eq!(seen, ["a", "b", "c,d,f", "e"]);
}
