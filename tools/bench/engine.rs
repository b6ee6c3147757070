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

/// Makes them anew.
pub(super) async fn load(engine: &Client) -> Result<(), Failure> {
    eprintln!("loading indices");
    for (group, count, documents) in GROUPS {
        let found =
            engine.ok(Method::GET, &format!("/_cat/indices/{group}-*?format=json&h=index"), None).await?;
        for index in found.json()?.as_array().into_iter().flatten() {
            let name = index["index"].as_str().unwrap_or_default();
            engine.ok(Method::DELETE, &format!("/{name}"), None).await?;
        }
        for number in 0..count {
            let index = format!("/{group}-{number:03}");
            engine.ok(Method::PUT, &index, Some(&settings())).await?;
            for from in (0..documents).step_by(5_000) {
                let lines = lines(from..documents.min(from + 5_000));
                let answer = engine.send_lines(&format!("{index}/_bulk?filter_path=errors"), lines).await?;
                if answer.status != 200 || answer.json()?["errors"] != false {
                    return Err(format!("_bulk: {}", String::from_utf8_lossy(&answer.body)).into());
                }
            }
        }
        engine.ok(Method::POST, &format!("/{group}-*/_refresh"), None).await?;
        engine.ok(Method::POST, &format!("/{group}-*/_forcemerge?max_num_segments=1"), None).await?;
        engine.ok(Method::POST, &format!("/{group}-*/_refresh"), None).await?;
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

fn lines(numbers: std::ops::Range<usize>) -> Bytes {
    const BRANDS: [&str; 6] = ["acme", "globex", "initech", "umbrella", "hooli", "stark"];
    const COLOURS: [&str; 3] = ["red", "blue", "green"];
    let mut lines = String::new();
    for n in numbers {
        let document = json!({
            "title": format!("{} leather sneaker {n}", COLOURS[n % 3]), "description": "for the street",
            "category": if n % 4 == 3 { "bags" } else { "shoes" }, "brand": BRANDS[n % 6],
            "price": (n * 37 % 20_000) as f64 / 100.0, "stock": n % 11, "rating": (n % 50) as f64 / 10.0,
        });
        lines.push_str("{\"index\":{}}\n");
        lines.push_str(&document.to_string());
        lines.push('\n');
    }
    lines.into()
}
