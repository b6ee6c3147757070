//! Hits, beside the peers.

use super::measure::{Runs, Sample};
use super::report::Report;
use super::servers::{self, Kind, Server};
use super::stage::Stage;
use super::turns::{Scenario, Turn, take};
use super::wrk::Load;
use crate::Failure;

/// Who is compared.
const ALL: [Kind; 9] = [
    Kind::Bare,
    Kind::Hash,
    Kind::Bounded,
    Kind::Strict,
    Kind::TtlOnly,
    Kind::NginxTuned,
    Kind::NginxUsual,
    Kind::Varnish,
    Kind::Haproxy,
];

const SMALL: &str = "hit 1 KiB, 64 connections";
const MIDDLE: &str = "hit 20 KiB, 64 connections";
const LARGE: &str = "hit 300 KiB, 64 connections";
const ONE: &str = "hit 1 KiB, 1 connection";
const THOUSAND: &str = "hit 1 KiB, 1000 connections";
const GZIP_SMALL: &str = "hit 1 KiB, 64 connections, the client wants gzip";
const GZIP_MIDDLE: &str = "hit 20 KiB, 64 connections, the client wants gzip";
const KEYS: &str = "hit 1 KiB, 64 connections, 100,000 keys";
const REORDERED: &str = "hit 1 KiB, 64 connections, in other words each time";

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<(), Failure> {
    for kind in ALL.into_iter().filter(|kind| !servers::is_here(*kind)) {
        stage.report.say(&format!("{} is not installed here and is left out.", kind.name()));
    }
    let upstream = stage.upstream().await?;
    let all = stage.serve_all(&ALL, &upstream).await?;
    let mut runs = Runs::default();
    // nobody else keeps both forms of an answer
    let not_bounded: Vec<Kind> = ALL.into_iter().filter(|kind| *kind != Kind::Bounded).collect();
    for (name, path, load, connections, left_out) in [
        (SMALL, "/logs1k/_search", Load::Same, 64, [].as_slice()),
        (MIDDLE, "/logs20k/_search", Load::Same, 64, &[]),
        (LARGE, "/logs300k/_search", Load::Same, 64, &[]),
        (ONE, "/logs1k/_search", Load::Same, 1, &[]),
        (THOUSAND, "/logs1k/_search", Load::Same, 1000, &[]),
        (
            REORDERED,
            "/logs1k/_search",
            Load::Reordered,
            64,
            &[Kind::Bare, Kind::NginxTuned, Kind::NginxUsual, Kind::Varnish, Kind::Haproxy],
        ),
        (GZIP_SMALL, "/logs1k/_search", Load::Gzip, 64, &not_bounded),
        (GZIP_MIDDLE, "/logs20k/_search", Load::Gzip, 64, &not_bounded),
        (KEYS, "/logs1k/_search", Load::Keys(100_000), 64, &[Kind::Bare, Kind::Haproxy]),
    ] {
        let scenario = Scenario { name: name.to_owned(), path: path.to_owned(), load, connections };
        let turns: Vec<Turn<'_>> = all
            .iter()
            .filter(|server| !left_out.contains(&server.kind))
            .map(|server| (server, in_its_way(&scenario, server)))
            .collect();
        take(stage, &scenario, &turns, &upstream, &mut runs).await?;
    }
    let report = &mut *stage.report;
    report.table("Hits", &runs);
    let most = |of: fn(&Sample) -> f64| {
        let rows = runs.rows().iter().filter_map(|(scenario, server)| runs.spread(scenario, server, of));
        rows.map(|spread| spread.most).reduce(f64::max)
    };
    // a run whose requests reach the upstream measures something else than hits
    report.at_most("hits: searches that reached the upstream in any run", most(|s| s.searches), 10.0, "");
    report.at_most("hits: errors in any run", most(|s| s.errors), 0.0, "");
    bars(&runs, report);
    Ok(())
}

/// HAProxy looks at no body; a hash of the bytes knows no other words for the same.
fn in_its_way(scenario: &Scenario, server: &Server) -> Option<Load> {
    match (server.kind, &scenario.load) {
        (Kind::Haproxy, _) => Some(Load::Get),
        (Kind::Hash, Load::Reordered) => Some(Load::Same),
        _ => None,
    }
}

fn bars(runs: &Runs, report: &mut Report) {
    let of = |scenario: &str, kind: Kind, of: fn(&Sample) -> f64| runs.median(scenario, kind.name(), of);
    let cpu = |scenario: &str, kind: Kind| of(scenario, kind, |sample| sample.cpu);
    let p99 = |scenario: &str, kind: Kind| of(scenario, kind, |sample| sample.p99);
    let ratio = |one: Option<f64>, other: Option<f64>| Some(one? / other?);
    for mode in [Kind::Bounded, Kind::TtlOnly] {
        let name = mode.name();
        for (peer, limit) in
            [(Kind::Hash, 1.25), (Kind::NginxTuned, 0.9), (Kind::NginxUsual, 0.6), (Kind::Varnish, 0.4)]
        {
            let what = format!("{SMALL}: CPU of {name} / {}", peer.name());
            report.at_most(&what, ratio(cpu(SMALL, mode), cpu(SMALL, peer)), limit, "");
        }
        let what = format!("{SMALL}: p99 of {name} / {}", Kind::NginxTuned.name());
        report.at_most(&what, ratio(p99(SMALL, mode), p99(SMALL, Kind::NginxTuned)), 1.0, "");
        for scenario in [MIDDLE, LARGE] {
            let what = format!("{scenario}: CPU of {name} / {}", Kind::Hash.name());
            report.at_most(&what, ratio(cpu(scenario, mode), cpu(scenario, Kind::Hash)), 1.15, "");
        }
        for peer in [Kind::NginxTuned, Kind::Varnish] {
            let what = format!("{MIDDLE}: CPU of {name} / {}", peer.name());
            report.at_most(&what, ratio(cpu(MIDDLE, mode), cpu(MIDDLE, peer)), 1.0, "");
        }
        let peers = [cpu(LARGE, Kind::NginxTuned), cpu(LARGE, Kind::Varnish)];
        let best = peers.into_iter().flatten().reduce(f64::min);
        let what = format!("{LARGE}: CPU of {name} / better of tuned nginx and Varnish");
        report.at_most(&what, ratio(cpu(LARGE, mode), best), 1.05, "");
        let what = format!("{REORDERED}: CPU of {name} / {}, the same bytes", Kind::Hash.name());
        report.at_most(&what, ratio(cpu(REORDERED, mode), cpu(REORDERED, Kind::Hash)), 1.5, "");
    }
}
