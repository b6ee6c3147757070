//! Clients that mean no good: others are served meanwhile, and memory stays within a bound.

use serde_json::json;

use crate::support::engine::{Api, engine};
use crate::support::escache::verdict;
use crate::support::http::Client;
use crate::support::patience::until;
use crate::support::program::Program;
use crate::support::wire::Wire;

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
    let program = Program::start(&engine.url(), "http.header_timeout: 10m\nhttp.body_timeout: 10m\n");
    client.post(format!("{}/logs/_search", program.url), json!({})).await;
    served(&client, &program, 1).await;
    let before = program.resident();
    let mut slow = Vec::new();
    for i in 0..1_000 {
        let mut wire = Wire::to(&program.url).await;
        wire.send(match i % 3 {
            0 => "POST /logs/_search HTTP/1.1\r\nHost: a\r\nX-Slow: ",
            1 => "POST /logs/_search HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n{",
            _ => "POST /logs/_search HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        })
        .await;
        slow.push(wire);
        if i % 10 == 0 {
            served(&client, &program, 1).await;
        }
    }
    served(&client, &program, 100).await;
    for wire in &mut slow {
        wire.send("1").await;
    }
    served(&client, &program, 100).await;
    let grown = program.resident().saturating_sub(before);
    println!("1,000 slow clients: {} kB more", grown >> 10);
    assert!(grown < 100 << 20, "{grown} bytes more");
    assert_eq!(engine.seen(Api::Search), 1, "none of them cost the engine anything");
    assert_eq!(counter(&client, &program, "panics").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_are_held() {
    const MANY: usize = 9_900;
    let (engine, client) = (engine(), Client::new());
    let program = Program::start(&engine.url(), "http.header_timeout: 10m\n");
    client.post(format!("{}/logs/_search", program.url), json!({})).await;
    let before = program.resident();
    let mut idle = Vec::new();
    for _ in 0..MANY {
        match tokio::net::TcpStream::connect(crate::support::wire::address(&program.url)).await {
            Ok(stream) => idle.push(stream),
            Err(error) => {
                println!("SKIPPED: this machine lets a process have {} connections: {error}", idle.len());
                return;
            }
        }
    }
    let connections = async || counter(&client, &program, "connections").await;
    until("all are let in", async || connections().await >= MANY as u64).await;
    served(&client, &program, 100).await;
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
    let program = Program::start(&engine.url(), "limits.max_key_body: 64mb\n");
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
    }
    served(&client, &program, 10).await;
    assert_eq!(counter(&client, &program, "panics").await, 0);
    let resident = program.resident();
    println!("after all: {} MB", resident >> 20);
    assert!(resident < 1 << 30, "{resident}");
}

#[tokio::test(flavor = "multi_thread")]
async fn header_bombs_are_refused() {
    let (engine, client) = (engine(), Client::new());
    let program = Program::start(&engine.url(), "");
    client.post(format!("{}/logs/_search", program.url), json!({})).await;
    let before = program.resident();
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
    served(&client, &program, 10).await;
    let grown = program.resident().saturating_sub(before);
    assert!(grown < 100 << 20, "{grown} bytes more");
    assert_eq!(counter(&client, &program, "limited_headers").await, 200);
}
