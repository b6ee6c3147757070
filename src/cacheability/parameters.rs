//! The URL parameters of a search and a count.

use crate::elastic::api::Api;
use crate::elastic::params::Params;
use crate::outcome::{Reason, Refusal};

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
    /// Allowed with the first values, refused with others.
    Only(&'static [&'static str], Reason, &'static str),
}

const BOTH: &[Api] = &[Api::Search, Api::Count];
const SEARCH: &[Api] = &[Api::Search];

const fn allowed(name: &'static str, apis: &'static [Api]) -> Parameter {
    Parameter { name, engines: ALL, apis, rule: Rule::Allowed }
}

const fn only(
    name: &'static str,
    values: &'static [&'static str],
    reason: Reason,
    why: &'static str,
) -> Parameter {
    Parameter { name, engines: ALL, apis: SEARCH, rule: Rule::Only(values, reason, why) }
}

impl Parameter {
    const fn on(self, engines: Engines) -> Parameter {
        Parameter { engines, ..self }
    }
}

/// All that are known: `RestSearchAction`, `RestCountAction`, `RestActions.urlParamsToQueryBuilder`,
/// `IndicesOptions.fromRequest`, `AbstractRestChannel`.
pub(super) static PARAMETERS: &[Parameter] = &[
    // -- the shape of any answer
    allowed("error_trace", BOTH),
    allowed("filter_path", BOTH),
    allowed("format", BOTH),
    allowed("human", BOTH),
    allowed("include_source_on_error", BOTH).on(ES89),
    allowed("pretty", BOTH),
    // -- the target
    allowed("allow_no_indices", BOTH),
    allowed("expand_wildcards", BOTH),
    allowed("ignore_throttled", BOTH),
    allowed("ignore_unavailable", BOTH),
    allowed("preference", BOTH),
    allowed("routing", BOTH),
    // -- a body in the query string (the caller decodes it)
    allowed("source", BOTH),
    allowed("source_content_type", BOTH),
    // -- a query in the query string
    allowed("analyze_wildcard", BOTH),
    allowed("analyzer", BOTH),
    allowed("default_operator", BOTH),
    allowed("df", BOTH),
    allowed("lenient", BOTH),
    Parameter { name: "q", engines: ALL, apis: BOTH, rule: Rule::QueryText },
    // -- what the body could say, too
    allowed("_source", SEARCH),
    allowed("_source_exclude_vectors", SEARCH).on(ES9),
    allowed("_source_excludes", SEARCH),
    allowed("_source_includes", SEARCH),
    allowed("docvalue_fields", SEARCH),
    allowed("from", SEARCH),
    allowed("include_named_queries_score", SEARCH).on(ES89.and(OS)),
    allowed("min_score", &[Api::Count]),
    allowed("seq_no_primary_term", SEARCH),
    allowed("size", SEARCH),
    allowed("sort", SEARCH),
    allowed("stats", SEARCH),
    allowed("stored_fields", SEARCH),
    allowed("suggest_field", SEARCH),
    allowed("suggest_mode", SEARCH),
    allowed("suggest_size", SEARCH),
    allowed("suggest_text", SEARCH),
    allowed("terminate_after", BOTH),
    allowed("timeout", SEARCH),
    allowed("track_scores", SEARCH),
    allowed("track_total_hits", SEARCH),
    allowed("version", SEARCH),
    only("explain", &["false"], Reason::Diagnostic, "it explains each hit"),
    // -- the shape of a search's answer
    allowed("rest_total_hits_as_int", SEARCH),
    allowed("typed_keys", SEARCH),
    // -- how the search is carried out
    allowed("allow_partial_search_results", SEARCH),
    allowed("batched_reduce_size", SEARCH),
    allowed("ccs_minimize_roundtrips", SEARCH),
    allowed("enable_fields_emulation", SEARCH).on(ES7),
    allowed("force_synthetic_source", SEARCH).on(ES89),
    allowed("max_concurrent_shard_requests", SEARCH),
    allowed("min_compatible_shard_node", SEARCH).on(ES),
    allowed("pre_filter_shard_size", SEARCH),
    allowed("request_cache", SEARCH),
    only("cancel_after_time_interval", &[], Reason::Diagnostic, "it may cut the search off").on(OS),
    only("keep_alive", &[], Reason::Stateful, "it keeps state on the engine"),
    only("phase_took", &["false"], Reason::Diagnostic, "its times differ in each answer").on(OS),
    only("scroll", &[], Reason::Stateful, "a scroll is state on the engine"),
    only("search_pipeline", &["_none"], Reason::SearchPipeline, "it may change the request and the answer")
        .on(OS),
    only(
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
            known.name == name
                && known.apis.contains(&api)
                && engine.is_none_or(|engine| known.engines.has(engine))
        });
        let reason = match known.map(|known| &known.rule) {
            None => Reason::UnknownParameter,
            Some(Rule::QueryText) if dates::in_query_text(value) => {
                return Err(Refusal::at(Reason::Now, format!("{name}: now")));
            }
            Some(Rule::Only(values, reason, _)) if !values.contains(&value) => *reason,
            Some(Rule::Allowed | Rule::QueryText | Rule::Only(..)) => continue,
        };
        return Err(Refusal::at(reason, walk::fit_for_a_header(name)));
    }
    Ok(())
}
