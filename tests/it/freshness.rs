//! No change is ever hidden: every kind of change at the engine, behind the proxy's back, and the searches after it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::engine::{Api, Engine, Flavour, Seen, Twist, engine_with};
use crate::support::escache::{Escache, two, verdict};
use crate::support::http::Response;
use crate::support::patience::{until, until_hit};

const SEARCH: &str = "/logs/_search";

fn all() -> Value {
    json!({"query": {"match_all": {}}})
}

#[tokio::test]
async fn a_repeated_search_is_a_hit() {
    let (engine, escache) = two().await;
    let first = escache.search(SEARCH, all()).await;
    assert_eq!(verdict(&first.headers), ("MISS", "escache; fwd=miss; stored"));
    let second = escache.search(SEARCH, all()).await;
    assert_eq!(verdict(&second.headers), ("HIT", "escache; hit"));
    assert_eq!(second.header("age"), Some("0"));
    assert_eq!(first.body, second.body);
    assert_eq!(first.header("content-type"), second.header("content-type"));
    assert_eq!(first.header("x-elastic-product"), second.header("x-elastic-product"));
    assert_eq!(engine.seen(Api::Search), 1);
    let reordered = escache
        .send("GET", SEARCH, &[("content-type", "application/json")], " {\"query\":{ \"match_all\":{}}} ")
        .await;
    assert_eq!(verdict(&reordered.headers).0, "HIT");
}

/// After a change at the engine the search is a miss, and then a hit again.
async fn check_change(name: &str, change: impl AsyncFn(&Engine)) {
    let (engine, escache) = two().await;
    engine.put_alias("logs", "al");
    for _ in 0..2 {
        escache.search(SEARCH, all()).await;
    }
    assert_eq!(verdict(&escache.search(SEARCH, all()).await.headers).0, "HIT", "{name}");
    change(&engine).await;
    let direct = escache.client.post(engine.url() + SEARCH, all()).await;
    let after = escache.search(SEARCH, all()).await;
    assert_eq!(verdict(&after.headers).0, "MISS", "{name}");
    assert_eq!(after.json()["hits"], direct.json()["hits"], "{name}");
    escache.search(SEARCH, all()).await;
    assert_eq!(verdict(&escache.search(SEARCH, all()).await.headers).0, "HIT", "{name}");
}

#[tokio::test]
async fn every_change_is_seen() {
    check_change("index and refresh", async |e| {
        e.index("logs", "2", json!({"team": "b"}));
        e.refresh("logs");
    })
    .await;
    check_change("index without a refresh", async |e| e.index("logs", "2", json!({"team": "b"}))).await;
    check_change("delete and refresh", async |e| {
        e.delete("logs", "1");
        e.refresh("logs");
    })
    .await;
    check_change("merge", async |e| e.merge("logs")).await;
    check_change("mapping", async |e| {
        e.put_mapping("logs", json!({"properties": {"x": {"type": "keyword"}}}));
    })
    .await;
    check_change("setting", async |e| e.put_settings("logs", json!({"max_result_window": 5}))).await;
    check_change("alias", async |e| e.remove_alias("logs", "al")).await;
    check_change("cluster setting", async |e| {
        e.cluster_setting("search.allow_expensive_queries", json!(false));
    })
    .await;
    check_change("close and open", async |e| {
        e.close("logs");
        e.open("logs");
    })
    .await;
    check_change("restart", async |e| e.restart_node(0)).await;
    check_change("delete and create again", async |e| {
        e.delete_index("logs");
        e.index("logs", "1", json!({"team": "a"}));
        e.refresh("logs");
    })
    .await;
}

#[tokio::test]
async fn an_unrelated_change_of_the_cluster_keeps_entries() {
    let (engine, escache) = two().await;
    for _ in 0..2 {
        escache.search(SEARCH, all()).await;
    }
    escache.confirm().await;
    engine.bump_state();
    engine.create_index_with("other", 1, 1);
    assert_eq!(verdict(&escache.search(SEARCH, all()).await.headers).0, "HIT");
}

