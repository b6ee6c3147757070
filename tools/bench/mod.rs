//! The benchmark: escache beside its peers, in turn, on the same machine and in the same run; and what of the bars is met.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};

use crate::Failure;
use crate::process::{Process, asked_to_end};

mod places;

mod measure;

mod wrk;

mod pretence;

pub(crate) mod serve;

mod servers;

mod stage;

mod report;

mod turns;

mod hits;

mod misses;

mod together;

mod bodies;

mod full;

mod engine;

mod strict;

mod steady;

mod many;

mod dashboards;

use places::Places;
use report::Report;
use servers::Setup;
use stage::Stage;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What is measured [default: hits misses memory]
    parts: Vec<Part>,
    /// The program escache
    #[arg(long)]
    escache: PathBuf,
    /// The program that serves what is compared with, if that is not this one
    #[arg(long, hide = true)]
    tools: Option<PathBuf>,
    /// What starts an engine: tests/nodes/run
    #[arg(long)]
    nodes: PathBuf,
    /// The engine of the parts that need one
    #[arg(long, default_value = "opensearch-2")]
    engine: String,
    /// A folder for logs, configurations and the engine's data
    #[arg(long)]
    work: PathBuf,
    /// How often each server is driven; the tables have the medians
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many seconds each time
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// Recorded searches for `dashboards`, a JSON array of {name, path, params, body}
    #[arg(long)]
    workload: Option<PathBuf>,
    /// The Python program that loads their documents; it takes the engine's URL and how many
    #[arg(long)]
    loader: Option<PathBuf>,
    /// How many documents the loader makes
    #[arg(long, default_value_t = 300_000)]
    docs: u64,
    /// Writes the report there, too
    #[arg(long)]
    output: Option<PathBuf>,
    /// What a bar that is missed does
    #[arg(long)]
    strict_exit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Hits, beside nginx, Varnish, HAProxy and bare hyper
    Hits,
    /// Misses, what passes through, equal misses at once, large bodies
    Misses,
    /// Only equal misses at once
    Together,
    /// What a full cache takes
    Memory,
    /// Strict mode in front of a real engine
    Strict,
    /// Fifty proxies in front of a real engine
    Proxies,
    /// A thousand hot targets on a real engine
    Targets,
    /// Recorded dashboards on a real engine
    Dashboards,
    /// All of them
    All,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    std::fs::create_dir_all(&options.work)?;
    let memory = PathBuf::from("/dev/shm");
    let cache = if memory.is_dir() { memory } else { options.work.clone() };
    let cache = cache.join(format!("escache-bench-{}", std::process::id()));
    std::fs::create_dir_all(&cache)?;
    let setup = Setup {
        escache: options.escache.clone(),
        tools: options.tools.clone().map_or_else(std::env::current_exe, Ok)?,
        work: options.work.clone(),
        cache: cache.clone(),
        places: Places::here(),
    };
    let mut processes = Vec::new();
    let mut report = Report::default();
    let mut stage = Stage { options: &options, setup, processes: &mut processes, report: &mut report };
    let ended = tokio::select! {
        ended = parts(&mut stage) => ended,
        () = asked_to_end() => Err("interrupted".into()),
    };
    end(&mut processes).await;
    let _ = std::fs::remove_dir_all(&cache);
    // what was measured before something failed is worth its time
    let text = report.text();
    print!("{text}");
    if let Some(file) = &options.output {
        std::fs::write(file, text)?;
    }
    ended?;
    match options.strict_exit && report.missed() > 0 {
        true => Err(format!("{} bars are missed", report.missed()).into()),
        false => Ok(()),
    }
}

async fn parts(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let options = stage.options;
    let usual = [Part::Hits, Part::Misses, Part::Memory];
    let asked = if options.parts.is_empty() { usual.as_slice() } else { &options.parts };
    let wanted = |part: Part| asked.contains(&part) || asked.contains(&Part::All);
    stage.report.machine(options.rounds, options.seconds);
    let since = Instant::now();
    if wanted(Part::Hits) {
        hits::run(stage).await?;
        end(stage.processes).await;
    }
    if wanted(Part::Misses) {
        misses::run(stage).await?;
        bodies::run(stage).await?;
        end(stage.processes).await;
    }
    if wanted(Part::Misses) || wanted(Part::Together) {
        together::run(stage).await?;
        end(stage.processes).await;
    }
    if wanted(Part::Memory) {
        full::run(options, stage.report).await?;
    }
    if wanted(Part::Strict) {
        strict::run(&mut stage.free()).await?;
        end(stage.processes).await;
    }
    if wanted(Part::Proxies) {
        many::proxies(&mut stage.free()).await?;
        end(stage.processes).await;
    }
    if wanted(Part::Targets) {
        many::targets(&mut stage.free()).await?;
        end(stage.processes).await;
    }
    if wanted(Part::Dashboards) {
        dashboards::run(&mut stage.free()).await?;
    }
    eprintln!("measured for {:.0} s", since.elapsed().as_secs_f64());
    Ok(())
}

/// The proxies end before what they are in front of.
async fn end(processes: &mut Vec<Process>) {
    while let Some(process) = processes.pop() {
        process.end().await;
    }
}
