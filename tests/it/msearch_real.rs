//! The multi search on real engines: what dashboards send, and all searches of the parity scenarios, asked directly and
//! through escache. Nobody can tell the answers apart but by `took`.

use serde_json::{Value, json};

use crate::parity;
use crate::support::escache::{Escache, verdict};
use crate::support::http::{Client, Response};
use crate::support::node::{Engine, Node};

/// How many searches of the scenarios go into one request. One of a module that is absent spoils them all.
const AT_ONCE: usize = 8;

/// How often a difference of the engine from itself is looked at.
const VARIANTS: usize = 20;

/// As Grafana's data source sends them: the search type and the index in each line, a time range as numbers.
const GRAFANA: &str = concat!(
    r#"{"ignore_unavailable":true,"index":"parity-a","search_type":"query_then_fetch"}"#,
    "\n",
    r#"{"aggs":{"2":{"aggs":{"1":{"avg":{"field":"price"}}},"terms":{"field":"tag","min_doc_count":0,"order":{"_key":"desc"},"size":10}}},"query":{"bool":{"filter":[{"range":{"count":{"gte":0,"lte":2000000000}}},{"query_string":{"analyze_wildcard":true,"query":"*"}}]}},"size":0}"#,
    "\n",
    r#"{"ignore_unavailable":true,"index":["parity-a","parity-b"],"search_type":"query_then_fetch"}"#,
    "\n",
    r#"{"docvalue_fields":["count"],"fields":["tag"],"from":0,"query":{"bool":{"filter":[{"query_string":{"analyze_wildcard":true,"query":"tag:red"}}]}},"size":500,"sort":[{"count":{"order":"desc","unmapped_type":"boolean"}}]}"#,
    "\n",
);

/// As Kibana's courier sent them: a preference for the session, a timeout, and what is stored with the hits.
const KIBANA: &str = concat!(
    r#"{"index":"parity-*","ignore_unavailable":true,"preference":1234567890123}"#,
    "\r\n",
    r#"{"timeout":"30000ms","size":0,"query":{"bool":{"must":[],"filter":[{"match_all":{}}],"should":[],"must_not":[]}}}"#,
    "\r\n",
    r#"{"index":"parity-*","ignore_unavailable":true,"preference":"1234567890123","ccs_minimize_roundtrips":true,"allow_partial_search_results":true,"expand_wildcards":["open"]}"#,
    "\r\n",
    r#"{"timeout":"30000ms","version":true,"size":50,"sort":[{"count":{"order":"desc","unmapped_type":"boolean"}},"_doc"],"_source":{"excludes":[]},"stored_fields":["*"],"script_fields":{},"docvalue_fields":["count"],"query":{"bool":{"must":[{"query_string":{"query":"fox OR red","default_field":"text"}}],"filter":[],"should":[],"must_not":[]}},"highlight":{"pre_tags":["@k@"],"post_tags":["@/k@"],"fields":{"*":{}},"fragment_size":2147483647}}"#,
    "\r\n",
    r#"{"index":"parity-missing"}"#,
    "\r\n",
    r#"{"size":0}"#,
    "\r\n",
);

/// Two searches by templates, one of them stored.
const TEMPLATES: &str = concat!(
    r#"{"ignore_unavailable":true,"index":"parity-a","search_type":"query_then_fetch"}"#,
    "\n",
    r#"{"source":"{\"aggs\":{\"2\":{\"terms\":{\"field\":\"{{by}}\"}}},\"size\":0}","params":{"by":"tag"}}"#,
    "\n",
    r#"{"index":["parity-a","parity-b"],"preference":"me"}"#,
    "\r\n",
    r#"{"id":"parity-tag","params":{"t":"red","n":3}}"#,
    "\r\n",
);

struct Pair<'p> {
    name: &'p str,
    engine: Client,
    escache: Escache,
}

