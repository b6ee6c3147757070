//! When the question whether anything changed is dearer than the search itself: then the search is forwarded. A pure
//! function of what both have cost, what was found before, and the time.

use std::time::Duration;

use tokio::time::Instant;

/// What a finding is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// What a reading of the target usually takes, for each of those who share it. A reading that many wait for is
    /// cheap, however long it takes.
    pub reading: Duration,
    /// What the engine took for the search.
    pub search: Duration,
}

/// That readings were found to be dearer than a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dearer {
    until: Instant,
}

/// So many times as dear must a reading be before searches are forwarded for it ...
const ENTER: u32 = 3;
/// ... and once they were, no more than this many halves before they are no longer.
const LEAVE_HALVES: u32 = 3;
/// Differences below this are not worth a thought, and often noise.
const LEAST: Duration = Duration::from_millis(5);
/// So long a finding stands. Then both are measured again.
const STANDS: Duration = Duration::from_secs(30);

impl Dearer {
    /// What is found now; `before` is what was found last, whether or not it still stands.
    #[must_use]
    pub fn weigh(costs: Costs, before: Option<Dearer>, now: Instant) -> Option<Dearer> {
        let Costs { reading, search } = costs;
        let dearer = match before {
            None => reading > search * ENTER && reading - search >= LEAST,
            Some(_) => 2 * reading > search * LEAVE_HALVES,
        };
        dearer.then(|| Dearer { until: now + STANDS })
    }

    /// Whether it still stands.
    #[must_use]
    pub fn stands(&self, now: Instant) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_must_be_much_dearer_and_then_hardly_at_all() {
        let now = Instant::now();
        let weigh = |reading, search, before| {
            let costs = |millis: u64| Duration::from_millis(millis);
            let before = if before { Some(Dearer { until: now }) } else { None };
            Dearer::weigh(Costs { reading: costs(reading), search: costs(search) }, before, now).is_some()
        };
        assert!(weigh(31, 10, false) && !weigh(30, 10, false));
        assert!(weigh(16, 10, true) && !weigh(15, 10, true));
        // small ones do not count, unless they did
        assert!(!weigh(4, 0, false) && weigh(5, 0, false) && weigh(4, 1, true));
        assert!(!weigh(0, 0, false) && !weigh(0, 0, true));
    }

    #[test]
    fn a_finding_stands_for_a_while() {
        let now = Instant::now();
        let costs = Costs { reading: Duration::from_secs(1), search: Duration::ZERO };
        let found = Dearer::weigh(costs, None, now).unwrap();
        assert!(found.stands(now + STANDS - Duration::from_nanos(1)));
        assert!(!found.stands(now + STANDS));
    }
}
