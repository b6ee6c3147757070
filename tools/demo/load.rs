//! Loads the corpus, unless it is there.

use std::io::{IsTerminal, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use http::Method;
use serde_json::json;

use super::corpus::{Index, added, indices};
use crate::Failure;
use crate::http::Client;

/// Documents in one bulk request.
const BULK: u64 = 4_000;
/// Bulk requests under way at once.
const AT_ONCE: usize = 3;
/// How often a bulk request that an engine was too busy for is sent again.
const TRIES: u32 = 50;

/// Returns how many documents there are.
pub(super) async fn load(engine: &Client, documents: u64) -> Result<u64, Failure> {
    let all = indices(documents);
    let total = all.iter().map(|index| index.documents).sum();
    for (path, _) in added() {
        engine.send(Method::DELETE, &path, bytes::Bytes::new()).await?;
    }
    let mut missing = Vec::new();
    for index in all {
        if !is_complete(engine, &index).await? {
            missing.push(index);
        }
    }
    if missing.is_empty() {
        println!("The corpus is there: {total} documents.");
        engine.ok(Method::POST, "/escache-demo-*/_refresh", None).await?;
        return Ok(total);
    }
    let progress = Progress::new(missing.iter().map(|index| index.documents).sum());
    for index in &missing {
        let path = format!("/{}", index.name);
        if engine.send(Method::HEAD, &path, bytes::Bytes::new()).await?.status == 200 {
            engine.ok(Method::DELETE, &path, None).await?;
        }
        engine.ok(Method::PUT, &path, Some(&index.settings())).await?;
    }
    let parts = missing.iter().flat_map(|index| {
        (0..index.documents)
            .step_by(BULK as usize)
            .map(move |from| (index, from, (from + BULK).min(index.documents)))
    });
    stream::iter(parts)
        .map(Ok)
        .try_for_each_concurrent(AT_ONCE, |(index, from, to)| {
            let (engine, progress) = (engine.clone(), &progress);
            let index = index.clone();
            async move {
                let body = tokio::task::spawn_blocking({
                    let index = index.clone();
                    move || index.bulk(from, to)
                })
                .await?;
                send(&engine, &index.name, body).await?;
                progress.add(to - from);
                Ok::<_, Failure>(())
            }
        })
        .await?;
    progress.end("refresh and flush");
    engine.ok(Method::POST, "/escache-demo-*/_flush", None).await?;
    engine.ok(Method::POST, "/escache-demo-*/_refresh", None).await?;
    for index in &missing {
        if !is_complete(engine, index).await? {
            return Err(format!("{} does not hold what was sent to it", index.name).into());
        }
    }
    settle(engine).await?;
    println!("Loaded {} documents in {:.1} s.", progress.total, progress.since.elapsed().as_secs_f64());
    Ok(total)
}

async fn is_complete(engine: &Client, index: &Index) -> Result<bool, Failure> {
    let name = &index.name;
    let mapping = engine.get(&format!("/{name}/_mapping")).await?;
    if mapping.status != 200 || mapping.json()?[name]["mappings"]["_meta"] != index.meta() {
        return Ok(false);
    }
    engine.ok(Method::POST, &format!("/{name}/_refresh"), None).await?;
    let count = engine.ok(Method::GET, &format!("/{name}/_count"), None).await?.json()?;
    Ok(count["count"] == json!(index.documents))
}

async fn send(engine: &Client, index: &str, body: bytes::Bytes) -> Result<(), Failure> {
    for _ in 0..TRIES {
        let path = format!("/{index}/_bulk?filter_path=errors");
        let answer = engine.send_lines(&path, body.clone()).await?;
        match answer.status {
            // the documents have ids of their own, so that those of a half-done try are in the way of nothing
            200 => return Ok(()),
            429 | 503 => tokio::time::sleep(Duration::from_millis(300)).await,
            status => return Err(format!("_bulk: {status} {}", String::from_utf8_lossy(&answer.body)).into()),
        }
    }
    Err("the engine stays too busy to take documents".into())
}

/// Merges go on after the last document; they would be in the way of what is measured.
async fn settle(engine: &Client) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let path = "/escache-demo-*/_stats/merge?filter_path=_all.total.merges.current";
        let merges = engine.ok(Method::GET, path, None).await?.json()?;
        if merges["_all"]["total"]["merges"]["current"] == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}

struct Progress {
    total: u64,
    done: AtomicU64,
    /// Tenths that were said, where there is no terminal.
    said: AtomicU64,
    since: Instant,
    terminal: bool,
}

impl Progress {
    fn new(total: u64) -> Progress {
        println!("Loading {total} documents: products of a marketplace, logs of its servers.");
        let terminal = std::io::stdout().is_terminal();
        Progress { total, done: 0.into(), said: 0.into(), since: Instant::now(), terminal }
    }

    fn add(&self, documents: u64) {
        let done = self.done.fetch_add(documents, Ordering::Relaxed) + documents;
        let rate = done as f64 / self.since.elapsed().as_secs_f64() / 1_000.0;
        let percent = done * 100 / self.total;
        if self.terminal {
            let bar = "#".repeat(percent as usize * 2 / 5);
            print!("\r  [{bar:<40}] {percent:>3} %, {rate:.0} thousand a second ");
            let _ = std::io::stdout().flush();
        } else if self.said.fetch_max(percent / 20, Ordering::Relaxed) < percent / 20 {
            println!("  {percent} %, {rate:.0} thousand a second");
        }
    }

    fn end(&self, what: &str) {
        if self.terminal {
            print!("\r\x1b[K  {what}\r");
            let _ = std::io::stdout().flush();
        }
    }
}
