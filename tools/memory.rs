//! How much memory escache takes: while a large body passes through it, and with a full cache.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::Failure;
use crate::http::Client;
use crate::process::{Process, command, free_port};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The program escache
    #[arg(long)]
    escache: PathBuf,
    /// How many MiB of `_bulk` pass through
    #[arg(long, default_value_t = 1024)]
    bulk_mib: u64,
    /// How many answers are stored
    #[arg(long, default_value_t = 200_000)]
    entries: u64,
    /// How large each is, in bytes
    #[arg(long, default_value_t = 1024)]
    answer: usize,
    /// How many answers of other sizes come and go afterwards
    #[arg(long, default_value_t = 300_000)]
    churn: u64,
}

/// More than a proxy that holds nothing of a stream would take.
const MOST_FOR_A_STREAM_MIB: u64 = 64;
/// What the proxy may take beside its entries: connections, buffers, what the allocator holds back.
const SLACK_MIB: u64 = 48;
/// Searches under way at once.
const AT_ONCE: usize = 32;

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let sink = Sink::start().await?;
    let peak = stream_through(&options, &sink).await?;
    println!("{} MiB of _bulk through escache: peak RSS {} MiB", options.bulk_mib, peak / 1024);
    let mut wrong = Vec::new();
    if peak / 1024 > MOST_FOR_A_STREAM_MIB {
        wrong.push(format!("the peak is over {MOST_FOR_A_STREAM_MIB} MiB"));
    }
    for bound in [64, 512] {
        let full = fill(&options, &sink, bound).await?;
        println!(
            "{} answers of {} bytes, cache of {bound} MiB: {} entries of {} MiB as counted; RSS {} MiB, empty {} MiB, \
             so that the cache takes {} MiB",
            options.entries,
            options.answer,
            full.entries,
            full.bytes >> 20,
            full.rss / 1024,
            full.empty / 1024,
            full.rss.saturating_sub(full.empty) / 1024
        );
        let (taken, counted) = (full.rss.saturating_sub(full.empty) / 1024, full.bytes >> 20);
        if taken > counted * 3 / 2 + SLACK_MIB {
            wrong.push(format!("{taken} MiB are taken where {counted} MiB are counted"));
        }
        if let Some(rss) = full.churned {
            let (taken, limit) = (rss / 1024, bound * 13 / 10 + SLACK_MIB);
            println!("after {} answers of 200 bytes to 4 KiB: RSS {taken} MiB", options.churn);
            if taken > limit {
                wrong.push(format!("{taken} MiB are taken after churn in a cache of {bound} MiB"));
            }
        }
        if counted > bound {
            wrong.push(format!("{counted} MiB are counted in a cache of {bound} MiB"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
}

async fn start(options: &Options, sink: &Sink, more: &[&str]) -> Result<(Process, Client, Client), Failure> {
    let data = format!("127.0.0.1:{}", free_port(19_280));
    let admin = format!("127.0.0.1:{}", free_port(19_380));
    let mut run = command(&options.escache);
    run.args(["--listen", &data, "--admin", &admin, "--upstream", &sink.url]).args(more);
    run.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let process = Process::start(&mut run)?;
    let (data, admin) = (Client::new(&format!("http://{data}")), Client::new(&format!("http://{admin}")));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !admin.get("/live").await.is_ok_and(|live| live.status == 200) {
        if Instant::now() > deadline {
            return Err("escache did not start".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok((process, data, admin))
}

fn memory(process: &Process, name: &str) -> Result<u64, Failure> {
    process.memory(name).ok_or_else(|| "there is no /proc here: memory cannot be read".into())
}

/// Returns the peak in KiB.
async fn stream_through(options: &Options, sink: &Sink) -> Result<u64, Failure> {
    let (process, data, _) = start(options, sink, &[]).await?;
    let line = "{\"index\":{\"_index\":\"logs\"}}\n{\"message\":\"some text of a log line that is as long as most\"}\n";
    let chunk = Bytes::from(line.repeat((64 << 10) / line.len() + 1)).slice(..64 << 10);
    let chunks = options.bulk_mib * 16;
    let body = StreamBody::new(stream::iter(
        (0..chunks).map(move |_| Ok::<_, Infallible>(Frame::data(chunk.clone()))),
    ));
    let address = data.base().trim_start_matches("http://").to_owned();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(TcpStream::connect(&address).await?)).await?;
    tokio::spawn(connection);
    let request = Request::post("/_bulk")
        .header(header::HOST, address)
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(body)?;
    let before = sink.bytes.load(Ordering::Relaxed);
    let began = Instant::now();
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    answer.into_body().collect().await?;
    let arrived = sink.bytes.load(Ordering::Relaxed) - before;
    if status != 200 || arrived != chunks * (64 << 10) {
        return Err(format!("status {status}, {arrived} bytes arrived").into());
    }
    let rate = options.bulk_mib as f64 / began.elapsed().as_secs_f64();
    println!("{} MiB passed at {rate:.0} MiB/s", options.bulk_mib);
    let peak = memory(&process, "VmHWM")?;
    process.end().await;
    Ok(peak)
}

/// What a cache holds that was filled, and takes.
pub(crate) struct Filled {
    /// How many answers it holds.
    pub(crate) entries: u64,
    /// How many bytes they are, as escache counts.
    pub(crate) bytes: u64,
    /// RSS in KiB.
    pub(crate) rss: u64,
    /// RSS in KiB before.
    pub(crate) empty: u64,
    /// RSS in KiB after answers of many sizes have come and gone, if they have.
    pub(crate) churned: Option<u64>,
}

/// Fills a cache of `bound` MiB with `entries` answers of `answer` bytes, then with `churn` of other sizes.
pub(crate) async fn filled(
    escache: &Path,
    entries: u64,
    answer: usize,
    bound: u64,
    churn: u64,
) -> Result<Filled, Failure> {
    let options = Options { escache: escache.to_owned(), bulk_mib: 0, entries, answer, churn };
    fill(&options, &Sink::start().await?, bound).await
}

/// A size between 200 bytes and 4 KiB, by no rule that an allocator could like.
fn some_size(number: u64) -> usize {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    usize::try_from(200 + mixed % 3_896).unwrap_or_default()
}

/// Fills a cache of some MiB.
async fn fill(options: &Options, sink: &Sink, bound: u64) -> Result<Filled, Failure> {
    // without readings: the sink has no statistics, and memory is what is looked at
    let size = format!("{bound}mb");
    let (process, data, admin) = start(options, sink, &["--cache-size", &size, "--ttl-only", "1h"]).await?;
    let ask = |number: u64, size: usize| {
        let data = data.clone();
        async move {
            let path = format!("/{size}/_search");
            let body = format!(r#"{{"size":0,"query":{{"term":{{"number":{number}}}}}}}"#);
            let answer = data.send(Method::POST, &path, body.into()).await?;
            match answer.cache_status().contains("stored") {
                true => Ok(()),
                false => Err(Failure::from(format!("an answer was not stored: {}", answer.cache_status()))),
            }
        }
    };
    stream::iter(0..64)
        .map(|n| ask(options.entries + n, options.answer))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    let empty = memory(&process, "VmRSS")?;
    stream::iter(0..options.entries)
        .map(|number| ask(number, options.answer))
        .buffer_unordered(AT_ONCE)
        .try_for_each(|()| async { Ok(()) })
        .await?;
    let stats = admin.ok(Method::GET, "/stats", None).await?.json()?;
    let gauge = |name: &str| stats["gauges"][name].as_u64().unwrap_or_default();
    let (entries, bytes, rss) = (gauge("entries"), gauge("bytes"), memory(&process, "VmRSS")?);
    let mut churned = None;
    if options.churn > 0 {
        stream::iter(0..options.churn)
            .map(|number| ask(2 * options.entries + number, some_size(number)))
            .buffer_unordered(AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        churned = Some(memory(&process, "VmRSS")?);
    }
    process.end().await;
    Ok(Filled { entries, bytes, rss, empty, churned })
}

/// A server that takes everything, counts it, and answers searches with as many bytes as the name of the index says.
struct Sink {
    url: String,
    bytes: Arc<AtomicU64>,
}

impl Sink {
    async fn start() -> Result<Sink, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&bytes);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                let service = service_fn(move |request| respond(request, Arc::clone(&counted)));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Ok(Sink { url, bytes })
    }
}

/// An answer to a search, of so many bytes.
fn answer(size: usize) -> Bytes {
    let frame = r#"{"took":1,"timed_out":false,"_shards":{"total":1,"successful":1,"skipped":0,"failed":0},"hits":{"hits":[]},"x":""}"#;
    let text = "x".repeat(size.saturating_sub(frame.len()));
    frame.replace(r#""x":"""#, &format!(r#""x":"{text}""#)).into()
}

async fn respond(
    request: Request<Incoming>,
    counted: Arc<AtomicU64>,
) -> Result<Response<Full<Bytes>>, Failure> {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            counted.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
    }
    let answer = match path.as_str() {
        "/" => Bytes::from_static(
            br#"{"cluster_name":"sink","cluster_uuid":"sink","version":{"number":"8.19.8"},"tagline":"You Know, for Search"}"#,
        ),
        path if path.ends_with("/_search") => {
            answer(path.split('/').nth(1).and_then(|size| size.parse().ok()).unwrap_or_default())
        }
        _ => Bytes::from_static(br#"{"took":1,"errors":false,"items":[]}"#),
    };
    Ok(Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .header("X-elastic-product", "Elasticsearch")
        .body(Full::new(answer))?)
}
