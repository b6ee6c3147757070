//! Which objects forget the order of their members, and which spellings exclude each other.

use super::*;

/// The paths of all objects whose order is kept.
fn kept(body: &Value) -> Vec<String> {
    fn visit(json: &Json<'_>, path: &str, kept: &mut Vec<String>) {
        match json {
            Json::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    visit(item, &format!("{path}[{at}]"), kept);
                }
            }
            Json::Object(object) => {
                if object.order == Order::Kept {
                    kept.push(path.trim_start_matches('.').to_owned());
                }
                for (name, value) in &object.members {
                    visit(value, &format!("{path}.{name}"), kept);
                }
            }
            _ => {}
        }
    }
    let text = body.to_string();
    let (params, mut tree) = (Params::default(), parse(text.as_bytes()).unwrap());
    judge(Question {
        api: Api::Search,
        engine: None,
        params: &params,
        body: Some(&mut tree),
        rounded_now: false,
    })
    .unwrap();
    let mut all = Vec::new();
    visit(&tree, "", &mut all);
    all
}

#[test]
fn order_is_kept_where_it_means_something() {
    for (body, expected) in [
        (
            json!({"size": 0, "query": {"bool": {"must": [{"match": {"a": {"query": "b"}}}], "filter": {"range": {"f": {"gte": 1}}}}}}),
            vec![],
        ),
        (json!({"sort": {"a": "asc", "b": {"order": "desc"}}}), vec!["sort"]),
        (json!({"sort": [{"a": {"order": "asc", "mode": "min"}}]}), vec!["sort[0]"]),
        (json!({"indices_boost": {"a": 1, "b": 2}}), vec!["indices_boost"]),
        (
            json!({"highlight": {"fields": {"a": {}, "b": {"options": {"x": {}}}}, "order": "score"}}),
            vec!["highlight.fields", "highlight.fields.b.options", "highlight.fields.b.options.x"],
        ),
        (
            json!({"aggs": {"a": {"terms": {"field": "f", "order": {"_count": "asc"}}, "meta": {"x": {}}, "aggs": {"b": {"avg": {"field": "g"}}}}}}),
            vec!["aggs", "aggs.a.meta", "aggs.a.meta.x", "aggs.a.aggs"],
        ),
        (
            json!({"aggs": {"a": {"filters": {"filters": {"x": {"match_all": {}}, "y": {"match_none": {}}}}}}}),
            vec!["aggs", "aggs.a.filters.filters"],
        ),
        (
            json!({"aggs": {"a": {"composite": {"sources": [{"s": {"terms": {"field": "f"}}}], "after": {"s": "x"}}}}}),
            vec!["aggs", "aggs.a.composite.after"],
        ),
        (json!({"suggest": {"text": "a", "s": {"term": {"field": "f"}}}}), vec!["suggest"]),
        (
            json!({"aggs": {"a": {"bucket_script": {"buckets_path": {"x": "_count"}, "script": {"source": "x", "lang": "expression", "params": {"p": 1}}}}}}),
            vec!["aggs", "aggs.a.bucket_script.buckets_path", "aggs.a.bucket_script.script.params"],
        ),
        (
            json!({"query": {"geo_shape": {"f": {"shape": {"type": "point", "coordinates": [1, 2]}}}}}),
            vec!["query.geo_shape.f.shape"],
        ),
        (
            json!({"_source": {"includes": ["a"], "excludes": "b"}, "collapse": {"field": "f", "inner_hits": [{"name": "n", "size": 1}]}}),
            vec![],
        ),
    ] {
        assert_eq!(kept(&body), expected, "{body}");
    }
}

#[test]
fn two_spellings_of_one_thing() {
    for (body, place) in [
        (json!({"aggs": {}, "aggregations": {}}), "aggregations"),
        (json!({"query": {"range": {"f": {"gt": 1, "gte": 2}}}}), "query.range.f.gte"),
        (json!({"query": {"range": {"f": {"from": 1, "gte": 2}}}}), "query.range.f.gte"),
        (
            json!({"query": {"range": {"f": {"gte": 1, "include_lower": false}}}}),
            "query.range.f.include_lower",
        ),
        (json!({"query": {"range": {"f": {"to": 1, "lt": 2}}}}), "query.range.f.lt"),
        (json!({"query": {"bool": {"must_not": [], "mustNot": []}}}), "query.bool.mustNot"),
        (json!({"query": {"term": {"f": {"value": 1, "term": 2}}}}), "query.term.f.term"),
        (json!({"query": {"wildcard": {"f": {"value": "a", "wildcard": "b"}}}}), "query.wildcard.f.wildcard"),
        (
            json!({"query": {"regexp": {"f": {"value": "a", "flags": "ALL", "flags_value": 1}}}}),
            "query.regexp.f.flags_value",
        ),
        (
            json!({"query": {"geo_bounding_box": {"f": {"top": 1, "top_left": "1,1"}}}}),
            "query.geo_bounding_box.f.top_left",
        ),
        (
            json!({"query": {"geo_distance": {"distance": 1, "f": {"lat": 1, "geohash": "a"}}}}),
            "query.geo_distance.f.geohash",
        ),
        (json!({"_source": {"include": "a", "includes": "b"}}), "_source.includes"),
        (json!({"highlight": {"tags_schema": "styled", "pre_tags": ["a"]}}), "highlight.pre_tags"),
        (
            json!({"aggs": {"a": {"terms": {"value_type": "long", "valueType": "long"}}}}),
            "aggs.a.terms.valueType",
        ),
        (
            json!({"aggs": {"a": {"date_histogram": {"fixed_interval": "1d", "calendar_interval": "1d"}}}}),
            "aggs.a.date_histogram.calendar_interval",
        ),
        (
            json!({"sort": [{"_geo_distance": {"f": "1,1", "mode": "min", "sort_mode": "max"}}]}),
            "sort[0]._geo_distance.sort_mode",
        ),
        (
            json!({"aggs": {"a": {"geo_distance": {"origin": "1,1", "center": "1,1"}}}}),
            "aggs.a.geo_distance.center",
        ),
    ] {
        check(None, "", &body, &format!("duplicate-key at {place}"));
    }
}

#[test]
fn spellings_that_do_not_meet() {
    for body in [
        json!({"query": {"range": {"f": {"from": 1, "include_lower": false, "to": 2, "include_upper": true}}}}),
        json!({"query": {"range": {"f": {"gt": 1, "lt": 2}}}}),
        json!({"query": {"geo_bounding_box": {"f": {"top_left": "1,1", "bottom_right": "2,2"}}}}),
        json!({"query": {"geo_bounding_box": {"f": {"top": 1, "left": 1, "bottom": 0, "right": 2}}}}),
    ] {
        check(None, "", &body, "ok");
    }
}
