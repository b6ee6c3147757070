//! The table of the demo.

use std::time::Duration;

/// What was measured of one search.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// At the engine with `request_cache=false`.
    pub(super) direct: Duration,
    /// At the engine as it comes, with its own request cache.
    pub(super) own: Duration,
    pub(super) miss: Duration,
    pub(super) strict: Duration,
    /// One reading of the engine, as the strict proxy counted it during these hits.
    pub(super) reading: Duration,
    pub(super) bounded: Duration,
    /// What the search found before and after the write.
    pub(super) found: (u64, u64),
}

impl Row {
    /// How much faster a bounded hit is than the engine.
    fn faster(&self) -> f64 {
        self.direct.as_secs_f64() / self.bounded.as_secs_f64()
    }

    /// What the project promises and this row does not show.
    pub(super) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if self.direct > Duration::from_millis(20) && self.faster() < 20.0 {
            broken.push(format!(
                "{}: a hit within a bound is only {:.0} times faster",
                self.name,
                self.faster()
            ));
        }
        if self.strict > self.reading + Duration::from_millis(1) {
            broken.push(format!(
                "{}: a strict hit takes {} ms, a reading {} ms",
                self.name,
                millis(self.strict),
                millis(self.reading)
            ));
        }
        broken
    }
}

pub(super) const HEAD: &str = concat!(
    "                              |  at the engine |        through escache         |        |\n",
    "search                        | no cache   own |   MISS    HIT reading   HIT 1s | faster | found: before, after a write\n",
    "------------------------------+----------------+--------------------------------+--------+-----------------------------",
);

pub(super) fn line(row: &Row) -> String {
    format!(
        "{:<30}| {:>8} {:>5} | {:>6} {:>6} {:>7} {:>8} | {:>5.0}x | {} HIT -> {} MISS",
        row.name,
        millis(row.direct),
        millis(row.own),
        millis(row.miss),
        millis(row.strict),
        millis(row.reading),
        millis(row.bounded),
        row.faster(),
        row.found.0,
        row.found.1,
    )
}

fn millis(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1_000.0;
    if ms < 1.0 { format!("{ms:.2}") } else { format!("{ms:.1}") }
}
