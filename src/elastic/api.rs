//! Which endpoint a method and a path name: the rest-api-spec name, found by whole segments as the engines route
//! (`PathTrie`, `RestController`). An index may be called `user_counts` or `foo_mget`; only complete segments count.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

pub use super::effect::Effect;
use super::effect::{effect, refreshes};

/// The endpoint of a request by its name in Elastic's rest-api-spec. Only endpoints that escache treats in a way of
/// their own have a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Api {
    /// `search`: GET or POST `/{index}/_search`, `/_search`.
    Search,
    /// `count`: GET or POST `/{index}/_count`, `/_count`.
    Count,
    /// `msearch`: GET or POST `/{index}/_msearch`, `/_msearch`.
    Msearch,
    /// `msearch_template`: GET or POST `[/{index}]/_msearch/template`.
    MsearchTemplate,
    /// `search_template`: GET or POST `[/{index}]/_search/template`.
    SearchTemplate,
    /// `async_search.submit`: POST `[/{index}]/_async_search` (Elasticsearch).
    AsyncSearch,
    /// `asynchronous_search.search`: POST `/_plugins/_asynchronous_search` (OpenSearch), whose indices are in the
    /// parameter `index`.
    AsynchronousSearch,
    /// `field_caps`: GET or POST `[/{index}]/_field_caps`.
    FieldCaps,
    /// `indices.validate_query`: GET or POST `[/{index}]/_validate/query`.
    ValidateQuery,
    /// `explain`: GET or POST `/{index}/_explain/{id}`.
    Explain,
    /// `rank_eval`: GET or POST `[/{index}]/_rank_eval`.
    RankEval,
    /// `terms_enum`: GET or POST `/{index}/_terms_enum` (Elasticsearch).
    TermsEnum,
    /// `search_mvt`: GET or POST `/{index}/_mvt/{field}/{zoom}/{x}/{y}` (Elasticsearch).
    VectorTile,
    /// `indices.get`: GET `/{index}`.
    GetIndex,
    /// `indices.get_mapping`: GET `[/{index}]/_mapping`.
    GetMapping,
    /// `indices.get_field_mapping`: GET `[/{index}]/_mapping/field/{fields}`.
    GetFieldMapping,
    /// `indices.get_settings`: GET `[/{index}]/_settings[/{name}]`.
    GetSettings,
    /// `indices.get_alias`: GET `[/{index}]/_alias[/{name}]`.
    GetAlias,
    /// `indices.resolve_index`: GET `/_resolve/index/{name}`.
    ResolveIndex,
    /// `indices.stats` with the metric `request_cache`: GET `[/{index}]/_stats/request_cache`.
    RequestCacheStats,
    /// `nodes.stats` with `indices/request_cache`: GET `/_nodes/stats/indices/request_cache`.
    NodesRequestCacheStats,
    /// `indices.clear_cache`: POST `[/{index}]/_cache/clear`.
    ClearCache,
    /// Everything else.
    Other,
}

/// How an endpoint is treated: first the reads, then the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its answer is that of a search.
    Search,
    /// The same, or a handle of a search that goes on.
    Asynchronous,
    /// Another read whose question may be in a body.
    Question,
    /// It shows metadata, and could be asked of any node for its own state (`local`).
    Metadata,
    /// It shows which names there are, as the master knows them.
    Names,
    /// It has several searches, each of which is judged by itself.
    Several,
    /// It is passed on, whatever else is done with it.
    Beside,
}

