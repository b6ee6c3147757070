//! The engine under churn: its nodes and indices, and calls of it that tell the ledger what they did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::error::Elapsed;

use super::ledger::{AGAIN, Counts, DOCS, Ledger, Life, NAMES, NOW, ROLL, SHUT, View, lock};
use super::{Chance, Scenario};
use crate::support::http::Client;
use crate::support::node::Node;

/// An answer that has not come by then never will: the engines themselves wait a minute for a shard, and half of one for
/// the master and for acknowledgements. One that was lost would end the run, for at its end all are waited for.
const LIMIT: Duration = Duration::from_secs(150);

/// The engine under churn. The first node is the master, and the only one that can be.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    pub(crate) through: Client,
    /// Held by each change of the metadata, and while the master is dead.
    pub(crate) changes: Mutex<()>,
    /// Held by changes that need all copies, and while any node is dead.
    pub(crate) copies: Mutex<()>,
    /// The shard of each document in an index of two.
    routing: OnceCell<Vec<u64>>,
}

impl World {
    pub(crate) fn new(scenario: Scenario, nodes: Vec<Node>, through: Client) -> Arc<World> {
        let clients = nodes.iter().map(|node| node.client().within(LIMIT)).collect();
        let through = through.within(LIMIT);
        let (changes, copies, routing) = Default::default();
        Arc::new(World { scenario, ledger: Ledger::new(), nodes, clients, through, changes, copies, routing })
    }

    pub(crate) fn count(&self, counter: impl Fn(&Counts) -> &AtomicU64) {
        counter(&self.ledger.counts).fetch_add(1, Ordering::SeqCst);
    }

    /// A node that runs, as far as is known.
    pub(crate) fn somebody(&self, chance: &mut Chance) -> &Client {
        let first = chance.below(self.clients.len() as u64) as usize;
        let down = self.ledger.up().down;
        if down == Some(first) {
            &self.clients[(first + 1) % self.clients.len()]
        } else {
            &self.clients[first]
        }
    }

    /// A call whose outcome may be unknown: then `None`. What it was to do may still happen.
    pub(crate) async fn call(
        &self,
        at: &Client,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Option<(u16, Value)> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let json = [("content-type", "application/json")];
        match at.try_request(method, path, &json, body).await {
            Ok(answer) => Some((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())),
            Err(error) if error.is::<Elapsed>() => {
                println!("LOST: {method} {path}");
                self.count(|c| &c.lost);
                None
            }
            Err(_) => None,
        }
    }

    /// A change of the metadata, which the master makes. When this returns, all nodes have applied it.
    pub(crate) async fn change(&self, method: &str, path: &str, body: Option<Value>) {
        let (mut more, mut lost) = (0, false);
        // the master makes its changes in turn: when it has answered the second call, the first one is over
        let (status, answer) = loop {
            match self.call(&self.clients[0], method, path, body.clone()).await {
                Some(answer) => break answer,
                None => (more, lost) = (more + 1, true),
            }
            assert!(more < 5, "no answer: {method} {path}");
        };
        assert!(
            (200..300).contains(&status) || (lost && is_done(status, &answer)),
            "{method} {path}: {status} {answer}"
        );
        let mut acknowledged = answer["acknowledged"] == true;
        // a node went away before it said that it had applied it: whoever acknowledges a later change has this one too
        while !acknowledged {
            more += 1;
            let body =
                json!({"transient": {"cluster.routing.allocation.node_concurrent_recoveries": 2 + more % 2}});
            let again = self.call(&self.clients[0], "PUT", "/_cluster/settings", Some(body)).await;
            acknowledged = again
                .as_ref()
                .is_some_and(|(status, answer)| *status == 200 && answer["acknowledged"] == true);
            assert!(more < 100, "never acknowledged: {method} {path}: {again:?}");
        }
    }

    /// What an index is made of. What is written to an earlier one of its name is refused by it: its mapping is strict.
    async fn definition(&self, id: u64) -> (Value, Vec<u64>) {
        let shards = 1 + id % 2;
        let mut mappings = json!({"dynamic": "strict", "properties": {
            "life": {"type": "long"}, "doc": {"type": "long"}, "n": {"type": "long"}, "key": {"type": "long"},
            "left": {"type": "text"}, "right": {"type": "text"},
            "one": {"type": "long"}, "two": {"type": "long"}, "which": {"type": "alias", "path": "one"}}});
        mappings["properties"][format!("life_{id}")] = json!({"type": "boolean"});
        let mut settings = json!({"number_of_shards": shards, "number_of_replicas": self.scenario.replicas(),
            "index.query.default_field": ["left"]});
        // shards with an explicit interval are never idle: their tag is another one
        if let Some(interval) = [None, Some("500ms"), Some("3s")][(id / 2 % 3) as usize] {
            settings["refresh_interval"] = json!(interval);
        }
        if self.scenario.segments {
            settings["replication.type"] = json!("SEGMENT");
        }
        let routing = match shards {
            1 => vec![0; DOCS],
            _ => self.routing.get().expect("it was asked at the start").clone(),
        };
        (json!({"settings": settings, "mappings": mappings}), routing)
    }

    /// Begins a life: an index that is not searched by any name yet.
    pub(crate) async fn conceive(&self, index: &str, group: usize) -> (Arc<Life>, Value) {
        let id = self.ledger.number();
        let (definition, routing) = self.definition(id).await;
        let life = Life::new(id, index, group, routing);
        self.ledger.born(&life);
        (life, definition)
    }

    pub(crate) async fn fill(&self, life: &Arc<Life>) {
        for doc in 0..DOCS {
            self.write(&self.clients[0], life, doc, "").await;
        }
        self.refresh(life).await;
    }

