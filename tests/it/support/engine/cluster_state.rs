//! `_cluster/state`: the version alone, or metadata, routing table and nodes for an index expression.

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::model::{Cluster, Flavour, Index};
use super::mutate::nested;
use super::resolve::{Options, resolve};
use super::route::Call;

/// `_cluster/state/version`. With `local=true`, a host may lag behind the elected master.
pub(crate) fn version(cluster: &Cluster, call: &Call<'_>) -> Answer {
    let behind = if call.params.flag("local", false) { cluster.local_behind } else { 0 };
    let uuid = if behind > 0 { "older" } else { &cluster.state_uuid };
    Answer::ok(json!({
        "cluster_name": cluster.name,
        "cluster_uuid": cluster.uuid,
        "version": cluster.version - behind,
        "state_uuid": uuid,
    }))
}

/// `_cluster/state/{metrics}/{index}`. What the expression names in vain is left out, without an error.
pub(crate) fn state(cluster: &Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let indices: Vec<&Index> = if call.place.expression.is_empty() {
        cluster.indices.values().collect()
    } else {
        let targets = resolve(cluster, &call.place.expression, &Options::lenient(&call.params))?;
        targets.iter().map(|target| cluster.get(&target.index)).collect()
    };
    let metrics: Vec<&str> = call.place.detail.split(',').collect();
    let wants = |metric: &str| metrics.contains(&metric) || metrics.contains(&"_all");
    let mut shown = Map::new();
    let mut add = |name: &str, value: Value| drop(shown.insert(name.into(), value));
    add("cluster_name", cluster.name.clone().into());
    add("cluster_uuid", cluster.uuid.clone().into());
    if wants("version") {
        add("version", cluster.version.into());
        add("state_uuid", cluster.state_uuid.clone().into());
    }
    if wants("master_node") || wants("cluster_manager_node") {
        add("master_node", cluster.nodes[0].id.clone().into());
        if !cluster.flavour.is_elasticsearch() {
            add("cluster_manager_node", cluster.nodes[0].id.clone().into());
        }
    }
    if wants("blocks") {
        add("blocks", json!({}));
    }
    if wants("nodes") {
        let nodes = cluster.nodes.iter().enumerate().map(|(number, _)| node(cluster, number));
        add("nodes", Value::Object(nodes.collect()));
        if cluster.flavour == Flavour::Es8 {
            let ids = || cluster.nodes.iter().map(|node| &node.id);
            let versions = ids().map(|id| {
                let mappings = json!({ ".synonyms-2": { "version": 1, "hash": 1 }, ".tasks": { "version": 0, "hash": 0 } });
                json!({ "node_id": id, "transport_version": "8841000", "mappings_versions": mappings })
            });
            add("nodes_versions", versions.collect());
            add("nodes_features", ids().map(|id| json!({ "node_id": id, "features": ["any"] })).collect());
        }
    }
    if cluster.flavour == Flavour::Es8 && metrics == ["_all"] {
        let limits = json!({ "max_shards_per_node": 1000, "max_shards_per_node_frozen": 3000 });
        let marks = [
            "high_watermark",
            "high_max_headroom",
            "flood_stage_watermark",
            "flood_stage_max_headroom",
            "frozen_flood_stage_watermark",
            "frozen_flood_stage_max_headroom",
        ];
        let disk: Map<String, Value> = marks.map(|mark| (mark.into(), "95%".into())).into_iter().collect();
        add("health", json!({ "disk": disk, "shard_limits": limits }));
    }
    if wants("metadata") {
        add("metadata", metadata(cluster, &indices, call.params.flag("flat_settings", false)));
    }
    if wants("routing_table") {
        let tables = indices.iter().map(|index| (index.name.clone(), routing(cluster, index)));
        add("routing_table", json!({ "indices": tables.collect::<Map<_, _>>() }));
    }
    Ok(Answer::ok(Value::Object(shown)))
}