/// Every endpoint in the order of the variants, with its name in rest-api-spec (`other` for the rest).
const TABLE: &[(Api, &str, Kind)] = &[
    (Api::Search, "search", Kind::Search),
    (Api::Count, "count", Kind::Question),
    (Api::Msearch, "msearch", Kind::Several),
    (Api::MsearchTemplate, "msearch_template", Kind::Several),
    (Api::SearchTemplate, "search_template", Kind::Search),
    (Api::AsyncSearch, "async_search.submit", Kind::Asynchronous),
    (Api::AsynchronousSearch, "asynchronous_search.search", Kind::Asynchronous),
    (Api::FieldCaps, "field_caps", Kind::Question),
    (Api::ValidateQuery, "indices.validate_query", Kind::Question),
    (Api::Explain, "explain", Kind::Question),
    (Api::RankEval, "rank_eval", Kind::Question),
    (Api::TermsEnum, "terms_enum", Kind::Question),
    (Api::VectorTile, "search_mvt", Kind::Question),
    (Api::GetIndex, "indices.get", Kind::Metadata),
    (Api::GetMapping, "indices.get_mapping", Kind::Metadata),
    (Api::GetFieldMapping, "indices.get_field_mapping", Kind::Metadata),
    (Api::GetSettings, "indices.get_settings", Kind::Metadata),
    (Api::GetAlias, "indices.get_alias", Kind::Metadata),
    (Api::ResolveIndex, "indices.resolve_index", Kind::Names),
    (Api::RequestCacheStats, "indices.stats", Kind::Beside),
    (Api::NodesRequestCacheStats, "nodes.stats", Kind::Beside),
    (Api::ClearCache, "indices.clear_cache", Kind::Beside),
    (Api::Other, "other", Kind::Beside),
];

/// The endpoints of the kinds from one to another. The compiler finds out whether there are `N`.
const fn of<const N: usize>(from: Kind, to: Kind) -> [Api; N] {
    let (mut found, mut count, mut row) = ([Api::Other; N], 0, 0);
    while row < TABLE.len() {
        let (api, _, kind) = TABLE[row];
        if from as u8 <= kind as u8 && kind as u8 <= to as u8 {
            found[count] = api;
            count += 1;
        }
        row += 1;
    }
    assert!(count == N, "another number of endpoints is of these kinds");
    found
}

impl Api {
    /// All variants.
    pub const ALL: [Api; TABLE.len()] = of(Kind::Search, Kind::Beside);

    /// The reads that walk the street one by one: each has one answer, and it is stored as a whole.
    pub const READS: [Api; 17] = of(Kind::Search, Kind::Names);

    /// Those that show metadata, and could be asked of any node for its own state.
    pub const METADATA: [Api; 5] = of(Kind::Metadata, Kind::Metadata);

    fn kind(self) -> Kind {
        TABLE[self as usize].2
    }

    /// Whether it is one of [`Api::READS`].
    #[must_use]
    pub fn is_read(self) -> bool {
        !matches!(self.kind(), Kind::Several | Kind::Beside)
    }

    /// Whether its answer is that of a search.
    #[must_use]
    pub fn searches(self) -> bool {
        matches!(self.kind(), Kind::Search | Kind::Asynchronous)
    }

    /// The end of the path of such a search by itself: one of several has none of its own.
    #[must_use]
    pub fn of_items(self) -> &'static str {
        if self == Api::SearchTemplate { "_search/template" } else { "_search" }
    }

    /// Whether it is a request of several searches, each of which is judged by itself.
    #[must_use]
    pub fn is_several(self) -> bool {
        self.kind() == Kind::Several
    }

    /// Whether its answer may be a handle of a search that goes on, for the client alone that asked.
    #[must_use]
    pub fn is_asynchronous(self) -> bool {
        self.kind() == Kind::Asynchronous
    }

    /// Whether its question may be in a body.
    #[must_use]
    pub fn takes_body(self) -> bool {
        !matches!(self.kind(), Kind::Metadata | Kind::Names)
    }

    /// The name in rest-api-spec; `other` for the rest.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// The endpoint.
    pub api: Api,
    /// The index expression of the path, decoded; `None` where the path has none.
    pub index: Option<Cow<'a, str>>,
    /// What else the path says, such as the id of a document, as it is written.
    pub detail: Option<&'a str>,
    /// What it may do to later answers.
    pub effect: Effect,
}

