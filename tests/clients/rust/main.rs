//! What the Rust clients must be able to do through escache; ../python/checks.py says which settings and lines there are.
//! One text for both crates, which are of one origin: `client` is the one that is tried.

use std::collections::BTreeSet;
use std::env;

#[cfg(feature = "elasticsearch")]
use client::Elasticsearch as Client;
#[cfg(feature = "opensearch")]
use client::OpenSearch as Client;
use client::http::headers::{HeaderMap, HeaderName, HeaderValue};
use client::http::request::JsonBody;
use client::http::response::Response;
use client::http::Method;
#[cfg(feature = "elasticsearch")]
use client::http::Url;
use client::http::transport::Transport;
#[cfg(feature = "elasticsearch")]
use client::http::transport::{SingleNodeConnectionPool, TransportBuilder};
use client::indices::{IndicesCreateParts, IndicesDeleteParts};
use client::params::Refresh;
use client::{
    BulkOperation, BulkOperations, BulkParts, CountParts, CreateParts, DeleteParts, Error, GetParts, IndexParts,
    MsearchParts, ScrollParts, SearchParts,
};
use serde_json::{Value, json};
use tokio::task::LocalSet;

const COUNT: usize = 250;

fn setting(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn engine() -> String {
    setting("CLIENT_ENGINE")
}

fn index() -> String {
    format!("clients-rs-{}", env!("CARGO_PKG_NAME"))
}

fn client(at: &str) -> Client {
    Client::new(Transport::single_node(&setting(at)).expect("a transport"))
}

#[cfg(feature = "elasticsearch")]
fn built(change: impl FnOnce(TransportBuilder) -> TransportBuilder) -> Client {
    let url: Url = setting("CLIENT_URL").parse().expect("a URL");
    let builder = TransportBuilder::new(SingleNodeConnectionPool::new(url));
    Client::new(change(builder).build().expect("a transport"))
}

/// An answer that was read to its end.
struct Answer {
    status: u16,
    headers: HeaderMap,
    length: Option<u64>,
    body: Value,
}

impl Answer {
    async fn of(response: Result<Response, Error>) -> Answer {
        let response = response.expect("an answer");
        let (status, headers) = (response.status_code().as_u16(), response.headers().clone());
        let length = response.content_length();
        let text = response.text().await.expect("a body");
        Answer { status, headers, length, body: serde_json::from_str(&text).unwrap_or_default() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn verdict(&self) -> &str {
        self.header("x-cache")
    }

    fn total(&self) -> i64 {
        total(&self.body)
    }

    fn hits(&self) -> &[Value] {
        self.body["hits"]["hits"].as_array().expect("hits")
    }
}

fn total(of: &Value) -> i64 {
    of["hits"]["total"]["value"].as_i64().unwrap_or(-1)
}

fn n(value: i64) -> Value {
    json!({"query": {"term": {"n": value}}})
}

async fn search_as(of: &Client, body: &Value, opaque: Option<&'static str>) -> Answer {
    let index = index();
    let index = [index.as_str()];
    let mut search = of.search(SearchParts::Index(&index)).body(body);
    if let Some(id) = opaque {
        search = search.header(HeaderName::from_static("x-opaque-id"), HeaderValue::from_static(id));
    }
    Answer::of(search.send().await).await
}

async fn search(of: &Client, body: &Value) -> Answer {
    search_as(of, body, None).await
}

/// Repeats a search until it is a hit, since an index may still be settling.
async fn until_hit(of: &Client, body: &Value, opaque: Option<&'static str>) -> Answer {
    let mut last = String::new();
    for _ in 0..10 {
        let found = search_as(of, body, opaque).await;
        if found.verdict() == "HIT" {
            return found;
        }
        last = found.header("cache-status").to_owned();
    }
    panic!("no HIT in 10 tries: {last}");
}

async fn arrived(part: &str) -> Vec<Value> {
    let tap = Transport::single_node(&setting("CLIENT_TAP")).expect("a transport");
    let query = Some([("path", part)]);
    let asked = tap.send(Method::Get, "/requests", HeaderMap::new(), query.as_ref(), None::<()>, None).await;
    Answer::of(asked).await.body.as_array().expect("requests").clone()
}

async fn last_search() -> Value {
    arrived(&format!("{}/_search", index())).await.pop().expect("a request")
}

async fn fail(path: &str, status: u16, times: u32) {
    let tap = Transport::single_node(&setting("CLIENT_TAP")).expect("a transport");
    let rule = JsonBody::new(json!({"path": path, "status": status, "times": times}));
    let none = None::<&()>;
    let told = tap.send(Method::Post, "/fail", HeaderMap::new(), none, Some(rule), None).await;
    assert_eq!(Answer::of(told).await.status, 200);
}

async fn put(of: &Client, id: &str, document: Value) {
    let index = index();
    let put = of.index(IndexParts::IndexId(&index, id)).body(document).refresh(Refresh::True);
    assert_eq!(Answer::of(put.send().await).await.status, 201, "a write");
}

async fn remove(of: &Client, id: &str) {
    let index = index();
    let removed = of.delete(DeleteParts::IndexId(&index, id)).refresh(Refresh::True).send().await;
    assert_eq!(Answer::of(removed).await.status, 200, "a delete");
}

/// What a check found; `Err` if it does not apply here.
type Found = Result<String, String>;

async fn product(es: &Client) -> Found {
    if engine() == "elasticsearch-8" {
        // without GET /; this client looks at no header either
        let health = es.cluster().health(client::cluster::ClusterHealthParts::None).send().await;
        let health = Answer::of(health).await;
        assert_eq!(health.body["number_of_nodes"], 1);
        return Ok("the engine that is tried has no GET /".to_owned());
    }
    let info = Answer::of(es.info().send().await).await;
    let number = info.body["version"]["number"].as_str().expect("a version").to_owned();
    assert!(number.starts_with(engine().rsplit('-').next().expect("a major")), "{number}");
    Ok(format!("engine {number}"))
}

async fn bulk(es: &Client) -> Found {
    let index = index();
    let indices = [index.as_str()];
    let _ = es.indices().delete(IndicesDeleteParts::Index(&indices)).send().await;
    let made = json!({
        "settings": {"number_of_shards": 1, "number_of_replicas": 0},
        "mappings": {"properties": {"n": {"type": "integer"}, "title": {"type": "text"}}},
    });
    let made = es.indices().create(IndicesCreateParts::Index(&index)).body(made).send().await;
    assert_eq!(Answer::of(made).await.status, 200, "index");
    for chunk in (0..COUNT).collect::<Vec<_>>().chunks(100) {
        let mut operations = BulkOperations::new();
        for i in chunk {
            let document = json!({"n": i, "title": format!("document {i}")});
            operations.push(BulkOperation::index(document).id(i.to_string())).expect("an operation");
        }
        let sent = es.bulk(BulkParts::Index(&index)).body(vec![operations]).refresh(Refresh::True).send().await;
        let sent = Answer::of(sent).await;
        assert_eq!((sent.status, &sent.body["errors"]), (200, &json!(false)), "bulk");
    }
    let bad = vec![BulkOperation::index(json!({"n": "no number"})).id("bad")];
    let bad: Vec<BulkOperation<Value>> = bad.into_iter().map(Into::into).collect();
    let refused = Answer::of(es.bulk(BulkParts::Index(&index)).body(bad).send().await).await;
    assert_eq!(refused.body["items"][0]["index"]["status"], 400, "a bad item");
    let counted = Answer::of(es.count(CountParts::Index(&indices)).send().await).await;
    assert_eq!(counted.body["count"], COUNT);
    Ok(format!("{COUNT} documents"))
}

async fn cache(es: &Client) -> Found {
    let body = json!({"query": {"match": {"title": "document"}}, "size": 3, "sort": [{"n": "asc"}]});
    let all = COUNT as i64;
    let first = search(es, &body).await;
    assert_eq!((first.verdict(), first.total()), ("MISS", all), "first search");
    assert_eq!(until_hit(es, &body, None).await.body, first.body, "hit");
    put(es, "late", json!({"n": -1, "title": "late document"})).await;
    let after = search(es, &body).await;
    assert_eq!((after.verdict(), after.total()), ("MISS", all + 1), "after a write");
    assert_eq!(after.hits()[0]["_id"], "late", "after a write");
    assert_eq!(until_hit(es, &body, None).await.total(), all + 1, "hit after the write");
    // behind escache's back
    remove(&client("CLIENT_DIRECT"), "late").await;
    assert_eq!(search(es, &body).await.total(), all, "after the delete");
    Ok("HIT, after a write MISS".to_owned())
}

async fn compat(_: &Client) -> Found {
    Err("the client sends no compatibility headers".to_owned())
}

#[cfg(feature = "elasticsearch")]
fn compressing() -> Option<Client> {
    Some(built(|builder| builder.request_body_compression(true)))
}

#[cfg(feature = "opensearch")]
fn compressing() -> Option<Client> {
    None
}

async fn gzip(es: &Client) -> Found {
    let body = json!({"query": {"match_all": {}}, "size": 100, "sort": [{"n": "desc"}]});
    // the client inflates by itself, and then does not know the length that was sent
    let plain = until_hit(es, &body, None).await;
    assert_eq!((plain.length, plain.header("content-encoding")), (None, ""), "an inflated answer");
    let Some(zipped) = compressing() else {
        return Ok("answers; the client compresses no requests".to_owned());
    };
    let found = until_hit(&zipped, &body, None).await;
    assert_eq!(found.body["hits"], plain.body["hits"], "compressed");
    let missed = n(22);
    assert_eq!(search(&zipped, &missed).await.verdict(), "MISS", "compressed");
    assert_eq!(last_search().await["headers"]["content-encoding"], "gzip", "coding of the request");
    assert_eq!(search(es, &missed).await.verdict(), "HIT", "the same as it stands");
    Ok("requests and answers".to_owned())
}

async fn scroll(es: &Client) -> Found {
    let (index, mut found) = (index(), BTreeSet::new());
    let indices = [index.as_str()];
    let first = es.search(SearchParts::Index(&indices)).scroll("1m").body(json!({"size": 60})).send().await;
    let mut page = Answer::of(first).await;
    while !page.hits().is_empty() {
        found.extend(page.hits().iter().map(|hit| hit["_id"].as_str().expect("an id").to_owned()));
        let body = json!({"scroll": "1m", "scroll_id": page.body["_scroll_id"]});
        page = Answer::of(es.scroll(ScrollParts::None).body(body).send().await).await;
    }
    assert_eq!(found.len(), COUNT, "documents");
    Ok(format!("{} documents in pages of 60", found.len()))
}

#[cfg(feature = "elasticsearch")]
async fn open_pit(es: &Client, index: &str) -> Value {
    let opened = es.open_point_in_time(client::OpenPointInTimeParts::Index(&[index])).keep_alive("1m").send().await;
    Answer::of(opened).await.body["id"].clone()
}

#[cfg(feature = "elasticsearch")]
async fn close_pit(es: &Client, id: &Value) {
    assert_eq!(Answer::of(es.close_point_in_time().body(json!({"id": id})).send().await).await.status, 200);
}

#[cfg(feature = "opensearch")]
async fn open_pit(es: &Client, index: &str) -> Value {
    let opened = es.create_pit(client::CreatePitParts::Index(&[index])).keep_alive("1m").send().await;
    Answer::of(opened).await.body["pit_id"].clone()
}

#[cfg(feature = "opensearch")]
async fn close_pit(es: &Client, id: &Value) {
    let closed = es.delete_pit().body(json!({"pit_id": [id]})).send().await;
    assert_eq!(Answer::of(closed).await.status, 200);
}

async fn pit(es: &Client) -> Found {
    let index = index();
    let id = open_pit(es, &index).await;
    put(es, "later", json!({"n": 1_000_000, "title": "later"})).await;
    let mut found = 0;
    let mut body = json!({"pit": {"id": id, "keep_alive": "1m"}, "size": 100, "sort": [{"n": "asc"}]});
    loop {
        let page = Answer::of(es.search(SearchParts::None).body(&body).send().await).await;
        let Some(last) = page.hits().last() else { break };
        for hit in page.hits() {
            assert_eq!(hit["_id"], found.to_string(), "document");
            found += 1;
        }
        body["search_after"] = last["sort"].clone();
    }
    close_pit(es, &id).await;
    remove(es, "later").await;
    assert_eq!(found, COUNT, "documents");
    Ok(format!("{found} documents, a later write unseen"))
}

async fn msearch(es: &Client) -> Found {
    let index = index();
    let indices = [index.as_str()];
    let one = json!({"query": {"range": {"n": {"lt": 10}}}, "size": 0});
    let lines = [
        json!({"index": index}), one.clone(), json!({}), one.clone(), json!({}), json!({"sort": ["no_such_field"]}),
        json!({"index": "clients-none"}), one,
    ];
    let ask = async || {
        let body: Vec<JsonBody<Value>> = lines.iter().cloned().map(Into::into).collect();
        let asked = es.msearch(MsearchParts::Index(&indices)).body(body).send().await;
        Answer::of(asked).await.body["responses"].as_array().expect("responses").clone()
    };
    for _ in 0..3 {
        let statuses: Vec<Value> = ask().await.iter().map(|item| item["status"].clone()).collect();
        assert_eq!(json!(statuses), json!([200, 200, 400, 404]), "items");
    }
    put(es, "more", json!({"n": 5, "title": "more"})).await;
    assert_eq!(total(&ask().await[0]), 11, "after a write");
    remove(es, "more").await;
    Ok("4 items, 2 of them errors".to_owned())
}

async fn errors(es: &Client) -> Found {
    let index = index();
    let none = es.get(GetParts::IndexId(&index, "none")).send().await.expect("an answer");
    let error = none.error_for_status_code().err().expect("an error");
    assert_eq!(error.status_code().map(|status| status.as_u16()), Some(404), "no document");
    let raised = async |response: Result<Response, Error>| {
        let exception = response.expect("an answer").exception().await.expect("JSON").expect("an exception");
        (exception.status(), exception.error().ty().map(str::to_owned))
    };
    let kind = |status: u16, kind: &str| (Some(status), Some(kind.to_owned()));
    for _ in 0..2 {
        let none = es.search(SearchParts::Index(&["clients-none"])).send().await;
        assert_eq!(raised(none).await, kind(404, "index_not_found_exception"));
        let indices = [index.as_str()];
        let bad = json!({"query": {"no_such_query": {}}});
        let bad = es.search(SearchParts::Index(&indices)).body(bad).send().await;
        assert_eq!(raised(bad).await, kind(400, "parsing_exception"));
    }
    let conflict = es.create(CreateParts::IndexId(&index, "1")).body(json!({"n": 1})).send().await;
    assert_eq!(raised(conflict).await, kind(409, "version_conflict_engine_exception"));
    Ok("404, 400, 409 with their types".to_owned())
}

async fn retries(es: &Client) -> Found {
    let path = format!("{}/_search", index());
    fail(&path, 503, 1).await;
    assert_eq!(search(es, &n(78)).await.status, 503, "the failure");
    let found = search(es, &n(78)).await;
    assert_eq!((found.verdict(), found.total()), ("MISS", 1), "after the failure");
    Err("the client never tries again; a 503 is seen, and not stored".to_owned())
}

async fn opaque_id(es: &Client) -> Found {
    let missed = search_as(es, &n(33), Some("first-one")).await;
    assert_eq!((missed.verdict(), missed.header("x-opaque-id")), ("MISS", "first-one"), "miss");
    assert_eq!(last_search().await["headers"]["x-opaque-id"], "first-one", "at the engine");
    until_hit(es, &n(33), None).await;
    let found = until_hit(es, &n(33), Some("second-one")).await;
    assert_eq!(found.header("x-opaque-id"), "second-one", "hit");
    Ok("echoed on MISS and HIT, each its own".to_owned())
}

/// Runs a check on a task of its own, so that its panic is its result.
macro_rules! check {
    ($failed:ident, $name:literal, $check:ident) => {
        let local = LocalSet::new();
        let done = local.run_until(async {
            tokio::task::spawn_local(async { $check(&client("CLIENT_URL")).await }).await
        });
        match done.await {
            Ok(Ok(note)) => println!("ok {} - {note}", $name),
            Ok(Err(reason)) => println!("skip {} - {reason}", $name),
            Err(error) => {
                $failed = true;
                let panic = error.into_panic();
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                let text = text.unwrap_or_default();
                println!("not ok {} - {}", $name, text.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
    };
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("version {}", setting("CLIENT_VERSION"));
    let mut failed = false;
    check!(failed, "product", product);
    check!(failed, "bulk", bulk);
    check!(failed, "cache", cache);
    check!(failed, "compat", compat);
    check!(failed, "gzip", gzip);
    check!(failed, "scroll", scroll);
    check!(failed, "pit", pit);
    check!(failed, "msearch", msearch);
    check!(failed, "errors", errors);
    check!(failed, "retries", retries);
    check!(failed, "opaque-id", opaque_id);
    std::process::exit(i32::from(failed));
}
