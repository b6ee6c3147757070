//! What is measured: requests, waiting times, processor time, memory; each as a sample of one run.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::LazyLock;

/// One run against one server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    pub(super) per_second: f64,
    /// Milliseconds.
    pub(super) p50: f64,
    /// Milliseconds.
    pub(super) p99: f64,
    /// Microseconds of processor time of the server for each request, user and system.
    pub(super) cpu: f64,
    /// The same of the engine behind it, where that is measured.
    pub(super) engine_cpu: f64,
    /// MiB.
    pub(super) rss: f64,
    /// Searches that the upstream was asked.
    pub(super) searches: f64,
    /// Readings that the upstream was asked, requests a second.
    pub(super) readings: f64,
    /// Failed connections and requests, and answers other than 2xx.
    pub(super) errors: f64,
    /// Which part of a processor others have taken: of the server's, if it has one of its own.
    pub(super) foreign: f64,
}

/// All samples, by scenario and server, in the order of their first run.
#[derive(Debug, Default)]
pub(super) struct Runs {
    order: Vec<(String, String)>,
    samples: BTreeMap<(String, String), Vec<Sample>>,
}

/// The middle and the ends of some values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Spread { median, least, most })
    }
}

impl Runs {
    pub(super) fn add(&mut self, scenario: &str, server: &str, sample: Sample) {
        let key = (scenario.to_owned(), server.to_owned());
        if !self.samples.contains_key(&key) {
            self.order.push(key.clone());
        }
        self.samples.entry(key).or_default().push(sample);
    }

    pub(super) fn spread(&self, scenario: &str, server: &str, of: fn(&Sample) -> f64) -> Option<Spread> {
        let samples = self.samples.get(&(scenario.to_owned(), server.to_owned()))?;
        Spread::of(samples.iter().map(of))
    }

    pub(super) fn median(&self, scenario: &str, server: &str, of: fn(&Sample) -> f64) -> Option<f64> {
        self.spread(scenario, server, of).map(|spread| spread.median)
    }

    /// Scenario and server of each row.
    pub(super) fn rows(&self) -> &[(String, String)] {
        &self.order
    }
}

/// How many ticks of processor time make a second.
static TICKS: LazyLock<f64> = LazyLock::new(|| {
    let said = Command::new("getconf").arg("CLK_TCK").output().ok();
    said.and_then(|said| String::from_utf8(said.stdout).ok()?.trim().parse().ok()).unwrap_or(100.0)
});

/// The fields of `/proc/PID/stat` from the state on.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name is in brackets, and may have any characters
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect())
}

/// A process with all that it has started, and those.
fn tree(root: u32) -> Vec<u32> {
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, u32::try_from(*stat(pid)?.get(1)?).ok()?)))
        .collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        tree.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    tree
}

/// Seconds of processor time that a process and its children have taken, user and system.
pub(super) fn cpu_seconds(root: u32) -> f64 {
    let ticks =
        |pid| stat(pid).map_or(0, |fields| fields.get(11..13).unwrap_or_default().iter().sum::<u64>());
    tree(root).into_iter().map(ticks).sum::<u64>() as f64 / *TICKS
}

/// Seconds of processor time of the children of this process that have ended, such as the driver.
pub(super) fn ended_seconds() -> f64 {
    let ticks =
        stat(std::process::id()).map_or(0, |own| own.get(13..15).unwrap_or_default().iter().sum::<u64>());
    ticks as f64 / *TICKS
}

/// Resident memory of a process and its children in MiB; what they share counts once.
pub(super) fn resident(root: u32) -> f64 {
    let kibibytes = |pid: u32| -> Option<f64> {
        let of = |file: &str, name: &str| -> Option<f64> {
            let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix(" kB")?.trim().parse().ok()
        };
        of("smaps_rollup", "Pss").or_else(|| of("status", "VmRSS"))
    };
    tree(root).into_iter().filter_map(kibibytes).sum::<f64>() / 1024.0
}

/// Seconds that a processor was busy with anything; of all of them if none is named.
pub(super) fn busy_seconds(core: Option<usize>) -> f64 {
    let name = core.map_or("cpu ".to_owned(), |core| format!("cpu{core} "));
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_default();
    let fields: Vec<f64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy: f64 = fields.iter().take(8).sum();
    let idle: f64 = fields.iter().skip(3).take(2).sum();
    (busy - idle) / *TICKS
}
