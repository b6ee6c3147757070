//! `_stats` and `_nodes/stats`, in the engines' shape and order.

use std::iter::Sum;

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::model::{Cluster, Copy, Counters, Flavour, Index, Shard};
use super::resolve::{Options, resolve};
use super::route::Call;

/// Every metric that may be asked for; of those that are not modelled nothing is shown.
const METRICS: [&str; 19] = [
    "docs",
    "store",
    "indexing",
    "get",
    "search",
    "merge",
    "refresh",
    "flush",
    "warmer",
    "query_cache",
    "fielddata",
    "completion",
    "segments",
    "translog",
    "suggest",
    "request_cache",
    "recovery",
    "bulk",
    "shard_stats",
];

/// The numbers of one copy, or of several added up.
#[derive(Clone, Copy, Default)]
struct Numbers {
    docs: u64,
    pending: u64,
    counters: Counters,
    copies: u64,
}

impl Numbers {
    fn of(copy: &Copy) -> Self {
        let (docs, pending) = (copy.visible.len() as u64, copy.pending.len() as u64);
        Self { docs, pending, counters: copy.counters, copies: 1 }
    }
}

impl Sum for Numbers {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            docs: a.docs + b.docs,
            pending: a.pending + b.pending,
            copies: a.copies + b.copies,
            counters: Counters {
                refresh_total: a.counters.refresh_total + b.counters.refresh_total,
                external_total: a.counters.external_total + b.counters.external_total,
                merges_total: a.counters.merges_total + b.counters.merges_total,
                merges_current: a.counters.merges_current + b.counters.merges_current,
                cache_hits: a.counters.cache_hits + b.counters.cache_hits,
                cache_misses: a.counters.cache_misses + b.counters.cache_misses,
                cache_bytes: a.counters.cache_bytes + b.counters.cache_bytes,
                cache_evictions: a.counters.cache_evictions + b.counters.cache_evictions,
            },
        })
    }
}

/// How the numbers are to be shown.
struct View<'a> {
    flavour: Flavour,
    metrics: Vec<&'a str>,
    human: bool,
}

/// `/{index}/_stats/{metric}`.
pub(crate) fn stats(cluster: &Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let level = call.params.get("level").unwrap_or("indices");
    if !["cluster", "indices", "shards"].contains(&level) {
        let levels = "[cluster] or [indices] or [shards]";
        return Err(Answer::illegal(&format!("level parameter must be one of {levels} but was [{level}]")));
    }
    let metrics: Vec<&str> = match call.place.detail.as_str() {
        "" | "_all" => METRICS.to_vec(),
        some => some.split(',').collect(),
    };
    if let Some(unknown) = metrics.iter().find(|metric| !METRICS.contains(metric)) {
        let uri = &call.request.path;
        return Err(Answer::illegal(&format!("request [{uri}] contains unrecognized metric: [{unknown}]")));
    }
    let view = View { flavour: cluster.flavour, metrics, human: call.params.flag("human", false) };
    let targets = resolve(cluster, &call.place.expression, &Options::strict(&call.params))?;
    let indices: Vec<&Index> = targets.iter().map(|target| cluster.get(&target.index)).collect();
    let copies = || indices.iter().flat_map(|index| &index.shards).flat_map(|shard| &shard.copies);
    let started = copies().filter(|copy| copy.node.is_some()).count();
    let mut answer = json!({
        "_shards": { "total": copies().count(), "successful": started, "failed": 0 },
        "_all": view.summary(copies()),
    });
    if level != "cluster" {
        let shown =
            indices.iter().map(|index| (index.name.clone(), view.index(cluster, index, level == "shards")));
        answer["indices"] = Value::Object(shown.collect());
    }
    Ok(Answer::ok(answer))
}

