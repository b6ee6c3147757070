//! Spans: what a collector is sent, what the engine is told of them, and that no request waits for either.

use escache::otlp::{self, Exporting, OtlpSettings};
use escache::policy::Share;
use escache::upstream::Host;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use crate::support::collector::{Collector, attribute, hex};
use crate::support::engine::{Api, Engine, Flavour, Twist, engine_of};
use crate::support::escache::{Escache, two, verdict};
use crate::support::patience::until;

const SEARCH: &str = "/logs/_search";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const JSON: (&str, &str) = ("content-type", "application/json");
/// Spans are sent at once, so that nobody waits for the time to pass.
const AT_ONCE: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "1");

struct Traced {
    engine: Engine,
    collector: Collector,
    escache: Escache,
    exporting: Exporting,
}

async fn traced(sample: Option<f64>, env: &[(&str, &str)]) -> Traced {
    traced_before(two().await, sample, env).await
}

async fn traced_before(
    (engine, escache): (Engine, Escache),
    sample: Option<f64>,
    env: &[(&str, &str)],
) -> Traced {
    let collector = Collector::start().await;
    let settings = OtlpSettings {
        endpoint: Some(Host::parse(&collector.url).unwrap()),
        sample: sample.map(|sample| Share::new(sample).unwrap()),
        service_name: None,
    };
    let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let (tracer, exporting) = otlp::begin(&settings, env, &escache.proxy.stats).unwrap().unwrap();
    escache.proxy.spans.set(tracer);
    Traced { engine, collector, escache, exporting }
}

impl Traced {
    async fn search(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let answer = self.escache.send("POST", path, &[&[JSON], headers].concat(), "{}").await;
        verdict(&answer.headers).0.to_owned()
    }

    /// What the engine was told of the last search.
    fn told(&self, header: &str) -> Option<String> {
        self.engine.last(Api::Search).header(header).map(str::to_owned)
    }
}

#[track_caller]
fn check(span: &Span, expected: &[(&str, Option<&str>)]) {
    for (name, value) in expected {
        assert_eq!(attribute(span, name).as_deref(), *value, "{name} of {span:#?}");
    }
}

#[tokio::test]
async fn a_request_has_a_span_and_so_has_each_call_to_the_engine() {
    let mut traced = traced(None, &[AT_ONCE]).await;
    let headers = [("traceparent", PARENT), ("tracestate", "a=1")];
    assert_eq!(traced.search(SEARCH, &headers).await, "MISS");
    let taken = traced.collector.next().await;
    assert_eq!(
        (taken.path.as_str(), taken.headers["content-type"].as_bytes()),
        ("/v1/traces", &b"application/x-protobuf"[..])
    );
    let resource = format!("{:?}", taken.request.resource_spans[0].resource);
    assert!(resource.contains("service.name") && resource.contains("\"escache\""), "{resource}");
    let mut spans: Vec<Span> = taken.spans().collect();
    while spans.len() < 2 {
        spans.extend(traced.collector.spans(1).await);
    }
    // who ends first is sent first
    let [call, request] = &spans[..] else { panic!("{spans:#?}") };
    for span in [call, request] {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano && span.start_time_unix_nano > 0);
        check(
            span,
            &[
                ("http.request.method", Some("POST")),
                ("http.response.status_code", Some("200")),
                ("db.operation.name", Some("search")),
                ("db.collection.name", Some("logs")),
                ("db.system.name", Some("elasticsearch")),
                ("error.type", None),
            ],
        );
    }
    assert_eq!((request.name.as_str(), request.kind), ("POST /{index}/_search", SpanKind::Server as i32));
    assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
    check(
        request,
        &[
            ("http.route", Some("/{index}/_search")),
            ("url.path", Some("/{index}/_search")),
            ("escache.outcome", Some("miss")),
            ("escache.stored", Some("true")),
            ("escache.reason", None),
            ("escache.age_seconds", None),
        ],
    );
    assert_eq!((call.name.as_str(), call.kind), ("search", SpanKind::Client as i32));
    assert_eq!(call.parent_span_id, request.span_id);
    let port = traced.engine.addr().port().to_string();
    check(call, &[("server.address", Some("127.0.0.1")), ("server.port", Some(&port))]);
    // the engine's own spans are children of the call
    let expected = format!("00-{TRACE}-{}-01", hex(&call.span_id));
    assert_eq!(
        (traced.told("traceparent"), traced.told("tracestate")),
        (Some(expected), Some("a=1".to_owned()))
    );

    // a hit asks nobody
    assert_eq!(traced.search(SEARCH, &headers).await, "HIT");
    let bypassed = traced.search("/logs/_search?scroll=1m&q=secret", &headers).await;
    assert_eq!(bypassed, "BYPASS");
    let spans = traced.collector.spans(3).await;
    let [hit, _, bypass] = &spans[..] else { panic!("{spans:#?}") };
    check(hit, &[("escache.outcome", Some("hit")), ("escache.stored", Some("false"))]);
    assert_eq!(attribute(hit, "escache.key").unwrap().len(), 16);
    assert_eq!(attribute(hit, "escache.key"), attribute(request, "escache.key"));
    assert!(attribute(hit, "escache.age_seconds").unwrap().parse::<f64>().unwrap() >= 0.0);
    check(bypass, &[("escache.outcome", Some("bypass")), ("escache.reason", Some("stateful"))]);
    assert_eq!(traced.escache.proxy.stats.plain.spans_dropped.get(), 0);
    traced.exporting.finish().await;
    assert_eq!(traced.escache.proxy.stats.plain.spans_exported.get(), 5);
}

