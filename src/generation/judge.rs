//! What of indices, aliases and settings of the cluster keeps the answers of a target out of the cache, whatever the
//! request: they can change without a trace in any counter or in the cluster state (docs/exactness.md).

use serde_json::Value;

use crate::cacheability;
use crate::elastic::json;
use crate::elastic::target::Target;
use crate::outcome::{Reason, Refusal};

/// An index: its search pipeline, its analyzers, and what its mapping computes when it is searched.
pub(super) fn index(name: &str, index: &Value) -> Option<Refusal> {
    let settings = &index["settings"]["index"];
    let at = |reason, place: &str| Some(Refusal::at(reason, format!("{name}.{place}")));
    if settings["search"]["default_pipeline"].as_str().is_some_and(|p| p != "_none") {
        return at(Reason::DefaultPipeline, "settings.index.search.default_pipeline");
    }
    for (kind, components) in settings["analysis"].as_object().into_iter().flatten() {
        for (component, options) in components.as_object().into_iter().flatten() {
            let reloads = is(&options["updateable"], "true")
                || !options["synonyms_set"].is_null()
                || ["type", "tokenizer", "filter", "char_filter"]
                    .iter()
                    .any(|part| reloading(&options[part]).is_some());
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
    if index["field_inference"].as_object().is_some_and(|fields| !fields.is_empty()) {
        return at(Reason::InferenceField, "field_inference");
    }
    for mapping in index["mappings"].as_object().into_iter().flat_map(serde_json::Map::values) {
        if let Some(analyzer) = reloading(mapping) {
            return at(Reason::ReloadableAnalyzer, &format!("mappings: {analyzer}"));
        }
        if asks_a_service(mapping) {
            return at(Reason::InferenceField, "mappings");
        }
    }
    None
}

/// The place where an index gives the name of a built-in analyzer to one of its own, which may make other words.
pub(super) fn own_analyzer(name: &str, settings: &Value) -> Option<String> {
    let own = settings["analysis"]["analyzer"].as_object()?.keys();
    let known = own.into_iter().find(|analyzer| cacheability::analyzers::is_known(analyzer))?;
    Some(format!("{name}.settings.index.analysis.analyzer.{known}"))
}

/// A2: the search that fills an entry must keep its shard awake until the next scheduled refresh.
pub(super) fn idle(
    name: &str,
    settings: &Value,
    idle_after: Option<u64>,
    default_refresh: Option<u64>,
) -> Option<Refusal> {
    if !settings["refresh_interval"].is_null() {
        return None;
    }
    // what OpenSearch pulls for itself gets no sequence number (`IngestionEngine`), so nothing shows that it waits
    if !settings["ingestion_source"]["type"].is_null() {
        return Some(Refusal::at(Reason::SearchIdle, format!("{name}.settings.index.ingestion_source")));
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

/// `index.search.idle.after` in milliseconds; `None` if it is not understood.
pub(super) fn idle_after(settings: &Value) -> Option<u64> {
    match &settings["search"]["idle"]["after"] {
        Value::Null => Some(USUAL_IDLE_AFTER),
        written => millis(written.as_str()?),
    }
}

/// How often shards are refreshed whose index does not say, in milliseconds; `None` if it is not understood, as where it
/// is `-1`: then there is no scheduled refresh.
pub(super) fn default_refresh(cluster_settings: &Value) -> Option<u64> {
    let written = ["transient", "persistent", "defaults"]
        .iter()
        .map(|level| &cluster_settings[level][DEFAULT_REFRESH])
        .find(|value| !value.is_null());
    written.map_or(Some(USUAL_REFRESH), |written| millis(written.as_str()?))
}

/// A built-in component of a plugin that a mapping or an analyzer names, and that reloads its dictionary.
fn reloading(named: &Value) -> Option<&str> {
    match named {
        Value::String(name) => cacheability::analyzers::reloads(name).then_some(name),
        Value::Object(members) => members.values().find_map(reloading),
        Value::Array(names) => names.iter().find_map(reloading),
        _ => None,
    }
}

/// A field whose searches ask an inference service, as a mapping has it (`SemanticTextFieldMapper`).
fn asks_a_service(mapping: &Value) -> bool {
    match mapping {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name == "inference_id" && value.is_string() || asks_a_service(value)),
        _ => false,
    }
}

/// An alias filter is a query, and judged as one: by the allow-list. One that the target cannot reach is none of its own.
pub(super) fn aliases(target: &Target, aliases: &Value) -> Option<Refusal> {
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

/// Whether a filter finds the same as long as no counter moves.
fn is_plain(filter: &Value) -> bool {
    let text = filter.to_string();
    json::parse(text.as_bytes()).is_ok_and(|mut filter| cacheability::judge_query(None, &mut filter).is_ok())
}

/// The filters of data stream aliases are in the state alone, for all data streams: none of them may be, while the
/// target has the backing index of one, unless it is that of an alias which the target cannot reach.
pub(super) fn data_streams(target: &Target, metadata: &Value) -> Option<Refusal> {
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
pub(super) fn is(value: &Value, text: &str) -> bool {
    match value {
        Value::String(s) => s == text,
        Value::Bool(b) => (if *b { "true" } else { "false" }) == text,
        _ => false,
    }
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

    use super::super::Metadata;
    use super::super::metadata::tests::{read, state, target};
    use super::*;

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
        for analysis in [
            json!({"analyzer": {"zh": {"type": "custom", "tokenizer": "ik_smart"}}}),
            json!({"analyzer": {"default": {"tokenizer": "standard", "filter": ["lowercase", "dynamic_synonym"]}}}),
            json!({"tokenizer": {"mine": {"type": "ik_max_word"}}}),
        ] {
            check_refusal("/settings/index/analysis", analysis, Some(Reason::ReloadableAnalyzer));
        }
        let plain = json!({"analyzer": {"a": {"tokenizer": "standard", "filter": ["lowercase", "ik"]}}});
        check_refusal("/settings/index/analysis", plain, None);
        let inferred = json!({"_doc": {"properties": {"t": {"inference_id": "e"}}}});
        check_refusal("/mappings", inferred, Some(Reason::InferenceField));
        // a field that has the name
        check_refusal(
            "/mappings",
            json!({"_doc": {"properties": {"inference_id": {"analyzer": "english"}}}}),
            None,
        );
        check_refusal("/field_inference", json!({"t": {"inference_id": "e"}}), Some(Reason::InferenceField));
        check_refusal("/field_inference", json!({}), None);
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
    fn an_analyzer_of_its_own_under_a_known_name() {
        for (analyzer, expected) in [
            (json!({"mine": {"type": "standard"}}), None),
            (
                json!({"standard": {"type": "standard"}}),
                Some("logs.settings.index.analysis.analyzer.standard"),
            ),
            (
                json!({"a": {"type": "stop"}, "english": {"tokenizer": "standard", "filter": ["syn"]}}),
                Some("logs.settings.index.analysis.analyzer.english"),
            ),
        ] {
            let mut changed = state();
            changed["metadata"]["indices"]["logs"]["settings"]["index"]["analysis"] =
                json!({"analyzer": analyzer});
            let metadata = read(&changed, "{}", "{}");
            assert_eq!(metadata.property().own_analyzer.as_deref(), expected);
            assert_eq!(metadata.refusal(), None);
        }
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
        // what waits in it has no sequence number
        let pulled = json!({"type": "kafka"});
        let mut sleeps = state();
        sleeps["metadata"]["indices"]["logs"]["settings"]["index"]["ingestion_source"] = pulled.clone();
        let place = "logs.settings.index.ingestion_source".to_owned();
        assert_eq!(refused(&sleeps, "{}"), Some((Reason::SearchIdle, place)));
        explicit["metadata"]["indices"]["logs"]["settings"]["index"]["ingestion_source"] = pulled;
        assert_eq!(refused(&explicit, "{}"), None, "it never sleeps");
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
        let analyzed = r#"{"match":{"f":{"query":"a","analyzer":"standard"}}}"#;
        assert_eq!(filter(analyzed), Some(Reason::AliasFilter), "an index may have another one of that name");
        assert_eq!(filter(r#"{"match":{"f":"a"}}"#), None);
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
}
