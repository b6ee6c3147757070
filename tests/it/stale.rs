//! `stale_if_error`: what is served when the engine is in trouble, and everything that never is.

mod identities;

mod several;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use escache::policy::Rule;
use escache::proxy::ProxySettings;
use serde_json::json;

use crate::support::engine::{Api, Engine, Twist, engine};
use crate::support::escache::{Escache, verdict};
use crate::support::http::Response;
use crate::support::patience::until;

const SEARCH: &str = "/logs/_search";

const BOUND: Duration = Duration::from_secs(300);

async fn in_front_of(engine: &Engine, change: impl FnOnce(&mut ProxySettings)) -> Escache {
    Escache::start_with(&engine.url(), |settings| {
        settings.policy.stale_if_error = Some(BOUND);
        change(settings);
    })
    .await
}

async fn ask(escache: &Escache, headers: &[(&str, &str)]) -> Response {
    let headers = [&[("content-type", "application/json")], headers].concat();
    escache.send("POST", SEARCH, &headers, "{}").await
}

/// Something has changed, so that what is stored is of an older generation.
fn change(engine: &Engine) {
    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
}

/// Every request is answered with this status.
fn trouble(engine: &Engine, status: u16) {
    engine.on_any().always(Twist::error(status, "unavailable_exception", "in trouble"));
}

/// Only searches are.
fn search_trouble(engine: &Engine, status: u16) {
    engine.on(Api::Search).always(Twist::error(status, "unavailable_exception", "in trouble"));
}

fn stale_served(escache: &Escache) -> u64 {
    let api = escache::elastic::api::Api::Search as usize;
    escache.proxy.stats.requests(api, escache::outcome::Outcome::Stale)
}

/// It is the old answer, and says so.
#[track_caller]
fn check_stale(answer: &Response, first: &Response, status: &str) {
    assert_eq!((answer.status, verdict(&answer.headers)), (200, ("STALE", status)));
    assert_eq!(answer.body, first.body);
    let age: u64 = answer.header("age").unwrap().parse().unwrap();
    assert!(age < BOUND.as_secs(), "{age}");
    assert_eq!(answer.header("warning"), None);
    assert_eq!(answer.header("etag"), first.header("etag"));
}

/// It is the engine's error, or an honest one of escache's own.
#[track_caller]
fn check_honest(answer: &Response, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {:?}", verdict(&answer.headers));
    assert_ne!(verdict(&answer.headers).0, "STALE", "{what}");
}

#[tokio::test]
async fn an_older_generation_is_served_when_the_engine_is_in_trouble() {
    for status in [502, 503, 504, 429] {
        for all in [true, false] {
            let engine = engine();
            let escache = in_front_of(&engine, |_| {}).await;
            let first = ask(&escache, &[]).await;
            change(&engine);
            if all {
                trouble(&engine, status);
            } else {
                search_trouble(&engine, status);
            }
            let stale = ask(&escache, &[]).await;
            check_stale(&stale, &first, &format!("escache; fwd=stale; fwd-status={status}"));
            let known = [("if-none-match", first.header("etag").unwrap())];
            let same = ask(&escache, &known).await;
            assert_eq!((same.status, verdict(&same.headers).0), (304, "STALE"));
            assert_eq!(stale_served(&escache), 2);
            engine.calm();
            tokio::time::sleep(Duration::from_millis(1_100)).await; // the pause after a failed reading
            let fresh = ask(&escache, &[]).await;
            assert_eq!(verdict(&fresh.headers).0, "MISS");
            assert_ne!(fresh.body, first.body);
        }
    }
}

#[tokio::test]
async fn an_older_generation_is_served_when_the_engine_is_unreachable() {
    for (twist, patience) in [(Twist::Drop, 60), (Twist::Hang, 2), (Twist::Truncate(10), 60)] {
        let engine = engine();
        let patience = Duration::from_secs(patience);
        let escache = in_front_of(&engine, |s| s.upstream.response_timeout = patience).await;
        let first = ask(&escache, &[]).await;
        change(&engine);
        engine.on(Api::Search).always(twist);
        check_stale(&ask(&escache, &[]).await, &first, "escache; fwd=stale");
    }
    let engine = engine();
    let escache = in_front_of(&engine, |_| {}).await;
    let first = ask(&escache, &[]).await;
    change(&engine);
    engine.stop().await;
    check_stale(&ask(&escache, &[]).await, &first, "escache; fwd=stale");
    // another question has no answer to be served
    check_honest(&escache.send("GET", "/logs/_search?from=1", &[], "").await, 502, "never asked");
    assert_eq!(stale_served(&escache), 1);
}

