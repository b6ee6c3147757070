//! The program: settings -> log -> bind -> serve -> drain.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use escache::config::cli::{Cli, Command, Options};
use escache::config::{Config, EX_CONFIG, Settings};
use escache::proxy::Proxy;
use escache::reload::{self, Reloader};
use escache::server::{self, Listener, Role};
use escache::surface::overview;
use escache::terminal::{self, Admin, Failure};
use escache::{otlp, probe, telemetry};
use http::StatusCode;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The system's allocator keeps a third more of what a busy cache has given back (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An address cannot be bound (`EX_OSERR` of sysexits).
const EX_OSERR: u8 = 71;

/// How long connections of the admin listener may take to end, when those of clients have.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long a step of the live page's plots is.
const HISTORY_STEP: Duration = Duration::from_secs(5);

/// How often the engine is asked who it is.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "escache", &mut script);
            return print(&script);
        }
        Some(Command::Man) => {
            let mut page = Vec::new();
            return match clap_mangen::Man::new(Cli::command()).render(&mut page) {
                Ok(()) => print(&page),
                Err(error) => complain(&Failure(error.to_string(), EX_OSERR)),
            };
        }
        Some(command @ (Command::Stats(_) | Command::Explain(_) | Command::Warm(_))) => {
            return end(run(ask(command, &cli.options)));
        }
        Some(Command::Check | Command::Health) | None => {}
    }
    let config = match cli.options.load() {
        Ok(config) => config,
        Err(error) => return complain(&unusable(error)),
    };
    match cli.command {
        Some(Command::Check) => print(config.report().as_bytes()),
        Some(Command::Health) => end(run(health(config.settings))),
        _ => start(cli.options, config),
    }
}

fn start(options: Options, config: Config) -> ExitCode {
    let settings = &config.settings;
    let log = match telemetry::init(settings.log_level.as_str(), settings.log_format) {
        Ok(log) => log,
        Err(error) => return complain(&Failure(error, EX_CONFIG)),
    };
    allow_descriptors();
    let ended = run(serve(options, config));
    match (log.end(), ended) {
        // whoever reads the log has stopped: one more line would wait for ever
        (false, Err(Failure(_, code))) => ExitCode::from(code),
        (_, ended) => end(ended),
    }
}

fn run(work: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(Failure(format!("no runtime: {error}"), EX_OSERR)),
    }
}

