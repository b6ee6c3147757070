//! What escache reads of an answer: what tells whether it is whole. The rest is never parsed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::elastic::api::Api;
use crate::outcome::Reason;

/// How an answer shows whether it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// By `_shards`, `timed_out` and `terminated_early`, which a fill can ask for beyond the client's `filter_path`.
    Outline,
    /// By other members, which a `filter_path` may take away.
    Members,
    /// By its status alone: it comes from one shard, or from the cluster state.
    Status,
}

impl Evidence {
    /// That of an endpoint.
    #[must_use]
    pub fn of(api: Api) -> Evidence {
        match api {
            Api::Explain
            | Api::GetIndex
            | Api::GetMapping
            | Api::GetSettings
            | Api::GetAlias
            | Api::ResolveIndex => Evidence::Status,
            Api::FieldCaps
            | Api::TermsEnum
            | Api::ValidateQuery
            | Api::GetFieldMapping
            | Api::AsyncSearch
            | Api::AsynchronousSearch => Evidence::Members,
            _ => Evidence::Outline,
        }
    }
}

/// How far an answer has to reach to be whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many shards the target has; `None` where nothing is watched.
    pub shards: Option<usize>,
    /// The indices that it has to tell of, where it tells of each.
    pub indices: Indices,
}

/// The indices that an answer has to tell of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Indices {
    /// Nothing is watched.
    #[default]
    Unknown,
    /// Some of those of the target, as the question chooses.
    Some,
    /// Just these, in their order by name.
    All(Vec<String>),
}

impl Indices {
    /// Whether an answer about these indices is whole.
    fn check(&self, found: &BTreeSet<&str>) -> Result<(), Reason> {
        match self {
            Indices::Unknown => Err(Reason::PartialityUnknown),
            Indices::Some => Ok(()),
            Indices::All(all) if found.iter().copied().eq(all.iter().map(String::as_str)) => Ok(()),
            Indices::All(_) => Err(Reason::Partial),
        }
    }
}

/// Whether an answer of status 200 is whole, and has come from no more than its target. An answer of more shards than
/// the generation knows has come from indices that it does not watch.
///
/// # Errors
/// The reason why it is not, or why that cannot be seen.
pub fn check_whole(api: Api, body: &[u8], extent: &Extent) -> Result<(), Reason> {
    let unknown = |_| Reason::PartialityUnknown;
    match (Evidence::of(api), api) {
        (Evidence::Status, _) => {
            serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(body).map_err(unknown)?;
            Ok(())
        }
        (_, Api::FieldCaps) => FieldCaps::read(body)?.is_whole(extent),
        (_, Api::TermsEnum) => TermsEnum::read(body)?.is_whole(extent),
        // an index whose shard fails is left out
        (_, Api::GetFieldMapping) => {
            let members: BTreeMap<String, IgnoredAny> = serde_json::from_slice(body).map_err(unknown)?;
            extent.indices.check(&members.keys().map(String::as_str).collect())
        }
        _ if api.is_asynchronous() => Asynchronous::read(body)?.outline()?.fits(api, extent),
        _ => Outline::read(body)?.fits(api, extent),
    }
}

/// The members of an answer to an asynchronous search that tell whether it has come to its end and is kept nowhere:
/// those of Elasticsearch, or `state` of OpenSearch. What it found is within.
#[derive(Debug, Deserialize)]
struct Asynchronous {
    id: Option<IgnoredAny>,
    is_partial: Option<bool>,
    is_running: Option<bool>,
    state: Option<String>,
    error: Option<IgnoredAny>,
    response: Option<Outline>,
}

impl Asynchronous {
    fn read(body: &[u8]) -> Result<Asynchronous, Reason> {
        serde_json::from_slice(body).map_err(|_| Reason::PartialityUnknown)
    }

    fn outline(self) -> Result<Outline, Reason> {
        if self.id.is_some() {
            return Err(Reason::Stateful);
        }
        let ended = match (self.state.as_deref(), self.is_running, self.is_partial) {
            (None, Some(false), Some(false)) | (Some("SUCCEEDED"), None, None) => true,
            (None, Some(_), Some(_)) | (Some(_), None, None) => false,
            _ => return Err(Reason::PartialityUnknown),
        };
        match self.response {
            Some(outline) if ended && self.error.is_none() => Ok(outline),
            _ => Err(Reason::Partial),
        }
    }
}

