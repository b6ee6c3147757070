//! Clients that mean no good: others are served meanwhile, and memory stays within a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;

use crate::support::engine::{Api, Engine, engine};
use crate::support::escache::verdict;
use crate::support::http::Client;
use crate::support::patience::{PATIENCE, until};
use crate::support::program::Program;
use crate::support::wire::Wire;

/// Whether a machine is busy is not what these tests are about.
const UNHURRIED: &str = "freshness.reading_timeout: 1m\nindices.requests.cache.size: 64mb\n";

/// Requests that have begun: in the head, in a body with a length, in one without.
const BEGUN: [&str; 3] = [
    "POST /logs/_search HTTP/1.1\r\nHost: a\r\nX-Slow: ",
    "POST /logs/_search HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
     Content-Length: 900000\r\n\r\n{",
    "POST /logs/_search HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
     Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
];

/// How long searches of a good client take that are in the cache, while something goes on.
struct Hits {
    ended: Arc<AtomicBool>,
    measured: tokio::task::JoinHandle<(Vec<Duration>, usize)>,
}

impl Hits {
    /// One after another, until it is told to end.
    fn begin(program: &Program) -> Hits {
        let (client, url) = (Client::new().within(PATIENCE), format!("{}/logs/_search", program.url));
        let ended = Arc::<AtomicBool>::default();
        let over = Arc::clone(&ended);
        let measured = tokio::spawn(async move {
            let (mut took, mut forwarded) = (Vec::new(), 0);
            while !over.load(Ordering::SeqCst) || took.len() < 100 {
                let began = Instant::now();
                let answer = client.post(&url, json!({})).await;
                took.push(began.elapsed());
                // where it takes too long on a busy machine to know whether an entry is current, the engine is asked
                assert_eq!(answer.status, 200);
                forwarded += usize::from(verdict(&answer.headers).0 != "HIT");
            }
            (took, forwarded)
        });
        Hits { ended, measured }
    }

    async fn end(self) -> String {
        self.ended.store(true, Ordering::SeqCst);
        let (mut took, forwarded) = self.measured.await.unwrap();
        took.sort();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;
        format!("p50 {:.1} ms, p99 {:.1} ms of {}, {forwarded} forwarded", at(50), at(99), took.len())
    }
}

/// An attack, and how a good client fares before and meanwhile: it is told, and that it is served is asserted.
async fn attack<T>(name: &str, program: &Program, attack: impl Future<Output = T>) -> T {
    let before = Hits::begin(program);
    served(&Client::new(), program, 100).await;
    let before = before.end().await;
    let during = Hits::begin(program);
    let done = attack.await;
    println!("{name}: a good client before it {before}; during it {}", during.end().await);
    done
}

fn start(engine: &Engine, config: &str) -> Program {
    Program::start(&engine.url(), &format!("{UNHURRIED}{config}"))
}

async fn served(client: &Client, program: &Program, times: usize) {
    for _ in 0..times {
        let answer = client.post(format!("{}/logs/_search", program.url), json!({})).await;
        assert_eq!((answer.status, verdict(&answer.headers).0), (200, "HIT"));
    }
}

async fn counter(client: &Client, program: &Program, name: &str) -> u64 {
    let stats = client.get(format!("{}/stats", program.admin)).await.json();
    stats["counters"][name].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_slow_clients_hold_up_nobody() {
    let (engine, client) = (engine(), Client::new());
    let program = start(&engine, "http.header_timeout: 10m\nhttp.body_timeout: 10m\n");
    client.post(format!("{}/logs/_search", program.url), json!({})).await;
    served(&client, &program, 1).await;
    let before = program.resident();
    let slow = attack("1,000 slow clients", &program, async {
        let mut slow = Vec::new();
        for i in 0..1_000 {
            let mut wire = Wire::to(&program.url).await;
            wire.send(BEGUN[i % BEGUN.len()]).await;
            slow.push(wire);
        }
        served(&client, &program, 100).await;
        for wire in &mut slow {
            wire.send("1").await;
        }
        served(&client, &program, 100).await;
        slow
    })
    .await;
    let grown = program.resident().saturating_sub(before);
    println!("1,000 slow clients: {} kB more", grown >> 10);
    assert!(grown < 100 << 20, "{grown} bytes more");
    assert_eq!(engine.seen(Api::Search), 1, "none of them cost the engine anything");
    drop(slow);
    assert_eq!(counter(&client, &program, "panics").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_are_held() {
    const MANY: usize = 9_900;
    let (engine, client) = (engine(), Client::new());
    let program = start(&engine, "http.header_timeout: 10m\n");
    client.post(format!("{}/logs/_search", program.url), json!({})).await;
    let before = program.resident();
    let idle = attack("9,900 idle connections", &program, async {
        let mut idle = Vec::new();
        for _ in 0..MANY {
            match tokio::net::TcpStream::connect(crate::support::wire::address(&program.url)).await {
                Ok(stream) => idle.push(stream),
                Err(error) => {
                    println!("SKIPPED: this machine lets a process have {} connections: {error}", idle.len());
                    return None;
                }
            }
        }
        let connections = async || counter(&client, &program, "connections").await;
        until("all are let in", async || connections().await >= MANY as u64).await;
        served(&client, &program, 100).await;
        Some(idle)
    })
    .await;
    if idle.is_none() {
        return;
    }
    let each = program.resident().saturating_sub(before) / MANY;
    println!("{MANY} idle connections: {each} bytes each");
    assert!(each < 64_000, "{each} bytes for an idle connection");
    let refused = counter(&client, &program, "limited_connections_per_address").await;
    assert_eq!(refused, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_made_to_hurt_pass_or_are_refused() {
    let (engine, client) = (engine(), Client::new());
    // so that the parser sees all of it
    let program = start(&engine, "limits.max_key_body: 64mb\n");
    client.post(format!("{}/logs/_search", program.url), json!({})).await;
    let deep = |open: &str, close: &str| [open.repeat(100_000), close.repeat(100_000)].concat().into_bytes();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("arrays 100,000 deep", deep("[", "]")),
        ("objects 100,000 deep", deep("{\"a\":", "}")),
        ("queries 100,000 deep", deep("{\"query\":{\"bool\":{\"must\":", "}}}")),
        ("only opened", b"[".repeat(100_000)),
        ("50 MB of digits", [b"{\"size\":".to_vec(), vec![b'9'; 50 << 20], b"}".to_vec()].concat()),
        (
            "50 MB of a fraction",
            [b"{\"min_score\":0.".to_vec(), vec![b'1'; 50 << 20], b"}".to_vec()].concat(),
        ),
        ("invalid UTF-8", b"{\"query\":{\"term\":{\"a\":\"\xff\xfe\"}}}".to_vec()),
        ("half a surrogate", br#"{"query":{"term":{"a":"\ud800"}}}"#.to_vec()),
        ("duplicate keys", br#"{"size":1,"size":2}"#.to_vec()),
        ("a million members", {
            let members: Vec<String> = (0..1_000_000).map(|i| format!("\"m{i}\":0")).collect();
            format!("{{{}}}", members.join(",")).into_bytes()
        }),
    ];
    let headers = [("content-type", "application/json")];
    attack("bodies made to hurt", &program, async {
        for (name, body) in cases {
            for _ in 0..2 {
                let url = format!("{}/logs/_search", program.url);
                let answer = client.request("POST", url, &headers, body.clone()).await;
                let direct = client
                    .request("POST", format!("{}/logs/_search", engine.url()), &headers, body.clone())
                    .await;
                assert_eq!(answer.status, direct.status, "{name}");
                assert_ne!(verdict(&answer.headers).0, "HIT", "{name}");
            }
            println!("after {name}: at most {} MB were resident", program.most_resident() >> 20);
        }
    })
    .await;
    served(&client, &program, 10).await;
    assert_eq!(counter(&client, &program, "panics").await, 0);
    let (most, resident) = (program.most_resident(), program.resident());
    println!("bodies made to hurt: {} MB resident after all, {} MB at most", resident >> 20, most >> 20);
    // entries, a body of 50 MB while it is looked at (docs/limits.md), and what else there is
    let bound = (64 + 4 * 50 + 64) << 20;
    assert!(most < bound, "{most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn header_bombs_are_refused() {
    let (engine, client) = (engine(), Client::new());
    let program = start(&engine, "");
    client.post(format!("{}/logs/_search", program.url), json!({})).await;
    let before = program.resident();
    attack("header bombs", &program, async {
        for i in 0..200 {
            let mut wire = Wire::to(&program.url).await;
            let bomb = match i % 2 {
                0 => format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(4 << 20)),
                _ => format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "X: 1\r\n".repeat(100_000)),
            };
            // the other side need not take all of it
            let _ = tokio::io::AsyncWriteExt::write_all(&mut wire.0, bomb.as_bytes()).await;
            let told = wire.rest().await;
            assert!(told.is_empty() || told.starts_with("HTTP/1.1 431"), "{told}");
        }
    })
    .await;
    served(&client, &program, 10).await;
    let grown = program.resident().saturating_sub(before);
    assert!(grown < 100 << 20, "{grown} bytes more");
    assert_eq!(counter(&client, &program, "limited_headers").await, 200);
}

/// Streams of HTTP/2 whose clients never read them, on connections that go on.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_nobody_reads_hold_up_nobody() {
    const CONNECTIONS: usize = 50;
    const STREAMS: usize = 20;
    let (engine, client) = (engine(), Client::new());
    let config = "http.http2.unencrypted: true\nhttp.write_timeout: 2s\n";
    let program = start(&engine, config);
    client.post(format!("{}/logs/_search", program.url), json!({})).await;
    let before = program.resident();
    let held = attack("1,000 streams that nobody reads", &program, async {
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TokioIo::new(Wire::to(&program.url).await.0);
            let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            builder.initial_stream_window_size(0);
            let (mut sender, connection) = builder.handshake(stream).await.unwrap();
            tokio::spawn(connection);
            for _ in 0..STREAMS {
                let request = http::Request::get("http://a/_big?bytes=10000000");
                sender.ready().await.unwrap();
                let asked = sender.send_request(request.body(Full::new(Bytes::new())).unwrap());
                held.push((sender.clone(), asked.await.unwrap()));
            }
        }
        let slow = async || counter(&client, &program, "limited_slow_readers").await;
        until("all are given up", async || slow().await == (CONNECTIONS * STREAMS) as u64).await;
        held
    })
    .await;
    engine.until_aborted(Api::Big, CONNECTIONS * STREAMS).await;
    let grown = program.resident().saturating_sub(before);
    println!("1,000 streams that nobody read: {} kB more", grown >> 10);
    assert!(grown < 200 << 20, "{grown} bytes more");
    drop(held);
}