/// What joins the target after its reading, is searched, and leaves it, is in an answer and in no later reading. So an
/// answer is served under another cluster state only if the state was the same before and after its search.
#[tokio::test]
async fn what_came_and_went_around_a_search_is_in_no_hit() {
    let (engine, escache) = two().await;
    let any = "/log*/_search?routing=1";
    let total = |answer: &Response| answer.json()["hits"]["total"]["value"].as_u64().unwrap();

    // as with routing: fewer shards are asked than there are
    let found = json!({"took": 1, "timed_out": false, "hits": {"total": {"value": 2, "relation": "eq"}, "hits": []},
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0}});
    engine.on(Api::Search).next(Twist::Status(200, found.to_string().into()));
    let gate = engine.gate_before(Api::Search);
    let search = {
        let (client, url) = (escache.client.clone(), format!("{}{any}", escache.url));
        tokio::spawn(async move { client.request("GET", url, &[], "").await })
    };
    engine.until_seen(Api::Search, 1).await;
    engine.index("log-guest", "9", json!({"team": "guest"}));
    engine.refresh("log-guest");
    drop(gate);
    let found = search.await.unwrap();
    assert_eq!((total(&found), verdict(&found.headers).1), (2, "escache; fwd=miss; stored"));
    engine.delete_index("log-guest");
    for expected in ["MISS", "HIT"] {
        let after = escache.send("GET", any, &[], "").await;
        assert_eq!((verdict(&after.headers).0, total(&after)), (expected, 1));
    }
    assert_eq!(escache.proxy.stats.plain.unconfirmed.get(), 1);
    // what was lost once is not lost again: now who has answered is asked for its state
    let stored = escache.send("GET", "/log*/_search?size=3", &[], "").await;
    assert_eq!(verdict(&stored.headers).1, "escache; fwd=miss; stored");
    let entries = || escache.proxy.store.iter();
    until("all are confirmed", async || entries().all(|(_, entry)| entry.is_confirmed())).await;
    engine.bump_state();
    assert_eq!(verdict(&escache.send("GET", "/log*/_search?size=3", &[], "").await.headers).0, "HIT");
}

/// A node may go by a state that the master does not show yet. What the master shows is no proof of what that node has
/// searched.
#[tokio::test]
async fn what_a_node_ahead_of_the_master_has_shown_is_in_no_later_hit() {
    let (engine, escache) = two().await;
    let any = "/log*/_search?routing=1";
    let total = |answer: &Response| answer.json()["hits"]["total"]["value"].as_u64().unwrap();
    let status = async |path: &str| {
        let answer = escache.send("GET", path, &[], "").await;
        (verdict(&answer.headers).0.to_owned(), total(&answer))
    };
    assert_eq!(status("/log*/_search?size=2").await.0, "MISS");
    let of_engine = async |path: &str| escache.client.get(format!("{}{path}", engine.url())).await.body;
    let version = of_engine("/_cluster/state/version").await;
    let stats = of_engine("/log*/_stats/refresh,merge?level=shards").await;
    let of_master = |seen: &Seen| seen.query.as_deref().is_none_or(|query| !query.contains("local=true"));
    engine.on(Api::Version).when(of_master).always(Twist::Status(200, version));
    engine.on(Api::Stats).always(Twist::Status(200, stats));
    engine.index("log-guest", "9", json!({"team": "guest"}));
    engine.refresh("log-guest");
    let found = json!({"took": 1, "timed_out": false, "hits": {"total": {"value": 2, "relation": "eq"}, "hits": []},
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0}});
    engine.on(Api::Search).next(Twist::Status(200, found.to_string().into()));
    assert_eq!(status(any).await, ("MISS".to_owned(), 2));
    assert_eq!(status(any).await, ("HIT".to_owned(), 2), "that node would still say so");
    engine.calm();
    engine.delete_index("log-guest");
    for expected in ["MISS", "HIT"] {
        assert_eq!(status(any).await, (expected.to_owned(), 1));
    }
}

