//! escache in this process, on ports of its own.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use escache::cache::Eviction;
use escache::generation::StateVersion;
use escache::key::headers::HeaderRules;
use escache::policy::{Policy, ReadingDearer};
use escache::probe;
use escache::proxy::{AheadSettings, Proxy, ProxySettings};
use escache::scope::{ScopeSettings, Way};
use escache::server::{self, Limits, Listener, Role};
use escache::upstream::{Credentials, Host, Names, UpstreamSettings};
use escache::watcher::{TagSource, WatcherSettings};
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::engine::{Engine, engine};
use crate::support::http::{Client, Response};

/// A running escache, stopped when it is dropped.
pub(crate) struct Escache {
    /// The proxy itself, for counters.
    pub(crate) proxy: Arc<Proxy>,
    /// The data listener.
    pub(crate) url: String,
    /// The admin listener.
    pub(crate) admin: String,
    /// A client of one's own.
    pub(crate) client: Client,
    /// The data and the admin listener themselves.
    pub(crate) listeners: [Arc<Listener>; 2],
    stop: watch::Sender<bool>,
}

/// The settings of a test: about those of a new installation, in front of `url`.
pub(crate) fn settings(url: &str) -> ProxySettings {
    ProxySettings {
        // no test depends on speed, but those of this setting
        policy: Policy { reading_dearer: ReadingDearer::Wait, ..Policy::default() },
        headers: HeaderRules::default(),
        upstream: UpstreamSettings {
            hosts: vec![Host::parse(url).unwrap()],
            credentials: None,
            tls: None,
            connect_timeout: Duration::from_secs(30),
            response_timeout: Duration::from_secs(60),
            max_idle_per_host: 1024,
            idle_timeout: Duration::from_secs(60),
            discovery: None,
            names: Names::default(),
        },
        scope: ScopeSettings {
            way: Way::Auto,
            gap: Duration::from_secs(5),
            static_roles: false,
            index: None,
            max_identities: 1024,
            max_concurrent: 64,
            timeout: Duration::from_secs(10),
        },
        watcher: WatcherSettings {
            max_concurrent: 64,
            timeout: Duration::from_secs(10),
            max_bytes: 16 << 20,
            tag: TagSource::Counters,
            metadata_settling: Duration::ZERO,
            wall: SystemTime::now,
        },
        capacity: 64 << 20,
        eviction: Eviction::Lru,
        max_concurrent_misses: 1024,
        max_stale_memory: 1 << 20,
        max_buffered: 256 << 20,
        ahead: AheadSettings::default(),
    }
}

/// Has escache read as this user, and prove permissions with a gap that a test can wait for.
pub(crate) fn prove(settings: &mut ProxySettings, watcher: &str, gap: Duration) {
    settings.upstream.credentials = Some(Credentials::new(watcher).unwrap());
    settings.scope.gap = gap;
    settings.scope.static_roles = true;
}

/// A port of one's own.
pub(crate) async fn bound() -> TcpListener {
    server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// Where a port is reached.
pub(crate) fn url_of(port: &TcpListener) -> String {
    format!("http://{}", port.local_addr().unwrap())
}

impl Escache {
    /// escache with the settings of a new installation.
    pub(crate) async fn start(url: &str) -> Escache {
        Escache::start_with(url, |_| {}).await
    }

    /// escache with changed settings.
    pub(crate) async fn start_with(url: &str, change: impl FnOnce(&mut ProxySettings)) -> Escache {
        Escache::start_within(url, Limits::default(), change).await
    }

    /// escache with changed settings in front of several hosts.
    pub(crate) async fn in_front_of(hosts: &[&Engine], change: impl FnOnce(&mut ProxySettings)) -> Escache {
        let hosts: Vec<_> = hosts.iter().map(|host| Host::parse(&host.url()).unwrap()).collect();
        Escache::start_with(&hosts[0].to_string(), |settings| {
            settings.upstream.hosts = hosts;
            change(settings);
        })
        .await
    }

    /// escache with changed settings and limits.
    pub(crate) async fn start_within(
        url: &str,
        limits: Limits,
        change: impl FnOnce(&mut ProxySettings),
    ) -> Escache {
        let mut settings = settings(url);
        change(&mut settings);
        Escache::start_at([bound().await, bound().await], limits, settings).await
    }

    /// escache at these ports, for the data and the admin listener, so that its own address can be among its settings.
    pub(crate) async fn start_at(
        ports: [TcpListener; 2],
        limits: Limits,
        settings: ProxySettings,
    ) -> Escache {
        let proxy = Proxy::new(settings);
        let (stop, stopped) = watch::channel(false);
        let [url, admin] = [&ports[0], &ports[1]].map(url_of);
        let listeners = [(Role::Data, limits.clone()), (Role::Admin, limits.of_admin())]
            .map(|(role, limits)| Listener::new(Arc::clone(&proxy), role, limits));
        for (listener, port) in listeners.iter().zip(ports) {
            let drain = Duration::from_secs(1);
            tokio::spawn(server::serve(Arc::clone(listener), port, stopped.clone(), drain));
        }
        probe::learn(&proxy, probe::ask(&proxy).await);
        Escache { proxy, url, admin, client: Client::new(), listeners, stop }
    }

    /// POSTs a search.
    pub(crate) async fn search(&self, path: &str, body: Value) -> Response {
        self.client.post(format!("{}{path}", self.url), body).await
    }

    /// Sends anything.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        self.client.request(method, format!("{}{path}", self.url), headers, body.to_owned()).await
    }

    /// What is stored was answered in the state that there is now, as if that were found so in a minute.
    pub(crate) async fn confirm(&self) {
        let state = self.send("GET", "/_cluster/state/version", &[], "").await;
        let state = StateVersion::read(&state.body).unwrap().digest();
        for (_, entry) in self.proxy.store.iter() {
            entry.confirm_by_giver(state);
            assert!(entry.is_confirmed());
        }
    }

    /// Asks the admin listener to explain a request.
    pub(crate) async fn explain(&self, method: &str, path: &str, body: Value) -> Value {
        let question = json!({"method": method, "path": path, "body": body});
        self.client.post(format!("{}/explain", self.admin), question).await.json()
    }

    /// `/stats` of the admin listener.
    pub(crate) async fn stats(&self) -> Value {
        self.client.get(format!("{}/stats", self.admin)).await.json()
    }
}

/// An engine with one document, and escache with the settings of a new installation in front of it.
pub(crate) async fn two() -> (Engine, Escache) {
    let engine = engine();
    let escache = Escache::start(&engine.url()).await;
    (engine, escache)
}

impl Drop for Escache {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

/// `HIT`, `MISS`, `BYPASS`, and the whole `Cache-Status`.
pub(crate) fn verdict(headers: &HeaderMap) -> (&str, &str) {
    let text = |name: &str| headers.get(name).map_or("", |v| v.to_str().unwrap());
    (text("x-cache"), text("cache-status"))
}