/// The members of an answer about field capabilities that decide whether it may be stored. Elasticsearch tells of
/// failures; OpenSearch leaves out an index that fails.
#[derive(Debug, Deserialize)]
struct FieldCaps {
    indices: Vec<String>,
    #[serde(rename = "fields")]
    _fields: IgnoredAny,
    failures: Option<IgnoredAny>,
    failed_indices: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

impl FieldCaps {
    fn read(body: &[u8]) -> Result<FieldCaps, Reason> {
        serde_json::from_slice(body).map_err(|_| Reason::PartialityUnknown)
    }

    fn is_whole(&self, extent: &Extent) -> Result<(), Reason> {
        if self.failures.is_some() || self.failed_indices.is_some() || self.error.is_some() {
            return Err(Reason::Partial);
        }
        extent.indices.check(&self.indices.iter().map(String::as_str).collect())
    }
}

/// The members of an answer with terms that decide whether it may be stored. A shard without an active copy is left out
/// without a word, and who has come too late for a node has `complete: false`.
#[derive(Debug, Deserialize)]
struct TermsEnum {
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(rename = "terms")]
    _terms: IgnoredAny,
    complete: bool,
    error: Option<IgnoredAny>,
}

impl TermsEnum {
    fn read(body: &[u8]) -> Result<TermsEnum, Reason> {
        serde_json::from_slice(body).map_err(|_| Reason::PartialityUnknown)
    }

    fn is_whole(&self, extent: &Extent) -> Result<(), Reason> {
        let Shards { total, successful, failed } = self.shards;
        let all = extent.shards.ok_or(Reason::PartialityUnknown)? as u64;
        match () {
            () if total > all => Err(Reason::GenerationIncomplete),
            () if self.error.is_some() || failed > 0 || successful < all => Err(Reason::Partial),
            () if !self.complete => Err(Reason::TimedOut),
            () => Ok(()),
        }
    }
}

/// The members of a search or count answer that decide whether it may be stored.
#[derive(Debug, Deserialize)]
pub struct Outline {
    timed_out: Option<bool>,
    terminated_early: Option<bool>,
    #[serde(rename = "_shards")]
    shards: Option<Shards>,
    #[serde(rename = "_scroll_id")]
    scroll_id: Option<IgnoredAny>,
    pit_id: Option<IgnoredAny>,
    #[serde(rename = "_clusters")]
    clusters: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
    valid: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Shards {
    total: u64,
    successful: u64,
    failed: u64,
}

impl Outline {
    /// Reads the outline of a JSON answer.
    ///
    /// # Errors
    /// [`Reason::PartialityUnknown`] if it is not a JSON object, or names one of these members twice.
    pub fn read(body: &[u8]) -> Result<Outline, Reason> {
        serde_json::from_slice(body).map_err(|_| Reason::PartialityUnknown)
    }

    /// How many shards the answer has come from; 0 if that is not shown.
    #[must_use]
    pub fn shards(&self) -> u64 {
        self.shards.as_ref().map_or(0, |shards| shards.total)
    }

    /// Whether the answer is whole, and of no more shards than the target has.
    fn fits(&self, api: Api, extent: &Extent) -> Result<(), Reason> {
        self.is_whole(api)?;
        match extent.shards {
            Some(known) if self.shards() > known as u64 => Err(Reason::GenerationIncomplete),
            _ => Ok(()),
        }
    }

