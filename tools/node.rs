//! A real engine, started by `tests/nodes/run`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use http::Method;

use crate::Failure;
use crate::http::Client;
use crate::process::{self, Process};

/// How long it may take to start; building it comes before.
const START: Duration = Duration::from_secs(180);

/// Starts an engine whose data and log are in `work`, with a heap of 1 GiB unless `HEAP` says otherwise: with less, its
/// circuit breakers refuse aggregations over the corpora of the tools now and then.
pub(crate) async fn start(
    nodes: &Path,
    engine: &str,
    work: &Path,
    processes: &mut Vec<Process>,
) -> Result<Client, Failure> {
    std::fs::create_dir_all(work)?;
    let (log, data) = (work.join(format!("{engine}.log")), work.join(engine));
    println!("Starting {engine} ...");
    // the node's launcher knows variables of the project, so that it gets them all
    let mut run = std::process::Command::new(nodes);
    run.arg(engine).arg("0").arg(&data).arg("--die-with-stdin");
    if std::env::var_os("HEAP").is_none() {
        run.env("HEAP", "1g");
    }
    run.stdout(Stdio::piped()).stderr(std::fs::File::create(&log)?);
    let mut node = Process::start(&mut run)?;
    let ready = tokio::time::timeout(START, node.line("READY ")).await;
    processes.push(node);
    let failed =
        || format!("the engine did not start; the end of {}:\n{}", log.display(), process::tail(&log));
    let ready = ready.map_err(|_| failed())?.map_err(|_| failed())?;
    let url = ready.split(' ').nth(1).ok_or_else(failed)?;
    let engine = Client::new(url);
    engine.ok(Method::GET, "/_cluster/health?wait_for_status=yellow&timeout=60s", None).await?;
    Ok(engine)
}
