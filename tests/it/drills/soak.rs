//! An hour, or as long as `TEST_SOAK_MINUTES` says, of everything at once: searches, writes, churn of mappings,
//! settings, aliases and indices, nodes killed and started again, configurations read again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::engine;
use super::journal::Journal;
use crate::churn::ledger::Ledger;
use crate::churn::world::World;
use crate::churn::{Chance, Scenario, events, questions, states};
use crate::support::http::Client;
use crate::support::node::{Cluster, Node};
use crate::support::program::Program;

const READERS: u64 = 8;

/// How often the process is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How often something is said.
const SAY: Duration = Duration::from_secs(60);

/// By how much more may be resident in the last quarter than in the second one. An hour showed 0; less than 4 MiB is what
/// an allocator does.
const MOST_MEBIBYTES: usize = 4;

/// By how many the descriptors may differ between these. An hour showed 3, of connections to nodes that had just been
/// started.
const MOST_DESCRIPTORS: usize = 10;

/// Two configurations that are read in turn.
const CONFIGURATIONS: [&str; 2] = [
    "http.idle_timeout: 5m\n",
    "http.idle_timeout: 4m\nrules: [{index: churn-shut, api: count, cache: false}]\n",
];

/// What the process uses.
#[derive(Clone, Copy)]
struct Use {
    resident: usize,
    descriptors: usize,
}

/// The middle of the samples of a part of the run.
fn middle(samples: &[Use], of: impl Fn(&Use) -> usize) -> usize {
    let mut values: Vec<usize> = samples.iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// `scripts/soak`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as long as it is told to"]
async fn nothing_is_lost_and_nothing_grows() {
    let minutes: f64 = std::env::var("TEST_SOAK_MINUTES").map_or(60.0, |m| m.parse().unwrap());
    let until = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let scenario = Scenario::soak(engine());
    let Some(Cluster { nodes }) = Cluster::start(engine(), 2).await else { return };
    let hosts: Vec<&str> = nodes.iter().map(Node::url).collect();
    let program = Program::before(&hosts, CONFIGURATIONS[0]);
    let world = World::new(scenario, nodes, Client::at(&program.url));
    world.create().await;
    Journal::open(&world.clients[0], 1).await;
    world.green().await;

    let ledger = Arc::clone(&world.ledger);
    let journals = [Journal::new("through-1"), Journal::new("through-2")];
    let mut tasks = Vec::new();
    for journal in &journals {
        let pause = Duration::from_millis(100);
        tasks.push(tokio::spawn(Arc::clone(journal).write(world.through.clone(), pause)));
    }
    for task in 0..2 {
        tasks.push(tokio::spawn(events::write(Arc::clone(&world), Chance::new(3, task))));
    }
    tasks.push(tokio::spawn(events::change(Arc::clone(&world), Chance::new(3, 100))));
    tasks.push(tokio::spawn(states::follow(Arc::clone(&world))));
    tasks.push(tokio::spawn(events::kill(Arc::clone(&world), Chance::new(3, 101))));
    for task in 0..READERS {
        let chance = Chance::new(3, 200 + task);
        tasks.push(tokio::spawn(questions::read(Arc::clone(&ledger), world.through.clone(), chance, false)));
    }
    for task in 0..2 {
        let (client, chance) = (world.clients[task as usize].clone(), Chance::new(3, 300 + task));
        tasks.push(tokio::spawn(questions::read(Arc::clone(&ledger), client, chance, true)));
    }

    let (mut samples, mut looks, mut said, mut reloads) = (Vec::new(), 0_usize, Instant::now(), 0);
    while Instant::now() < until && !tasks.iter().any(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep(LOOK).await;
        looks += 1;
        samples.push(Use { resident: program.resident(), descriptors: program.descriptors() });
        if looks % 4 == 0 {
            reloads += 1;
            program.write(CONFIGURATIONS[reloads % 2]);
            program.signal(Signal::HUP);
        }
        // what it logs would pile up here
        drop(program.said());
        if said.elapsed() > SAY {
            said = Instant::now();
            say(&ledger, samples[samples.len() - 1]);
        }
    }
    ledger.end();
    journals.iter().for_each(|journal| journal.over.store(true, Ordering::SeqCst));
    for task in tasks {
        task.await.expect("a task ends well");
    }
    world.green().await;
    // what was acknowledged is there: documents that were overwritten again and again, ...
    let stats = world.through.get(format!("{}/stats", program.admin)).await.json();
    for life in ledger.current() {
        world.refresh(&life).await;
    }
    let (mut chance, direct) = (Chance::new(3, 999), &world.clients[0]);
    for _ in 0..200 {
        let asked = questions::ask(&ledger, direct, &mut chance, true).await;
        assert_eq!(asked.judged, Ok(()));
    }
    // ... and those that were written once
    let (mut sent, mut acknowledged, mut failed, mut lost) = (0, 0, 0, 0);
    for journal in &journals {
        let audit = journal.audit(direct).await;
        (sent, acknowledged) = (sent + audit.sent, acknowledged + audit.acknowledged);
        (failed, lost) = (failed + audit.failed, lost + audit.lost);
    }
    say(&ledger, samples[samples.len() - 1]);
    let quarter = samples.len() / 4;
    let (early, late) = (&samples[quarter..2 * quarter], &samples[3 * quarter..]);
    let memory = [early, late].map(|part| middle(part, |sample| sample.resident) >> 20);
    let descriptors = [early, late].map(|part| middle(part, |sample| sample.descriptors));
    let counters = &stats["counters"];
    println!(
        "soak: {minutes} minutes; journal: {sent} writes sent, {acknowledged} acknowledged, {failed} failed, {lost} lost; \
         resident {memory:?} MB and descriptors {descriptors:?} (middle of the second and of the last quarter); \
         {} reloads, {} ejections, {} retries, {} panics",
        counters["reloads"], counters["host_ejections"], counters["upstream_retries"], counters["panics"],
    );
    let counts = &ledger.counts;
    let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    assert_eq!((of(&counts.illegal), of(&counts.direct_illegal), of(&counts.unexplained)), (0, 0, 0));
    assert_eq!((lost, sent), (0, acknowledged + failed));
    assert_eq!(counters["panics"], 0);
    assert!(counters["reloads"].as_u64().unwrap() >= reloads as u64, "{reloads}: {counters}");
    assert!(memory[1] <= memory[0] + MOST_MEBIBYTES, "it grows: {memory:?}");
    assert!(descriptors[1].abs_diff(descriptors[0]) <= MOST_DESCRIPTORS, "they do not stay: {descriptors:?}");
}

fn say(ledger: &Ledger, now: Use) {
    let counts = &ledger.counts;
    let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    println!(
        "soak: {} answers, {} hits, {} illegal; {} direct, {} illegal; {} writes, {} kills, {} errors, {} unexplained; \
         {} MB, {} descriptors",
        of(&counts.answers),
        of(&counts.hits),
        of(&counts.illegal),
        of(&counts.direct),
        of(&counts.direct_illegal),
        of(&counts.writes),
        of(&counts.kills),
        of(&counts.errors),
        of(&counts.unexplained),
        now.resident >> 20,
        now.descriptors
    );
}
