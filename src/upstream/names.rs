//! Names of hosts, looked up for each new connection. A name that had addresses and now has none keeps them: who cannot
//! ask the name service need not lose the engine. Names are looked at with each health check too: if an address has
//! gone from a name, connections to it are given up.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::dns::Name;
use tokio::time::Instant;
use tower_service::Service;

/// How long a name whose addresses are known is looked up, before they are used.
const PATIENCE: Duration = Duration::from_secs(1);

/// For how long after a look-up that failed they are used at once.
const PAUSE: Duration = Duration::from_secs(5);

/// In so many looks in a row an address must be missing before it has gone: some name servers tell a part of all.
const LOOKS: u8 = 2;

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks names up, and remembers what it found.
#[derive(Clone)]
pub struct Names {
    lookup: Arc<dyn Fn(String) -> Found + Send + Sync>,
    known: Arc<Mutex<HashMap<String, Resolved>>>,
}

/// What was found for a name.
#[derive(Debug, Default)]
struct Resolved {
    latest: Vec<IpAddr>,
    /// Addresses that connections may have been made to, and in how many looks they were missing.
    used: Vec<(IpAddr, u8)>,
    failed: Option<Instant>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Default for Names {
    /// As the system looks them up.
    fn default() -> Names {
        Names::by(|name| async move {
            Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
        })
    }
}

impl Names {
    /// As this looks them up.
    pub fn by<F>(lookup: impl Fn(String) -> F + Send + Sync + 'static) -> Names
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Names { lookup: Arc::new(move |name| Box::pin(lookup(name))), known: Arc::default() }
    }

    /// The addresses of a name: those of now, or else the latest that it had.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let (latest, paused) = match self.known().get(name) {
            None => (Vec::new(), false),
            Some(known) => {
                (known.latest.clone(), known.failed.is_some_and(|failed| failed.elapsed() < PAUSE))
            }
        };
        let found = match latest.is_empty() {
            true => (self.lookup)(name.to_owned()).await,
            false if paused => return Ok(latest),
            false => self.look(name).await,
        };
        match found {
            Ok(found) if !found.is_empty() => {
                self.found(name, &found);
                Ok(found)
            }
            Ok(_) if latest.is_empty() => Err(io::Error::other(format!("[{name}] has no address"))),
            Err(error) if latest.is_empty() => Err(error),
            _ => {
                self.lost(name);
                Ok(latest)
            }
        }
    }

    async fn look(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::time::timeout(PATIENCE, (self.lookup)(name.to_owned())).await;
        found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    fn found(&self, name: &str, found: &[IpAddr]) {
        let mut all = self.known();
        let known = all.entry(name.to_owned()).or_default();
        if known.failed.take().is_some() {
            tracing::info!(name, "this name has addresses again");
        }
        found.clone_into(&mut known.latest);
        for address in found {
            if !known.used.iter().any(|(used, _)| used == address) {
                known.used.push((*address, 0));
            }
        }
    }

    fn lost(&self, name: &str) {
        if let Some(known) = self.known().get_mut(name)
            && known.failed.replace(Instant::now()).is_none()
        {
            tracing::warn!(name, "this name cannot be looked up; the addresses that it had are used");
        }
    }

    /// Looks a name up that was looked up before. Returns whether connections may lead to an address that it no longer
    /// has.
    pub(super) async fn has_moved(&self, name: &str) -> bool {
        if !self.known().contains_key(name) {
            return false;
        }
        let found = match self.look(name).await {
            Ok(found) if !found.is_empty() => found,
            _ => {
                self.lost(name);
                return false;
            }
        };
        self.found(name, &found);
        let mut all = self.known();
        let Some(known) = all.get_mut(name) else { return false };
        for (address, missing) in &mut known.used {
            *missing = if found.contains(address) { 0 } else { missing.saturating_add(1) };
        }
        let before = known.used.len();
        known.used.retain(|(_, missing)| *missing < LOOKS);
        known.used.len() < before
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Resolved>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let names = self.clone();
        Box::pin(async move {
            let found = names.addresses(name.as_str()).await?;
            // the port is the connector's to add
            Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect::<Vec<_>>().into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Names that are looked up in a table that can be changed; `None` never answers.
    fn table() -> (Names, Arc<Mutex<Option<Vec<IpAddr>>>>) {
        let table = Arc::new(Mutex::new(Some(vec![ip(1)])));
        let names = Names::by({
            let table = Arc::clone(&table);
            move |_| {
                let found = table.lock().unwrap().clone();
                async move {
                    match found {
                        Some(found) => Ok(found),
                        None => std::future::pending().await,
                    }
                }
            }
        });
        (names, table)
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_keeps_the_addresses_that_it_had() {
        let (names, table) = table();
        *table.lock().unwrap() = Some(Vec::new());
        assert!(names.addresses("a").await.is_err(), "it never had any");
        *table.lock().unwrap() = Some(vec![ip(1)]);
        assert_eq!(names.addresses("a").await.unwrap(), [ip(1)]);
        *table.lock().unwrap() = Some(Vec::new());
        assert_eq!(names.addresses("a").await.unwrap(), [ip(1)]);
        // a silent name service is waited for once, and not by everybody
        *table.lock().unwrap() = None;
        tokio::time::advance(PAUSE).await;
        let start = Instant::now();
        assert_eq!(names.addresses("a").await.unwrap(), [ip(1)]);
        assert_eq!(start.elapsed(), PATIENCE);
        assert_eq!(names.addresses("a").await.unwrap(), [ip(1)]);
        assert_eq!(start.elapsed(), PATIENCE);
        *table.lock().unwrap() = Some(vec![ip(2)]);
        tokio::time::advance(PAUSE).await;
        assert_eq!(names.addresses("a").await.unwrap(), [ip(2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_gone_when_it_is_missing_twice() {
        let (names, table) = table();
        assert!(!names.has_moved("a").await, "nobody has used it");
        names.addresses("a").await.unwrap();
        *table.lock().unwrap() = Some(vec![ip(1), ip(2)]);
        assert!(!names.has_moved("a").await, "one more");
        *table.lock().unwrap() = Some(vec![ip(2)]);
        assert!(!names.has_moved("a").await);
        *table.lock().unwrap() = Some(vec![ip(1)]);
        assert!(!names.has_moved("a").await, "it was only left out once, as now the other one is");
        *table.lock().unwrap() = Some(Vec::new());
        assert!(!names.has_moved("a").await, "a name service that fails moves nothing");
        *table.lock().unwrap() = Some(vec![ip(1)]);
        assert!(names.has_moved("a").await, "the other one was missing twice");
        assert!(!names.has_moved("a").await, "told once");
    }
}
