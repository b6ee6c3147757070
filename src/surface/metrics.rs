//! `/metrics`: the counters in the Prometheus text format; `/stats`: the same as JSON.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use serde_json::{Map, Value, json};

use super::ratios;
use crate::elastic::api::Api;
use crate::generation::Cause;
use crate::outcome::{Outcome, Reason};
use crate::proxy::Proxy;
use crate::stats::latency::Counted;
use crate::stats::{ReadingKind, Stats};
use crate::telemetry;
use crate::upstream::{HostReport, Standing};
use crate::watcher::{Invalidated, OTHER};

/// The text of `/metrics`.
pub(super) fn text(proxy: &Arc<Proxy>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("escache");
    registry.register_collector(Box::new(All(Arc::clone(proxy))));
    let mut out = String::new();
    encode(&mut out, &registry)?;
    Ok(out)
}

/// The text of `/stats`.
pub(super) fn json(proxy: &Arc<Proxy>) -> Value {
    let stats = &proxy.stats;
    let mut requests = Map::new();
    for api in Api::ALL {
        let outcomes: Map<String, Value> = Outcome::ALL
            .iter()
            .map(|o| (o.name().to_owned(), stats.requests(api as usize, *o).into()))
            .collect();
        requests.insert(api.name().to_owned(), outcomes.into());
    }
    let reasons: Map<String, Value> = Reason::ALL
        .iter()
        .map(|r| (r.name().to_owned(), Value::from(stats.reason(*r))))
        .filter(|(_, n)| *n != 0)
        .collect();
    let plain: Map<String, Value> = counters(stats).map(|(n, _, v)| (n.to_owned(), v.into())).collect();
    let gauges: Map<String, Value> =
        gauges(proxy).into_iter().map(|(n, _, v)| (n.to_owned(), v.into())).collect();
    let hosts: Vec<Value> = proxy.upstream.hosts().iter().map(host).collect();
    let ratios = ratios::json(stats);
    json!({"requests": requests, "ratios": ratios, "reasons": reasons, "counters": plain, "gauges": gauges, "hosts": hosts})
}

fn host(report: &HostReport) -> Value {
    let HostReport { host, standing, ejected, used, outstanding } = report;
    let (cluster, uuid) = match standing {
        Standing::Member => ("member", None),
        Standing::Other(uuid) => ("other", Some(uuid)),
        Standing::Untold => ("untold", None),
        Standing::Unknown => ("unknown", None),
    };
    json!({
        "host": host, "used": used, "ejected": ejected, "cluster": cluster, "other_cluster_uuid": uuid,
        "outstanding": outstanding,
    })
}

fn gauges(proxy: &Proxy) -> [(&'static str, &'static str, i64); 9] {
    let (entries, bytes) = proxy.store.size();
    let (kept, kept_bytes) = proxy.store.superseded();
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    [
        ("entries", "Entries stored", number(entries)),
        ("bytes", "Bytes of keys, headers, bodies and overhead", number(bytes)),
        ("superseded_entries", "Superseded entries kept for stale_if_error", number(kept)),
        ("superseded_bytes", "Bytes of superseded entries kept for stale_if_error", number(kept_bytes)),
        (
            "buffered_bytes",
            "Bytes of requests and answers held in memory beside the cache",
            number(proxy.budget.held()),
        ),
        ("flights_under_way", "Upstream searches under way", number(proxy.flights.len() as u64)),
        ("targets", "Targets whose generations are remembered", number(proxy.watcher.targets())),
        (
            "engine_reachable",
            "Whether the engine answers, by the latest word with it",
            proxy.reachable().into(),
        ),
        ("draining", "Whether escache is about to stop", proxy.draining.load(Ordering::Acquire).into()),
    ]
}

/// A gauge of each host: its name, its help and how it is read.
type HostGauge = (&'static str, &'static str, fn(&HostReport) -> i64);

