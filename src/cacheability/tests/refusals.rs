//! What is refused, why, and how the place is shown.

use super::*;

#[test]
fn what_is_refused_and_why() {
    let query = |query: Value| json!({"query": query});
    let agg = |agg: Value| json!({"aggs": {"a": agg}});
    for (body, expected) in [
        // -- state
        (json!({"pit": {"id": "x"}}), "stateful at pit"),
        (json!({"slice": {"id": 0, "max": 2}}), "stateful at slice"),
        // -- chance
        (
            query(json!({"function_score": {"random_score": {}}})),
            "random at query.function_score.random_score",
        ),
        (
            query(json!({"function_score": {"random_score": {"seed": 1}}})),
            "random at query.function_score.random_score",
        ),
        (
            query(json!({"function_score": {"random_score": {"seed": null, "field": "f"}}})),
            "random at query.function_score.random_score",
        ),
        (query(json!({"function_score": {"random_score": {"seed": 1, "field": "_seq_no"}}})), "ok"),
        (agg(json!({"rare_terms": {"field": "f"}})), "random at aggs.a.rare_terms"),
        (agg(json!({"sampler": {}})), "random at aggs.a.sampler"),
        // -- the clock
        (
            query(json!({"function_score": {"exp": {"f": {"scale": "1d"}}}})),
            "now at query.function_score.exp.f",
        ),
        (
            query(
                json!({"function_score": {"functions": [{"linear": {"f": {"origin": "2026-01-01", "scale": "1d"}}, "weight": 2}]}}),
            ),
            "ok",
        ),
        // -- elsewhere
        (query(json!({"terms": {"f": {"index": "i", "id": "1", "path": "p"}}})), "lookup at query.terms.f"),
        (
            query(json!({"geo_shape": {"f": {"indexed_shape": {"id": "1"}}}})),
            "lookup at query.geo_shape.f.indexed_shape",
        ),
        (
            query(json!({"more_like_this": {"like": [{"_id": "1"}]}})),
            "lookup at query.more_like_this.like[0]",
        ),
        (query(json!({"more_like_this": {"like": ["text", "text"], "fields": ["f"]}})), "ok"),
        (
            query(json!({"match": {"t": {"query": "x", "analyzer": "ik_smart"}}})),
            "lookup at query.match.t.analyzer",
        ),
        (query(json!({"match": {"t": {"query": "x", "analyzer": "english"}}})), "ok"),
        (
            query(json!({"query_string": {"query": "x", "quote_analyzer": "hanlp"}})),
            "lookup at query.query_string.quote_analyzer",
        ),
        (
            json!({"highlight": {"fields": {"t": {"type": "semantic"}}, "options": {"model_id": "m"}}}),
            "lookup at highlight.fields.t.type",
        ),
        (json!({"highlight": {"type": "fvh", "fields": {"t": {"type": "unified"}}}}), "ok"),
        (query(json!({"percolate": {}})), "lookup at query.percolate"),
        (query(json!({"semantic": {}})), "lookup at query.semantic"),
        (
            query(json!({"sparse_vector": {"field": "f", "inference_id": "i", "query": "q"}})),
            "lookup at query.sparse_vector.inference_id",
        ),
        (query(json!({"sparse_vector": {"field": "f"}})), "lookup at query.sparse_vector"),
        (json!({"retriever": {"standard": {"query": {"match_all": {}}}}}), "ok"),
        (json!({"retriever": {"rrf": {}}}), "not-yet at retriever.rrf"),
        (json!({"retriever": {"knn": {}}}), "approximate at retriever.knn"),
        (json!({"knn": {"field": "f"}}), "approximate at knn"),
        (query(json!({"knn": {"field": "f"}})), "approximate at query.knn"),
        // -- scripts
        (json!({"script_fields": {}, "runtime_mappings": {}}), "ok"),
        (json!({"script_fields": {"a": {"script": "1"}}}), "script at script_fields.a.script"),
        (json!({"runtime_mappings": {"a": {"type": "long"}}}), "script at runtime_mappings"),
        (query(json!({"script": {"script": "1"}})), "script at query.script"),
        (
            query(json!({"script_score": {"query": {"match_all": {}}, "script": {"source": "_score"}}})),
            "script at query.script_score.script",
        ),
        (
            query(
                json!({"script_score": {"query": {"match_all": {}}, "script": {"source": "_score", "lang": "expression"}}}),
            ),
            "ok",
        ),
        (
            query(
                json!({"script_score": {"query": {"match_all": {}}, "script": {"id": "x", "lang": "expression"}}}),
            ),
            "script at query.script_score.script",
        ),
        (
            query(json!({"script_score": {"script": {"source": "a", "id": "x", "lang": "expression"}}})),
            "script at query.script_score.script.id",
        ),
        (json!({"sort": {"_script": {"type": "number", "script": "1"}}}), "script at sort._script.script"),
        (
            agg(json!({"bucket_script": {"buckets_path": "a", "script": "1"}})),
            "script at aggs.a.bucket_script.script",
        ),
        (
            json!({"suggest": {"s": {"text": "a", "phrase": {"field": "f", "collate": {}}}}}),
            "script at suggest.s.phrase.collate",
        ),
        // engines know no expressions there
        (
            agg(json!({"scripted_metric": {"map_script": {"source": "1", "lang": "expression"}}})),
            "script at aggs.a.scripted_metric",
        ),
        (
            agg(
                json!({"moving_fn": {"buckets_path": "a", "window": 2, "script": {"source": "1", "lang": "expression"}}}),
            ),
            "script at aggs.a.moving_fn",
        ),
        (
            query(
                json!({"intervals": {"f": {"match": {"query": "a", "filter": {"script": {"source": "1", "lang": "expression"}}}}}}),
            ),
            "script at query.intervals.f.match.filter.script",
        ),
        // -- diagnostics
        (json!({"profile": true}), "diagnostic at profile"),
        (json!({"profile": false, "explain": "false"}), "ok"),
        (json!({"explain": true}), "diagnostic at explain"),
        (agg(json!({"top_hits": {"explain": true}})), "diagnostic at aggs.a.top_hits.explain"),
        // -- unknown words and forms
        (json!({"never_heard_of": 1}), "unknown-word at never_heard_of"),
        (query(json!({"never_heard_of": {}})), "unknown-word at query.never_heard_of"),
        (
            query(json!({"match": {"f": {"query": "a", "never_heard_of": 1}}})),
            "unknown-word at query.match.f.never_heard_of",
        ),
        (query(json!({})), "unknown-word at query"),
        (query(json!([])), "unknown-word at query"),
        (query(json!({"match_all": {}, "match_none": {}})), "unknown-word at query"),
        (query(json!({"match": {"a": 1, "b": 2}})), "unknown-word at query.match"),
        (query(json!({"match": {"a": [1]}})), "unknown-word at query.match.a"),
        (query(json!({"bool": {"must": [{"bool": []}]}})), "unknown-word at query.bool.must[0].bool"),
        (agg(json!({})), "unknown-word at aggs.a"),
        (agg(json!({"avg": {"field": "f"}, "max": {"field": "f"}})), "unknown-word at aggs.a"),
        (json!([]), "unknown-word"),
        (json!("text"), "unknown-word"),
        // -- what is allowed although it looks odd
        (
            json!({"timeout": "30s", "terminate_after": 10, "track_total_hits": 100, "min_score": 1, "search_after": [1, "a", null]}),
            "ok",
        ),
        (
            json!({"stats": ["a"], "fields": ["a", {"field": "b", "format": "yyyy"}], "stored_fields": "_none_", "_source": false}),
            "ok",
        ),
        (
            json!({"sort": ["_score", "f", {"g": "desc"}, {"_geo_distance": {"p": [1, 2], "order": "asc"}}]}),
            "ok",
        ),
        (agg(json!({"children": {"type": "t"}})), "ok"),
        (query(json!({"has_child": {"type": "t", "query": {"match_all": {}}, "inner_hits": {}}})), "ok"),
    ] {
        check(Some(ES8_19), "", &body, expected);
    }
}

