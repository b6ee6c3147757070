//! Two real nodes with a copy of each shard on both, escache in front of them, and clients on both ways: through escache
//! (which knows both nodes), and directly, where each client knows one node, half of them the one and half the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::arm::{Arm, Came, Figures, HEAD, LONG, Shot, WAITS_HEAD};
use super::journal::{Audit, Journal};
use crate::churn::questions;
use crate::churn::world::{LIMIT, World};
use crate::churn::{Chance, Scenario, events, states};
use crate::support::escache::Escache;
use crate::support::http::Client;
use crate::support::node::{Cluster, Engine, Node};
use crate::support::program::Program;

/// Clients that search, on each way. Those with even numbers ask the first node, if they ask directly; the others the second.
const READERS: usize = 6;

/// The first so many leave it to the engine which copy of a shard it takes; the others bind it (`preference`). Each client
/// is of one kind: one that asked now this way and now that would soon wait for a bound one, and ask nothing else.
const FREE: usize = 4;

/// What a reader waits between two searches.
const PAUSE: Duration = Duration::from_millis(20);

/// How long everything goes well before a fault.
const BEFORE: Duration = Duration::from_secs(8);

/// How long is waited for what a drill is about.
const PATIENCE: Duration = Duration::from_secs(240);

/// And is looked at after it.
const AFTER: Duration = Duration::from_secs(12);

pub(crate) const EVERYTHING: &str = "limits.max_concurrent_misses: 256\n";

/// The scene of all drills.
pub(crate) struct Stage {
    pub(crate) world: Arc<World>,
    pub(crate) program: Program,
    through: Arm,
    direct: Arm,
    /// Instead of `through`.
    named: Option<Arm>,
    journals: [Arc<Journal>; 2],
    tasks: Vec<JoinHandle<()>>,
    over: Arc<AtomicBool>,
    pub(crate) rows: Vec<String>,
    kept: Vec<Escache>,
    counted: [(usize, usize, usize); 2],
    /// When the latest fault was.
    fault: (Instant, Instant),
    /// When the latest fault was taken away: from then on what it takes to recover is counted.
    mended: Option<Instant>,
}

impl Stage {
    pub(crate) async fn set(engine: Engine) -> Option<Stage> {
        let Cluster { nodes } = Cluster::start(engine, 2).await?;
        let hosts: Vec<&str> = nodes.iter().map(Node::url).collect();
        let program = Program::before(&hosts, EVERYTHING);
        let world = World::new(Scenario::pair(engine), nodes, Client::at(&program.url));
        world.create().await;
        Journal::open(&world.clients[0], 1).await;
        world.green().await;
        let journals = [Journal::new("through"), Journal::new("direct")];
        let (through, direct) = (Arm::default(), Arm::default());
        let over = Arc::new(AtomicBool::new(false));
        let mut tasks = vec![tokio::spawn(states::follow(Arc::clone(&world)))];
        for task in 0..2 {
            tasks.push(tokio::spawn(events::write(Arc::clone(&world), Chance::new(7, task))));
        }
        for (journal, client) in journals.iter().zip([world.through.clone(), world.clients[0].clone()]) {
            tasks.push(tokio::spawn(Arc::clone(journal).write(client, Duration::from_millis(50))));
        }
        let counted = Default::default();
        let mut stage = Stage {
            world,
            program,
            through,
            direct,
            named: None,
            journals,
            tasks,
            over,
            rows: vec![HEAD.to_owned()],
            kept: Vec::new(),
            counted,
            fault: (Instant::now(), Instant::now()),
            mended: None,
        };
        for reader in 0..READERS {
            stage.reader(reader, stage.world.through.clone(), stage.through.clone(), false);
            stage.reader(reader, stage.world.clients[reader % 2].clone(), stage.direct.clone(), true);
        }
        Some(stage)
    }

