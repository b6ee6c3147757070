//! Writers, refreshes, merges, rollovers, swapped aliases, changed mappings and settings, closed, opened and deleted
//! indices and killed nodes at a real engine, while clients repeat searches through the proxy. Every answer is judged.
//!
//! **The oracle.** An answer, hit or miss, must be one that the engine could have given between the arrival of its request
//! and the reply. Everything that can be seen has a *history* of values: each document (a counter that only rises, or
//! its absence), what each name leads to, the mapping and the setting that a question depends on. A value may be seen
//! from the moment its change was *begun* (before it was sent) until a later change is *sure*: somebody was told that
//! it is visible to all. Copies of a shard refresh at different moments, so nothing is sure because it was written, nor because
//! one search saw it, but only
//! - when a refresh was acknowledged that had reached every copy, or a write with `refresh=true` or `wait_for` that had;
//! - while a node is dead, and nobody has started it again: when all copies but its own were reached;
//! - with segment replication, where no acknowledgement says anything of replicas: when each node, asked for its own
//!   copies alone, has shown it (a copy never goes back; before a new one comes, what was sure is sure no more);
//! - for metadata, when the change was acknowledged, and each node that runs has told that it has applied it.
//!
//! An acknowledgement alone binds less than that: a master that cannot reach a node for long enough drops it, takes its copies out
//! and acknowledges without it, while that node goes on answering searches by its own copies and its own metadata until it has
//! joined again (both engines let it: reads need no master). So the engine's own answers may be so old. **Hits** may not:
//! they are decided by what the master says, and held to whatever the engine has acknowledged ([`history::Word`]).
//!
//! For each shard there must be one instant within the window at which all its documents were as the answer says (a
//! search reads a shard at one instant). A write whose outcome is unknown (its node was killed, or its answer did not come
//! in time) may or may not be visible until a later one is sure; external versions, which rise with the counter, keep
//! late ones from winning. What is written to an index after it was deleted and created again is refused by the new
//! one's strict mapping.
//! A change that is refused while a node goes (429, 500, 502, 503, 504, a lost connection) may have been made; it is asked for
//! again until it is known to be (`churn/world.rs`). Errors are legal where there is a reason (a dead node, an index that is away); whatever is partial or an error must
//! never be stored nor come from the cache. Some clients ask the engine directly and are judged alike: were one of those
//! answers illegal, the oracle would be wrong.
//!
//! `TEST_CHURN_ANSWERS` says how many answers are checked, `TEST_CHURN_SEED` where chance begins,
//! `TEST_CHURN_ENGINES` which of [`CLUSTERS`] the long run takes (`scripts/churn`).

pub(crate) mod events;

pub(crate) mod history;

pub(crate) mod ledger;

mod lost;

pub(crate) mod states;

mod sure;

pub(crate) mod questions;

pub(crate) mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use escache::probe;
use escache::upstream::Host;
use futures_util::future::join_all;
use tokio::task::JoinHandle;

use self::world::World;
use crate::support::escache::Escache;
use crate::support::http::Client;
use crate::support::node::{Cluster, Engine, Node};

const WRITERS: u64 = 4;

/// How often a long run tells how far it is.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Those who ask the engine directly.
const DIRECT: u64 = 2;

/// A cluster and what happens to it.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    engine: Engine,
    /// One, or two with a copy of each shard on both.
    nodes: usize,
    /// OpenSearch's `index.replication.type: SEGMENT`.
    segments: bool,
    /// Clients of the proxy. Those who wait share readings, so many of them cost the engine little more than a few.
    readers: u64,
    /// At least so many answers,
    answers: u64,
    /// or until one is illegal.
    until_illegal: bool,
    /// At least, and at most, so many kills.
    least_kills: u64,
    most_kills: u64,
    between_kills: Duration,
    kill_master: bool,
    /// At least this share of hits, in percent.
    hits: u64,
}

impl Scenario {
    fn replicas(&self) -> usize {
        self.nodes - 1
    }

    /// A node without replicas, which is not killed.
    const fn single(engine: Engine) -> Scenario {
        let between_kills = Duration::from_secs(3);
        Scenario {
            engine,
            nodes: 1,
            segments: false,
            readers: 32,
            answers: 5_000,
            until_illegal: false,
            least_kills: 0,
            most_kills: 0,
            between_kills,
            kill_master: false,
            hits: 10,
        }
    }