impl Pair<'_> {
    /// Asks directly, and through the proxy until the verdict is the expected one. Every answer must be the engine's.
    async fn check(&self, path: &str, kind: &str, lines: &str, expected: &str) {
        let headers = [("content-type", kind), ("x-opaque-id", "me")];
        let direct = async || self.engine.request("POST", path, &headers, lines.to_owned()).await;
        let mut last = String::new();
        for _ in 0..6 {
            let through = self.escache.send("POST", path, &headers, lines).await;
            let mut straight = direct().await;
            let mut found = parts(&through);
            for _ in 0..VARIANTS {
                if parts(&straight) == found {
                    break;
                }
                // an item of which the engine has several answers may be any of them
                let other = parts(&straight);
                for (one, other) in found.iter_mut().zip(&other) {
                    if one == other {
                        one.clear();
                    }
                }
                if found.iter().all(String::is_empty) {
                    break;
                }
                let again = direct().await;
                found = found
                    .into_iter()
                    .zip(parts(&again))
                    .map(|(one, again)| if one.is_empty() { again } else { one })
                    .collect();
                straight = again;
            }
            let what = || format!("{} {path} {lines}\n{}", self.name, verdict(&through.headers).1);
            let found: Vec<_> = found
                .iter()
                .zip(parts(&straight))
                .filter(|(one, other)| !one.is_empty() && *one != other)
                .collect();
            assert!(found.is_empty(), "{}\n{found:?}", what());
            assert_eq!(through.status, straight.status, "{}", what());
            assert_eq!(shown_headers(&through), shown_headers(&straight), "{}", what());
            last = verdict(&through.headers).1.to_owned();
            if last == format!("escache; {expected}") {
                return;
            }
        }
        panic!("{} {path} {lines}\nexpected {expected}, got {last}", self.name);
    }
}

/// The parts of an answer without their `took`; all of it, if it has none.
fn parts(answer: &Response) -> Vec<String> {
    let text = answer.text();
    let mut whole = String::new();
    for (number, part) in text.split("\"took\":").enumerate() {
        whole += if number == 0 { part } else { part.trim_start_matches(|c: char| c.is_ascii_digit()) };
    }
    whole.split(",\"status\":").map(str::to_owned).collect()
}

fn shown_headers(answer: &Response) -> Vec<(String, String)> {
    let own = ["cache-status", "x-cache", "age", "etag", "vary", "content-length", "transfer-encoding"];
    let headers = answer.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let mut headers: Vec<_> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    headers.sort();
    headers
}

/// The searches of the scenarios without URL parameters, by the lines that ask them.
fn of_the_scenarios(name: &str) -> Vec<(String, String, String)> {
    let searches = parity::searches(name).into_iter().filter_map(|(path, query, body)| {
        let index = path.strip_suffix("/_search")?.strip_prefix('/')?.to_owned();
        let value: Value = serde_json::from_str(&body).ok()?;
        let plain = query.is_empty() && !index.contains('%') && value.is_object() && !body.contains('\n');
        let lines = format!("{}\n{body}\n", json!({"index": index}));
        plain.then_some((path, body, lines))
    });
    searches.collect()
}

