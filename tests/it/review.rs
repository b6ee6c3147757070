//! Findings of a hostile review: each of these fails where the code is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use escache::elastic::api::{Effect, route};
use escache::policy::Rule;
use escache::probe;
use serde_json::{Value, json};

use crate::support::engine::{Api, Engine, Twist, engine};
use crate::support::escache::{Escache, verdict};
use crate::support::http::{Response, raw};
use crate::support::patience::until;

const SEARCH: &str = "/logs/_search";

fn total(answer: &Response) -> Value {
    answer.json()["hits"]["total"]["value"].clone()
}

fn spawn(
    escache: &Escache,
    path: &str,
    headers: &'static [(&'static str, &'static str)],
) -> tokio::task::JoinHandle<Response> {
    let (client, url) = (escache.client.clone(), format!("{}{path}", escache.url));
    tokio::spawn(async move { client.request("GET", url, headers, "").await })
}

async fn aboard(escache: &Escache, n: u64) {
    let plain = &escache.proxy.stats.plain;
    until("aboard", async || plain.flights.get() + plain.followers.get() >= n).await;
}

/// `land()` gives the streamed answer of the leader to whoever takes it first, with the leader's own headers.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_never_gets_the_leaders_headers() {
    let engine = engine();
    engine.on(Api::Search).always(Twist::Header("set-cookie", "sid=of-the-leader".into()));
    let escache = Escache::start_with(&engine.url(), |s| s.policy.max_entry_size = 50).await;
    let gate = engine.gate_before(Api::Search);
    let leader = spawn(&escache, SEARCH, &[("x-opaque-id", "leader")]);
    gate.arrived(1).await;
    let follower = spawn(&escache, SEARCH, &[("x-opaque-id", "follower")]);
    aboard(&escache, 2).await;
    leader.abort();
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.release();
    let answer = follower.await.unwrap();
    assert_eq!(answer.header("x-opaque-id"), Some("follower"), "{:?}", answer.headers);
}

/// Readings may come from a cache underneath: they are asked without `no-cache`, and `Age` is not looked at (R6).
#[tokio::test]
async fn a_reading_out_of_a_cache_is_no_reading() {
    let engine = engine();
    engine.on(Api::Stats).always(Twist::Header("age", "30".into()));
    let escache = Escache::start(&engine.url()).await;
    escache.send("GET", SEARCH, &[], "").await;
    let asked = engine.last(Api::Stats);
    assert_eq!(asked.header("cache-control"), Some("no-cache, no-store"));
    let again = escache.send("GET", SEARCH, &[], "").await;
    assert_ne!(verdict(&again.headers).0, "HIT");
}

/// The engine has carried out the purge, the answer was lost: R7 wants the entries gone.
#[tokio::test]
async fn a_purge_whose_answer_is_lost_still_purges() {
    let engine = engine();
    let escache = Escache::start(&engine.url()).await;
    escache.send("GET", SEARCH, &[], "").await;
    engine.on(Api::Other).next(Twist::DropAfter);
    let lost = escache.send("POST", "/logs/_reload_search_analyzers", &[], "").await;
    assert_eq!(lost.status, 502);
    assert_ne!(verdict(&escache.send("GET", SEARCH, &[], "").await.headers).0, "HIT");
}

/// And if the client hangs up while the engine works.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_whose_client_hangs_up_still_purges() {
    let engine = engine();
    let escache = Escache::start(&engine.url()).await;
    escache.send("GET", SEARCH, &[], "").await;
    engine.on(Api::Other).always(Twist::Status(200, "{}".into()));
    let gate = engine.gate_before(Api::Other);
    let (client, url) = (escache.client.clone(), format!("{}/logs/_reload_search_analyzers", escache.url));
    let purge = tokio::spawn(async move { client.request("POST", url, &[], "").await });
    gate.arrived(1).await;
    purge.abort();
    let _ = purge.await;
    gate.release();
    until("purged", async || escache.proxy.stats.plain.purges.get() > 0).await;
    assert_ne!(verdict(&escache.send("GET", SEARCH, &[], "").await.headers).0, "HIT");
}

