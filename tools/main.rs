//! What the project's scripts run beside escache itself: the demo, the memory checks, the benchmark.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the person at the terminal")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod http;

mod process;

mod node;

mod demo;

mod memory;

mod bench;

/// Any error, as a sentence.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What `scripts/demo` shows
    Demo(demo::Options),
    /// What `scripts/memory` measures
    Memory(memory::Options),
    /// What `scripts/bench` measures
    Bench(bench::Options),
    /// A server that the benchmark starts for itself
    #[command(hide = true)]
    BenchServe(bench::serve::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Demo(options) => demo::run(options).await,
        Command::Memory(options) => memory::run(options).await,
        Command::Bench(options) => bench::run(options).await,
        Command::BenchServe(options) => bench::serve::run(options).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}