/// Not even where no index can join: a setting of the cluster may have been another one in between.
#[tokio::test]
async fn nothing_outlasts_its_state_before_it_is_confirmed() {
    for path in ["/logs/_search", "/logs,other/_search", "/lo*/_search", "/al/_search", "/_search"] {
        let (engine, escache) = two().await;
        engine.index("other", "1", json!({}));
        engine.refresh("other");
        engine.put_alias("logs", "al");
        let ask = async || verdict(&escache.send("GET", path, &[], "").await.headers).0.to_owned();
        assert_eq!(ask().await, "MISS", "{path}");
        engine.bump_state();
        assert_eq!(ask().await, "MISS", "{path}");
        escache.confirm().await;
        engine.bump_state();
        assert_eq!(ask().await, "HIT", "{path}");
    }
}

#[tokio::test]
async fn where_generations_cannot_be_read_searches_are_forwarded() {
    for (api, twist) in [
        (Api::Stats, Twist::forbidden("indices:monitor/stats")),
        (Api::Version, Twist::forbidden("cluster:monitor/state")),
        (Api::Stats, Twist::Drop),
        (Api::Stats, Twist::Truncate(20)),
    ] {
        let (engine, escache) = two().await;
        escache.search(SEARCH, all()).await;
        engine.on(api).always(twist);
        let forwarded = escache.search(SEARCH, all()).await;
        assert_eq!(forwarded.status, 200);
        assert_eq!(verdict(&forwarded.headers), ("BYPASS", "escache; fwd=bypass; detail=generation-unknown"));
    }
}

#[tokio::test]
async fn a_reading_that_hides_an_index_is_invalid() {
    let (engine, escache) = two().await;
    engine.index("logs-2", "1", json!({"team": "b"}));
    engine.refresh("logs-2");
    engine.on(Api::Stats).always(Twist::HideIndex("logs-2".into()));
    for _ in 0..2 {
        let answer = escache.search("/logs*/_search", all()).await;
        assert_eq!(verdict(&answer.headers), ("BYPASS", "escache; fwd=bypass; detail=generation-incomplete"));
    }
}

#[tokio::test]
async fn partial_answers_are_not_stored() {
    for (twist, detail) in [
        (Twist::ShardMissing, "partial"),
        (Twist::ShardFailed, "partial"),
        (Twist::TimedOut, "timed-out"),
        (Twist::TerminatedEarly, "terminated-early"),
        (Twist::Header("age", "3".into()), "cache-underneath"),
        (Twist::Header("x-cache", "HIT".into()), "cache-underneath"),
        (Twist::error(429, "circuit_breaking_exception", "full"), "status"),
    ] {
        for filter in ["", "?filter_path=hits.hits._id"] {
            let (engine, escache) = two().await;
            engine.on(Api::Search).next(twist.clone());
            let path = format!("{SEARCH}{filter}");
            let refused = escache.search(&path, all()).await;
            let status = format!("escache; fwd=miss; detail={detail}");
            assert_eq!(verdict(&refused.headers), ("MISS", status.as_str()), "{twist:?} {filter}");
            let whole = escache.search(&path, all()).await;
            assert_eq!(verdict(&whole.headers).0, "MISS", "{twist:?}");
            assert_eq!(verdict(&escache.search(&path, all()).await.headers).0, "HIT", "{twist:?}");
        }
    }
}

#[tokio::test]
async fn a_widened_fill_answers_what_was_asked() {
    let (engine, escache) = two().await;
    let path = format!("{SEARCH}?filter_path=hits.hits._id");
    let direct = escache.client.post(format!("{}{path}", engine.url()), all()).await;
    for verdict_of in ["MISS", "HIT"] {
        let answer = escache.search(&path, all()).await;
        assert_eq!((verdict(&answer.headers).0, &answer.body), (verdict_of, &direct.body));
    }
}

