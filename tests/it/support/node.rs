//! Real engines for tests, started with `tests/nodes/run`.
//!
//! ```ignore
//! let Some(node) = Node::shared(Engine::Elasticsearch7).await else { return };
//! let (status, found) = node.client().json("GET", "/logs/_search", None).await;
//! ```
//!
//! A test gets no node where none can be had (no Java, no network): that is said as `SKIPPED: reason`, and the test
//! passes, unless `TEST_REQUIRE_NODES=1`. A node that can be had and does not boot fails the test, with its log.
//!
//! No node outlives the test process, however that ends: a node's stdin is a pipe from here, and a node ends and takes its
//! data along when its stdin does.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::http::Client;

/// How long a node may take to boot; many times what it takes on a busy machine.
const BOOT: Duration = Duration::from_secs(600);

/// How long a node may take to end when it is asked to.
const END: Duration = Duration::from_secs(30);

/// What `tests/nodes/run` exits with where an engine cannot be had.
const UNAVAILABLE: i32 = 69;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Engine {
    /// Has no Painless and no analysis-common (70 MiB instead of 353).
    Elasticsearch7,
    Elasticsearch7Painless,
    /// Has no `GET /`, no scripts, no reindex (66 MiB instead of 938).
    Elasticsearch8,
    Elasticsearch8Full,
    Elasticsearch9,
    OpenSearch2,
    /// Users and roles; plain HTTP unless [`Start::tls`] is called.
    OpenSearch2Secured,
    OpenSearch3,
}

impl Engine {
    const COUNT: usize = Self::OpenSearch3 as usize + 1;

    /// The name and the profile that `tests/nodes/run` knows it by.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Elasticsearch7 => ("elasticsearch-7", "none"),
            Self::Elasticsearch7Painless => ("elasticsearch-7", "painless"),
            Self::Elasticsearch8 => ("elasticsearch-8", "lean"),
            Self::Elasticsearch8Full => ("elasticsearch-8", "full"),
            Self::Elasticsearch9 => ("elasticsearch-9", ""),
            Self::OpenSearch2 => ("opensearch-2", ""),
            Self::OpenSearch2Secured => ("opensearch-2-secured", ""),
            Self::OpenSearch3 => ("opensearch-3", ""),
        }
    }

    /// `tests/nodes/run`, set up for this engine.
    fn launcher(self) -> Command {
        let mut run = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nodes/run"));
        run.env("ES_PROFILE", self.names().1);
        run
    }
}

/// One running node. Dropping it kills it and removes its data.
pub(crate) struct Node(Arc<Inner>);

struct Inner {
    start: Start,
    data: TempDir,
    running: Mutex<Option<Process>>,
    /// Where it was first reached, and is again after a restart.
    address: Address,
}

impl Node {
    /// A node of its own for one test; `None` where it cannot be had.
    pub(crate) async fn start(engine: Engine) -> Option<Self> {
        Self::with(engine).start().await
    }

    /// The same, with settings.
    pub(crate) fn with(engine: Engine) -> Start {
        Start::new(engine)
    }