#[tokio::test]
async fn off_it_changes_nothing() {
    let engine = engine();
    let escache = in_front_of(&engine, |s| s.policy.stale_if_error = None).await;
    ask(&escache, &[]).await;
    assert_eq!(verdict(&ask(&escache, &[]).await.headers).0, "HIT");
    search_trouble(&engine, 503);
    assert_eq!(verdict(&ask(&escache, &[]).await.headers).0, "HIT", "what is proven is served");
    change(&engine);
    check_honest(&ask(&escache, &[]).await, 503, "superseded");
    engine.stop().await;
    check_honest(&ask(&escache, &[]).await, 502, "unreachable");
    assert_eq!(escache.proxy.store.superseded(), (0, 0));
}

/// The engine answers, so nothing stale is served, whatever the status.
#[tokio::test]
async fn other_statuses_are_the_engines_answer() {
    for status in [400, 401, 403, 404, 408, 413, 500, 501] {
        let engine = engine();
        let escache = in_front_of(&engine, |_| {}).await;
        ask(&escache, &[]).await;
        change(&engine);
        search_trouble(&engine, status);
        check_honest(&ask(&escache, &[]).await, status, "the searches");
        engine.calm();
        trouble(&engine, status);
        check_honest(&ask(&escache, &[]).await, status, "all requests");
    }
}

/// The last word of the engine was that this may not be seen, or is not there.
#[tokio::test]
async fn a_no_of_the_engine_outlasts_the_trouble_that_follows() {
    for status in [401, 403, 404] {
        let engine = engine();
        let escache = in_front_of(&engine, |_| {}).await;
        ask(&escache, &[]).await;
        change(&engine);
        search_trouble(&engine, status);
        check_honest(&ask(&escache, &[]).await, status, "the word");
        engine.stop().await;
        check_honest(&ask(&escache, &[]).await, 502, &format!("after {status}"));
    }
}

#[tokio::test]
async fn a_purged_entry_is_never_served() {
    type Purge = fn(&Escache);
    let ways: [(&str, Purge); 2] = [
        ("all", |e| {
            e.proxy.purge(None);
        }),
        ("by index", |e| {
            e.proxy.purge(Some(&["logs".into()]));
        }),
    ];
    for (what, purge) in ways {
        let engine = engine();
        let escache = in_front_of(&engine, |_| {}).await;
        let first = ask(&escache, &[]).await;
        change(&engine);
        search_trouble(&engine, 503);
        check_stale(&ask(&escache, &[]).await, &first, "escache; fwd=stale; fwd-status=503");
        assert_eq!(escache.proxy.store.superseded().0.max(1), 1);
        purge(&escache);
        check_honest(&ask(&escache, &[]).await, 503, what);
    }
    // a clear that passes through, also where nobody knows whether the engine carried it out
    let engine = engine();
    let escache = in_front_of(&engine, |_| {}).await;
    ask(&escache, &[]).await;
    engine.stop().await;
    escache.send("POST", "/logs/_cache/clear", &[], "").await;
    check_honest(&ask(&escache, &[]).await, 502, "cleared");
}

#[tokio::test]
async fn a_request_that_wants_it_current_gets_the_error() {
    let engine = engine();
    let escache = in_front_of(&engine, |_| {}).await;
    let first = ask(&escache, &[]).await;
    change(&engine);
    search_trouble(&engine, 503);
    for asked in ["no-cache", "max-age=0", "max-age=86400", "no-store", "stale-if-error=0"] {
        check_honest(&ask(&escache, &[("cache-control", asked)]).await, 503, asked);
    }
    check_honest(&ask(&escache, &[("pragma", "no-cache")]).await, 503, "pragma");
    let only = ask(&escache, &[("cache-control", "only-if-cached")]).await;
    check_honest(&only, 504, "only-if-cached");
    let refused = escache.send("GET", "/logs/_search?request_cache=false", &[], "").await;
    check_honest(&refused, 503, "request_cache=false");
    check_stale(&ask(&escache, &[]).await, &first, "escache; fwd=stale; fwd-status=503");
}

