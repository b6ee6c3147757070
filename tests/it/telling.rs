//! What escache tells of itself: metrics, the access log, and traces that pass through.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use escache::access::AccessSettings;
use escache::policy::Share;
use escache::telemetry::{self, Format};
use serde_json::{Value, json};

use crate::support::engine::{Api, Twist};
use crate::support::escache::{Escache, two, verdict};

const SEARCH: &str = "/logs/_search";

fn all() -> Value {
    json!({"query": {"match_all": {}}})
}

/// The samples of `/metrics`: name and labels as they stand there, and the value.
struct Metrics {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    async fn of(escache: &Escache) -> Metrics {
        let text = escache.client.get(format!("{}/metrics", escache.admin)).await.text();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Metrics { samples: samples.collect(), text }
    }

    #[track_caller]
    fn of_name(&self, name: &str) -> f64 {
        *self.samples.get(name).unwrap_or_else(|| panic!("no {name} in {}", self.text))
    }

    #[track_caller]
    fn check(&self, name: &str, expected: u32) {
        assert!((self.of_name(name) - f64::from(expected)).abs() < 0.1, "{name} is {}", self.of_name(name));
    }
}

#[tokio::test]
async fn metrics_say_what_became_of_requests_and_how_long_it_took() {
    let (engine, escache) = two().await;
    for _ in 0..3 {
        escache.search(SEARCH, all()).await;
    }
    escache.search("/logs/_search?scroll=1m", all()).await;
    escache.send("GET", "/logs/_count", &[], "").await;
    engine.on(Api::Search).next(Twist::ShardFailed);
    escache.search(SEARCH, json!({"size": 7})).await;
    let metrics = Metrics::of(&escache).await;
    for (labels, expected) in [
        ("api=\"search\",outcome=\"hit\"", 2),
        ("api=\"search\",outcome=\"miss\"", 2),
        ("api=\"search\",outcome=\"bypass\"", 1),
        ("api=\"search\",outcome=\"stale\"", 0),
        ("api=\"count\",outcome=\"miss\"", 1),
    ] {
        metrics.check(&format!("escache_requests_total{{{labels}}}"), expected);
        if expected > 0 {
            metrics.check(&format!("escache_request_duration_seconds_count{{{labels}}}"), expected);
            let infinite = format!("escache_request_duration_seconds_bucket{{le=\"+Inf\",{labels}}}");
            metrics.check(&infinite, expected);
        }
    }
    metrics.check("escache_refusals_total{api=\"search\",outcome=\"bypass\",reason=\"stateful\"}", 1);
    metrics.check("escache_refusals_total{api=\"search\",outcome=\"bypass\",reason=\"now\"}", 0);
    metrics.check("escache_refusals_total{api=\"search\",outcome=\"miss\",reason=\"partial\"}", 1);
    metrics.check("escache_engine_duration_seconds_count", 4);
    metrics.check("escache_hit_age_seconds_count", 2);
    metrics.check("escache_flights_total", 3);
    metrics.check("escache_stored_total", 2);
    metrics.check("escache_evictions_total{cause=\"size\"}", 0);
    metrics.check("escache_limited_total{limit=\"headers\"}", 0);
    metrics.check("escache_readings_invalid_total{kind=\"generation\"}", 0);
    metrics
        .check("escache_build_info{version=\"0.1.0\",engine=\"elasticsearch\",engine_version=\"8.19\"}", 1);
    assert!(metrics.of_name("escache_reading_duration_seconds_count{kind=\"generation\"}") >= 5.0);
    assert!(metrics.of_name("escache_reading_duration_seconds_count{kind=\"version\"}") >= 5.0);
    // two hits save twice what the first search took
    let saved = metrics.of_name("escache_saved_seconds_total");
    let engine_time = metrics.of_name("escache_engine_duration_seconds_sum");
    assert!(saved > 0.0 && saved < 2.0 * engine_time, "{saved} {engine_time}");
}