#[tokio::test]
async fn the_engine_is_named_as_what_it_is() {
    let engine = engine_of(Flavour::Os2, &["logs"]);
    let escache = Escache::start(&engine.url()).await;
    let mut traced = traced_before((engine, escache), None, &[AT_ONCE]).await;
    traced.search(SEARCH, &[]).await;
    for span in traced.collector.spans(2).await {
        check(&span, &[("db.system.name", Some("opensearch"))]);
    }
}

#[tokio::test]
async fn spans_have_no_secret() {
    let mut traced = traced(None, &[AT_ONCE]).await;
    let headers = [
        JSON,
        ("traceparent", PARENT),
        ("authorization", "Basic c2VjcmV0OnNlY3JldA=="),
        ("cookie", "secret"),
    ];
    let body = r#"{"query":{"term":{"user":"secret"}}}"#;
    for (method, path) in [
        ("POST", "/logs/_search?q=secret&scroll=1m"),
        ("PUT", "/secret/_doc/secret?routing=secret"),
        ("SECRET", "/_secret1/secret"),
        ("POST", "/secret/_bulk"),
    ] {
        traced.escache.send(method, path, &headers, body).await;
    }
    let spans = traced.collector.spans(8).await;
    assert_eq!(spans.len(), 8);
    let text = format!("{spans:?}").to_lowercase();
    for secret in ["secret", "c2vjcmv0", "routing", "scroll=", "127.0.0.1:"] {
        assert!(!text.contains(secret), "{secret} in {spans:#?}");
    }
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert!(
        names.contains(&"PUT /{index}/_doc/{name}") && names.contains(&"_OTHER /{index}/{name}"),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_passes_as_it_came() {
    let mut traced = traced(Some(1.0), &[AT_ONCE]).await;
    traced.search(SEARCH, &[("traceparent", UNSAMPLED), ("tracestate", "a=1")]).await;
    assert_eq!(
        (traced.told("traceparent").as_deref(), traced.told("tracestate").as_deref()),
        (Some(UNSAMPLED), Some("a=1"))
    );
    // the first spans that come are those of the next one
    let other = PARENT.replace(TRACE, "00000000000000000000000000000001");
    traced.search("/logs/_search?size=2", &[("traceparent", &other)]).await;
    let spans = traced.collector.spans(2).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id).ends_with("0001")), "{spans:#?}");
}

