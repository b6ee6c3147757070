//! The URL parameters of the reads that may be answered from the cache.

use crate::elastic::api::Api;
use crate::elastic::params::Params;
use crate::outcome::{Reason, Refusal};

use super::analyzers;
use super::dates;
use super::grammar::{ALL, ES, ES7, ES9, ES89, Engines, OS};
use super::walk;

/// A parameter in the query string.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) engines: Engines,
    pub(super) apis: &'static [Api],
    pub(super) rule: Rule,
}

/// What a parameter means for the cache.
#[derive(Debug)]
pub(super) enum Rule {
    /// Allowed, with any value.
    Allowed,
    /// The text of a query in Lucene's syntax.
    QueryText,
    /// The name of an analyzer whose words are known (see `Kind::DateAnalyzer`).
    Analyzer,
    /// Allowed with the first values, refused with others.
    Only(&'static [&'static str], Reason, &'static str),
}

const EVERY: &[Api] = &Api::READS;
/// Those that ask for a query.
const QUERIES: &[Api] = &[Api::Search, Api::Count, Api::ValidateQuery, Api::Explain];
/// Those that may have their body in the query string.
const SOURCES: &[Api] =
    &[Api::Search, Api::Count, Api::ValidateQuery, Api::Explain, Api::FieldCaps, Api::TermsEnum];
/// Those that name more than one index, with its options.
const TARGETS: &[Api] = &[
    Api::Search,
    Api::Count,
    Api::SearchTemplate,
    Api::ValidateQuery,
    Api::FieldCaps,
    Api::GetIndex,
    Api::GetMapping,
    Api::GetFieldMapping,
    Api::GetSettings,
    Api::GetAlias,
    Api::ResolveIndex,
];
/// Those that read metadata and could ask any node for its own state.
const METADATA: &[Api] = &Api::METADATA;
const SETTINGS: &[Api] = &[Api::GetIndex, Api::GetSettings];
const MAPPINGS: &[Api] = &[Api::GetIndex, Api::GetMapping, Api::GetFieldMapping];
const MASTER: &[Api] = &[Api::GetIndex, Api::GetMapping, Api::GetSettings];
const SHARDS: &[Api] = &[Api::Search, Api::Count, Api::SearchTemplate, Api::Explain];
const SEARCHES: &[Api] = &[Api::Search, Api::SearchTemplate];
const DOCUMENTS: &[Api] = &[Api::Search, Api::Explain];
const SEARCH: &[Api] = &[Api::Search];
const ASYNCHRONOUS: &[Api] = &[Api::AsyncSearch, Api::AsynchronousSearch];
const FIELD_CAPS: &[Api] = &[Api::FieldCaps];
const VALIDATE: &[Api] = &[Api::ValidateQuery];

/// The sets of endpoints by their names for people.
const SETS: &[(&[Api], &str)] = &[
    (EVERY, "every"),
    (ASYNCHRONOUS, "asynchronous"),
    (SEARCHES, "searches"),
    (QUERIES, "with a query"),
    (SOURCES, "with a body"),
    (TARGETS, "with indices"),
    (METADATA, "of metadata"),
];

/// A set of endpoints as the page shows it.
pub(super) fn name_of(apis: &[Api]) -> String {
    let set = SETS.iter().find(|(set, _)| *set == apis);
    set.map_or_else(
        || apis.iter().map(|api| api.name()).collect::<Vec<_>>().join(", "),
        |(_, name)| (*name).to_owned(),
    )
}

/// What the names of sets mean.
pub(super) fn sets() -> impl Iterator<Item = (&'static str, String)> {
    SETS.iter().map(|(set, name)| (*name, set.iter().map(|api| api.name()).collect::<Vec<_>>().join(", ")))
}

const fn allowed(name: &'static str, apis: &'static [Api]) -> Parameter {
    Parameter { name, engines: ALL, apis, rule: Rule::Allowed }
}

const fn only(
    name: &'static str,
    values: &'static [&'static str],
    reason: Reason,
    why: &'static str,
) -> Parameter {
    only_of(SEARCH, name, values, reason, why)
}