    /// Two nodes, one of which is killed once.
    pub(crate) const fn pair(engine: Engine) -> Scenario {
        Scenario { nodes: 2, answers: 3_000, least_kills: 1, most_kills: 1, ..Scenario::single(engine) }
    }

    /// For the long run: both nodes are killed again and again.
    const fn long(engine: Engine) -> Scenario {
        let between_kills = Duration::from_secs(12);
        let pair = Scenario::pair(engine);
        Scenario {
            readers: 256,
            answers: 10_000,
            least_kills: 4,
            most_kills: u64::MAX,
            between_kills,
            kill_master: true,
            ..pair
        }
    }

    /// For hours: a node is killed now and then.
    pub(crate) const fn soak(engine: Engine) -> Scenario {
        let between_kills = Duration::from_secs(90);
        Scenario { kill_master: true, most_kills: u64::MAX, between_kills, ..Scenario::pair(engine) }
    }

    const fn segments(self) -> Scenario {
        Scenario { segments: true, ..self }
    }
}

/// What the long run may take, by the names that `TEST_CHURN_ENGINES` has.
const CLUSTERS: [(&str, Scenario); 7] = [
    ("elasticsearch-7", Scenario::long(Engine::Elasticsearch7)),
    ("elasticsearch-8", Scenario::long(Engine::Elasticsearch8Full)),
    ("elasticsearch-9", Scenario::long(Engine::Elasticsearch9)),
    ("opensearch-2", Scenario::long(Engine::OpenSearch2)),
    ("opensearch-3", Scenario::long(Engine::OpenSearch3)),
    ("opensearch-2-segments", Scenario::long(Engine::OpenSearch2).segments()),
    ("opensearch-3-segments", Scenario::long(Engine::OpenSearch3).segments()),
];

/// xorshift: enough chance for a test, and the same from the same seed.
pub(crate) struct Chance(u64);

