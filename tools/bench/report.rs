//! The report: tables in Markdown, and the bars with what was found.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use super::measure::{Runs, Sample, Spread};

/// From this part of the server's processor on that others have taken, a row is marked as noisy.
const NOISE: f64 = 0.10;

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Report {
    text: String,
    bars: Vec<Bar>,
}

/// What must hold.
#[derive(Debug)]
struct Bar {
    what: String,
    have: Option<f64>,
    limit: f64,
    /// At least the limit, or at most.
    least: bool,
    unit: &'static str,
}

impl Bar {
    fn holds(&self) -> Option<bool> {
        self.have.map(|have| if self.least { have >= self.limit } else { have <= self.limit })
    }
}

impl Report {
    pub(super) fn say(&mut self, line: &str) {
        eprintln!("{line}");
        let _ = writeln!(self.text, "{line}");
    }

    /// Says what machine this is.
    pub(super) fn machine(&mut self, rounds: usize, seconds: u64) {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let model = model.map_or("unknown processor", |(_, model)| model);
        let said = |program: &str, option: &str| {
            let said = Command::new(program).arg(option).output().ok();
            said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default()
        };
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let line = format!(
            "{}, {cores} x {model}, Linux {}. {rounds} rounds of {seconds} s; medians (least..most).\n",
            said("date", "+%Y-%m-%d"),
            said("uname", "-r")
        );
        self.say(&line);
    }

    /// At most so much.
    pub(super) fn at_most(&mut self, what: &str, have: Option<f64>, limit: f64, unit: &'static str) {
        self.bars.push(Bar { what: what.to_owned(), have, limit, least: false, unit });
    }

    /// At least so much.
    pub(super) fn at_least(&mut self, what: &str, have: Option<f64>, limit: f64, unit: &'static str) {
        self.bars.push(Bar { what: what.to_owned(), have, limit, least: true, unit });
    }

    /// How many bars are missed.
    pub(super) fn missed(&self) -> usize {
        self.bars.iter().filter(|bar| bar.holds() == Some(false)).count()
    }

    /// One row for each scenario and server.
    pub(super) fn table(&mut self, title: &str, runs: &Runs) {
        self.say(&format!(
            "### {title}\n\n\
             | scenario | server | requests/s | p50 ms | p99 ms | CPU us/request | RSS MiB | searches, readings/s upstream | errors | |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
        ));
        for (scenario, server) in runs.rows() {
            let of = |of: fn(&Sample) -> f64| runs.spread(scenario, server, of);
            let most = |what: fn(&Sample) -> f64| of(what).map_or(0.0, |spread| spread.most);
            let engine = of(|s| s.engine_cpu).filter(|spread| spread.most > 0.0);
            let engine = engine.map_or(String::new(), |spread| format!(" + engine {}", show(Some(spread))));
            let noisy = if most(|s| s.foreign) > NOISE { "noisy" } else { "" };
            self.say(&format!(
                "| {scenario} | {server} | {} | {} | {} | {}{engine} | {:.0} | {:.0}, {:.0} | {:.0} | {noisy} |",
                show(of(|s| s.per_second)),
                show(of(|s| s.p50)),
                show(of(|s| s.p99)),
                show(of(|s| s.cpu)),
                most(|s| s.rss),
                most(|s| s.searches),
                most(|s| s.readings),
                most(|s| s.errors),
            ));
        }
        self.say("");
    }

    /// The whole report, the bars at its end.
    pub(super) fn text(&self) -> String {
        let mut text = self.text.clone();
        if self.bars.is_empty() {
            return text;
        }
        text.push_str("### Bars\n\n| bar | found | wanted | |\n| --- | ---: | ---: | --- |\n");
        for bar in &self.bars {
            let have = bar.have.map_or("not measured".to_owned(), number);
            let sign = if bar.least { "at least" } else { "at most" };
            let verdict = match bar.holds() {
                Some(true) => "MET",
                Some(false) => "MISSED",
                None => "",
            };
            let Bar { what, limit, unit, .. } = bar;
            let _ = writeln!(text, "| {what} | {have} | {sign} {}{unit} | {verdict} |", number(*limit));
        }
        text
    }
}

/// Median and ends.
pub(super) fn show(spread: Option<Spread>) -> String {
    match spread {
        Some(Spread { median, least, most }) if least == most => number(median),
        Some(Spread { median, least, most }) => {
            format!("{} ({}..{})", number(median), number(least), number(most))
        }
        None => "-".to_owned(),
    }
}

/// With as many digits as mean something.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
