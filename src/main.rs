//! The program: settings -> log -> bind -> serve -> drain.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use escache::config::cli::{Cli, Command};
use escache::config::{Config, EX_CONFIG, Settings};
use escache::proxy::Proxy;
use escache::server::{self, Door, Role};
use escache::{probe, telemetry};
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// An address cannot be bound (`EX_OSERR` of sysexits).
const EX_OSERR: u8 = 71;

/// How often the engine is asked who it is.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match cli.options.load() {
        Ok(config) => config,
        Err(error) => return complain(&format!("the configuration cannot be used:\n{error}"), EX_CONFIG),
    };
    match cli.command {
        Some(Command::Check) => {
            let _ = write!(std::io::stdout(), "{}", config.report());
            ExitCode::SUCCESS
        }
        Some(Command::Health) => run(health(config.settings)),
        None => start(config),
    }
}

fn start(config: Config) -> ExitCode {
    let settings = config.settings;
    if let Err(error) = telemetry::init(settings.log_level.as_str(), settings.log_format) {
        return complain(&error, EX_CONFIG);
    }
    run(serve(settings))
}

fn run(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => complain(&format!("no runtime: {error}"), EX_OSERR),
    }
}

async fn serve(settings: Settings) -> ExitCode {
    let (data, admin) = match (bind(&settings, Role::Data).await, bind(&settings, Role::Admin).await) {
        (Ok(data), Ok(admin)) => (data, admin),
        (Err(error), _) | (_, Err(error)) => return complain(&error, EX_OSERR),
    };
    let drain = settings.drain_timeout;
    announce(&settings, &data, &admin);
    let proxy = Proxy::new(settings.proxy);
    introduce(&proxy).await;

    let listen = |listener, role, limits| {
        let (stop, stopped) = watch::channel(false);
        let door = Door::new(Arc::clone(&proxy), role, limits);
        (stop, tokio::spawn(server::serve(door, listener, stopped, drain)))
    };
    let limits = settings.limits;
    let admin = listen(admin, Role::Admin, limits.of_admin());
    let data = listen(data, Role::Data, limits);
    tokio::spawn(probe::keep_asking(Arc::clone(&proxy), PROBE_INTERVAL));
    asked_to_stop().await;
    tracing::info!(deadline = ?drain, "draining: running requests may end, new connections are refused");
    server::announce_drain(&proxy);
    // the admin listener is the last to go: it tells that escache drains
    for (stop, task) in [data, admin] {
        let _ = stop.send(true);
        let _ = task.await;
    }
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

async fn bind(settings: &Settings, role: Role) -> Result<TcpListener, String> {
    let address = match role {
        Role::Data => &settings.listen,
        Role::Admin => &settings.admin_listen,
    };
    let resolved = address.resolve().map_err(|e| format!("cannot listen on {address}: {e}"))?;
    server::bind(resolved).await.map_err(|e| format!("cannot listen on {address}: {e}"))
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
        Ok(found) => {
            tracing::info!(engine = found.name, "the engine answers");
            if let Some(missing) = &found.missing {
                tracing::warn!(missing, "exact caching is not possible as it stands; requests are forwarded");
            }
        }
        Err(error) => tracing::warn!(%error, "the engine does not answer yet; escache will ask again"),
    }
    proxy.reachable.store(answer.is_ok(), std::sync::atomic::Ordering::Release);
    probe::learn(proxy, answer);
}

async fn asked_to_stop() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Asks the admin listener of a running escache.
async fn health(settings: Settings) -> ExitCode {
    let address = settings.admin_listen.to_string();
    match ask_ready(&address).await {
        Ok(StatusCode::OK) => ExitCode::SUCCESS,
        Ok(status) => complain(&format!("{address}/ready answered {status}"), 1),
        Err(error) => complain(&format!("{address} does not answer: {error}"), 1),
    }
}

async fn ask_ready(address: &str) -> Result<StatusCode, String> {
    let asked = async {
        let stream = tokio::net::TcpStream::connect(address).await.map_err(|e| e.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
                .await
                .map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        let request = http::Request::get("/ready")
            .header(http::header::HOST, "localhost")
            .body(escache::upstream::Body::empty())
            .map_err(|e| e.to_string())?;
        sender.send_request(request).await.map(|answer| answer.status()).map_err(|e| e.to_string())
    };
    tokio::time::timeout(Duration::from_secs(5), asked)
        .await
        .map_err(|_| "no answer within 5 s".to_owned())?
}

fn complain(text: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "escache: {text}");
    ExitCode::from(code)
}