async fn serve(options: Options, config: Config) -> Result<ExitCode, Failure> {
    // from the first moment on, a signal to reload is none to die
    let signals = Signals::new();
    let mut signals =
        signals.map_err(|error| Failure(format!("signals cannot be received: {error}"), EX_OSERR))?;
    let written = config.snapshot();
    let settings = config.settings;
    let (controls, access) = (settings.controls(), settings.access);
    let (data, admin) = (bind(&settings, Role::Data).await?, bind(&settings, Role::Admin).await?);
    let drain = settings.drain_timeout;
    announce(&settings, &data, &admin);
    let proxy = Proxy::new(settings.proxy);
    proxy.access.set(access);
    let wrong = |error| Failure(error, EX_CONFIG);
    let exporting = otlp::begin(&settings.tracing, |name| std::env::var(name).ok(), &proxy.stats);
    let exporting = exporting.map_err(wrong)?.map(|(tracer, exporting)| {
        proxy.spans.set(tracer);
        exporting
    });
    let admin_listener = Listener::new(Arc::clone(&proxy), Role::Admin, settings.limits.of_admin());
    let data_listener = Listener::new(Arc::clone(&proxy), Role::Data, settings.limits);
    data_listener.secure(settings.tls).map_err(wrong)?;
    tokio::select! {
        () = introduce(&proxy) => {}
        () = signals.stop() => return Ok(ExitCode::SUCCESS),
    }

    let listen = |listener: &Arc<Listener>, port, drain| {
        let (stop, stopped) = watch::channel(false);
        (stop, tokio::spawn(server::serve(Arc::clone(listener), port, stopped, drain)))
    };
    // before anybody is let in, so that there is no moment without the token
    let listeners = (Arc::clone(&data_listener), Arc::clone(&admin_listener));
    let reloader = Reloader::new(options, written, controls, Arc::clone(&proxy), listeners.0, listeners.1);
    let (data, admin) = (listen(&data_listener, data, drain), listen(&admin_listener, admin, LAST_WORDS));
    tokio::spawn(probe::keep_asking(Arc::clone(&proxy), PROBE_INTERVAL));
    tokio::spawn(overview::keep_history(Arc::clone(&proxy), HISTORY_STEP));
    tokio::spawn(reload::renew_certificates(data_listener));
    tokio::spawn(Arc::clone(&proxy).refresh_ahead());
    // one that came while the engine was asked is not lost
    if std::mem::take(&mut signals.reload_waits) {
        let _ = reloader.reload();
    }
    while signals.next().await == Order::Reload {
        // what is wrong with it is in the log
        let _ = reloader.reload();
    }
    tracing::info!(deadline = ?drain, "draining: running requests may end, new connections are refused");
    server::announce_drain(&proxy);
    let drained = async {
        // the admin listener is the last to go: it tells that escache drains
        for (stop, task) in [data, admin] {
            let _ = stop.send(true);
            let _ = task.await;
        }
    };
    tokio::select! {
        () = drained => tracing::info!("stopped"),
        () = signals.stop() => tracing::warn!("stopped at once: asked twice"),
    }
    if let Some(exporting) = exporting {
        exporting.finish().await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Each connection is a descriptor: as many as the system lets us have.
fn allow_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

async fn bind(settings: &Settings, role: Role) -> Result<TcpListener, Failure> {
    let address = match role {
        Role::Data => &settings.listen,
        Role::Admin => &settings.admin_listen,
    };
    let wrong = |error| Failure(format!("cannot listen on {address}: {error}"), EX_OSERR);
    let resolved = address.resolve().map_err(|error| wrong(error.to_string()))?;
    server::bind(resolved).await.map_err(|error| wrong(error.to_string()))
}

fn announce(settings: &Settings, data: &TcpListener, admin: &TcpListener) {
    let address = |listener: &TcpListener| listener.local_addr().map(|a| a.to_string()).unwrap_or_default();
    let policy = &settings.proxy.policy;
    let freshness = match (policy.ttl_only, policy.max_staleness) {
        (Some(ttl), _) => format!("ttl_only {ttl:?}: answers may be that old, changes are NOT watched for"),
        (None, Duration::ZERO) => "strict: no answer is older than its request".to_owned(),
        (None, bound) => format!("bounded: no answer is more than {bound:?} older than its request"),
    };
    let hosts: Vec<String> = settings.proxy.upstream.hosts.iter().map(ToString::to_string).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = address(data),
        admin = address(admin),
        upstream = hosts.join(" "),
        freshness,
        cache_bytes = settings.proxy.capacity,
        "escache listens"
    );
    if let Some(ttl) = policy.ttl_only {
        tracing::warn!(
            ?ttl,
            "freshness.ttl_only is set: escache does not watch the engine, hits may be wrong for that long"
        );
    }
}

/// Says which engine was found, and what is missing. An engine that is not there yet is asked again later.
async fn introduce(proxy: &Arc<Proxy>) {
    let answer = probe::ask(proxy).await;
    match &answer {
        // what it looks like is told when it is learned
        Ok(found) if found.stranger.is_some() => {}
        Ok(found) => {
            tracing::info!(engine = found.name, "the engine answers");
            if let Some(missing) = &found.missing {
                tracing::warn!(missing, "exact caching is not possible as it stands; requests are forwarded");
            }
        }
        Err(error) => tracing::warn!(%error, "the engine does not answer yet; escache will ask again"),
    }
    probe::learn(proxy, answer);
}

/// What a signal orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Reload,
    Stop,
}

struct Signals {
    hup: Signal,
    term: Signal,
    int: Signal,
    /// Whether a reload was asked for by a signal that nobody has heeded yet.
    reload_waits: bool,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        let (hup, term) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
        Ok(Signals { hup, term, int: signal(SignalKind::interrupt())?, reload_waits: false })
    }

    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.hup.recv() => Order::Reload,
            _ = self.term.recv() => Order::Stop,
            _ = self.int.recv() => Order::Stop,
        }
    }

    /// Waits for the signal to stop; others are remembered.
    async fn stop(&mut self) {
        while self.next().await != Order::Stop {
            self.reload_waits = true;
        }
    }
}

/// Asks the admin listener of a running escache whether it is ready.
async fn health(settings: Settings) -> Result<ExitCode, Failure> {
    let address = settings.admin_listen.to_string();
    let no_answer = |error| Failure(error, terminal::NO_ANSWER);
    let admin = Admin::at(&address, None).map_err(|Failure(error, _)| no_answer(error))?;
    match admin.status("/ready").await.map_err(no_answer)? {
        StatusCode::OK => Ok(ExitCode::SUCCESS),
        status => Err(no_answer(format!("{address}/ready answered {status}"))),
    }
}

/// Asks a running escache something, and shows it.
async fn ask(command: &Command, options: &Options) -> Result<ExitCode, Failure> {
    let address = || match options.load() {
        Ok(config) => Ok(config.settings.admin_listen.to_string()),
        Err(error) => Err(unusable(error)),
    };
    terminal::run(command, address).await
}

fn unusable(error: impl Display) -> Failure {
    Failure(format!("the configuration cannot be used:\n{error}"), EX_CONFIG)
}

fn print(text: &[u8]) -> ExitCode {
    end(terminal::show(text).map(|_| ExitCode::SUCCESS))
}

fn end(ended: Result<ExitCode, Failure>) -> ExitCode {
    ended.unwrap_or_else(|failure| complain(&failure))
}

fn complain(Failure(text, code): &Failure) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "escache: {text}");
    ExitCode::from(*code)
}
