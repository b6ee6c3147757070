//! What people and tools see.

use escache::surface::admin::{Controls, Token};
use serde_json::{Value, json};

use crate::support::engine::{Engine, Flavour, engine_of};
use crate::support::escache::{Escache, verdict};

const SEARCH: &str = "/logs/_search";

async fn warm(flavour: Flavour) -> (Engine, Escache) {
    let engine = engine_of(flavour, &["logs", "other"]);
    let escache = Escache::start(&engine.url()).await;
    for _ in 0..3 {
        escache.search(SEARCH, json!({})).await;
    }
    escache.search("/logs,other/_search", json!({})).await;
    (engine, escache)
}

/// The paths of all keys, without what differs.
fn shape(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(k, v)| shape(v, &format!("{at}.{k}"), out)),
        Value::Array(elements) => elements.iter().for_each(|v| shape(v, &format!("{at}[]"), out)),
        _ => out.push(at.to_owned()),
    }
}

#[tokio::test]
async fn request_cache_statistics_have_the_engines_shape_and_our_numbers() {
    for flavour in [Flavour::Es7, Flavour::Es8, Flavour::Os2] {
        let (engine, escache) = warm(flavour).await;
        for path in [
            "/_stats/request_cache",
            "/_stats/request_cache?human",
            "/logs/_stats/request_cache",
            "/_stats/request_cache?level=shards",
            "/_stats/request_cache?level=cluster",
            "/_nodes/stats/indices/request_cache?human",
        ] {
            let direct = escache.client.get(engine.url() + path).await.json();
            let ours = escache.client.get(format!("{}{path}", escache.url)).await.json();
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            shape(&direct, "", &mut expected);
            shape(&ours, "", &mut found);
            assert_eq!(found, expected, "{path}");
        }
        let stats = escache.client.get(format!("{}/_stats/request_cache?human", escache.url)).await.json();
        let of = |at: &Value| (at["hit_count"].as_u64().unwrap(), at["miss_count"].as_u64().unwrap());
        assert_eq!(of(&stats["_all"]["total"]["request_cache"]), (2, 2));
        assert_eq!(of(&stats["_all"]["primaries"]["request_cache"]), (2, 2));
        assert_eq!(of(&stats["indices"]["logs"]["total"]["request_cache"]), (2, 2));
        assert_eq!(of(&stats["indices"]["other"]["total"]["request_cache"]), (0, 1));
        let memory = stats["_all"]["total"]["request_cache"]["memory_size_in_bytes"].as_u64().unwrap();
        assert!(memory > 500 && memory < 10_000, "{memory}");
        let nodes =
            escache.client.get(format!("{}/_nodes/stats/indices/request_cache", escache.url)).await.json();
        let total: u64 = nodes["nodes"]
            .as_object()
            .unwrap()
            .values()
            .map(|n| n["indices"]["request_cache"]["hit_count"].as_u64().unwrap())
            .sum();
        assert_eq!(total, 2);
        let own =
            escache.client.get(format!("{}/_stats/request_cache?escache=false", escache.url)).await.json();
        let direct = escache.client.get(engine.url() + "/_stats/request_cache").await.json();
        assert_eq!(own["_all"], direct["_all"]);
    }
}

#[tokio::test]
async fn entity_tags_save_the_body() {
    let (_engine, escache) = warm(Flavour::Es8).await;
    let hit = escache.search(SEARCH, json!({})).await;
    let etag = hit.header("etag").unwrap().to_owned();
    let headers = [("content-type", "application/json"), ("if-none-match", etag.as_str())];
    let unchanged = escache.send("POST", SEARCH, &headers, "{}").await;
    assert_eq!((unchanged.status, unchanged.body.len(), verdict(&unchanged.headers).0), (304, 0, "HIT"));
    let other = escache.send("POST", SEARCH, &[headers[0], ("if-none-match", "\"x\"")], "{}").await;
    assert_eq!((other.status, &other.body), (200, &hit.body));
}

#[tokio::test]
async fn every_client_gets_its_own_opaque_id() {
    let (_engine, escache) = warm(Flavour::Es8).await;
    for id in ["a", "b"] {
        let answer = escache.send("GET", "/logs/_search?size=3", &[("x-opaque-id", id)], "").await;
        assert_eq!(answer.header("x-opaque-id"), Some(id));
    }
    let none = escache.send("GET", "/logs/_search?size=3", &[], "").await;
    assert_eq!((verdict(&none.headers).0, none.header("x-opaque-id")), ("HIT", None));
}

#[tokio::test]
async fn explain_tells_what_would_happen() {
    let (_engine, escache) = warm(Flavour::Es8).await;
    let told = escache.explain("POST", SEARCH, json!({})).await;
    assert_eq!(told["verdict"], "cacheable", "{told}");
    assert_eq!((&told["stored"], &told["entry"]["state"]), (&json!(true), &json!("current")));
    assert_eq!(told["indices"], json!(["logs"]));
    let told = escache.explain("POST", "/logs/_search?scroll=1m", json!({})).await;
    assert_eq!((&told["verdict"], &told["reason"]), (&json!("bypass"), &json!("stateful")), "{told}");
    let told = escache.explain("PUT", "/logs/_mapping", json!({})).await;
    assert_eq!((&told["api"], &told["reason"]), (&json!("other"), &json!("write")));
    let told = escache.explain("GET", "/logs/_doc/1", Value::Null).await;
    assert_eq!((&told["api"], &told["reason"]), (&json!("other"), &json!("api")));
}

