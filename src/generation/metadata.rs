//! The metadata digest: what of the cluster state can change an answer (docs/exactness.md), and what of each index is
//! needed beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::changes::small;
use super::{digest_unordered, judge};
use crate::elastic::target::Target;
use crate::outcome::{Reason, Refusal};

/// The `filter_path` that keeps `/_cluster/state/metadata,routing_table,nodes/{target}` to what [`Metadata`] reads.
pub const METADATA_FILTER: &str = concat!(
    "cluster_uuid,version,state_uuid,",
    "metadata.indices.*.mapping_version,metadata.indices.*.settings_version,metadata.indices.*.aliases_version,",
    "metadata.indices.*.state,metadata.indices.*.primary_terms,metadata.indices.*.aliases,",
    "metadata.indices.*.settings.index.uuid,metadata.indices.*.settings.index.number_of_shards,",
    "metadata.indices.*.settings.index.refresh_interval,metadata.indices.*.settings.index.requests,",
    "metadata.indices.*.settings.index.search,metadata.indices.*.settings.index.ingestion_source.type,",
    "metadata.indices.*.settings.index.analysis.*.*.updateable,",
    "metadata.indices.*.settings.index.analysis.*.*.synonyms_set,",
    "metadata.indices.*.settings.index.analysis.*.*.type,",
    "metadata.indices.*.settings.index.analysis.*.*.tokenizer,",
    "metadata.indices.*.settings.index.analysis.*.*.filter,",
    "metadata.indices.*.settings.index.analysis.*.*.char_filter,",
    "metadata.indices.*.mappings.*.runtime,metadata.indices.*.mappings.*.derived,",
    "metadata.indices.*.mappings.**.analyzer,metadata.indices.*.mappings.**.search_analyzer,",
    "metadata.indices.*.mappings.**.search_quote_analyzer,",
    "metadata.indices.*.mappings.**.inference_id,metadata.indices.*.field_inference,",
    "metadata.data_stream,",
    "routing_table.indices.*.shards.*.node,routing_table.indices.*.shards.*.state,",
    "routing_table.indices.*.shards.*.primary,routing_table.indices.*.shards.*.allocation_id,",
    "nodes.*.ephemeral_id"
);

/// Which state of which cluster an answer of `/_cluster/state` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct StateVersion {
    /// The cluster.
    pub cluster_uuid: String,
    /// Rises with every state that the master publishes.
    pub version: u64,
    /// Names the state; tells apart equal versions of two masters.
    pub state_uuid: String,
}

impl StateVersion {
    /// What stands for it; never 0.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.version.to_le_bytes());
        for name in [&self.cluster_uuid, &self.state_uuid] {
            hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        }
        let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1)
    }

    /// Reads the answer of `/_cluster/state/version`.
    ///
    /// # Errors
    /// [`Reason::GenerationUnknown`] if one of the three is missing.
    pub fn read(body: &[u8]) -> Result<StateVersion, Reason> {
        serde_json::from_slice(body).map_err(|_| Reason::GenerationUnknown)
    }
}

/// What of the cluster's metadata can change an answer of a target.
#[derive(Debug, Default)]
pub struct Metadata {
    version: StateVersion,
    digest: [u8; 32],
    nodes: [u8; 32],
    members: u64,
    indices: BTreeMap<String, Index>,
    names: Arc<[Arc<str>]>,
    refusal: Option<Refusal>,
    property: Property,
}

/// What of one index is needed beside the digest.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) uuid: String,
    pub(super) shards: usize,
    /// Whether a search could make visible what waits on a shard: not where `index.refresh_interval` is set
    /// explicitly, since such shards never skip a scheduled refresh (`IndexShard.scheduledRefresh`).
    pub(super) may_idle: bool,
    /// `index.search.idle.after`: how long a search keeps its shard from sleeping.
    pub(super) idle_after: Duration,
    open: bool,
    /// Of all that is read of it, to tell people which index has changed.
    digest: u64,
}

/// Properties of the indices of a target that matter to some requests only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Property {
    /// The first one on which `index.requests.cache.enable` is false.
    /// A request can override it.
    pub cache_disabled: Option<Box<str>>,
    /// The place where the first one does that gives the name of a built-in analyzer to one of its own.
    pub own_analyzer: Option<Box<str>>,
}

#[derive(Deserialize)]
struct State {
    #[serde(flatten)]
    version: StateVersion,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    routing_table: Value,
    #[serde(default)]
    nodes: Value,
}

