//! What the project's scripts run beside escache itself: the demo and the memory checks.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the person at the terminal")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod http;

mod process;

mod demo;

mod memory;

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
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Demo(options) => demo::run(options).await,
        Command::Memory(options) => memory::run(options).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}
