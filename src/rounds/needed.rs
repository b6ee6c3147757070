//! What a request needs of a measurement.

use std::time::Duration;

use tokio::time::Instant;

/// What a request needs of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    at: Instant,
    pub(super) mark: Option<Instant>,
    pub(super) bound: Duration,
}

impl Needed {
    /// That it started at `at` or later.
    #[must_use]
    pub fn since(at: Instant) -> Needed {
        Needed { at, mark: None, bound: Duration::ZERO }
    }

    /// That it started strictly later than `at`: the clock may not tell the two apart.
    #[must_use]
    pub fn after(at: Instant) -> Needed {
        Needed::since(at).marked(Some(at))
    }

    /// That it started no longer than `bound` before `now`. Such a measurement is renewed before it ages out, if it is
    /// used.
    #[must_use]
    pub fn within(bound: Duration, now: Instant) -> Needed {
        match now.checked_sub(bound) {
            Some(at) => Needed { at, mark: None, bound },
            None => Needed::since(now),
        }
    }

    /// And that it started after this mark (strictly).
    #[must_use]
    pub fn marked(self, mark: Option<Instant>) -> Needed {
        Needed { mark: self.mark.max(mark), ..self }
    }

    /// Whether nothing will do that had started before.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.bound.is_zero()
    }

    /// Whether a measurement that started then will do. What counts is the start, never the end (R2, R8).
    #[must_use]
    pub fn serves(&self, started: Instant) -> bool {
        started >= self.at && self.mark.is_none_or(|mark| started > mark)
    }
}