    /// One node for all tests of this process; they should each use indices of their own.
    pub(crate) async fn shared(engine: Engine) -> Option<&'static Self> {
        static SHARED: [OnceCell<Option<Node>>; Engine::COUNT] =
            [const { OnceCell::const_new() }; Engine::COUNT];
        SHARED[engine as usize].get_or_init(|| Self::start(engine)).await.as_ref()
    }

    /// `http://127.0.0.1:PORT`, without a slash at its end.
    pub(crate) fn url(&self) -> &str {
        &self.0.address.url
    }

    pub(crate) fn port(&self) -> u16 {
        port_of(self.url())
    }

    /// A new client for this node; it belongs to the calling test's runtime.
    pub(crate) fn client(&self) -> Client {
        Client::at(self.url())
    }

    /// Its data directory; what the secured engine's certificates are in is its `config`.
    pub(crate) fn data(&self) -> &Path {
        self.0.data.path()
    }

    /// What it has logged since it was started last.
    pub(crate) fn log(&self) -> String {
        read_log(self.data())
    }

    /// Kills it at once, as a crash does. Its data stays.
    pub(crate) async fn kill9(&self) {
        self.blocking(|inner| drop(inner.running().take())).await;
    }

    /// Asks it to end and waits until it has. Its data stays.
    pub(crate) async fn stop(&self) {
        self.blocking(|inner| {
            if let Some(process) = inner.running().take() {
                process.end();
            }
        })
        .await;
    }

    /// Stops it if it runs, and starts it again with the same data and ports.
    pub(crate) async fn restart(&self) {
        self.blocking(|inner| {
            let mut running = inner.running();
            if let Some(process) = running.take() {
                process.end();
            }
            *running = Some(inner.start.boot_again(inner.data.path(), &inner.address));
        })
        .await;
    }

    /// Freezes it: connections stay open and nothing is answered. It thaws if the test process dies.
    pub(crate) async fn sigstop(&self) {
        self.blocking(|inner| {
            if let Some(process) = inner.running().as_mut() {
                process.freeze();
            }
        })
        .await;
    }

    pub(crate) async fn sigcont(&self) {
        self.blocking(|inner| {
            if let Some(process) = inner.running().as_mut() {
                process.thaw();
            }
        })
        .await;
    }

    async fn blocking(&self, work: impl FnOnce(&Inner) + Send + 'static) {
        let inner = Arc::clone(&self.0);
        off_the_runtime(move || work(&inner)).await;
    }
}

impl Inner {
    fn running(&self) -> MutexGuard<'_, Option<Process>> {
        lock(&self.running)
    }
}

/// Several nodes as one cluster. The first is the only one that can be master: killing any other leaves it answering.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
}

impl Cluster {
    pub(crate) async fn start(engine: Engine, size: usize) -> Option<Self> {
        let first = Node::start(engine).await?;
        let mut nodes = vec![first];
        for number in 2..=size {
            nodes.push(Node::with(engine).joining(&nodes[0], number).start().await?);
        }
        Some(Self { nodes })
    }
}

/// How to start a node.
#[derive(Clone)]
pub(crate) struct Start {
    engine: Engine,
    options: Vec<String>,
    tls: bool,
}

impl Start {
    fn new(engine: Engine) -> Self {
        Self { engine, options: Vec::new(), tls: false }
    }

    /// A setting, as `-E key=value` of `bin/elasticsearch`.
    pub(crate) fn setting(self, key: &str, value: &str) -> Self {
        self.options(&["-E", &format!("{key}={value}")])
    }

    /// HTTPS, for the engines that have it. The CA is `config/ca.pem` of the data directory.
    pub(crate) fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Makes it a data node of the cluster of `first`.
    fn joining(self, first: &Node, number: usize) -> Self {
        let config = first.data().join("config");
        let name = format!("node-{number}");
        let data_only = self.options(&["--seed-hosts", &first.0.address.transport, "--name", &name]);
        let data_only = data_only.setting("node.roles", "data,ingest");
        let repo = first.data().join("repo");
        let shared = data_only.setting("path.repo", &repo.to_string_lossy());
        if shared.engine == Engine::OpenSearch2Secured {
            return shared.options(&["--certs", &config.to_string_lossy()]);
        }
        shared
    }

    fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    /// Starts it; `None` where it cannot be had.
    ///
    /// # Panics
    /// If it does not boot; if it cannot be had and `TEST_REQUIRE_NODES=1`.
    pub(crate) async fn start(self) -> Option<Node> {
        let test = thread::current().name().unwrap_or("a test").to_owned();
        off_the_runtime(move || match ensure_built(self.engine) {
            Ok(()) => Some(self.boot()),
            Err(reason) => {
                assert!(
                    !std::env::var("TEST_REQUIRE_NODES").is_ok_and(|value| value == "1"),
                    "{reason}, and TEST_REQUIRE_NODES=1"
                );
                let _ = writeln!(io::stderr().lock(), "SKIPPED: {test}: {reason}");
                None
            }
        })
        .await
    }