/// `/_nodes/stats/indices/request_cache`: whatever metric is asked for, this is what is shown.
pub(crate) fn nodes(cluster: &Cluster, call: &Call<'_>) -> Answer {
    let view = View {
        flavour: cluster.flavour,
        metrics: vec!["request_cache"],
        human: call.params.flag("human", false),
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let shown = cluster.nodes.iter().enumerate().map(|(number, node)| {
        let on_it = |index: &&Index| view.metrics(index_copies(index).filter(|c| c.node == Some(number)));
        let copies = cluster.indices.values().flat_map(index_copies).filter(|copy| copy.node == Some(number));
        let mut indices = view.metrics(copies);
        if call.params.get("level").is_some_and(|level| level == "indices") {
            let each = cluster.indices.values().map(|index| (index.name.clone(), on_it(&index)));
            indices["indices"] = Value::Object(each.collect());
        }
        let mut about = json!({
            "timestamp": now.as_millis() as u64,
            "name": node.name,
            "transport_address": format!("127.0.0.1:{}", 9300 + number),
            "host": "127.0.0.1",
            "ip": format!("127.0.0.1:{}", 9300 + number),
            "roles": ["data", "ingest", "master"],
        });
        if !cluster.flavour.is_elasticsearch() {
            about["attributes"] = json!({ "shard_indexing_pressure_enabled": "true" });
        }
        about["indices"] = indices;
        (node.id.clone(), about)
    });
    let total = cluster.nodes.len();
    Answer::ok(json!({
        "_nodes": { "total": total, "successful": total, "failed": 0 },
        "cluster_name": cluster.name,
        "nodes": shown.collect::<Map<_, _>>(),
    }))
}

fn index_copies(index: &Index) -> impl Iterator<Item = &Copy> {
    index.shards.iter().flat_map(|shard| &shard.copies)
}

impl View<'_> {
    fn summary<'c>(&self, copies: impl Iterator<Item = &'c Copy> + Clone) -> Value {
        let primaries = copies.clone().filter(|copy| copy.primary);
        json!({ "primaries": self.metrics(primaries), "total": self.metrics(copies) })
    }

    fn index(&self, cluster: &Cluster, index: &Index, with_shards: bool) -> Value {
        let mut shown = Map::from_iter([("uuid".into(), index.uuid.clone().into())]);
        if self.flavour == Flavour::Es8 {
            shown.insert("health".into(), health(index).into());
            shown.insert("status".into(), if index.open { "open" } else { "close" }.into());
        }
        let copies: Vec<&Copy> = index_copies(index).collect();
        shown.extend(self.summary(copies.iter().copied()).as_object().unwrap().clone());
        if with_shards {
            let shards = index.shards.iter().enumerate().map(|(number, shard)| {
                let started = shard.copies.iter().filter(|copy| copy.node.is_some());
                let copies: Vec<Value> = started.map(|copy| self.copy(cluster, index, shard, copy)).collect();
                (number.to_string(), Value::Array(copies))
            });
            let shards: Map<String, Value> = shards
                .filter(|(_, copies)| copies.as_array().is_some_and(|copies| !copies.is_empty()))
                .collect();
            shown.insert("shards".into(), Value::Object(shards));
        }
        Value::Object(shown)
    }

    fn copy(&self, cluster: &Cluster, index: &Index, shard: &Shard, copy: &Copy) -> Value {
        let node = &cluster.nodes[copy.node.unwrap()].id;
        let routing =
            json!({ "state": "STARTED", "primary": copy.primary, "node": node, "relocating_node": null });
        let mut shown = Map::from_iter([("routing".into(), routing)]);
        shown.extend(self.metrics(std::iter::once(copy)).as_object().unwrap().clone());
        let mut user_data = json!({
            "local_checkpoint": "-1", "max_unsafe_auto_id_timestamp": "-1", "translog_uuid": shard.history_uuid,
            "history_uuid": shard.history_uuid, "max_seq_no": "-1",
        });
        if self.flavour.is_elasticsearch() {
            user_data["es_version"] = self.flavour.number().into();
        }
        let lease = json!({
            "id": format!("peer_recovery/{node}"), "retaining_seq_no": 0, "timestamp": 1_795_304_384_414_u64,
            "source": "peer recovery",
        });
        let rest = json!({
            "commit": { "id": copy.commit_id, "generation": 2, "user_data": user_data, "num_docs": 0 },
            "seq_no": {
                "max_seq_no": copy.max_seq_no, "local_checkpoint": copy.local_checkpoint,
                "global_checkpoint": copy.local_checkpoint,
            },
            "retention_leases": { "primary_term": shard.primary_term, "version": 1, "leases": [lease] },
            "shard_path": {
                "state_path": "/pretend/nodes/0", "data_path": "/pretend/nodes/0", "is_custom_data_path": false,
            },
        });
        shown.extend(rest.as_object().unwrap().clone());
        if self.flavour == Flavour::Es8 {
            shown.insert("search_idle".into(), index.search_idle.into());
            shown.insert("search_idle_time".into(), 0.into());
        }
        Value::Object(shown)
    }

    /// The metrics asked for, in the engines' order. Of no copies, nothing is shown.
    fn metrics<'c>(&self, copies: impl Iterator<Item = &'c Copy>) -> Value {
        let sum: Numbers = copies.filter(|copy| copy.node.is_some()).map(Numbers::of).sum();
        let counters = sum.counters;
        let mut shown = Map::new();
        if sum.copies == 0 && self.metrics != ["request_cache"] {
            return Value::Object(shown);
        }
        let mut add = |metric: &str, name: &str, value: Value| {
            if self.metrics.contains(&metric) {
                shown.insert(name.into(), value);
            }
        };
        add("docs", "docs", json!({ "count": sum.docs, "deleted": 0 }));
        add("merge", "merges", self.merges(&sum));
        let refresh = json!({
            "total": counters.refresh_total, "total_time_in_millis": 0,
            "external_total": counters.external_total, "external_total_time_in_millis": 0, "listeners": 0,
        });
        add("refresh", "refresh", refresh);
        let writer = sum.pending * 91_860;
        add("segments", "segments", json!({ "count": 1, "index_writer_memory_in_bytes": writer }));
        add("request_cache", "request_cache", self.request_cache(&counters));
        Value::Object(shown)
    }

    fn merges(&self, sum: &Numbers) -> Value {
        let mut merges = json!({
            "current": sum.counters.merges_current, "current_docs": 0, "current_size_in_bytes": 0,
            "total": sum.counters.merges_total, "total_time_in_millis": 0, "total_docs": 0,
            "total_size_in_bytes": 0, "total_stopped_time_in_millis": 0, "total_throttled_time_in_millis": 0,
            "total_auto_throttle_in_bytes": sum.copies * 20_971_520,
        });
        if self.flavour == Flavour::Os2 {
            merges["unreferenced_file_cleanups_performed"] = 0.into();
        }
        merges
    }

    fn request_cache(&self, counters: &Counters) -> Value {
        let mut shown = Map::new();
        if self.human {
            shown.insert("memory_size".into(), format!("{}b", counters.cache_bytes).into());
        }
        shown.insert("memory_size_in_bytes".into(), counters.cache_bytes.into());
        shown.insert("evictions".into(), counters.cache_evictions.into());
        shown.insert("hit_count".into(), counters.cache_hits.into());
        shown.insert("miss_count".into(), counters.cache_misses.into());
        Value::Object(shown)
    }
}

fn health(index: &Index) -> &'static str {
    let lost = |copy: &&Copy| copy.node.is_none();
    if index_copies(index).filter(|copy| copy.primary).any(|copy| lost(&copy)) {
        "red"
    } else if index_copies(index).any(|copy| lost(&copy)) {
        "yellow"
    } else {
        "green"
    }
}