#[tokio::test]
async fn a_token_guards_the_admin_listener() {
    let (_engine, escache) = warm(Flavour::Es8).await;
    escache.listeners[1].control(Controls { token: Some(Token::new("hush")), ..Controls::default() });
    let send = async |method: &str, path: &str, authorization: &[&str]| {
        let mut headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
        headers.push(("content-type", "application/json"));
        escache.client.request(method, format!("{}{path}", escache.admin), &headers, "{}").await
    };
    for (authorization, expected) in [
        (&[][..], 401),
        (&["Bearer hush"], 200),
        // what a browser sends when its user has been asked
        (&["Basic YWRtaW46aHVzaA=="], 200),
        (&["Bearer hush "], 200),
        (&["Bearer husk"], 401),
        (&["Bearer "], 401),
        (&["Basic aHVzaA=="], 401),
        (&["Basic !"], 401),
        (&["hush"], 401),
        (&["Bearer husk", "Bearer hush"], 401),
    ] {
        for path in ["/", "/stats", "/metrics", "/entries"] {
            assert_eq!(send("GET", path, authorization).await.status, expected, "{path} {authorization:?}");
        }
    }
    let refused = send("POST", "/clear", &["Bearer x"]).await;
    assert_eq!((refused.status, refused.json()["status"].as_u64()), (401, Some(401)));
    assert!(refused.header("www-authenticate").unwrap().starts_with("Basic "), "a browser asks for it");
    assert_eq!(escache.proxy.store.size().0, 2, "nothing was cleared");
    assert_eq!(send("GET", "/live", &[]).await.status, 200);
    assert_eq!(send("GET", "/ready", &[]).await.status, 200);
    assert_eq!(send("POST", "/clear", &["Bearer hush"]).await.status, 200);
    // no reload was given to this one
    assert_eq!(send("POST", "/reload", &["Bearer hush"]).await.status, 400);
    assert_eq!(send("GET", "/reload", &["Bearer hush"]).await.status, 405);
    assert!(!format!("{:?}", Token::new("hush")).contains("hush"));
}

#[tokio::test]
async fn the_admin_listener_is_guarded() {
    let (_engine, escache) = warm(Flavour::Es8).await;
    let send = async |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        escache
            .client
            .request(method, format!("{}{path}", escache.admin), headers, body.to_owned())
            .await
            .status
    };
    assert_eq!(send("GET", "/live", &[], "").await, 200);
    assert_eq!(send("GET", "/ready", &[], "").await, 200);
    assert_eq!(send("GET", "/metrics", &[], "").await, 200);
    assert_eq!(send("GET", "/entries", &[], "").await, 200);
    assert_eq!(send("GET", "/clear", &[], "").await, 405);
    assert_eq!(send("POST", "/clear", &[], "").await, 415);
    assert_eq!(send("GET", "/stats", &[("host", "evil.example")], "").await, 403);
    assert_eq!(send("GET", "/stats", &[("origin", "http://evil.example")], "").await, 403);
    assert_eq!(send("GET", "/nothing", &[], "").await, 404);
    assert_eq!(escache.stats().await["gauges"]["entries"], 2);
    assert_eq!(send("POST", "/clear", &[("content-type", "application/json")], "{}").await, 200);
    assert_eq!(escache.stats().await["gauges"]["entries"], 0);
    // names that containers have for it
    assert_eq!(send("GET", "/stats", &[("host", "escache:9281")], "").await, 403);
    let named = Controls { allowed_hosts: vec!["escache".to_owned()], ..Controls::default() };
    escache.listeners[1].control(named);
    assert_eq!(send("GET", "/stats", &[("host", "escache:9281")], "").await, 200);
    assert_eq!(send("GET", "/stats", &[("host", "evil.example")], "").await, 403);
    let metrics = escache.client.get(format!("{}/metrics", escache.admin)).await.text();
    assert!(metrics.contains("escache_requests_total{api=\"search\",outcome=\"hit\"} 2"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"));
}

/// Whatever the admin listener answers, the data listener knows nothing of: the engine gets it, as it came.
#[tokio::test]
async fn admin_paths_on_the_data_listener_are_the_engines() {
    let (engine, escache) = warm(Flavour::Es8).await;
    let entries = || escache.proxy.store.iter().count();
    let before = entries();
    assert!(before > 0);
    let reloads = || escache.proxy.stats.plain.reloads.get();
    let gets = ["/", "/live", "/ready", "/metrics", "/stats", "/entries", "/overview"];
    let posts = ["/explain", "/clear", "/reload", "/warm"];
    let asked = gets.map(|path| ("GET", path)).into_iter().chain(posts.map(|path| ("POST", path)));
    for (method, path) in asked {
        // it is one of the admin listener's
        let own = escache.client.request(method, format!("{}{path}", escache.admin), &[], "").await;
        assert_ne!(own.status, 404, "{path}");
        let headers = [("content-type", "application/json"), ("x-mark", "admin")];
        let body = if method == "POST" { "{}" } else { "" };
        let seen = engine.seen_in_all();
        let ours = escache.send(method, path, &headers, body).await;
        let came = engine.all_requests().into_iter().rev().find(|request| request.path == path).unwrap();
        assert_eq!((came.method.as_str(), came.header("x-mark")), (method, Some("admin")), "{path}");
        assert!(engine.seen_in_all() > seen, "{path}");
        let direct = escache.client.request(method, engine.url() + path, &headers, body).await;
        assert_eq!((ours.status, &ours.body), (direct.status, &direct.body), "{path}");
    }
    assert_eq!((entries(), reloads()), (before, 0));
}