#[tokio::test]
async fn the_index_setting_is_honoured_and_followed() {
    let (engine, escache) = two().await;
    escache.search(SEARCH, all()).await;
    engine.put_settings("logs", json!({"requests.cache.enable": false}));
    let refused = escache.search(SEARCH, all()).await;
    assert_eq!(verdict(&refused.headers), ("BYPASS", "escache; fwd=bypass; detail=index-setting"));
    let path = format!("{SEARCH}?request_cache=true");
    assert_eq!(verdict(&escache.search(&path, all()).await.headers).0, "MISS");
    assert_eq!(verdict(&escache.search(&path, all()).await.headers).0, "HIT");
    engine.put_settings("logs", json!({"requests.cache.enable": true}));
    assert_eq!(verdict(&escache.search(SEARCH, all()).await.headers).0, "MISS");
}

#[tokio::test]
async fn a_filtered_alias_with_now_is_refused_where_it_may_be_named() {
    let (engine, escache) = two().await;
    engine.put_filtered_alias("logs", "recent", json!({"range": {"at": {"gte": "now-1h"}}}));
    for path in ["/recent/_search", "/logs,recent/_search", "/*/_search", "/_search", "/rec*/_search"] {
        let refused = escache.search(path, all()).await;
        assert_eq!(verdict(&refused.headers).1, "escache; fwd=bypass; detail=alias-filter", "{path}");
    }
    let told = escache.explain("POST", "/rec*/_search", all()).await;
    assert_eq!((&told["reason"], &told["place"]), (&json!("alias-filter"), &json!("logs.aliases.recent")));
    for path in [SEARCH, "/log*/_search"] {
        assert_eq!(verdict(&escache.search(path, all()).await.headers).0, "MISS", "{path}");
        assert_eq!(verdict(&escache.search(path, all()).await.headers).0, "HIT", "{path}");
    }
}

/// The engine resolves them in the whole cluster, and answers 404 where one is missing.
#[tokio::test]
async fn names_of_indices_boost_are_among_those_of_the_target() {
    let (engine, escache) = two().await;
    engine.create_index("other");
    let boosting = |name: &str| json!({"query": {"match_all": {}}, "indices_boost": [{name: 2}]});
    let refused = escache.search(SEARCH, boosting("other")).await;
    assert_eq!(
        verdict(&refused.headers),
        ("BYPASS", "escache; fwd=bypass; detail=\"lookup at indices_boost\"")
    );
    for (path, name) in [
        ("/logs,other/_search", "other"),
        ("/*/_search", "other"),
        ("/_search", "logs"),
        (SEARCH, "logs"),
        (SEARCH, "o*"),
    ] {
        assert_eq!(verdict(&escache.search(path, boosting(name)).await.headers).0, "MISS", "{path} {name}");
        assert_eq!(verdict(&escache.search(path, boosting(name)).await.headers).0, "HIT", "{path} {name}");
    }
    engine.delete_index("other");
    let gone = escache.search("/*/_search", boosting("other")).await;
    assert_ne!(verdict(&gone.headers).0, "HIT");
}

/// A4: `freshness.metadata_settling`. The look that first shows a change begins its time.
#[tokio::test]
async fn metadata_that_may_not_have_reached_every_node_is_waited_for() {
    let (engine, _) = two().await;
    let settling = Duration::from_millis(200);
    let escache = Escache::start_with(&engine.url(), |s| s.watcher.metadata_settling = settling).await;
    let warm = async || {
        until_hit(async || escache.search(SEARCH, all()).await).await;
    };
    let refused = ("BYPASS", "escache; fwd=bypass; detail=metadata-settling");
    assert_eq!(verdict(&escache.search(SEARCH, all()).await.headers), refused, "first sight");
    warm().await;
    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
    assert_eq!(verdict(&escache.search(SEARCH, all()).await.headers).0, "MISS", "no metadata moved");
    engine.put_settings("logs", json!({"max_result_window": 10_001}));
    assert_eq!(verdict(&escache.search(SEARCH, all()).await.headers), refused);
    warm().await;
}

