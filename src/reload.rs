//! Reads the configuration again while escache runs: on SIGHUP and on `POST /reload`. The cache stays.
//!
//! A configuration that cannot be used changes nothing. Of one that can, some settings take effect at once: for
//! requests, connections and handshakes that begin from now on. The others are named, and stay as they were.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::Snapshot;
use crate::config::cli::Options;
use crate::proxy::Proxy;
use crate::server::Listener;
use crate::surface::admin::Controls;

/// How often the files of TLS are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Settings that take effect without a restart. A name that ends with a dot stands for all of its group.
const LIVE: &[&str] = &[
    "admin.allowed_hosts",
    "admin.show_queries",
    "admin.token",
    "admin.token_file",
    "auth.entry_ttl",
    "cache.enabled",
    "cache.hits",
    "cache.max_entry_size",
    "freshness.max_stale",
    "freshness.max_staleness",
    "freshness.reading_dearer",
    "http.",
    "key.",
    "limits.max_connections",
    "limits.max_connections_per_address",
    "limits.max_key_body",
    "log.access",
    "log.access_slow",
    "rules",
];

/// Reads the configuration again.
#[derive(Debug)]
pub struct Reloader {
    options: Options,
    proxy: Arc<Proxy>,
    data: Arc<Listener>,
    admin: Arc<Listener>,
    current: Mutex<Snapshot>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Settings that changed, and are in force.
    pub changed: Vec<&'static str>,
    /// Settings that changed, and need a restart.
    pub restart_needed: Vec<&'static str>,
}

impl Reloader {
    /// For an escache that was started with these options, and takes its admin listener's controls from them.
    #[must_use]
    pub fn new(
        options: Options,
        written: Snapshot,
        controls: Controls,
        proxy: Arc<Proxy>,
        data: Arc<Listener>,
        admin: Arc<Listener>,
    ) -> Arc<Reloader> {
        let reloader = Arc::new(Reloader { options, proxy, data, admin, current: Mutex::new(written) });
        reloader.control(controls);
        reloader
    }

    /// Reads the configuration, and takes over what of it can be.
    ///
    /// # Errors
    /// What is wrong with it; then everything is as before.
    pub fn reload(self: &Arc<Self>) -> Result<Reloaded, String> {
        let result = self.try_reload();
        let counters = &self.proxy.stats.plain;
        match &result {
            Ok(Reloaded { changed, restart_needed }) => {
                counters.reloads.inc();
                tracing::info!(?changed, ?restart_needed, "the configuration was read again");
            }
            Err(error) => {
                counters.reloads_refused.inc();
                tracing::error!(%error, "the configuration cannot be used; everything stays as it was");
            }
        }
        result
    }

    fn try_reload(self: &Arc<Self>) -> Result<Reloaded, String> {
        let mut current = self.current();
        let config = self.options.load().map_err(|error| error.to_string())?;
        let (changed, restart_needed): (Vec<_>, Vec<_>) =
            current.changes(&config.snapshot()).into_iter().partition(|name| is_live(name));
        let settings = &config.settings;
        let policy = &settings.proxy.policy;
        // what it was started with stays until a restart
        if self.proxy.live.load().policy.ttl_only.is_some() && policy.has_bound() {
            return Err(
                "max_staleness: this escache was started with freshness.ttl_only, which keeps no bound; \
                        a restart is needed"
                    .to_owned(),
            );
        }
        // the last step that can fail; it reads the files again even where no setting changed
        self.data.secure(settings.tls.clone())?;
        let decided = self.proxy.live.load().changed_to(policy.clone(), settings.proxy.headers.clone());
        self.proxy.live.store(Arc::new(decided));
        self.data.limit(settings.limits.clone());
        self.admin.limit(settings.limits.of_admin());
        self.proxy.access.set(settings.access);
        self.control(settings.controls());
        current.adopt(config.snapshot(), &changed);
        Ok(Reloaded { changed, restart_needed })
    }

    fn control(self: &Arc<Self>, controls: Controls) {
        let reloader: Weak<Reloader> = Arc::downgrade(self);
        let reload = move || match reloader.upgrade() {
            Some(reloader) => reloader.reload().map(|reloaded| reloaded.json()),
            None => Err("escache is about to stop".to_owned()),
        };
        self.admin.control(Controls { reload: Some(Box::new(reload)), ..controls });
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Snapshot> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reloaded {
    fn json(&self) -> Value {
        json!({"reloaded": true, "changed": self.changed, "restart_needed": self.restart_needed})
    }
}

fn is_live(name: &str) -> bool {
    // the store's size is parted by it
    name != "http.compression"
        && LIVE.iter().any(|live| if live.ends_with('.') { name.starts_with(live) } else { *live == name })
}

/// Looks at the files of TLS for ever, and takes over what is new in them.
pub async fn renew_certificates(data: Arc<Listener>) {
    loop {
        tokio::time::sleep(LOOK).await;
        data.renew();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_live_is_a_setting() {
        let names: Vec<&str> = crate::config::names().collect();
        for live in LIVE {
            let found = names.iter().any(|n| n == live || live.ends_with('.') && n.starts_with(live));
            assert!(found, "{live}");
        }
        assert!(is_live("http.ssl.key") && is_live("rules"));
        assert!(!is_live("listen") && !is_live("freshness.ttl_only") && !is_live("upstream.hosts"));
    }
}
