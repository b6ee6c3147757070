//! What happens at the engine meanwhile, behind the proxy's back but for some of the writes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Chance;
use super::history::{Window, Word};
use super::ledger::{AGAIN, DOCS, Life, NAMES, NOW, ROLL, SHUT, View, lock};
use super::world::World;

/// How many indices an alias that is rolled over keeps.
const ROLLED: usize = 3;

pub(crate) async fn write(world: Arc<World>, mut chance: Chance) {
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
pub(crate) async fn change(world: Arc<World>, mut chance: Chance) {
    while !world.ledger.over() {
        tokio::time::sleep(Duration::from_millis(100 + chance.below(1200))).await;
        let _one = world.changes.lock().await;
        let lives = world.ledger.current();
        let life = Arc::clone(&lives[chance.below(lives.len() as u64) as usize]);
        // one whose mapping and settings somebody asks about
        let asked: Vec<_> = lives.iter().filter(|life| [AGAIN, SHUT].contains(&life.group)).collect();
        let asked = asked[chance.below(asked.len() as u64) as usize];
        match chance.below(14) {
            0 | 1 => world.swap(&mut chance).await,
            2 | 3 => world.roll_over().await,
            4 => world.recreate().await,
            5 => world.shut().await,
            6 | 7 => world.turn_mapping(asked).await,
            8 | 9 => world.turn_setting(asked).await,
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
    /// Makes a step of a name sure.
    pub(crate) fn of_group(&self, group: usize, step: usize) -> impl Fn(Word) + Send + 'static {
        let ledger = Arc::clone(&self.ledger);
        move |word| lock(&ledger.groups[group]).settle(step, word)
    }

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
        let body = json!({"actions": actions});
        self.change("POST", "/_aliases", Some(body), self.of_group(NOW, step)).await;
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
        let path = format!("/{}/_rollover/{index}", NAMES[ROLL]);
        self.change("POST", &path, Some(definition), self.of_group(ROLL, step)).await;
        self.count(|c| &c.rollovers);
        self.fill(&life).await;
        if lives.len() > ROLLED {
            let old = self.ledger.life(lives.remove(0)).expect("a life");
            self.ledger.dies(old.id);
            let step = lock(&self.ledger.groups[ROLL]).begin(View::of(&lives));
            self.change("DELETE", &format!("/{}", old.index), None, self.of_group(ROLL, step)).await;
        }
        self.ledger.calm(disturbance);
    }

    async fn recreate(&self) {
        let disturbance = self.ledger.disturb();
        let view = lock(&self.ledger.groups[AGAIN]).last().clone().expect("it was created again");
        self.ledger.dies(view.lives[0]);
        let step = lock(&self.ledger.groups[AGAIN]).begin(None);
        let path = format!("/{}", NAMES[AGAIN]);
        self.change("DELETE", &path, None, self.of_group(AGAIN, step)).await;
        let (life, definition) = self.conceive(NAMES[AGAIN], AGAIN).await;
        let step = lock(&self.ledger.groups[AGAIN]).begin(View::of(&[life.id]));
        self.change("PUT", &path, Some(definition), self.of_group(AGAIN, step)).await;
        self.fill(&life).await;
        self.count(|c| &c.recreations);
        self.ledger.calm(disturbance);
    }

    /// Closes an index and opens it again.
    async fn shut(&self) {
        let Ok(_all) = self.copies.try_lock() else { return };
        let disturbance = self.ledger.disturb();
        let view = lock(&self.ledger.groups[SHUT]).last().clone();
        let shut: Vec<_> = self.ledger.current().into_iter().filter(|life| life.group == SHUT).collect();
        for (what, view) in [("_close", None), ("_open", view)] {
            self.expect_copies(&shut);
            let step = lock(&self.ledger.groups[SHUT]).begin(view);
            let path = format!("/{}/{what}", NAMES[SHUT]);
            self.change("POST", &path, None, self.of_group(SHUT, step)).await;
        }
        self.green().await;
        self.count(|c| &c.closings);
        self.ledger.calm(disturbance);
    }

    /// The alias field stands for the other field.
    async fn turn_mapping(&self, life: &Arc<Life>) {
        let path = 3 - *lock(&life.path).last();
        let field = if path == 1 { "one" } else { "two" };
        let body = json!({"properties": {"which": {"type": "alias", "path": field}}});
        let step = lock(&life.path).begin(path);
        let (path, life) = (format!("/{}/_mapping", life.index), Arc::clone(life));
        self.change("PUT", &path, Some(body), move |word| lock(&life.path).settle(step, word)).await;
        self.count(|c| &c.mappings);
    }

    /// Queries without a field search the other field.
    async fn turn_setting(&self, life: &Arc<Life>) {
        let left = !*lock(&life.left).last();
        let body = json!({"index.query.default_field": [if left { "left" } else { "right" }]});
        let step = lock(&life.left).begin(left);
        let (path, life) = (format!("/{}/_settings", life.index), Arc::clone(life));
        self.change("PUT", &path, Some(body), move |word| lock(&life.left).settle(step, word)).await;
        self.count(|c| &c.settings);
    }

    /// Takes the replicas away, and brings new ones.
    async fn turn_replicas(&self, life: &Arc<Life>) {
        let Ok(_all) = self.copies.try_lock() else { return };
        if self.scenario.replicas() == 0 {
            return;
        }
        let disturbance = self.ledger.disturb();
        for replicas in [0, 1] {
            self.expect_copies(std::slice::from_ref(life));
            let body = json!({"index.number_of_replicas": replicas});
            self.change("PUT", &format!("/{}/_settings", life.index), Some(body), |_| {}).await;
        }
        self.green().await;
        self.count(|c| &c.others);
        self.ledger.calm(disturbance);
    }
}

/// Kills nodes, as a crash does, and starts them again with what they had on disk.
pub(crate) async fn kill(world: Arc<World>, mut chance: Chance) {
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
        ledger.set_down(Some(victim), false);
        world.nodes[victim].kill9().await;
        ledger.set_down(Some(victim), true);
        tokio::time::sleep(Duration::from_millis(200 + chance.below(2000))).await;
        ledger.set_down(Some(victim), false);
        world.expect_copies(&ledger.current());
        world.nodes[victim].restart().await;
        world.green().await;
        ledger.set_down(None, false);
        ledger.calm(disturbance);
        world.count(|c| &c.kills);
    }
}

/// With segment replication nobody is told when a copy shows something. So each node is asked what its copies show;
/// what all of them show, all later searches show too.
pub(crate) async fn witness(world: Arc<World>, mut chance: Chance) {
    let ids = node_ids(&world).await;
    while !world.ledger.over() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let lives = world.ledger.current();
        let life = &lives[chance.below(lives.len() as u64) as usize];
        let up = world.ledger.up();
        if up.down.is_some() {
            continue;
        }
        // the step of each document that every copy shows, or a later one
        let mut least = vec![usize::MAX; DOCS];
        let mut whole = true;
        for (number, id) in ids.iter().enumerate() {
            let path = format!("/{}/_search?size=100&preference=_only_nodes:{id}", life.index);
            let asked = Instant::now();
            let answer = world.call(&world.clients[number], "GET", &path, None).await;
            let window = Window { span: (asked, Instant::now()), word: Word::AllNodes };
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
            life.settle(&least, Word::AllNodes);
        }
    }
}

/// The id of each node, in our order: it stays through restarts.
async fn node_ids(world: &World) -> Vec<String> {
    let nodes = world.ask("/_nodes?filter_path=nodes.*.name,nodes.*.roles").await;
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
