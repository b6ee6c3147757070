//! What escache reads of an answer: the outline that tells whether it is whole. The rest is never parsed.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::elastic::api::Api;
use crate::outcome::Reason;

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
            (None, Api::Search) => return Err(Reason::PartialityUnknown),
            _ => {}
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
