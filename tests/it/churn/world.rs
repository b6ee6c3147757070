//! The engine under churn: its nodes and indices, and calls of it that tell the ledger what they did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::error::Elapsed;

use super::history::Word;
use super::ledger::{AGAIN, Counts, DOCS, Ledger, Life, NAMES, NOW, ROLL, SHUT, View, lock};
use super::states::States;
use super::{Chance, Scenario};
use crate::support::http::Client;
use crate::support::node::Node;

/// An answer that has not come by then never will: the engines themselves wait a minute for a shard, and half of one for
/// the master and for acknowledgements. One that was lost would end the run, for at its end all are waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(150);

/// The same for escache: it gives each of two hosts a minute, after a reading that may take its time too.
const LIMIT_THROUGH: Duration = Duration::from_secs(400);

/// How often a change is asked for before it is taken for impossible, and what is waited in between: it takes an engine
/// seconds to see that a node has died, and longer on a busy machine.
const TRIES: u32 = 240;
const AFTER_A_REFUSAL: Duration = Duration::from_millis(250);

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
    /// Which nodes have applied which changes.
    pub(crate) states: States,
    /// The shard of each document in an index of two.
    routing: OnceCell<Vec<u64>>,
}

impl World {
    pub(crate) fn new(scenario: Scenario, nodes: Vec<Node>, through: Client) -> Arc<World> {
        let clients = nodes.iter().map(|node| node.client().within(LIMIT)).collect();
        let through = through.within(LIMIT_THROUGH);
        let (changes, copies, states, routing) = Default::default();
        let ledger = Ledger::new();
        Arc::new(World { scenario, ledger, nodes, clients, through, changes, copies, states, routing })
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

    /// What the first node says, which is master. It is asked again while it refuses.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        self.insist("GET", path, None).await
    }

    /// A call of the master that is repeated until it is answered by more than a refusal: whatever is asked for here may be
    /// asked for twice, and a later call is over after an earlier one.
    async fn insist(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (mut last, began) = (None, Instant::now());
        for tries in 0..TRIES {
            if began.elapsed() > 4 * LIMIT {
                break;
            }
            last = self.call(&self.clients[0], method, path, body.clone()).await;
            match &last {
                Some((status, answer)) if !is_refusal(*status) => {
                    let done = (200..300).contains(status) || (tries > 0 && is_done(*status, answer));
                    assert!(done, "{method} {path}: {status} {answer}");
                    return answer.clone();
                }
                Some(_) => self.count(|c| &c.refused),
                None => {}
            }
            tokio::time::sleep(AFTER_A_REFUSAL).await;
        }
        panic!("no answer: {method} {path}: {last:?}");
    }

    /// A change of the metadata, which the master makes. `settle` is called when all nodes that it knows have applied it,
    /// which is when this returns, and once more when all that run have.
    pub(crate) async fn change(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        settle: impl Fn(Word) + Send + 'static,
    ) {
        let mut answer = self.insist(method, path, body).await;
        // a node went away before it said that it had applied it: whoever acknowledges a later change has this one too
        for more in 0.. {
            if answer["acknowledged"] == true {
                break;
            }
            assert!(more < TRIES, "never acknowledged: {method} {path}: {answer}");
            let body =
                json!({"transient": {"cluster.routing.allocation.node_concurrent_recoveries": 2 + more % 2}});
            answer = self.insist("PUT", "/_cluster/settings", Some(body)).await;
        }
        settle(Word::Engine);
        if self.nodes.len() < 2 {
            return settle(Word::AllNodes);
        }
        let version = self.ask("/_cluster/state/version").await;
        let version = version["version"].as_u64().expect("a version");
        self.states.wait_for(version, 1..self.nodes.len(), move || settle(Word::AllNodes));
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
            |_| {},
        )
        .await;
        let left = self.ask("/_cat/indices?format=json&h=index").await;
        for index in left.as_array().into_iter().flatten().filter_map(|index| index["index"].as_str()) {
            self.change("DELETE", &format!("/{index}"), None, |_| {}).await;
        }
        let probe = json!({"settings": {"number_of_shards": 2, "number_of_replicas": 0}});
        self.change("PUT", "/churn-probe", Some(probe), |_| {}).await;
        let mut routing = Vec::new();
        for doc in 0..DOCS {
            let path = format!("/churn-probe/_search_shards?routing={doc}");
            let shards = self.ask(&path).await;
            routing.push(shards["shards"][0][0]["shard"].as_u64().expect("a shard"));
        }
        self.change("DELETE", "/churn-probe", None, |_| {}).await;
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
            let mut visible = ("PUT", format!("/{index}"), Some(definition));
            if group == NOW {
                // no name leads to it yet
                self.change(visible.0, &visible.1, visible.2.take(), |_| {}).await;
                let add = json!({"actions": [{"add": {"index": index, "alias": NAMES[NOW]}}]});
                visible = ("POST", "/_aliases".to_owned(), Some(add));
            }
            if index != "aliased-2" {
                let step = lock(&self.ledger.groups[group]).begin(View::of(&[life.id]));
                self.change(visible.0, &visible.1, visible.2, self.of_group(group, step)).await;
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
            tokio::time::sleep(AFTER_A_REFUSAL).await;
        }
        let shards = self.call(&self.clients[0], "GET", "/_cat/shards?format=json", None).await;
        panic!("never green: {shards:?}");
    }

    /// With segment replication a new copy may begin with an older view than the others have: from the last commit.
    /// To be called before it comes, while nobody's rounds of [`super::events::witness`] count.
    pub(crate) fn expect_copies(&self, lives: &[Arc<Life>]) {
        if self.scenario.segments {
            let up = self.ledger.up();
            self.ledger.set_down(up.down, up.dead);
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
        let up = self.ledger.up();
        let Some((status, answer)) = self.call(at, method, &path, body).await else { return };
        if status < 300 || (delete && status == 404 && answer["result"] == "not_found") {
            self.count(|c| &c.writes);
            // a copy that does not do it is taken away before this is acknowledged
            let word = how.contains("refresh").then(|| self.word(&answer, 1, up, true)).flatten();
            let mut guard = life.doc(doc);
            guard.written = guard.written.max(step);
            if let Some(word) = word {
                guard.history.settle(step, word);
            }
        }
    }

    /// Refreshes an index. What was acknowledged before is visible afterwards, on every copy that was refreshed.
    pub(crate) async fn refresh(&self, life: &Life) {
        let (written, up) = (life.written(), self.ledger.up());
        let at = self.clients[usize::from(up.down == Some(0))].clone();
        let answer = self.call(&at, "POST", &format!("/{}/_refresh", life.index), None).await;
        let Some((200, answer)) = answer else { return };
        // a copy that fails to refresh stays, and may be asked
        if let Some(word) = self.word(&answer, life.size(), up, false) {
            life.settle(&written, word);
        }
    }
}

/// What engines say while a node goes or comes, or where they are busy. What they were told may have been done.
fn is_refusal(status: u16) -> bool {
    matches!(status, 429 | 500 | 502 | 503 | 504)
}

/// Whether an engine refuses a change since it was made before.
fn is_done(status: u16, answer: &Value) -> bool {
    let types =
        ["resource_already_exists_exception", "index_not_found_exception", "aliases_not_found_exception"];
    (400..500).contains(&status) && types.iter().any(|known| answer["error"]["type"] == *known)
}
