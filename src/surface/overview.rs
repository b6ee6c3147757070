//! `/overview`: all that the live page shows, in one answer; and the task that keeps its history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::advice::advice;
use super::ratios::{self, reads};
use crate::generation::Cause;
use crate::outcome::{Outcome, Reason};
use crate::proxy::Proxy;
use crate::stats::history::{Step, Totals};
use crate::stats::latency::Counted;
use crate::stats::searches::Told;
use crate::watcher::Invalidated;

/// How many indices, and searches by each order, are shown.
const MOST_ROWS: usize = 50;

/// Ends a step of the history at each interval, for ever.
pub async fn keep_history(proxy: Arc<Proxy>, interval: Duration) {
    let began = Instant::now();
    loop {
        proxy.store.settle();
        proxy.stats.history.add(began.elapsed(), totals(&proxy));
        tokio::time::sleep(interval).await;
    }
}

fn totals(proxy: &Proxy) -> Totals {
    let stats = &proxy.stats;
    let took = |outcome| {
        let all = reads().map(|api| stats.latency(api as usize, outcome));
        all.reduce(|all, one| all.and(&one)).unwrap_or_default()
    };
    let all: [Counted; 4] = Outcome::ALL.map(took);
    let searches = all.each_ref().map(Counted::count);
    let [hits, misses, ..] = all;
    let (entries, bytes) = proxy.store.size();
    let counted = stats.total();
    Totals {
        searches,
        lookups: [counted.hits, counted.misses],
        hits,
        misses,
        engine: stats.engine.counted(),
        evictions: stats.plain.evictions_size.get(),
        changes: proxy.watcher.invalidations().each().iter().map(Invalidated::total).sum(),
        entries,
        bytes,
    }
}

/// The JSON of `/overview`.
pub(super) fn json(proxy: &Proxy, show_queries: bool) -> Value {
    proxy.store.settle();
    let now = totals(proxy);
    let outcomes: Map<String, Value> = Outcome::ALL
        .iter()
        .zip(now.searches)
        .map(|(outcome, count)| (outcome.name().to_owned(), count.into()))
        .collect();
    let engine = proxy.engine.load();
    let engine = engine.engine.map(|engine| {
        let (major, minor) = engine.version;
        format!("{:?} {major}.{minor}", engine.distribution)
    });
    let steps: Vec<Value> = proxy.stats.history.steps().iter().map(step).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "engine": engine,
        "stranger": proxy.stranger().as_ref().map(|gave| gave.as_str()),
        "reachable": proxy.reachable(),
        "draining": proxy.draining.load(Ordering::Acquire),
        "show_queries": show_queries,
        "totals": {
            "searches": outcomes,
            "ratios": ratios::json(&proxy.stats),
            "entries": now.entries,
            "bytes": now.bytes,
            "capacity": proxy.capacity,
            "evictions": now.evictions,
            "changes": now.changes,
            "saved_seconds": Duration::from_micros(proxy.stats.plain.saved_microseconds.get()).as_secs_f64(),
            "spent_seconds": now.engine.seconds(),
        },
        "history": steps,
        "indices": indices(proxy),
        "searches": searches(proxy, show_queries),
        "reasons": reasons(proxy),
    })
}

fn step(step: &Step) -> Value {
    let [hit, miss, stale, bypass] = step.searches;
    let [hit_count, miss_count] = step.lookups;
    json!({
        "at": step.at.as_secs_f64(),
        "seconds": step.length.as_secs_f64(),
        "hit": hit, "miss": miss, "stale": stale, "bypass": bypass,
        "hit_count": hit_count, "miss_count": miss_count,
        "hit_seconds": step.hits.map(|(median, most)| [median, most]),
        "miss_seconds": step.misses.map(|(median, most)| [median, most]),
        "engine_seconds": step.engine.map(|(median, most)| [median, most]),
        "evictions": step.evictions,
        "changes": step.changes,
        "entries": step.entries,
        "bytes": step.bytes,
    })
}

