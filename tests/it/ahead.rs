//! Searches that are asked ahead of their users: warm-up and refresh ahead.

use std::time::Duration;

use http::HeaderValue;
use serde_json::{Value, json};

use crate::support::engine::{Api, Engine, Twist, engine};
use crate::support::escache::{Escache, verdict};

const SEARCH: &str = "/logs/_search";
const BEFORE: &str = "Basic YTpi";

fn change(engine: &Engine, id: &str) {
    engine.index("logs", id, json!({"team": "b"}));
    engine.refresh("logs");
}

async fn warm(escache: &Escache, kind: &str, list: &str) -> (u16, Value) {
    let url = format!("{}/warm", escache.admin);
    let answer = escache.client.request("POST", url, &[("content-type", kind)], list.to_owned()).await;
    (answer.status, answer.json())
}

fn counts(told: &Value) -> [u64; 5] {
    ["stored", "current", "not_stored", "refused", "not_understood"].map(|name| told[name].as_u64().unwrap())
}

#[tokio::test]
async fn a_list_is_asked_once_and_users_find_it() {
    let engine = engine();
    let escache = Escache::start(&engine.url()).await;
    let list = concat!(
        r#"{"path":"/logs/_search","body":{"size":1,"query":{"match_all":{}}},"took":7}"#,
        "\n\n",
        r#"{"method":"GET","uri":"/logs/_count","status":200}"#,
        "\r\n",
        r#"{"method":"POST","path":"/_msearch","body":"{\"index\":\"logs\"}\n{\"size\":2}\n{\"index\":\"logs\"}\n{\"size\":3}\n"}"#,
        "\n",
        r#"{"path":"/logs/_search","params":{"size":5,"filter_path":"hits.total"}}"#,
    );
    let (status, told) = warm(&escache, "application/x-ndjson", list).await;
    assert_eq!((status, counts(&told)), (200, [4, 0, 0, 0, 0]), "{told}");
    let asked = engine.seen_in_all();
    let hits = [
        escache.search(SEARCH, json!({"query": {"match_all": {}}, "size": 1})).await,
        escache.search(SEARCH, json!({"size": 2})).await,
        escache.search(SEARCH, json!({"size": 3})).await,
        escache.send("GET", "/logs/_search?filter_path=hits.total&size=5", &[], "").await,
        escache.send("GET", "/logs/_count", &[], "").await,
    ];
    for hit in hits {
        assert_eq!(verdict(&hit.headers).0, "HIT");
    }
    assert!(engine.seen_in_all() > asked, "hits are validated");
    let (_, told) = warm(&escache, "application/x-ndjson", list).await;
    assert_eq!(counts(&told), [0, 4, 0, 0, 0], "{told}");
    change(&engine, "2");
    let (_, told) = warm(&escache, "application/x-ndjson", list).await;
    assert_eq!(counts(&told), [4, 0, 0, 0, 0], "{told}");
}

#[tokio::test]
async fn only_searches_without_credentials_are_asked() {
    let engine = engine();
    let escache = Escache::start(&engine.url()).await;
    let before = engine.all_requests().len();
    let list = json!({"searches": [
        {"method": "PUT", "path": "/logs/_doc/9", "body": {}},
        {"method": "DELETE", "path": "/logs"},
        {"path": "/logs/_search", "headers": {"Authorization": BEFORE}},
        {"path": "/logs/_search", "headers": {"x-api-key": "k"}},
        {"path": "logs"},
        {"path": "/logs/_search?scroll=1m"},
        {"body": {}},
    ]});
    let (status, told) = warm(&escache, "application/json", &list.to_string()).await;
    assert_eq!((status, counts(&told)), (200, [0, 0, 0, 3, 4]), "{told}");
    assert_eq!(told["reasons"], json!({"api": 1, "stateful": 1, "write": 1}));
    assert_eq!(engine.all_requests().len(), before);
    assert!(!told.to_string().contains(BEFORE), "{told}");
    let (status, _) = warm(&escache, "text/plain", "{}").await;
    assert_eq!(status, 415);
    let (status, told) = warm(&escache, "application/x-ndjson", "{").await;
    assert_eq!((status, told["error"]["reason"].as_str().unwrap().split(':').next()), (400, Some("line 1")));
}

/// escache that looks after so many searches.
async fn looking_after(engine: &Engine, most: usize, authorization: Option<&'static str>) -> Escache {
    Escache::start_with(&engine.url(), |settings| {
        settings.policy.refresh_ahead = Some(Duration::from_secs(1));
        settings.policy.entry_ttl = Some(Duration::from_secs(60));
        settings.ahead.most = most;
        settings.ahead.authorization = authorization.map(HeaderValue::from_static);
    })
    .await
}

