//! What a request may do to the answers of later searches. What is not known to read may change them.

use http::Method;
use percent_encoding::percent_decode_str;

use crate::outcome::Reason;

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

impl Effect {
    /// Why a request with this effect is not answered from the cache.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Effect::None => Reason::Api,
            Effect::Mark | Effect::Purge => Reason::Write,
        }
    }
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

/// What a request may do, by the segments of its path.
pub(super) fn effect(method: &Method, segments: &[&str], query: Option<&str>) -> Effect {
    if purges(method, segments) {
        return Effect::Purge;
    }
    let has = |names: &[&str]| segments.iter().any(|s| names.contains(s));
    match *method {
        // `GET /_refresh` and `GET /_flush` are routes of the engines, and `GET _doc/1?refresh` refreshes
        Method::GET | Method::HEAD | Method::OPTIONS => {
            if refreshes(query) || has(&["_refresh", "_flush"]) {
                Effect::Mark
            } else {
                Effect::None
            }
        }
        _ if refreshes(query) => Effect::Mark,
        // what ends a session
        _ if segments.first() == Some(&"_security")
            && (*method == Method::DELETE || has(&["logout", "invalidate", "complete_logout"])) =>
        {
            Effect::Mark
        }
        // what is left of it after the purges are questions and log-ins
        _ if segments.first() == Some(&"_security") => Effect::None,
        Method::POST | Method::DELETE if has(READS) => Effect::None,
        Method::POST | Method::PUT | Method::DELETE if has(DOCUMENT_WRITES) => Effect::None,
        _ => Effect::Mark,
    }
}

/// Whether a query string asks for a refresh. What is not certain does: a mark costs one reading.
pub(super) fn refreshes(query: Option<&str>) -> bool {
    let asks = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = percent_decode_str(name).decode_utf8();
        decoded.is_ok_and(|name| name == "refresh") && value != "false"
    };
    query.is_some_and(|query| query.split(['&', ';']).any(asks))
}

/// Calls that change answers without moving any counter or the cluster state (docs/exactness.md): analyzers that are
/// loaded again, synonym sets, and what the security plugins keep in their own index.
fn purges(method: &Method, segments: &[&str]) -> bool {
    let changes = matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
    match *segments {
        ["_reload_search_analyzers"] | [_, "_reload_search_analyzers"] => changes || method == Method::GET,
        // of `_security` what changes users, roles and keys; not the questions and log-ins that are POSTs as well
        ["_security", "user" | "profile", .., "_has_privileges"] => false,
        ["_plugins" | "_opendistro", "_refresh_search_analyzers", ..]
        | ["_synonyms", ..]
        | ["_plugins" | "_opendistro", "_security", "api", ..]
        | [
            "_security",
            "user" | "role" | "role_mapping" | "privilege" | "api_key" | "service" | "profile",
            ..,
        ] => changes,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::Api;
    use super::super::api::tests::{None_, check};
    use super::*;

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
        check("PUT /_synonyms/mine", Other, None, Purge);
        check("POST /logs/_reload_search_analyzers", Other, None, Purge);
        check("PUT /_plugins/_security/api/roles/x", Other, None, Purge);
        check("PUT /_plugins/_security/api/roles/a%2Fb", Other, None, Purge);
        check("GET /logs/_reload_search_analyzers", Other, None, Purge);
        check("PUT /_security/role/a%25b//", Other, None, Purge);
        check("POST /_security/user/_has_privileges", Other, None, None_);
        check("POST /_security/oauth2/token", Other, None, None_);
        check("DELETE /_security/oauth2/token", Other, None, Mark);
        check("POST /_security/saml/invalidate", Other, None, Mark);
        check("POST /_security/oidc/logout", Other, None, Mark);
        check("PUT /logs/_doc/_security", Other, None, None_);
        check("PUT /logs/_doc/1?%72efresh=true", Other, None, Mark);
        check("PUT /logs/_doc/1?pretty;refresh", Other, None, Mark);
        check("POST /a%2Fb/_x", Other, None, Mark);
    }
}
