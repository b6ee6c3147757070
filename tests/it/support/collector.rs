//! A collector of spans: takes OTLP over HTTP, and can refuse or keep senders waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::support::patience::PATIENCE;

/// A listening collector, stopped when it is dropped.
pub(crate) struct Collector {
    /// Where it listens.
    pub(crate) url: String,
    taken: mpsc::UnboundedReceiver<Taken>,
    answers: Arc<Answers>,
    task: JoinHandle<()>,
}

/// What was sent at once.
pub(crate) struct Taken {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) request: ExportTraceServiceRequest,
}

struct Answers {
    status: AtomicU16,
    open: watch::Sender<bool>,
}

impl Collector {
    /// One that takes all.
    pub(crate) async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, taken) = mpsc::unbounded_channel();
        let answers = Arc::new(Answers { status: AtomicU16::new(200), open: watch::Sender::new(true) });
        let shared = Arc::clone(&answers);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, answers) = (sender.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let service = service_fn(|request| take(request, &sender, &answers));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Collector { url, taken, answers, task }
    }

    /// Answers with this status from now on.
    pub(crate) fn answer(&self, status: u16) {
        self.answers.status.store(status, Ordering::SeqCst);
    }

    /// Whether senders are answered at all.
    pub(crate) fn open(&self, open: bool) {
        self.answers.open.send_replace(open);
    }

    /// The next that is sent.
    pub(crate) async fn next(&mut self) -> Taken {
        let taken = tokio::time::timeout(PATIENCE, self.taken.recv()).await;
        taken.expect("spans are sent").expect("it listens")
    }

    /// The next spans, as many as are wanted at least.
    pub(crate) async fn spans(&mut self, wanted: usize) -> Vec<Span> {
        let mut spans = Vec::new();
        while spans.len() < wanted {
            spans.extend(self.next().await.spans());
        }
        spans
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Taken {
    /// All spans of it.
    pub(crate) fn spans(self) -> impl Iterator<Item = Span> {
        let scopes = self.request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans)
    }
}

async fn take(
    request: Request<Incoming>,
    sender: &mpsc::UnboundedSender<Taken>,
    answers: &Answers,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut open = answers.open.subscribe();
    let _ = open.wait_for(|open| *open).await;
    let status = answers.status.load(Ordering::SeqCst);
    if status == 200 {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let _ = sender.send(Taken { path: head.uri.path().to_owned(), headers: head.headers, request });
    }
    Ok(Response::builder().status(status).body(Full::default()).unwrap())
}

/// An attribute of a span as text; `None` if it has none of this name.
pub(crate) fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(yes) => yes.to_string(),
        other => format!("{other:?}"),
    })
}

/// Bytes of an id as a header has them.
pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
