//! Reads that are no searches, on real engines: what they show is changed behind the proxy's back, and the next answer
//! shows it. What rests on metadata alone stays while documents come and go.

use serde_json::{Value, json};

use crate::support::escache::{Escache, verdict};
use crate::support::http::{Client, Response};
use crate::support::node::{Engine, Node};
use crate::support::patience::until_hit;

const ENGINES: [Engine; 2] = [Engine::Elasticsearch7, Engine::OpenSearch2];

struct Scene {
    name: &'static str,
    engine: Client,
    escache: Escache,
}

impl Scene {
    async fn ok(&self, method: &str, path: &str, body: Option<Value>) {
        let (status, answer) = self.engine.json(method, path, body).await;
        assert!((200..300).contains(&status), "{}: {method} {path}: {status} {answer}", self.name);
    }

    async fn through(&self, path: &str) -> Response {
        self.escache.send("GET", path, &[], "").await
    }

    /// Asks until the answer comes from the cache, which is the engine's.
    async fn warm(&self, path: &str) {
        until_hit(async || self.through(path).await).await;
        self.check_equal(path, "warm").await;
    }

    async fn check_equal(&self, path: &str, what: &str) {
        let through = self.through(path).await;
        let (status, direct) = self.engine.json("GET", path, None).await;
        assert_eq!(through.status, status, "{} {path} after {what}", self.name);
        assert_eq!(
            through.json(),
            direct,
            "{} {path} after {what}: {:?}",
            self.name,
            verdict(&through.headers)
        );
    }

    /// A change between a hit and the next answer.
    async fn check(&self, paths: &[&str], what: &str, change: impl AsyncFn(&Scene)) {
        for path in paths {
            self.warm(path).await;
        }
        change(self).await;
        for path in paths {
            self.check_equal(path, what).await;
        }
    }
}

