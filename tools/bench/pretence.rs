//! What the benchmark's upstream says of itself: an Elasticsearch of one node, whose indices have one shard each and
//! never change. Enough for readings, so that what is measured is escache as it works in front of an engine.

use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The indices, and how large their answers are.
pub(super) const INDICES: [(&str, usize); 4] =
    [("logs1k", 1 << 10), ("logs20k", 20 << 10), ("logs300k", 300 << 10), ("slow", 1 << 10)];

/// Searches of this index take 20 ms.
pub(super) const SLOW: &str = "/slow/";

/// An answer to a search, of so many bytes.
pub(super) fn answer(size: usize) -> Bytes {
    let frame = r#"{"took":1,"timed_out":false,"_shards":{"total":1,"successful":1,"skipped":0,"failed":0},"hits":{"hits":[]},"x":""}"#;
    let filled = format!(r#""x":"{}""#, text(size.saturating_sub(frame.len())));
    frame.replace(r#""x":"""#, &filled).into()
}

/// So much text, which gzip makes about five times smaller, as it does with answers.
fn text(length: usize) -> String {
    let mut text = String::with_capacity(length + 64);
    let mut number = 1_u64;
    while text.len() < length {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let _ = write!(text, "category: shoes, colour: red, price: {}, stock: few; ", number >> 44);
    }
    text.truncate(length);
    text
}

/// The answer to a question of a reading.
pub(super) fn reading(path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let version =
        json!({"cluster_name": "bench", "cluster_uuid": "bench", "version": 7, "state_uuid": "bench"});
    Some(match parts.as_slice() {
        [] => json!({
            "name": "bench", "cluster_name": "bench", "cluster_uuid": "bench", "tagline": "You Know, for Search",
            "version": {"number": "8.19.8", "build_flavor": "default"},
        }),
        ["_cluster", "state", "version"] => version,
        ["_cluster", "state", _, rest @ ..] => {
            let mut state = version;
            let names = resolved(rest.first().copied().unwrap_or("_all"));
            state["metadata"] = json!({"indices": each(&names, |name| json!({
                "mapping_version": 1, "settings_version": 1, "aliases_version": 1, "state": "open",
                "primary_terms": {"0": 1}, "aliases": [],
                "settings": {"index": {
                    "uuid": format!("uuid-of-{name}"), "number_of_shards": "1", "refresh_interval": "1s",
                }},
            }))});
            state["routing_table"] = json!({"indices": each(&names, |name| json!({"shards": {"0": [{
                "node": "node", "state": "STARTED", "primary": true, "allocation_id": {"id": name},
            }]}}))});
            state["nodes"] = json!({"node": {"ephemeral_id": "bench"}});
            state
        }
        ["_cluster", "settings"] => json!({"persistent": {}, "transient": {}}),
        ["_nodes", ..] => json!({"_nodes": {"total": 1, "successful": 1, "failed": 0}, "nodes": {}}),
        [index, "_alias", ..] => each(&resolved(index), |_| json!({"aliases": {}})),
        [index, "_stats", ..] => stats(&resolved(index)),
        ["_stats", ..] => stats(&resolved("_all")),
        [index, "_segments"] => {
            let names = resolved(index);
            json!({"_shards": shards(&names), "indices": each(&names, |_| json!({"shards": {"0": [{
                "routing": {"state": "STARTED", "primary": true, "node": "node"},
                "segments": {"_0": {"num_docs": 9, "deleted_docs": 0, "search": true}},
            }]}}))})
        }
        _ => return None,
    })
}

fn stats(names: &[&str]) -> Value {
    let counters = |n: usize| {
        json!({
            "refresh": {"total": 5 * n, "external_total": 4 * n}, "merges": {"current": 0, "total": n},
            "indexing": {"index_total": 9 * n, "delete_total": 0},
        })
    };
    json!({
        "_shards": shards(names),
        "_all": {"primaries": counters(names.len()), "total": counters(names.len())},
        "indices": each(names, |name| {
            let mut copy = counters(1);
            copy["routing"] = json!({"state": "STARTED", "primary": true, "node": "node", "relocating_node": null});
            copy["seq_no"] = json!({"max_seq_no": 8, "local_checkpoint": 8, "global_checkpoint": 8});
            json!({"uuid": format!("uuid-of-{name}"), "total": counters(1), "shards": {"0": [copy]}})
        }),
    })
}

fn shards(names: &[&str]) -> Value {
    json!({"total": names.len(), "successful": names.len(), "failed": 0})
}

fn each(names: &[&str], what: impl Fn(&str) -> Value) -> Value {
    Value::Object(names.iter().map(|name| ((*name).to_owned(), what(name))).collect::<Map<_, _>>())
}

fn resolved(expression: &str) -> Vec<&'static str> {
    let names = INDICES.iter().map(|(name, _)| *name);
    match expression {
        "_all" | "*" => names.collect(),
        list => names.filter(|name| list.split(',').any(|part| part == *name)).collect(),
    }
}
