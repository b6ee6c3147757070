//! Exports spans by OTLP over HTTP (protobuf), through the client and the TLS that escache has for the engine.
//!
//! The way of a request never waits for it: a span goes into a queue of bounded length, or is dropped and counted. One
//! task takes them out, some at a time, and sends them.
//!
//! escache's own settings come first; what they leave open, the variables of OpenTelemetry's specification
//! (`OTEL_*`) say, of which docs/operations.md has the list.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry::Context;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::policy::Share;
use crate::stats::Stats;
use crate::upstream::{Connector, Host, Names, Tls, TlsSettings};

/// Whether and how spans are exported, as far as escache's own settings say.
#[derive(Clone, Debug, Default)]
pub struct OtlpSettings {
    /// `tracing.otlp.endpoint`
    pub endpoint: Option<Host>,
    /// `tracing.sample`: of which share of the traces that begin here; a client's decision is followed.
    pub sample: Option<Share>,
    /// `tracing.service_name`
    pub service_name: Option<String>,
}

/// No queue is longer, in spans, whatever is asked for.
const MOST_QUEUED: usize = 1 << 16;

/// The longest time of one attempt to send spans; connecting included.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The longest answer of a collector.
const MAX_ANSWER: usize = 4 << 20;

/// How long spans that wait may take when escache stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What is decided of the export.
#[derive(Debug, PartialEq)]
struct Plan {
    url: String,
    tls: bool,
    service_name: Option<String>,
    queue: usize,
    batch: usize,
    delay: Duration,
}

/// Why nothing is exported.
#[derive(Debug, PartialEq)]
enum Off {
    /// Nobody wants it.
    Unwanted,
    /// It was asked for by the environment in a way that cannot be done.
    Unable(String),
}

impl Plan {
    fn new(settings: &OtlpSettings, env: impl Fn(&str) -> Option<String>) -> Result<Plan, Off> {
        // a variable without a value is as good as none (OpenTelemetry's specification)
        let env =
            |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let first =
            |names: &[&str]| names.iter().find_map(|name| env(name).map(|value| ((*name).to_owned(), value)));
        if env("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(Off::Unwanted);
        }
        let (url, tls) = match &settings.endpoint {
            Some(host) => (traces_at(host), host.is_https()),
            None => {
                if env("OTEL_TRACES_EXPORTER").is_some_and(|value| value != "otlp") {
                    return Err(Off::Unwanted);
                }
                let exact = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
                let endpoint = first(&[exact, "OTEL_EXPORTER_OTLP_ENDPOINT"]).ok_or(Off::Unwanted)?;
                let protocol = first(&["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
                if let Some((name, protocol)) = protocol.filter(|(_, protocol)| protocol != "http/protobuf") {
                    let why = format!("{name}: [{protocol}] is not supported, only http/protobuf");
                    return Err(Off::Unable(why));
                }
                let (name, url) = endpoint;
                let host = Host::parse(&url).map_err(|why| Off::Unable(format!("{name}: {why}")))?;
                (if name == exact { url } else { traces_at(&host) }, host.is_https())
            }
        };
        let number = |name, default: usize| {
            env(name).and_then(|value| value.parse().ok()).filter(|n| *n > 0).unwrap_or(default)
        };
        let queue = number("OTEL_BSP_MAX_QUEUE_SIZE", 2048).min(MOST_QUEUED);
        let named = env("OTEL_SERVICE_NAME").is_some()
            || env("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.contains("service.name="));
        let service_name = settings.service_name.clone();
        Ok(Plan {
            url,
            tls,
            service_name: service_name.or_else(|| (!named).then(|| "escache".to_owned())),
            queue,
            batch: number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512).min(queue),
            delay: Duration::from_millis(number("OTEL_BSP_SCHEDULE_DELAY", 5000) as u64),
        })
    }
}

/// The path that OTLP has for traces, unless the address ends with it.
fn traces_at(host: &Host) -> String {
    let base = host.to_string();
    if base.ends_with("/v1/traces") { base } else { format!("{base}/v1/traces") }
}

/// Begins to export, if that is wanted; `env` tells variables of the environment.
///
/// # Errors
/// What is wanted cannot be done, in words.
pub fn begin(
    settings: &OtlpSettings,
    env: impl Fn(&str) -> Option<String>,
    stats: &Arc<Stats>,
) -> Result<Option<(SdkTracer, Exporting)>, String> {
    let plan = match Plan::new(settings, env) {
        Ok(plan) => plan,
        Err(Off::Unwanted) => return Ok(None),
        Err(Off::Unable(why)) => {
            tracing::warn!("no spans are exported: {why}");
            return Ok(None);
        }
    };
    let tls = plan.tls.then(|| Tls::new(&TlsSettings::default())).transpose();
    let tls = tls.map_err(|why| format!("tracing.otlp.endpoint: {why}"))?;
    let mut resource = Resource::builder()
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if let Some(name) = plan.service_name.clone() {
        resource = resource.with_service_name(name);
    }
    let resource = resource.build();
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Way::new(tls))
        .with_endpoint(&plan.url)
        .with_protocol(Protocol::HttpBinary)
        .build()
        .map_err(|error| format!("tracing.otlp.endpoint: {error}"))?;
    exporter.set_resource(&resource);

    let (sender, queue) = mpsc::channel(plan.queue);
    let processor = Queue { sender, stats: Arc::clone(stats) };
    let mut provider = SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor);
    if let Some(share) = settings.sample {
        let at_root = Sampler::TraceIdRatioBased(share.get());
        provider = provider.with_sampler(Sampler::ParentBased(Box::new(at_root)));
    }
    let tracer = provider.build().tracer("escache");
    let (stop, stopped) = oneshot::channel();
    tracing::info!(url = plan.url, "spans are exported");
    let export =
        Export { exporter, stats: Arc::clone(stats), batch: plan.batch, delay: plan.delay, failing: false };
    Ok(Some((tracer, Exporting { stop, task: tokio::spawn(export.run(queue, stopped)) })))
}