    fn boot(self) -> Node {
        let data = tempfile::Builder::new()
            .prefix("escache-node-")
            .tempdir_in(data_base())
            .expect("a data directory");
        let (process, address) =
            self.try_boot(data.path(), "0", "0").unwrap_or_else(|failure| panic!("{failure}"));
        Node(Arc::new(Inner { start: self, data, running: Mutex::new(Some(process)), address }))
    }

    /// On the ports it had. They were free ones, so that somebody may have taken one for a moment: then again.
    fn boot_again(&self, data: &Path, address: &Address) -> Process {
        let ports = [port_of(&address.url).to_string(), port_of(&address.transport).to_string()];
        for _ in 0..5 {
            match self.try_boot(data, &ports[0], &ports[1]) {
                Ok((process, _)) => return process,
                Err(failure) if failure.contains("already in use") => thread::sleep(Duration::from_secs(1)),
                Err(failure) => panic!("{failure}"),
            }
        }
        panic!("{address:?} stays in use by somebody else");
    }

    /// One at a time: a boot takes all the cores that a small machine has.
    fn try_boot(&self, data: &Path, port: &str, transport: &str) -> Result<(Process, Address), String> {
        static BOOTING: Mutex<()> = Mutex::new(());
        let _one = lock(&BOOTING);

        let mut run = self.engine.launcher();
        run.arg(self.engine.names().0).arg(port).arg(data);
        run.args(["--transport-port", transport, "--die-with-stdin", "--remove-data"]);
        run.args(&self.options);
        for (name, value) in [("HEAP", "256m"), ("TIER", "1")] {
            if std::env::var_os(name).is_none() {
                run.env(name, value);
            }
        }
        run.env("CLEAR", if self.tls { "" } else { "1" });
        let log = File::create(data.join("node.log")).expect("a log file");
        run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).process_group(0);

        let mut process = Process::new(run.spawn().expect("tests/nodes/run starts"));
        let ready = process.lines().recv_timeout(BOOT);
        ready.ok().and_then(|line| Address::parse(&line)).map(|address| (process, address)).ok_or_else(|| {
            let log = read_log(data);
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(60)..].join("\n");
            format!("{:?} did not boot; the end of its log:\n{tail}", self.engine)
        })
    }
}

/// What the READY line says.
#[derive(Clone, Debug)]
struct Address {
    url: String,
    transport: String,
}

impl Address {
    fn parse(ready: &str) -> Option<Self> {
        let mut words = ready.strip_prefix("READY ")?.split(' ');
        Some(Self {
            url: words.next()?.to_owned(),
            transport: words.find_map(|word| word.strip_prefix("transport="))?.to_owned(),
        })
    }
}

/// A node's process, which leads a process group. Dropping it kills the group.
struct Process {
    child: Child,
    /// Its end is the node's end.
    _stdin: Option<ChildStdin>,
    /// While frozen: a shell that thaws the node when its stdin ends, so that the node can see that its own has ended.
    thawer: Option<Child>,
}

impl Process {
    fn new(mut child: Child) -> Self {
        Self { _stdin: child.stdin.take(), child, thawer: None }
    }