#[tokio::test]
async fn the_hottest_are_current_before_their_users_come() {
    let engine = engine();
    let escache = looking_after(&engine, 1, None).await;
    for (size, times) in [(1, 1), (2, 3), (3, 2)] {
        for _ in 0..times {
            escache.search(SEARCH, json!({ "size": size })).await;
        }
    }
    assert_eq!((escache.proxy.refresh_hottest().await, engine.seen(Api::Search)), (0, 3));
    change(&engine, "2");
    assert_eq!((escache.proxy.refresh_hottest().await, engine.seen(Api::Search)), (1, 4));
    let hottest = escache.search(SEARCH, json!({"size": 2})).await;
    assert_eq!((verdict(&hottest.headers).0, &hottest.json()["hits"]["total"]["value"]), ("HIT", &json!(2)));
    let other = escache.search(SEARCH, json!({"size": 3})).await;
    assert_eq!(verdict(&other.headers).0, "MISS");
}

/// Whoever is refused, however often, takes the place of nobody.
#[tokio::test]
async fn only_what_is_answered_is_looked_after() {
    let engine = engine();
    let escache = looking_after(&engine, 1, None).await;
    for _ in 0..3 {
        engine.on(Api::Search).next(Twist::forbidden("indices:data/read/search"));
        assert_eq!(escache.search(SEARCH, json!({"size": 2})).await.status, 403);
        assert_eq!(escache.search("/missing/_search", json!({})).await.status, 404);
        let only_if_cached = [("cache-control", "only-if-cached")];
        assert_eq!(escache.send("GET", SEARCH, &only_if_cached, "").await.status, 504);
    }
    escache.search(SEARCH, json!({"size": 1})).await;
    change(&engine, "2");
    assert_eq!(escache.proxy.refresh_hottest().await, 1);
    assert_eq!(verdict(&escache.search(SEARCH, json!({"size": 1})).await.headers).0, "HIT");
}

/// The searches of a multi search count like any other.
#[tokio::test]
async fn searches_of_a_multi_search_are_looked_after() {
    let engine = engine();
    let escache = looking_after(&engine, 10, None).await;
    let lines = "{\"index\":\"logs\"}\n{\"size\":2}\n{\"index\":\"logs\"}\n{\"size\":3}\n";
    let ndjson = [("content-type", "application/x-ndjson")];
    escache.send("POST", "/_msearch", &ndjson, lines).await;
    change(&engine, "2");
    assert_eq!((escache.proxy.refresh_hottest().await, engine.seen(Api::Search)), (2, 2));
    let hit = escache.send("POST", "/_msearch", &ndjson, lines).await;
    assert_eq!(verdict(&hit.headers).1, "escache; hit; detail=\"items-hit=2/2\"");
    assert_eq!(hit.json()["responses"][0]["hits"]["total"]["value"], 2);
}

#[tokio::test]
async fn nothing_is_remembered_where_that_is_off() {
    let engine = engine();
    let escache = Escache::start(&engine.url()).await;
    escache.search(SEARCH, json!({})).await;
    change(&engine, "2");
    assert_eq!((escache.proxy.refresh_hottest().await, engine.seen(Api::Search)), (0, 1));
}

#[tokio::test]
async fn a_credential_of_a_client_is_never_used_again() {
    let engine = engine();
    for (configured, other, stored) in [
        (None, None, 0),
        (Some("Basic other"), None, 0),
        (Some(BEFORE), Some(("x-api-key", "k")), 0),
        (Some(BEFORE), None, 1),
    ] {
        let escache = looking_after(&engine, 10, configured).await;
        let mut headers = vec![("authorization", BEFORE)];
        headers.extend(other);
        let first = escache.send("GET", SEARCH, &headers, "").await;
        assert_eq!(verdict(&first.headers).1, "escache; fwd=miss; stored");
        change(&engine, "2");
        // time alone ends such an entry, so it is asked again where there is none
        escache.proxy.purge(None);
        let seen = engine.seen(Api::Search);
        assert_eq!(escache.proxy.refresh_hottest().await, stored, "{configured:?} {other:?}");
        assert_eq!(engine.seen(Api::Search) - seen, stored);
        if stored > 0 {
            assert_eq!(engine.last(Api::Search).header("authorization"), Some(BEFORE));
            assert_eq!(verdict(&escache.send("GET", SEARCH, &headers, "").await.headers).0, "HIT");
        }
    }
}
