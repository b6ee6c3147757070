//! The commands that ask a running escache, at its admin listener, and show the answer on a terminal.

mod client;

mod explain;

mod stats;

mod warm;

use std::borrow::Cow;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

pub use self::client::Admin;
use crate::config::cli::{Command, Running};

/// The running escache does not answer, or not with what was asked for.
pub const NO_ANSWER: u8 = 1;
/// What was asked is not so: a request that is not cacheable, a list that could not be warmed up whole.
pub const NOT_SO: u8 = 3;
/// Standard output cannot be written (`EX_IOERR` of sysexits).
pub const EX_IOERR: u8 = 74;

/// What went wrong, and the exit code for it.
#[derive(Debug)]
pub struct Failure(pub String, pub u8);

impl From<String> for Failure {
    fn from(text: String) -> Failure {
        Failure(text, NO_ANSWER)
    }
}

/// Carries out a command that asks a running escache; `address` tells where its admin listener is.
///
/// # Errors
/// What went wrong.
pub async fn run(
    command: &Command,
    address: impl FnOnce() -> Result<String, Failure>,
) -> Result<ExitCode, Failure> {
    let admin = |running: &Running| match &running.url {
        Some(url) => Admin::at(url, token(running)?),
        None => Admin::at(&address()?, token(running)?),
    };
    match command {
        Command::Stats(asked) => stats::run(&admin(&asked.running)?, asked).await,
        Command::Explain(asked) => explain::run(&admin(&asked.running)?, asked).await,
        Command::Warm(asked) => warm::run(&admin(&asked.running)?, asked).await,
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The secret of the admin listener, from where its settings would have it.
fn token(running: &Running) -> Result<Option<String>, Failure> {
    let file = running.token_file.clone();
    let file = file.or_else(|| std::env::var_os("ESCACHE_ADMIN_TOKEN_FILE").map(Into::into));
    match file.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => Ok(Some(read(&path)?.trim_end_matches(['\r', '\n']).to_owned())),
        None => Ok(std::env::var("ESCACHE_ADMIN_TOKEN").ok().filter(|token| !token.is_empty())),
    }
}

/// A file, or what comes on standard input if it is called `-`.
fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().read_to_string(&mut text).map(|_| text),
        false => fs::read_to_string(path),
    };
    read.map_err(|error| Failure(format!("{}: cannot be read: {error}", name(path)), NO_ANSWER))
}

/// What people call it.
fn name(path: &Path) -> Cow<'_, str> {
    if path.as_os_str() == "-" { "standard input".into() } else { path.to_string_lossy() }
}

/// Writes to standard output, and tells whether it is still read. Who has seen enough, as `head` has, closes it: that is no
/// error.
///
/// # Errors
/// If it cannot be written for another reason, such as a full disk.
pub fn show(text: impl AsRef<[u8]>) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure(format!("standard output cannot be written: {error}"), EX_IOERR)),
    }
}
