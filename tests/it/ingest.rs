//! How often a repeated search is answered from the cache while documents come in all the time: where the refresh
//! interval is set explicitly, an answer lives from one refresh to the next, however much is written meanwhile.
//!
//! `cargo test --test it -- --ignored --nocapture ingest::` prints the figures; `TEST_INGEST_SECONDS` is the time
//! that each of them takes.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::escache::{Escache, verdict};
use crate::support::node::{Engine, Node};

/// Between two documents, and between two searches of a client.
const WRITE_EVERY: Duration = Duration::from_millis(20);
const SEARCH_EVERY: Duration = Duration::from_millis(50);
const CLIENTS: usize = 8;

/// Returns documents written, answers and hits.
async fn ingest(node: &Node, interval: Option<&str>, time: Duration) -> (u64, u64, u64) {
    let engine = node.client();
    engine.json("DELETE", "/ingest", None).await;
    let mut settings = json!({"number_of_shards": 1, "number_of_replicas": 0});
    if let Some(interval) = interval {
        settings["refresh_interval"] = json!(interval);
    }
    assert_eq!(engine.json("PUT", "/ingest", Some(json!({"settings": settings}))).await.0, 200);
    let (status, _) = engine.json("PUT", "/ingest/_doc/0?refresh=true", Some(json!({"n": 0}))).await;
    assert_eq!(status, 201);
    let escache = Escache::start(node.url()).await;
    let end = Instant::now() + time;
    let writing = async {
        let mut written = 0;
        while Instant::now() < end {
            written += 1;
            let (status, answer) = engine.json("POST", "/ingest/_doc", Some(json!({"n": written}))).await;
            assert_eq!(status, 201, "{answer}");
            tokio::time::sleep(WRITE_EVERY).await;
        }
        written
    };
    let searching = join_all((0..CLIENTS).map(async |_| {
        let (mut answers, mut hits) = (0, 0);
        while Instant::now() < end {
            let body = json!({"size": 0, "aggs": {"sum": {"sum": {"field": "n"}}}});
            let answer = escache.search("/ingest/_search", body).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            answers += 1;
            hits += u64::from(verdict(&answer.headers).0 == "HIT");
            tokio::time::sleep(SEARCH_EVERY).await;
        }
        (answers, hits)
    }));
    let (written, found) = tokio::join!(writing, searching);
    (written, found.iter().map(|of| of.0).sum(), found.iter().map(|of| of.1).sum())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures for minutes"]
async fn an_explicit_refresh_interval_keeps_answers_under_ingest() {
    let Some(node) = Node::start(Engine::Elasticsearch7).await else { return };
    let seconds = std::env::var("TEST_INGEST_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(90);
    let mut shares = Vec::new();
    for interval in [None, Some("1s"), Some("5s"), Some("30s")] {
        let (written, answers, hits) = ingest(&node, interval, Duration::from_secs(seconds)).await;
        let share = hits as f64 * 100.0 / answers as f64;
        println!(
            "refresh_interval {}: {written} documents written, {answers} answers, {hits} hits ({share:.1}%)",
            interval.unwrap_or("not set"),
        );
        shares.push(share);
    }
    assert!(shares[3] > 90.0 && shares[3] > shares[0] + 30.0, "{shares:?}");
}
