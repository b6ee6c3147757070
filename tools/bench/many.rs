//! Many proxies in front of one engine, and many targets behind one proxy: what readings cost then.

use std::time::Duration;

use super::engine;
use super::measure::{cpu_seconds, resident};
use super::servers::{Kind, Server};
use super::stage::Stage;
use super::steady::{Steady, drive};
use super::wrk::body;
use crate::Failure;
use crate::http::Client;

/// Proxies in front of one engine.
const PROXIES: usize = 50;
/// Hot targets, of an index each.
const TARGETS: usize = 1_000;
/// Requests a second, of all clients together.
const PER_SECOND: f64 = 1_000.0;
/// A load is driven for so many times as long as other parts drive theirs: what is measured happens once a second.
const LONGER: u32 = 5;

const HEAD: &str = "| | requests/s | hits | passed on | p50 ms | p99 ms | readings: calls/s | failed | searches | CPU of the engine, cores | of all proxies, cores | RSS of all, MiB |\n\
                    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";

/// Fifty proxies, each a process with its own store, in front of one engine; one target of 30 indices.
pub(super) async fn proxies(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let engine = stage.new_engine("many").await?;
    engine::load(&engine.client).await?;
    stage.report.say(&format!(
        "### {PROXIES} proxies in front of one {}, one target of 30 indices, {PER_SECOND} requests a second in all\n\n{HEAD}",
        stage.options.engine
    ));
    for kind in [Kind::Bounded, Kind::Strict] {
        let kept = stage.processes.len();
        let mut servers = Vec::new();
        for _ in 0..PROXIES {
            servers.push(stage.serve(kind, &engine).await?);
        }
        for count in [1, PROXIES] {
            let servers = &servers[..count];
            let asked: Vec<(Client, String)> =
                servers.iter().map(|server| (server.client.clone(), "/daily-*/_search".to_owned())).collect();
            measure(stage, &format!("{count} x {}", kind.name()), servers, &asked, engine.pid).await?;
        }
        while stage.processes.len() > kept {
            if let Some(process) = stage.processes.pop() {
                process.end().await;
            }
        }
    }
    stage.report.say("");
    Ok(())
}

/// A thousand targets that are all asked, behind one proxy with a bound.
pub(super) async fn targets(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let engine = stage.new_engine("many").await?;
    engine::load_many(&engine.client, TARGETS).await?;
    stage.report.say(&format!(
        "### {TARGETS} targets of one index each in front of {}, {PER_SECOND} requests a second in all\n\n{HEAD}",
        stage.options.engine
    ));
    let server = stage.serve(Kind::Bounded, &engine).await?;
    let servers = [server];
    let [server] = &servers;
    for count in [1, 100, TARGETS] {
        let names = engine::many(count).into_iter();
        let asked: Vec<_> = names.map(|name| (server.client.clone(), format!("/{name}/_search"))).collect();
        let what = format!("{count} targets, {}", server.kind.name());
        measure(stage, &what, &servers, &asked, engine.pid).await?;
    }
    stage.report.say("");
    Ok(())
}

async fn measure(
    stage: &mut Stage<'_>,
    what: &str,
    servers: &[Server],
    asked: &[(Client, String)],
    node: u32,
) -> Result<(), Failure> {
    eprintln!("measuring: {what}");
    let body = body(0);
    // all is stored then, and the engine has compiled itself a little
    drive(asked, &body, PER_SECOND, Duration::from_secs_f64(1.0 + 2.0 * asked.len() as f64 / PER_SECOND))
        .await?;
    let own = || servers.iter().map(Server::cpu).sum::<f64>();
    let before = (counted(servers).await?, own(), cpu_seconds(node));
    let found: Steady =
        drive(asked, &body, PER_SECOND, Duration::from_secs(stage.options.seconds) * LONGER).await?;
    let after = (counted(servers).await?, own(), cpu_seconds(node));
    let [calls, failed, searches] = std::array::from_fn(|n| after.0[n] - before.0[n]);
    let share = |part: usize| 100.0 * part as f64 / found.requests.max(1) as f64;
    stage.report.say(&format!(
        "| {what} | {:.0} | {:.1}% | {:.1}% | {:.2} | {:.2} | {:.0} | {failed:.0} | {searches:.0} | {:.2} | {:.2} | {:.0} |",
        found.requests as f64 / found.seconds,
        share(found.hits),
        share(found.bypassed),
        found.p50,
        found.p99,
        calls / found.seconds,
        (after.2 - before.2) / found.seconds,
        (after.1 - before.1) / found.seconds,
        servers.iter().map(|server| resident(server.pid)).sum::<f64>(),
    ));
    Ok(())
}

/// Calls for readings, readings that found nothing, searches; of all together.
async fn counted(servers: &[Server]) -> Result<[f64; 3], Failure> {
    let mut sums = [0.0; 3];
    for server in servers {
        for (sum, name) in sums.iter_mut().zip(["reading_requests", "readings_invalid", "upstream_requests"])
        {
            *sum += server.counter(name).await?;
        }
    }
    Ok(sums)
}
