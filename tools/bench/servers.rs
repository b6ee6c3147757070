//! The servers that are compared, and how each is started.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use super::measure::cpu_seconds;
use super::places::{Places, pinned};
use crate::Failure;
use crate::http::Client;
use crate::process::{self, Process, free_port};

/// What kinds of servers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No proxy at all.
    Direct,
    Bare,
    Hash,
    Bounded,
    Strict,
    TtlOnly,
    NginxTuned,
    NginxUsual,
    Varnish,
    Haproxy,
}

impl Kind {
    /// The name in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::Bare => "bare hyper",
            Kind::Hash => "hyper + blake3 + moka",
            Kind::Bounded => "escache, 1 s bound",
            Kind::Strict => "escache, strict",
            Kind::TtlOnly => "escache, ttl_only",
            Kind::NginxTuned => "nginx, tuned",
            Kind::NginxUsual => "nginx, usual",
            Kind::Varnish => "Varnish",
            Kind::Haproxy => "HAProxy, GET",
        }
    }

    fn program(self) -> Option<&'static str> {
        match self {
            Kind::NginxTuned | Kind::NginxUsual => Some("nginx"),
            Kind::Varnish => Some("varnishd"),
            Kind::Haproxy => Some("haproxy"),
            _ => None,
        }
    }
}

/// What starting needs to know.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) escache: PathBuf,
    /// The program that has `bench-serve`.
    pub(super) tools: PathBuf,
    /// Logs and configurations.
    pub(super) work: PathBuf,
    /// Where nginx keeps what it caches: in memory if that can be.
    pub(super) cache: PathBuf,
    pub(super) places: Places,
}

/// A running server.
pub(super) struct Server {
    pub(super) kind: Kind,
    pub(super) client: Client,
    /// The admin listener of escache.
    pub(super) admin: Option<Client>,
    pub(super) pid: u32,
}

impl Server {
    pub(super) fn base(&self) -> &str {
        self.client.base()
    }

    pub(super) fn cpu(&self) -> f64 {
        cpu_seconds(self.pid)
    }

    /// One of escache's counters.
    pub(super) async fn counter(&self, name: &str) -> Result<f64, Failure> {
        let Some(admin) = &self.admin else { return Ok(0.0) };
        Ok(admin.get("/stats").await?.json()?["counters"][name].as_f64().unwrap_or_default())
    }
}

/// Whether it can be started here.
pub(super) fn is_here(kind: Kind) -> bool {
    let Some(program) = kind.program() else { return true };
    let found = |folder: &Path| folder.join(program).exists();
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| found(&folder)) || found(Path::new("/usr/sbin"))
}

/// The upstream of all, which answers as an engine would.
pub(super) async fn upstream(setup: &Setup, processes: &mut Vec<Process>) -> Result<Server, Failure> {
    let address = address();
    let mut run = own(setup, setup.places.driver, "upstream", address);
    start(Kind::Direct, address, &mut run, setup, processes).await
}

