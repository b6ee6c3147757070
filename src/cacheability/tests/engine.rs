//! The tables against a real engine, where `ESCACHE_ENGINE` names one (`127.0.0.1:9200`): it must know each word that
//! is allowed, and must not know each word that the tables say it does not know.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::coverage::{Sample, samples};
use super::*;
use crate::cacheability::language::search::SEARCH;
use crate::outcome::Reason;

/// What engines say to a word that they do not know.
const UNKNOWN: [&str; 11] = [
    "unknown field",
    "unknown query",
    "Unknown key",
    "Unknown aggregation",
    "Unknown interval type",
    "Unknown parameter",
    "Unknown function_score",
    "Unknown RetrieverBuilder",
    "query does not support",
    "unsupported field",
    "unexpected field",
];

/// The same words, said to a value of a type that is not expected.
const OTHER: [&str; 4] = [
    "Unknown key for a VALUE_STRING in [my_name]: [lag]",
    "[my_name]: [other_bucket]",
    "[my_name]: [keyed]",
    "[indices_boost]",
];

/// Words of modules and plugins that the engines in `tests/nodes` come without.
const ABSENT: [&str; 37] = [
    "adjacency_matrix",
    "auto_date_histogram",
    "boxplot",
    "bucket_selector",
    "bucket_sort",
    "cartesian_bounds",
    "cartesian_centroid",
    "children",
    "counted_terms",
    "cumulative_cardinality",
    "derivative",
    "geo_grid",
    "geo_line",
    "geohex_grid",
    "has_child",
    "has_parent",
    "matrix_stats",
    "moving_fn",
    "moving_percentiles",
    "multi_terms",
    "normalize",
    "p_value",
    "parent",
    "parent_id",
    "percolate",
    "pinned",
    "rank_feature",
    "rate",
    "semantic",
    "shape",
    "sparse_vector",
    "string_stats",
    "t_test",
    "time_series",
    "top_metrics",
    "weighted_tokens",
    "xy_shape",
];

#[test]
fn the_engine_knows_the_same_words() {
    let Ok(address) = std::env::var("ESCACHE_ENGINE") else { return };
    let engine = engine(&address);
    let mapping =
        json!({"mappings": {"properties": {"x": {"type": "keyword"}, "my_name": {"type": "keyword"}}}});
    ask(&address, "PUT", "/escache-words", &mapping);
    ask(&address, "PUT", "/escache-words/_doc/1?refresh=true", &json!({"x": "x", "my_name": "x"}));
    let mut wrong = Vec::new();
    for Sample { what, body, expected } in samples(engine, &SEARCH) {
        let (status, answer) = ask(&address, "POST", "/escache-words/_search", &body);
        let text = answer["error"].to_string().replace("\\\"", "");
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let unknown = status != 200 && says(&UNKNOWN);
        let absent = ABSENT.iter().any(|word| text.contains(&format!("[{word}]")) && unknown);
        let right = match expected {
            None => !unknown || absent || says(&OTHER),
            Some(Reason::UnknownWord) => unknown,
            Some(_) => true,
        };
        if !right {
            wrong.push(format!("{what}: expected {expected:?} to {body}, got {}", shorten(&text)));
        }
    }
    ask(&address, "DELETE", "/escache-words", &Value::Null);
    assert!(wrong.is_empty(), "{engine:?}:\n{}", wrong.join("\n"));
}

fn shorten(text: &str) -> &str {
    text.get(..300).unwrap_or(text)
}

/// Which engine it is. Elasticsearch 8 in its lean form has no `GET /`.
fn engine(address: &str) -> Engine {
    let (_, root) = ask(address, "GET", "/", &Value::Null);
    let (_, nodes) = ask(address, "GET", "/_nodes?filter_path=nodes.*.version", &Value::Null);
    let number = nodes["nodes"].as_object().unwrap().values().next().unwrap()["version"].as_str().unwrap();
    let mut numbers = number.split('.').map(|number| number.parse().unwrap());
    let distribution = match root["version"]["distribution"].as_str() {
        Some("opensearch") => Distribution::OpenSearch,
        _ => Distribution::Elasticsearch,
    };
    Engine { distribution, version: (numbers.next().unwrap(), numbers.next().unwrap()) }
}

/// One request on a connection of its own.
fn ask(address: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}
