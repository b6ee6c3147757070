//! Bodies of 100 MB, in both directions.

use std::time::Instant;

use bytes::Bytes;

use super::measure::Spread;
use super::report::show;
use super::servers::{Kind, Server};
use super::stage::Stage;
use crate::Failure;

const SIZE: usize = 100_000_000;

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let upstream = stage.upstream().await?;
    let mut all = stage.serve_all(&[Kind::Bounded, Kind::NginxTuned, Kind::NginxUsual], &upstream).await?;
    all.insert(0, upstream);
    let body = Bytes::from(
        b"{\"index\":{\"_index\":\"logs\"}}\n{\"message\":\"text of a log line\"}\n".repeat(SIZE / 62),
    );
    let report = &mut *stage.report;
    report.say(
        "### Bodies of 100 MB\n\n| direction | server | ms | CPU of the server, ms | RSS after, MiB |\n\
         | --- | --- | ---: | ---: | ---: |",
    );
    for up in [true, false] {
        let mut found: Vec<(Vec<f64>, Vec<f64>)> = all.iter().map(|_| Default::default()).collect();
        for _ in 0..stage.options.rounds {
            for (server, (took, cpu)) in all.iter().zip(&mut found) {
                let before = server.cpu();
                took.push(once(server, up, &body).await?);
                cpu.push((server.cpu() - before) * 1e3);
            }
        }
        for (server, (took, cpu)) in all.iter().zip(found) {
            report.say(&format!(
                "| {} | {} | {} | {} | {:.0} |",
                if up { "up" } else { "down" },
                server.kind.name(),
                show(Spread::of(took)),
                show(Spread::of(cpu)),
                super::measure::resident(server.pid)
            ));
        }
    }
    report.say("");
    Ok(())
}

/// Milliseconds of one transfer.
async fn once(server: &Server, up: bool, body: &Bytes) -> Result<f64, Failure> {
    let began = Instant::now();
    let answer = match up {
        true => server.client.send_lines("/_bulk", body.clone()).await?,
        false => server.client.get(&format!("/_bench/download?zeros={SIZE}")).await?,
    };
    let whole = up || answer.body.len() == SIZE;
    match answer.status {
        200 if whole => Ok(began.elapsed().as_secs_f64() * 1e3),
        status => {
            Err(format!("{} answered {status}, {} bytes", server.kind.name(), answer.body.len()).into())
        }
    }
}