/// Flags that are not known are not passed on (W3C Trace Context 3.2.2.5).
#[tokio::test]
async fn of_the_flags_only_that_of_sampling_goes_on() {
    let mut traced = traced(None, &[AT_ONCE]).await;
    let flagged = format!("{}ff", &PARENT[..PARENT.len() - 2]);
    traced.search(SEARCH, &[("traceparent", &flagged)]).await;
    let spans = traced.collector.spans(2).await;
    let expected = format!("00-{TRACE}-{}-01", hex(&spans[0].span_id));
    assert_eq!(traced.told("traceparent"), Some(expected));
}

/// The headers that a client vouches for stay as they came, also where there are none; the spans are made all the same.
#[tokio::test]
async fn a_signed_request_is_passed_on_as_it_came() {
    let mut traced = traced(None, &[AT_ONCE]).await;
    let signed = ("authorization", "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=b");
    let all = [signed, ("traceparent", PARENT), ("tracestate", "a=1")];
    for (headers, parent) in [(&all[..], Some(PARENT)), (&all[..1], None)] {
        traced.search(SEARCH, headers).await;
        assert_eq!(traced.told("traceparent").as_deref(), parent);
        let spans = traced.collector.spans(2).await;
        let [call, request] = &spans[..] else { panic!("{spans:#?}") };
        assert_eq!((&call.trace_id, &call.parent_span_id), (&request.trace_id, &request.span_id));
        assert_eq!(hex(&request.trace_id) == TRACE, parent.is_some());
    }
}

#[tokio::test]
async fn a_trace_begins_here_where_the_client_has_none() {
    let mut all = traced(Some(1.0), &[AT_ONCE]).await;
    for (path, parent) in [("/logs/_search?size=1", None), ("/logs/_search?size=2", Some("00-nonsense"))] {
        let mut headers = vec![("tracestate", "a=1")];
        headers.extend(parent.map(|parent| ("traceparent", parent)));
        all.search(path, &headers).await;
        let spans = all.collector.spans(2).await;
        let [call, request] = &spans[..] else { panic!("{spans:#?}") };
        assert!(request.parent_span_id.is_empty() && request.trace_id == call.trace_id, "{request:#?}");
        let expected = format!("00-{}-{}-01", hex(&call.trace_id), hex(&call.span_id));
        // the state of a trace that is not there belongs to nothing
        assert_eq!((all.told("traceparent"), all.told("tracestate")), (Some(expected), None));
    }
    let none = traced(Some(0.0), &[AT_ONCE]).await;
    none.search(SEARCH, &[("tracestate", "a=1")]).await;
    assert_eq!((none.told("traceparent"), none.told("tracestate").as_deref()), (None, Some("a=1")));
}

#[tokio::test]
async fn a_multi_search_says_how_many_were_hits() {
    let mut traced = traced(None, &[AT_ONCE]).await;
    traced.search(SEARCH, &[]).await;
    traced.collector.spans(2).await;
    let lines = "{}\n{}\n{}\n{\"size\":1}\n";
    let headers = [("content-type", "application/x-ndjson"), ("traceparent", PARENT)];
    traced.escache.send("POST", "/logs/_msearch", &headers, lines).await;
    traced.escache.send("POST", "/logs/_msearch", &headers, lines).await;
    let spans = traced.collector.spans(3).await;
    let of_requests: Vec<&Span> = spans.iter().filter(|span| span.kind == SpanKind::Server as i32).collect();
    for span in &of_requests {
        check(span, &[("escache.items", Some("2")), ("db.operation.name", Some("msearch"))]);
    }
    let [first, second] = of_requests[..] else { panic!("{of_requests:#?}") };
    check(first, &[("escache.items_hit", Some("1"))]);
    check(second, &[("escache.items_hit", Some("2"))]);
}

