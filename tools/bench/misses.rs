//! Misses, and what passes through: what escache adds to going direct.

use super::measure::{Runs, Sample};
use super::servers::Kind;
use super::stage::Stage;
use super::turns::{Scenario, Turn, take};
use super::wrk::Load;
use crate::Failure;

const PASS: &str = "pass-through, 1 KiB both ways, 64 connections";

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let upstream = stage.upstream().await?;
    let kinds = [Kind::Bounded, Kind::Strict, Kind::TtlOnly, Kind::NginxTuned];
    let all = stage.serve_all(&kinds, &upstream).await?;
    let mut runs = Runs::default();
    for (name, path, load, connections) in [
        ("miss 1 KiB, 1 connection", "/logs1k/_search", Load::Fresh, 1),
        ("miss 1 KiB, 64 connections", "/logs1k/_search", Load::Fresh, 64),
        ("miss 20 KiB, 64 connections", "/logs20k/_search", Load::Fresh, 64),
        // parsed and judged, and then forwarded
        ("bypass 1 KiB, 64 connections", "/logs1k/_search?scroll=1m", Load::Same, 64),
        ("pass-through, 1 KiB both ways, 1 connection", "/logs1k/_analyze", Load::Same, 1),
        (PASS, "/logs1k/_analyze", Load::Same, 64),
    ] {
        let scenario = Scenario { name: name.to_owned(), path: path.to_owned(), load, connections };
        let bypass = path.contains('?');
        let turns: Vec<Turn<'_>> = std::iter::once(&upstream)
            .chain(all.iter().filter(|server| !(bypass && server.kind == Kind::NginxTuned)))
            .map(|server| (server, None))
            .collect();
        take(stage, &scenario, &turns, &upstream, &mut runs).await?;
    }
    let report = &mut *stage.report;
    report.table("Misses and what passes through", &runs);
    let cpu = |kind: Kind| runs.median(PASS, kind.name(), |sample: &Sample| sample.cpu);
    let ratio = cpu(Kind::Bounded).zip(cpu(Kind::NginxTuned)).map(|(escache, nginx)| escache / nginx);
    report.at_most(&format!("{PASS}: added CPU of escache / nginx proxy_pass"), ratio, 1.0, "");
    Ok(())
}