/// The task that exports.
#[derive(Debug)]
pub struct Exporting {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Exporting {
    /// Sends what waits, as far as that is done in a short time.
    pub async fn finish(self) {
        let _ = self.stop.send(());
        let abort = self.task.abort_handle();
        if timeout(LAST_WORDS, self.task).await.is_err() {
            abort.abort();
        }
    }
}

/// Takes spans that have ended. Never waits.
#[derive(Debug)]
struct Queue {
    sender: mpsc::Sender<SpanData>,
    stats: Arc<Stats>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.sender.try_send(span).is_err() {
            self.stats.plain.spans_dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

struct Export {
    exporter: SpanExporter,
    stats: Arc<Stats>,
    batch: usize,
    delay: Duration,
    failing: bool,
}

impl Export {
    async fn run(mut self, mut queue: mpsc::Receiver<SpanData>, mut stopped: oneshot::Receiver<()>) {
        loop {
            let mut spans = Vec::new();
            let stop = tokio::select! {
                biased;
                _ = &mut stopped => true,
                () = gather(&mut queue, &mut spans, self.batch, self.delay) => false,
            };
            if !spans.is_empty() {
                self.send(spans).await;
            }
            if stop {
                queue.close();
                let mut rest = Vec::new();
                while queue.recv_many(&mut rest, self.batch).await > 0 {
                    self.send(std::mem::take(&mut rest)).await;
                }
                return;
            }
        }
    }

    async fn send(&mut self, spans: Vec<SpanData>) {
        let count = spans.len() as u64;
        match self.exporter.export(spans).await {
            Ok(()) => {
                self.stats.plain.spans_exported.add(count);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("spans are exported again");
                }
            }
            Err(error) => {
                self.stats.plain.spans_dropped.add(count);
                // said once, not for each batch of a collector that is gone
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, spans = count, "spans cannot be exported and are dropped");
                }
            }
        }
    }
}