fn node(cluster: &Cluster, number: usize) -> (String, Value) {
    let node = &cluster.nodes[number];
    let mut about = json!({
        "name": node.name,
        "ephemeral_id": node.ephemeral_id,
        "transport_address": format!("127.0.0.1:{}", 9300 + number),
    });
    match cluster.flavour {
        Flavour::Os2 => about["attributes"] = json!({ "shard_indexing_pressure_enabled": "true" }),
        flavour => {
            about["attributes"] = json!({});
            about["roles"] = json!(["data", "ingest", "master"]);
            if flavour == Flavour::Es8 {
                about["external_id"] = node.name.clone().into();
                about["version"] = flavour.number().into();
                about["min_index_version"] = 7_000_099.into();
                about["max_index_version"] = 8_536_000.into();
            }
        }
    }
    (node.id.clone(), about)
}

fn metadata(cluster: &Cluster, indices: &[&Index], flat: bool) -> Value {
    let master = &cluster.nodes[0].id;
    let tombstones: Vec<Value> = cluster
        .graveyard
        .iter()
        .map(|[name, uuid]| {
            json!({
                "index": { "index_name": name, "index_uuid": uuid }, "delete_date_in_millis": 1_795_304_388_672_u64,
            })
        })
        .collect();
    let indices = indices.iter().map(|about| (about.name.clone(), index(cluster, about, flat)));
    let mut metadata = json!({
        "cluster_uuid": cluster.uuid,
        "cluster_uuid_committed": false,
        "cluster_coordination": {
            "term": 1, "last_committed_config": [master], "last_accepted_config": [master],
            "voting_config_exclusions": [],
        },
        "templates": {},
        "indices": indices.collect::<Map<_, _>>(),
        "index-graveyard": { "tombstones": tombstones },
    });
    if cluster.flavour == Flavour::Es8 {
        metadata["reserved_state"] = json!({});
    }
    metadata
}

fn index(cluster: &Cluster, index: &Index, flat: bool) -> Value {
    let terms = index
        .shards
        .iter()
        .enumerate()
        .map(|(number, shard)| (number.to_string(), shard.primary_term.into()));
    let in_sync = index.shards.iter().enumerate().map(|(number, shard)| {
        let ids: Vec<&str> = shard.copies.iter().map(|copy| copy.allocation_id.as_str()).collect();
        (number.to_string(), json!(ids))
    });
    let mappings = if index.mappings.as_object().is_some_and(Map::is_empty) {
        json!({})
    } else {
        json!({ "_doc": index.mappings })
    };
    let mut about = json!({
        "version": index.version,
        "mapping_version": index.mapping_version,
        "settings_version": index.settings_version,
        "aliases_version": index.aliases_version,
        "routing_num_shards": 1024,
        "state": if index.open { "open" } else { "close" },
        "settings": if flat { json!(index.settings) } else { nested(&index.settings) },
        "mappings": mappings,
        "aliases": index.aliases.keys().collect::<Vec<_>>(),
        "primary_terms": terms.collect::<Map<_, _>>(),
        "in_sync_allocations": in_sync.collect::<Map<_, _>>(),
        "rollover_info": {},
        "system": false,
    });
    if cluster.flavour.is_elasticsearch() {
        about["timestamp_range"] = json!({ "unknown": true });
    }
    if cluster.flavour == Flavour::Es8 {
        about["event_ingested_range"] = json!({ "unknown": true });
        about["mappings_updated_version"] = 8_536_000.into();
        about["transport_version"] = "8841000".into();
    }
    about
}

fn routing(cluster: &Cluster, index: &Index) -> Value {
    let shards = index.shards.iter().enumerate().map(|(number, shard)| {
        let copies = shard.copies.iter().map(|copy| {
            let node = copy.node.map(|node| &cluster.nodes[node].id);
            let mut about = json!({
                "state": if node.is_some() { "STARTED" } else { "UNASSIGNED" },
                "primary": copy.primary, "node": node, "relocating_node": null,
                "shard": number, "index": index.name,
            });
            if node.is_some() {
                about["allocation_id"] = json!({ "id": copy.allocation_id });
                if cluster.flavour == Flavour::Es8 {
                    about["relocation_failure_info"] = json!({ "failed_attempts": 0 });
                }
            } else {
                about["recovery_source"] = json!({ "type": "PEER" });
                about["unassigned_info"] =
                    json!({ "reason": "NODE_LEFT", "at": "2026-11-21T23:39:48.170Z", "delayed": false });
            }
            about
        });
        (number.to_string(), copies.collect::<Value>())
    });
    json!({ "shards": shards.collect::<Map<_, _>>() })
}
