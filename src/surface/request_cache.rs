//! The engine's `request_cache` statistics with the proxy's numbers in their place (docs/exactness.md).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};
use serde_json::{Map, Value, json};

use crate::elastic::api::Api;
use crate::stats::RequestCache;

/// What is put in.
pub(super) struct Numbers {
    /// Every request once.
    pub(super) total: RequestCache,
    /// For each index every request that touched it.
    pub(super) by_index: BTreeMap<Arc<str>, RequestCache>,
    /// `?human`
    pub(super) human: bool,
}

impl Numbers {
    fn of(&self, index: &str) -> RequestCache {
        self.by_index.get(index).copied().unwrap_or_default()
    }

    /// The object in the engines' key order.
    fn object(&self, numbers: RequestCache) -> Value {
        let mut object = Map::new();
        if self.human {
            object.insert("memory_size".to_owned(), json!(human(numbers.memory)));
        }
        object.insert("memory_size_in_bytes".to_owned(), json!(numbers.memory));
        object.insert("evictions".to_owned(), json!(numbers.evictions));
        object.insert("hit_count".to_owned(), json!(numbers.hits));
        object.insert("miss_count".to_owned(), json!(numbers.misses));
        Value::Object(object)
    }
}

/// Replaces the numbers in an engine's answer; `None` if it is not JSON.
pub(super) fn replace(body: &[u8], numbers: &Numbers, api: Api, pretty: bool) -> Option<Vec<u8>> {
    let mut answer: Value = serde_json::from_slice(body).ok()?;
    match api {
        Api::NodesRequestCacheStats => replace_nodes(&mut answer, numbers),
        _ => replace_indices(&mut answer, numbers),
    }
    let mut out = Vec::with_capacity(body.len() + 256);
    if pretty {
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, EnginePretty::default());
        answer.serialize(&mut serializer).ok()?;
        out.push(b'\n');
    } else {
        serde_json::to_writer(&mut out, &answer).ok()?;
    }
    Some(out)
}

/// The same with some numbers, for those who try to break it.
#[doc(hidden)]
#[must_use]
pub fn replaced(body: &[u8], nodes: bool, pretty: bool) -> Option<Vec<u8>> {
    let total = RequestCache { memory: 2049, evictions: 1, hits: 7, misses: 3 };
    let numbers = Numbers { total, by_index: BTreeMap::from([("logs".into(), total)]), human: pretty };
    replace(body, &numbers, if nodes { Api::NodesRequestCacheStats } else { Api::RequestCacheStats }, pretty)
}

/// `indices.stats`: `primaries` equals `total`, shard objects say 0, so that exporters that add up are right.
fn replace_indices(answer: &mut Value, numbers: &Numbers) {
    if let Some(all) = answer.get_mut("_all") {
        put(all, "primaries", numbers.object(numbers.total));
        put(all, "total", numbers.object(numbers.total));
    }
    for (name, index) in members_of(answer, "indices") {
        let own = numbers.object(numbers.of(name));
        put(index, "primaries", own.clone());
        put(index, "total", own);
        if let Some(shards) = index.get_mut("shards") {
            zero_shards(shards, numbers);
        }
    }
}

/// `nodes.stats`: one node, the one with the lowest id, carries the numbers.
fn replace_nodes(answer: &mut Value, numbers: &Numbers) {
    let lowest = answer.get("nodes").and_then(Value::as_object).and_then(|nodes| nodes.keys().min().cloned());
    for (id, node) in members_of(answer, "nodes") {
        let carries = Some(id) == lowest.as_ref();
        let own = |of: RequestCache| numbers.object(if carries { of } else { RequestCache::default() });
        let Some(indices) = node.get_mut("indices") else { continue };
        if let Some(at) = indices.get_mut("request_cache") {
            *at = own(numbers.total);
        }
        for (name, index) in members_of(indices, "indices") {
            if let Some(at) = index.get_mut("request_cache") {
                *at = own(numbers.of(name));
            }
        }
        for (_, shards) in members_of(indices, "shards") {
            for shard in shards.as_array_mut().into_iter().flatten() {
                zero_shards(shard, numbers);
            }
        }
    }
}

/// The members of an object within an object; none if it is not there. (Indexing would put it there.)
fn members_of<'v>(parent: &'v mut Value, name: &str) -> impl Iterator<Item = (&'v String, &'v mut Value)> {
    parent.get_mut(name).and_then(Value::as_object_mut).into_iter().flatten()
}

fn put(parent: &mut Value, scope: &str, object: Value) {
    if let Some(at) = parent.get_mut(scope).and_then(|s| s.get_mut("request_cache")) {
        *at = object;
    }
}