impl Metadata {
    /// Reads what the engine says of a target: the answers of `/_cluster/state/...`, of `/_cluster/settings?flat_settings`, and of `/{target}/_alias`
    /// (the filters of aliases are not in the cluster state's JSON). Where the cluster settings may not be read, the
    /// state's own uuid stands for them.
    ///
    /// # Errors
    /// [`Reason::GenerationUnknown`] if something is missing.
    pub fn read(
        target: &Target,
        state: &[u8],
        cluster_settings: Option<&[u8]>,
        aliases: &[u8],
    ) -> Result<Metadata, Refusal> {
        let unknown = |_| Reason::GenerationUnknown;
        let state: State = serde_json::from_slice(state).map_err(unknown)?;
        let settings: Value = match cluster_settings {
            Some(text) => serde_json::from_slice(text).map_err(unknown)?,
            None => Value::String(state.version.state_uuid.clone()),
        };
        let aliases: Value = serde_json::from_slice(aliases).map_err(unknown)?;
        let mut indices = BTreeMap::new();
        let default_refresh = judge::default_refresh(&settings);
        let mut refusal =
            judge::aliases(target, &aliases).or_else(|| judge::data_streams(target, &state.metadata));
        let mut property = Property::default();
        let empty = serde_json::Map::new();
        for (name, index) in state.metadata["indices"].as_object().unwrap_or(&empty) {
            let settings = &index["settings"]["index"];
            let uuid = settings["uuid"].as_str().ok_or(Reason::GenerationUnknown)?.to_owned();
            let shards = number(&settings["number_of_shards"]).ok_or(Reason::GenerationUnknown)?;
            let open = match index["state"].as_str() {
                Some("open") => true,
                Some("close") => false,
                _ => return Err(Refusal::at(Reason::GenerationUnknown, format!("{name}.state"))),
            };
            if property.cache_disabled.is_none()
                && judge::is(&settings["requests"]["cache"]["enable"], "false")
            {
                property.cache_disabled = Some(name.as_str().into());
            }
            if property.own_analyzer.is_none() {
                property.own_analyzer = judge::own_analyzer(name, settings).map(Box::from);
            }
            let idle_after = judge::idle_after(settings);
            refusal = refusal.or_else(|| judge::index(name, index));
            refusal = refusal.or_else(|| judge::idle(name, settings, idle_after, default_refresh));
            // an alias that escache's own credentials do not see could have any filter
            for alias in index["aliases"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if aliases[name.as_str()]["aliases"].get(alias).is_none() {
                    return Err(Refusal::at(Reason::GenerationIncomplete, format!("{name}.aliases.{alias}")));
                }
            }
            let may_idle = settings["refresh_interval"].is_null();
            let idle_after = Duration::from_millis(idle_after.unwrap_or_default());
            let digest = small(digest_unordered(index));
            indices.insert(name.clone(), Index { uuid, shards, may_idle, idle_after, open, digest });
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(state.version.cluster_uuid.as_bytes());
        for part in [&state.metadata, &state.routing_table, &state.nodes, &settings, &aliases] {
            hasher.update(&digest_unordered(part));
        }
        let names = indices.keys().map(|name| Arc::from(name.as_str())).collect();
        Ok(Metadata {
            version: state.version,
            digest: *hasher.finalize().as_bytes(),
            nodes: digest_unordered(&state.nodes),
            members: members(state.nodes.as_object().unwrap_or(&empty).keys()),
            indices,
            names,
            refusal,
            property,
        })
    }

    /// The state that it was read from.
    #[must_use]
    pub fn version(&self) -> &StateVersion {
        &self.version
    }

    /// What stands for the nodes: another one after each start of one of them.
    #[must_use]
    pub fn nodes(&self) -> [u8; 32] {
        self.nodes
    }

    /// What stands for which nodes there are, as [`members`] has it; `None` where nothing is watched.
    #[must_use]
    pub fn members(&self) -> Option<u64> {
        (!self.version.state_uuid.is_empty()).then_some(self.members)
    }

    /// The names of the indices that the target resolves to, sorted.
    #[must_use]
    pub fn names(&self) -> &Arc<[Arc<str>]> {
        &self.names
    }

    /// The names of the open ones among them, sorted.
    #[must_use]
    pub fn open_names(&self) -> Vec<String> {
        self.open_indices().map(|(name, _)| name.to_owned()).collect()
    }

    /// How many shards the open indices have; `None` where nothing is watched.
    #[must_use]
    pub fn shards(&self) -> Option<usize> {
        (!self.version.state_uuid.is_empty())
            .then(|| self.open_indices().map(|(_, index)| index.shards).sum())
    }

    /// Whether a search could make visible what waits on the shards of an index.
    pub(super) fn may_idle(&self, index: &str) -> bool {
        self.indices.get(index).is_none_or(|index| index.may_idle)
    }

    /// What stands for the metadata of one index alone.
    pub(super) fn digest_of(&self, index: &str) -> u64 {
        self.indices.get(index).map_or(0, |index| index.digest)
    }

    /// About how many bytes it holds.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        self.indices.iter().map(|(name, index)| 2 * name.len() + index.uuid.len() + 200).sum::<usize>() + 500
    }

