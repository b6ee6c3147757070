//! When an entry may be served: a pure function of the entry, what is known of the target, and the time.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::entry::Entry;
use crate::generation::Generation;

/// A moment on both clocks. The monotonic one stands still while a machine is suspended, the wall clock may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// On the monotonic clock.
    pub at: Instant,
    /// On the wall clock.
    pub wall: SystemTime,
}

impl Asked {
    /// The time that has passed until `now`: the larger of the two clocks' answers. For ever, if the wall clock went
    /// back: then nobody knows.
    #[must_use]
    pub fn age(&self, now: Asked) -> Duration {
        const MOST_SET_BACK: Duration = Duration::from_secs(1);
        let by_wall = match now.wall.duration_since(self.wall) {
            Ok(passed) => passed,
            Err(back) if back.duration() <= MOST_SET_BACK => Duration::ZERO,
            Err(_) => Duration::MAX,
        };
        now.at.saturating_duration_since(self.at).max(by_wall)
    }
}

/// What shows that an entry is current.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// A reading that started at `started` found this generation.
    Reading {
        /// What it found.
        generation: &'a Generation,
        /// When it started.
        started: Instant,
    },
    /// `freshness.ttl_only`: nothing but the entry's age, and that no write has passed through since.
    Unwatched {
        /// When the last write, refresh or metadata call that passed through ended.
        mark: Option<Instant>,
    },
}

/// How long an entry may live whatever its generation, counted from when it was *asked for*; no use renews it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime(pub Option<Duration>);

impl Lifetime {
    /// The shorter of two.
    #[must_use]
    pub fn and(self, other: Option<Duration>) -> Lifetime {
        Lifetime(match (self.0, other) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }
}

/// What to do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Serve it.
    Serve {
        /// The value of the `Age` header: the time since the proof started.
        age: Duration,
        /// How long it may still be served by its lifetime, if that is limited.
        ttl: Option<Duration>,
    },
    /// The target has changed since.
    Superseded,
    /// Its lifetime is over.
    Expired,
}

/// Decides on an entry at `now`. Generations compare by equality, never by order (R3).
#[must_use]
pub fn decide(entry: &Entry, proof: Proof<'_>, lifetime: Lifetime, now: Asked) -> Decision {
    let lived = entry.asked().age(now);
    if lifetime.0.is_some_and(|limit| lived >= limit) {
        return Decision::Expired;
    }
    let ttl = lifetime.0.map(|limit| limit - lived);
    match proof {
        Proof::Unwatched { mark } if mark.is_none_or(|mark| entry.asked().at > mark) => {
            Decision::Serve { age: lived, ttl }
        }
        Proof::Reading { generation, started } if generation.tag() == entry.tag() => {
            Decision::Serve { age: now.at.saturating_duration_since(started), ttl }
        }
        Proof::Unwatched { .. } | Proof::Reading { .. } => Decision::Superseded,
    }
}