static AHEAD: AtomicU64 = AtomicU64::new(0);

fn wall() -> SystemTime {
    SystemTime::now() + Duration::from_secs(AHEAD.load(Ordering::SeqCst))
}

#[tokio::test]
async fn what_was_last_proven_too_long_ago_is_not_served() {
    let engine = engine();
    let escache = in_front_of(&engine, |s| s.watcher.wall = wall).await;
    ask(&escache, &[]).await;
    engine.stop().await;
    AHEAD.store(BOUND.as_secs() - 10, Ordering::SeqCst);
    let stale = ask(&escache, &[]).await;
    assert_eq!(verdict(&stale.headers), ("STALE", "escache; fwd=stale"));
    let age: u64 = stale.header("age").unwrap().parse().unwrap();
    assert!((BOUND.as_secs() - 10..BOUND.as_secs()).contains(&age), "{age}");
    AHEAD.store(BOUND.as_secs() + 1, Ordering::SeqCst);
    check_honest(&ask(&escache, &[]).await, 502, "too old");
    AHEAD.store(0, Ordering::SeqCst);
}

/// What is not cached now is not served now: by the request, by a rule, by the target's settings, by its own lifetime.
#[tokio::test]
async fn what_may_not_be_cached_is_not_served() {
    let engine = engine();
    let escache = in_front_of(&engine, |_| {}).await;
    ask(&escache, &[]).await;
    engine.put_settings("logs", json!({"requests.cache.enable": "false"}));
    search_trouble(&engine, 503);
    check_honest(&ask(&escache, &[]).await, 503, "index setting");
    // the setting was seen; now nothing can be
    engine.stop().await;
    check_honest(&ask(&escache, &[]).await, 502, "index setting, unreachable");

    let engine = self::engine();
    let expired = |s: &mut ProxySettings| s.policy.expire = Some(Duration::from_millis(1));
    let escache = in_front_of(&engine, expired).await;
    ask(&escache, &[]).await;
    engine.stop().await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    check_honest(&ask(&escache, &[]).await, 502, "expired");

    // the rule names the index, the request an alias
    let engine = self::engine();
    engine.put_alias("logs", "al");
    let ttl = Some(Duration::from_millis(1));
    let rule = Rule { indices: vec!["logs".into()], ttl, ..Rule::default() };
    let escache = in_front_of(&engine, |s| s.policy.rules = vec![rule]).await;
    escache.send("GET", "/al/_search", &[], "").await;
    engine.stop().await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    check_honest(&escache.send("GET", "/al/_search", &[], "").await, 502, "expired by a rule");
}

/// What escache itself refuses is no trouble of the engine.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_no_trouble_of_the_engine() {
    let engine = engine();
    let escache = in_front_of(&engine, |s| s.max_concurrent_misses = 1).await;
    ask(&escache, &[]).await;
    change(&engine);
    let gate = engine.gate_before(Api::Search);
    let (client, url) = (escache.client.clone(), escache.url.clone());
    let spawn = |from: usize| {
        let (client, url) = (client.clone(), format!("{url}{SEARCH}?from={from}"));
        tokio::spawn(async move { client.request("GET", url, &[], "").await })
    };
    let others = [spawn(1), spawn(2)];
    gate.arrived(1).await;
    until("all are aboard", async || escache.proxy.stats.plain.flights.get() == 3).await;
    let refused = ask(&escache, &[]).await;
    check_honest(&refused, 429, "the queue");
    assert_eq!(refused.header("retry-after"), Some("1"));
    gate.release();
    for other in others {
        other.await.unwrap();
    }
}