const HOST_GAUGES: [HostGauge; 4] = [
    ("host_used", "Whether requests go to this host", |host| host.used.into()),
    ("host_ejected", "Whether this host is left for a while because it failed", |host| host.ejected.into()),
    ("host_left_out", "Whether this host is left out because it belongs to another cluster", |host| {
        matches!(host.standing, Standing::Other(_)).into()
    }),
    ("host_outstanding", "Requests to this host whose answers have not begun", |host| {
        i64::try_from(host.outstanding).unwrap_or(i64::MAX)
    }),
];

/// Counters of the table that are shown as one family with a label: what their names begin with, the family, its label,
/// its help.
const FAMILIES: [(&str, &str, &str, &str); 2] = [
    ("evictions_", "evictions", "cause", "Entries that left the store, by cause"),
    ("limited_", "limited", "limit", "Requests and connections that met a limit of a listener, by limit"),
];

/// Counters of the table that are shown in another way.
const ELSEWHERE: [&str; 3] = ["readings", "readings_invalid", "reading_microseconds"];

#[derive(Debug)]
struct All(Arc<Proxy>);

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let proxy = &self.0;
        requests(&proxy.stats, &mut encoder)?;
        durations(&proxy.stats, &mut encoder)?;
        plain(&proxy.stats, &mut encoder)?;
        invalidations(proxy, &mut encoder)?;
        for (name, help, value) in gauges(proxy) {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        let hosts = proxy.upstream.hosts();
        for (name, help, value) in HOST_GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for host in &hosts {
                ConstGauge::new(value(host))
                    .encode(family.encode_family(&[("host", host.host.as_str())])?)?;
            }
        }
        let help = "What this escache is, and the engine behind it";
        let mut build = encoder.encode_descriptor("build", help, None, MetricType::Info)?;
        let engine = proxy.engine.load();
        let (engine, version) = engine.engine.map_or(Default::default(), |engine| {
            let (major, minor) = engine.version;
            (format!("{:?}", engine.distribution).to_lowercase(), format!("{major}.{minor}"))
        });
        build.encode_info(&[
            ("version", env!("CARGO_PKG_VERSION")),
            ("engine", engine.as_str()),
            ("engine_version", version.as_str()),
        ])
    }
}

