//! Which endpoint a method and a path name: the rest-api-spec name, found by whole segments as the engines route
//! (`PathTrie`, `RestController`). An index may be called `user_counts` or `foo_mget`; only complete segments count.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

/// The endpoint of a request by its name in Elastic's rest-api-spec. Only endpoints that escache treats in a way of
/// their own have a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Api {
    /// `search`: GET or POST `/{index}/_search`, `/_search`.
    Search,
    /// `count`: GET or POST `/{index}/_count`, `/_count`.
    Count,
    /// `indices.stats` with the metric `request_cache`: GET `[/{index}]/_stats/request_cache`.
    RequestCacheStats,
    /// `nodes.stats` with `indices/request_cache`: GET `/_nodes/stats/indices/request_cache`.
    NodesRequestCacheStats,
    /// `indices.clear_cache`: POST `[/{index}]/_cache/clear`.
    ClearCache,
    /// Everything else.
    Other,
}

impl Api {
    /// All variants.
    pub const ALL: [Api; 6] = [
        Api::Search,
        Api::Count,
        Api::RequestCacheStats,
        Api::NodesRequestCacheStats,
        Api::ClearCache,
        Api::Other,
    ];

    /// The name in rest-api-spec; `other` for the rest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Api::Search => "search",
            Api::Count => "count",
            Api::RequestCacheStats => "indices.stats",
            Api::NodesRequestCacheStats => "nodes.stats",
            Api::ClearCache => "indices.clear_cache",
            Api::Other => "other",
        }
    }
}

/// What a request may do to the answers of later searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It reads, or writes documents without a refresh: nothing that a later search is promised to see.
    None,
    /// It may change what searches see: readings that started before its end no longer serve.
    Mark,
    /// It changes what searches see in a way that no counter shows (R7): cached answers go.
    Purge,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// The endpoint.
    pub api: Api,
    /// The index expression of the path, decoded; `None` where the path has none.
    pub index: Option<Cow<'a, str>>,
    /// What it may do to later answers.
    pub effect: Effect,
}

/// Routes a request by its method, its raw path and its raw query string.
#[must_use]
pub fn route<'a>(method: &Method, path: &'a str, query: Option<&str>) -> Route<'a> {
    let decoded = segments(path);
    let effect = effect(method, decoded.as_deref(), query);
    let (api, index) = decoded.map_or((Api::Other, None), |segments| endpoint(method, segments));
    Route { api, index, effect }
}

/// The decoded segments of a path, or `None` where engines might split or decode it differently than we do.
fn segments(path: &str) -> Option<Vec<Cow<'_, str>>> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/')
        .map(|raw| match percent_decode_str(raw).decode_utf8() {
            // a decoded slash is part of the name for the engines; only date math has one (`<logs-{now/d}>`)
            Ok(text) if !raw.is_empty() && !text.contains(['\0', '%']) => {
                (text.starts_with('<') || !text.contains('/')).then_some(text)
            }
            _ => None,
        })
        .collect()
}

fn endpoint<'a>(method: &Method, segments: Vec<Cow<'a, str>>) -> (Api, Option<Cow<'a, str>>) {
    let names: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let reads = matches!(*method, Method::GET | Method::POST);
    let (api, index) = match *names.as_slice() {
        ["_search"] if reads => (Api::Search, false),
        [index, "_search"] if reads && is_index(index) => (Api::Search, true),
        ["_count"] if reads => (Api::Count, false),
        [index, "_count"] if reads && is_index(index) => (Api::Count, true),
        ["_stats", "request_cache"] if method == Method::GET => (Api::RequestCacheStats, false),
        [index, "_stats", "request_cache"] if method == Method::GET && is_index(index) => {
            (Api::RequestCacheStats, true)
        }
        ["_nodes", "stats", "indices", "request_cache"] if method == Method::GET => {
            (Api::NodesRequestCacheStats, false)
        }
        ["_cache", "clear"] if method == Method::POST => (Api::ClearCache, false),
        [index, "_cache", "clear"] if method == Method::POST && is_index(index) => (Api::ClearCache, true),
        _ => (Api::Other, false),
    };
    let index = if index { segments.into_iter().next() } else { None };
    (api, index)
}

/// Names that begin with `_` are endpoints; `_all` is the one index expression among them.
fn is_index(segment: &str) -> bool {
    segment == "_all" || !segment.starts_with('_')
}

/// Endpoints that read although their method is POST (or DELETE, for what they had opened).
const READS: &[&str] = &[
    "_search",
    "_msearch",
    "_count",
    "_mget",
    "_source",
    "_field_caps",
    "_validate",
    "_explain",
    "_analyze",
    "_termvectors",
    "_mtermvectors",
    "_rank_eval",
    "_render",
    "_search_shards",
    "_terms_enum",
    "_mvt",
    "_async_search",
    "_pit",
    "_sql",
    "_query",
    "_eql",
    "_knn_search",
    "_graph",
    "_resolve",
    "_ppl",
    "_asynchronous_search",
    "_fleet",
    "_inference",
];

/// Document writes: without `refresh` nothing is promised to later searches.
const DOCUMENT_WRITES: &[&str] = &["_doc", "_create", "_update", "_bulk"];