/// Who waits for the search of another has no call of its own.
#[tokio::test]
async fn requests_that_share_a_search_have_one_call() {
    let mut traced = traced(None, &[AT_ONCE]).await;
    let gate = traced.engine.gate_before(Api::Search);
    let other = PARENT.replace(TRACE, "00000000000000000000000000000001");
    let (of_one, of_other) = ([("traceparent", PARENT)], [("traceparent", other.as_str())]);
    let one_waits = async {
        let followers = &traced.escache.proxy.stats.plain.followers;
        until("one waits for the other", async || followers.get() == 1).await;
        gate.release();
    };
    tokio::join!(traced.search(SEARCH, &of_one), traced.search(SEARCH, &of_other), one_waits);
    let spans = traced.collector.spans(3).await;
    let (calls, requests): (Vec<&Span>, Vec<&Span>) =
        spans.iter().partition(|span| span.kind == SpanKind::Client as i32);
    let of = |collapsed: &str| {
        let mut found =
            requests.iter().filter(|span| attribute(span, "escache.collapsed").as_deref() == Some(collapsed));
        (*found.next().unwrap_or_else(|| panic!("none is collapsed={collapsed}: {spans:#?}"))).clone()
    };
    let (led, waited) = (of("false"), of("true"));
    assert_eq!((calls.len(), requests.len()), (1, 2), "{spans:#?}");
    assert_eq!((&calls[0].trace_id, &calls[0].parent_span_id), (&led.trace_id, &led.span_id));
    assert_ne!(waited.trace_id, led.trace_id);
}

#[tokio::test]
async fn failures_and_those_who_leave_are_told() {
    let mut traced = traced(None, &[AT_ONCE]).await;
    traced.engine.on(Api::Search).always(Twist::Drop);
    traced.search(SEARCH, &[]).await;
    traced.engine.calm();
    let spans = traced.collector.spans(2).await;
    check(&spans[0], &[("error.type", Some("bad_gateway_exception")), ("http.response.status_code", None)]);
    check(&spans[1], &[("error.type", Some("502")), ("http.response.status_code", Some("502"))]);
    for span in &spans {
        assert_eq!(span.status.as_ref().unwrap().code, StatusCode::Error as i32);
    }
    // what is the client's fault is none of the server, and one of the call
    traced.escache.send("GET", "/logs/_doc/nothing", &[], "").await;
    let spans = traced.collector.spans(2).await;
    check(&spans[0], &[("error.type", Some("404"))]);
    check(&spans[1], &[("error.type", None), ("http.response.status_code", Some("404"))]);
    // a client leaves
    let gate = traced.engine.gate_before(Api::Search);
    let url = format!("{}{SEARCH}", traced.escache.url);
    let client = traced.escache.client.clone();
    let left =
        tokio::spawn(async move { client.start("POST", &url, &[JSON], "{\"size\":3}").await.map(drop) });
    gate.arrived(1).await;
    left.abort();
    let spans = traced.collector.spans(2).await;
    for span in &spans {
        check(span, &[("error.type", Some("cancelled")), ("http.response.status_code", None)]);
    }
    gate.release();
}

#[tokio::test]
async fn a_collector_that_is_stuck_holds_up_nobody_and_what_it_misses_is_counted() {
    let few = [AT_ONCE, ("OTEL_BSP_MAX_QUEUE_SIZE", "2"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")];
    let mut traced = traced(None, &few).await;
    traced.collector.open(false);
    traced.search(SEARCH, &[]).await;
    for _ in 0..10 {
        assert_eq!(traced.search(SEARCH, &[]).await, "HIT");
    }
    // 2 of the miss, 10 of the hits; one is on its way at most, and two wait
    let counters = &traced.escache.proxy.stats.plain;
    assert!((9..=10).contains(&counters.spans_dropped.get()), "{}", counters.spans_dropped.get());
    traced.collector.open(true);
    traced.collector.spans(2).await;
    traced.exporting.finish().await;
    assert_eq!(counters.spans_dropped.get() + counters.spans_exported.get(), 12);
}

#[tokio::test]
async fn what_a_collector_refuses_is_counted() {
    let traced = traced(None, &[AT_ONCE]).await;
    traced.collector.answer(400);
    traced.search(SEARCH, &[]).await;
    traced.exporting.finish().await;
    let counters = &traced.escache.proxy.stats.plain;
    assert_eq!((counters.spans_dropped.get(), counters.spans_exported.get()), (2, 0));
}

#[tokio::test]
async fn what_waits_is_sent_at_the_end() {
    let mut traced = traced(None, &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]).await;
    traced.search(SEARCH, &[]).await;
    traced.search(SEARCH, &[]).await;
    traced.exporting.finish().await;
    assert_eq!(traced.collector.spans(3).await.len(), 3);
}
