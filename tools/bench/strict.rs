//! Strict mode in front of a real engine: what readings cost it, and what hits save it.

use bytes::Bytes;
use http::Method;

use super::engine;
use super::measure::{Runs, Sample, busy_seconds, cpu_seconds, ended_seconds, resident};
use super::report::Report;
use super::servers::{Kind, Server};
use super::stage::Stage;
use super::wrk::{Drive, Load, body};
use crate::Failure;
use crate::http::Client;

/// What is asked, how many hits a second are wanted.
struct Case {
    name: &'static str,
    paths: Vec<String>,
    wanted: f64,
}

/// So many rounds do not count: an engine that has just started spends its time on compiling itself.
const WARM_UP: usize = 3;

fn cases() -> Vec<Case> {
    let one = |name, path: &str, wanted| Case { name, paths: vec![path.to_owned()], wanted };
    vec![
        one("one target of one index", "/one-000/_search", 20_000.0),
        one("one target of 30 daily indices", "/daily-*/_search", 10_000.0),
        one("one target of 200 indices", "/wide-*/_search", 5_000.0),
        Case {
            name: "30 targets in rotation",
            paths: engine::daily().into_iter().map(|index| format!("/{index}/_search")).collect(),
            wanted: 12_000.0,
        },
    ]
}

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let direct = stage.new_engine("strict").await?;
    engine::load(&direct.client).await?;
    let strict = stage.serve(Kind::Strict, &direct).await?;
    let bounded = stage.serve(Kind::Bounded, &direct).await?;
    let mut runs = Runs::default();
    for case in cases() {
        eprintln!("measuring: {}", case.name);
        let mut turns = vec![&direct, &strict, &bounded];
        for round in 0..WARM_UP + stage.options.rounds {
            for server in &turns {
                let sample = once(stage, server, &case, direct.pid).await?;
                if round >= WARM_UP {
                    runs.add(case.name, server.kind.name(), sample);
                }
            }
            turns.reverse();
        }
    }
    let title = format!("Strict mode in front of {}, 64 connections, nothing pinned", stage.options.engine);
    stage.report.table(&title, &runs);
    bars(&runs, stage.report);
    Ok(())
}

fn bars(runs: &Runs, report: &mut Report) {
    for Case { name, wanted, .. } in cases() {
        let of = |kind: Kind, of: fn(&Sample) -> f64| runs.median(name, kind.name(), of);
        let hits = of(Kind::Strict, |sample| sample.per_second);
        report.at_least(&format!("strict, {name}: hits a second"), hits, wanted, "");
        let engine = |kind| of(kind, |sample| sample.engine_cpu);
        let saved =
            engine(Kind::Strict).zip(of(Kind::Direct, |sample| sample.cpu)).map(|(hit, own)| hit / own);
        report.at_most(&format!("strict, {name}: the engine's CPU a hit / direct search"), saved, 0.1, "");
    }
    let cpu = |kind: Kind| runs.median(cases()[0].name, kind.name(), |sample| sample.cpu);
    let ratio = cpu(Kind::Strict).zip(cpu(Kind::Bounded)).map(|(strict, bounded)| strict / bounded);
    report.at_most("strict, one target of one index: CPU a hit / bounded", ratio, 1.5, "");
}

async fn once(stage: &Stage<'_>, server: &Server, case: &Case, node: u32) -> Result<Sample, Failure> {
    for path in &case.paths {
        hit(&server.client, path).await?;
    }
    let load = match case.paths.as_slice() {
        [_] => Load::Same,
        several => Load::Paths(several.to_vec()),
    };
    let path = case.paths.first().map_or("/", String::as_str);
    let seconds = stage.options.seconds;
    let drive = Drive { base: server.base(), path, load, connections: 64, seconds, core: None };
    let readings = server.counter("reading_requests").await?;
    let searches = server.counter("upstream_requests").await?;
    let (own, engine) = (server.cpu(), cpu_seconds(node));
    let (busy, driver) = (busy_seconds(None), ended_seconds());
    let driven = drive.run(&stage.setup.work).await?;
    let (own, engine) = (server.cpu() - own, cpu_seconds(node) - engine);
    let others = busy_seconds(None) - busy - (ended_seconds() - driver) - engine;
    let others = if server.pid == node { others } else { others - own };
    let each = |seconds: f64| seconds * 1e6 / driven.requests.max(1.0);
    Ok(Sample {
        per_second: driven.requests / driven.seconds,
        p50: driven.p50,
        p99: driven.p99,
        cpu: each(own),
        engine_cpu: if server.pid == node { 0.0 } else { each(engine) },
        rss: resident(server.pid),
        searches: server.counter("upstream_requests").await? - searches,
        readings: (server.counter("reading_requests").await? - readings) / driven.seconds,
        errors: driven.errors,
        foreign: others / driven.seconds,
    })
}

/// Asks until it is stored, and the engine's own cache has it.
async fn hit(client: &Client, path: &str) -> Result<(), Failure> {
    for _ in 0..3 {
        let answer = client.send(Method::POST, path, Bytes::from(body(0))).await?;
        if answer.status != 200 {
            return Err(format!("{path}: {}", String::from_utf8_lossy(&answer.body)).into());
        }
    }
    Ok(())
}