/// Routes a request by its method, its raw path and its raw query string.
///
/// The names of endpoints are compared as they are written: the engines do not decode them (`PathTrie` decodes what
/// stands for a wildcard alone), so `/logs/%5Fsearch` is no search.
#[must_use]
pub fn route<'a>(method: &Method, path: &'a str, query: Option<&'a str>) -> Route<'a> {
    if let Some(route) = plain_read(method, path, query) {
        return route;
    }
    let segments = segments(path);
    let effect = effect(method, &segments, query);
    let (api, index, detail) = match read(method, &segments, query) {
        Some(found) => found,
        None => endpoint(method, &segments),
    };
    match index.map(index_expression) {
        None => Route { api, index: None, detail, effect },
        Some(Some(index)) => Route { api, index: Some(index), detail, effect },
        Some(None) => Route { api: Api::Other, index: None, detail: None, effect },
    }
}

/// Searches and counts whose index expression has nothing to decode: nearly all of them, found without taking the path
/// apart. What is not certain at a glance is none.
fn plain_read<'a>(method: &Method, path: &'a str, query: Option<&str>) -> Option<Route<'a>> {
    let (api, index) = match path.strip_suffix("/_search") {
        Some(index) => (Api::Search, index),
        None => (Api::Count, path.strip_suffix("/_count")?),
    };
    let index = index.strip_prefix('/')?;
    let plain =
        |b: u8| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*' | b',');
    let certain = !matches!(index.as_bytes(), [] | [b'_', ..]) && index.bytes().all(plain);
    let reads = *method == Method::POST || *method == Method::GET;
    if !(certain && reads) {
        return None;
    }
    let effect = if refreshes(query) { Effect::Mark } else { Effect::None };
    Some(Route { api, index: Some(Cow::Borrowed(index)), detail: None, effect })
}

/// The raw segments of a path. The engines split it by Java's `String.split`, which drops empty ones at the end alone.
fn segments(path: &str) -> Vec<&str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.trim_end_matches('/').split('/').collect()
}

/// An index expression, decoded; `None` where it is not certain how the engine decodes it.
fn index_expression(raw: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(raw).decode_utf8().ok().filter(|text| is_expression(text))
}

/// Whether it is certain that the engines read a decoded text as an index expression.
#[must_use]
pub fn is_expression(text: &str) -> bool {
    // a decoded slash is part of the name for the engines; only date math has one (`<logs-{now/d}>`)
    let certain =
        !text.is_empty() && !text.contains(['\0', '%']) && (text.starts_with('<') || !text.contains('/'));
    certain && is_index(text)
}

/// An endpoint, the raw index expression of the path, and what else the path says.
type Found<'a> = (Api, Option<&'a str>, Option<&'a str>);

/// The reads that may be answered from the cache.
fn read<'a>(method: &Method, segments: &[&'a str], query: Option<&'a str>) -> Option<Found<'a>> {
    // an index expression that is not one is another endpoint, which this table does not know
    let (index, rest) = match segments {
        [first, rest @ ..] if !first.starts_with('_') || *first == "_all" => (Some(*first), rest),
        rest => (None, rest),
    };
    let get = method == Method::GET;
    let (api, detail) = match *rest {
        _ if !get && method != Method::POST => return None,
        ["_search"] => (Api::Search, None),
        ["_search", "template"] => (Api::SearchTemplate, None),
        ["_count"] => (Api::Count, None),
        ["_msearch"] => (Api::Msearch, None),
        ["_msearch", "template"] => (Api::MsearchTemplate, None),
        ["_field_caps"] => (Api::FieldCaps, None),
        ["_validate", "query"] => (Api::ValidateQuery, None),
        ["_rank_eval"] => (Api::RankEval, None),
        ["_terms_enum"] if index.is_some() => (Api::TermsEnum, None),
        // where the tile is does not matter, as long as none is stored
        ["_mvt", _, _, _, _] if index.is_some() => (Api::VectorTile, None),
        ["_explain", id] if index.is_some() => (Api::Explain, Some(id)),
        ["_async_search"] if !get => (Api::AsyncSearch, None),
        ["_plugins", "_asynchronous_search"] if !get && index.is_none() => {
            let mut pairs = query.unwrap_or_default().split('&');
            let index = pairs.find_map(|pair| pair.strip_prefix("index="));
            return Some((Api::AsynchronousSearch, index, None));
        }
        _ if !get => return None,
        [] => (Api::GetIndex, None),
        ["_mapping" | "_mappings"] => (Api::GetMapping, None),
        ["_mapping", "field", fields] => (Api::GetFieldMapping, Some(fields)),
        ["_settings"] => (Api::GetSettings, None),
        ["_settings", name] => (Api::GetSettings, Some(name)),
        ["_alias"] => (Api::GetAlias, None),
        ["_alias", name] => (Api::GetAlias, Some(name)),
        ["_resolve", "index", name] if index.is_none() => return Some((Api::ResolveIndex, Some(name), None)),
        _ => return None,
    };
    Some((api, index, detail))
}

