//! `escache stats`: what a running escache does, once or live.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::{Admin, Failure, show};
use crate::config::cli::StatsArgs;

/// Clears a terminal, and goes to its first place.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(super) async fn run(admin: &Admin, asked: &StatsArgs) -> Result<ExitCode, Failure> {
    let mut before = None;
    loop {
        let stats = admin.get("/stats").await?;
        let text = match asked.running.json {
            // one in a line can be read while more come
            true if asked.watch => format!("{stats}\n"),
            true => format!("{stats:#}\n"),
            false => render(admin.address(), &stats, before.as_ref().map(|before| (before, asked.every))),
        };
        if asked.watch && !asked.running.json && std::io::stdout().is_terminal() {
            show(CLEAR)?;
        }
        if !show(&text)? || !asked.watch {
            return Ok(ExitCode::SUCCESS);
        }
        before = Some(stats);
        tokio::time::sleep(Duration::from_secs(asked.every.into())).await;
    }
}

const OUTCOMES: [&str; 4] = ["hit", "miss", "bypass", "stale"];

/// As text; with what came in the seconds since `before`.
fn render(address: &str, stats: &Value, before: Option<(&Value, u32)>) -> String {
    let mut out = String::new();
    let gauge = |name: &str| stats["gauges"][name].as_i64().unwrap_or_default().unsigned_abs();
    let counter = |name: &str| stats["counters"][name].as_u64().unwrap_or_default();
    let state = match (gauge("draining"), gauge("engine_reachable")) {
        (0, 0) => "the engine does not answer",
        (0, _) => "ready",
        _ => "draining",
    };
    let _ = writeln!(out, "escache at {address}: {state}\n");
    let _ = writeln!(
        out,
        "{:<22} {:>12} {:>8} {:>8} {:>8} {:>8}",
        "requests", "all", "hit", "miss", "bypass", "stale"
    );
    let all = outcomes(stats, None);
    row(&mut out, "all", all);
    if let Some((before, seconds)) = before {
        let old = outcomes(before, None);
        let new: [u64; 4] = std::array::from_fn(|i| all[i].saturating_sub(old[i]));
        row(&mut out, &format!("in the last {seconds} s"), new);
    }
    for (api, _) in stats["requests"].as_object().into_iter().flatten() {
        let own = outcomes(stats, Some(api));
        if own.iter().any(|n| *n > 0) {
            row(&mut out, &format!("  {api}"), own);
        }
    }
    ratios(&mut out, stats, before);
    let seconds = |name: &str| counter(name) as f64 / 1e6;
    let _ = writeln!(
        out,
        "\n{:<22} {} entries, {}; {} evicted for want of room",
        "cache",
        number(gauge("entries")),
        bytes(gauge("bytes")),
        number(counter("evictions_size"))
    );
    let _ = writeln!(
        out,
        "{:<22} {:.1} s of searches saved, {:.1} s spent; {} readings, {} more in vain, {:.1} s",
        "engine",
        seconds("saved_microseconds"),
        seconds("upstream_microseconds"),
        number(counter("readings")),
        number(counter("readings_invalid")),
        seconds("reading_microseconds"),
    );
    for host in stats["hosts"].as_array().into_iter().flatten() {
        let used = if host["used"] == true { "used" } else { "not used" };
        let _ = writeln!(out, "{:<22} {} ({used})", "", host["host"].as_str().unwrap_or_default());
    }
    let mut reasons: Vec<(&String, u64)> = stats["reasons"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(n, v)| (n, v.as_u64().unwrap_or_default()))
        .collect();
    reasons.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), (*name).clone()));
    if !reasons.is_empty() {
        let _ = writeln!(out, "\n{:<22} {:>12}", "why not", "requests");
    }
    for (name, count) in reasons.into_iter().take(10) {
        let _ = writeln!(out, "  {name:<20} {:>12}", number(count));
    }
    out
}

