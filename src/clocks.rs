//! The nodes' clocks, as far as they can be known from here. A rounded `now` means what it means on the node that
//! coordinates the search, so what matters is the span in which the clocks of all nodes are (docs/exactness.md).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde::Deserialize;
use tokio::time::Instant;

use crate::cache::shows_a_cache;
use crate::cacheability::{Terms, valid_until};
use crate::generation::members;
use crate::outcome::Reason;
use crate::rounds::{Needed, Pace, Rounds, Subject};
use crate::stats::{ReadingKind, Stats};
use crate::upstream::Upstream;

/// A measurement serves for this long.
const LASTS: Duration = Duration::from_secs(30);
/// After one that failed, none is tried for this long.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Clocks that are further apart are not to be trusted at all.
const MOST_APART: i64 = 10_000;
/// What is added on both sides, in milliseconds: a clock may be corrected since it was measured.
const MARGIN: i64 = 500;
/// Clocks drift by less than one part in this many.
const DRIFT: i64 = 1_000;

/// Where the clocks of all nodes were at one moment, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The slowest clock is not before this.
    pub earliest: i64,
    /// The fastest clock is not after this.
    pub latest: i64,
}

impl Span {
    /// The same span some time later.
    fn after(self, passed: Duration) -> Span {
        let passed = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let slack = MARGIN + passed / DRIFT + 1;
        Span {
            earliest: self.earliest.saturating_add(passed).saturating_sub(slack),
            latest: self.latest.saturating_add(passed).saturating_add(slack),
        }
    }

    /// Until when every rounded `now` of the terms says what it says on all nodes in this span.
    ///
    /// # Errors
    /// [`Reason::ClockSkew`] if the nodes may already disagree.
    pub fn until(self, terms: &Terms) -> Result<Option<i64>, Reason> {
        match valid_until(terms, self.earliest) {
            Some(until) if self.latest >= until => Err(Reason::ClockSkew),
            until => Ok(until),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Stamps {
    #[serde(rename = "_nodes")]
    asked: Summary,
    nodes: BTreeMap<String, Node>,
}

/// How many nodes did not answer: their clocks are not known.
#[derive(Debug, Deserialize)]
struct Summary {
    failed: u64,
}

#[derive(Debug, Deserialize)]
struct Node {
    timestamp: i64,
}

/// Measures the nodes' clocks when they are needed, and not more often than that.
#[derive(Debug)]
pub struct Clocks(Arc<Rounds<Nodes>>);

#[derive(Debug)]
struct Nodes(Arc<Upstream>, Arc<Stats>);

impl Clocks {
    /// Clocks of the nodes behind `upstream`. Our own wall clock only tells whether this machine was suspended.
    #[must_use]
    pub fn new(upstream: Arc<Upstream>, stats: Arc<Stats>, wall: fn() -> SystemTime) -> Clocks {
        let pace = Pace::new(wall, PAUSE, TIMEOUT, 1);
        Clocks(Arc::new(Rounds::new(Nodes(upstream, stats), Arc::new(pace))))
    }

    /// Where the clocks of all nodes are now.
    ///
    /// # Errors
    /// [`Reason::ClockSkew`] if that cannot be known, or if they are too far apart.
    pub async fn span(&self) -> Result<Span, Reason> {
        self.span_of(None).await
    }

    /// The same of these [`members`], if they are given: one that has joined since the last measurement may have any clock.
    ///
    /// # Errors
    /// [`Reason::ClockSkew`], also if other nodes than these have told their time.
    pub async fn span_of(&self, members: Option<u64>) -> Result<Span, Reason> {
        let now = Instant::now();
        let others = |found: &Found| members.is_some_and(|members| members != found.members);
        let mut measured = self.0.get(Needed::within(LASTS, now)).await.ok_or(Reason::ClockSkew)?;
        if measured.found.as_ref().is_ok_and(others) {
            measured = self.0.get(Needed::since(now)).await.ok_or(Reason::ClockSkew)?;
        }
        let found = measured.found?;
        if others(&found) {
            return Err(Reason::ClockSkew);
        }
        let span = found.span.after(measured.started.at.elapsed());
        if span.latest - span.earliest > MOST_APART { Err(Reason::ClockSkew) } else { Ok(span) }
    }
}

/// What a measurement finds.
#[derive(Clone, Copy, Debug)]
struct Found {
    span: Span,
    /// Whose clocks these are.
    members: u64,
}

impl Subject for Nodes {
    type Found = Found;
    type Failure = Reason;

    async fn measure(&self) -> Result<Found, Reason> {
        let began = Instant::now();
        let found =
            tokio::time::timeout(TIMEOUT, self.stamps()).await.ok().flatten().ok_or(Reason::ClockSkew);
        self.1.read(ReadingKind::Clocks, began.elapsed(), found.is_ok());
        found
    }
}

impl Nodes {
    /// Where the clocks were when this was called: a node stamps its answer at some moment between the question and the
    /// answer.
    async fn stamps(&self) -> Option<Found> {
        let began = Instant::now();
        let answer = self.0.ask("/_nodes/stats/process?filter_path=_nodes.failed,nodes.*.timestamp").await;
        let round_trip = i64::try_from(began.elapsed().as_millis()).ok()? + 1;
        let (StatusCode::OK, headers, body) = answer.ok()? else { return None };
        let stats: Stamps = serde_json::from_slice(&body).ok()?;
        if stats.asked.failed > 0 || shows_a_cache(&headers) {
            return None;
        }
        let stamps = || stats.nodes.values().map(|node| node.timestamp);
        let span = Span { earliest: stamps().min()? - round_trip, latest: stamps().max()? };
        Some(Found { span, members: members(stats.nodes.keys()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cacheability::{Question, judge};
    use crate::elastic::api::Api;
    use crate::elastic::json;
    use crate::elastic::params::Params;

    const HOUR: i64 = 3_600_000;

    fn terms(text: &str) -> Terms {
        let mut body = json::parse(text.as_bytes()).unwrap();
        let params = Params::default();
        let question = Question {
            api: Api::Search,
            engine: None,
            params: &params,
            body: Some(&mut body),
            rounded_now: true,
        };
        judge(question).unwrap()
    }

    #[test]
    fn near_a_boundary_nobody_knows() {
        let by_hour = terms(r#"{"query":{"range":{"at":{"gte":"now/h"}}}}"#);
        let until = |earliest, latest| Span { earliest, latest }.until(&by_hour);
        assert_eq!(until(HOUR + 5, HOUR + 10), Ok(Some(2 * HOUR)));
        assert_eq!(until(2 * HOUR - 10, 2 * HOUR - 1), Ok(Some(2 * HOUR)));
        assert_eq!(until(2 * HOUR - 10, 2 * HOUR), Err(Reason::ClockSkew));
        assert_eq!(until(2 * HOUR, 2 * HOUR + 1), Ok(Some(3 * HOUR)));
        assert_eq!(Span { earliest: 0, latest: HOUR }.until(&terms("{}")), Ok(None));
    }

    #[test]
    fn a_span_grows_with_its_age() {
        let span = Span { earliest: 1_000, latest: 1_010 };
        let later = span.after(Duration::from_secs(20));
        assert_eq!(later, Span { earliest: 21_000 - 521, latest: 21_010 + 521 });
    }
}
