//! Remembers for which keys a reading is dearer than the search, so that those searches are forwarded (`reading-dearer`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::fill::Landed;
use crate::cache::{Bounded, Costs, Dearer};
use crate::key::CacheKey;

/// How many keys are remembered.
const MOST: u64 = 10_000;

/// The keys whose searches are cheaper than a reading.
#[derive(Debug)]
pub(super) struct DearReadings {
    found: Bounded<CacheKey, Dearer>,
    /// Whether there ever was one: where there is none, requests pay nothing for this.
    any: AtomicBool,
}

impl DearReadings {
    pub(super) fn new() -> DearReadings {
        DearReadings { found: Bounded::new(MOST), any: AtomicBool::new(false) }
    }

    /// Whether a request with this key is to be forwarded rather than wait for a reading.
    pub(super) fn forwards(&self, key: &CacheKey, now: Instant) -> bool {
        self.any.load(Ordering::Relaxed) && self.found.get(key).is_some_and(|found| found.stands(now))
    }

    /// Looks at what a strict request has cost that waited for a reading: the reading, if its cost is known well
    /// enough, and the search.
    pub(super) fn weigh(&self, key: &CacheKey, reading: Option<Duration>, search: Duration, now: Instant) {
        let Some(reading) = reading else { return };
        let any = self.any.load(Ordering::Relaxed);
        let before = if any { self.found.get(key) } else { None };
        match Dearer::weigh(Costs { reading, search }, before, now) {
            Some(found) => {
                self.found.insert(*key, found);
                self.any.store(true, Ordering::Relaxed);
            }
            None if before.is_some() => self.found.remove(key),
            None => {}
        }
    }

    /// The same for a miss.
    pub(super) fn weigh_landed(
        &self,
        key: &CacheKey,
        reading: Option<Duration>,
        landed: &Landed,
        now: Instant,
    ) {
        if let Landed::Stored(entry, _) = landed {
            self.weigh(key, reading, entry.cost(), now);
        }
    }
}
