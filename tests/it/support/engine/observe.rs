//! What the engine saw: every request, how it ended, and ways to wait for the next one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use super::Engine;
use super::api::Api;

/// A request as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) api: Api,
    pub(crate) method: String,
    /// The path as sent, not decoded.
    pub(crate) path: String,
    /// The query string as sent; none without a question mark.
    pub(crate) query: Option<String>,
    /// `HTTP/1.1`.
    pub(crate) version: String,
    /// In the order received (a repeated name stands at its first place); names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Empty until the body was read, and always for `_bulk`.
    pub(crate) body: Bytes,
}

impl Seen {
    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Path and query as sent.
    pub(crate) fn uri(&self) -> String {
        self.query.as_ref().map_or_else(|| self.path.clone(), |query| format!("{}?{query}", self.path))
    }
}

/// Numbers that tests wait on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    seen: HashMap<Api, usize>,
    answered: HashMap<Api, usize>,
    aborted: HashMap<Api, usize>,
    body_bytes: HashMap<Api, u64>,
    connections: usize,
}

/// All observations of one host.
#[derive(Default)]
pub(crate) struct Log {
    requests: Mutex<Vec<Seen>>,
    counts: watch::Sender<Counts>,
}

impl Log {
    /// A connection was accepted.
    pub(crate) fn connected(&self) {
        self.counts.send_modify(|counts| counts.connections += 1);
    }

    /// The head of a request arrived. The answer keeps its place for the body, and how it ends.
    pub(crate) fn arrived(self: &Arc<Self>, request: Seen) -> Arc<InFlight> {
        let api = request.api;
        let mut requests = self.requests.lock().unwrap();
        requests.push(request);
        let number = requests.len() - 1;
        drop(requests);
        self.counts.send_modify(|counts| *counts.seen.entry(api).or_default() += 1);
        Arc::new(InFlight { log: self.clone(), api, number, answered: AtomicBool::new(false) })
    }
}

/// A request that was not yet answered in full. When it goes away so, it counts as aborted.
pub(crate) struct InFlight {
    log: Arc<Log>,
    api: Api,
    number: usize,
    answered: AtomicBool,
}

impl InFlight {
    /// More of the body came.
    pub(crate) fn more(&self, bytes: usize) {
        self.log.counts.send_modify(|counts| *counts.body_bytes.entry(self.api).or_default() += bytes as u64);
    }

    /// The body came whole; the request with it.
    pub(crate) fn whole(&self, body: Bytes) -> Seen {
        let mut requests = self.log.requests.lock().unwrap();
        requests[self.number].body = body;
        requests[self.number].clone()
    }

    /// What kind of request it is.
    pub(crate) fn api(&self) -> Api {
        self.api
    }

    /// The engine itself broke it off, on command: neither answered nor aborted.
    pub(crate) fn cut(&self) {
        self.answered.store(true, Ordering::SeqCst);
    }

    /// The answer was handed over in full.
    pub(crate) fn answered(&self) {
        if !self.answered.swap(true, Ordering::SeqCst) {
            self.log.counts.send_modify(|counts| *counts.answered.entry(self.api).or_default() += 1);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !*self.answered.get_mut() {
            self.log.counts.send_modify(|counts| *counts.aborted.entry(self.api).or_default() += 1);
        }
    }
}

impl Engine {
    /// How many requests of this kind arrived (their heads).
    pub(crate) fn seen(&self, api: Api) -> usize {
        self.counts().seen.get(&api).copied().unwrap_or(0)
    }

    /// How many requests of any kind arrived.
    pub(crate) fn seen_in_all(&self) -> usize {
        self.counts().seen.values().sum()
    }

    /// How many were answered in full.
    pub(crate) fn answered(&self, api: Api) -> usize {
        self.counts().answered.get(&api).copied().unwrap_or(0)
    }

    /// How many the client gave up before the answer was sent in full.
    pub(crate) fn aborted(&self, api: Api) -> usize {
        self.counts().aborted.get(&api).copied().unwrap_or(0)
    }

    /// How many bytes of request bodies of this kind came so far.
    pub(crate) fn body_bytes(&self, api: Api) -> u64 {
        self.counts().body_bytes.get(&api).copied().unwrap_or(0)
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.counts().connections
    }

    /// The requests of this kind, in order of arrival.
    pub(crate) fn requests(&self, api: Api) -> Vec<Seen> {
        self.all_requests().into_iter().filter(|request| request.api == api).collect()
    }

    /// All requests, in order of arrival.
    pub(crate) fn all_requests(&self) -> Vec<Seen> {
        self.host.log.requests.lock().unwrap().clone()
    }

    /// The newest request of this kind, or a failed test.
    pub(crate) fn last(&self, api: Api) -> Seen {
        self.requests(api).pop().unwrap_or_else(|| panic!("no request of kind {api:?}"))
    }

    /// Waits until so many requests of this kind have arrived since the start.
    pub(crate) async fn until_seen(&self, api: Api, number: usize) {
        self.until("requests", |counts| counts.seen.get(&api).is_some_and(|n| *n >= number)).await;
    }

    /// Waits until so many requests of this kind were answered in full.
    pub(crate) async fn until_answered(&self, api: Api, number: usize) {
        self.until("answers", |counts| counts.answered.get(&api).is_some_and(|n| *n >= number)).await;
    }

    /// Waits until so many requests of this kind were given up by the client.
    pub(crate) async fn until_aborted(&self, api: Api, number: usize) {
        self.until("aborted requests", |counts| counts.aborted.get(&api).is_some_and(|n| *n >= number)).await;
    }

    /// Waits until so many bytes of bodies of this kind have come.
    pub(crate) async fn until_body_bytes(&self, api: Api, bytes: u64) {
        self.until("bytes", |counts| counts.body_bytes.get(&api).is_some_and(|n| *n >= bytes)).await;
    }

    async fn until(&self, what: &str, condition: impl Fn(&Counts) -> bool) {
        let mut counts = self.host.log.counts.subscribe();
        self.patience(what, counts.wait_for(condition)).await.unwrap();
    }

    fn counts(&self) -> Counts {
        self.host.log.counts.borrow().clone()
    }
}