#[tokio::test]
async fn metrics_say_which_index_has_changed_and_why() {
    let (engine, escache) = two().await;
    engine.index("other", "1", json!({"team": "a"}));
    engine.refresh("other");
    let both = "/logs,other/_search";
    let mut expected = BTreeMap::<(&str, &str), u32>::new();
    let seen = async |expected: &BTreeMap<(&str, &str), u32>| {
        // two targets see each change of logs: it counts once
        for path in [SEARCH, both] {
            escache.search(path, all()).await;
        }
        let metrics = Metrics::of(&escache).await;
        for ((index, cause), count) in expected {
            let labels = format!("index=\"{index}\",cause=\"{cause}\"");
            metrics.check(&format!("escache_invalidations_total{{{labels}}}"), *count);
        }
        let sum: f64 = metrics
            .samples
            .iter()
            .filter(|(name, _)| name.starts_with("escache_invalidations_total"))
            .map(|(_, value)| *value)
            .sum();
        assert!((sum - f64::from(expected.values().sum::<u32>())).abs() < 0.1, "{expected:?}: {sum}");
    };
    seen(&expected).await;
    seen(&expected).await;
    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
    expected.insert(("logs", "refresh"), 1);
    seen(&expected).await;
    engine.index("other", "2", json!({"team": "b"}));
    engine.refresh("other");
    expected.insert(("other", "refresh"), 1);
    seen(&expected).await;
    engine.put_mapping("logs", json!({"properties": {"x": {"type": "keyword"}}}));
    expected.insert(("logs", "metadata"), 1);
    seen(&expected).await;
    engine.index("logs", "3", json!({"team": "b"}));
    expected.insert(("logs", "write"), 1);
    seen(&expected).await;
    engine.merge("other");
    expected.insert(("other", "merge"), 1);
    seen(&expected).await;
}

/// The conventions of Prometheus: a prefix, base units, `_total` for counters, help and type before the samples.
#[tokio::test]
async fn metrics_are_named_as_prometheus_wants_it() {
    let (_engine, escache) = two().await;
    escache.search(SEARCH, all()).await;
    let metrics = Metrics::of(&escache).await;
    let mut types = BTreeMap::new();
    let mut helped = 0;
    for line in metrics.text.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["#", "TYPE", name, kind] => assert_eq!(types.insert(name, kind), None, "{name} is there twice"),
            ["#", "HELP", ..] => helped += 1,
            _ => {}
        }
    }
    assert_eq!(helped, types.len());
    assert!(types.len() > 40, "{}", types.len());
    for (name, kind) in &types {
        assert!(name.starts_with("escache_"), "{name}");
        let odd = ["microseconds", "millis", "nanos", "_ms", "percent", "_total"];
        assert!(odd.iter().all(|odd| !name.ends_with(odd)), "{name}");
        if *kind == "histogram" {
            assert!(name.ends_with("_seconds"), "{name}");
        }
    }
    for sample in metrics.samples.keys() {
        let name = sample.split('{').next().unwrap();
        let (family, kind) = ["_total", "_info", "_bucket", "_sum", "_count", ""]
            .iter()
            .find_map(|suffix| {
                let family = name.strip_suffix(suffix)?;
                types.get(family).map(|kind| (*suffix, *kind))
            })
            .unwrap_or_else(|| panic!("{name} has no type"));
        let expected = match kind {
            "counter" => &["_total"][..],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(expected.contains(&family), "{name} is a {kind}");
    }
}

