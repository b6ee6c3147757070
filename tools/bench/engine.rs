//! Indices on a real engine for strict mode: one, thirty daily ones, two hundred.

use bytes::Bytes;
use http::Method;
use serde_json::json;

use crate::Failure;
use crate::http::Client;

/// Groups of indices: the first part of their names, how many there are, documents in each.
const GROUPS: [(&str, usize, usize); 3] = [("one", 1, 20_000), ("daily", 30, 1_000), ("wide", 200, 100)];

/// The daily indices.
pub(super) fn daily() -> Vec<String> {
    (0..GROUPS[1].1).map(|number| format!("daily-{number:03}")).collect()
}

/// Makes them on an engine that has none of them. One `_bulk` makes all indices of a group at once, which is much quicker
/// than one after the other.
pub(super) async fn load(engine: &Client) -> Result<(), Failure> {
    eprintln!("loading indices");
    let template =
        json!({"index_patterns": GROUPS.map(|(group, ..)| format!("{group}-*")), "template": settings()});
    engine.ok(Method::PUT, "/_index_template/escache-bench", Some(&template)).await?;
    for (group, count, documents) in GROUPS {
        let all = count * documents;
        for from in (0..all).step_by(5_000) {
            let numbers = from..all.min(from + 5_000);
            let lines: String =
                numbers.map(|number| document(group, number % count, number / count)).collect();
            bulk(engine, lines.into()).await?;
        }
        for last in ["_refresh", "_forcemerge?max_num_segments=1", "_refresh"] {
            engine.ok(Method::POST, &format!("/{group}-*/{last}"), None).await?;
        }
    }
    Ok(())
}

/// So many indices of a group of their own.
pub(super) fn many(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("many-{number:03}")).collect()
}

/// Makes them on an engine that has none of them, a few documents in each.
pub(super) async fn load_many(engine: &Client, count: usize) -> Result<(), Failure> {
    eprintln!("loading {count} indices");
    let template = json!({"index_patterns": ["many-*"], "template": settings()});
    engine.ok(Method::PUT, "/_index_template/escache-bench-many", Some(&template)).await?;
    let limit = json!({"persistent": {"cluster.max_shards_per_node": 2 * count}});
    engine.ok(Method::PUT, "/_cluster/settings", Some(&limit)).await?;
    for from in (0..count).step_by(100) {
        let lines: String = (from..count.min(from + 100))
            .flat_map(|index| (0..5).map(move |n| document("many", index, n)))
            .collect();
        bulk(engine, lines.into()).await?;
    }
    engine.ok(Method::POST, "/many-*/_refresh", None).await?;
    Ok(())
}

async fn bulk(engine: &Client, lines: Bytes) -> Result<(), Failure> {
    let answer = engine.send_lines("/_bulk?filter_path=errors", lines).await?;
    if answer.status != 200 || answer.json()?["errors"] != false {
        return Err(format!("_bulk: {}", String::from_utf8_lossy(&answer.body)).into());
    }
    Ok(())
}

/// What the search of `wrk.rs` asks of.
fn settings() -> serde_json::Value {
    json!({
        "settings": {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "1s"},
        "mappings": {"properties": {
            "title": {"type": "text"}, "description": {"type": "text"}, "category": {"type": "keyword"},
            "brand": {"type": "keyword"}, "price": {"type": "double"}, "stock": {"type": "integer"},
            "rating": {"type": "float"},
        }},
    })
}

/// The document with this number, for an index of a group, as lines of `_bulk`.
fn document(group: &str, index: usize, n: usize) -> String {
    const BRANDS: [&str; 6] = ["acme", "globex", "initech", "umbrella", "hooli", "stark"];
    const COLOURS: [&str; 3] = ["red", "blue", "green"];
    let document = json!({
        "title": format!("{} leather sneaker {n}", COLOURS[n % 3]), "description": "for the street",
        "category": if n % 4 == 3 { "bags" } else { "shoes" }, "brand": BRANDS[n % 6],
        "price": (n * 37 % 20_000) as f64 / 100.0, "stock": n % 11, "rating": (n % 50) as f64 / 10.0,
    });
    format!("{{\"index\":{{\"_index\":\"{group}-{index:03}\"}}}}\n{document}\n")
}
