//! A pretend Elasticsearch or OpenSearch, in this process on a port of its own, that counts and misbehaves on command.
//!
//! It is for races and faults, where the order of events must be chosen: nothing in it sleeps or happens by itself.
//! What a search can see, the counters of `_stats` and the cluster state move only by a mutator (`verbs.rs`) or by a
//! request. `On` sets gates and faults, `observe` tells what was received. `engine_self.rs` compares its answers'
//! shapes with ones captured from real nodes.

mod admin;

mod answer;

mod api;

mod cluster_state;

mod documents;

mod filter_path;

mod gate;

mod host;

mod ids;

mod mischief;

mod model;

mod mutate;

mod observe;

mod resolve;

mod route;

mod search;

mod security;

mod stats;

mod template;

mod verbs;

#[allow(unused_imports, reason = "names of the engine for tests, used today or not")]
mod names {
    pub(crate) use super::api::Api;
    pub(crate) use super::gate::{At, Gate};
    pub(crate) use super::mischief::{On, Twist};
    pub(crate) use super::model::{Cluster, Copy, Flavour, Index};
    pub(crate) use super::observe::Seen;
}

pub(crate) use names::*;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use host::{Host, Server};

use crate::support::patience::PATIENCE;

/// The handle of a pretend engine: one host and the cluster behind it. It runs on a thread of its own, so a test may
/// pause its clock or block. Dropped, it is gone.
pub(crate) struct Engine {
    cluster: Arc<Mutex<Cluster>>,
    host: Arc<Host>,
    server: Mutex<Option<Server>>,
    runtime: Option<Runtime>,
}

impl Engine {
    /// Starts an Elasticsearch 8.19 with one node and no indices.
    pub(crate) fn start() -> Self {
        Self::start_as(Flavour::Es8)
    }

    /// Starts an engine of this flavour with one node and no indices.
    pub(crate) fn start_as(flavour: Flavour) -> Self {
        Self::start_with(flavour, 1)
    }

    /// Starts an engine of this flavour with so many nodes, all behind this one host.
    pub(crate) fn start_with(flavour: Flavour, nodes: usize) -> Self {
        Self::serve(Arc::new(Mutex::new(Cluster::new(flavour, nodes))))
    }

    /// One more host of the same cluster, with its own port, observations and misbehaviour.
    pub(crate) fn another_host(&self) -> Self {
        Self::serve(self.cluster.clone())
    }

    fn serve(cluster: Arc<Mutex<Cluster>>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("pretend-engine")
            .enable_all()
            .build()
            .unwrap();
        let host = Arc::new(Host::bind(cluster.clone()));
        let server = Server::start(&host, runtime.handle());
        Self { cluster, host, server: Mutex::new(Some(server)), runtime: Some(runtime) }
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end. It stays over `stop` and `start_again`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.host.addr())
    }

    /// The address it listens on.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.host.addr()
    }

    /// An outage: every connection is cut, and new ones are refused. The cluster's state is kept.
    pub(crate) async fn stop(&self) {
        let server = self.server.lock().unwrap().take();
        if let Some(server) = server {
            self.patience("the engine to stop", server.stop()).await;
        }
    }

    /// New connections are refused, and those that there are go on.
    pub(crate) async fn refuse_more(&self) {
        let refused = self.server.lock().unwrap().as_ref().unwrap().refuse();
        self.patience("the engine to refuse connections", refused).await;
    }

    /// The end of an outage, on the same port. Nothing restarted: no counter moved.
    pub(crate) fn start_again(&self) {
        let mut server = self.server.lock().unwrap();
        assert!(server.is_none(), "the engine is running");
        *server = Some(Server::start(&self.host, self.runtime().handle()));
    }

    /// The cluster itself, for what no verb says. Don't hold it over an `await`.
    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap()
    }

    /// What `_nodes/stats` says where the clock of each node (by its number) is there, in milliseconds since 1970; a node
    /// without one has left.
    pub(crate) fn clocks(&self, clock: impl Fn(usize) -> Option<u64>) -> Bytes {
        let cluster = self.cluster();
        let told = cluster.nodes.iter().enumerate().filter_map(|(number, node)| {
            clock(number).map(|clock| (node.id.clone(), json!({ "timestamp": clock })))
        });
        json!({"_nodes": {"failed": 0}, "nodes": told.collect::<serde_json::Map<_, _>>()}).to_string().into()
    }

    /// Waits for what must happen; a test that waits in vain fails with these words. The time is real time, also
    /// when the test's clock is paused.
    async fn patience<T>(&self, what: &str, wait: impl Future<Output = T>) -> T {
        let deadline = self.runtime().spawn(tokio::time::sleep(PATIENCE));
        tokio::select! {
            biased;
            done = wait => done,
            _ = deadline => panic!("waited {PATIENCE:?} in vain for {what}"),
        }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }
}

/// An Elasticsearch 8.19 whose index `logs` has one document, as most tests need it.
pub(crate) fn engine() -> Engine {
    engine_with(Flavour::Es8, json!({"team": "a"}))
}

/// An engine of this flavour whose index `logs` has this one document, which searches see.
pub(crate) fn engine_with(flavour: Flavour, document: Value) -> Engine {
    let engine = Engine::start_as(flavour);
    add(&engine, "logs", document);
    engine
}

/// An engine of this flavour with these indices, each of which has one document.
pub(crate) fn engine_of(flavour: Flavour, indices: &[&str]) -> Engine {
    let engine = Engine::start_as(flavour);
    for index in indices {
        add(&engine, index, json!({"team": "a"}));
    }
    engine
}

/// A first document of an index, which searches see.
pub(crate) fn add(engine: &Engine, index: &str, document: Value) {
    engine.index(index, "1", document);
    engine.refresh(index);
}

/// The `Authorization` headers of an engine's users.
pub(crate) struct Users {
    pub(crate) watcher: String,
    pub(crate) alice: String,
    pub(crate) bob: String,
}

/// An engine of this flavour with one document of team a and two of team b in its index `logs`. Bob sees those of his
/// team b, alice and watcher see all.
pub(crate) fn secured(flavour: Flavour) -> (Engine, Users) {
    let engine = Engine::start_as(flavour);
    for (id, team) in [("1", "a"), ("2", "b"), ("3", "b")] {
        engine.index("logs", id, json!({"team": team}));
    }
    engine.refresh("logs");
    let [watcher, alice, bob] = ["watcher", "alice", "bob"].map(|name| engine.add_user(name));
    engine.restrict("bob", team("b"));
    (engine, Users { watcher, alice, bob })
}

/// What restricts a user to the documents of a team.
pub(crate) fn team(name: &str) -> Option<Value> {
    Some(json!({"term": {"team": name}}))
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
