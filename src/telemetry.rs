//! The log: its format and filter, and the thread that writes it. Bodies, credentials and query strings never appear at
//! the default level.
//!
//! Nobody waits for who reads the log: lines wait for their writer in a queue, and where that is full they are dropped
//! and counted.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;
use tracing_subscriber::fmt::MakeWriter;

use crate::access;

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How many lines may wait to be written: two or three megabytes.
const MOST_WAITING: usize = 8_192;

/// How long the end of the program waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// How long their writer is waited for by what owns it (`WorkerGuard`), which does not tell.
const OF_GUARD: Duration = Duration::from_secs(1);

/// A process has one log.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// The log as long as the program runs.
#[derive(Debug)]
#[must_use = "lines that wait are written at its end"]
pub struct Log(WorkerGuard);

/// Begins to log to standard error: what is traced, and panics.
///
/// # Errors
/// The filter cannot be read, or a log was set up before.
pub fn init(filter: &str, format: Format) -> Result<Log, String> {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MOST_WAITING);
    let (writer, guard) = builder.thread_name("log").finish(std::io::stderr());
    let dropped = writer.error_counter();
    let subscriber = subscriber(filter, format, std::io::stderr().is_terminal(), writer)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|e| e.to_string())?;
    let _ = DROPPED.set(dropped);
    // the usual hook would write to standard error itself, and wait there
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let what = payload.downcast_ref::<String>().map(String::as_str);
        let what = what.or_else(|| payload.downcast_ref::<&str>().copied());
        let backtrace =
            Some(Backtrace::capture()).filter(|taken| taken.status() == BacktraceStatus::Captured);
        let at = panic.location().map(tracing::field::display);
        tracing::error!(at, what, backtrace = backtrace.map(tracing::field::display), "panicked");
    }));
    Ok(Log(guard))
}

/// How many lines were dropped because as many waited as may.
#[must_use]
pub fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |dropped| u64::try_from(dropped.dropped_lines()).unwrap_or(u64::MAX))
}

impl Log {
    /// Waits until the lines that wait are written, and tells whether they are. Who does not read them is not waited for
    /// for long.
    #[must_use]
    pub fn end(self) -> bool {
        // its own end knows no time limit where standard output is not read either
        let (began, (done, ended)) = (Instant::now(), mpsc::channel());
        std::thread::spawn(move || {
            drop(self.0);
            let _ = done.send(());
        });
        ended.recv_timeout(LAST_LINES).is_ok() && began.elapsed() < OF_GUARD
    }
}

/// What writes the log; with colours if it is for a terminal.
///
/// # Errors
/// The filter cannot be read.
pub fn subscriber<W>(
    filter: &str,
    format: Format,
    terminal: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, String>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let levels = EnvFilter::try_new(filter).map_err(|e| format!("log.level [{filter}]: {e}"))?;
    // whether there are lines for requests is for log.access to say
    let access: Directive = format!("{}=info", access::TARGET).parse().map_err(|e| format!("{e}"))?;
    // a panic is told of whatever the level: the hook that it had would have done so
    let panics: Directive = format!("{}=error", module_path!()).parse().map_err(|e| format!("{e}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(levels.add_directive(access).add_directive(panics))
        .with_writer(writer)
        .with_target(false)
        .with_ansi(terminal);
    Ok(match format {
        Format::Text => Box::new(builder.finish()),
        Format::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}
