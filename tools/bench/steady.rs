//! A load of so many requests a second, whatever the servers could do: what it costs is what is asked, not how fast it goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;

use crate::Failure;
use crate::http::Client;

/// How many of them are under way at most.
const AT_ONCE: usize = 16;

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Steady {
    pub(super) seconds: f64,
    pub(super) requests: usize,
    pub(super) hits: usize,
    /// Passed on unjudged, as where too many readings are under way.
    pub(super) bypassed: usize,
    /// Milliseconds.
    pub(super) p50: f64,
    /// Milliseconds.
    pub(super) p99: f64,
}

/// Asks each of these in turn.
pub(super) async fn drive(
    asked: &[(Client, String)],
    body: &str,
    per_second: f64,
    lasts: Duration,
) -> Result<Steady, Failure> {
    let (next, began) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let workers = (0..AT_ONCE).map(|_| async {
        let mut found = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let due = Duration::from_secs_f64(number as f64 / per_second);
            if due >= lasts || asked.is_empty() {
                return Ok::<_, Failure>(found);
            }
            tokio::time::sleep_until((began + due).into()).await;
            let (client, path) = &asked[number % asked.len()];
            let answer = client.send(Method::POST, path, Bytes::from(body.to_owned())).await?;
            if answer.status != 200 {
                return Err(format!("{path}: {}", String::from_utf8_lossy(&answer.body)).into());
            }
            found.push((answer.took.as_secs_f64() * 1e3, answer.x_cache().to_owned()));
        }
    });
    let mut all = Vec::new();
    for found in join_all(workers).await {
        all.extend(found?);
    }
    all.sort_by(|one, other| one.0.total_cmp(&other.0));
    let at = |part: f64| all.get((all.len() as f64 * part) as usize).map_or(0.0, |found| found.0);
    let were = |word: &str| all.iter().filter(|found| found.1 == word).count();
    Ok(Steady {
        seconds: began.elapsed().as_secs_f64(),
        requests: all.len(),
        hits: were("HIT"),
        bypassed: were("BYPASS"),
        p50: at(0.5),
        p99: at(0.99),
    })
}
