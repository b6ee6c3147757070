//! The same on real engines: every kind of change is made at the engine, behind the proxy's back.

use std::time::Duration;

use escache::watcher::CLUSTER_SETTINGS;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::escache::{Escache, verdict};
use crate::support::http::{Client, Response};
use crate::support::node::{Engine, Node};
use crate::support::patience::{until, until_hit};

const ENGINES: [Engine; 3] = [Engine::Elasticsearch7, Engine::Elasticsearch8, Engine::OpenSearch2];

/// A search that shows scores, order, totals and an aggregation.
fn question() -> Value {
    json!({
        "query": {"match": {"text": "quick fox"}},
        "size": 20,
        "aggs": {"teams": {"terms": {"field": "team"}}, "sum": {"sum": {"field": "n"}}}
    })
}

/// One index on a real engine with an escache in front.
struct Scene {
    node: Node,
    engine: Client,
    escache: Escache,
    index: String,
}

impl Scene {
    async fn new(node: Node, index: &str) -> Scene {
        let engine = node.client();
        let escache = Escache::start(node.url()).await;
        let scene = Scene { node, engine, escache, index: index.to_owned() };
        scene.create().await;
        scene
    }

    async fn create(&self) {
        let body = json!({
            "settings": {"number_of_shards": 2, "number_of_replicas": 0},
            "mappings": {"properties": {
                "text": {"type": "text"}, "team": {"type": "keyword"}, "n": {"type": "long"}
            }}
        });
        self.ok("PUT", "", Some(body)).await;
        for id in 0..12 {
            let words = ["quick brown fox", "slow fox", "quick hare"][id % 3];
            let doc = json!({"text": words, "team": format!("t{}", id % 4), "n": id});
            self.ok("PUT", &format!("/_doc/{id}"), Some(doc)).await;
        }
        self.ok("POST", "/_refresh", None).await;
    }