    fn reader(&mut self, number: usize, client: Client, arm: Arm, directly: bool) {
        let (world, over) = (Arc::clone(&self.world), Arc::clone(&self.over));
        let mut chance = Chance::new(11, self.tasks.len() as u64);
        self.tasks.push(tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                let bound = number >= FREE;
                let asked = questions::ask_bound(&world.ledger, &client, &mut chance, directly, bound).await;
                let came = Came::of(&asked);
                arm.note(number, bound, asked.window, came);
                let failed = matches!(came, Came::Error(_));
                tokio::time::sleep(if failed { PAUSE * 5 } else { PAUSE }).await;
            }
        }));
    }

    /// Clients of another escache, which the next drills are about.
    pub(crate) fn also_at(&mut self, url: &str) {
        let (arm, client) = (Arm::default(), Client::at(url).within(LIMIT));
        for reader in 0..READERS {
            self.reader(reader, client.clone(), arm.clone(), false);
        }
        self.named = Some(arm);
    }

    /// The script takes the fault away now; what follows, such as the boot of a node, is recovery.
    pub(crate) fn mends(&mut self) {
        self.mended = Some(Instant::now());
    }

    /// Its clients go on asking until the end.
    pub(crate) fn keep(&mut self, escache: Escache) {
        self.kept.push(escache);
        self.named = None;
    }

    /// One drill: all is well, then there is a fault as long as `fault` lasts, then it is over.
    pub(crate) async fn drill(&mut self, name: &str, fault: impl AsyncFnOnce(&mut Stage)) -> [Figures; 2] {
        println!("drill: {name}");
        let began = Instant::now();
        tokio::time::sleep(BEFORE).await;
        let disturbance = self.world.ledger.disturb();
        let begin = Instant::now();
        fault(self).await;
        let lasted = begin.elapsed().as_secs_f64();
        let fault = (begin, self.mended.take().unwrap_or_else(Instant::now));
        self.fault = fault;
        tokio::time::sleep(AFTER).await;
        self.world.green().await;
        let end = Instant::now();
        // what began in the trouble has ended
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.world.ledger.calm(disturbance);
        let name = &format!("{name} ({lasted:.0} s in all)");
        let through = self.named.as_ref().unwrap_or(&self.through);
        let both = [through, &self.direct].map(|arm| arm.figures((began, end), fault));
        for (number, (way, figures)) in ["escache", "directly"].into_iter().zip(&both).enumerate() {
            let audit = self.journals[number].audit(&self.world.clients[0]).await;
            let Audit { sent, acknowledged, lost, .. } = audit;
            let before = std::mem::replace(&mut self.counted[number], (sent, acknowledged, 0));
            let writes = format!("{} / {} / {lost}", sent - before.0, acknowledged - before.1);
            let row = figures.row(name, way, &writes);
            println!("{row}");
            self.rows.push(row);
        }
        both
    }

    /// Who waited how long while the second node was stopped: what the engine is bound to, what the engine itself waits
    /// for, and what escache is there for.
    pub(crate) fn tell_waits(&self) {
        let of_node =
            |node: usize, bound: bool| move |shot: &Shot| shot.bound == bound && shot.client % 2 == node;
        let direct = |node, bound| self.direct.waits(self.fault, LONG, of_node(node, bound));
        let through = |bound| self.through.waits(self.fault, LONG, |shot: &Shot| shot.bound == bound);
        let rows = [
            ("escache, free", through(false)),
            ("directly, at the node that lives, free", direct(0, false)),
            ("directly, at the stopped node, free", direct(1, false)),
            ("escache, bound", through(true)),
            ("directly, at the node that lives, bound", direct(0, true)),
            ("directly, at the stopped node, bound", direct(1, true)),
        ];
        println!("{WAITS_HEAD}\n{}", rows.map(|(way, waits)| waits.row(way)).join("\n"));
    }

    /// Waits until a client of escache has had such an answer from now on.
    pub(crate) async fn until(&self, wanted: Came) {
        let (began, before) = (Instant::now(), self.through.count(wanted));
        while self.through.count(wanted) == before {
            assert!(began.elapsed() < PATIENCE, "nobody has had it: {wanted:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Opens as many connections as clients of escache may need at once: who has none when the table is full gets none.
    pub(crate) async fn open_connections(&self) {
        let path = format!("{}/", self.program.url);
        let all = (0..2 * READERS).map(|_| self.world.through.try_request("GET", &path, &[], ""));
        for answer in futures_util::future::join_all(all).await {
            assert!(answer.is_ok(), "{answer:?}");
        }
    }

    /// escache with other settings, cold.
    pub(crate) async fn configure(&mut self, config: &str) {
        self.program.write(&format!("{EVERYTHING}{config}"));
        let disturbance = self.world.ledger.disturb();
        self.program.start_again();
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.world.ledger.calm(disturbance);
    }

    /// Kills nodes as a crash does, waits, and starts them again.
    pub(crate) async fn kill_nodes(&mut self, nodes: &[usize], dead: Duration) {
        self.kill_nodes_until(nodes, dead, async |_: &Stage| {}).await;
    }

    /// The same, and they stay dead until something was seen.
    pub(crate) async fn kill_nodes_until(
        &mut self,
        nodes: &[usize],
        dead: Duration,
        seen: impl AsyncFnOnce(&Stage),
    ) {
        let world = Arc::clone(&self.world);
        let _copies = world.copies.lock().await;
        world.ledger.set_down(nodes.last().copied(), false);
        for &node in nodes {
            world.nodes[node].kill9().await;
        }
        world.ledger.set_down(nodes.last().copied(), true);
        tokio::time::sleep(dead).await;
        seen(self).await;
        world.ledger.set_down(nodes.last().copied(), false);
        self.mends();
        for &node in nodes {
            world.nodes[node].restart().await;
        }
    }

    /// After [`Stage::kill_nodes`].
    pub(crate) async fn up_again(&self) {
        self.world.green().await;
        self.world.ledger.set_down(None, false);
    }

    /// The end of everything: nobody may have seen what was not there, and nothing that was acknowledged is lost.
    pub(crate) async fn end(self) -> (Vec<String>, [Audit; 2]) {
        self.over.store(true, Ordering::SeqCst);
        self.world.ledger.end();
        self.journals.iter().for_each(|journal| journal.over.store(true, Ordering::SeqCst));
        for task in self.tasks {
            task.await.expect("a task ends well");
        }
        let mut audits = Vec::new();
        for journal in &self.journals {
            audits.push(journal.audit(&self.world.clients[0]).await);
        }
        let counts = &self.world.ledger.counts;
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::SeqCst);
        println!(
            "{} answers through escache, {} hits, {} illegal; {} directly, {} illegal; {} unexplained",
            of(&counts.answers),
            of(&counts.hits),
            of(&counts.illegal),
            of(&counts.direct),
            of(&counts.direct_illegal),
            of(&counts.unexplained)
        );
        assert_eq!(of(&counts.illegal), 0, "wrong answers");
        assert_eq!(of(&counts.direct_illegal), 0, "the ledger is wrong");
        (self.rows, audits.try_into().expect("two"))
    }
}

/// Connections that say nothing, and newcomers that want one of their own, for as long as it lasts. Returns how many
/// newcomers were served and how many were told that there is no room.
pub(crate) async fn mob(url: &str, size: usize, lasts: Duration) -> (usize, usize) {
    let mut idle = Vec::new();
    for _ in 0..size {
        idle.push(tokio::net::TcpStream::connect(crate::support::wire::address(url)).await);
    }
    let (served, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let until = Instant::now() + lasts;
    while Instant::now() < until {
        match Client::new().within(LIMIT).try_request("GET", &format!("{url}/"), &[], "").await {
            Ok(answer) if answer.status == 200 => served.fetch_add(1, Ordering::SeqCst),
            Ok(_) | Err(_) => refused.fetch_add(1, Ordering::SeqCst),
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (served.into_inner(), refused.into_inner())
}
