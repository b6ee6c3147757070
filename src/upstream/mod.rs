//! The way to the engine: a pooled client over TCP or TLS, its hosts and timeouts, and the headers of a request that is passed on.

mod ask;

mod body;

mod connect;

mod contact;

mod deliver;

mod discovery;

mod exchange;

mod forward;

mod headers;

mod health;

mod hosts;

mod identity;

mod names;

mod repeat;

mod settings;

mod silence;

mod tls;

mod via;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use hyper_util::client::legacy::Client;
use tokio::sync::watch;
use tokio::time::Instant;

use self::body::Outgoing;
pub use self::body::{Body, BodyError, Collected, Excess, Stream, behind, collect, collect_answer};
use self::connect::Closed;
pub(crate) use self::connect::Connector;
pub use self::contact::Contact;
pub use self::deliver::{Delivered, Giver};
#[doc(hidden)]
pub use self::discovery::nodes_named;
use self::exchange::client;
pub use self::headers::{strip_hop_by_hop, tell_of_client};
pub use self::health::HostReport;
use self::hosts::Hosts;
pub use self::hosts::Standing;
use self::identity::Inquiry;
pub use self::names::Names;
pub use self::settings::{Credentials, Host, UpstreamSettings};
pub use self::tls::{Tls, TlsSettings, Verification};
use self::via::Via;
use crate::stats::Stats;

/// The engine, as seen from here.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    /// Replaced when its connections may lead to addresses that names no longer have.
    client: ArcSwap<Client<Connector, Outgoing>>,
    state: Mutex<Hosts>,
    /// In the order of `state`. The place of one that was found is given to another one only when it is forgotten, so that
    /// an index stays what it is while anybody works with it.
    members: ArcSwap<Vec<Arc<Member>>>,
    /// When the cluster was last asked for its nodes.
    discovered: Mutex<Option<Instant>>,
    /// Since when a host is silent.
    silence: watch::Sender<Option<Instant>>,
    closed: Arc<Closed>,
    via: Via,
    stats: Arc<Stats>,
}

/// A host, and what goes with it.
#[derive(Debug)]
struct Member {
    host: Host,
    inquiry: Inquiry,
    /// Moves when the host was found to be silent.
    silences: watch::Sender<u64>,
}

impl Member {
    fn new(host: Host) -> Arc<Member> {
        Arc::new(Member { host, inquiry: Inquiry::default(), silences: watch::Sender::new(0) })
    }
}

impl Upstream {
    /// A client for these hosts; connects when it is first asked.
    #[must_use]
    pub fn new(settings: UpstreamSettings, stats: Arc<Stats>) -> Upstream {
        if settings.tls.as_ref().is_some_and(|tls| tls.verification == Verification::None) {
            tracing::error!(
                "upstream.ssl.verification_mode is none: NO CERTIFICATE OF THE ENGINE IS CHECKED, anybody on the way \
                 can read and change everything; for tests only"
            );
        }
        let closed = Arc::new(Closed::new(Arc::clone(&stats)));
        let client = ArcSwap::from_pointee(client(&settings, &closed));
        let state = Mutex::new(Hosts::new(settings.hosts.len()));
        let members: Vec<_> = settings.hosts.iter().cloned().map(Member::new).collect();
        let members = ArcSwap::from_pointee(members);
        let (discovered, silence) = (Mutex::default(), watch::Sender::new(None));
        let via = Via::drawn();
        Upstream { settings, client, state, members, discovered, silence, closed, via, stats }
    }

    fn state(&self) -> MutexGuard<'_, Hosts> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn member(&self, index: usize) -> Arc<Member> {
        Arc::clone(&self.members.load()[index])
    }

    /// Names are looked up again; if one has lost an address, connections are made anew, and who is there now is asked who
    /// it is before it is sent anything, unless it is the only one.
    async fn look_at_names(&self) {
        let members = self.members.load_full();
        let names = members.iter().map(|member| member.host.authority.host());
        let moved = names.map(|name| self.settings.names.has_moved(name));
        let moved = futures_util::future::join_all(moved).await;
        if moved.contains(&true) {
            tracing::info!("a host's name has lost an address: connections are made anew");
            let mut state = self.state();
            for (index, _) in moved.iter().enumerate().filter(|(_, moved)| **moved) {
                state.closed(index);
            }
            drop(state);
            // what is under way ends where it is
            self.client.store(Arc::new(client(&self.settings, &self.closed)));
        }
    }

    /// How it was set up.
    #[must_use]
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }
}
