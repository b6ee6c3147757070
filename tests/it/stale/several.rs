//! Old answers for multi searches, and what the engine says of one search among several.

use std::time::Duration;

use serde_json::json;

use super::{SEARCH, change, check_honest, check_stale, in_front_of, trouble};
use crate::support::engine::{Api, Twist, add, engine};
use crate::support::escache::{Escache, verdict};
use crate::support::http::Response;

const LINES: &str = "{\"index\":\"other\"}\n{}\n{\"index\":\"logs\"}\n{}\n";

async fn ask_several(escache: &Escache, lines: &str) -> Response {
    escache.send("POST", "/_msearch", &[("content-type", "application/json")], lines).await
}

/// It is no other word where it is told of one search of a multi search.
#[tokio::test]
async fn a_no_to_one_search_of_several_outlasts_it_too() {
    for (status, remembered) in [(401, false), (403, false), (404, false), (500, true)] {
        let engine = engine();
        add(&engine, "other", json!({}));
        let escache = in_front_of(&engine, |_| {}).await;
        // as it is asked for in a multi search
        let alone = || escache.search(SEARCH, json!({}));
        let first = alone().await;
        change(&engine);
        let error = json!({"error": {"root_cause": [], "type": "any", "reason": "any"}, "status": status});
        let whole = json!({"took": 1, "timed_out": false, "hits": {"hits": []}, "status": 200,
            "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0}});
        let told = format!(r#"{{"took":1,"responses":[{whole},{error}]}}"#);
        engine.on(Api::Msearch).next(Twist::Status(200, told.into()));
        let several = ask_several(&escache, LINES).await;
        assert_eq!(several.json()["responses"][1]["status"], status, "{}", several.text());
        engine.stop().await;
        match alone().await {
            stale if remembered => check_stale(&stale, &first, "escache; fwd=stale"),
            honest => check_honest(&honest, 502, &format!("after {status}")),
        }
    }
}

/// Nor where all of them are refused at once.
#[tokio::test]
async fn a_no_to_several_searches_at_once_outlasts_it_too() {
    for (status, remembered) in [(401, false), (403, false), (500, true)] {
        let engine = engine();
        let escache = in_front_of(&engine, |_| {}).await;
        // as it is asked for in a multi search
        let alone = || escache.search(SEARCH, json!({}));
        let first = alone().await;
        change(&engine);
        engine.on(Api::Msearch).next(Twist::error(status, "security_exception", "no"));
        let several = ask_several(&escache, "{\"index\":\"logs\"}\n{}\n").await;
        assert_eq!(several.status, status);
        engine.stop().await;
        match alone().await {
            stale if remembered => check_stale(&stale, &first, "escache; fwd=stale"),
            honest => check_honest(&honest, 502, &format!("after {status}")),
        }
    }
}

/// Of a multi search, old answers stand in for an answer that did not come: for all of it, or for none.
#[tokio::test]
async fn a_multi_search_is_served_when_the_engine_is_in_trouble() {
    for (status, all) in [(503, true), (429, false), (502, false)] {
        let engine = engine();
        add(&engine, "other", json!({}));
        let escache = in_front_of(&engine, |_| {}).await;
        let first = ask_several(&escache, LINES).await;
        // one of the two is current, the other is not
        change(&engine);
        if all {
            trouble(&engine, status);
        } else {
            engine.on(Api::Msearch).always(Twist::error(status, "unavailable_exception", "in trouble"));
        }
        let hits = if all { 0 } else { 1 };
        let stale = ask_several(&escache, LINES).await;
        let told = format!("escache; fwd=stale; fwd-status={status}; detail=\"items-hit={hits}/2\"");
        assert_eq!((stale.status, verdict(&stale.headers)), (200, ("STALE", told.as_str())));
        assert_eq!(stale.json()["responses"], first.json()["responses"]);
        assert!(stale.header("age").is_some() && stale.header("etag").is_none());
        // one that nothing is stored for
        let more = format!("{LINES}{{\"index\":\"logs\"}}\n{{\"size\":7}}\n");
        check_honest(&ask_several(&escache, &more).await, status, "never asked");
        // one that would not be cached now
        let moving = "{\"index\":\"logs\"}\n{\"query\":{\"range\":{\"at\":{\"gte\":\"now\"}}}}\n";
        check_honest(&ask_several(&escache, &format!("{LINES}{moving}")).await, status, "now");
        let refused = [("content-type", "application/json"), ("cache-control", "stale-if-error=0")];
        check_honest(&escache.send("POST", "/_msearch", &refused, LINES).await, status, "not wanted");
        engine.calm();
        tokio::time::sleep(Duration::from_millis(1_100)).await; // the pause after a failed reading
        let fresh = ask_several(&escache, LINES).await;
        assert_eq!(verdict(&fresh.headers).0, "MISS");
        assert_ne!(fresh.json()["responses"], first.json()["responses"]);
    }
    let engine = engine();
    add(&engine, "other", json!({}));
    let escache = in_front_of(&engine, |_| {}).await;
    let first = ask_several(&escache, LINES).await;
    engine.stop().await;
    let stale = ask_several(&escache, LINES).await;
    assert_eq!(verdict(&stale.headers).1, "escache; fwd=stale; detail=\"items-hit=0/2\"");
    assert_eq!(stale.json()["responses"], first.json()["responses"]);
}

/// What would not be cached now is not served, and gone.
#[tokio::test]
async fn a_multi_search_of_what_is_no_more_cached_is_not_served() {
    let engine = engine();
    add(&engine, "other", json!({}));
    let escache = in_front_of(&engine, |_| {}).await;
    ask_several(&escache, LINES).await;
    engine.put_settings("logs", json!({"index.requests.cache.enable": "false"}));
    engine.on(Api::Msearch).always(Twist::error(503, "unavailable_exception", "in trouble"));
    check_honest(&ask_several(&escache, LINES).await, 503, "the index says no");
    engine.stop().await;
    check_honest(&ask_several(&escache, LINES).await, 502, "nobody says anything");
}

/// Entries alone do not say that the engine takes a multi search; and its no is a word of its own.
#[tokio::test]
async fn a_multi_search_that_the_engine_never_took_is_not_served() {
    let engine = engine();
    add(&engine, "other", json!({}));
    let escache = in_front_of(&engine, |_| {}).await;
    for index in ["other", "logs"] {
        escache.search(&format!("/{index}/_search"), json!({})).await;
    }
    let ailing = || engine.on(Api::Msearch).always(Twist::error(503, "unavailable_exception", "in trouble"));
    ailing();
    check_honest(&ask_several(&escache, LINES).await, 503, "no door");
    engine.calm();
    ask_several(&escache, LINES).await;
    ailing();
    change(&engine);
    assert_eq!(verdict(&ask_several(&escache, LINES).await.headers).0, "STALE");
    engine.calm();
    engine.on(Api::Msearch).next(Twist::forbidden("indices:data/read/msearch"));
    check_honest(&ask_several(&escache, LINES).await, 403, "turned away");
    ailing();
    check_honest(&ask_several(&escache, LINES).await, 503, "after that");
}
