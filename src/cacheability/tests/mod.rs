//! Cases are data: a request and what is said to it.

use serde_json::{Value, json};

use crate::elastic::api::{Api, Distribution, Engine};
use crate::elastic::json::{Json, Order, parse};
use crate::elastic::params::Params;
use crate::outcome::Refusal;

use super::*;

mod coverage;

mod dates;

mod engine;

mod order;

mod refusals;

mod workload;

const ES8_19: Engine = Engine { distribution: Distribution::Elasticsearch, version: (8, 19) };

/// Judges a search; the refusal as it is shown.
#[track_caller]
fn check(engine: Option<Engine>, query: &str, body: &Value, expected: &str) {
    let verdict = judge_body(Api::Search, engine, query, body, false);
    let shown = verdict.map_or_else(|refusal| refusal.to_string(), |_| "ok".to_owned());
    assert_eq!(shown, expected, "?{query} {body}");
}

fn judge_body(
    api: Api,
    engine: Option<Engine>,
    query: &str,
    body: &Value,
    rounded_now: bool,
) -> Result<Terms, Refusal> {
    let (params, text) = (Params::parse(query)?, body.to_string());
    let mut body = parse(text.as_bytes())?;
    judge(Question { api, engine, params: &params, body: Some(&mut body), rounded_now })
}

#[test]
fn no_body_is_a_search() {
    let params = Params::parse("").unwrap();
    for (api, hits) in [(Api::Search, true), (Api::Count, false)] {
        let terms = judge(Question { api, engine: None, params: &params, body: None, rounded_now: false });
        assert_eq!(terms, Ok(Terms { hits, ..Terms::default() }));
    }
}

#[test]
fn hits_follow_size() {
    for (query, body, hits) in [
        ("", json!({}), true),
        ("", json!({"size": 0}), false),
        ("", json!({"size": "0"}), false),
        ("", json!({"size": 10}), true),
        ("size=0", json!({}), false),
        ("size=0", json!({"size": 10}), false),
        ("size=5", json!({"size": 0}), true),
    ] {
        let terms = judge_body(Api::Search, None, query, &body, false).unwrap();
        assert_eq!(terms.hits, hits, "?{query} {body}");
    }
}

#[test]
fn a_count_has_a_query_only() {
    let verdict = |body: Value| judge_body(Api::Count, Some(ES8_19), "", &body, false);
    assert_eq!(verdict(json!({"query": {"term": {"a": 1}}})), Ok(Terms::default()));
    assert_eq!(verdict(json!({})), Ok(Terms::default()));
    assert_eq!(verdict(json!({"size": 0})).unwrap_err().to_string(), "unknown-word at size");
    assert_eq!(verdict(json!([])).unwrap_err().to_string(), "unknown-word");
}

#[test]
fn a_query_alone() {
    for (query, expected) in [
        (r#"{"term": {"team": "b"}}"#, "ok"),
        (
            r#"{"bool": {"filter": [{"range": {"d": {"gte": "now-1d/d"}}}]}}"#,
            "now at bool.filter[0].range.d.gte: now",
        ),
        (r#"{"script": {}}"#, "script at script"),
        (r#"{"terms": {"f": {"index": "i"}}}"#, "lookup at terms.f"),
        ("{}", "unknown-word"),
        ("null", "unknown-word"),
    ] {
        let verdict = judge_query(Some(ES8_19), &mut parse(query.as_bytes()).unwrap());
        assert_eq!(
            verdict.map_or_else(|refusal| refusal.to_string(), |()| "ok".to_owned()),
            expected,
            "{query}"
        );
    }
}

#[test]
fn parameters() {
    let es7 = Engine { distribution: Distribution::Elasticsearch, version: (7, 17) };
    let os2 = Engine { distribution: Distribution::OpenSearch, version: (2, 19) };
    for (engine, query, expected) in [
        (None, "q=status:200&df=message&size=0&pretty&typed_keys", "ok"),
        (None, "q=buy+snow", "ok"),
        (None, "q=@timestamp:>now-1h", "now at q: now"),
        (None, "scroll=1m", "stateful at scroll"),
        (None, "search_type=query_then_fetch", "ok"),
        (None, "search_type=dfs_query_then_fetch", "diagnostic at search_type"),
        (None, "explain=false", "ok"),
        (None, "explain", "diagnostic at explain"),
        (None, "never_heard_of=1", "unknown-parameter at never_heard_of"),
        (None, "%C3%A4=1", "unknown-parameter at \\u{e4}"),
        (None, "index=a", "unknown-parameter at index"),
        (Some(os2), "search_pipeline=_none", "ok"),
        (Some(os2), "search_pipeline=mine", "search-pipeline at search_pipeline"),
        (Some(ES8_19), "search_pipeline=_none", "unknown-parameter at search_pipeline"),
        (Some(os2), "phase_took=true", "diagnostic at phase_took"),
        (Some(os2), "cancel_after_time_interval=1s", "diagnostic at cancel_after_time_interval"),
        (Some(es7), "enable_fields_emulation=true", "ok"),
        (Some(os2), "enable_fields_emulation=true", "unknown-parameter at enable_fields_emulation"),
        (Some(ES8_19), "ccs_minimize_roundtrips=true&timeout=1s&terminate_after=10", "ok"),
        (Some(ES8_19), "min_score=1", "unknown-parameter at min_score"),
    ] {
        check(engine, query, &json!({}), expected);
    }
}

#[test]
fn the_page_shows_the_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cacheability.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
        std::fs::write(path, render()).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == render(), "run with UPDATE=1");
}
