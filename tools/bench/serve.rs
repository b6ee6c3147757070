//! The servers of the benchmark that are ours: the upstream of all, and what hyper costs by itself.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures_util::stream;
use http::{Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use moka::sync::Cache;
use serde_json::json;
use tokio::net::TcpListener;

use super::pretence;
use crate::Failure;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What it does
    kind: Kind,
    /// Where it listens
    #[arg(long)]
    listen: SocketAddr,
}

/// What a server of the benchmark does.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// Answers as an engine would, searches and readings
    Upstream,
    /// hyper, and an answer that stands fixed
    Bare,
    /// hyper, blake3 of the body, and a look into a moka cache
    Hash,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Default)]
struct Counts {
    searches: AtomicU64,
    readings: AtomicU64,
    others: AtomicU64,
    bytes: AtomicU64,
}

struct Server {
    kind: Kind,
    answers: [(&'static str, Bytes); 4],
    counts: Counts,
    cache: Cache<[u8; 32], Bytes>,
}

/// Serves until it is killed.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let listener = TcpListener::bind(options.listen).await?;
    let server = Arc::new(Server {
        kind: options.kind,
        answers: pretence::INDICES.map(|(index, size)| (index, pretence::answer(size))),
        counts: Counts::default(),
        cache: Cache::builder()
            .max_capacity(1 << 30)
            .weigher(|_, answer: &Bytes| u32::try_from(answer.len() + 100).unwrap_or(u32::MAX))
            .build(),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let service = service_fn(|request| respond(Arc::clone(&server), request));
            // a client that hangs up ends its connection, and nothing else
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn respond(server: Arc<Server>, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    let (head, mut body) = request.into_parts();
    let path = head.uri.path();
    match server.kind {
        Kind::Bare => {
            body.collect().await?;
            Ok(whole(200, server.answer(path)))
        }
        Kind::Hash => {
            let body = body.collect().await?.to_bytes();
            let mut hasher = blake3::Hasher::new();
            hasher.update(path.as_bytes()).update(b"\n").update(&body);
            let key = *hasher.finalize().as_bytes();
            let answer = server.cache.get(&key).unwrap_or_else(|| {
                server.counts.searches.fetch_add(1, Ordering::Relaxed);
                let answer = Bytes::copy_from_slice(&server.answer(path));
                server.cache.insert(key, answer.clone());
                answer
            });
            Ok(whole(200, answer))
        }
        Kind::Upstream => {
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame?.into_data() {
                    server.counts.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                }
            }
            server.as_engine(path, head.uri.query().unwrap_or_default()).await
        }
    }
}

fn whole(status: u16, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert("x-elastic-product", header::HeaderValue::from_static("Elasticsearch"));
    response
}

impl Server {
    fn answer(&self, path: &str) -> Bytes {
        let index = path.split('/').nth(1).unwrap_or_default();
        let found = self.answers.iter().find(|(name, _)| *name == index);
        found.unwrap_or(&self.answers[0]).1.clone()
    }

    async fn as_engine(&self, path: &str, query: &str) -> Result<Response<Body>, Failure> {
        if path.ends_with("/_search") {
            self.counts.searches.fetch_add(1, Ordering::Relaxed);
            if path.starts_with(pretence::SLOW) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            return Ok(whole(200, self.answer(path)));
        }
        if path == "/_bench/counts" {
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let Counts { searches, readings, others, bytes } = &self.counts;
            let counts = json!({
                "searches": of(searches), "readings": of(readings), "others": of(others), "bytes": of(bytes),
            });
            return Ok(whole(200, counts.to_string().into()));
        }
        if let Some(bytes) = query.strip_prefix("zeros=") {
            return Ok(zeros(bytes.parse()?));
        }
        if let Some(reading) = pretence::reading(path) {
            self.counts.readings.fetch_add(1, Ordering::Relaxed);
            return Ok(whole(200, reading.to_string().into()));
        }
        self.counts.others.fetch_add(1, Ordering::Relaxed);
        match path.starts_with("/_security") || path.starts_with("/_plugins") {
            true => Ok(whole(400, Bytes::from_static(br#"{"error":"no handler found","status":400}"#))),
            false => Ok(whole(200, self.answer(path))),
        }
    }
}

/// A download of so many bytes.
fn zeros(bytes: u64) -> Response<Body> {
    static CHUNK: [u8; 64 << 10] = [b'0'; 64 << 10];
    let chunks = stream::unfold(bytes, |left| async move {
        let now = left.min(CHUNK.len() as u64);
        let chunk = Bytes::from_static(&CHUNK).slice(..usize::try_from(now).unwrap_or_default());
        (now > 0).then(|| (Ok::<_, Infallible>(Frame::data(chunk)), left - now))
    });
    let mut response = Response::new(StreamBody::new(chunks).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_LENGTH, bytes.into());
    response
}