impl Chance {
    /// One for each task.
    pub(crate) fn new(seed: u64, task: u64) -> Chance {
        Chance(seed ^ 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(task + 1))
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// What came of a run.
struct Report {
    answers: u64,
    hits: u64,
    illegal: u64,
}

/// Runs a scenario on these nodes, in front of which `escache` is.
async fn churn(
    name: &str,
    scenario: Scenario,
    nodes: Vec<Node>,
    escache: Escache,
    seed: u64,
) -> (Report, Vec<Node>) {
    let began = Instant::now();
    let world = World::new(scenario, nodes, Client::at(&escache.url));
    world.create().await;
    let ledger = Arc::clone(&world.ledger);
    let asking = tokio::spawn(probe::keep_asking(Arc::clone(&escache.proxy), Duration::from_secs(10)));
    let mut tasks = Vec::new();
    for task in 0..WRITERS {
        tasks.push(tokio::spawn(events::write(Arc::clone(&world), Chance::new(seed, task))));
    }
    tasks.push(tokio::spawn(events::change(Arc::clone(&world), Chance::new(seed, 100))));
    tasks.push(tokio::spawn(states::follow(Arc::clone(&world))));
    let killing = tokio::spawn(events::kill(Arc::clone(&world), Chance::new(seed, 101)));
    if scenario.segments {
        for task in 0..2 {
            tasks.push(tokio::spawn(events::witness(Arc::clone(&world), Chance::new(seed, 102 + task))));
        }
    }
    for task in 0..scenario.readers {
        let chance = Chance::new(seed, 200 + task);
        tasks.push(tokio::spawn(questions::read(Arc::clone(&ledger), world.through.clone(), chance, false)));
    }
    for task in 0..DIRECT {
        let client = world.clients[task as usize % world.clients.len()].clone();
        tasks.push(tokio::spawn(questions::read(
            Arc::clone(&ledger),
            client,
            Chance::new(seed, 300 + task),
            true,
        )));
    }
    let counts = &ledger.counts;
    let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    let done = || {
        let events = of(&counts.rollovers) > 0 && of(&counts.swaps) > 0 && of(&counts.mappings) > 0;
        let all =
            events && of(&counts.answers) >= scenario.answers && of(&counts.kills) >= scenario.least_kills;
        all || (scenario.until_illegal && of(&counts.illegal) > 0)
    };
    // a task that ends before has panicked
    let mut said = Instant::now();
    let killed_enough = || of(&counts.kills) >= scenario.most_kills;
    while !done() && !tasks.iter().any(JoinHandle::is_finished) && (!killing.is_finished() || killed_enough())
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if said.elapsed() > SAY_EVERY {
            said = Instant::now();
            let (answers, hits, illegal) = (of(&counts.answers), of(&counts.hits), of(&counts.illegal));
            println!(
                "{name}: {answers} answers so far, {hits} hits, {illegal} illegal, {} kills",
                of(&counts.kills)
            );
        }
    }
    ledger.end();
    tasks.push(killing);
    for task in join_all(tasks).await {
        task.expect("a task ends well");
    }
    asking.abort();
    let plain = &escache.proxy.stats.plain;
    println!(
        "{name}: seed {seed}, {} answers, {} hits, {} illegal ({} of them hits); {} kills, {} rollovers, {} swaps, {} recreations, \
         {} closings, {} mappings, {} settings, {} merges and others, {} writes; {} partial, {} errors, {} unexplained, {} lost and {} refused by the engine; \
         {} direct answers, {} of them illegal; {} readings of {} us; {} searches sent early, {} in vain; {:.0?}",
        of(&counts.answers),
        of(&counts.hits),
        of(&counts.illegal),
        of(&counts.illegal_hits),
        of(&counts.kills),
        of(&counts.rollovers),
        of(&counts.swaps),
        of(&counts.recreations),
        of(&counts.closings),
        of(&counts.mappings),
        of(&counts.settings),
        of(&counts.others),
        of(&counts.writes),
        of(&counts.partial),
        of(&counts.errors),
        of(&counts.unexplained),
        of(&counts.lost),
        of(&counts.refused),
        of(&counts.direct),
        of(&counts.direct_illegal),
        plain.readings.get(),
        plain.reading_microseconds.get() / plain.readings.get().max(1),
        plain.early.get(),
        plain.early_dead.get(),
        began.elapsed(),
    );
    assert_eq!(
        of(&counts.direct_illegal),
        0,
        "the engine itself gave answers that the oracle does not allow"
    );
    assert_eq!(of(&counts.unexplained), 0, "errors without a reason");
    let report =
        Report { answers: of(&counts.answers), hits: of(&counts.hits), illegal: of(&counts.illegal) };
    drop(escache);
    let world = Arc::into_inner(world).expect("all tasks have ended");
    (report, world.nodes)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

async fn check(name: &str, scenario: Scenario) {
    let Some(Cluster { nodes }) = Cluster::start(scenario.engine, scenario.nodes).await else { return };
    let seed = setting("TEST_CHURN_SEED", 20_261_121);
    let scenario = Scenario { answers: setting("TEST_CHURN_ANSWERS", scenario.answers), ..scenario };
    let bound = |bound: Duration| {
        let hosts: Vec<_> = nodes.iter().map(|node| node.url().to_owned()).collect();
        async move {
            Escache::start_with(&hosts[0], |s| {
                s.upstream.hosts = hosts.iter().map(|host| Host::parse(host).unwrap()).collect();
                s.policy.max_staleness = bound;
            })
            .await
        }
    };
    let (strict, bounded_proxy) = (bound(Duration::ZERO), bound(Duration::from_secs(2)));
    let (report, nodes) = churn(name, scenario, nodes, strict.await, seed).await;
    assert_eq!(report.illegal, 0);
    assert!(
        report.hits * 100 >= report.answers * scenario.hits,
        "{} hits of {}",
        report.hits,
        report.answers
    );

    // and the check bites: with a bound, answers are older than strict ones may be
    let bounded = Scenario { answers: u64::MAX, until_illegal: true, most_kills: 0, ..scenario };
    let name = format!("{name} with a bound of 2 s, judged as strict");
    let (report, _) = churn(&name, bounded, nodes, bounded_proxy.await, seed).await;
    assert!(report.illegal > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_illegal_under_churn_on_one_node() {
    check("opensearch-2, one node", Scenario::single(Engine::OpenSearch2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_illegal_under_churn_on_two_nodes() {
    check("elasticsearch-7", Scenario::pair(Engine::Elasticsearch7)).await;
}

/// `scripts/churn`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes many minutes and all engines"]
async fn no_answer_is_illegal_under_churn_on_any_cluster() {
    let wanted = std::env::var("TEST_CHURN_ENGINES").unwrap_or_default();
    for name in wanted.split(',').filter(|name| !name.is_empty()) {
        let known = CLUSTERS.iter().find(|(known, _)| *known == name);
        let (name, scenario) =
            known.unwrap_or_else(|| panic!("{name} is none of {:?}", CLUSTERS.map(|c| c.0)));
        check(name, *scenario).await;
    }
}