/// Names that `segments` cannot split safely, and GET, lose the purge.
#[test]
fn purges_are_recognised_whatever_the_name() {
    let effect = |method: &str, path: &str| route(&method.parse().unwrap(), path, None).effect;
    let mut wrong = BTreeMap::new();
    for (method, path, expected) in [
        ("GET", "/logs/_reload_search_analyzers", Effect::Purge),
        ("PUT", "/_security/role/a%2Fb", Effect::Purge),
        ("PUT", "/_security/role/a%25b", Effect::Purge),
        ("PUT", "/_synonyms/a%2Fb", Effect::Purge),
        // what any user's browser sends through Kibana, and what has nothing to do with roles
        ("POST", "/_security/user/_has_privileges", Effect::None),
        ("POST", "/_security/_query/api_key", Effect::None),
        ("PUT", "/logs/_doc/_security", Effect::None),
    ] {
        let found = effect(method, path);
        if found != expected {
            wrong.insert(format!("{method} {path}"), (found, expected));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// One refused reading must not stop the caching for a whole bound.
#[tokio::test]
async fn a_failed_reading_is_not_kept_for_the_bound() {
    let engine = engine();
    let escache =
        Escache::start_with(&engine.url(), |s| s.policy.max_staleness = Duration::from_secs(3600)).await;
    engine.on(Api::Stats).next(Twist::error(503, "unavailable", "not now"));
    assert_eq!(verdict(&escache.send("GET", SEARCH, &[], "").await.headers).0, "BYPASS");
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let later = escache.send("GET", SEARCH, &[], "").await;
    assert_eq!(verdict(&later.headers).0, "MISS", "{:?}", verdict(&later.headers));
}

/// `no-cache` (and `max-age=0`) with `ttl_only` joins a search that was sent before the request arrived.
#[tokio::test(flavor = "multi_thread")]
async fn no_cache_joins_no_older_flight() {
    let engine = engine();
    let escache =
        Escache::start_with(&engine.url(), |s| s.policy.ttl_only = Some(Duration::from_secs(60))).await;
    let gate = engine.gate_after(Api::Search);
    let early = spawn(&escache, SEARCH, &[]);
    gate.arrived(1).await;
    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
    let late = spawn(&escache, SEARCH, &[("cache-control", "no-cache")]);
    aboard(&escache, 2).await;
    gate.release();
    early.await.unwrap();
    assert_eq!(total(&late.await.unwrap()), 2);
}

/// `auth.entry_ttl`: what was asked for longer ago than that is not given to who comes now.
#[tokio::test(flavor = "multi_thread")]
async fn a_flight_does_not_outlive_the_entry_ttl() {
    let engine = engine();
    let escache =
        Escache::start_with(&engine.url(), |s| s.policy.entry_ttl = Some(Duration::from_millis(300))).await;
    let gate = engine.gate_after(Api::Search);
    let early = spawn(&escache, SEARCH, &[("authorization", "Basic eDp5")]);
    gate.arrived(1).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    // meanwhile the user has lost all rights
    engine.on(Api::Search).always(Twist::forbidden("indices:data/read/search"));
    let late = spawn(&escache, SEARCH, &[("authorization", "Basic eDp5")]);
    aboard(&escache, 2).await;
    gate.release();
    early.await.unwrap();
    let late = late.await.unwrap();
    assert_eq!(late.status, 403, "{:?}", verdict(&late.headers));
}

static AHEAD: AtomicU64 = AtomicU64::new(0);

fn wall() -> SystemTime {
    SystemTime::now() + Duration::from_secs(AHEAD.load(Ordering::SeqCst))
}

/// The monotonic clock stands still while a machine sleeps; lifetimes are counted by it alone.
#[tokio::test]
async fn lifetimes_end_also_while_the_machine_sleeps() {
    let engine = engine();
    let escache = Escache::start_with(&engine.url(), |s| {
        s.policy.entry_ttl = Some(Duration::from_secs(60));
        s.watcher.wall = wall;
    })
    .await;
    let named = [("authorization", "Basic eDp5")];
    escache.send("GET", SEARCH, &named, "").await;
    assert_eq!(verdict(&escache.send("GET", SEARCH, &named, "").await.headers).0, "HIT");
    AHEAD.store(3600, Ordering::SeqCst);
    assert_ne!(verdict(&escache.send("GET", SEARCH, &named, "").await.headers).0, "HIT");
}

/// A looser bound for one index is lent to every index that is named beside it.
#[tokio::test]
async fn a_looser_rule_is_not_lent_to_other_indices() {
    let engine = engine();
    engine.index("orders", "1", json!({"team": "a"}));
    engine.refresh("orders");
    let escache = Escache::start_with(&engine.url(), |s| {
        s.policy.rules = vec![Rule {
            indices: vec!["logs*".into()],
            max_staleness: Some(Duration::from_secs(3600)),
            ..Rule::default()
        }];
    })
    .await;
    let path = "/orders,logs/_search";
    escache.send("GET", path, &[], "").await;
    engine.index("orders", "2", json!({"team": "b"}));
    engine.refresh("orders");
    assert_eq!(total(&escache.send("GET", path, &[], "").await), 3);
}

/// Two addresses of different clusters: an answer of one gets the generation of the other.
#[tokio::test]
async fn hosts_of_different_clusters_are_not_mixed() {
    let (one, other) = (engine(), engine());
    other.index("logs", "2", json!({"team": "b"}));
    other.refresh("logs");
    let escache = Escache::in_front_of(&[&one, &other], |_| {}).await;
    for _ in 0..40 {
        escache.send("GET", SEARCH, &[], "").await;
    }
    let mixed = escache.proxy.store.iter().map(|(_, e)| e.body().clone()).collect::<Vec<_>>();
    let (used_one, used_other) = (one.seen(Api::Search), other.seen(Api::Search));
    assert!(used_one == 0 || used_other == 0, "{used_one} and {used_other} searches; stored: {mixed:?}");
}

/// One failed question for the state's version is taken for another cluster.
#[tokio::test]
async fn a_failed_probe_does_not_empty_the_cache() {
    let engine = engine();
    let escache = Escache::start(&engine.url()).await;
    escache.send("GET", SEARCH, &[], "").await;
    engine.on(Api::Version).next(Twist::error(503, "master_not_discovered_exception", "election"));
    probe::learn(&escache.proxy, probe::ask(&escache.proxy).await);
    probe::learn(&escache.proxy, probe::ask(&escache.proxy).await);
    assert_eq!(verdict(&escache.send("GET", SEARCH, &[], "").await.headers).0, "HIT");
}

/// Bytes that the engines' HTTP server takes in a request target, but no URI may have (RFC 3986): hyper refuses the
/// request. A stated limit, and this test shows if it ever goes away.
#[tokio::test]
async fn targets_that_are_no_uri_are_refused() {
    let engine = engine();
    let escache = Escache::start(&engine.url()).await;
    for target in ["/_echo/x?q=age:>5", "/_echo/<logs>", "/_echo/`x"] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let address = escache.url.trim_start_matches("http://").parse().unwrap();
        let answer = raw(address, request.as_bytes()).await;
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{target}: {}", String::from_utf8_lossy(&answer));
    }
    for target in ["/_echo/x?q=a|b^2", "/_echo/x?q=m\u{fc}ller", "/_echo/x?a=\\"] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let address = escache.url.trim_start_matches("http://").parse().unwrap();
        let answer = String::from_utf8_lossy(&raw(address, request.as_bytes()).await).into_owned();
        assert!(answer.contains("escache; fwd=bypass"), "{target}: {answer}");
    }
}

/// Clients must not grow the memory with index expressions: names are held once, however many expressions have them.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_indices_are_held_once() {
    let engine = Engine::start();
    for i in 0..300 {
        engine.index(&format!("an-index-with-a-name-as-they-have-them-{i:04}"), "1", json!({"a": 1}));
    }
    let escache = Escache::start_with(&engine.url(), |s| s.watcher.max_bytes = 100_000).await;
    for i in 0..20 {
        let path = format!("/an*,-an-index-with-a-name-as-they-have-them-{i:04}/_count");
        let answer = escache.send("GET", &path, &[], "").await;
        assert_eq!(verdict(&answer.headers).1, "escache; fwd=miss; stored", "{path}");
    }
    let mut held = BTreeSet::new();
    for (_, entry) in escache.proxy.store.iter() {
        held.extend(entry.indices().names().iter().map(|name| Arc::as_ptr(name).addr()));
    }
    assert_eq!(held.len(), 300);
    assert!(escache.proxy.watcher.targets() <= 2, "{}", escache.proxy.watcher.targets());
}

