//! Exports spans by OTLP over HTTP (protobuf), through the client and the TLS that escache has for the engine.
//!
//! The way of a request never waits for it: a span goes into a queue of bounded length, or is dropped and counted. One
//! task takes them out, some at a time, and sends them.
//!
//! escache's own settings come first; what they leave open, the variables of OpenTelemetry's specification
//! (`OTEL_*`) say, of which docs/operations.md has the list.

mod collector;

mod setup;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use self::collector::Collector;
pub use self::setup::OtlpSettings;
use self::setup::{Off, Setup};
use crate::stats::Stats;
use crate::upstream::{Tls, TlsSettings};

/// How long spans that wait may take when escache stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Begins to export, if that is wanted; `env` tells variables of the environment.
///
/// # Errors
/// What is wanted cannot be done, in words.
pub fn begin(
    settings: &OtlpSettings,
    env: impl Fn(&str) -> Option<String>,
    stats: &Arc<Stats>,
) -> Result<Option<(SdkTracer, Exporting)>, String> {
    let setup = match Setup::new(settings, env) {
        Ok(setup) => setup,
        Err(Off::Unwanted) => return Ok(None),
        Err(Off::Unable(why)) => {
            tracing::warn!("no spans are exported: {why}");
            return Ok(None);
        }
    };
    let tls = setup.tls.then(|| Tls::new(&TlsSettings::default())).transpose();
    let tls = tls.map_err(|why| format!("tracing.otlp.endpoint: {why}"))?;
    let mut resource = Resource::builder()
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if let Some(name) = setup.service_name.clone() {
        resource = resource.with_service_name(name);
    }
    let resource = resource.build();
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new(tls))
        .with_endpoint(&setup.url)
        .with_protocol(Protocol::HttpBinary)
        .build()
        .map_err(|error| format!("tracing.otlp.endpoint: {error}"))?;
    exporter.set_resource(&resource);

    let (sender, queue) = mpsc::channel(setup.queue);
    let processor = Queue { sender, stats: Arc::clone(stats) };
    let mut provider = SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor);
    if let Some(share) = settings.sample {
        let at_root = Sampler::TraceIdRatioBased(share.get());
        provider = provider.with_sampler(Sampler::ParentBased(Box::new(at_root)));
    }
    let tracer = provider.build().tracer("escache");
    let (stop, stopped) = oneshot::channel();
    tracing::info!(url = setup.url, "spans are exported");
    let export =
        Export { exporter, stats: Arc::clone(stats), batch: setup.batch, delay: setup.delay, failing: false };
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