/// Requests by endpoint and outcome, and why. Of the reasons those of searches are there from the beginning, so that the
/// first one is seen as an increase; those of other endpoints when they have been given.
fn requests(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Requests by endpoint and outcome";
    let mut requests = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
    for (api, outcome) in each_outcome() {
        let labels = [("api", api.name()), ("outcome", outcome.name())];
        let value = stats.requests(api as usize, outcome);
        ConstCounter::new(value).encode(requests.encode_family(&labels)?)?;
    }
    let help =
        "Searches that could be answered from the cache, by what came of it: the hit ratio is made of these";
    let mut lookups = encoder.encode_descriptor("lookups", help, None, MetricType::Counter)?;
    let total = stats.total();
    for (result, value) in [("hit", total.hits), ("miss", total.misses)] {
        ConstCounter::new(value).encode(lookups.encode_family(&[("result", result)])?)?;
    }
    let help =
        "Requests that were not answered from the cache, or not stored, by endpoint, outcome and reason";
    let mut refusals = encoder.encode_descriptor("refusals", help, None, MetricType::Counter)?;
    for (api, outcome) in each_outcome() {
        for reason in Reason::ALL {
            let value = stats.reason_of(api as usize, outcome, *reason);
            if value > 0 || (api, outcome) == (Api::Search, Outcome::Bypass) {
                let labels = [("api", api.name()), ("outcome", outcome.name()), ("reason", reason.name())];
                ConstCounter::new(value).encode(refusals.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

fn each_outcome() -> impl Iterator<Item = (Api, Outcome)> {
    Api::ALL.into_iter().flat_map(|api| Outcome::ALL.map(|outcome| (api, outcome)))
}

fn durations(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let seconds = Some(&Unit::Seconds);
    let help = "Time until the answer to a request began, by endpoint and outcome";
    let mut family = encoder.encode_descriptor("request_duration", help, seconds, MetricType::Histogram)?;
    for (api, outcome) in each_outcome() {
        let counted = stats.latency(api as usize, outcome);
        // what a client never does has no series; that of hits is there from the beginning
        if counted.count() > 0 || (api, outcome) == (Api::Search, Outcome::Hit) {
            let labels = [("api", api.name()), ("outcome", outcome.name())];
            histogram(&counted, family.encode_family(&labels)?)?;
        }
    }
    let help = "Time that the engine took for searches and counts that were not answered from the cache";
    let family = encoder.encode_descriptor("engine_duration", help, seconds, MetricType::Histogram)?;
    histogram(&stats.engine.counted(), family)?;
    let help = "How long ago the reading had started that showed a hit to be current";
    let family = encoder.encode_descriptor("hit_age", help, seconds, MetricType::Histogram)?;
    histogram(&stats.ages(), family)?;
    let help = "Time of readings: what is asked of the engine before something is served from the cache";
    let mut family = encoder.encode_descriptor("reading_duration", help, seconds, MetricType::Histogram)?;
    for kind in ReadingKind::ALL {
        histogram(&stats.readings(kind).0, family.encode_family(&[("kind", kind.name())])?)?;
    }
    let help = "Readings that found nothing, and whose requests were forwarded";
    let mut family = encoder.encode_descriptor("readings_invalid", help, None, MetricType::Counter)?;
    for kind in ReadingKind::ALL {
        let value = stats.readings(kind).1;
        ConstCounter::new(value).encode(family.encode_family(&[("kind", kind.name())])?)?;
    }
    Ok(())
}

fn histogram(counted: &Counted, mut metric: MetricEncoder<'_>) -> fmt::Result {
    metric.encode_histogram::<NoLabelSet>(counted.seconds(), counted.count(), &counted.octaves(), None)
}

/// The counters of the table, and that of the log, which has no proxy. Name, help and value of each.
fn counters(stats: &Stats) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
    let help = "Lines of the log that were dropped because nobody read those before them";
    stats.plain.each().chain([("log_lines_dropped", help, telemetry::dropped_lines())])
}

/// All counters that have no rows of their own. Times are shown in seconds, as Prometheus wants them.
fn plain(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let belongs = |name: &str| FAMILIES.iter().any(|(prefix, ..)| name.starts_with(prefix));
    for (name, help, value) in counters(stats).filter(|(name, ..)| !ELSEWHERE.contains(name)) {
        if belongs(name) {
            continue;
        }
        if let Some(name) = name.strip_suffix("_microseconds") {
            let help = help.trim_end_matches(", in microseconds");
            let seconds = Some(&Unit::Seconds);
            let metric = encoder.encode_descriptor(name, help, seconds, MetricType::Counter)?;
            ConstCounter::new(Duration::from_micros(value).as_secs_f64()).encode(metric)?;
        } else {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
    }
    for (prefix, name, label, help) in FAMILIES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (name, _, value) in stats.plain.each() {
            if let Some(what) = name.strip_prefix(prefix) {
                ConstCounter::new(value).encode(family.encode_family(&[(label, what)])?)?;
            }
        }
    }
    Ok(())
}

fn invalidations(proxy: &Proxy, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help =
        "Changes that readings have found, by index and cause; indices beyond a number together as _other";
    let mut family = encoder.encode_descriptor("invalidations", help, None, MetricType::Counter)?;
    let mut each = proxy.watcher.invalidations().each();
    if each.is_empty() {
        each.push(Invalidated::none());
    }
    for Invalidated { index, counts } in each {
        for (cause, count) in Cause::ALL.iter().zip(counts) {
            // what never happened to an index needs no series
            if count > 0 || &*index == OTHER {
                let labels = [("index", &*index), ("cause", cause.name())];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}
