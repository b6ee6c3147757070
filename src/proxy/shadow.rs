//! The shadow of a hit (`shadow.sample`): after a hit was answered the engine is asked the same search, as a fill would
//! ask it, and the two answers are compared. For operators who want to see before they trust, and our own alarm.
//!
//! The two can be held against each other only if nothing has changed: the entry was served under the tag of a reading;
//! a reading that starts after the engine's answer must show the same tag, permissions included, within the same purge
//! epoch and the same rounded `now`. Otherwise nobody knows (`inconclusive`).
//!
//! Some answers of an engine differ from each other under one generation (docs/exactness.md, A6). So what differs is
//! asked again, a few times: an entry that any of these answers confirms is right, and where two of them differ from
//! each other the engine varies. Only where the engine says the same each time, and not what the entry says, is that
//! an alarm: it is logged without any content, and the entry is removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::fill::{Arrived, fill_head};
use super::plans::Planned;
use super::{Proxy, View};
use crate::cache::{Entry, Fetched, Storable};
use crate::control::Control;
use crate::elastic::difference::{self, Difference, Kind};
use crate::outcome::Reason;
use crate::policy::draw;
use crate::upstream::Collected;

/// How many hits are compared at once; more are not sampled.
const AT_ONCE: usize = 4;

/// How often the engine is asked before a difference is an alarm. More than twice, because an engine may send equal
/// searches to the same copy of a shard for a while.
const MOST_ASKINGS: usize = 4;

/// Which hits are compared, and how many are being compared.
#[derive(Debug)]
pub(super) struct Shadows {
    seats: Arc<Semaphore>,
    drawn: AtomicU64,
}

impl Default for Shadows {
    fn default() -> Shadows {
        Shadows { seats: Arc::new(Semaphore::new(AT_ONCE)), drawn: AtomicU64::new(0) }
    }
}

impl Shadows {
    /// The next draw.
    fn draw(&self) -> u32 {
        draw(self.drawn.fetch_add(1, Ordering::Relaxed))
    }
}

/// A hit to compare. It holds the client's credentials until it is compared.
struct Shadow {
    head: Parts,
    body: Bytes,
    plan: Arc<Planned>,
    view: View,
    entry: Arc<Entry>,
}

/// What came of it.
enum Found {
    Equal,
    Different(Difference),
    EngineVaries,
}

