//! The searches of the story. Each asks for the exact total, and orders what it lists without ties.

use serde_json::{Value, json};

use super::corpus::{LOGS, PRODUCTS};

/// A search that an application repeats.
pub(super) struct Search {
    /// What the page shows with it.
    pub(super) name: &'static str,
    pub(super) index: &'static str,
    pub(super) body: Value,
}

pub(super) fn all() -> Vec<Search> {
    let shop = |name, body| Search { name, index: PRODUCTS, body };
    let logs = |name, body| Search { name, index: LOGS, body };
    let mut searches = vec![
        shop("home: best rated, in stock", best_rated()),
        shop("home: categories and prices", categories()),
        shop("home: newest by seller", newest()),
        shop("category: shoes, facets", category()),
        shop("category: brand chosen", brand()),
        shop("find: red leather sneaker", find()),
        logs("logs: requests over time", over_time()),
        logs("logs: latency percentiles", latency()),
        logs("logs: visitors per day", visitors()),
        logs("logs: slowest paths", slowest()),
        logs("logs: top errors", errors()),
        logs("logs: timeouts, latest", timeouts()),
    ];
    for search in &mut searches {
        search.body["track_total_hits"] = true.into();
    }
    searches
}

fn terms(field: &str, size: u32) -> Value {
    json!({"terms": {"field": field, "size": size}})
}

fn best_rated() -> Value {
    json!({
        "size": 24, "query": {"bool": {"filter": [{"range": {"stock": {"gt": 0}}}, {"range": {"rating": {"gte": 4.5}}}]}},
        "sort": [{"rating": "desc"}, {"price": "asc"}, {"sku": "asc"}], "_source": ["title", "price", "rating"]
    })
}

fn categories() -> Value {
    json!({"size": 0, "aggs": {"categories": {"terms": {"field": "category", "size": 20}, "aggs": {
        "price": {"stats": {"field": "price"}}, "brands": {"cardinality": {"field": "brand"}},
        "colors": terms("color", 5), "median": {"percentiles": {"field": "price", "percents": [50]}}
    }}}})
}

fn newest() -> Value {
    json!({
        "size": 24, "query": {"range": {"stock": {"gt": 0}}}, "collapse": {"field": "seller"},
        "sort": [{"listed": "desc"}, {"sku": "asc"}], "_source": ["title", "seller", "listed"]
    })
}

fn facets() -> Value {
    json!({
        "brands": terms("brand", 30), "colors": terms("color", 10), "sellers": terms("seller", 20),
        "prices": {"range": {"field": "price", "ranges": [{"to": 25}, {"from": 25, "to": 100}, {"from": 100}]}},
        "ratings": {"histogram": {"field": "rating", "interval": 1}}
    })
}

fn category() -> Value {
    json!({
        "size": 24, "query": {"bool": {"filter": [{"term": {"category": "shoes"}}]}},
        "sort": [{"rating": "desc"}, {"sku": "asc"}], "_source": ["title", "price", "brand"], "aggs": facets()
    })
}

fn brand() -> Value {
    json!({
        "size": 24, "query": {"term": {"category": "shoes"}}, "post_filter": {"terms": {"brand": ["brand-000", "brand-007"]}},
        "sort": [{"price": "asc"}, {"sku": "asc"}], "_source": ["title", "price", "brand"], "aggs": facets()
    })
}

fn find() -> Value {
    json!({
        "size": 20,
        "query": {"multi_match": {"query": "red leather sneaker light", "fields": ["title^3", "description"]}},
        "sort": ["_score", {"sku": "asc"}], "highlight": {"fields": {"title": {}, "description": {}}},
        "_source": ["title", "price"], "aggs": {"categories": terms("category", 12), "brands": terms("brand", 10)}
    })
}

fn over_time() -> Value {
    json!({"size": 0, "aggs": {"time": {
        "date_histogram": {"field": "@timestamp", "fixed_interval": "1h"},
        "aggs": {"status": terms("status", 10), "bytes": {"sum": {"field": "bytes"}}}
    }}})
}

fn latency() -> Value {
    json!({"size": 0, "aggs": {"services": {"terms": {"field": "service", "size": 20}, "aggs": {
        "ms": {"percentiles": {"field": "ms", "percents": [50, 95, 99]}}
    }}}})
}

fn visitors() -> Value {
    json!({"size": 0, "aggs": {"days": {
        "date_histogram": {"field": "@timestamp", "calendar_interval": "day"},
        "aggs": {"visitors": {"cardinality": {"field": "user"}}}
    }}})
}

fn slowest() -> Value {
    json!({"size": 0, "aggs": {"paths": {
        "terms": {"field": "path", "size": 20, "order": {"ms": "desc"}, "min_doc_count": 10},
        "aggs": {"ms": {"avg": {"field": "ms"}}}
    }}})
}

fn errors() -> Value {
    json!({
        "size": 0, "query": {"bool": {"filter": [{"range": {"status": {"gte": 500}}},
            {"range": {"@timestamp": {"gte": "2026-11-01", "lt": "2026-11-09"}}}]}},
        "aggs": {"paths": {"terms": {"field": "path", "size": 10}, "aggs": {"hosts": terms("host", 3)}},
            "users": {"cardinality": {"field": "user"}}, "services": terms("service", 12)}
    })
}

fn timeouts() -> Value {
    json!({
        "size": 50, "query": {"match": {"message": "timeout"}}, "sort": [{"@timestamp": "desc"}, {"path": "asc"}, {"user": "asc"}],
        "highlight": {"fields": {"message": {}}}, "aggs": {"hosts": terms("host", 10)}
    })
}
