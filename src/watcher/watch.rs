//! What is known of one target.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::questions::Watched;
use crate::generation::{Generation, Reading, Settling};
use crate::outcome::{Reason, Refusal};
use crate::rounds::{Measured, Rounds};

/// What is known of one target.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) rounds: Arc<Rounds<Watched>>,
    metadata: Mutex<Settling>,
    /// How long that must have been what it is.
    settling: Duration,
    /// The watcher's, when this was begun.
    pub(super) epoch: u64,
    /// Nanoseconds from the watcher's birth to the start of the latest reading that was found by a spot.
    pub(super) found: AtomicU64,
    /// What it weighed when it was last put among the targets.
    weighed: AtomicU32,
}

impl Watch {
    /// Nothing is known of it yet.
    pub(super) fn new(rounds: Rounds<Watched>, settling: Duration, epoch: u64) -> Watch {
        Watch {
            rounds: Arc::new(rounds),
            metadata: Mutex::default(),
            settling,
            epoch,
            found: AtomicU64::new(u64::MAX),
            weighed: AtomicU32::new(0),
        }
    }

    /// How many bytes it takes, about.
    pub(super) fn weigh(&self) -> u32 {
        let weight = self.rounds.subject.weight();
        self.weighed.store(weight, Ordering::Relaxed);
        weight
    }

    /// A measurement as a reading.
    pub(super) fn reading(&self, measured: &Measured<Generation, Refusal>) -> Reading {
        let usual_cost = self.rounds.subject.usual_cost();
        let (started, found) = (measured.started.at, measured.found.clone());
        let settled = self.settling.is_zero() || found.as_ref().is_ok_and(|found| self.note(found, started));
        Reading { started, found, settled, usual_cost }
    }

    /// Whether the metadata has been what it is for long enough: a node that has missed the change may search by the old
    /// one until it has caught up, or is out of the cluster.
    fn note(&self, found: &Generation, started: Instant) -> bool {
        let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        metadata.note(found.metadata().digest(), started, Instant::now(), self.settling)
    }

    /// Whether a reading of it has ended well since then.
    pub(super) fn was_read_since(&self, since: Instant) -> bool {
        self.rounds.latest().is_some_and(|latest| latest.started.at + latest.took >= since)
    }

    /// Whether it takes another size than when it was weighed.
    pub(super) fn has_grown(&self) -> bool {
        self.rounds.subject.weight() != self.weighed.load(Ordering::Relaxed)
    }
}

/// Nobody reads any more.
pub(super) fn lost() -> Reading {
    let found = Err(Refusal::at(Reason::GenerationUnknown, "timeout"));
    Reading { started: Instant::now(), found, settled: false, usual_cost: None }
}
