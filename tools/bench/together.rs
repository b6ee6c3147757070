//! Equal misses at once, on an upstream that takes 20 ms.

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::Method;

use super::measure::Spread;
use super::report::show;
use super::servers::Kind;
use super::stage::Stage;
use super::wrk::{body, fresh};
use crate::Failure;
use crate::http::Client;

/// How many ask at once.
const CLIENTS: usize = 20;
/// How often in each round.
const TIMES: usize = 5;

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let upstream = stage.upstream().await?;
    let kinds = [Kind::Bounded, Kind::Strict, Kind::TtlOnly, Kind::NginxUsual, Kind::Varnish];
    let servers = stage.serve_all(&kinds, &upstream).await?;
    let mut all: Vec<_> = servers.into_iter().map(|server| (server, Vec::new(), 0.0)).collect();
    for _ in 0..stage.options.rounds {
        for (server, slowest, searches) in &mut all {
            at_once(&server.client).await?; // opens the connections
            let before = searched(&upstream.client).await?;
            for _ in 0..TIMES {
                slowest.push(at_once(&server.client).await?);
            }
            *searches += searched(&upstream.client).await? - before;
        }
    }
    let report = &mut *stage.report;
    report.say(&format!(
        "### {CLIENTS} equal misses at once, the upstream takes 20 ms\n\n\
         | server | slowest of {CLIENTS}, ms | searches upstream for each {CLIENTS} |\n| --- | ---: | ---: |"
    ));
    let mut found = None;
    for (server, slowest, searches) in all {
        let times = slowest.len() as f64;
        let spread = Spread::of(slowest);
        report.say(&format!("| {} | {} | {:.1} |", server.kind.name(), show(spread), searches / times));
        if server.kind == Kind::Bounded {
            found = spread.map(|spread| spread.median);
        }
    }
    report.say("");
    report.at_most(&format!("{CLIENTS} equal misses at once: slowest follower"), found, 30.0, " ms");
    Ok(())
}

/// The same new search from all clients; returns how long the slowest waited, in milliseconds.
async fn at_once(client: &Client) -> Result<f64, Failure> {
    let text = Bytes::from(body(fresh()));
    let answers =
        try_join_all((0..CLIENTS).map(|_| client.send(Method::POST, "/slow/_search", text.clone()))).await?;
    match answers.iter().find(|answer| answer.status != 200) {
        Some(wrong) => Err(format!("{} answered {}", client.base(), wrong.status).into()),
        None => Ok(answers.iter().map(|answer| answer.took.as_secs_f64() * 1e3).fold(0.0, f64::max)),
    }
}

async fn searched(upstream: &Client) -> Result<f64, Failure> {
    Ok(upstream.get("/_bench/counts").await?.json()?["searches"].as_f64().unwrap_or_default())
}