/// `{"0": [{..copy..}]}` or `{"0": {..copy..}}`.
fn zero_shards(shards: &mut Value, numbers: &Numbers) {
    let zero = numbers.object(RequestCache::default());
    for copies in shards.as_object_mut().into_iter().flat_map(Map::values_mut) {
        let copies = match copies {
            Value::Array(list) => list.as_mut_slice(),
            one => std::slice::from_mut(one),
        };
        for copy in copies.iter_mut().filter(|copy| copy.get("request_cache").is_some()) {
            copy["request_cache"] = zero.clone();
        }
    }
}

/// `ByteSizeValue.toString` of the engines: one decimal, cut, not rounded.
fn human(bytes: u64) -> String {
    const UNITS: [(u64, &str); 5] =
        [(1 << 50, "pb"), (1 << 40, "tb"), (1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")];
    match UNITS.iter().find(|(size, _)| bytes >= *size) {
        None => format!("{bytes}b"),
        Some((size, unit)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*size);
            let (whole, tenth) = (tenths / 10, tenths % 10);
            if tenth == 0 { format!("{whole}{unit}") } else { format!("{whole}.{tenth}{unit}") }
        }
    }
}

/// `"key" : value`, as the engines' `?pretty` writes.
#[derive(Default)]
struct EnginePretty<'a>(PrettyFormatter<'a>);

impl Formatter for EnginePretty<'_> {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" : ")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(human: bool) -> Numbers {
        let of = |hits| RequestCache { memory: 2368, evictions: 1, hits, misses: 4 };
        Numbers { total: of(8), by_index: [(Arc::from("logs"), of(6))].into(), human }
    }

    #[test]
    fn indices_stats_keep_their_shape() {
        let engine = concat!(
            r#"{"_shards":{"total":1,"successful":1,"failed":0},"_all":{"primaries":{"request_cache":{"memory_size_in_bytes":0,"#,
            r#""evictions":0,"hit_count":0,"miss_count":0}},"total":{"request_cache":{"memory_size_in_bytes":0,"evictions":0,"#,
            r#""hit_count":0,"miss_count":0}}},"indices":{"logs":{"uuid":"u","primaries":{"request_cache":{}},"total":{"#,
            r#""request_cache":{}},"shards":{"0":[{"routing":{"relocating_node":null},"request_cache":{"hit_count":3}}]}}}}"#
        );
        let out = replace(engine.as_bytes(), &numbers(false), Api::RequestCacheStats, false).unwrap();
        let ours = r#"{"memory_size_in_bytes":2368,"evictions":1,"hit_count":8,"miss_count":4}"#;
        let logs = ours.replace(":8", ":6");
        let zero = r#"{"memory_size_in_bytes":0,"evictions":0,"hit_count":0,"miss_count":0}"#;
        let expected = format!(
            concat!(
                r#"{{"_shards":{{"total":1,"successful":1,"failed":0}},"_all":{{"primaries":{{"request_cache":{0}}},"total":{{"request_cache":{0}}}}},"#,
                r#""indices":{{"logs":{{"uuid":"u","primaries":{{"request_cache":{1}}},"total":{{"request_cache":{1}}},"#,
                r#""shards":{{"0":[{{"routing":{{"relocating_node":null}},"request_cache":{2}}}]}}}}}}}}"#
            ),
            ours, logs, zero
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn one_node_carries_the_numbers() {
        let engine = json!({"nodes": {
            "b": {"indices": {"request_cache": {"hit_count": 9}}},
            "a": {"indices": {"request_cache": {"hit_count": 9}, "indices": {"logs": {"request_cache": {}}}}},
        }});
        let out = replace(engine.to_string().as_bytes(), &numbers(true), Api::NodesRequestCacheStats, false)
            .unwrap();
        let out: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(out["nodes"]["b"]["indices"]["request_cache"]["hit_count"], 0);
        assert_eq!(out["nodes"]["a"]["indices"]["request_cache"]["hit_count"], 8);
        assert_eq!(out["nodes"]["a"]["indices"]["request_cache"]["memory_size"], "2.3kb");
        assert_eq!(out["nodes"]["a"]["indices"]["indices"]["logs"]["request_cache"]["hit_count"], 6);
    }

    #[test]
    fn sizes_read_as_in_the_engines() {
        for (bytes, text) in [
            (0, "0b"),
            (1023, "1023b"),
            (1024, "1kb"),
            (2368, "2.3kb"),
            (1 << 20, "1mb"),
            ((1 << 20) + 1, "1mb"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn pretty_is_the_engines_pretty() {
        let out = replace(br#"{"a":{"b":[1]}}"#, &numbers(false), Api::RequestCacheStats, true).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\n  \"a\" : {\n    \"b\" : [\n      1\n    ]\n  }\n}\n"
        );
    }
}