/// What no client is told, `explain` tells the operator: where in the target a refusal stands.
#[tokio::test]
async fn explain_names_the_place() {
    let (engine, escache) = two().await;
    let check = async |path: &str, reason: &str, place: &str| {
        let told = escache.explain("POST", path, all()).await;
        assert_eq!((told["reason"].as_str(), told["place"].as_str()), (Some(reason), Some(place)), "{told}");
        assert_eq!(told["scope"], json!({"state": "free", "by": []}), "whatever the verdict is");
    };
    engine.put_settings("logs", json!({"requests.cache.enable": false}));
    check(SEARCH, "index-setting", "logs.settings.index.requests.cache.enable").await;
    engine.put_settings("logs", json!({"requests.cache.enable": true, "search.idle.after": "1s"}));
    check(SEARCH, "search-idle", "logs.settings.index.search.idle.after").await;
    engine.put_settings("logs", json!({"search.idle.after": "30s"}));
    engine.on(Api::Stats).times(2, Twist::forbidden("indices:monitor/stats"));
    check(SEARCH, "generation-unknown", "/_stats: 403").await;
    check("/missing/_search", "generation-unknown", "/_cluster/state: 404").await;
}

/// What a request names `standard` is what the index says it is.
#[tokio::test]
async fn an_index_may_have_an_analyzer_of_its_own_by_a_known_name() {
    let (engine, escache) = two().await;
    let analyzed = json!({"query": {"match": {"team": {"query": "a", "analyzer": "standard"}}}});
    let told = async |body: &Value| {
        let told = escache.explain("POST", SEARCH, body.clone()).await;
        (told["reason"].as_str().map(str::to_owned), told["place"].as_str().map(str::to_owned))
    };
    assert_eq!(told(&analyzed).await, (None, None));
    engine.put_settings("logs", json!({"analysis.analyzer.standard.tokenizer": "keyword"}));
    let place = "logs.settings.index.analysis.analyzer.standard";
    assert_eq!(told(&analyzed).await, (Some("now".to_owned()), Some(place.to_owned())));
    assert_eq!(told(&all()).await, (None, None), "it names none");
}

/// What to change follows from what the engine has said.
#[tokio::test]
async fn explain_tells_a_missing_index_from_a_missing_permission() {
    let (engine, escache) = two().await;
    let advised =
        async |path: &str| escache.explain("POST", path, all()).await["advice"].as_str().unwrap().to_owned();
    let missing = advised("/missing/_search").await;
    assert!(missing.contains("index is missing (404)") && !missing.contains("credentials"), "{missing}");
    engine.on(Api::Stats).always(Twist::forbidden("indices:monitor/stats"));
    let forbidden = advised(SEARCH).await;
    assert!(forbidden.contains("upstream.credentials"), "{forbidden}");
    engine.calm();
    engine.on(Api::Stats).always(Twist::Drop);
    // another target, whose readings have not failed yet
    let silent = advised("/log*/_search").await;
    assert!(silent.contains("cannot be reached") && !silent.contains("credentials"), "{silent}");
}