    /// Why no answer of this target may be cached, whatever the request.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Properties that matter to some requests only.
    #[must_use]
    pub fn property(&self) -> &Property {
        &self.property
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    pub(super) fn open_indices(&self) -> impl Iterator<Item = (&str, &Index)> {
        self.indices.iter().filter(|(_, index)| index.open).map(|(name, index)| (name.as_str(), index))
    }
}

/// What stands for the nodes of a cluster by their ids, which outlast a restart. For comparison within this process only.
#[must_use]
pub fn members<'a>(ids: impl Iterator<Item = &'a String>) -> u64 {
    let mut ids: Vec<&String> = ids.collect();
    ids.sort_unstable();
    small(ids)
}

fn number(value: &Value) -> Option<usize> {
    value.as_str().and_then(|s| s.parse().ok()).or_else(|| value.as_u64()?.try_into().ok())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::elastic::params::Params;

    pub(crate) fn target(expression: &str) -> Target {
        Target::new(Some(expression), &Params::default())
    }

    pub(crate) fn state() -> Value {
        json!({
            "cluster_uuid": "c", "version": 7, "state_uuid": "s",
            "metadata": {"indices": {"logs": {
                "mapping_version": 1, "settings_version": 1, "aliases_version": 1, "state": "open",
                "primary_terms": {"0": 1}, "aliases": [],
                "settings": {"index": {"uuid": "u", "number_of_shards": "1"}}
            }}},
            "routing_table": {"indices": {"logs": {"shards": {"0": [
                {"node": "n", "state": "STARTED", "primary": true, "allocation_id": {"id": "x"}}
            ]}}}},
            "nodes": {"n": {"ephemeral_id": "e"}}
        })
    }

    pub(crate) fn read(state: &Value, settings: &str, aliases: &str) -> Metadata {
        let state = state.to_string();
        Metadata::read(&target("a"), state.as_bytes(), Some(settings.as_bytes()), aliases.as_bytes()).unwrap()
    }

    #[test]
    fn everything_but_the_state_version_moves_the_digest() {
        let base = read(&state(), "{}", "{}");
        for (pointer, value) in [
            ("/cluster_uuid", json!("d")),
            ("/metadata/indices/logs/mapping_version", json!(2)),
            ("/metadata/indices/logs/settings_version", json!(2)),
            ("/metadata/indices/logs/aliases_version", json!(2)),
            ("/metadata/indices/logs/state", json!("close")),
            ("/metadata/indices/logs/primary_terms/0", json!(2)),
            ("/metadata/indices/logs/settings/index/uuid", json!("v")),
            ("/routing_table/indices/logs/shards/0/0/allocation_id/id", json!("y")),
            ("/nodes/n/ephemeral_id", json!("f")),
        ] {
            let mut changed = state();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert_ne!(read(&changed, "{}", "{}").digest(), base.digest(), "{pointer}");
        }
        assert_ne!(
            read(&state(), r#"{"persistent":{"search.allow_expensive_queries":"false"}}"#, "{}").digest(),
            base.digest()
        );
        assert_ne!(
            read(&state(), "{}", r#"{"logs":{"aliases":{"a":{"filter":{"term":{"x":1}}}}}}"#).digest(),
            base.digest()
        );
        let unreadable = |state: &Value| {
            Metadata::read(&target("a"), state.to_string().as_bytes(), None, b"{}").unwrap().digest()
        };
        let mut later = state();
        later["version"] = json!(8);
        later["state_uuid"] = json!("t");
        assert_eq!(read(&later, "{}", "{}").digest(), base.digest());
        assert_ne!(unreadable(&later), unreadable(&state()));
    }

    #[test]
    fn an_alias_that_is_not_shown_makes_a_reading_incomplete() {
        let mut aliased = state();
        aliased["metadata"]["indices"]["logs"]["aliases"] = json!(["a"]);
        let read = |aliases: &str| {
            let state = aliased.to_string();
            let read = Metadata::read(&target("a"), state.as_bytes(), Some(b"{}"), aliases.as_bytes());
            read.map(|_| ()).map_err(|refusal| (refusal.reason, refusal.place))
        };
        let incomplete = Err((Reason::GenerationIncomplete, "logs.aliases.a".to_owned()));
        assert_eq!(read("{}"), incomplete);
        assert_eq!(read(r#"{"logs":{"aliases":{"b":{}}}}"#), incomplete);
        assert_eq!(read(r#"{"logs":{"aliases":{"a":{}}}}"#), Ok(()));
    }

    #[test]
    fn the_cache_setting_of_one_index_is_the_targets() {
        assert_eq!(read(&state(), "{}", "{}").property().cache_disabled, None);
        let mut off = state();
        off["metadata"]["indices"]["logs"]["settings"]["index"]["requests"] =
            json!({"cache": {"enable": "false"}});
        assert_eq!(read(&off, "{}", "{}").property().cache_disabled.as_deref(), Some("logs"));
    }

    #[test]
    fn a_state_without_what_is_needed_is_unknown() {
        for missing in ["cluster_uuid", "state_uuid", "version"] {
            let mut without = state();
            without.as_object_mut().unwrap().remove(missing);
            let read = Metadata::read(&target("a"), without.to_string().as_bytes(), Some(b"{}"), b"{}");
            assert!(read.is_err(), "{missing}");
        }
    }
}
