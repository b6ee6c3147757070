use crate::elastic::api::{Api, Distribution, Engine};
use crate::elastic::json::{Json, Object, Order};
use crate::elastic::params::Params;

use super::*;

pub(super) fn json(value: &serde_json::Value) -> Json<'static> {
    match value {
        serde_json::Value::Null => Json::Null,
        serde_json::Value::Bool(b) => Json::Bool(*b),
        serde_json::Value::Number(n) => Json::Number(n.to_string().leak()),
        serde_json::Value::String(s) => Json::String(s.clone().into()),
        serde_json::Value::Array(items) => Json::Array(items.iter().map(json).collect()),
        serde_json::Value::Object(members) => Json::Object(Object {
            members: members.iter().map(|(n, v)| (n.clone().into(), json(v))).collect(),
            order: Order::Kept,
        }),
    }
}

#[test]
fn workload() {
    let Ok(path) = std::env::var("ESCACHE_WORKLOAD") else { return };
    let searches: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut refused = Vec::new();
    for search in &searches {
        let query: Vec<String> = search["params"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(n, v)| format!("{n}={}", v.as_str().unwrap()))
            .collect();
        let query = query.join("&");
        let params = Params::parse(&query).unwrap();
        let mut body = json(&search["body"]);
        for engine in [None, Some(Engine { distribution: Distribution::Elasticsearch, version: (8, 19) })] {
            let verdict = judge(Question {
                api: Api::Search,
                engine,
                params: &params,
                body: Some(&mut body),
                rounded_now: false,
            });
            if let Err(refusal) = verdict {
                refused.push(format!("{}: {refusal} ({engine:?})", search["name"]));
            }
        }
    }
    println!("{} searches, {} refused\n{}", searches.len(), refused.len(), refused.join("\n"));
}
