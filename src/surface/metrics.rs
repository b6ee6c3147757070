//! `/metrics`: the counters in the Prometheus text format; `/stats`: the same as JSON.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};

use crate::elastic::api::Api;
use crate::outcome::{Outcome, Reason};
use crate::proxy::Proxy;
use crate::upstream::{HostReport, Standing};

/// The text of `/metrics`.
pub(super) fn text(proxy: &Arc<Proxy>) -> Result<String, std::fmt::Error> {
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
    let plain: Map<String, Value> = stats.plain.each().map(|(n, _, v)| (n.to_owned(), v.into())).collect();
    let gauges: Map<String, Value> =
        gauges(proxy).into_iter().map(|(n, _, v)| (n.to_owned(), v.into())).collect();
    let hosts: Vec<Value> = proxy.upstream.hosts().iter().map(host).collect();
    json!({"requests": requests, "reasons": reasons, "counters": plain, "gauges": gauges, "hosts": hosts})
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

fn gauges(proxy: &Proxy) -> [(&'static str, &'static str, i64); 8] {
    let (entries, bytes) = proxy.store.size();
    let (kept, kept_bytes) = proxy.store.superseded();
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    [
        ("entries", "Entries stored", number(entries)),
        ("bytes", "Bytes of keys, headers, bodies and overhead", number(bytes)),
        ("superseded_entries", "Superseded entries kept for stale_if_error", number(kept)),
        ("superseded_bytes", "Bytes of superseded entries kept for stale_if_error", number(kept_bytes)),
        ("flights_under_way", "Upstream searches under way", number(proxy.flights.len() as u64)),
        ("targets", "Targets whose generations are remembered", number(proxy.watcher.targets())),
        (
            "engine_reachable",
            "Whether the engine answered when last asked",
            proxy.reachable.load(Ordering::Acquire).into(),
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

#[derive(Debug)]
struct All(Arc<Proxy>);

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (proxy, stats) = (&self.0, &self.0.stats);
        let help = "Requests by endpoint and outcome";
        let mut requests = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for api in Api::ALL {
            for outcome in Outcome::ALL {
                let labels = [("api", api.name()), ("outcome", outcome.name())];
                let value = stats.requests(api as usize, outcome);
                ConstCounter::new(value).encode(requests.encode_family(&labels)?)?;
            }
        }
        let help = "Requests that were not answered from the cache, or not stored, by reason";
        let mut reasons = encoder.encode_descriptor("refusals", help, None, MetricType::Counter)?;
        for reason in Reason::ALL {
            let labels = [("reason", reason.name())];
            ConstCounter::new(stats.reason(*reason)).encode(reasons.encode_family(&labels)?)?;
        }
        for (name, help, value) in stats.plain.each() {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
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
        let help = "The version of escache";
        let mut info = encoder.encode_descriptor("build", help, None, MetricType::Gauge)?;
        ConstGauge::new(1_i64).encode(info.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)
    }
}