const fn only_of(
    apis: &'static [Api],
    name: &'static str,
    values: &'static [&'static str],
    reason: Reason,
    why: &'static str,
) -> Parameter {
    Parameter { name, engines: ALL, apis, rule: Rule::Only(values, reason, why) }
}

impl Parameter {
    const fn on(self, engines: Engines) -> Parameter {
        Parameter { engines, ..self }
    }
}

/// All that are known: `RestSearchAction`, `RestCountAction`, `RestFieldCapabilitiesAction`, `RestValidateQueryAction`,
/// `RestExplainAction`, `RestGetIndicesAction` and its like, `RestActions.urlParamsToQueryBuilder`,
/// `IndicesOptions.fromRequest`, `AbstractRestChannel`.
pub(super) static PARAMETERS: &[Parameter] = &[
    // -- the shape of any answer
    allowed("error_trace", EVERY),
    allowed("filter_path", EVERY),
    allowed("format", EVERY),
    allowed("human", EVERY),
    allowed("include_source_on_error", &[Api::Search, Api::Count]).on(ES89),
    allowed("pretty", EVERY),
    // -- the target
    allowed("allow_no_indices", TARGETS),
    allowed("expand_wildcards", TARGETS),
    allowed("ignore_throttled", TARGETS),
    allowed("ignore_unavailable", TARGETS),
    allowed("preference", SHARDS),
    allowed("routing", SHARDS),
    // -- a body in the query string (the caller decodes it)
    allowed("source", SOURCES),
    allowed("source_content_type", SOURCES),
    // -- a query in the query string
    allowed("analyze_wildcard", QUERIES),
    Parameter { name: "analyzer", engines: ALL, apis: QUERIES, rule: Rule::Analyzer },
    allowed("default_operator", QUERIES),
    allowed("df", QUERIES),
    allowed("lenient", QUERIES),
    Parameter { name: "q", engines: ALL, apis: QUERIES, rule: Rule::QueryText },
    // -- what the body could say, too
    allowed("_source", DOCUMENTS),
    allowed("_source_exclude_vectors", SEARCH).on(ES9),
    allowed("_source_excludes", DOCUMENTS),
    allowed("_source_includes", DOCUMENTS),
    allowed("docvalue_fields", SEARCH),
    allowed("from", SEARCH),
    allowed("include_named_queries_score", SEARCH).on(ES89.and(OS)),
    allowed("min_score", &[Api::Count]),
    allowed("seq_no_primary_term", SEARCH),
    allowed("size", SEARCH),
    allowed("sort", SEARCH),
    allowed("stats", SEARCH),
    allowed("stored_fields", DOCUMENTS),
    allowed("suggest_field", SEARCH),
    allowed("suggest_mode", SEARCH),
    allowed("suggest_size", SEARCH),
    allowed("suggest_text", SEARCH),
    allowed("terminate_after", &[Api::Search, Api::Count]),
    allowed("timeout", SEARCH),
    allowed("track_scores", SEARCH),
    allowed("track_total_hits", SEARCH),
    allowed("version", SEARCH),
    only("explain", &["false"], Reason::Diagnostic, "it explains each hit"),
    // -- the shape of a search's answer
    allowed("rest_total_hits_as_int", SEARCHES),
    allowed("typed_keys", SEARCHES),
    // -- field capabilities
    allowed("fields", FIELD_CAPS),
    allowed("filters", FIELD_CAPS).on(ES89),
    allowed("include_unmapped", FIELD_CAPS),
    allowed("types", FIELD_CAPS).on(ES89),
    only_of(
        FIELD_CAPS,
        "include_empty_fields",
        &["true"],
        Reason::NotYet,
        "segments tell which fields are empty",
    )
    .on(ES89),
    // -- the validation of a query
    only_of(VALIDATE, "all_shards", &["false"], Reason::Diagnostic, "it tells of each shard"),
    only_of(VALIDATE, "explain", &["false"], Reason::Diagnostic, "it tells of a shard that chance chooses"),
    only_of(VALIDATE, "rewrite", &["false"], Reason::Diagnostic, "it tells of a shard that chance chooses"),
    // -- metadata
    allowed("cluster_manager_timeout", MASTER).on(OS),
    allowed("features", &[Api::GetIndex]).on(ES89),
    allowed("flat_settings", SETTINGS),
    allowed("include_type_name", MAPPINGS).on(ES7),
    allowed("master_timeout", MASTER),
    allowed("include_defaults", &[Api::GetFieldMapping]),
    only_of(SETTINGS, "include_defaults", &["false"], Reason::NotYet, "each node has its own defaults"),
    only_of(METADATA, "local", &["false"], Reason::NotYet, "a node's own state may be an old one"),
    // -- how the search is carried out
    allowed("allow_partial_search_results", SEARCHES),
    allowed("batched_reduce_size", SEARCHES),
    allowed("ccs_minimize_roundtrips", SEARCHES),
    allowed("enable_fields_emulation", SEARCH).on(ES7),
    allowed("force_synthetic_source", SEARCH).on(ES89),
    allowed("max_concurrent_shard_requests", SEARCHES),
    allowed("min_compatible_shard_node", SEARCH).on(ES),
    allowed("pre_filter_shard_size", SEARCHES),
    allowed("request_cache", SEARCHES),
    only("cancel_after_time_interval", &[], Reason::Diagnostic, "it may cut the search off").on(OS),
    // -- how long an asynchronous search is waited for, and kept
    allowed("index", &[Api::AsynchronousSearch]).on(OS),
    allowed("keep_alive", ASYNCHRONOUS),
    only_of(
        ASYNCHRONOUS,
        "keep_on_completion",
        &["false"],
        Reason::Stateful,
        "it keeps the answer on the engine",
    ),
    allowed("wait_for_completion_timeout", ASYNCHRONOUS),
    only("keep_alive", &[], Reason::Stateful, "it keeps state on the engine"),
    only("phase_took", &["false"], Reason::Diagnostic, "its times differ in each answer").on(OS),
    only_of(SEARCHES, "scroll", &[], Reason::Stateful, "a scroll is state on the engine"),
    only("search_pipeline", &["_none"], Reason::SearchPipeline, "it may change the request and the answer")
        .on(OS),
    only_of(
        SEARCHES,
        "search_type",
        &["query_then_fetch"],
        Reason::Diagnostic,
        "statistics of all shards are collected first",
    ),
    only("verbose_pipeline", &["false"], Reason::SearchPipeline, "it shows the times of processors").on(OS),
];

