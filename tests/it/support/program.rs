//! The program as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::support::http::Client;
use crate::support::patience::{PATIENCE, ends};

/// A running program, killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    log: mpsc::Receiver<Value>,
    ears: Arc<Mutex<()>>,
    dir: TempDir,
    upstream: Vec<String>,
    pub(crate) url: String,
    pub(crate) admin: String,
}

impl Program {
    /// Starts it with this configuration besides its addresses, in front of `upstream`.
    pub(crate) fn start(upstream: &str, config: &str) -> Program {
        Program::before(&[upstream], config)
    }

    /// The same in front of several hosts.
    pub(crate) fn before(hosts: &[&str], config: &str) -> Program {
        let program = Program::unmet(hosts, config);
        program.until_said("the engine answers");
        program
    }

    /// The same, with an engine that need not answer yet.
    pub(crate) fn unmet(hosts: &[&str], config: &str) -> Program {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("escache.yml"), config).unwrap();
        let upstream: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let ears = Arc::default();
        let (child, log) = spawn(dir.path(), &upstream, ["127.0.0.1:0", "127.0.0.1:0"], &ears);
        let (url, admin) = (String::new(), String::new());
        let mut program = Program { child, log, ears, dir, upstream, url, admin };
        let said = program.until_said("escache listens");
        let of = |name: &str| format!("http://{}", said[name].as_str().unwrap());
        (program.url, program.admin) = (of("listen"), of("admin"));
        program
    }

    /// Kills it at once, as a crash does.
    pub(crate) fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills it if it runs, and starts it at the same addresses with what its file says now.
    pub(crate) fn start_again(&mut self) {
        self.kill9();
        let addresses = [&self.url, &self.admin].map(|url| url.trim_start_matches("http://"));
        (self.child, self.log) = spawn(self.dir.path(), &self.upstream, addresses, &self.ears);
        self.until_said("escache listens");
    }

    /// Waits for a line of the log.
    pub(crate) fn until_said(&self, words: &str) -> Value {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("never said: {words}"));
            let fields = line.get("fields").cloned().unwrap_or_else(|| line.clone());
            if line.to_string().contains(words) {
                return fields;
            }
        }
    }

    /// What it has said since it was last listened to.
    pub(crate) fn said(&self) -> Vec<Value> {
        self.log.try_iter().collect()
    }

    /// As long as these are locked, nobody reads its log.
    pub(crate) fn ears(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.ears)
    }

    /// What of its memory is resident, in bytes.
    pub(crate) fn resident(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// The most that was ever resident, in bytes.
    pub(crate) fn most_resident(&self) -> usize {
        self.memory("VmHWM:")
    }

    fn memory(&self, row: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(row)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Writes its configuration.
    pub(crate) fn write(&self, config: &str) {
        std::fs::write(self.dir.path().join("escache.yml"), config).unwrap();
    }

    /// A file beside its configuration.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) async fn reload(&self, client: &Client) -> (u16, Value) {
        client.json("POST", &format!("{}/reload", self.admin), Some(json!({}))).await
    }

    pub(crate) async fn exit_code(mut self) -> Option<i32> {
        let exited = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        ends("the program", exited).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn spawn(
    dir: &Path,
    upstream: &[String],
    addresses: [&str; 2],
    ears: &Arc<Mutex<()>>,
) -> (Child, mpsc::Receiver<Value>) {
    let mut command = program(dir);
    command.args(["--listen", addresses[0], "--admin", addresses[1]]);
    for host in upstream {
        command.args(["--upstream", host]);
    }
    // no test depends on speed
    command.envs([("ESCACHE_LOG_FORMAT", "json"), ("ESCACHE_FRESHNESS_READING_DEARER", "wait")]);
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (sender, log) = mpsc::channel();
    let ears = Arc::clone(ears);
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            drop(ears.blocking_lock());
            let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
        }
    });
    (child, log)
}

/// The program with the configuration of this folder, and none of the environment's. It is the one that was built with the
/// tests, unless `TEST_PROGRAM` names another (one that was built for release).
pub(crate) fn program(dir: &Path) -> Command {
    let built = || env!("CARGO_BIN_EXE_escache").into();
    let mut command = Command::new(std::env::var_os("TEST_PROGRAM").unwrap_or_else(built));
    command.env_clear().stderr(Stdio::piped()).stdout(Stdio::null());
    command.arg("--config").arg(dir.join("escache.yml"));
    command
}