/// The two figures of the live page, by its words; the first one of what came in between, too.
fn ratios(out: &mut String, stats: &Value, before: Option<(&Value, u32)>) {
    let of = |stats: &Value, name: &str| stats["ratios"][name].as_u64().unwrap_or_default();
    let (hits, misses) = (of(stats, "hit_count"), of(stats, "miss_count"));
    let counted = format!("hits {}, misses {}", number(hits), number(misses));
    let _ = write!(out, "\n{:<22} {} ({counted})", "hit ratio", share(hits, hits + misses));
    if let Some((before, seconds)) = before {
        let (hits, misses) =
            (hits.saturating_sub(of(before, "hit_count")), misses.saturating_sub(of(before, "miss_count")));
        let _ = write!(out, "; {} in the last {seconds} s", share(hits, hits + misses));
    }
    let all = stats["ratios"]["share_of_all_searches"].as_f64();
    let all = all.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
    let _ = writeln!(out, "\n{:<22} {all} answered from the cache", "share of all searches");
}

/// Requests by outcome: of one endpoint, or of all that are not statistics.
fn outcomes(stats: &Value, api: Option<&str>) -> [u64; 4] {
    let requests = stats["requests"].as_object();
    let mut sums = [0; 4];
    for (_, counts) in requests.into_iter().flatten().filter(|(name, _)| api.is_none_or(|api| api == *name)) {
        for (sum, outcome) in sums.iter_mut().zip(OUTCOMES) {
            *sum += counts[outcome].as_u64().unwrap_or_default();
        }
    }
    sums
}

fn row(out: &mut String, name: &str, counts: [u64; 4]) {
    let all: u64 = counts.iter().sum();
    let _ = write!(out, "{name:<22} {:>12}", number(all));
    for count in counts {
        let _ = write!(out, " {:>8}", share(count, all));
    }
    out.push('\n');
}

fn share(part: u64, whole: u64) -> String {
    match (part, whole) {
        (_, 0) => "-".to_owned(),
        (0, _) => "0 %".to_owned(),
        (part, whole) => format!("{:.1} %", 100.0 * part as f64 / whole as f64),
    }
}

/// With a comma after each three digits.
fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn bytes(n: u64) -> String {
    let mut size = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1_024.0 {
            return if unit == "B" { format!("{n} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1_024.0;
    }
    format!("{size:.1} TiB")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_put_for_people() {
        assert_eq!(
            [number(0), number(999), number(1_000), number(12_345_678)],
            ["0", "999", "1,000", "12,345,678"]
        );
        assert_eq!(
            [bytes(0), bytes(1_023), bytes(1_536), bytes(3 << 30)],
            ["0 B", "1023 B", "1.5 KiB", "3.0 GiB"]
        );
    }

    #[test]
    fn shares_are_of_what_came() {
        let stats = |hits: u64| {
            json!({
                "requests": {"search": {"hit": hits, "miss": 1, "bypass": 1, "stale": 0}, "other": {"hit": 0, "bypass": 0}},
                "ratios": {"hit_count": hits, "miss_count": 2, "hit_ratio": 0.8, "share_of_all_searches": 0.25},
                "reasons": {"now": 1, "write": 3}, "counters": {"evictions_size": 4, "saved_microseconds": 2_500_000},
                "gauges": {"entries": 5, "bytes": 2048, "engine_reachable": 1, "draining": 0},
                "hosts": [{"host": "http://localhost:9200", "used": true}],
            })
        };
        let text = render("a:1", &stats(8), None);
        assert!(text.starts_with("escache at a:1: ready\n"), "{text}");
        let line = |begin: &str, text: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(begin)).unwrap().to_owned();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("all", &text), "all 10 80.0 % 10.0 % 10.0 % 0 %");
        assert_eq!(line("search", &text), "search 10 80.0 % 10.0 % 10.0 % 0 %");
        assert_eq!(line("hit ratio", &text), "hit ratio 80.0 % (hits 8, misses 2)");
        assert_eq!(line("share of all", &text), "share of all searches 25.0 % answered from the cache");
        assert!(!text.contains("other") && !text.contains("in the last"), "{text}");
        assert_eq!(line("cache", &text), "cache 5 entries, 2.0 KiB; 4 evicted for want of room");
        assert!(line("engine", &text).starts_with("engine 2.5 s of searches saved"), "{text}");
        assert!(text.find("write").unwrap() < text.find("now").unwrap(), "{text}");
        let text = render("a:1", &stats(12), Some((&stats(8), 2)));
        assert_eq!(line("in the last", &text), "in the last 2 s 4 100.0 % 0 % 0 % 0 %");
        let ratio = line("hit ratio", &text);
        assert_eq!(ratio, "hit ratio 85.7 % (hits 12, misses 2); 100.0 % in the last 2 s");
    }
}
