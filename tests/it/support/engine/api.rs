//! The endpoints that the pretend engine tells apart, and what of a path names them.

use percent_encoding::percent_decode_str;

/// A kind of endpoint: what gates, faults and counters are set on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Api {
    /// `GET /`.
    Root,
    /// `/{index}/_search`.
    Search,
    /// `/{index}/_async_search`, and `/_plugins/_asynchronous_search`: as published.
    AsyncSearch,
    /// `/{index}/_msearch`.
    Msearch,
    /// `/{index}/_search/template`.
    SearchTemplate,
    /// `/{index}/_msearch/template`.
    MsearchTemplate,
    /// `/_render/template`.
    Render,
    /// `/{index}/_terms_enum`: as published.
    TermsEnum,
    /// `/{index}/_count`.
    Count,
    /// `/{index}/_stats/{metric}`.
    Stats,
    /// `/_nodes/stats/...`.
    NodesStats,
    /// `/_cluster/state/version`, with and without `local`.
    Version,
    /// `/_cluster/state/...` with anything more than the version.
    State,
    /// `/_cluster/settings`.
    ClusterSettings,
    /// `/{index}/_alias/{name}` and `/_aliases`.
    Alias,
    /// `/{index}/_settings`.
    Settings,
    /// `/{index}/_mapping`.
    Mapping,
    /// `/{index}/_cache/clear`.
    CacheClear,
    /// `/{index}/_refresh`.
    Refresh,
    /// `/{index}/_forcemerge`.
    Forcemerge,
    /// `/{index}/_doc/{id}`.
    Doc,
    /// `/_bulk`: counted, not kept, not applied.
    Bulk,
    /// `/{index}`: create, delete, get, exists.
    Index,
    /// `/{index}/_close`.
    Close,
    /// `/{index}/_open`.
    Open,
    /// `/_security/_authenticate` and OpenSearch's `authinfo`.
    Authenticate,
    /// `/_security/user/_privileges`.
    Privileges,
    /// `/_big?bytes=N`: a download of N bytes (`&chunked` leaves the length out). Not of a real engine.
    Big,
    /// `/_echo/...`: what was received, as JSON. Not of a real engine.
    Echo,
    /// Everything else.
    Other,
}

/// A path taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The endpoint.
    pub(crate) api: Api,
    /// The index expression, decoded; empty if the path names none.
    pub(crate) expression: String,
    /// What else the path says: a metric, an id, an alias, a node.
    pub(crate) detail: String,
}

/// Finds the endpoint of a raw path by whole segments.
pub(crate) fn place(path: &str) -> Place {
    let segments: Vec<String> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (api, expression, detail) = match segments.as_slice() {
        [] => (Api::Root, "", ""),
        ["_cluster", "state"] => (Api::State, "", "_all"),
        ["_cluster", "state", "version"] => (Api::Version, "", "version"),
        ["_cluster", "state", metrics] => (Api::State, "", *metrics),
        ["_cluster", "state", metrics, index] => (Api::State, *index, *metrics),
        ["_cluster", "settings"] => (Api::ClusterSettings, "", ""),
        ["_nodes", "stats", ..] | ["_nodes", _, "stats", ..] => (Api::NodesStats, "", ""),
        ["_security", "_authenticate"] | ["_plugins", "_security", "authinfo"] => (Api::Authenticate, "", ""),
        ["_security", "user", "_privileges"] => (Api::Privileges, "", ""),
        ["_echo", ..] => (Api::Echo, "", ""),
        ["_big"] => (Api::Big, "", ""),
        ["_plugins", "_asynchronous_search"] => (Api::AsyncSearch, "", "state"),
        ["_bulk"] => (Api::Bulk, "", ""),
        ["_aliases"] => (Api::Alias, "", "_aliases"),
        [index] if !index.starts_with('_') || *index == "_all" => (Api::Index, *index, ""),
        [first, rest @ ..] if first.starts_with('_') && *first != "_all" => in_index("", first, rest),
        [index, first, rest @ ..] => in_index(index, first, rest),
        _ => (Api::Other, "", ""),
    };
    Place { api, expression: expression.into(), detail: detail.into() }
}

fn in_index<'a>(index: &'a str, first: &'a str, rest: &[&'a str]) -> (Api, &'a str, &'a str) {
    let (api, detail) = match (first, rest) {
        ("_search", []) => (Api::Search, ""),
        ("_async_search", []) => (Api::AsyncSearch, ""),
        ("_msearch", []) => (Api::Msearch, ""),
        ("_search", ["template"]) => (Api::SearchTemplate, ""),
        ("_msearch", ["template"]) => (Api::MsearchTemplate, ""),
        ("_render", ["template"]) => (Api::Render, ""),
        ("_terms_enum", []) if !index.is_empty() => (Api::TermsEnum, ""),
        ("_count", []) => (Api::Count, ""),
        ("_stats", []) => (Api::Stats, ""),
        ("_stats", [metrics]) => (Api::Stats, *metrics),
        ("_alias" | "_aliases", []) => (Api::Alias, ""),
        ("_alias" | "_aliases", [name]) => (Api::Alias, *name),
        ("_settings", []) => (Api::Settings, ""),
        ("_mapping" | "_mappings", []) => (Api::Mapping, ""),
        ("_cache", ["clear"]) => (Api::CacheClear, ""),
        ("_refresh", []) => (Api::Refresh, ""),
        ("_forcemerge", []) => (Api::Forcemerge, ""),
        ("_bulk", []) => (Api::Bulk, ""),
        ("_doc" | "_create", []) if !index.is_empty() => (Api::Doc, ""),
        ("_doc" | "_create", [id]) if !index.is_empty() => (Api::Doc, *id),
        ("_close", []) if !index.is_empty() => (Api::Close, ""),
        ("_open", []) if !index.is_empty() => (Api::Open, ""),
        _ => (Api::Other, ""),
    };
    (api, index, detail)
}

/// The parameters of a raw query string, decoded; a flag without a value is empty.
#[derive(Clone)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Takes a raw query string apart.
    pub(crate) fn parse(query: &str) -> Self {
        let decode =
            |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(k, v)| (decode(k), decode(v)))
                .collect(),
        )
    }

    /// Sets a parameter, whether or not it was sent.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// The value of a parameter, if it was sent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// If a boolean parameter is set; one that was not sent has the default.
    pub(crate) fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |value| value != "false")
    }
}
