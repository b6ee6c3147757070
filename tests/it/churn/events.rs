//! What happens at the engine meanwhile, behind the proxy's back but for some of the writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};

use super::ledger::{AGAIN, DOCS, Ledger, Life, NAMES, NOW, ROLL, SHUT, View, lock};
use super::{Chance, Scenario};
use crate::support::http::Client;
use crate::support::node::Node;

/// How many indices an alias that is rolled over keeps.
const ROLLED: usize = 3;

/// The engine under churn. The first node is the master, and the only one that can be.
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) ledger: Arc<Ledger>,
    pub(super) nodes: Vec<Node>,
    pub(super) clients: Vec<Client>,
    pub(super) through: Client,
    /// Held by each change of the metadata, and while the master is dead.
    changes: Mutex<()>,
    /// Held by changes that need all copies, and while any node is dead.
    copies: Mutex<()>,
    /// The shard of each document in an index of two.
    routing: OnceCell<Vec<u64>>,
}

impl World {
    pub(super) fn new(scenario: Scenario, nodes: Vec<Node>, through: Client) -> Arc<World> {
        let clients = nodes.iter().map(Node::client).collect();
        let (changes, copies, routing) = Default::default();
        Arc::new(World { scenario, ledger: Ledger::new(), nodes, clients, through, changes, copies, routing })
    }

    fn count(&self, counter: impl Fn(&super::Counts) -> &AtomicU64) {
        counter(&self.ledger.counts).fetch_add(1, Ordering::SeqCst);
    }

    /// A node that runs, as far as is known.
    fn somebody(&self, chance: &mut Chance) -> &Client {
        let first = chance.below(self.clients.len() as u64) as usize;
        let down = self.ledger.up().down;
        if down == Some(first) {
            &self.clients[(first + 1) % self.clients.len()]
        } else {
            &self.clients[first]
        }
    }

    /// A call whose outcome may be unknown: then `None`.
    async fn call(&self, at: &Client, method: &str, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let json = [("content-type", "application/json")];
        let answer = at.try_request(method, path, &json, body).await.ok()?;
        Some((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()))
    }

