//! The log: its format and filter. Bodies, credentials and query strings never appear at the default level.

use std::io::IsTerminal as _;

use tracing::Subscriber;
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

/// Begins to log to standard error.
///
/// # Errors
/// The filter cannot be read, or a log was set up before.
pub fn init(filter: &str, format: Format) -> Result<(), String> {
    let subscriber = subscriber(filter, format, std::io::stderr().is_terminal(), std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|e| e.to_string())
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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(levels.add_directive(access))
        .with_writer(writer)
        .with_target(false)
        .with_ansi(terminal);
    Ok(match format {
        Format::Text => Box::new(builder.finish()),
        Format::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}