/// Calls that change answers without moving any counter or the cluster state (exactness.md 2.5).
const PURGES: &[&str] = &[
    "_reload_search_analyzers",
    "_refresh_search_analyzers",
    "_synonyms",
    "_security",
    "_query_rules",
    "_searchguard",
    "_opendistro",
];

fn effect(method: &Method, segments: Option<&[Cow<'_, str>]>, query: Option<&str>) -> Effect {
    let Some(segments) = segments else {
        return if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            Effect::None
        } else {
            Effect::Mark
        };
    };
    let has = |names: &[&str]| segments.iter().any(|s| names.contains(&s.as_ref()));
    let refreshes =
        query.is_some_and(|q| q.split('&').any(|p| p.starts_with("refresh") && p != "refresh=false"));
    match *method {
        // `GET /_refresh` and `GET /_flush` are routes of the engines, and `GET _doc/1?refresh` refreshes
        Method::GET | Method::HEAD | Method::OPTIONS => {
            if refreshes || has(&["_refresh", "_flush"]) {
                Effect::Mark
            } else {
                Effect::None
            }
        }
        _ if has(PURGES) => Effect::Purge,
        _ if refreshes => Effect::Mark,
        Method::POST | Method::DELETE if segments.iter().any(|s| READS.contains(&s.as_ref())) => Effect::None,
        Method::POST | Method::PUT | Method::DELETE if has(DOCUMENT_WRITES) => Effect::None,
        _ => Effect::Mark,
    }
}

/// Which of the two families of engines, and its version, as `GET /` says. Words of the request language differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Engine {
    /// The family.
    pub distribution: Distribution,
    /// Major and minor version.
    pub version: (u32, u32),
}

/// The two families of engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// Elasticsearch, from 7.17.
    Elasticsearch,
    /// OpenSearch, from 2.0.
    OpenSearch,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}.{}", self.distribution, self.version.0, self.version.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(request: &str, api: Api, index: Option<&str>, effect: Effect) {
        let (method, target) = request.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        let found = route(&method.parse().unwrap(), path, query);
        assert_eq!((found.api, found.index.as_deref(), found.effect), (api, index, effect), "{request}");
    }

    #[test]
    fn routes_by_whole_segments() {
        use Api::*;
        use Effect::Mark;
        check("GET /_search", Search, None, None_);
        check("POST /logs/_search", Search, Some("logs"), None_);
        check("POST /logs/_search/", Search, Some("logs"), None_);
        check("POST /a,b-*,-c/_search?q=x", Search, Some("a,b-*,-c"), None_);
        check("POST /_all/_count", Count, Some("_all"), None_);
        check("GET /%3Clogs-%7Bnow%2Fd%7D%3E/_search", Search, Some("<logs-{now/d}>"), None_);
        check("GET /logs%2F_search", Other, None, None_);
        check("GET /user_counts/_search", Search, Some("user_counts"), None_);
        check("GET /foo_mget/_doc/1", Other, None, None_);
        check("HEAD /logs/_search", Other, None, None_);
        check("PUT /logs/_search", Other, None, Mark);
        check("GET /_nope/_search", Other, None, None_);
        check("GET //_search", Other, None, None_);
        check("POST /logs/type/_search", Other, None, None_);
        check("POST /_search/template", Other, None, None_);
        check("GET /_stats/request_cache?human", RequestCacheStats, None, None_);
        check("GET /logs/_stats/request_cache", RequestCacheStats, Some("logs"), None_);
        check("GET /_nodes/stats/indices/request_cache", NodesRequestCacheStats, None, None_);
        check("POST /logs/_cache/clear", ClearCache, Some("logs"), Mark);
    }

    #[test]
    fn marks_what_later_searches_must_see() {
        use Api::Other;
        use Effect::{Mark, Purge};
        check("PUT /logs/_doc/1", Other, None, None_);
        check("PUT /logs/_doc/1?refresh=true", Other, None, Mark);
        check("PUT /logs/_doc/1?refresh", Other, None, Mark);
        check("PUT /logs/_doc/1?refresh=false", Other, None, None_);
        check("POST /_bulk?pretty&refresh=wait_for", Other, None, Mark);
        check("POST /foo_mget/_doc", Other, None, None_);
        check("POST /logs/_refresh", Other, None, Mark);
        check("GET /_refresh", Other, None, Mark);
        check("DELETE /logs", Other, None, Mark);
        check("PUT /logs/_mapping", Other, None, Mark);
        check("POST /_aliases", Other, None, Mark);
        check("POST /logs/_update_by_query", Other, None, Mark);
        check("POST /_reindex?wait_for_completion=false", Other, None, Mark);
        check("DELETE /_search/scroll", Other, None, None_);
        check("POST /logs/_msearch", Other, None, None_);
        check("PUT /_synonyms/mine", Other, None, Purge);
        check("POST /logs/_reload_search_analyzers", Other, None, Purge);
        check("PUT /_plugins/_security/api/roles/x", Other, None, Purge);
        check("POST /a%2Fb/_x", Other, None, Mark);
    }

    #[allow(non_upper_case_globals)]
    const None_: Effect = Effect::None;
}
