//! What readings of a target usually cost each of those who share them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The usual cost.
#[derive(Debug, Default)]
pub(super) struct Usual {
    average: Mutex<Average>,
    /// In nanoseconds, for who has no time to wait; 0 while it is not known well.
    cost: AtomicU64,
}

#[derive(Debug, Default)]
struct Average {
    cost: Duration,
    readings: u32,
}

/// The latest readings count most, each by one part in this many.
const MEMORY: u32 = 8;

impl Usual {
    /// A reading took so long, and so many shared it.
    pub(super) fn add(&self, took: Duration, shared: usize) {
        let mut average = self.average.lock().unwrap_or_else(PoisonError::into_inner);
        average.readings = (average.readings + 1).min(MEMORY);
        let cost = took / u32::try_from(shared.max(1)).unwrap_or(u32::MAX);
        average.cost = (average.cost * (average.readings - 1) + cost) / average.readings;
        if average.readings == MEMORY {
            let nanos = u64::try_from(average.cost.as_nanos()).unwrap_or(u64::MAX);
            self.cost.store(nanos.max(1), Ordering::Relaxed);
        }
    }

    /// `None` while there were few readings.
    pub(super) fn cost(&self) -> Option<Duration> {
        match self.cost.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}