/// Judges the query string.
pub(super) fn judge(api: Api, engine: Option<Engines>, params: &Params<'_>) -> Result<(), Refusal> {
    for (name, value) in params.iter() {
        let known = PARAMETERS.iter().find(|known| {
            // an asynchronous search has all that a search has
            let of_a_search = api.is_asynchronous() && known.apis.contains(&Api::Search);
            known.name == name
                && (known.apis.contains(&api) || of_a_search)
                && engine.is_none_or(|engine| known.engines.has(engine))
        });
        let reason = match known.map(|known| &known.rule) {
            None => Reason::UnknownParameter,
            Some(Rule::QueryText)
                if dates::in_query_text(value)
                    || params.get("analyzer").is_some() && dates::in_analyzed_query_text(value) =>
            {
                return Err(Refusal::at(Reason::Now, format!("{name}: now")));
            }
            Some(Rule::Analyzer) if analyzers::reloads(value) => Reason::Lookup,
            Some(Rule::Analyzer) if !analyzers::is_known(value) => Reason::Now,
            Some(Rule::Only(values, reason, _)) if !values.contains(&value) => *reason,
            Some(Rule::Allowed | Rule::QueryText | Rule::Analyzer | Rule::Only(..)) => continue,
        };
        return Err(Refusal::at(reason, walk::fit_for_a_header(name)));
    }
    Ok(())
}
