//! Spans of requests, for OpenTelemetry: one for each request of the data listener, and one for each time that the
//! engine is asked for it. Off until somebody exports them (`otlp`); then a request costs one look at a pointer.
//!
//! Where escache makes spans, the engine is told the one for its call as its parent (W3C Trace Context 3.2). Where it
//! makes none, since they are off or the trace is not sampled, the client's headers are passed on as they came.
//!
//! A span has no body, no query string, no credentials and no address of a client. Of a path it has what the engines
//! call their endpoints, and the index expression where the access log has it as well.

use std::sync::{Arc, OnceLock};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, TraceFlags, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span};

use crate::control::is_signed;
use crate::elastic::api::{Api, Distribution, route};
use crate::error::ProxyError;
use crate::outcome::CacheStatus;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Makes the spans of requests, if somebody wants them.
#[derive(Debug, Default)]
pub struct Spans(OnceLock<SdkTracer>);

impl Spans {
    /// From now on spans are made. Only the first call counts.
    pub fn set(&self, tracer: SdkTracer) {
        let _ = self.0.set(tracer);
    }

    /// Begins the span of a request, if there is to be one for it, and says in its head what the calls to the engine
    /// belong to.
    pub fn begin(
        &self,
        head: &mut Parts,
        engine: impl FnOnce() -> Option<Distribution>,
    ) -> Option<Box<ServerSpan>> {
        self.0.get().and_then(|tracer| begin(tracer, head, engine))
    }
}

fn begin(
    tracer: &SdkTracer,
    head: &mut Parts,
    engine: impl FnOnce() -> Option<Distribution>,
) -> Option<Box<ServerSpan>> {
    let parent = parent(&head.headers);
    let method = method(&head.method);
    let builder = tracer.span_builder(method).with_kind(SpanKind::Server);
    let mut span = tracer.build_with_context(builder, &parent);
    if !span.is_recording() {
        return None;
    }
    let route = route(&head.method, head.uri.path(), head.uri.query());
    let template = template(head.uri.path());
    span.update_name(format!("{method} {template}"));
    let attribute = KeyValue::new::<&'static str, &'static str>;
    let mut of_call = vec![attribute("http.request.method", method)];
    if route.api != Api::Other {
        of_call.push(attribute("db.operation.name", route.api.name()));
    }
    if let Some(engine) = engine() {
        of_call.push(attribute("db.system.name", system(engine)));
    }
    if let Some(index) = &route.index {
        of_call.push(KeyValue::new(
            "db.collection.name",
            index.chars().take(MOST_EXPRESSION).collect::<String>(),
        ));
    }
    span.set_attributes(of_call.iter().cloned());
    span.set_attribute(KeyValue::new("http.route", template.clone()));
    span.set_attribute(KeyValue::new("url.path", template));
    let context = span.span_context().clone();
    // what a client vouches for stays as it came
    if !is_signed(&head.headers) {
        if !parent.has_active_span() {
            // it goes with the parent that was not there, or was none (W3C Trace Context 3.3)
            head.headers.remove(TRACESTATE);
        }
        head.headers.insert(TRACEPARENT, traceparent(&context));
    }
    let name = if route.api == Api::Other { method } else { route.api.name() };
    let calls = Calls { tracer: tracer.clone(), parent: context, name, attributes: of_call };
    head.extensions.insert(Arc::new(calls));
    Some(Box::new(ServerSpan { span, ended: false }))
}

/// The span of a request.
#[derive(Debug)]
pub struct ServerSpan {
    span: Span,
    ended: bool,
}

impl ServerSpan {
    /// The head of the answer is ready.
    pub fn end(mut self, status: StatusCode, cache: &CacheStatus) {
        self.ended = true;
        let (span, notes) = (&mut self.span, &cache.notes);
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        span.set_attribute(KeyValue::new("escache.outcome", cache.outcome.name()));
        if let Some(refusal) = &cache.refusal {
            span.set_attribute(KeyValue::new("escache.reason", refusal.reason.name()));
        }
        span.set_attribute(KeyValue::new("escache.stored", cache.stored));
        span.set_attribute(KeyValue::new("escache.collapsed", cache.collapsed));
        if let Some(key) = notes.key {
            span.set_attribute(KeyValue::new("escache.key", format!("{key:016x}")));
        }
        if let Some(age) = notes.age {
            span.set_attribute(KeyValue::new("escache.age_seconds", age.as_secs_f64()));
        }
        if let Some(items) = &cache.items {
            let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            span.set_attribute(KeyValue::new("escache.items", number(items.all)));
            span.set_attribute(KeyValue::new("escache.items_hit", number(items.hits)));
        }
        // what is the client's fault is no error of the server
        fail_with(span, status, status.is_server_error());
        span.end();
    }
}

