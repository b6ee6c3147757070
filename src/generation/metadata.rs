//! The metadata digest: what of the cluster state can change an answer (docs/exactness.md), and the properties of
//! indices that decide whether they may be cached.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::changes::small;
use super::digest_unordered;
use crate::cacheability;
use crate::elastic::json;
use crate::elastic::target::Target;
use crate::outcome::{Reason, Refusal};

/// The `filter_path` that keeps `/_cluster/state/metadata,routing_table,nodes/{target}` to what [`Metadata`] reads.
pub const METADATA_FILTER: &str = concat!(
    "cluster_uuid,version,state_uuid,",
    "metadata.indices.*.mapping_version,metadata.indices.*.settings_version,metadata.indices.*.aliases_version,",
    "metadata.indices.*.state,metadata.indices.*.primary_terms,metadata.indices.*.aliases,",
    "metadata.indices.*.settings.index.uuid,metadata.indices.*.settings.index.number_of_shards,",
    "metadata.indices.*.settings.index.refresh_interval,metadata.indices.*.settings.index.requests,",
    "metadata.indices.*.settings.index.search,",
    "metadata.indices.*.settings.index.analysis.*.*.updateable,",
    "metadata.indices.*.settings.index.analysis.*.*.synonyms_set,",
    "metadata.indices.*.settings.index.analysis.*.*.type,",
    "metadata.indices.*.mappings.*.runtime,metadata.indices.*.mappings.*.derived,",
    "metadata.indices.*.mappings.**.analyzer,metadata.indices.*.mappings.**.search_analyzer,",
    "metadata.indices.*.mappings.**.search_quote_analyzer,",
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

/// Properties of the indices of a target that the request itself can override.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Property {
    /// The first one on which `index.requests.cache.enable` is false.
    pub cache_disabled: Option<Box<str>>,
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
        let default_refresh = default_refresh(&settings);
        let mut refusal =
            judge_aliases(target, &aliases).or_else(|| judge_data_streams(target, &state.metadata));
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
            if property.cache_disabled.is_none() && is(&settings["requests"]["cache"]["enable"], "false") {
                property.cache_disabled = Some(name.as_str().into());
            }
            let idle_after = idle_after(settings);
            refusal = refusal.or_else(|| judge_index(name, index));
            refusal = refusal.or_else(|| judge_idle(name, settings, idle_after, default_refresh));
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

    /// Properties that a request can override.
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

/// Tokenizers and filters of plugins that reload their dictionaries without a trace in the engine.
const RELOADING_TYPES: &[&str] = &["ik_max_word", "ik_smart", "dynamic_synonym", "hanlp", "pinyin_dynamic"];

fn judge_index(name: &str, index: &Value) -> Option<Refusal> {
    let settings = &index["settings"]["index"];
    let at = |reason, place: &str| Some(Refusal::at(reason, format!("{name}.{place}")));
    if settings["search"]["default_pipeline"].as_str().is_some_and(|p| p != "_none") {
        return at(Reason::DefaultPipeline, "settings.index.search.default_pipeline");
    }
    for (kind, components) in settings["analysis"].as_object().into_iter().flatten() {
        for (component, options) in components.as_object().into_iter().flatten() {
            let reloads = is(&options["updateable"], "true")
                || !options["synonyms_set"].is_null()
                || options["type"].as_str().is_some_and(|t| RELOADING_TYPES.contains(&t));
            if reloads {
                return at(
                    Reason::ReloadableAnalyzer,
                    &format!("settings.index.analysis.{kind}.{component}"),
                );
            }
        }
    }
    for mapping in index["mappings"].as_object().into_iter().flat_map(serde_json::Map::values) {
        for section in ["runtime", "derived"] {
            for (field, definition) in mapping[section].as_object().into_iter().flatten() {
                if !definition["script"].is_null() || is(&definition["type"], "lookup") {
                    return at(Reason::RuntimeField, &format!("mappings.{section}.{field}"));
                }
            }
        }
    }
    for mapping in index["mappings"].as_object().into_iter().flat_map(serde_json::Map::values) {
        if let Some(analyzer) = names_reloading(mapping) {
            return at(Reason::ReloadableAnalyzer, &format!("mappings: {analyzer}"));
        }
    }
    None
}

/// A2: the search that fills an entry must keep its shard awake until the next scheduled refresh.
fn judge_idle(
    name: &str,
    settings: &Value,
    idle_after: Option<u64>,
    default_refresh: Option<u64>,
) -> Option<Refusal> {
    if !settings["refresh_interval"].is_null() {
        return None;
    }
    let enough = |refresh: u64| idle_after.is_some_and(|idle_after| idle_after >= refresh.saturating_mul(2));
    if !enough(USUAL_REFRESH) {
        return Some(Refusal::at(Reason::SearchIdle, format!("{name}.settings.index.search.idle.after")));
    }
    (!default_refresh.is_some_and(enough)).then(|| Refusal::at(Reason::SearchIdle, DEFAULT_REFRESH))
}

/// How often shards are refreshed where neither index nor cluster says, in milliseconds.
const USUAL_REFRESH: u64 = 1_000;

/// How long a search keeps its shard from sleeping where the index does not say, in milliseconds.
const USUAL_IDLE_AFTER: u64 = 30_000;

/// OpenSearch's setting for indices without an interval of their own. It does not keep them from sleeping.
const DEFAULT_REFRESH: &str = "cluster.default.index.refresh_interval";

/// In milliseconds; `None` if it is not understood.
fn idle_after(settings: &Value) -> Option<u64> {
    match &settings["search"]["idle"]["after"] {
        Value::Null => Some(USUAL_IDLE_AFTER),
        written => millis(written.as_str()?),
    }
}

/// In milliseconds; `None` if it is not understood, as where it is `-1`: then there is no scheduled refresh.
fn default_refresh(cluster_settings: &Value) -> Option<u64> {
    let written = ["transient", "persistent", "defaults"]
        .iter()
        .map(|level| &cluster_settings[level][DEFAULT_REFRESH])
        .find(|value| !value.is_null());
    written.map_or(Some(USUAL_REFRESH), |written| millis(written.as_str()?))
}

/// A built-in analyzer of such a plugin that a mapping names.
fn names_reloading(mapping: &Value) -> Option<&str> {
    match mapping {
        Value::String(name) => RELOADING_TYPES.contains(&name.as_str()).then_some(name),
        Value::Object(members) => members.values().find_map(names_reloading),
        _ => None,
    }
}

/// An alias filter is a query, and judged as one: by the allow-list. One that the target cannot reach is none of its own.
fn judge_aliases(target: &Target, aliases: &Value) -> Option<Refusal> {
    for (index, entry) in aliases.as_object()? {
        for (alias, definition) in entry["aliases"].as_object().into_iter().flatten() {
            let filter = &definition["filter"];
            if !filter.is_null() && !is_plain(filter) && target.may_name(alias) {
                return Some(Refusal::at(Reason::AliasFilter, format!("{index}.aliases.{alias}")));
            }
        }
    }
    None
}

fn is_plain(filter: &Value) -> bool {
    let text = filter.to_string();
    json::parse(text.as_bytes()).is_ok_and(|mut filter| cacheability::judge_query(None, &mut filter).is_ok())
}

/// The filters of data stream aliases are in the state alone, for all data streams: none of them may be, while the
/// target has the backing index of one, unless it is that of an alias which the target cannot reach.
fn judge_data_streams(target: &Target, metadata: &Value) -> Option<Refusal> {
    fn has_filter(value: &Value) -> bool {
        match value {
            Value::Object(members) => members.iter().any(|(name, value)| {
                let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                (matches!(name.as_str(), "filter" | "filters") && !empty) || has_filter(value)
            }),
            Value::Array(elements) => elements.iter().any(has_filter),
            _ => false,
        }
    }
    let backing = metadata["indices"].as_object()?.keys().any(|name| name.starts_with(".ds-"));
    let streams = metadata["data_stream"].as_object().filter(|_| backing)?;
    for (section, content) in streams {
        match content.as_object().filter(|_| section == "data_stream_aliases") {
            None if has_filter(content) => return Some(Refusal::at(Reason::AliasFilter, "data_stream")),
            None => {}
            Some(aliases) => {
                let reached =
                    |(alias, content): &(&String, &Value)| has_filter(content) && target.may_name(alias);
                if let Some((alias, _)) = aliases.iter().find(reached) {
                    return Some(Refusal::at(Reason::AliasFilter, format!("data_stream_aliases.{alias}")));
                }
            }
        }
    }
    None
}

/// A setting that the engines show as text, but may show as a JSON value.
fn is(value: &Value, text: &str) -> bool {
    match value {
        Value::String(s) => s == text,
        Value::Bool(b) => (if *b { "true" } else { "false" }) == text,
        _ => false,
    }
}

fn number(value: &Value) -> Option<usize> {
    value.as_str().and_then(|s| s.parse().ok()).or_else(|| value.as_u64()?.try_into().ok())
}

/// An ES time value in milliseconds, for the units that make sense here.
fn millis(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(split);
    let scale = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(scale)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::elastic::params::Params;

    fn target(expression: &str) -> Target {
        Target::new(Some(expression), &Params::default())
    }

    fn state() -> Value {
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

    fn read(state: &Value, settings: &str, aliases: &str) -> Metadata {
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

    #[track_caller]
    fn check_refusal(pointer: &str, value: Value, expected: Option<Reason>) {
        let mut changed = state();
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        let mut at = &mut changed["metadata"]["indices"]["logs"];
        for step in parent.split('/').filter(|s| !s.is_empty()) {
            at = &mut at[step];
        }
        at[last] = value;
        assert_eq!(read(&changed, "{}", "{}").refusal().map(|r| r.reason), expected, "{pointer}");
    }

    #[test]
    fn properties_that_no_counter_shows_are_refused() {
        check_refusal(
            "/settings/index/search",
            json!({"default_pipeline": "p"}),
            Some(Reason::DefaultPipeline),
        );
        check_refusal("/settings/index/search", json!({"default_pipeline": "_none"}), None);
        check_refusal("/settings/index/search", json!({"idle": {"after": "0s"}}), Some(Reason::SearchIdle));
        check_refusal("/settings/index/search", json!({"idle": {"after": "30s"}}), None);
        check_refusal("/settings/index/search", json!({"idle": {"after": "1.5h"}}), Some(Reason::SearchIdle));
        check_refusal(
            "/settings/index/analysis",
            json!({"filter": {"syn": {"type": "synonym", "updateable": "true"}}}),
            Some(Reason::ReloadableAnalyzer),
        );
        check_refusal(
            "/settings/index/analysis",
            json!({"filter": {"syn": {"synonyms_set": "mine"}}}),
            Some(Reason::ReloadableAnalyzer),
        );
        check_refusal("/settings/index/analysis", json!({"filter": {"syn": {"type": "stop"}}}), None);
        check_refusal(
            "/mappings",
            json!({"_doc": {"runtime": {"f": {"type": "long", "script": {"source": "emit(1)"}}}}}),
            Some(Reason::RuntimeField),
        );
        check_refusal("/mappings", json!({"_doc": {"runtime": {"f": {"type": "long"}}}}), None);
        let mapped =
            |analyzer| json!({"_doc": {"properties": {"t": {"fields": {"x": {"analyzer": analyzer}}}}}});
        check_refusal("/mappings", mapped("ik_max_word"), Some(Reason::ReloadableAnalyzer));
        check_refusal("/mappings", mapped("english"), None);
    }

    #[test]
    fn shards_must_be_refreshed_before_they_sleep_again() {
        let refused = |state: &Value, settings: &str| {
            read(state, settings, "{}").refusal().map(|r| (r.reason, r.place.clone()))
        };
        let by_cluster = |level: &str, interval: &str| {
            format!(r#"{{"{level}":{{"cluster.default.index.refresh_interval":"{interval}"}}}}"#)
        };
        let cluster = Some((Reason::SearchIdle, DEFAULT_REFRESH.to_owned()));
        for level in ["persistent", "transient", "defaults"] {
            assert_eq!(refused(&state(), &by_cluster(level, "15s")), None, "30 s is enough for it");
            assert_eq!(refused(&state(), &by_cluster(level, "16s")), cluster, "{level}");
            assert_eq!(refused(&state(), &by_cluster(level, "-1")), cluster, "{level}");
        }
        let both = r#"{"persistent":{"cluster.default.index.refresh_interval":"1s"},
            "defaults":{"cluster.default.index.refresh_interval":"60s"}}"#;
        assert_eq!(refused(&state(), both), None);
        let mut explicit = state();
        explicit["metadata"]["indices"]["logs"]["settings"]["index"]["refresh_interval"] = json!("60s");
        assert_eq!(refused(&explicit, &by_cluster("persistent", "60s")), None, "it never sleeps");
    }

    #[test]
    fn alias_filters_that_may_move_by_themselves_are_refused() {
        let filter = |f: &str| {
            let aliases = format!(r#"{{"logs":{{"aliases":{{"a":{{"filter":{f}}}}}}}}}"#);
            read(&state(), "{}", &aliases).refusal().map(|r| r.reason)
        };
        assert_eq!(filter(r#"{"range":{"@timestamp":{"gte":"now-1d"}}}"#), Some(Reason::AliasFilter));
        assert_eq!(filter(r#"{"wrapper":{"query":"e30="}}"#), Some(Reason::AliasFilter));
        assert_eq!(
            filter(r#"{"terms":{"id":{"index":"x","id":"1","path":"p"}}}"#),
            Some(Reason::AliasFilter)
        );
        assert_eq!(filter(r#"{"term":{"team":"b"}}"#), None);
        assert_eq!(filter(r#"{"bool":{"filter":[{"range":{"n":{"gte":1}}}]}}"#), None);
    }

    #[test]
    fn the_filter_of_an_alias_is_no_matter_of_who_does_not_name_it() {
        let moving = r#"{"logs":{"aliases":{"recent":{"filter":{"range":{"at":{"gte":"now-1d"}}}}}}}"#;
        let refused = |expression: &str, state: &Value, aliases: &str| {
            let state = state.to_string();
            let read = Metadata::read(&target(expression), state.as_bytes(), Some(b"{}"), aliases.as_bytes());
            read.unwrap().refusal().map(|refusal| refusal.place.clone())
        };
        let by_alias = Some("logs.aliases.recent".to_owned());
        for expression in ["recent", "logs,recent", "rec*", "*", "", "<recent>", "log*,r*"] {
            assert_eq!(refused(expression, &state(), moving), by_alias, "{expression}");
        }
        for expression in ["logs", "log*", "logs,other", "l*,-recent"] {
            assert_eq!(refused(expression, &state(), moving), None, "{expression}");
        }
        let mut streams = state();
        let index = streams["metadata"]["indices"]["logs"].clone();
        streams["metadata"]["indices"] = json!({".ds-logs-1": index});
        streams["metadata"]["data_stream"] = json!({
            "data_stream": {"logs": {"name": "logs", "template": null, "filter": {}}},
            "data_stream_aliases": {
                "recent": {"data_streams": ["logs"], "filters": {"logs": {"range": {}}}},
                "plain": {"data_streams": ["logs"], "filters": {}}
            }
        });
        assert_eq!(refused("recent", &streams, "{}"), Some("data_stream_aliases.recent".to_owned()));
        assert_eq!(refused("*", &streams, "{}"), Some("data_stream_aliases.recent".to_owned()));
        assert_eq!(refused("logs", &streams, "{}"), None);
        assert_eq!(refused("plain", &streams, "{}"), None);
        // a shape that is not known
        streams["metadata"]["data_stream"] = json!({"aliases": {"recent": {"filter": {"range": {}}}}});
        assert_eq!(refused("logs", &streams, "{}"), Some("data_stream".to_owned()));
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