fn endpoint<'a>(method: &Method, segments: &[&'a str]) -> Found<'a> {
    let (api, index) = match *segments {
        ["_stats", "request_cache"] if method == Method::GET => (Api::RequestCacheStats, None),
        [index, "_stats", "request_cache"] if method == Method::GET => (Api::RequestCacheStats, Some(index)),
        ["_nodes", "stats", "indices", "request_cache"] if method == Method::GET => {
            (Api::NodesRequestCacheStats, None)
        }
        ["_cache", "clear"] if method == Method::POST => (Api::ClearCache, None),
        [index, "_cache", "clear"] if method == Method::POST => (Api::ClearCache, Some(index)),
        _ => (Api::Other, None),
    };
    (api, index, None)
}

/// Names that begin with `_` are endpoints; `_all` is the one index expression among them.
fn is_index(segment: &str) -> bool {
    segment == "_all" || !segment.starts_with('_')
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
pub(super) mod tests {
    use super::*;

    #[test]
    fn further_reads() {
        use Api::*;
        check("GET /_field_caps?fields=*", FieldCaps, None, None_);
        check("POST /a,b/_field_caps", FieldCaps, Some("a,b"), None_);
        check("POST /logs/_validate/query", ValidateQuery, Some("logs"), None_);
        check("GET /_validate/query", ValidateQuery, None, None_);
        check("GET /logs/_explain/a%2Fb", Explain, Some("logs"), None_);
        check("GET /_explain/1", Other, None, None_);
        check("POST /logs/_doc/1/_explain", Other, None, None_);
        check("GET /_rank_eval", RankEval, None, None_);
        check("GET /logs", GetIndex, Some("logs"), None_);
        check("GET /", Other, None, None_);
        check("HEAD /logs", Other, None, None_);
        check("PUT /logs", Other, None, Effect::Mark);
        check("GET /_all", GetIndex, Some("_all"), None_);
        check("GET /_nodes", Other, None, None_);
        check("GET /_mapping", GetMapping, None, None_);
        check("GET /logs/_mappings", GetMapping, Some("logs"), None_);
        check("GET /logs/_mapping/type", Other, None, None_);
        check("PUT /logs/_mapping", Other, None, Effect::Mark);
        check("GET /logs/_mapping/field/a,b", GetFieldMapping, Some("logs"), None_);
        check("GET /_settings/index.*", GetSettings, None, None_);
        check("POST /logs/_settings", Other, None, Effect::Mark);
        check("GET /logs/_alias/x*", GetAlias, Some("logs"), None_);
        check("GET /_resolve/index/a*,b", ResolveIndex, Some("a*,b"), None_);
        check("GET /_resolve/cluster/a", Other, None, None_);
        check("GET /logs/_resolve/index/a", Other, None, None_);
        check("POST /_async_search", AsyncSearch, None, None_);
        check("POST /a,b/_async_search?size=0", AsyncSearch, Some("a,b"), None_);
        check("GET /_async_search/id", Other, None, None_);
        check("DELETE /_async_search/id", Other, None, None_);
        check("GET /_async_search", Other, None, None_);
        check(
            "POST /_plugins/_asynchronous_search?size=0&index=a%2Cb",
            AsynchronousSearch,
            Some("a,b"),
            None_,
        );
        check("POST /_plugins/_asynchronous_search", AsynchronousSearch, None, None_);
        check("POST /_plugins/_asynchronous_search?index=_x", Other, None, None_);
        check("GET /_plugins/_asynchronous_search/id", Other, None, None_);
        let detail = |path| route(&Method::GET, path, None).detail;
        assert_eq!(detail("/logs/_explain/a%2Fb"), Some("a%2Fb"));
        assert_eq!(detail("/logs/_alias/x*"), Some("x*"));
        assert_eq!(detail("/logs/_alias"), None);
    }

    #[test]
    fn apis_are_counted_by_their_number() {
        assert!(Api::ALL.iter().enumerate().all(|(at, api)| *api as usize == at));
    }

    #[track_caller]
    pub(crate) fn check(request: &str, api: Api, index: Option<&str>, effect: Effect) {
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
        check("GET /_msearch", Msearch, None, None_);
        check("POST /a,b/_msearch?typed_keys", Msearch, Some("a,b"), None_);
        check("POST /_msearch/template", MsearchTemplate, None, None_);
        check("GET /a,b/_msearch/template", MsearchTemplate, Some("a,b"), None_);
        check("PUT /_msearch/template", Other, None, Mark);
        check("GET /%3Clogs-%7Bnow%2Fd%7D%3E/_search", Search, Some("<logs-{now/d}>"), None_);
        check("GET /logs%2F_search", Other, None, None_);
        check("GET /logs/%5Fsearch", Other, None, None_);
        check("GET /lo%67s/_search//", Search, Some("logs"), None_);
        check("GET /%FF/_search", Other, None, None_);
        check("GET /user_counts/_search", Search, Some("user_counts"), None_);
        check("GET /foo_mget/_doc/1", Other, None, None_);
        check("HEAD /logs/_search", Other, None, None_);
        check("PUT /logs/_search", Other, None, Mark);
        check("GET /_nope/_search", Other, None, None_);
        check("GET //_search", Other, None, None_);
        check("POST /logs/type/_search", Other, None, None_);
        check("POST /_search/template", SearchTemplate, None, None_);
        check("GET /a,b/_search/template", SearchTemplate, Some("a,b"), None_);
        check("PUT /logs/_search/template", Other, None, Mark);
        check("POST /logs/_terms_enum", TermsEnum, Some("logs"), None_);
        check("POST /_terms_enum", Other, None, None_);
        check("GET /logs/_mvt/at/1/2/3", VectorTile, Some("logs"), None_);
        check("GET /logs/_mvt/at", Other, None, None_);
        check("GET /_stats/request_cache?human", RequestCacheStats, None, None_);
        check("GET /logs/_stats/request_cache", RequestCacheStats, Some("logs"), None_);
        check("GET /_nodes/stats/indices/request_cache", NodesRequestCacheStats, None, None_);
        check("POST /logs/_cache/clear", ClearCache, Some("logs"), Mark);
    }

    /// What is seen at a glance is what taking the path apart finds.
    #[test]
    fn plain_reads_are_routed_as_all_others() {
        let indices = [
            "logs",
            "a,b-*,-c",
            "_all",
            "_x",
            "x,_refresh",
            "*",
            "lo%67s",
            "<a>",
            "ä",
            "",
            "a/b",
            "+",
            "_doc",
        ];
        let mut plain = 0;
        for index in indices {
            for end in ["_search", "_count", "_search/", "_msearch", "_searc", "search"] {
                for method in [Method::GET, Method::POST, Method::PUT, Method::HEAD, Method::DELETE] {
                    for query in
                        [None, Some(""), Some("refresh"), Some("a=1;refresh=false"), Some("size=1&refresh=")]
                    {
                        let path = format!("/{index}/{end}");
                        let Some(found) = plain_read(&method, &path, query) else { continue };
                        let segments = segments(&path);
                        let (api, index, detail) = read(&method, &segments, None).unwrap();
                        let index = index_expression(index.unwrap());
                        assert!(index.is_some(), "{path}");
                        assert_eq!(
                            found,
                            Route { api, index, detail, effect: effect(&method, &segments, query) }
                        );
                        plain += 1;
                    }
                }
            }
        }
        assert_eq!(plain, 4 * 2 * 2 * 5);
    }

    #[allow(non_upper_case_globals)]
    pub(crate) const None_: Effect = Effect::None;
}