    /// The indices and names at the start.
    pub(crate) async fn create(&self) {
        self.change(
            "PUT",
            "/_cluster/settings",
            Some(json!({"persistent": {"action.auto_create_index": "false"}})),
        )
        .await;
        let left = self.clients[0].get("/_cat/indices?format=json&h=index").await.json();
        for index in left.as_array().into_iter().flatten().filter_map(|index| index["index"].as_str()) {
            self.change("DELETE", &format!("/{index}"), None).await;
        }
        let probe = json!({"settings": {"number_of_shards": 2, "number_of_replicas": 0}});
        self.change("PUT", "/churn-probe", Some(probe)).await;
        let mut routing = Vec::new();
        for doc in 0..DOCS {
            let path = format!("/churn-probe/_search_shards?routing={doc}");
            let shards = self.clients[0].get(path).await.json();
            routing.push(shards["shards"][0][0]["shard"].as_u64().expect("a shard"));
        }
        self.change("DELETE", "/churn-probe", None).await;
        self.routing.set(routing).expect("once");

        let mut lives = Vec::new();
        for (index, group) in [
            (NAMES[AGAIN], AGAIN),
            (NAMES[SHUT], SHUT),
            ("aliased-1", NOW),
            ("aliased-2", NOW),
            ("rolled-1", ROLL),
        ] {
            let (life, mut definition) = self.conceive(index, group).await;
            if group == ROLL {
                definition["aliases"] = json!({NAMES[ROLL]: {"is_write_index": true}});
            }
            let step =
                (index != "aliased-2").then(|| lock(&self.ledger.groups[group]).begin(View::of(&[life.id])));
            self.change("PUT", &format!("/{index}"), Some(definition)).await;
            if index == "aliased-1" {
                let add = json!({"actions": [{"add": {"index": index, "alias": NAMES[NOW]}}]});
                self.change("POST", "/_aliases", Some(add)).await;
            }
            if let Some(step) = step {
                lock(&self.ledger.groups[group]).settle(step);
            }
            lives.push(life);
        }
        self.green().await;
        for life in &lives {
            self.fill(life).await;
        }
    }

    /// Waits until all copies are there.
    pub(crate) async fn green(&self) {
        let path =
            format!("/_cluster/health?wait_for_status=green&wait_for_nodes={}&timeout=10s", self.nodes.len());
        for _ in 0..30 {
            let health = self.call(&self.clients[0], "GET", &path, None).await;
            if health.is_some_and(|(status, health)| status == 200 && health["timed_out"] == false) {
                return;
            }
            self.call(&self.clients[0], "POST", "/_cluster/reroute?retry_failed=true", None).await;
        }
        let shards = self.clients[0].get("/_cat/shards").await.text();
        panic!("never green:\n{shards}");
    }

    /// With segment replication a new copy may begin with an older view than the others have: from the last commit.
    /// To be called before it comes, while nobody's rounds of [`super::events::witness`] count.
    pub(crate) fn expect_copies(&self, lives: &[Arc<Life>]) {
        if self.scenario.segments {
            self.ledger.set_down(self.ledger.up().down);
            lives.iter().for_each(|life| life.forget());
        }
    }

    /// Writes a document, or deletes it where there is a `delete` among the parameters.
    pub(crate) async fn write(&self, at: &Client, life: &Arc<Life>, doc: usize, how: &str) {
        let delete = how.starts_with("delete");
        let (n, step) = {
            let mut guard = life.doc(doc);
            // in this order within the lock: the higher version is the later step, whenever it arrives
            let n = self.ledger.number();
            (n, guard.history.begin((!delete).then_some(n)))
        };
        // what updates by query do to versions stays below the next one
        let how = how.trim_start_matches("delete");
        let path = format!("/{}/_doc/{doc}?version={}&version_type=external{how}", life.index, n * 1000);
        let mut body = json!({"life": life.id, "doc": doc, "n": n, "key": life.id * 1000 + doc as u64,
            "left": "x", "right": "y", "one": 1, "two": 2});
        body[format!("life_{}", life.id)] = json!(true);
        let (method, body) = if delete { ("DELETE", None) } else { ("PUT", Some(body)) };
        let answer = self.call(at, method, &path, body).await;
        let Some((status, _)) = answer else { return };
        if status < 300
            || (delete && status == 404 && answer.is_some_and(|(_, a)| a["result"] == "not_found"))
        {
            self.count(|c| &c.writes);
            let mut guard = life.doc(doc);
            guard.written = guard.written.max(step);
            if how.contains("refresh") && !self.scenario.segments {
                guard.history.settle(step);
            }
        }
    }

    /// Refreshes an index. What was acknowledged before is visible afterwards, on every copy that was refreshed.
    pub(crate) async fn refresh(&self, life: &Life) {
        let (written, up) = (life.written(), self.ledger.up());
        let at = self.clients[usize::from(up.down == Some(0))].clone();
        let answer = self.call(&at, "POST", &format!("/{}/_refresh", life.index), None).await;
        let Some((200, answer)) = answer else { return };
        let number = |name: &str| answer["_shards"][name].as_u64().unwrap_or_default();
        // all copies; or, while a node is dead for certain, the other one of each: a new one begins with what is visible
        let half = up.down.is_some() && self.ledger.up() == up && number("successful") * 2 == number("total");
        let all = number("successful") == number("total") || half;
        if number("failed") == 0 && all && !self.scenario.segments {
            life.settle(&written);
        }
    }
}

/// Whether an engine refuses a change since it was made before.
fn is_done(status: u16, answer: &Value) -> bool {
    let types =
        ["resource_already_exists_exception", "index_not_found_exception", "aliases_not_found_exception"];
    (400..500).contains(&status) && types.iter().any(|known| answer["error"]["type"] == *known)
}