/// Starts one in front of `upstream`.
pub(super) async fn serve(
    kind: Kind,
    upstream: &str,
    setup: &Setup,
    processes: &mut Vec<Process>,
) -> Result<Server, Failure> {
    let address = address();
    let core = setup.places.server;
    let folder = setup.work.join(kind.name().replace([' ', ',', '+'], "-"));
    fs::create_dir_all(&folder)?;
    let fill = |template: &str| {
        let upstream = upstream.trim_start_matches("http://");
        let (host, port) = upstream.split_once(':').unwrap_or_default();
        let root = match fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)) {
            Ok(0) => "user root;",
            _ => "",
        };
        let filled = template.replace("{listen}", &address.to_string()).replace("{upstream}", upstream);
        filled.replace("{host}", host).replace("{port}", port).replace("{user}", root)
    };
    let mut run = match kind {
        Kind::Direct => return Err("there is nothing to start".into()),
        Kind::Bare => own(setup, core, "bare", address),
        Kind::Hash => own(setup, core, "hash", address),
        Kind::Bounded | Kind::Strict | Kind::TtlOnly => {
            let admin = self::address();
            let mut run = pinned(core, &setup.escache.to_string_lossy());
            run.args(["--listen", &address.to_string(), "--admin", &admin.to_string()]);
            run.args(["--upstream", upstream, "--cache-size", "512mb"]);
            // hits are what is measured, also where a search would cost less
            run.env("ESCACHE_FRESHNESS_READING_DEARER", "wait");
            run.args(match kind {
                Kind::Bounded => ["--max-staleness", "1s"],
                Kind::Strict => ["--max-staleness", "0s"],
                _ => ["--ttl-only", "1h"],
            });
            let mut server = start(kind, address, &mut run, setup, processes).await?;
            let admin = Client::new(&format!("http://{admin}"));
            let deadline = Instant::now() + START;
            while !admin.get("/ready").await.is_ok_and(|ready| ready.status == 200) {
                if Instant::now() > deadline {
                    return Err(format!("escache is not ready: {}", log_of(kind, setup)).into());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            server.admin = Some(admin);
            return Ok(server);
        }
        Kind::NginxTuned | Kind::NginxUsual => {
            let (files, stream) = match kind {
                Kind::NginxTuned => (
                    "sendfile off; open_file_cache max=10000 inactive=60s; open_file_cache_valid 60s;",
                    "proxy_request_buffering off; proxy_max_temp_file_size 0;",
                ),
                _ => ("sendfile on; tcp_nopush on;", ""),
            };
            let cache = setup.cache.join(kind.name().replace([' ', ','], "-"));
            fs::create_dir_all(&cache)?;
            let text = fill(include_str!("peers/nginx.conf"))
                .replace("{dir}", &folder.to_string_lossy())
                .replace("{cache}", &cache.to_string_lossy())
                .replace("{files}", files)
                .replace("{stream}", stream);
            let file = folder.join("nginx.conf");
            fs::write(&file, text)?;
            let mut run = pinned(core, "nginx");
            run.arg("-p").arg(&folder).arg("-c").arg(&file);
            run
        }
        Kind::Varnish => {
            let file = folder.join("default.vcl");
            fs::write(&file, fill(include_str!("peers/varnish.vcl")))?;
            let mut run = pinned(core, "varnishd");
            run.args(["-F", "-j", "none", "-a", &address.to_string(), "-s", "malloc,1g"]);
            run.args(["-p", "default_ttl=3600", "-p", "default_grace=0", "-p", "timeout_idle=60"]);
            run.arg("-f").arg(&file).arg("-n").arg(setup.cache.join("varnish"));
            run
        }
        Kind::Haproxy => {
            let file = folder.join("haproxy.cfg");
            fs::write(&file, fill(include_str!("peers/haproxy.cfg")))?;
            let mut run = pinned(core, "haproxy");
            run.arg("-db").arg("-f").arg(&file);
            run
        }
    };
    start(kind, address, &mut run, setup, processes).await
}

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(20);

/// A port that nobody has, and that was given to nobody before: some servers take a while to bind theirs.
fn address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(19_500);
    let port = free_port(NEXT.load(Ordering::Relaxed));
    NEXT.store(port + 1, Ordering::Relaxed);
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn own(setup: &Setup, core: Option<usize>, kind: &str, listen: SocketAddr) -> Command {
    let mut run = pinned(core, &setup.tools.to_string_lossy());
    run.args(["bench-serve", kind, "--listen", &listen.to_string()]);
    run
}

async fn start(
    kind: Kind,
    address: SocketAddr,
    run: &mut Command,
    setup: &Setup,
    processes: &mut Vec<Process>,
) -> Result<Server, Failure> {
    let path = std::env::var("PATH").unwrap_or_default();
    run.env("PATH", format!("{path}:/usr/sbin"));
    let log = setup.work.join(format!("{}.log", kind.name()));
    run.stdout(fs::File::create(&log)?).stderr(fs::File::options().append(true).open(&log)?);
    let process = Process::start(run)?;
    let pid = process.id();
    processes.push(process);
    let deadline = Instant::now() + START;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            return Err(format!("{} does not listen: {}", kind.name(), log_of(kind, setup)).into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(Server { kind, client: Client::new(&format!("http://{address}")), admin: None, pid })
}

fn log_of(kind: Kind, setup: &Setup) -> String {
    process::tail(&setup.work.join(format!("{}.log", kind.name())))
}