    /// Whether the answer is whole. `successful < total` is partial even where nothing failed: after the loss of a node
    /// the engines answer so.
    ///
    /// # Errors
    /// The reason why it is not, or why that cannot be seen.
    pub fn is_whole(&self, api: Api) -> Result<(), Reason> {
        let Some(shards) = &self.shards else { return Err(Reason::PartialityUnknown) };
        if self.scroll_id.is_some() || self.pit_id.is_some() {
            return Err(Reason::Stateful);
        }
        if self.clusters.is_some() {
            return Err(Reason::RemoteIndex);
        }
        if self.error.is_some() || shards.failed > 0 || shards.successful < shards.total {
            return Err(Reason::Partial);
        }
        match (self.timed_out, api) {
            (Some(true), _) => return Err(Reason::TimedOut),
            (None, api) if api.searches() => return Err(Reason::PartialityUnknown),
            _ => {}
        }
        // a query that no shard has looked at is not valid for a reason that may have passed
        if api == Api::ValidateQuery
            && (self.valid.is_none() || self.valid == Some(false) && shards.total == 0)
        {
            return Err(Reason::PartialityUnknown);
        }
        if self.terminated_early == Some(true) { Err(Reason::TerminatedEarly) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(api: Api, body: &str, expected: Result<(), Reason>) {
        assert_eq!(Outline::read(body.as_bytes()).and_then(|o| o.is_whole(api)), expected, "{body}");
    }

    #[track_caller]
    fn check_reach(api: Api, body: &str, indices: &Indices, expected: Result<(), Reason>) {
        let extent = Extent { shards: Some(1), indices: indices.clone() };
        assert_eq!(check_whole(api, body.as_bytes(), &extent), expected, "{body}");
    }

    #[test]
    fn an_answer_tells_of_each_index_of_its_target() {
        use Api::{FieldCaps, GetFieldMapping};
        let all = Indices::All(vec!["a".to_owned(), "b".to_owned()]);
        let whole = r#"{"indices":["b","a"],"fields":{}}"#;
        check_reach(FieldCaps, whole, &all, Ok(()));
        check_reach(FieldCaps, whole, &Indices::Some, Ok(()));
        check_reach(FieldCaps, whole, &Indices::Unknown, Err(Reason::PartialityUnknown));
        check_reach(FieldCaps, r#"{"indices":["a"],"fields":{}}"#, &all, Err(Reason::Partial));
        check_reach(FieldCaps, r#"{"indices":["a","b","c"],"fields":{}}"#, &all, Err(Reason::Partial));
        let failed = r#"{"indices":["a","b"],"fields":{},"failed_indices":1,"failures":[]}"#;
        check_reach(FieldCaps, failed, &Indices::Some, Err(Reason::Partial));
        check_reach(FieldCaps, r#"{"indices":["a","b"]}"#, &all, Err(Reason::PartialityUnknown));
        check_reach(GetFieldMapping, r#"{"a":{"mappings":{}},"b":{"mappings":{}}}"#, &all, Ok(()));
        check_reach(GetFieldMapping, r#"{"b":{"mappings":{}}}"#, &all, Err(Reason::Partial));
    }

    #[test]
    fn terms_come_from_all_shards_in_time() {
        let api = Api::TermsEnum;
        let whole = r#"{"_shards":{"total":2,"successful":2,"failed":0},"terms":["a"],"complete":true}"#;
        let check = |shards, from: &str, to: &str, expected| {
            let (extent, body) = (Extent { shards, ..Extent::default() }, whole.replace(from, to));
            assert_eq!(check_whole(api, body.as_bytes(), &extent), expected, "{body}");
        };
        check(Some(2), "", "", Ok(()));
        check(Some(2), "true", "false", Err(Reason::TimedOut));
        check(Some(2), "\"failed\":0", "\"failed\":1", Err(Reason::Partial));
        // a shard without a copy is not told of
        check(Some(3), "", "", Err(Reason::Partial));
        check(Some(1), "", "", Err(Reason::GenerationIncomplete));
        check(None, "", "", Err(Reason::PartialityUnknown));
        check(Some(2), ",\"complete\":true", "", Err(Reason::PartialityUnknown));
        check(Some(2), "\"terms\":[\"a\"],", "", Err(Reason::PartialityUnknown));
    }

    #[test]
    fn a_query_is_valid_for_shards_that_looked_at_it() {
        let (all, api) = (Indices::Some, Api::ValidateQuery);
        check_reach(api, r#"{"_shards":{"total":1,"successful":1,"failed":0},"valid":false}"#, &all, Ok(()));
        let shards = |shards: &str, valid| format!(r#"{{"_shards":{shards},"valid":{valid}}}"#);
        let none = r#"{"total":0,"successful":0,"failed":0}"#;
        check_reach(api, &shards(none, true), &all, Ok(()));
        check_reach(api, &shards(none, false), &all, Err(Reason::PartialityUnknown));
        let lost = r#"{"total":1,"successful":0,"failed":0}"#;
        check_reach(api, &shards(lost, true), &all, Err(Reason::Partial));
        check_reach(api, r#"{"valid":false}"#, &all, Err(Reason::PartialityUnknown));
        let wide = r#"{"total":2,"successful":2,"failed":0}"#;
        check_reach(api, &shards(wide, true), &all, Err(Reason::GenerationIncomplete));
    }

    #[test]
    fn an_asynchronous_search_is_the_search_that_it_contains() {
        let api = Api::AsyncSearch;
        let found = r#""response":{"took":1,"timed_out":false,"_shards":{"total":1,"successful":1,"skipped":0,"failed":0}}"#;
        let ended = format!(r#"{{"is_partial":false,"is_running":false,"start_time_in_millis":1,{found}}}"#);
        check_reach(api, &ended, &Indices::Some, Ok(()));
        let check = |from: &str, to: &str, reason| {
            check_reach(api, &ended.replace(from, to), &Indices::Some, Err(reason));
        };
        check("{\"is_partial\"", "{\"id\":\"x\",\"is_partial\"", Reason::Stateful);
        check("\"is_running\":false", "\"is_running\":true", Reason::Partial);
        check("\"is_partial\":false", "\"is_partial\":true", Reason::Partial);
        check("\"is_partial\":false", "\"x\":false", Reason::PartialityUnknown);
        check("\"is_partial\":false", "\"is_partial\":false,\"error\":{}", Reason::Partial);
        check("\"response\"", "\"other\"", Reason::Partial);
        check("\"timed_out\":false", "\"timed_out\":true", Reason::TimedOut);
        check("\"failed\":0", "\"failed\":1", Reason::Partial);
        check("\"total\":1,\"successful\":1", "\"total\":2,\"successful\":2", Reason::GenerationIncomplete);
        let api = Api::AsynchronousSearch;
        let of_state = |state: &str| format!(r#"{{"state":"{state}","start_time_in_millis":1,{found}}}"#);
        check_reach(api, &of_state("SUCCEEDED"), &Indices::Some, Ok(()));
        for state in ["RUNNING", "FAILED", "PERSISTING", "CLOSED"] {
            check_reach(api, &of_state(state), &Indices::Some, Err(Reason::Partial));
        }
    }

    #[test]
    fn an_answer_of_the_state_is_an_object() {
        for body in [r#"{"error":{"aliases":{}}}"#, "{}", r#"{"_shards":{}}"#] {
            check_reach(Api::GetIndex, body, &Indices::Unknown, Ok(()));
        }
        for body in ["", "[]", "{", "{}x"] {
            check_reach(Api::GetIndex, body, &Indices::Unknown, Err(Reason::PartialityUnknown));
        }
    }

    #[test]
    fn only_what_is_seen_to_be_whole_is_whole() {
        use Api::{Count, Search};
        let whole = r#"{"took":1,"timed_out":false,"_shards":{"total":2,"successful":2,"skipped":1,"failed":0},"hits":{}}"#;
        check(Search, whole, Ok(()));
        check(Search, &whole.replace("\"timed_out\":false", "\"timed_out\":true"), Err(Reason::TimedOut));
        check(
            Search,
            &whole.replace("\"took\":1", "\"terminated_early\":true"),
            Err(Reason::TerminatedEarly),
        );
        check(Search, &whole.replace("\"took\":1", "\"terminated_early\":false"), Ok(()));
        check(Search, &whole.replace("\"took\":1", "\"_scroll_id\":\"x\""), Err(Reason::Stateful));
        check(Search, &whole.replace("\"took\":1", "\"pit_id\":\"x\""), Err(Reason::Stateful));
        check(Search, &whole.replace("\"took\":1", "\"_clusters\":{}"), Err(Reason::RemoteIndex));
        check(Search, &whole.replace("\"successful\":2", "\"successful\":1"), Err(Reason::Partial));
        check(Search, &whole.replace("\"failed\":0", "\"failed\":1"), Err(Reason::Partial));
        check(Search, r#"{"timed_out":false,"hits":{}}"#, Err(Reason::PartialityUnknown));
        check(Search, r#"{"_shards":{"total":1,"successful":1,"failed":0}}"#, Err(Reason::PartialityUnknown));
        check(Search, r#"{"timed_out":false,"timed_out":false}"#, Err(Reason::PartialityUnknown));
        check(Search, "[]", Err(Reason::PartialityUnknown));
        check(Count, r#"{"count":1,"_shards":{"total":1,"successful":1,"skipped":0,"failed":0}}"#, Ok(()));
        check(
            Count,
            r#"{"count":1,"_shards":{"total":2,"successful":1,"skipped":0,"failed":0}}"#,
            Err(Reason::Partial),
        );
    }
}