/// What the engine answered: a whole body as clients would get it, or a status that says no.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Proxy {
    /// Compares a hit with the engine, if it is sampled: on a task of its own, which the hit does not wait for.
    pub(super) fn shadow(
        self: &Arc<Self>,
        head: &Parts,
        body: Bytes,
        plan: Arc<Planned>,
        view: View,
        entry: &Arc<Entry>,
    ) {
        let sample = self.live.load().policy.shadow_sample;
        // what time alone ends may be older than the engine's answer
        // and each answer to an asynchronous search has times of its own
        if sample.get() == 0.0
            || view.by_time
            || plan.api.is_asynchronous()
            || !sample.takes(self.shadows.draw())
        {
            return;
        }
        let Ok(seat) = Arc::clone(&self.shadows.seats).try_acquire_owned() else {
            return self.stats.plain.shadow_skipped.inc();
        };
        let shadow = Shadow { head: head.clone(), body, plan, view, entry: Arc::clone(entry) };
        let proxy = Arc::clone(self);
        tokio::spawn(async move {
            // credentials are not kept for longer than one search may take
            let limit = proxy.upstream.settings().response_timeout;
            let found = tokio::time::timeout(limit, proxy.compare(&shadow)).await;
            proxy.conclude(&shadow, found.unwrap_or(Err(Reason::TimedOut)));
            drop(seat);
        });
    }

    /// What the engine says to it, as often as is needed.
    async fn compare(&self, shadow: &Shadow) -> Result<Found, Reason> {
        let mut first = None;
        for asking in 1.. {
            let answer = Arc::new(self.ask_again(shadow).await?);
            self.unchanged(shadow).await?;
            match judge(&shadow.entry, &answer, first.as_ref()).await? {
                Found::Different(_) if asking < MOST_ASKINGS => first = first.or(Some(answer)),
                found => return Ok(found),
            }
        }
        unreachable!("the last asking decides")
    }

    async fn ask_again(&self, shadow: &Shadow) -> Result<Answer, Reason> {
        let Shadow { head, body, plan, view, .. } = shadow;
        let metadata = view.generation.metadata();
        let asked = Instant::now();
        let arrived = self.fetch(fill_head(head, plan), body.clone(), Some(metadata.version())).await;
        let Ok(Arrived { giver, head, body }) = arrived else { return Err(Reason::GenerationUnknown) };
        let Collected::Whole(body) = body else { return Err(Reason::EntryTooLarge) };
        if !giver.applied {
            return Err(Reason::HostLagging);
        }
        let status = head.status;
        let fetched = Fetched { status, headers: head.headers, body, took: asked.elapsed() };
        match Storable::check(&fetched, plan.api, plan.widening, &view.generation.extent()) {
            Ok(answer) => Ok(Answer { status, body: answer.body().clone() }),
            // it refuses what the entry gives; too busy is no refusal
            Err(Reason::Status) if status.is_client_error() && !matches!(status.as_u16(), 408 | 429) => {
                Ok(Answer { status, body: Bytes::new() })
            }
            Err(reason) => Err(reason),
        }
    }

    /// Whether everything is, in readings that start now, as it was when the hit was answered.
    async fn unchanged(&self, shadow: &Shadow) -> Result<(), Reason> {
        let Shadow { head, plan, view, entry, .. } = shadow;
        let control = Control { no_cache: true, ..Control::default() };
        let now = self
            .validate(&self.live.load(), plan, &control, head, Instant::now())
            .await
            .map_err(|no| no.reason)?;
        if now.by_time || now.generation.tag() != entry.tag() {
            return Err(Reason::GenerationMoving);
        }
        if now.epoch != view.epoch {
            return Err(Reason::Purged);
        }
        match plan.until {
            Some(until) if !self.is_before(until, &plan.terms, None).await => Err(Reason::ClockSkew),
            _ => Ok(()),
        }
    }

    fn conclude(&self, shadow: &Shadow, found: Result<Found, Reason>) {
        let Shadow { plan, entry, .. } = shadow;
        let (plain, key, target, api) = (&self.stats.plain, plan.key, &plan.target, plan.api.name());
        match found {
            Ok(Found::Equal) => plain.shadow_equal.inc(),
            Ok(Found::EngineVaries) => {
                plain.shadow_engine_varies.inc();
                tracing::debug!(%key, %target, api, "the engine's own answers differ from each other");
            }
            Ok(Found::Different(Difference { kind, place })) => {
                plain.shadow_different.inc();
                self.store.remove_entry(plan.key, entry);
                tracing::warn!(
                    reason = kind.name(), place, %key, %target, api,
                    "a hit was not what the engine answers, though nothing changed; its entry is removed"
                );
            }
            Err(reason) => {
                plain.shadow_inconclusive.inc();
                tracing::debug!(%reason, %key, %target, api, "a hit could not be compared with the engine");
            }
        }
    }
}

/// Holds an answer against the entry, and if it differs against the first one that did.
async fn judge(
    entry: &Arc<Entry>,
    answer: &Arc<Answer>,
    first: Option<&Arc<Answer>>,
) -> Result<Found, Reason> {
    let (entry, answer, first) = (Arc::clone(entry), Arc::clone(answer), first.map(Arc::clone));
    // large answers take a while to read, and the runtime's threads are for requests
    let judged = tokio::task::spawn_blocking(move || {
        let Some(difference) = differ(StatusCode::OK, entry.body(), &answer)? else {
            return Ok(Found::Equal);
        };
        match first {
            Some(first) if differ(first.status, &first.body, &answer)?.is_some() => Ok(Found::EngineVaries),
            _ => Ok(Found::Different(difference)),
        }
    });
    judged.await.unwrap_or(Err(Reason::PartialityUnknown))
}

fn differ(status: StatusCode, body: &[u8], answer: &Answer) -> Result<Option<Difference>, Reason> {
    if status != answer.status {
        return Ok(Some(Difference { kind: Kind::Status, place: "$".to_owned() }));
    }
    // what an error says may name a node
    if status != StatusCode::OK {
        return Ok(None);
    }
    difference::first(body, &answer.body).map_err(|not_json| not_json.reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Share;

    /// What comes in rounds of a hundred is sampled at each of its places.
    #[test]
    fn a_share_is_taken_evenly() {
        const DRAWS: u64 = 100_000;
        let taken = |share: f64| {
            let share = Share::new(share).unwrap();
            (0..DRAWS).filter(|n| share.takes(draw(*n))).collect::<Vec<_>>()
        };
        assert_eq!((taken(0.0).len(), taken(1.0).len()), (0, 100_000));
        let taken = taken(0.01);
        assert!((900..1100).contains(&taken.len()), "{}", taken.len());
        let places: std::collections::BTreeSet<u64> = taken.iter().map(|n| n % 100).collect();
        assert!(places.len() > 90, "{}", places.len());
        assert!(Share::ALL.takes(u32::MAX) && !Share::NONE.takes(0));
        assert!(Share::new(1.01).is_none() && Share::new(-0.01).is_none() && Share::new(f64::NAN).is_none());
    }
}
