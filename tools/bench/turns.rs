//! Drives several servers in turn, and turns the order around in every second round.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::Method;

use super::measure::{Runs, Sample, busy_seconds, resident};
use super::servers::{Server, Setup};
use super::stage::Stage;
use super::wrk::{Drive, Load, body};
use crate::Failure;
use crate::http::Client;

/// What is done to all.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) load: Load,
    pub(super) connections: usize,
}

/// Requests under way at once while a cache is filled.
const AT_ONCE: usize = 32;

/// A server, and what is sent to it if that is not what the scenario says.
pub(super) type Turn<'a> = (&'a Server, Option<Load>);

/// All rounds of one scenario. `upstream` says what it was asked.
pub(super) async fn take(
    stage: &Stage<'_>,
    scenario: &Scenario,
    turns: &[Turn<'_>],
    upstream: &Server,
    runs: &mut Runs,
) -> Result<(), Failure> {
    eprintln!("measuring: {}", scenario.name);
    for (server, load) in turns {
        prepare(&server.client, &scenario.path, load.as_ref().unwrap_or(&scenario.load)).await?;
    }
    for round in 0..stage.options.rounds {
        let mut order: Vec<&Turn<'_>> = turns.iter().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for (server, load) in order {
            let load = load.clone().unwrap_or_else(|| scenario.load.clone());
            if !matches!(load, Load::Keys(_)) {
                prepare(&server.client, &scenario.path, &load).await?;
            }
            let drive = Drive {
                base: server.base(),
                path: &scenario.path,
                load,
                connections: scenario.connections,
                seconds: stage.options.seconds,
                core: stage.setup.places.driver,
            };
            let sample = measured(&drive, server, upstream, &stage.setup).await?;
            runs.add(&scenario.name, server.kind.name(), sample);
        }
    }
    Ok(())
}

/// One run.
pub(super) async fn measured(
    drive: &Drive<'_>,
    server: &Server,
    upstream: &Server,
    setup: &Setup,
) -> Result<Sample, Failure> {
    let asked = counts(&upstream.client).await?;
    let (cpu, busy) = (server.cpu(), busy_seconds(setup.places.server));
    let driven = drive.run(&setup.work).await?;
    let (cpu, busy) = (server.cpu() - cpu, busy_seconds(setup.places.server) - busy);
    let answered = counts(&upstream.client).await?;
    let foreign = match setup.places.server {
        // who is measured without a proxy is on the other processor
        Some(_) if server.pid != upstream.pid => (busy - cpu) / driven.seconds,
        _ => 0.0,
    };
    Ok(Sample {
        per_second: driven.requests / driven.seconds,
        p50: driven.p50,
        p99: driven.p99,
        cpu: cpu * 1e6 / driven.requests.max(1.0),
        engine_cpu: 0.0,
        rss: resident(server.pid),
        searches: answered.0 - asked.0,
        readings: (answered.1 - asked.1) / driven.seconds,
        errors: driven.errors,
        foreign,
    })
}

/// How many searches and readings the upstream has been asked.
async fn counts(upstream: &Client) -> Result<(f64, f64), Failure> {
    let counts = upstream.get("/_bench/counts").await?.json()?;
    let of = |name: &str| counts[name].as_f64().unwrap_or_default();
    Ok((of("searches"), of("readings")))
}

/// Stores what is to be hit, and wakes the server up.
async fn prepare(client: &Client, path: &str, load: &Load) -> Result<(), Failure> {
    match load {
        Load::Same | Load::Gzip | Load::Reordered | Load::Fresh => fill(client, path, [0; 64]).await,
        Load::Keys(count) => {
            fill(client, path, [0; 64]).await?;
            fill(client, path, 0..*count).await
        }
        Load::Get => {
            for _ in 0..64 {
                client.ok(Method::GET, path, None).await?;
            }
            Ok(())
        }
        Load::Paths(paths) => {
            for path in paths {
                fill(client, path, [0; 4]).await?;
            }
            Ok(())
        }
    }
}

async fn fill(client: &Client, path: &str, numbers: impl IntoIterator<Item = u64>) -> Result<(), Failure> {
    stream::iter(numbers)
        .map(|number| async move {
            let answer = client.send(Method::POST, path, Bytes::from(body(number))).await?;
            match answer.status {
                200 => Ok(()),
                status => Err(Failure::from(format!("{}{path} answered {status}", client.base()))),
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(|()| async { Ok(()) })
        .await
}
