//! The pretend engine's answers have the shapes that were captured from real nodes.
#![allow(clippy::unwrap_used, reason = "in a test a surprise is a failed test")]

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::support::engine::{Engine, Flavour};
use crate::support::http::Client;

/// The requests that shapes were captured with from real nodes, in order, with status and shape of each answer.
const SHAPES: [(Flavour, &str); 3] = [
    (Flavour::Es7, include_str!("fixtures/shapes-elasticsearch-7.json")),
    (Flavour::Es8, include_str!("fixtures/shapes-elasticsearch-8.json")),
    (Flavour::Os2, include_str!("fixtures/shapes-opensearch-2.json")),
];

/// A body with every value replaced by its type, and of an array only the first item.
fn shape(value: &Value) -> Value {
    let is_id = |key: &str| {
        let like_one = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        key.len() == 22
            && key.bytes().all(like_one)
            && key.bytes().any(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    match value {
        Value::Object(fields) => {
            let shapes: BTreeMap<String, Value> = fields
                .iter()
                .map(|(key, value)| match key.as_str() {
                    "attributes" => (key.clone(), "<attributes>".into()),
                    id if is_id(id) => ("<id>".into(), shape(value)),
                    _ => (key.clone(), shape(value)),
                })
                .collect();
            Value::Object(shapes.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().take(1).map(shape).collect(),
        Value::Null => "null".into(),
        Value::Bool(_) => "boolean".into(),
        Value::Number(number) if number.is_f64() => "float".into(),
        Value::Number(_) => "integer".into(),
        Value::String(_) => "string".into(),
    }
}

/// Asks what was captured, as it was asked then, and gives the statuses and shapes of now.
async fn replay(client: &Client, url: &str, captured: &str) -> Vec<(Value, Value)> {
    let mut pairs = Vec::new();
    for then in serde_json::from_str::<Vec<Value>>(captured).unwrap() {
        let url = url.to_owned() + then["path"].as_str().unwrap();
        let body = then.get("body").map(Value::to_string).unwrap_or_default();
        let json = [("content-type", "application/json")];
        let response = client.request(then["method"].as_str().unwrap(), url, &json, body).await;
        let mut now = then.clone();
        now["status"] = response.status.into();
        if !response.body.is_empty() {
            now["shape"] = shape(&response.json());
        }
        pairs.push((then, now));
    }
    pairs
}

#[tokio::test]
async fn answers_have_the_real_shapes() {
    let client = Client::new();
    let mut different = String::new();
    for (flavour, captured) in SHAPES {
        let engine = Engine::start_as(flavour);
        for (theirs, ours) in replay(&client, &engine.url(), captured).await {
            if theirs != ours {
                different += &format!("{flavour:?}\n theirs: {theirs}\n ours:   {ours}\n");
            }
        }
    }
    assert!(different.is_empty(), "{different}");
}

/// How the fixtures are made anew: `TEST_CAPTURE=http://127.0.0.1:9200 cargo test --test it capture -- --ignored
/// --nocapture` asks a node without indices, and prints.
#[tokio::test]
#[ignore = "asks a real node, to be named in TEST_CAPTURE"]
async fn capture() {
    let url = std::env::var("TEST_CAPTURE").unwrap();
    let pairs = replay(&Client::new(), &url, SHAPES[0].1).await;
    let lines: Vec<String> = pairs.into_iter().map(|(_, now)| now.to_string()).collect();
    println!("[\n{}\n]", lines.join(",\n"));
}