impl Drop for ServerSpan {
    fn drop(&mut self) {
        if !self.ended {
            gone(&mut self.span);
        }
    }
}

/// What the calls of a request to the engine belong to: an extension of its head.
#[derive(Debug)]
struct Calls {
    tracer: SdkTracer,
    parent: SpanContext,
    name: &'static str,
    attributes: Vec<KeyValue>,
}

/// The span of a call to the engine.
#[derive(Debug)]
pub struct ClientSpan {
    span: Span,
    ended: bool,
}

impl ClientSpan {
    /// Begins one, if the request has a span, and tells the engine of it.
    pub fn begin(head: &mut Parts) -> Option<ClientSpan> {
        let calls = head.extensions.get::<Arc<Calls>>()?;
        let parent = Context::new().with_remote_span_context(calls.parent.clone());
        let builder = calls.tracer.span_builder(calls.name).with_kind(SpanKind::Client);
        let builder = builder.with_attributes(calls.attributes.iter().cloned());
        let span = calls.tracer.build_with_context(builder, &parent);
        if !is_signed(&head.headers) {
            head.headers.insert(TRACEPARENT, traceparent(span.span_context()));
        }
        Some(ClientSpan { span, ended: false })
    }

    /// The head of the answer is there, from this host; or there is none.
    pub fn end(mut self, answered: Result<(StatusCode, String, Option<u16>), &ProxyError>) {
        self.ended = true;
        match answered {
            Ok((status, host, port)) => {
                let status_code = i64::from(status.as_u16());
                self.span.set_attribute(KeyValue::new("http.response.status_code", status_code));
                self.span.set_attribute(KeyValue::new("server.address", host));
                if let Some(port) = port {
                    self.span.set_attribute(KeyValue::new("server.port", i64::from(port)));
                }
                fail_with(&mut self.span, status, status.is_client_error() || status.is_server_error());
            }
            Err(error) => {
                self.span.set_attribute(KeyValue::new("error.type", error.kind()));
                self.span.set_status(Status::error(""));
            }
        }
        self.span.end();
    }
}

impl Drop for ClientSpan {
    fn drop(&mut self) {
        if !self.ended {
            gone(&mut self.span);
        }
    }
}

fn fail_with(span: &mut Span, status: StatusCode, failed: bool) {
    if failed {
        span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
        span.set_status(Status::error(""));
    }
}

/// Nobody waits for the answer any more.
fn gone(span: &mut Span) {
    span.set_attribute(KeyValue::new("error.type", "cancelled"));
    span.end();
}

/// What a request belongs to. One that says it twice says nothing.
fn parent(headers: &HeaderMap) -> Context {
    let mut said = headers.get_all(TRACEPARENT).iter();
    if said.next().is_some_and(|value| !is_well_formed(value)) || said.next().is_some() {
        return Context::new();
    }
    TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers))
}

/// Whether ids are written as W3C Trace Context 3.2.2 has them. The propagator reads them as numbers, and would take a sign for
/// a digit, and fewer digits for the same number.
fn is_well_formed(traceparent: &HeaderValue) -> bool {
    let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = traceparent.as_bytes().split(|byte| *byte == b'-');
    [2, 32, 16, 2].iter().all(|length| parts.next().is_some_and(|part| part.len() == *length && is_hex(part)))
}

/// What the engine would be told of the trace that a request says it belongs to, for those who try to break it.
#[doc(hidden)]
#[must_use]
pub fn passed_on(headers: &HeaderMap) -> Option<HeaderValue> {
    let context = parent(headers);
    let said = context.span().span_context().clone();
    said.is_valid().then(|| traceparent(&said))
}