    /// The READY line; the channel closes if the process ends without one. What else it prints is dropped.
    fn lines(&mut self) -> Receiver<String> {
        let (sender, receiver) = mpsc::channel();
        let stdout = self.child.stdout.take().expect("stdout is piped and was not taken");
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line.starts_with("READY ") {
                    let _ = sender.send(line);
                }
            }
        });
        receiver
    }

    fn end(mut self) {
        self.thaw();
        self.signal("TERM");
        let deadline = Instant::now() + END;
        while self.exited().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        // if it did not end, drop kills it
    }

    fn freeze(&mut self) {
        if self.thawer.is_some() {
            return;
        }
        let mut shell = shell("read -r _; kill -s CONT -- \"-$1\"", &[&self.child.id().to_string()]);
        let thawer = shell.stdin(Stdio::piped()).process_group(0).spawn().expect("sh starts");
        self.thawer = Some(thawer);
        self.signal("STOP");
        // the signal is sent when kill returns, and a busy machine's threads obey it a little later
        let deadline = Instant::now() + END;
        while !self.all_threads_stopped() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// As Linux tells it; elsewhere true after a moment.
    fn all_threads_stopped(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.child.id())) else {
            thread::sleep(Duration::from_millis(100));
            return true;
        };
        threads.flatten().all(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // "ID (NAME) STATE ...", and a name may hold anything
            stat.rsplit(") ").next().is_none_or(|rest| rest.starts_with('T'))
        })
    }

    fn thaw(&mut self) {
        if let Some(mut thawer) = self.thawer.take() {
            drop(thawer.stdin.take());
            let _ = thawer.wait();
        }
    }

    /// To the whole group, as a person's Ctrl-C would be.
    fn signal(&self, name: &str) {
        let group = self.child.id().to_string();
        let _ = shell("kill -s \"$1\" -- \"-$2\"", &[name, &group]).stderr(Stdio::null()).status();
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut thawer) = self.thawer.take() {
            let _ = thawer.kill();
            let _ = thawer.wait();
        }
        // an id whose process has been waited for may be another's by now
        if self.exited().is_none() {
            self.signal("KILL");
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Downloads and builds an engine, once in a process. The error says why it cannot be had.
///
/// # Panics
/// If it could be had but does not build.
fn ensure_built(engine: Engine) -> Result<(), String> {
    static BUILT: Mutex<Option<HashMap<Engine, Result<(), String>>>> = Mutex::new(None);
    let mut built = lock(&BUILT);
    let results = built.get_or_insert_default();
    if let Some(known) = results.get(&engine) {
        return known.clone();
    }
    let result = match build(engine) {
        Ok((status, _)) if status.success() => Ok(()),
        Ok((status, reason)) if status.code() == Some(UNAVAILABLE) => Err(format!("{engine:?}: {reason}")),
        Ok((status, _)) => panic!("building {engine:?}: {status}"),
        Err(error) => Err(format!("tests/nodes/run cannot be started: {error}")),
    };
    results.insert(engine, result.clone());
    result
}

/// How the build ended, and the last line that it said; all of them are passed on, as it may take minutes.
fn build(engine: Engine) -> io::Result<(ExitStatus, String)> {
    let mut run = engine.launcher();
    let mut run =
        run.args(["--build", engine.names().0]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut last = String::new();
    for line in BufReader::new(run.stderr.take().expect("stderr is piped")).lines() {
        last = line?;
        // not with a macro: the test harness would keep it to itself
        let _ = writeln!(io::stderr().lock(), "{last}");
    }
    Ok((run.wait()?, last))
}

/// Memory if there is plenty of it (suites are about three times faster), else the disk.
fn data_base() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if free_mib(memory).is_some_and(|free| free >= 2048) {
        return memory.to_owned();
    }
    std::env::temp_dir()
}

fn free_mib(folder: &Path) -> Option<u64> {
    let shown = Command::new("df").arg("-Pk").arg(folder).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(shown.stdout).ok()?;
    let kib: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kib / 1024)
}

fn read_log(data: &Path) -> String {
    fs::read(data.join("node.log"))
        .map_or_else(|error| error.to_string(), |log| String::from_utf8_lossy(&log).into_owned())
}

/// A shell's own `kill` is everywhere; the program is not. And std has no signals.
fn shell(script: &str, arguments: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).args(arguments);
    shell
}

fn port_of(address: &str) -> u16 {
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("no port in {address}"))
}

/// A test that panicked while holding a lock has left nothing half done that others would see.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs blocking work for any runtime, and passes its panic on.
async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
