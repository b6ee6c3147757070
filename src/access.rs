//! The access log: one line for a request. Always for errors and slow ones, and for a share of the others.
//!
//! A line tells what became of a request and where its time went. It never has a body, a query string, credentials or
//! an address. It is written when the head of the answer is ready; of an answer that streams, the size is the one that
//! its head gives, if it gives one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::outcome::{CacheStatus, Outcome};
use crate::policy::{Share, draw};

/// The target that the lines have among those of the log.
pub const TARGET: &str = "escache::access";

const X_OPAQUE_ID: HeaderName = HeaderName::from_static("x-opaque-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Which requests have a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AccessSettings {
    /// `log.access`: which share of all, beside errors and slow ones; `None` writes no line at all.
    pub share: Option<Share>,
    /// `log.access_slow`: from which time on a request is slow.
    pub slow: Duration,
}

/// By default errors and slow requests. A line is put together and written before the answer goes out, and a hit takes
/// little longer than that: lines for all are for those who want them.
impl Default for AccessSettings {
    fn default() -> AccessSettings {
        AccessSettings { share: Some(Share::NONE), slow: Duration::from_secs(1) }
    }
}

/// Decides which requests have a line, and writes it.
#[derive(Debug, Default)]
pub struct AccessLog {
    settings: ArcSwap<AccessSettings>,
    drawn: AtomicU64,
}

/// Of a request what a line tells.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The index expression of its path.
    pub index: Option<String>,
    opaque_id: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
}

impl Request {
    /// What of these headers a line tells.
    #[must_use]
    pub fn of(headers: &HeaderMap, index: Option<String>) -> Request {
        Request {
            index,
            opaque_id: headers.get(X_OPAQUE_ID).cloned(),
            traceparent: headers.get(TRACEPARENT).cloned(),
        }
    }
}

/// Of an answer what a line tells.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The endpoint.
    pub api: &'static str,
    /// Its status.
    pub status: StatusCode,
    /// The size of its body, if it is known.
    pub bytes: Option<u64>,
    /// What became of the request.
    pub cache: &'a CacheStatus,
    /// Whether escache has refused the request by itself, or failed.
    pub own_failure: bool,
    /// The time until the head of the answer was ready.
    pub took: Duration,
}

impl AccessLog {
    /// With these settings from now on.
    pub fn set(&self, settings: AccessSettings) {
        self.settings.store(settings.into());
    }

    /// Writes a line, if there is to be one for this request.
    pub fn tell(&self, answer: &Answer<'_>, request: impl FnOnce() -> Request) {
        if self.wants(answer) {
            write(answer, &request());
        }
    }

    /// Whether there are lines at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.settings.load().share.is_some()
    }

    fn wants(&self, answer: &Answer<'_>) -> bool {
        let settings = self.settings.load();
        let Some(share) = settings.share else { return false };
        is_error(answer.status)
            || answer.took >= settings.slow
            || share.get() > 0.0 && share.takes(draw(self.drawn.fetch_add(1, Ordering::Relaxed)))
    }
}

/// What is the fault of escache or of the engine, and what was refused because there was too much of it. What is the
/// fault of a client is not: a document that is not there is a 404, too.
fn is_error(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn write(answer: &Answer<'_>, request: &Request) {
    let Answer { api, status, bytes, cache, own_failure, took } = answer;
    let (refusal, notes) = (cache.refusal.as_ref(), &cache.notes);
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let items = cache.items.as_ref().map(ToString::to_string);
    // what clients have chosen is written with escapes, so that it cannot pretend to be a line of its own
    let opaque_id = request.opaque_id.as_ref().map(tracing::field::debug);
    tracing::info!(
        target: TARGET,
        api,
        index = request.index.as_ref().map(tracing::field::debug),
        outcome = cache.outcome.name(),
        reason = refusal.map(|refusal| refusal.reason.name()),
        place = refusal.filter(|refusal| !refusal.place.is_empty()).map(|refusal| refusal.place.as_str()),
        stored = cache.stored,
        collapsed = cache.collapsed,
        items,
        key = notes.key.map(|key| format!("{key:016x}")),
        age_seconds = seconds(notes.age),
        upstream_seconds = seconds(notes.upstream),
        duration_seconds = took.as_secs_f64(),
        status = status.as_u16(),
        by = maker(cache.outcome, *own_failure),
        bytes,
        opaque_id,
        trace_id = request.traceparent.as_ref().and_then(trace_id),
        "request"
    );
}

/// Who has made an answer: an error of 500 may be the engine's or our own.
fn maker(outcome: Outcome, own_failure: bool) -> &'static str {
    match outcome {
        _ if own_failure => "escache",
        Outcome::Hit | Outcome::Stale => "cache",
        Outcome::Miss | Outcome::Bypass => "engine",
    }
}

/// The trace of a `traceparent` header: the second of its four parts (W3C Trace Context 3.2). Later versions may have
/// more parts.
#[must_use]
pub fn trace_id(traceparent: &HeaderValue) -> Option<&str> {
    let mut parts = traceparent.to_str().ok()?.trim().split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let well_formed = is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    let is_none = |text: &str| text.bytes().all(|b| b == b'0');
    (well_formed && version != "ff" && !is_none(trace) && !is_none(parent)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    #[track_caller]
    fn check(share: Option<f64>, status: u16, millis: u64, expected: std::ops::RangeInclusive<usize>) {
        let log = AccessLog::default();
        let share = share.map(|share| Share::new(share).unwrap());
        log.set(AccessSettings { share, slow: Duration::from_millis(100) });
        let cache = CacheStatus::new(Outcome::Hit);
        let answer = Answer {
            api: "search",
            status: StatusCode::from_u16(status).unwrap(),
            bytes: None,
            cache: &cache,
            own_failure: false,
            took: Duration::from_millis(millis),
        };
        let lines = (0..1_000).filter(|_| log.wants(&answer)).count();
        assert!(expected.contains(&lines), "{share:?} {status} {millis}: {lines}");
    }

    #[test]
    fn errors_and_slow_requests_always_have_a_line_and_others_by_their_share() {
        check(None, 500, 1_000, 0..=0);
        check(Some(0.0), 200, 99, 0..=0);
        check(Some(0.0), 404, 0, 0..=0);
        check(Some(0.0), 200, 100, 1_000..=1_000);
        check(Some(0.0), 502, 0, 1_000..=1_000);
        check(Some(0.0), 429, 0, 1_000..=1_000);
        check(Some(1.0), 200, 0, 1_000..=1_000);
        check(Some(0.1), 200, 0, 70..=130);
    }

    #[test]
    fn the_trace_is_the_second_part() {
        let of = |text: &'static str| {
            let value = HeaderValue::from_static(text);
            trace_id(&value).map(str::to_owned)
        };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").as_deref(), Some(trace));
        assert_eq!(of("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x").as_deref(), Some(trace));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