/// Waits for a first span, and then for as many as go together, but no longer than the delay.
async fn gather(
    queue: &mut mpsc::Receiver<SpanData>,
    spans: &mut Vec<SpanData>,
    most: usize,
    delay: Duration,
) {
    if queue.recv_many(spans, most).await == 0 {
        // nobody can send any more; the end is said otherwise
        return std::future::pending().await;
    }
    let until = Instant::now() + delay;
    while spans.len() < most {
        match timeout_at(until, queue.recv_many(spans, most - spans.len())).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// The way to the collector.
struct Way(Client<Connector, Full<Bytes>>);

impl Way {
    fn new(tls: Option<Tls>) -> Way {
        let connector = Connector::new(ATTEMPT, tls, Names::default(), None);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_timer(TokioTimer::new())
            .build(connector);
        Way(client)
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Way")
    }
}

type Answering<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Way {
    // as `async_trait` writes it
    fn send_bytes<'life0, 'async_trait>(&'life0 self, request: Request<Bytes>) -> Answering<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let exchange = async {
                let (head, body) = self.0.request(request.map(Full::new)).await?.into_parts();
                let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
                Ok::<_, HttpError>(Response::from_parts(head, body))
            };
            timeout(ATTEMPT, exchange).await?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    fn plan(endpoint: Option<&str>, env: &[(&str, &str)]) -> Result<Plan, Off> {
        let endpoint = endpoint.map(|url| Host::parse(url).unwrap());
        let settings = OtlpSettings { endpoint, ..OtlpSettings::default() };
        Plan::new(&settings, |name| {
            env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn url(endpoint: Option<&str>, env: &[(&str, &str)]) -> Option<String> {
        plan(endpoint, env).ok().map(|plan| plan.url)
    }

    #[test]
    fn where_spans_go() {
        assert_eq!(plan(None, &[]), Err(Off::Unwanted));
        assert_eq!(plan(None, &[(BASE.0, "")]), Err(Off::Unwanted));
        let traces = "http://collector:4318/v1/traces";
        assert_eq!(url(Some("http://collector:4318"), &[]).as_deref(), Some(traces));
        assert_eq!(url(Some("http://collector:4318/v1/traces/"), &[]).as_deref(), Some(traces));
        assert_eq!(url(Some("https://c/otlp"), &[]).as_deref(), Some("https://c/otlp/v1/traces"));
        assert_eq!(url(None, &[BASE]).as_deref(), Some(traces));
        // the more specific one is taken as it is
        let exact = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other:4318/");
        assert_eq!(url(None, &[BASE, exact]).as_deref(), Some("http://other:4318/"));
        // escache's own setting comes first
        assert_eq!(url(Some("http://collector:4318"), &[exact]).as_deref(), Some(traces));
    }

    #[test]
    fn the_environment_can_switch_it_off() {
        for off in [
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
        ] {
            assert_eq!(plan(None, &[BASE, off]), Err(Off::Unwanted), "{off:?}");
        }
        assert!(
            plan(None, &[BASE, ("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_SDK_DISABLED", "false")]).is_ok()
        );
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317"),
        ] {
            let found = plan(None, &[BASE, (name, value)]);
            let Err(Off::Unable(why)) = found else { panic!("{name}: {found:?}") };
            assert!(why.starts_with(name), "{why}");
        }
        assert!(plan(Some("http://c"), &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).is_ok());
    }

    #[test]
    fn how_much_waits_and_for_whom() {
        let found = plan(None, &[BASE]).unwrap();
        assert_eq!((found.queue, found.batch, found.delay), (2048, 512, Duration::from_secs(5)));
        assert_eq!(found.service_name.as_deref(), Some("escache"));
        let found = plan(
            None,
            &[
                BASE,
                ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
                ("OTEL_BSP_SCHEDULE_DELAY", "0"),
                ("OTEL_SERVICE_NAME", "search-cache"),
            ],
        )
        .unwrap();
        // the SDK reads the name
        assert_eq!((found.queue, found.batch, found.service_name), (100, 100, None));
        assert_eq!(found.delay, Duration::from_secs(5));
        let found = plan(None, &[BASE, ("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=x")]).unwrap();
        assert_eq!(found.service_name, None);
    }
}