    /// A change of the metadata, which the master makes. When this returns, all nodes have applied it.
    async fn change(&self, method: &str, path: &str, body: Option<Value>) {
        let (status, answer) = self.clients[0].json(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        let mut acknowledged = answer["acknowledged"] == true;
        let mut more = 0;
        // a node went away before it said that it had applied it: whoever acknowledges a later change has this one too
        while !acknowledged {
            more += 1;
            let body =
                json!({"transient": {"cluster.routing.allocation.node_concurrent_recoveries": 2 + more % 2}});
            let (status, answer) = self.clients[0].json("PUT", "/_cluster/settings", Some(body)).await;
            acknowledged = status == 200 && answer["acknowledged"] == true;
            assert!(more < 100, "never acknowledged: {method} {path}: {answer}");
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
    async fn conceive(&self, index: &str, group: usize) -> (Arc<Life>, Value) {
        let id = self.ledger.number();
        let (definition, routing) = self.definition(id).await;
        let life = Life::new(id, index, group, routing);
        self.ledger.born(&life);
        (life, definition)
    }

    async fn fill(&self, life: &Arc<Life>) {
        for doc in 0..DOCS {
            self.write(&self.clients[0], life, doc, "").await;
        }
        self.refresh(life).await;
    }

    /// The indices and names at the start.
    pub(super) async fn create(&self) {
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
    async fn green(&self) {
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

    /// Writes a document, or deletes it where there is a `delete` among the parameters.
    async fn write(&self, at: &Client, life: &Arc<Life>, doc: usize, how: &str) {
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
    async fn refresh(&self, life: &Life) {
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

pub(super) async fn write(world: Arc<World>, mut chance: Chance) {
    while !world.ledger.over() {
        let lives = world.ledger.current();
        let life = &lives[chance.below(lives.len() as u64) as usize];
        let at = if chance.below(4) == 0 { &world.through } else { world.somebody(&mut chance) };
        let doc = chance.below(DOCS as u64) as usize;
        match chance.below(20) {
            0..=10 => {
                let how = ["", "", "&refresh=true", "&refresh=wait_for"][chance.below(4) as usize];
                world.write(at, life, doc, how).await;
            }
            11 | 12 if doc > 0 => {
                let how = ["delete", "delete&refresh=true"][chance.below(2) as usize];
                world.write(at, life, doc, how).await;
            }
            13..=16 => world.refresh(life).await,
            17 => drop(world.call(at, "GET", &format!("/{}/_doc/{doc}", life.index), None).await),
            18 => drop(world.call(at, "POST", &format!("/{}/_flush", life.index), None).await),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(10 + chance.below(300))).await;
    }
}

/// Changes of everything that is not a document, one after the other.
pub(super) async fn change(world: Arc<World>, mut chance: Chance) {
    while !world.ledger.over() {
        tokio::time::sleep(Duration::from_millis(100 + chance.below(1200))).await;
        let _one = world.changes.lock().await;
        let lives = world.ledger.current();
        let life = Arc::clone(&lives[chance.below(lives.len() as u64) as usize]);
        match chance.below(14) {
            0 | 1 => world.swap(&mut chance).await,
            2 | 3 => world.roll_over().await,
            4 => world.recreate().await,
            5 => world.shut().await,
            6 | 7 => world.turn_mapping(&life).await,
            8 | 9 => world.turn_setting(&life).await,
            10 => world.turn_replicas(&life).await,
            11 => {
                let path = format!("/{}/_forcemerge?max_num_segments=1", life.index);
                world.call(world.somebody(&mut chance), "POST", &path, None).await;
                world.count(|c| &c.others);
            }
            12 => {
                // writes every document again: nothing but order and counters change
                let path = format!("/{}/_update_by_query?conflicts=proceed&refresh=true", life.index);
                world.call(world.somebody(&mut chance), "POST", &path, None).await;
                world.count(|c| &c.others);
            }
            _ => world.refresh(&life).await,
        }
    }
}

impl World {
    /// The alias goes from one index to the other, with a filter or without.
    async fn swap(&self, chance: &mut Chance) {
        let lives: Vec<_> = self.ledger.current().into_iter().filter(|life| life.group == NOW).collect();
        let view = lock(&self.ledger.groups[NOW]).last().clone().expect("it is never away");
        let from = lives.iter().find(|life| view.lives.contains(&life.id)).expect("one of the two");
        let to = lives.iter().find(|life| life.id != from.id).expect("the other one");
        let even = chance.below(3) == 0;
        let mut add = json!({"index": to.index, "alias": NAMES[NOW]});
        if even {
            add["filter"] = json!({"terms": {"doc": [0, 2, 4, 6, 8, 10]}});
        }
        let actions = json!([{"remove": {"index": from.index, "alias": NAMES[NOW]}}, {"add": add}]);
        let view = Some(View { lives: vec![to.id], even });
        let step = lock(&self.ledger.groups[NOW]).begin(view);
        self.change("POST", "/_aliases", Some(json!({"actions": actions}))).await;
        lock(&self.ledger.groups[NOW]).settle(step);
        self.count(|c| &c.swaps);
    }

    async fn roll_over(&self) {
        let disturbance = self.ledger.disturb();
        let view = lock(&self.ledger.groups[ROLL]).last().clone().expect("it is never away");
        let index = format!("rolled-{}", self.ledger.number());
        let (life, definition) = self.conceive(&index, ROLL).await;
        let mut lives = view.lives;
        lives.push(life.id);
        let step = lock(&self.ledger.groups[ROLL]).begin(View::of(&lives));
        self.change("POST", &format!("/{}/_rollover/{index}", NAMES[ROLL]), Some(definition)).await;
        lock(&self.ledger.groups[ROLL]).settle(step);
        self.count(|c| &c.rollovers);
        self.fill(&life).await;
        if lives.len() > ROLLED {
            let old = self.ledger.life(lives.remove(0)).expect("a life");
            self.ledger.dies(old.id);
            let step = lock(&self.ledger.groups[ROLL]).begin(View::of(&lives));
            self.change("DELETE", &format!("/{}", old.index), None).await;
            lock(&self.ledger.groups[ROLL]).settle(step);
        }
        self.ledger.calm(disturbance);
    }

    async fn recreate(&self) {
        let disturbance = self.ledger.disturb();
        let view = lock(&self.ledger.groups[AGAIN]).last().clone().expect("it was created again");
        self.ledger.dies(view.lives[0]);
        let step = lock(&self.ledger.groups[AGAIN]).begin(None);
        self.change("DELETE", &format!("/{}", NAMES[AGAIN]), None).await;
        lock(&self.ledger.groups[AGAIN]).settle(step);
        let (life, definition) = self.conceive(NAMES[AGAIN], AGAIN).await;
        let step = lock(&self.ledger.groups[AGAIN]).begin(View::of(&[life.id]));
        self.change("PUT", &format!("/{}", NAMES[AGAIN]), Some(definition)).await;
        lock(&self.ledger.groups[AGAIN]).settle(step);
        self.fill(&life).await;
        self.count(|c| &c.recreations);
        self.ledger.calm(disturbance);
    }

    /// Closes an index and opens it again.
    async fn shut(&self) {
        let Ok(_all) = self.copies.try_lock() else { return };
        let disturbance = self.ledger.disturb();
        let view = lock(&self.ledger.groups[SHUT]).last().clone();
        for (what, view) in [("_close", None), ("_open", view)] {
            let step = lock(&self.ledger.groups[SHUT]).begin(view);
            self.change("POST", &format!("/{}/{what}", NAMES[SHUT]), None).await;
            lock(&self.ledger.groups[SHUT]).settle(step);
        }
        self.green().await;
        self.count(|c| &c.closings);
        self.ledger.calm(disturbance);
    }

    /// The alias field stands for the other field.
    async fn turn_mapping(&self, life: &Life) {
        let path = 3 - *lock(&life.path).last();
        let field = if path == 1 { "one" } else { "two" };
        let body = json!({"properties": {"which": {"type": "alias", "path": field}}});
        let step = lock(&life.path).begin(path);
        self.change("PUT", &format!("/{}/_mapping", life.index), Some(body)).await;
        lock(&life.path).settle(step);
        self.count(|c| &c.mappings);
    }

    /// Queries without a field search the other field.
    async fn turn_setting(&self, life: &Life) {
        let left = !*lock(&life.left).last();
        let body = json!({"index.query.default_field": [if left { "left" } else { "right" }]});
        let step = lock(&life.left).begin(left);
        self.change("PUT", &format!("/{}/_settings", life.index), Some(body)).await;
        lock(&life.left).settle(step);
        self.count(|c| &c.settings);
    }

    /// Takes the replicas away, and brings new ones.
    async fn turn_replicas(&self, life: &Life) {
        let Ok(_all) = self.copies.try_lock() else { return };
        if self.scenario.replicas() == 0 {
            return;
        }
        let disturbance = self.ledger.disturb();
        for replicas in [0, 1] {
            let body = json!({"index.number_of_replicas": replicas});
            self.change("PUT", &format!("/{}/_settings", life.index), Some(body)).await;
        }
        self.green().await;
        self.count(|c| &c.others);
        self.ledger.calm(disturbance);
    }
}

/// Kills nodes, as a crash does, and starts them again with what they had on disk.
pub(super) async fn kill(world: Arc<World>, mut chance: Chance) {
    let ledger = &world.ledger;
    while !ledger.over() && ledger.counts.kills.load(Ordering::SeqCst) < world.scenario.most_kills {
        let pause = Instant::now() + world.scenario.between_kills;
        while !ledger.over() && Instant::now() < pause {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if ledger.over() {
            return;
        }
        // every fourth time it is the master
        let number = ledger.counts.kills.load(Ordering::SeqCst);
        let victim = if world.scenario.kill_master && number % 4 == 3 { 0 } else { world.nodes.len() - 1 };
        let _changes = if victim == 0 { Some(world.changes.lock().await) } else { None };
        let _copies = world.copies.lock().await;
        let disturbance = ledger.disturb();
        ledger.set_down(Some(victim));
        world.nodes[victim].kill9().await;
        tokio::time::sleep(Duration::from_millis(200 + chance.below(2000))).await;
        world.nodes[victim].restart().await;
        world.green().await;
        ledger.set_down(None);
        ledger.calm(disturbance);
        world.count(|c| &c.kills);
    }
}

/// With segment replication nobody is told when a copy shows something. So each node is asked what its copies show;
/// what all of them show, all later searches show too.
pub(super) async fn witness(world: Arc<World>, mut chance: Chance) {
    let ids = node_ids(&world.clients[0]).await;
    while !world.ledger.over() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let lives = world.ledger.current();
        let life = &lives[chance.below(lives.len() as u64) as usize];
        let up = world.ledger.up();
        // the step of each document that every copy shows, or a later one
        let mut least = vec![usize::MAX; DOCS];
        let mut whole = true;
        for (number, id) in ids.iter().enumerate().filter(|(number, _)| up.down != Some(*number)) {
            let path = format!("/{}/_search?size=100&preference=_only_nodes:{id}", life.index);
            let asked = Instant::now();
            let answer = world.call(&world.clients[number], "GET", &path, None).await;
            let window = (asked, Instant::now());
            let Some((200, answer)) = answer else {
                whole = false;
                break;
            };
            let (shards, hits) = (&answer["_shards"], answer["hits"]["hits"].as_array());
            whole &= shards["failed"] == 0 && shards["successful"] == shards["total"];
            for (doc, least) in least.iter_mut().enumerate() {
                let hit = hits.into_iter().flatten().map(|hit| &hit["_source"]);
                let hit = hit.filter(|source| source["life"] == life.id).find(|source| source["doc"] == doc);
                let value = hit.and_then(|source| source["n"].as_u64());
                *least = (*least).min(life.doc(doc).history.first(&value, window).unwrap_or(0));
            }
        }
        if whole && world.ledger.up() == up {
            life.settle(&least);
        }
    }
}

/// The id of each node, in our order: it stays through restarts.
async fn node_ids(first: &Client) -> Vec<String> {
    let nodes = first.get("/_nodes?filter_path=nodes.*.name,nodes.*.roles").await.json();
    let nodes = nodes["nodes"].as_object().expect("nodes");
    let mut ids: Vec<_> = nodes
        .iter()
        .map(|(id, node)| {
            let master = node["roles"]
                .as_array()
                .is_some_and(|roles| roles.iter().any(|role| role == "master" || role == "cluster_manager"));
            (!master, id.clone())
        })
        .collect();
    ids.sort();
    ids.into_iter().map(|(_, id)| id).collect()
}