/// What each index is asked, takes, and is changed by; the most asked first.
fn indices(proxy: &Proxy) -> Value {
    let changes: BTreeMap<Arc<str>, _> =
        proxy.watcher.invalidations().each().into_iter().map(|row| (row.index, row.counts)).collect();
    let mut numbers = proxy.stats.by_index();
    for index in changes.keys() {
        numbers.entry(Arc::clone(index)).or_default();
    }
    let mut rows: Vec<_> = numbers.into_iter().collect();
    rows.sort_by_key(|(_, numbers)| std::cmp::Reverse(numbers.hits + numbers.misses));
    let total = rows.len();
    let rows: Vec<Value> = rows
        .into_iter()
        .take(MOST_ROWS)
        .map(|(index, numbers)| {
            let counts = changes.get(&index).copied().unwrap_or_default();
            let causes: Map<String, Value> = Cause::ALL
                .iter()
                .zip(counts)
                .filter(|(_, count)| *count > 0)
                .map(|(cause, count)| (cause.name().to_owned(), count.into()))
                .collect();
            json!({
                "index": &*index, "hits": numbers.hits, "misses": numbers.misses, "bytes": numbers.memory,
                "evictions": numbers.evictions, "changes": counts.iter().sum::<u64>(), "causes": causes,
            })
        })
        .collect();
    json!({"total": total, "rows": rows})
}

/// The searches that save most and those that cost most; the page sorts them.
fn searches(proxy: &Proxy, show_queries: bool) -> Vec<Value> {
    let mut all = proxy.stats.searches.each();
    all.sort_by_key(|told| std::cmp::Reverse(told.saved));
    let mut shown: Vec<Told> = all.drain(..all.len().min(MOST_ROWS)).collect();
    all.sort_by_key(|told| std::cmp::Reverse(told.spent));
    shown.extend(all.into_iter().take(MOST_ROWS));
    shown.into_iter().map(|told| search(proxy, &told, show_queries)).collect()
}

fn search(proxy: &Proxy, told: &Told, show_queries: bool) -> Value {
    let example = proxy.stats.searches.example(&told.id);
    let refusal = told.refusal.as_ref();
    let mut out = json!({
        "id": told.id,
        "api": told.described.api,
        "target": told.described.target,
        "shape": told.described.shape,
        "hits": told.hits,
        "asked": told.asked,
        "saved_seconds": told.saved.as_secs_f64(),
        "spent_seconds": told.spent.as_secs_f64(),
        "verdict": if told.outcome == Outcome::Bypass { "bypass" } else { "cacheable" },
        "reason": refusal.map(|refusal| refusal.reason.name()),
        "place": refusal.map(|refusal| refusal.place.as_str()),
        "explainable": example.is_some(),
    });
    if let Some(example) = example.filter(|_| show_queries) {
        let headers: Map<String, Value> =
            example.headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        out["example"] = json!({
            "method": example.method, "path": example.path, "headers": headers, "body": example.body,
            "identity": example.identity,
        });
    }
    out
}

/// Why searches bypass, or are not stored; the most frequent first.
fn reasons(proxy: &Proxy) -> Vec<Value> {
    let count = |reason: Reason| -> u64 {
        let outcomes = reads().flat_map(|api| Outcome::ALL.map(|outcome| (api, outcome)));
        outcomes.map(|(api, outcome)| proxy.stats.reason_of(api as usize, outcome, reason)).sum()
    };
    let mut counted: Vec<(Reason, u64)> =
        Reason::ALL.iter().map(|reason| (*reason, count(*reason))).filter(|(_, count)| *count > 0).collect();
    counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let told = |(reason, count): (Reason, u64)| json!({"reason": reason.name(), "count": count, "help": reason.help(), "advice": advice(reason)});
    counted.into_iter().map(told).collect()
}
