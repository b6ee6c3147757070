//! Latencies: histograms that a hit can afford. Each thread counts in a part of its own as far as there are parts, so
//! that cores do not take a cache line from each other; to count is two relaxed additions, and takes no lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Two bounds for each power of two, from 16 microseconds to 33.6 seconds, and what is longer.
const BUCKETS: usize = 44;

/// The first bound, as a power of two, in microseconds.
const FIRST: u32 = 4;

/// At most so many parts.
const MOST_PARTS: usize = 16;

/// How long things took.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Made when first something is counted: most histograms stay empty.
    parts: OnceLock<Box<[Part]>>,
}

#[derive(Debug)]
#[repr(align(128))]
struct Part {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

/// What a histogram had counted at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    buckets: [u64; BUCKETS],
    nanos: u64,
}

impl Histogram {
    /// Counts one.
    pub fn add(&self, took: Duration) {
        let parts = self.parts.get_or_init(|| (0..how_many()).map(|_| Part::new()).collect());
        // their number is a power of two
        let part = &parts[slot() & (parts.len() - 1)];
        part.buckets[bucket(took)].fetch_add(1, Ordering::Relaxed);
        // not by way of 128 bits, which take their time
        let nanos = took.as_secs().saturating_mul(1_000_000_000).saturating_add(took.subsec_nanos().into());
        part.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let mut all = Counted::default();
        for part in self.parts.get().into_iter().flatten() {
            for (sum, one) in all.buckets.iter_mut().zip(&part.buckets) {
                *sum += one.load(Ordering::Relaxed);
            }
            all.nanos = all.nanos.wrapping_add(part.nanos.load(Ordering::Relaxed));
        }
        all
    }
}

impl Part {
    fn new() -> Part {
        Part { buckets: [const { AtomicU64::new(0) }; BUCKETS], nanos: AtomicU64::new(0) }
    }
}

impl Default for Counted {
    fn default() -> Counted {
        Counted { buckets: [0; BUCKETS], nanos: 0 }
    }
}

impl Counted {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How long they took together, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        Duration::from_nanos(self.nanos).as_secs_f64()
    }

    /// For Prometheus: upper bounds in seconds, one for each power of two, and how many are in each bucket alone.
    #[must_use]
    pub fn octaves(&self) -> Vec<(f64, u64)> {
        let mut out = vec![(seconds(0), self.buckets[0])];
        out.extend((2..BUCKETS - 1).step_by(2).map(|at| {
            let both = self.buckets[at - 1] + self.buckets[at];
            (seconds(at), both)
        }));
        out.push((f64::INFINITY, self.buckets[BUCKETS - 1]));
        out
    }

    /// The same with another one's.
    #[must_use]
    pub fn and(mut self, other: &Counted) -> Counted {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, one)| *sum += one);
        self.nanos = self.nanos.wrapping_add(other.nanos);
        self
    }

    /// What came since an earlier time.
    #[must_use]
    pub fn since(&self, earlier: &Counted) -> Counted {
        let mut out = self.clone();
        out.buckets.iter_mut().zip(earlier.buckets).for_each(|(now, then)| *now = now.saturating_sub(then));
        out.nanos = self.nanos.wrapping_sub(earlier.nanos);
        out
    }

    /// The time that this share of them did not exceed, in seconds, by the bounds: at most half as much again as it
    /// really was. `None` if there were none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        #[allow(clippy::cast_precision_loss, reason = "beyond 2^53 it does not matter")]
        let wanted = count as f64 * share;
        let mut sum = 0;
        let at = self.buckets.iter().position(|n| {
            sum += n;
            #[allow(clippy::cast_precision_loss, reason = "beyond 2^53 it does not matter")]
            let reached = sum as f64 >= wanted;
            *n > 0 && reached
        })?;
        Some(seconds(at.min(BUCKETS - 2)))
    }
}

/// Which bucket it belongs to.
fn bucket(took: Duration) -> usize {
    // bounds are included: what took 16 microseconds to the nanosecond is in the first bucket
    let micros = took.as_secs().saturating_mul(1_000_000);
    let micros = micros.saturating_add(took.subsec_nanos().div_ceil(1_000).into()).saturating_sub(1);
    let Some(log) = micros.checked_ilog2().filter(|log| *log >= FIRST) else { return 0 };
    let upper = (micros >> (log - 1)) & 1;
    let at = u64::from(2 * (log - FIRST) + 1) + upper;
    usize::try_from(at).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The upper bound of a bucket that has one.
fn seconds(at: usize) -> f64 {
    let power = 1_u64 << (FIRST as usize + at / 2);
    let micros = if at % 2 == 1 { power + power / 2 } else { power };
    Duration::from_micros(micros).as_secs_f64()
}

fn how_many() -> usize {
    static MANY: OnceLock<usize> = OnceLock::new();
    *MANY.get_or_init(|| {
        std::thread::available_parallelism().map_or(1, usize::from).min(MOST_PARTS).next_power_of_two()
    })
}

/// The number of this thread.
fn slot() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static SLOT: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    // a thread that is about to end has none any more
    SLOT.try_with(|slot| *slot).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        assert_eq!((bucket(Duration::ZERO), bucket(micros(16)), bucket(micros(17))), (0, 0, 1));
        assert_eq!(bucket(micros(16) + Duration::from_nanos(1)), 1);
        for at in 0..BUCKETS - 1 {
            let bound = Duration::from_secs_f64(seconds(at));
            assert_eq!(bucket(bound), at, "{bound:?}");
            assert_eq!(bucket(bound + Duration::from_nanos(1)), at + 1, "{bound:?}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        assert!(seconds(BUCKETS - 2) > 30.0);
    }

    #[test]
    fn threads_are_added_up_and_bounds_grow() {
        let histogram = Histogram::default();
        assert_eq!(histogram.counted(), Counted::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|n| histogram.add(micros(n * 10))));
            }
        });
        let counted = histogram.counted();
        assert_eq!(counted.count(), 400);
        assert!((counted.seconds() - 4.0 * 0.0495).abs() < 1e-9, "{}", counted.seconds());
        let octaves = counted.octaves();
        assert!(octaves.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(octaves.iter().map(|(_, n)| n).sum::<u64>(), 400);
        // 0 and 10; 20 and 30; 40, 50 and 60, of each thread
        assert_eq!(octaves[..3], [(16e-6, 8), (32e-6, 8), (64e-6, 12)]);
        assert_eq!(octaves.last().unwrap().0, f64::INFINITY);
    }

    #[test]
    fn quantiles_are_bounds() {
        let histogram = Histogram::default();
        assert_eq!(histogram.counted().quantile(0.5), None);
        (0..99).for_each(|_| histogram.add(micros(20)));
        let before = histogram.counted();
        histogram.add(Duration::from_secs(100));
        let all = histogram.counted();
        assert_eq!((all.quantile(0.5), all.quantile(0.99)), (Some(24e-6), Some(24e-6)));
        assert_eq!(all.quantile(1.0), Some(seconds(BUCKETS - 2)));
        assert_eq!(all.since(&before).count(), 1);
        assert_eq!(before.and(&all).count(), 199);
    }
}