/// A question with a rounded `now` is another one after the boundary.
#[tokio::test(flavor = "multi_thread")]
async fn a_rounded_now_ends_at_its_boundary() {
    const HOUR: u64 = 3_600_000;
    static AHEAD: AtomicU64 = AtomicU64::new(0);
    let engine = engine();
    let escache = in_front_of(&engine, |s| {
        s.watcher.wall = || SystemTime::now() + Duration::from_secs(AHEAD.load(Ordering::SeqCst));
    })
    .await;
    let body = json!({"size": 0, "aggs": {"a": {"filter": {"range": {"at": {"gte": "now/h"}}}}}});
    // the nodes' clocks are measured anew, since this machine seems to have slept
    let set_clock = |at: u64| {
        AHEAD.fetch_add(2, Ordering::SeqCst);
        engine.calm();
        let clocks = engine.clocks(|_| Some(at));
        engine.on(Api::NodesStats).always(Twist::Status(200, clocks));
    };
    set_clock(100 * HOUR - 600_000);
    let first = escache.search(SEARCH, body.clone()).await;
    assert_eq!(verdict(&first.headers), ("MISS", "escache; fwd=miss; stored"));
    change(&engine);
    search_trouble(&engine, 503);
    assert_eq!(verdict(&escache.search(SEARCH, body.clone()).await.headers).0, "STALE");
    // the boundary passes while the search is under way
    let gate = engine.gate_before(Api::Search);
    let (client, url, late) = (escache.client.clone(), escache.url.clone(), body.clone());
    let late = tokio::spawn(async move { client.post(format!("{url}{SEARCH}"), late).await });
    gate.arrived(1).await;
    set_clock(100 * HOUR + 600_000);
    search_trouble(&engine, 503);
    gate.release();
    check_honest(&late.await.unwrap(), 503, "passed meanwhile");
    check_honest(&escache.search(SEARCH, body.clone()).await, 503, "passed before");
    set_clock(100 * HOUR - 300_000);
    search_trouble(&engine, 503);
    assert_eq!(verdict(&escache.search(SEARCH, body).await.headers).0, "STALE", "the entry is still there");
}

/// Superseded entries are kept in room of their own: no new answer pushes them out, and they push out none.
#[tokio::test]
async fn superseded_entries_are_bounded_apart() {
    let engine = engine();
    let escache = in_front_of(&engine, |s| {
        s.capacity = 20_000;
        s.max_stale_memory = 4_000;
    })
    .await;
    let first = ask(&escache, &[]).await;
    change(&engine);
    search_trouble(&engine, 503);
    ask(&escache, &[]).await;
    engine.calm();
    // many others, so that it leaves the store
    for number in 1..40 {
        escache.send("GET", &format!("{SEARCH}?from={number}"), &[], "").await;
        escache.proxy.store.settle();
    }
    let first_is_stored = |e: &Escache| e.proxy.store.iter().any(|(_, entry)| entry.body() == &first.body);
    assert!(!first_is_stored(&escache), "pushed out of the store");
    engine.stop().await;
    check_stale(&ask(&escache, &[]).await, &first, "escache; fwd=stale");
    engine.start_again();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    // each superseded, and found to be so
    change(&engine);
    search_trouble(&engine, 503);
    for number in 20..40 {
        escache.send("GET", &format!("{SEARCH}?from={number}"), &[], "").await;
    }
    escache.proxy.store.settle();
    let (entries, bytes) = escache.proxy.store.superseded();
    assert!(entries > 0 && bytes <= 4_000, "{entries} entries, {bytes} bytes");
}

/// A newer answer takes the place of what it supersedes.
#[tokio::test]
async fn the_newest_answer_is_served() {
    let engine = engine();
    let escache = in_front_of(&engine, |_| {}).await;
    ask(&escache, &[]).await;
    change(&engine);
    let second = ask(&escache, &[]).await;
    assert_eq!(verdict(&second.headers).0, "MISS");
    engine.stop().await;
    check_stale(&ask(&escache, &[]).await, &second, "escache; fwd=stale");
    assert_eq!(escache.proxy.store.superseded().0, 0);
}

/// Without readings, what has outlived its time is served, and still says that nothing is watched.
#[tokio::test]
async fn with_ttl_only_it_is_served_after_its_time() {
    let engine = engine();
    let ttl = Duration::from_millis(1);
    let escache = in_front_of(&engine, |s| s.policy.ttl_only = Some(ttl)).await;
    let first = ask(&escache, &[]).await;
    engine.stop().await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    check_stale(&ask(&escache, &[]).await, &first, "escache; fwd=stale; detail=ttl-only");
    check_honest(&ask(&escache, &[("authorization", "Basic eDp5")]).await, 502, "somebody else");
}