#[test]
fn words_of_other_engines() {
    let engine = |distribution, version| Some(Engine { distribution, version });
    let es = |version| engine(Distribution::Elasticsearch, version);
    let os = |version| engine(Distribution::OpenSearch, version);
    let common = json!({"query": {"common": {"f": {"query": "a"}}}});
    let boost = json!({"query": {"range": {"f": {"from": 1}}}});
    let pipeline = json!({"search_pipeline": "p"});
    let scores = json!({"include_named_queries_score": true});
    for (asked, body, expected) in [
        (es((7, 17)), &common, "ok"),
        (es((8, 0)), &common, "unknown-word at query.common"),
        (os((2, 11)), &common, "ok"),
        (None, &common, "ok"),
        // Of these the tables do not speak.
        (es((10, 0)), &common, "not-yet at Elasticsearch 10.0"),
        (os((1, 3)), &common, "not-yet at OpenSearch 1.3"),
        (es((8, 0)), &boost, "ok"),
        (es((9, 0)), &boost, "unknown-word at query.range.f.from"),
        (os((3, 0)), &pipeline, "search-pipeline at search_pipeline"),
        (None, &pipeline, "search-pipeline at search_pipeline"),
        (es((9, 0)), &pipeline, "unknown-word at search_pipeline"),
        (os((2, 19)), &scores, "ok"),
        (es((8, 0)), &scores, "unknown-word at include_named_queries_score"),
    ] {
        check(asked, "", body, expected);
    }
}