/// What the operator's credentials can see is told to who was not even let in.
#[tokio::test]
async fn names_are_not_told_to_who_may_not_see_them() {
    let engine = engine();
    engine.put_filtered_alias("logs", "layoffs-2027", json!({"range": {"at": {"gte": "now-1h"}}}));
    engine.on(Api::Search).always(Twist::error(401, "security_exception", "missing credentials"));
    let escache = Escache::start(&engine.url()).await;
    let answer = escache.send("GET", "/_all/_search", &[], "").await;
    assert_eq!(answer.status, 401);
    assert!(!verdict(&answer.headers).1.contains("layoffs"), "{}", verdict(&answer.headers).1);
}

/// A key whose answer was once too large is never cached again, however small the answer gets.
#[tokio::test]
async fn too_large_is_not_for_ever() {
    let engine = engine();
    for i in 0..50 {
        engine.index("logs", &i.to_string(), json!({"text": "x".repeat(100)}));
    }
    engine.refresh("logs");
    let escache = Escache::start_with(&engine.url(), |s| s.policy.max_entry_size = 1_000).await;
    escache.send("GET", "/logs/_search?size=50", &[], "").await;
    for i in 0..50 {
        engine.delete("logs", &i.to_string());
    }
    engine.refresh("logs");
    for _ in 0..3 {
        escache.send("GET", "/logs/_search?size=50", &[], "").await;
    }
    let answer = escache.send("GET", "/logs/_search?size=50", &[], "").await;
    assert_eq!(verdict(&answer.headers).0, "HIT", "{:?}", verdict(&answer.headers));
}