fn traceparent(context: &SpanContext) -> HeaderValue {
    // flags that we do not know are not passed on (W3C Trace Context 3.2.2.5)
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    let text = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
    HeaderValue::try_from(text).expect("hexadecimal digits")
}

/// Methods that RFC 9110 and RFC 5789 know. A client may make up any other.
fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

fn system(engine: Distribution) -> &'static str {
    match engine {
        Distribution::Elasticsearch => "elasticsearch",
        Distribution::OpenSearch => "opensearch",
    }
}

/// Parts of endpoints that do not begin with `_`.
const WORDS: &[&str] = &[
    "aliases",
    "async",
    "clear",
    "close",
    "count",
    "field",
    "health",
    "index",
    "indices",
    "nodes",
    "open",
    "pending_tasks",
    "query",
    "request_cache",
    "reroute",
    "scroll",
    "settings",
    "shards",
    "state",
    "stats",
    "template",
    "thread_pool",
];

/// Endpoints after which all is a name that a client has chosen, and may begin as an endpoint does.
const OF_DOCUMENTS: &[&str] = &["_doc", "_create", "_update", "_source", "_explain", "_termvectors"];

/// How many characters of an index expression are shown.
const MOST_EXPRESSION: usize = 1024;

/// How many segments of a path are shown.
const MOST_SEGMENTS: usize = 6;

/// A path with the endpoint's own words alone: `/{index}/_doc/{name}`.
fn template(path: &str) -> String {
    let mut out = String::with_capacity(32);
    let (mut names_only, mut seen) = (false, false);
    for (at, segment) in path.trim_matches('/').split('/').take(MOST_SEGMENTS).enumerate() {
        out.push('/');
        let endpoint = segment.strip_prefix('_').is_some_and(|word| {
            (1..=30).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        });
        // names may begin so, too; but after the endpoint, or a plugin's
        let first = !seen;
        seen |= endpoint && segment != "_plugins";
        let known = endpoint && first || at > 0 && WORDS.contains(&segment);
        match segment {
            "" => {}
            word if known && !names_only => out.push_str(word),
            _ if at == 0 => out.push_str("{index}"),
            _ => out.push_str("{name}"),
        }
        names_only |= OF_DOCUMENTS.contains(&segment);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_show_no_names() {
        for (path, expected) in [
            ("/", "/"),
            ("/logs-2026/_search", "/{index}/_search"),
            ("/_search/template", "/_search/template"),
            ("/secret", "/{index}"),
            ("/secret/_doc/secret", "/{index}/_doc/{name}"),
            ("/secret/_doc/_secret", "/{index}/_doc/{name}"),
            ("/secret/_doc/1/query", "/{index}/_doc/{name}/{name}"),
            ("/_nodes/stats/indices/request_cache", "/_nodes/stats/indices/request_cache"),
            ("/_alias/secret", "/_alias/{name}"),
            ("/_security/user/_secret", "/_security/{name}/{name}"),
            ("/_scripts/_secret", "/_scripts/{name}"),
            ("/_plugins/_asynchronous_search", "/_plugins/_asynchronous_search"),
            ("/_Secret/_a1", "/{index}/{name}"),
            ("//secret//x", "/{index}//{name}"),
            ("/a/b/c/d/e/f/g/h", "/{index}/{name}/{name}/{name}/{name}/{name}"),
        ] {
            assert_eq!(template(path), expected, "{path}");
        }
    }

    #[test]
    fn methods_are_those_that_are_known() {
        assert_eq!(
            (method(&Method::POST), method(&Method::from_bytes(b"SECRET").unwrap())),
            ("POST", "_OTHER")
        );
    }

    #[test]
    fn who_names_two_parents_has_none() {
        let one = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let mut headers = HeaderMap::new();
        assert!(!parent(&headers).has_active_span());
        headers.append(TRACEPARENT, one.clone());
        let found = parent(&headers);
        assert_eq!(traceparent(found.span().span_context()), one);
        headers.append(TRACEPARENT, one);
        assert!(!parent(&headers).has_active_span());
    }

    #[test]
    fn without_a_tracer_nothing_is_touched() {
        let (mut head, ()) = http::Request::new(()).into_parts();
        assert!(Spans::default().begin(&mut head, || None).is_none());
        assert!(head.headers.is_empty() && ClientSpan::begin(&mut head).is_none());
    }
}