/// Lines of the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Those that came since this was last called, of requests alone.
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().filter(|line| line.contains("outcome")).map(str::to_owned).collect()
    }

    fn json(&self) -> Vec<Value> {
        self.take().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Logs to the lines as long as the guard lives: all that runs on this thread, which is escache as a whole.
fn log_to(lines: &Lines, level: &str, format: Format) -> tracing::subscriber::DefaultGuard {
    let writer = lines.clone();
    let subscriber = telemetry::subscriber(level, format, false, move || writer.clone()).unwrap();
    tracing::subscriber::set_default(subscriber)
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn a_line_tells_what_became_of_a_request_and_no_secret() {
    let lines = Lines::default();
    // lines for requests do not depend on the level of the others
    let _guard = log_to(&lines, "error", Format::Json);
    let (engine, escache) = two().await;
    escache.proxy.access.set(AccessSettings { share: Some(Share::ALL), slow: Duration::from_secs(60) });
    let headers = [
        ("content-type", "application/json"),
        ("x-opaque-id", "tab-7\\\" outcome"),
        ("traceparent", PARENT),
        ("authorization", "Basic c2VjcmV0OnNlY3JldA=="),
        ("cookie", "secret"),
    ];
    let send = async |path: &str, headers: &[(&str, &str)]| {
        escache.send("POST", path, headers, r#"{"query":{"term":{"user":"secret"}}}"#).await
    };
    let plain = [headers[0], headers[1], headers[2]];
    send(SEARCH, &plain).await;
    let hit = send(SEARCH, &plain).await;
    assert_eq!(verdict(&hit.headers).0, "HIT");
    send("/logs/_search?q=secret&scroll=1m", &headers).await;
    let bulk = "/secret%0aindex/_bulk?routing=secret";
    send(bulk, &headers).await;
    engine.on(Api::Search).always(Twist::Drop);
    let broken = send("/logs/_search?size=3", &plain).await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let of_requests: Vec<&str> = text.lines().filter(|line| line.contains("\"outcome\"")).collect();
    let told = lines.json();
    assert_eq!(told.len(), 5, "{told:#?}");
    let members =
        |line: &Value, names: &[&str]| names.iter().map(|name| line[name].clone()).collect::<Vec<_>>();
    let what = ["api", "index", "outcome", "reason", "stored", "status", "by"];
    assert_eq!(
        members(&told[0], &what),
        [
            json!("search"),
            json!("\"logs\""),
            json!("miss"),
            Value::Null,
            json!(true),
            json!(200),
            json!("engine")
        ]
    );
    assert_eq!(
        members(&told[1], &what),
        [
            json!("search"),
            json!("\"logs\""),
            json!("hit"),
            Value::Null,
            json!(false),
            json!(200),
            json!("cache")
        ]
    );
    assert_eq!((&told[2]["outcome"], &told[2]["reason"]), (&json!("bypass"), &json!("stateful")));
    assert_eq!((&told[3]["api"], &told[3]["outcome"]), (&json!("other"), &json!("bypass")));
    assert_eq!((told[4]["status"].as_u64(), broken.status), (Some(502), 502));
    for line in &told[..3] {
        assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736", "{line}");
        assert!(line["opaque_id"].as_str().unwrap().contains("tab-7"), "{line}");
        assert!(line["duration_seconds"].as_f64().unwrap() > 0.0, "{line}");
    }
    for line in [&told[0], &told[1], &told[4]] {
        assert_eq!(line["key"].as_str().map(str::len), Some(16), "{line}");
    }
    assert_eq!(told[0]["key"], told[1]["key"]);
    assert_ne!(told[0]["key"], told[4]["key"]);
    assert_eq!(told[1]["bytes"], hit.body.len());
    assert!(told[1]["age_seconds"].as_f64().unwrap() >= 0.0);
    assert!(told[0]["upstream_seconds"].as_f64().unwrap() > 0.0 && told[1]["upstream_seconds"].is_null());
    for secret in ["c2VjcmV0", "q=", "term", "routing", "scroll=", "\"secret\""] {
        assert!(of_requests.iter().all(|line| !line.contains(secret)), "{secret} in {of_requests:#?}");
    }
}

/// An error may be the engine's, which is passed on, or escache's own.
#[tokio::test]
async fn a_line_says_who_has_made_an_error() {
    let lines = Lines::default();
    let _guard = log_to(&lines, "error", Format::Json);
    let (engine, escache) = two().await;
    for (twist, status, by) in [
        (Twist::error(500, "null_pointer_exception", "a bug"), 500, "engine"),
        (Twist::error(502, "bad_gateway", "of somebody between"), 502, "engine"),
        (Twist::Drop, 502, "escache"),
    ] {
        for (api, method, path) in [
            (Api::Search, "GET", SEARCH),
            (Api::Search, "GET", "/logs/_search?scroll=1m"),
            (Api::Doc, "PUT", "/logs/_doc/1"),
        ] {
            engine.on(api).always(twist.clone());
            let seen = escache.send(method, path, &[], "{}").await.status;
            engine.calm();
            let told = lines.json();
            let [line] = told.as_slice() else { panic!("{told:#?}") };
            assert_eq!(
                (seen, &line["status"], &line["by"]),
                (status, &json!(status), &json!(by)),
                "{path} {line}"
            );
        }
    }
    let refused =
        escache.send("GET", "/logs/_search?size=9", &[("cache-control", "only-if-cached")], "").await;
    let line = lines.json().pop().unwrap();
    assert_eq!((refused.status, &line["by"]), (504, &json!("escache")), "{line}");
}

#[tokio::test]
async fn lines_are_for_errors_and_slow_requests_unless_more_are_wanted() {
    let lines = Lines::default();
    let _guard = log_to(&lines, "error", Format::Text);
    let (engine, escache) = two().await;
    // however slow this machine is
    escache.proxy.access.set(AccessSettings { slow: Duration::MAX, ..AccessSettings::default() });
    escache.search(SEARCH, all()).await;
    escache.search(SEARCH, all()).await;
    escache.send("GET", "/logs/_doc/nothing", &[], "").await;
    assert_eq!(lines.take(), [""; 0]);
    engine.on(Api::Search).always(Twist::Drop);
    escache.search("/logs/_search?size=3", all()).await;
    engine.calm();
    let told = lines.take();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("status=502") && told[0].contains("api=\"search\""), "{told:?}");
    escache.proxy.access.set(AccessSettings { share: Some(Share::NONE), slow: Duration::ZERO });
    escache.search(SEARCH, all()).await;
    assert_eq!(lines.take().len(), 1);
    // what a client has chosen stays on its line
    escache.send("GET", "/a%0ab/_search", &[], "").await;
    let told = lines.take();
    assert!(told.len() == 1 && told[0].contains("a\\nb"), "{told:?}");
    escache.proxy.access.set(AccessSettings { share: None, slow: Duration::ZERO });
    engine.on(Api::Search).always(Twist::Drop);
    escache.search("/logs/_search?size=4", all()).await;
    assert_eq!(lines.take(), [""; 0]);
}

#[tokio::test]
async fn traces_pass_through_and_do_not_split_the_cache() {
    let (engine, escache) = two().await;
    let traced =
        |parent| [("content-type", "application/json"), ("traceparent", parent), ("tracestate", "a=1")];
    let other = PARENT.replace("00f067aa0ba902b7", "0000000000000001");
    let first = escache.send("POST", SEARCH, &traced(PARENT), "{}").await;
    let second = escache.send("POST", SEARCH, &traced(&other), "{}").await;
    assert_eq!((verdict(&first.headers).0, verdict(&second.headers).0), ("MISS", "HIT"));
    let seen = engine.last(Api::Search);
    assert_eq!((seen.header("traceparent"), seen.header("tracestate")), (Some(PARENT), Some("a=1")));
    // what is passed on, too
    escache.send("POST", "/logs/_search?scroll=1m", &traced(&other), "{}").await;
    assert_eq!(engine.last(Api::Search).header("traceparent"), Some(other.as_str()));
    // and none is made up
    escache.search("/logs/_search?size=2", json!({})).await;
    let seen = engine.last(Api::Search);
    assert_eq!((seen.query.as_deref(), seen.header("traceparent")), (Some("size=2"), None));
}