/// Statistics in which there is nothing to replace pass unchanged.
#[tokio::test]
async fn statistics_without_numbers_are_not_altered() {
    let engine = engine();
    let escache = Escache::start(&engine.url()).await;
    for path in ["/_nodes/stats/indices/request_cache?filter_path=nodes.*.name"] {
        let direct = escache.client.get(engine.url() + path).await.text();
        assert_eq!(escache.client.get(format!("{}{path}", escache.url)).await.text(), direct);
    }
    // and what is JSON but no object is no panic
    engine.on(Api::NodesStats).next(Twist::Status(200, "[]".into()));
    let odd = escache.send("GET", "/_nodes/stats/indices/request_cache", &[], "").await;
    assert_eq!((odd.status, odd.text()), (200, "[]".to_owned()));
}

/// An unauthenticated `POST /_security/...` raises the epoch before the engine refuses it: what is in flight is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_purge_costs_nobody_an_entry() {
    let engine = engine();
    let escache = Escache::start(&engine.url()).await;
    let gate = engine.gate_after(Api::Search);
    let search = spawn(&escache, SEARCH, &[]);
    gate.arrived(1).await;
    engine.on(Api::Other).next(Twist::error(401, "security_exception", "missing credentials"));
    assert_eq!(escache.send("POST", "/_security/role/x", &[], "").await.status, 401);
    gate.release();
    assert!(verdict(&search.await.unwrap().headers).1.contains("stored"));
}