#[tokio::test]
async fn the_request_controls_the_cache() {
    let (engine, escache) = two().await;
    let send = async |headers: &[(&str, &str)], path: &str| escache.send("GET", path, headers, "").await;
    let only = send(&[("cache-control", "only-if-cached")], SEARCH).await;
    assert_eq!(only.status, 504);
    assert_eq!(only.json()["error"]["type"], "only_if_cached_exception");
    assert_eq!(engine.seen(Api::Search), 0);
    send(&[], SEARCH).await;
    assert_eq!(verdict(&send(&[("cache-control", "only-if-cached")], SEARCH).await.headers).0, "HIT");
    assert_eq!(verdict(&send(&[("cache-control", "no-cache")], SEARCH).await.headers).0, "HIT");
    let bypassed = send(&[("cache-control", "no-store")], SEARCH).await;
    assert_eq!(verdict(&bypassed.headers), ("BYPASS", "escache; fwd=bypass; detail=no-store"));
    let refused = send(&[], "/logs/_search?request_cache=false").await;
    assert_eq!(verdict(&refused.headers), ("BYPASS", "escache; fwd=bypass; detail=request-cache-false"));
    let named = send(&[("authorization", "Basic eDp5")], SEARCH).await;
    assert_eq!(verdict(&named.headers), ("BYPASS", "escache; fwd=bypass; detail=scope-unknown"));
}

#[tokio::test]
async fn a_bound_serves_old_readings_but_never_older_ones_than_a_mark() {
    let (engine, escache) = two().await;
    let escache_bounded =
        Escache::start_with(&engine.url(), |s| s.policy.max_staleness = Duration::from_secs(3600)).await;
    for proxy in [&escache, &escache_bounded] {
        proxy.search(SEARCH, all()).await;
    }
    let readings = engine.seen(Api::Stats);
    assert_eq!(verdict(&escache_bounded.search(SEARCH, all()).await.headers).0, "HIT");
    assert_eq!(engine.seen(Api::Stats), readings, "a bounded hit asks nothing");

    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
    assert_eq!(verdict(&escache_bounded.search(SEARCH, all()).await.headers).0, "HIT");
    assert_eq!(verdict(&escache.search(SEARCH, all()).await.headers).0, "MISS");
    // the request can lower the bound
    let fresh = escache_bounded.send("GET", SEARCH, &[("cache-control", "max-age=0")], "").await;
    assert_eq!(fresh.json()["hits"]["total"]["value"], 2);

    // and a client reads its own writes
    let written = escache_bounded
        .send("PUT", "/logs/_doc/3?refresh=true", &[("content-type", "application/json")], "{}")
        .await;
    assert_eq!(written.status, 201, "{}", written.text());
    let own = escache_bounded.search(SEARCH, all()).await;
    assert_eq!((verdict(&own.headers).0, &own.json()["hits"]["total"]["value"]), ("MISS", &json!(3)));
}

#[tokio::test]
async fn with_ttl_only_the_engine_is_asked_nothing_but_the_search() {
    let engine = engine_with(Flavour::Os2, json!({"team": "a"}));
    let escache =
        Escache::start_with(&engine.url(), |s| s.policy.ttl_only = Some(Duration::from_secs(3600))).await;
    let before = engine.seen(Api::Stats);
    escache.search(SEARCH, all()).await;
    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
    let hit = escache.search(SEARCH, all()).await;
    assert_eq!(verdict(&hit.headers), ("HIT", "escache; hit; ttl=3599; detail=ttl-only"));
    assert_eq!((engine.seen(Api::Stats), engine.seen(Api::Search)), (before, 1));
}

#[tokio::test]
async fn an_inner_cache_never_keeps_an_outer_one_stale() {
    let (engine, _) = two().await;
    let inner = Escache::start_with(&engine.url(), |s| s.policy.max_staleness = Duration::from_secs(5)).await;
    let outer = Escache::start(&inner.url).await;
    for _ in 0..3 {
        outer.search(SEARCH, all()).await;
    }
    for doc in 2..6 {
        engine.index("logs", &doc.to_string(), json!({"team": "b"}));
        engine.refresh("logs");
        for _ in 0..3 {
            let answer = outer.search(SEARCH, all()).await;
            assert_eq!(answer.json()["hits"]["total"]["value"], doc, "{:?}", verdict(&answer.headers));
        }
    }
}