async fn check(name: &'static str, engine: Engine) {
    let Some(node) = Node::shared(engine).await else { return };
    let client = node.client();
    parity::set_up(name, &client).await;
    let pair = Pair { name, escache: Escache::start(node.url()).await, engine: client };
    let ndjson = "application/x-ndjson";
    // a number is no preference that escache understands, and an index that is missing is an error of its own
    let left = "fwd=miss; detail=\"items-hit=1/3 unknown-word at header line: preference\"";
    for kind in [ndjson, "application/json", "application/json; charset=utf-8"] {
        pair.check(
            "/_msearch?max_concurrent_shard_requests=5",
            kind,
            GRAFANA,
            "hit; detail=\"items-hit=2/2\"",
        )
        .await;
        pair.check("/_msearch?rest_total_hits_as_int=true&ignore_throttled=true", kind, KIBANA, left).await;
        pair.check(
            "/parity-b/_msearch?typed_keys=true&human&error_trace=false",
            kind,
            GRAFANA,
            "hit; detail=\"items-hit=2/2\"",
        )
        .await;
    }
    pair.check(
        "/parity-a/_msearch",
        ndjson,
        "{}\n{\"size\":1}\n\n{\"size\":2}\n",
        "hit; detail=\"items-hit=2/2\"",
    )
    .await;
    pair.check("/parity-a/_msearch", ndjson, "{}\n{\"size\":1}\n", "hit; detail=\"items-hit=1/1\"").await;
    pair.check("/parity-a/_msearch", ndjson, "\n{\"size\":3}\n", "fwd=bypass; detail=\"not-json at line 1\"")
        .await;
    for (lines, line) in
        [("", 1), ("{}\n", 1), ("{}\n{}", 2), ("\n\n{}\n", 1), ("{}\n\n", 2), ("{}\n{}\n{}\n", 3)]
    {
        let expected = format!("fwd=bypass; detail=\"not-json at line {line}\"");
        pair.check("/parity-a/_msearch", ndjson, lines, &expected).await;
    }
    for kind in [ndjson, "application/json"] {
        for path in
            ["/_msearch/template", "/parity-b/_msearch/template?typed_keys&rest_total_hits_as_int=true"]
        {
            pair.check(path, kind, TEMPLATES, "hit; detail=\"items-hit=2/2\"").await;
        }
    }
    let missing = "{\"index\":\"parity-missing\"}\n{\"source\":{\"size\":1}}\n";
    let left = "fwd=miss; detail=\"items-hit=2/3 target\"";
    pair.check("/_msearch/template", ndjson, &format!("{TEMPLATES}{missing}"), left).await;
    // a smaller request of what cannot be rendered alone would be refused
    let bad = "{\"index\":\"parity-a\"}\n{\"source\":\"{{#x}}\"}\n";
    let whole = "fwd=miss; detail=\"items-hit=0/3 status\"";
    pair.check("/_msearch/template", ndjson, &format!("{TEMPLATES}{bad}"), whole).await;
    pair.check("/_msearch/template", ndjson, bad, "fwd=bypass; detail=\"status at _render/template\"").await;
    // what the engine refuses for one line it refuses for all
    for bad in [
        "{\"index\":\"parity-a\",\"nope\":1}\n{}\n",
        "{\"index\":\"parity-a\"}\n{\"query\":{\"nope\":{}}}\n",
        "{\"index\":\"parity-a\"}\n{\"nope\":1}\n",
        "{\"index\":\"parity-a\",\"search_type\":\"nope\"}\n{}\n",
        "{\"index\":\"parity-a\",\"expand_wildcards\":\"nope\"}\n{}\n",
    ] {
        let lines = format!("{{\"index\":\"parity-a\"}}\n{{\"size\":1}}\n{bad}");
        let through = pair.escache.send("POST", "/_msearch", &[("content-type", ndjson)], &lines).await;
        let direct =
            pair.engine.request("POST", "/_msearch", &[("content-type", ndjson)], lines.clone()).await;
        assert_eq!((through.status, parts(&through)), (direct.status, parts(&direct)), "{name} {lines}");
        assert_eq!(direct.status, 400, "{name} {lines}");
    }
    let searches = of_the_scenarios(name);
    let (mut items, mut shared) = (0, 0);
    for chunk in searches.chunks(AT_ONCE) {
        let lines: String = chunk.iter().map(|(_, _, lines)| lines.as_str()).collect();
        let found = pair.escache.send("POST", "/_msearch", &[("content-type", ndjson)], &lines).await;
        if found.status != 200 || verdict(&found.headers).1.contains("warnings") {
            // a module that this build has not spoils the request for all, and warnings are nobody's
            continue;
        }
        items += chunk.len();
        let found = found.json();
        let whole = |item: &Value| {
            item["status"] == 200 && item.pointer("/_shards/failed").is_some_and(|failed| *failed == 0)
        };
        if found["responses"].as_array().unwrap().iter().all(whole) {
            let all = format!("hit; detail=\"items-hit={0}/{0}\"", chunk.len());
            pair.check("/_msearch", ndjson, &lines, &all).await;
        }
        for (path, body, _) in chunk {
            let json = [("content-type", "application/json")];
            let through = pair.escache.send("POST", path, &json, body).await;
            shared += usize::from(verdict(&through.headers).0 == "HIT");
        }
    }
    println!(
        "{name}: {items} of {} searches of the scenarios were asked together, {shared} shared their entries",
        searches.len()
    );
    assert!(
        items >= searches.len() / 2 && shared >= items * 9 / 10,
        "{items} {shared} of {}",
        searches.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn elasticsearch_7_multi_searches_are_the_same_through_the_proxy() {
    check("elasticsearch-7", Engine::Elasticsearch7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opensearch_2_multi_searches_are_the_same_through_the_proxy() {
    check("opensearch-2", Engine::OpenSearch2).await;
}
