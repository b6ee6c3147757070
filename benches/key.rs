//! From the bytes of a request to its key: parse, judge, canonical form, hash; all of it, and each step alone.

use divan::{Bencher, counter::BytesCount};
use escache::cacheability::{Question, judge};
use escache::elastic::api::{Api, route};
use escache::elastic::json;
use escache::elastic::params::Params;
use escache::key::canonical;
use escache::key::headers::HeaderRules;
use escache::plan::{Asked, Context, Plan, plan};
use escache::policy::Policy;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method};

fn main() {
    divan::main();
}

/// A category page: filters, facets, a page of hits; about 600 bytes.
const SEARCH: &str = r#"{
  "size": 24, "from": 0, "track_total_hits": true, "_source": ["title", "price", "brand"],
  "query": {"bool": {
    "must": [{"multi_match": {"query": "red leather sneaker", "fields": ["title^3", "description"]}}],
    "filter": [{"term": {"category": "shoes"}}, {"range": {"price": {"gte": 10.0, "lt": 99.95}}}]
  }},
  "sort": ["_score", {"rating": "desc"}, {"sku": "asc"}],
  "aggs": {
    "brands": {"terms": {"field": "brand", "size": 30}},
    "ratings": {"histogram": {"field": "rating", "interval": 1}},
    "prices": {"percentiles": {"field": "price", "percents": [25, 50, 75]}}
  }
}"#;

/// The same with a long list of ids: 64 KiB.
fn large() -> String {
    let mut ids = String::from(r#"{"size":0,"query":{"terms":{"sku":["P00000""#);
    for id in 0.. {
        if ids.len() > 64 << 10 {
            break;
        }
        ids.push_str(&format!(r#","P{id:07}""#));
    }
    ids.push_str("]}}}");
    ids
}

#[divan::bench]
fn search_of_600_bytes(bencher: Bencher<'_, '_>) {
    check(bencher, SEARCH);
}

#[divan::bench]
fn search_of_64_kib(bencher: Bencher<'_, '_>) {
    check(bencher, &large());
}

fn parsed(body: &str) -> json::Json<'_> {
    json::parse(body.as_bytes()).expect("JSON")
}

fn judged<'a>(body: &mut json::Json<'a>, params: &Params<'a>) {
    let question = Question { api: Api::Search, engine: None, params, body: Some(body), rounded_now: true };
    judge(question).expect("a search that may be cached");
}

#[divan::bench]
fn step_parse(bencher: Bencher<'_, '_>) {
    bencher.counter(BytesCount::of_str(SEARCH)).bench(|| parsed(divan::black_box(SEARCH)));
}

#[divan::bench]
fn step_verdict(bencher: Bencher<'_, '_>) {
    let params = Params::default();
    bencher.with_inputs(|| parsed(SEARCH)).bench_refs(|body| judged(body, &params));
}

#[divan::bench]
fn step_canonical_form(bencher: Bencher<'_, '_>) {
    let mut body = parsed(SEARCH);
    judged(&mut body, &Params::default());
    bencher.bench(|| {
        let mut text = Vec::new();
        canonical::write(divan::black_box(&body), &mut text);
        text
    });
}

#[divan::bench]
fn step_hash(bencher: Bencher<'_, '_>) {
    bencher.counter(BytesCount::of_str(SEARCH)).bench(|| blake3::hash(divan::black_box(SEARCH.as_bytes())));
}

fn check(bencher: Bencher<'_, '_>, body: &str) {
    let headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (ACCEPT, HeaderValue::from_static("application/json")),
        (USER_AGENT, HeaderValue::from_static("bench/1")),
    ]);
    let (policy, rules) = (Policy::default(), HeaderRules::default());
    let understand = |body: &[u8]| -> Plan {
        let route = route(&Method::POST, "/products/_search", None);
        let asked = Asked { route: &route, query: None, headers: &headers, body };
        let context = Context { engine: None, cluster: "bench", policy: &policy, headers: &rules };
        plan(&asked, &context).expect("a search that may be cached")
    };
    bencher.counter(BytesCount::of_str(body)).bench(|| understand(divan::black_box(body.as_bytes())));
}