async fn scenes(index: &str) -> Vec<(Scene, Node)> {
    let mut scenes = Vec::new();
    for (engine, name) in ENGINES.into_iter().zip(["elasticsearch-7", "opensearch-2"]) {
        let Some(node) = Node::start(engine).await else { continue };
        let scene = Scene { name, engine: node.client(), escache: Escache::start(node.url()).await };
        let body = json!({
            "settings": {"number_of_shards": 2, "number_of_replicas": 0},
            "mappings": {"properties": {"text": {"type": "text"}, "tag": {"type": "keyword"}}},
        });
        scene.ok("PUT", &format!("/{index}"), Some(body)).await;
        let doc = json!({"text": "quick fox", "tag": "red"});
        scene.ok("PUT", &format!("/{index}/_doc/1?refresh=true"), Some(doc)).await;
        scenes.push((scene, node));
    }
    scenes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_metadata_shows_is_never_old() {
    for (scene, _node) in scenes("logs-1").await {
        // A refresh of its own accord would come between two answers that are compared: what `_explain` shows moves then.
        let never = json!({"index": {"refresh_interval": "-1"}});
        scene.ok("PUT", "/logs-1/_settings", Some(never)).await;
        let paths = [
            "/logs-*",
            "/logs-1/_mapping",
            "/logs-*/_mapping/field/*",
            "/logs-1/_settings",
            "/_alias",
            "/_resolve/index/logs*",
            "/logs-*/_field_caps?fields=*",
            "/logs-1/_explain/1?q=text:fox",
            "/logs-1/_validate/query?q=text:fox",
        ];
        scene
            .check(&paths, "a mapping", async |s| {
                let body = json!({"properties": {"more": {"type": "long"}}});
                s.ok("PUT", "/logs-1/_mapping", Some(body)).await;
            })
            .await;
        scene
            .check(&paths, "a document with a new field", async |s| {
                s.ok("PUT", "/logs-1/_doc/2", Some(json!({"text": "fox fox", "found": "x"}))).await;
            })
            .await;
        scene.check(&paths, "a refresh", async |s| s.ok("POST", "/logs-1/_refresh", None).await).await;
        scene
            .check(&paths, "a setting", async |s| {
                let body = json!({"index": {"max_result_window": 77}});
                s.ok("PUT", "/logs-1/_settings", Some(body)).await;
            })
            .await;
        scene
            .check(&paths, "an alias", async |s| {
                let add =
                    json!({"add": {"index": "logs-1", "alias": "al", "filter": {"term": {"tag": "red"}}}});
                s.ok("POST", "/_aliases", Some(json!({"actions": [add]}))).await;
            })
            .await;
        scene
            .check(&paths, "another filter of the alias", async |s| {
                let add =
                    json!({"add": {"index": "logs-1", "alias": "al", "filter": {"term": {"tag": "b"}}}});
                s.ok("POST", "/_aliases", Some(json!({"actions": [add]}))).await;
            })
            .await;
        scene
            .check(&paths, "another index", async |s| {
                s.ok("PUT", "/logs-2", Some(json!({"settings": {"number_of_replicas": 0}}))).await;
            })
            .await;
        scene.check(&paths, "an index gone", async |s| s.ok("DELETE", "/logs-2", None).await).await;
        scene.check(&paths, "a closed index", async |s| s.ok("POST", "/logs-1/_close", None).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rests_on_metadata_outlives_documents() {
    for (scene, _node) in scenes("logs").await {
        let caps = "/logs/_field_caps?fields=*";
        let mapping = "/logs/_mapping";
        scene.warm(caps).await;
        scene.warm(mapping).await;
        scene.warm("/logs/_count").await;
        scene.ok("PUT", "/logs/_doc/3?refresh=true", Some(json!({"text": "hare", "tag": "b"}))).await;
        for (path, expected) in [(caps, "HIT"), (mapping, "HIT"), ("/logs/_count", "MISS")] {
            let through = scene.through(path).await;
            assert_eq!(verdict(&through.headers).0, expected, "{}: {path}", scene.name);
        }
        scene.check_equal(caps, "a document").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_template_is_what_is_stored_now() {
    for (scene, _node) in scenes("logs").await {
        let path = "/logs/_search/template";
        let store = async |query: Value| {
            let script = json!({"script": {"lang": "mustache", "source": query}});
            scene.ok("PUT", "/_scripts/mine", Some(script)).await;
        };
        let by_tag = json!({"query": {"term": {"tag": "{{tag}}"}}});
        let asked = || json!({"id": "mine", "params": {"tag": "red"}});
        let ask = async || {
            let through = scene.escache.search(path, asked()).await;
            let (_, direct) = scene.engine.json("POST", path, Some(asked())).await;
            assert_eq!(through.json()["hits"], direct["hits"], "{}", scene.name);
            through
        };
        store(by_tag.clone()).await;
        until_hit(&ask).await;
        // between two requests the template changes, and changes back
        for template in [json!({"query": {"match_none": {}}}), by_tag, json!({"size": 0})] {
            store(template).await;
            assert_eq!(verdict(&ask().await.headers).0, "MISS", "{}", scene.name);
            until_hit(&ask).await;
        }
        scene.ok("DELETE", "/_scripts/mine", None).await;
        assert_eq!(scene.escache.search(path, asked()).await.status, 404, "{}", scene.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_the_search_that_it_renders_to() {
    for (scene, _node) in scenes("logs").await {
        let path = "/logs/_search/template";
        let template = |tag: &str| json!({"source": "{\"query\":{\"term\":{\"tag\":\"{{tag}}\"}}}", "params": {"tag": tag}});
        let answer = async |tag: &str| scene.escache.search(path, template(tag)).await;
        for expected in ["MISS", "HIT"] {
            assert_eq!(verdict(&answer("red").await.headers).0, expected, "{}", scene.name);
        }
        // another text that renders to the same search
        let same = json!({"source": {"query": {"term": {"tag": "red"}}}});
        assert_eq!(verdict(&scene.escache.search(path, same).await.headers).0, "HIT", "{}", scene.name);
        // which is not the same as the search itself
        let search = json!({"query": {"term": {"tag": "red"}}});
        assert_eq!(verdict(&scene.escache.search("/logs/_search", search).await.headers).0, "MISS");
        assert_eq!(verdict(&answer("blue").await.headers).0, "MISS", "{}", scene.name);
        scene.ok("PUT", "/logs/_doc/4?refresh=true", Some(json!({"text": "hare", "tag": "red"}))).await;
        let after = answer("red").await;
        assert_eq!(verdict(&after.headers).0, "MISS", "{}", scene.name);
        assert_eq!(after.json()["hits"]["total"]["value"], 2, "{}", scene.name);
        let told = scene.escache.explain("POST", path, template("red")).await;
        assert_eq!((&told["verdict"], &told["stored"]), (&json!("cacheable"), &json!(true)), "{told}");
    }
}