    /// A request to the engine itself that must succeed.
    async fn ok(&self, method: &str, rest: &str, body: Option<Value>) {
        let path =
            if rest.starts_with("//") { rest[1..].to_owned() } else { format!("/{}{rest}", self.index) };
        let (status, answer) = self.engine.json(method, &path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    }

    async fn through(&self, path: &str) -> Response {
        self.escache.search(path, question()).await
    }

    /// Searches until the answer comes from the cache.
    async fn warm(&self, path: &str) {
        until_hit(async || self.through(path).await).await;
    }

    /// The answer through the proxy is the engine's own.
    async fn check_equal(&self, path: &str, what: &str) {
        let through = self.through(path).await;
        let direct = self.engine.post(path, question()).await;
        assert_eq!(through.status, direct.status, "{what}");
        assert_eq!(without_took(&through), without_took(&direct), "{what}: {:?}", verdict(&through.headers));
    }
}

fn without_took(answer: &Response) -> Value {
    let mut json = answer.json();
    json.as_object_mut().unwrap().remove("took");
    json
}

/// Makes a change between two searches, and then searches once more.
async fn check(scene: &Scene, what: &str, change: impl AsyncFn(&Scene)) {
    let path = format!("/{}/_search", scene.index);
    scene.warm(&path).await;
    change(scene).await;
    scene.check_equal(&path, what).await;
    scene.warm(&path).await;
    scene.check_equal(&path, what).await;
}

async fn every_change(engine: Engine) {
    let Some(node) = Node::start(engine).await else { return };
    let scene = Scene::new(node, "changes").await;
    check(&scene, "index and refresh", async |s| {
        s.ok("PUT", "/_doc/new?refresh=true", Some(json!({"text": "quick fox", "team": "t9", "n": 100})))
            .await;
    })
    .await;
    check(&scene, "delete and refresh", async |s| {
        s.ok("DELETE", "/_doc/3", None).await;
        s.ok("POST", "/_refresh", None).await;
    })
    .await;
    if engine != Engine::Elasticsearch8 {
        // the lean Elasticsearch 8 has no reindex module
        check(&scene, "update by query", async |s| {
            s.ok("POST", "/_update_by_query?refresh=true&conflicts=proceed", None).await;
        })
        .await;
    }
    check(&scene, "forcemerge", async |s| {
        s.ok("DELETE", "/_doc/4?refresh=true", None).await;
        s.warm(&format!("/{}/_search", s.index)).await;
        s.ok("POST", "/_forcemerge?max_num_segments=1", None).await;
        s.ok("POST", "/_refresh", None).await;
    })
    .await;
    check(&scene, "mapping changed", async |s| {
        s.ok("PUT", "/_mapping", Some(json!({"properties": {"added": {"type": "keyword"}}}))).await;
    })
    .await;
    check(&scene, "setting changed", async |s| {
        s.ok("PUT", "/_settings", Some(json!({"index.max_result_window": 19}))).await;
        let refused = s.through(&format!("/{}/_search", s.index)).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        s.ok("PUT", "/_settings", Some(json!({"index.max_result_window": null}))).await;
    })
    .await;
    check(&scene, "close and open", async |s| {
        s.ok("POST", "/_close", None).await;
        assert_eq!(s.through(&format!("/{}/_search", s.index)).await.status, 400);
        s.ok("POST", "/_open?wait_for_active_shards=1", None).await;
        s.engine.get(format!("/_cluster/health/{}?wait_for_status=yellow", s.index)).await;
    })
    .await;
    check(&scene, "delete and create again with the same content", async |s| {
        s.ok("DELETE", "", None).await;
        assert_eq!(s.through(&format!("/{}/_search", s.index)).await.status, 404);
        s.create().await;
    })
    .await;
    check_alias(&scene).await;
    check_cluster_setting(&scene).await;
    check(&scene, "node restarted", async |s| {
        s.node.restart().await;
        s.engine.get(format!("/_cluster/health/{}?wait_for_status=yellow&timeout=60s", s.index)).await;
    })
    .await;
}

/// An alias is moved from one index to another, and then gets a filter.
async fn check_alias(scene: &Scene) {
    let alias = async |action: Value| {
        let (status, answer) = scene.engine.json("POST", "/_aliases", Some(json!({"actions": action}))).await;
        assert_eq!(status, 200, "{answer}");
    };
    scene.ok("PUT", "//other", Some(json!({}))).await;
    scene.ok("PUT", "//other/_doc/1?refresh=true", Some(json!({"text": "quick", "n": 1}))).await;
    alias(json!([{"add": {"index": scene.index, "alias": "al"}}])).await;
    scene.warm("/al/_search").await;
    alias(json!([{"remove": {"index": scene.index, "alias": "al"}}, {"add": {"index": "other", "alias": "al"}}])).await;
    scene.check_equal("/al/_search", "alias moved").await;
    scene.warm("/al/_search").await;
    alias(json!([{"add": {"index": "other", "alias": "al", "filter": {"term": {"n": 2}}}}])).await;
    scene.check_equal("/al/_search", "alias filtered").await;
    alias(
        json!([{"add": {"index": "other", "alias": "al", "filter": {"range": {"at": {"gte": "now-1d"}}}}}]),
    )
    .await;
    let refused = scene.through("/al/_search").await;
    assert!(verdict(&refused.headers).1.contains("alias-filter"), "{:?}", refused.headers);
}

/// A setting of the cluster that turns an answer into an error, and moves no counter.
async fn check_cluster_setting(scene: &Scene) {
    let path = format!("/{}/_search", scene.index);
    let expensive = json!({"query": {"wildcard": {"team": {"value": "*9"}}}});
    for _ in 0..3 {
        scene.escache.search(&path, expensive.clone()).await;
    }
    assert_eq!(verdict(&scene.escache.search(&path, expensive.clone()).await.headers).0, "HIT");
    for (value, status) in [(json!("false"), 400), (Value::Null, 200)] {
        let change = json!({"transient": {"search.allow_expensive_queries": value}});
        assert_eq!(scene.engine.json("PUT", "/_cluster/settings", Some(change)).await.0, 200);
        assert_eq!(scene.engine.post(&path, expensive.clone()).await.status, status);
        assert_eq!(scene.escache.search(&path, expensive.clone()).await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn elasticsearch_7_hides_no_change() {
    every_change(Engine::Elasticsearch7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn elasticsearch_8_hides_no_change() {
    every_change(Engine::Elasticsearch8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opensearch_2_hides_no_change() {
    every_change(Engine::OpenSearch2).await;
}

/// A2 rests on what OpenSearch does with indices that have no refresh interval of their own: the cluster's default is in
/// the answer that metadata is made from, though nobody has set it; it decides when they are refreshed; and it does not keep
/// them from sleeping, as an interval of their own does.
#[tokio::test(flavor = "multi_thread")]
async fn the_clusters_default_refresh_interval_is_what_opensearch_goes_by() {
    let Some(node) = Node::start(Engine::OpenSearch2).await else { return };
    let scene = Scene::new(node, "default").await;
    let path = format!("/{}/_search", scene.index);
    let name = "cluster.default.index.refresh_interval";
    let set = async |value: Value| {
        let change = json!({"persistent": {name: value}});
        let (status, answer) = scene.engine.json("PUT", "/_cluster/settings", Some(change)).await;
        assert_eq!(status, 200, "{answer}");
    };
    let shown = scene.engine.get(CLUSTER_SETTINGS).await.json();
    assert_eq!(shown["defaults"], json!({name: "1s"}), "{shown}");
    scene.warm(&path).await;
    set(json!("15s")).await;
    let shown = scene.engine.get(CLUSTER_SETTINGS).await.json();
    assert_eq!((&shown["persistent"][name], &shown["defaults"]), (&json!("15s"), &Value::Null), "{shown}");
    scene.warm(&path).await;
    for too_long in ["16s", "-1"] {
        set(json!(too_long)).await;
        let told = scene.escache.explain("POST", &path, question()).await;
        assert_eq!((&told["reason"], &told["place"]), (&json!("search-idle"), &json!(name)), "{told}");
        let refused = scene.through(&path).await;
        assert_eq!(verdict(&refused.headers), ("BYPASS", "escache; fwd=bypass; detail=search-idle"));
    }
    // never refreshed now, however often it is searched
    let found = async |index: &str| {
        let answer = scene.engine.get(format!("/{index}/_search?q=n:77")).await.json();
        answer["hits"]["total"]["value"].as_u64().unwrap()
    };
    scene.ok("PUT", "/_doc/late", Some(json!({"n": 77}))).await;
    for _ in 0..10 {
        assert_eq!(found(&scene.index).await, 0);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    set(json!("500ms")).await;
    until("it is refreshed", async || found(&scene.index).await > 0).await;
    // the default that somebody has set lets shards sleep; an interval of the index's own does not
    let refreshes = async |index: &str| {
        let stats = scene.engine.get(format!("/{index}/_stats/refresh")).await.json();
        stats["_all"]["primaries"]["refresh"]["external_total"].as_u64().unwrap()
    };
    for (index, sleeps) in [("sleeps", true), ("wakes", false)] {
        let mut settings =
            json!({"number_of_shards": 1, "number_of_replicas": 0, "search.idle.after": "100ms"});
        if !sleeps {
            settings["refresh_interval"] = json!("500ms");
        }
        let mapping = json!({"properties": {"n": {"type": "long"}}});
        let body = json!({"settings": settings, "mappings": mapping});
        scene.ok("PUT", &format!("//{index}"), Some(body)).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = refreshes(index).await;
        scene.ok("PUT", &format!("//{index}/_doc/1"), Some(json!({"n": 77}))).await;
        if sleeps {
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(refreshes(index).await, before);
            // and the search that wakes it finds what has waited
            assert_eq!(found(index).await, 1);
        } else {
            until("it is refreshed", async || refreshes(index).await > before).await;
        }
    }
}

/// Hits keep searches away from an index, so that its shards fall idle and stop to refresh. What is written then must
/// be found by the next search through the proxy, as it is by one at the engine.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_shard_hides_no_write() {
    let scenes = ENGINES.map(|engine| async move {
        let node = Node::start(engine).await?;
        let scene = Scene::new(node, "idle").await;
        let path = format!("/{}/_search", scene.index);
        scene.warm(&path).await;
        // hits go on and do not count as searches of the engine
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(verdict(&scene.through(&path).await.headers).0, "HIT", "{engine:?}");
        }
        scene.ok("PUT", "/_doc/late", Some(json!({"text": "quick fox", "n": 1}))).await;
        // until the scheduler of the shard has noted that something waits, a search at the engine does not see it either
        tokio::time::sleep(Duration::from_secs(3)).await;
        let through = scene.through(&path).await;
        assert!(through.text().contains("\"late\""), "{engine:?}: {:?}", through.headers);
        scene.check_equal(&path, "after an idle time").await;
        Some(())
    });
    join_all(scenes).await;
}