#[test]
fn places_fit_in_a_header() {
    let name = "ä\u{7f}\"\n".repeat(200);
    let mut body = json!({"aggs": {name: {"avg": {"field": "f", "missing": "now"}}}});
    let refusal = judge_body(Api::Search, None, "", &body, false).unwrap_err();
    assert!(refusal.place.len() <= 200, "{}", refusal.place.len());
    assert!(refusal.place.bytes().all(|b| (b' '..=b'~').contains(&b)));
    assert!(refusal.place.starts_with("aggs.\\u{e4}\\u{7f}\"\\u{a}"), "{}", refusal.place);
    assert!(refusal.place.ends_with("avg.missing: now"), "{}", refusal.place);
    body = json!({"query": {"term": {"secret": {"value": "now", "x": "hidden"}}}});
    let refusal = judge_body(Api::Search, None, "", &body, false).unwrap_err();
    assert!(!refusal.place.contains("hidden"));
}

/// Trees of words of the language and of awkward texts.
fn any_tree() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let words = [
        "query",
        "bool",
        "filter",
        "must",
        "range",
        "f",
        "gte",
        "time_zone",
        "terms",
        "aggs",
        "a",
        "date_histogram",
        "extended_bounds",
        "max",
        "sort",
        "script",
        "lang",
        "function_score",
        "gauss",
        "origin",
        "",
        "ä\n\"",
    ];
    let texts = [
        "now",
        "now-",
        "now/",
        "now-9999999999999999999y/d",
        "now-2147483647y/y",
        "now+2147483647M-1d/w",
        "now٣/d",
        "nowä",
        "+",
        "+٣",
        "+1ä",
        "UTC+",
        "Europe/Berlin",
        "expression",
        "<now",
        "x",
    ];
    let name = prop::sample::select(words.to_vec());
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        prop::sample::select(texts.to_vec()).prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(8, 64, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..4).prop_map(|members| members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn any_tree_gets_a_verdict(tree in any_tree(), wall in proptest::num::i64::ANY) {
        for engine in [None, Some(ES8_19)] {
            for body in [tree.clone(), json!({"query": tree}), json!({"query": {"range": {"f": tree}}})] {
                match judge_body(Api::Search, engine, "", &body, true) {
                    Ok(terms) => assert!(valid_until(&terms, wall).is_none_or(|until| until >= wall)),
                    Err(refusal) => assert!(refusal.place.len() <= 200),
                }
            }
        }
    }
}
