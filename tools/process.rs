//! Processes that end with this one, however it ends.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::Failure;

/// How long a process may take to end when it is asked to.
const END: Duration = Duration::from_secs(20);

/// A process. Dropping it kills it; if this process is killed, a shell that waits for that ends it.
pub(crate) struct Process {
    child: Child,
    _stdin: Option<ChildStdin>,
    watchdog: Child,
}

/// A command without the variables of the tests: escache takes every `ESCACHE_` variable for a setting.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ESCACHE_")) {
        command.env_remove(name);
    }
    command
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Process, Failure> {
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        let script = r#"read -r _; kill "$1" 2>/dev/null"#;
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", script, "sh", &child.id().to_string()]).stdin(Stdio::piped());
        // in a group of its own: Ctrl-C is not for it
        let watchdog = watchdog.process_group(0).spawn()?;
        Ok(Process { _stdin: child.stdin.take(), child, watchdog })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, waits until it has, and kills it if it does not.
    pub(crate) async fn end(mut self) {
        let _ = Command::new("kill").arg(self.id().to_string()).stderr(Stdio::null()).status();
        let deadline = Instant::now() + END;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The first line of its standard output that begins with `begin`; what comes after is dropped.
    pub(crate) async fn line(&mut self, begin: &'static str) -> Result<String, Failure> {
        let stdout = self.child.stdout.take().ok_or("its output is not piped")?;
        let (found, line) = oneshot::channel();
        std::thread::spawn(move || {
            let mut found = Some(found);
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line.starts_with(begin)
                    && let Some(found) = found.take()
                {
                    let _ = found.send(line);
                }
            }
        });
        line.await.map_err(|_| format!("it ended without saying {begin}").into())
    }

    /// A line of `/proc/PID/status` in kibibytes; `None` where there is no such file.
    pub(crate) fn memory(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for child in [&mut self.watchdog, &mut self.child] {
            if matches!(child.try_wait(), Ok(None)) {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// The end of a log, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Waits until somebody wants this process to end.
pub(crate) async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let Ok(mut signals) = kinds.into_iter().map(signal).collect::<Result<Vec<_>, _>>() else {
        return std::future::pending().await;
    };
    let waits = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures_util::future::select_all(waits).await;
}

/// This port if it is free, or the next that is.
pub(crate) fn free_port(wanted: u16) -> u16 {
    (wanted..=u16::MAX)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap_or(wanted)
}
