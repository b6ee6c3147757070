//! The freshness algorithm as a model: every order of events, within bounds, of an engine and of the proxy in front of
//! it. The model's engine writes the JSON; the shipped functions read it and decide (`shipped.rs` is the only file that
//! calls them): `Metadata::read`, `StateVersion::read`, `Sandwich` (and in it `Counters::read` and `Generation::new`), the
//! equality of generations, `Generation::longest_life`, `Generation::state` and `moment`, `Needed::serves`, `decide`,
//! `Storable::check`, `Entry::landed`, `confirm`, `confirm_by_giver` and `met`, `Store::insert` with its epoch,
//! `control::for_fill`, `Control::bound`.
//!
//! Checked by stateright, an explicit-state model checker: what can go wrong here is the *order* of requests to an
//! engine that moves by itself, not the memory order of threads (loom, shuttle) nor a network (turmoil), and the claim
//! is about all orders, not about those that a seed happens to try. Breadth first, so that a counterexample is a
//! shortest one.
//!
//! What must hold of each answer:
//! * **told**: it has what anybody may have been told before the request arrived: refreshes that are visible on all
//!   copies and counted, a state that the master has applied, an analyzer reload that was acknowledged;
//! * **legal**: each shard's part of it is what a search could have answered at an instant between the arrival and the
//!   reply, on some copy, and without waiting (a search that has to wait for a refresh answers after it);
//! * **awake**: and that copy is awake, or has nothing to publish. An uncached search would have woken it, so a cache
//!   that answers instead would hide finished work for ever, what no row of uncached searches can.
//!
//! The parts carry the copy, the operations seen, the merges seen, the mapping and the dictionary of analyzers.
//! Shards are judged one by one, since no search reads them all at one instant.
//!
//! `TEST_MODEL_DEEP=1` explores larger bounds (about 25,000 states a second of one core's time; docs/exactness.md says what
//! was seen to end, and how many states each has). They are what ends within minutes:
//! a second operation makes thirty times as many states (so one alone is stalled), and an operation beside an index that joins, which
//! takes three requests to be seen, forty times as many (so nothing else happens there).

#![allow(clippy::print_stdout, reason = "what was explored, for who asks with --nocapture")]

mod engine;

mod proxy;

mod shipped;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use engine::{Budget, Shape};
use proxy::{Action, Inner, Setup, Without};
use stateright::{Checker, HasDiscoveries, Model};

/// An exploration that takes longer fails: what does not end proves nothing. The bounds are such that each ends in about
/// a quarter of an hour, on one core that has other work too.
const LONGEST: Duration = Duration::from_secs(3600);

const PROMISES: [&str; 3] = ["told", "legal", "awake"];

/// Explores a model. The promise that is broken first, and how.
fn explore(name: &str, setup: &Setup) -> Option<(&'static str, Vec<Action>)> {
    let setup = Setup { seen: std::sync::Arc::default(), ..setup.clone() };
    let began = Instant::now();
    let (seen, without, early) = (setup.seen.clone(), setup.without, setup.early);
    let confirms = setup.confirms;
    let checker =
        setup.checker().finish_when(HasDiscoveries::AnyFailures).timeout(LONGEST).spawn_bfs().join();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{name} without {without:?}: {} states, {} steps deep, {:.1?}; hits {}, superseded {}, followers {}, waits {}, \
         invalid {}, unstored {}, early {}, in another state {}",
        checker.unique_state_count(),
        checker.max_depth(),
        began.elapsed(),
        count(&seen.hits),
        count(&seen.superseded),
        count(&seen.followers),
        count(&seen.waits),
        count(&seen.invalid),
        count(&seen.unstored),
        count(&seen.early),
        count(&seen.elsewhere),
    );
    let found = checker.discoveries();
    assert!(!found.is_empty() || began.elapsed() < LONGEST, "{name}: not explored within {LONGEST:?}");
    let broken = PROMISES.into_iter().filter_map(|promise| Some((promise, found.get(promise)?)));
    let broken = broken.map(|(promise, path)| (promise, path.clone().into_actions()));
    let broken = broken.min_by_key(|(_, actions)| actions.len());
    match &broken {
        Some((promise, actions)) => println!("  not {promise}: {actions:?}"),
        None => {
            let shown = count(&seen.hits) > 0
                && (count(&seen.early) > 0 || !early)
                && (count(&seen.elsewhere) > 0 || !confirms);
            assert!(shown, "{name}: a proof about nothing");
        }
    }
    broken
}

#[track_caller]
fn holds(name: &str, setup: &Setup) {
    if let Some((promise, actions)) = explore(name, setup) {
        panic!("{name}: an answer is not {promise} after {actions:#?}");
    }
}

/// Without this the model must find a wrong answer.
#[track_caller]
fn needs(name: &str, setup: &Setup, without: Without) {
    let setup = Setup { without, ..setup.clone() };
    assert!(explore(name, &setup).is_some(), "{name}: {without:?} is not needed, or the model is too small");
}

/// Larger bounds, if they are wanted.
fn deep(usual: u8, deep: u8) -> u8 {
    if std::env::var_os("TEST_MODEL_DEEP").is_some() { deep } else { usual }
}

fn setup(shards: u8, copies: u8, budget: Budget) -> Setup {
    Setup { shape: Shape { shards, copies, ..Shape::default() }, budget, ..Setup::default() }
}

fn none() -> Budget {
    Budget { requests: 2, ..Budget::default() }
}

/// Operations, refreshes and sleep on one copy.
fn idle() -> Setup {
    setup(1, 1, Budget { ops: deep(1, 2), sleeps: 1, refreshes: 1, ..none() })
}

fn three_requests() -> Setup {
    setup(1, 1, Budget { requests: 3, ops: 1, sleeps: deep(0, 1), ..none() })
}

fn slow() -> Setup {
    let setup = setup(1, 1, Budget { ops: deep(1, 2), sleeps: 1, refreshes: deep(0, 1), ..none() });
    Setup { shape: Shape { slow_ops: true, ..setup.shape }, ..setup }
}

fn merge() -> Setup {
    setup(1, 1, Budget { ops: deep(0, 1), merges: 1, sleeps: 1, refreshes: deep(0, 1), ..none() })
}

fn copies() -> Setup {
    setup(1, 2, Budget { ops: 1, sleeps: deep(0, 1), ..none() })
}

fn shards() -> Setup {
    setup(2, 1, Budget { ops: deep(1, 2), ..none() })
}

fn metadata() -> Setup {
    setup(1, 1, Budget { mappings: 1, unrelated: 1, ..none() })
}

fn lives() -> Setup {
    setup(1, 1, Budget { ops: 1, restarts: 1, recreations: deep(0, 1), ..none() })
}

fn recreated() -> Setup {
    setup(1, 1, Budget { ops: 1, recreations: 1, ..none() })
}

/// Nothing tells of what has joined and left but the version of the state, which moves for other reasons too.
fn joins() -> Setup {
    Setup { confirms: true, ..setup(1, 1, Budget { requests: 3, joins: 1, ..none() }) }
}

fn reload() -> Setup {
    setup(1, 1, Budget { reloads: 1, ops: deep(0, 1), ..none() })
}

fn chain(inner: Inner) -> Setup {
    Setup { inner: Some(inner), ..setup(1, 1, Budget { requests: deep(3, 3), ops: 1, ..none() }) }
}

#[test]
fn a_sleeping_shard() {
    holds("idle", &idle());
    for without in [Without::R1, Without::R2, Without::R4, Without::Wake, Without::R5] {
        needs("idle", &idle(), without);
    }
    needs("idle", &idle(), Without::SeqNo);
    needs("idle", &idle(), Without::Refresh);
}

#[test]
fn readings_that_end_late() {
    holds("three requests", &three_requests());
    needs("three requests", &three_requests(), Without::R8);
    let overlap = match deep(0, 1) {
        1 => setup(1, 1, Budget { requests: 3, ops: 1, ..none() }),
        _ => idle(),
    };
    holds("overlapping readings", &Setup { overlap: true, ..overlap });
}

#[test]
fn operations_under_way() {
    holds("slow operations", &slow());
    needs("slow operations", &slow(), Without::Checkpoint);
    // A3: an operation on its way for longer than a shard stays awake
    let budget = Budget { ops: 1, ..slow().budget };
    let stalled = Setup { shape: Shape { sleep_over_ops: true, ..slow().shape }, budget, ..slow() };
    holds("stalled operations", &stalled);
    needs("stalled operations", &stalled, Without::LongestLife);
    needs("stalled operations", &stalled, Without::Checkpoint);
}

#[test]
fn merges() {
    holds("merge", &merge());
    needs("merge", &merge(), Without::Merges);
}

/// Where shards never sleep, `seq_no` and `merges` are not in the tag; where they do, they must be.
#[test]
fn an_explicit_refresh_interval() {
    let explicit = |setup: Setup| Setup { shape: Shape { explicit: true, ..setup.shape }, ..setup };
    let awake = |setup: Setup| Setup { budget: Budget { sleeps: 0, ..setup.budget }, ..setup };
    for setup in [idle(), slow(), merge()] {
        holds("explicit", &awake(explicit(setup.clone())));
        needs("explicit, but asleep", &explicit(setup), Without::Nothing);
    }
}

#[test]
fn copies_that_refresh_apart() {
    holds("copies", &copies());
    needs("copies", &copies(), Without::R3);
    let replicated = Setup { shape: Shape { segment_replication: true, ..copies().shape }, ..copies() };
    if deep(0, 1) == 1 {
        holds("segment replication", &replicated);
    }
    needs("segment replication", &replicated, Without::Total);
}

#[test]
fn two_shards() {
    holds("shards", &shards());
    needs("shards", &shards(), Without::R3);
}

#[test]
fn a_state_that_moves() {
    holds("metadata", &metadata());
    needs("metadata", &metadata(), Without::Metadata);
    needs("metadata", &metadata(), Without::Sandwich);
}

#[test]
fn lives_whose_counters_begin_again() {
    holds("restart", &lives());
    needs("restart", &lives(), Without::Metadata);
    needs("restart", &lives(), Without::Sandwich);
    holds("recreation", &recreated());
    needs("recreation", &recreated(), Without::Metadata);
}

/// Between a reading and the search that it tags an index may join the target, and leave it later: then neither metadata
/// nor counters tell of it.
#[test]
fn an_index_that_joins_and_leaves() {
    holds("joins", &joins());
    if deep(0, 1) == 1 {
        // one after the other: with both at once it was not seen to end
        holds(
            "joins, the state moves",
            &Setup { budget: Budget { unrelated: 1, ..joins().budget }, ..joins() },
        );
        holds("joins, operations", &Setup { budget: Budget { ops: 1, ..joins().budget }, ..joins() });
    }
    for without in [Without::Confirm, Without::Landed, Without::Moment] {
        needs("joins", &joins(), without);
    }
    holds("early, joins", &Setup { early: true, ..joins() });
    // a node may search by a state that the master shows only later
    let late_master = Setup { shape: Shape { late_master: true, ..joins().shape }, ..joins() };
    holds("joins, the master last", &late_master);
    needs("joins, the master last", &late_master, Without::Publication);
    if deep(0, 1) == 1 {
        holds("joins, overlapping readings", &Setup { overlap: true, ..joins() });
    }
}

#[test]
fn purges() {
    holds("reload", &reload());
    needs("reload", &reload(), Without::R7);
}

/// A miss that does not wait for a reading: the latest one is its tag (R1), whatever has happened since. Who joins it has a
/// reading of its own; without one, it could get what was found before it arrived.
#[test]
fn a_miss_that_does_not_wait() {
    let early = |setup: Setup| Setup { early: true, ..setup };
    let all = [idle(), three_requests(), merge(), copies(), metadata(), lives(), recreated(), reload()];
    for setup in all {
        holds("early", &early(setup));
    }
    if deep(0, 1) == 1 {
        holds("early, slow operations", &early(slow()));
        holds("early, shards", &early(shards()));
        holds("early, overlapping readings", &Setup { overlap: true, ..early(idle()) });
    }
    let bounded = setup(1, 1, Budget { ops: 1, ..none() });
    holds("early, bound", &early(Setup { bounded: true, told_only: true, ..bounded }));
    needs("early", &early(three_requests()), Without::R1);
    needs("early", &early(three_requests()), Without::R5);
    needs("early", &early(three_requests()), Without::Lead);
}

#[test]
fn a_cache_underneath() {
    for inner in [Inner::Heeds, Inner::Heedless] {
        holds("chain", &chain(inner));
        needs("chain", &chain(inner), Without::R6);
    }
}

#[test]
fn a_bound_keeps_what_passed_through() {
    let bounded = setup(1, 1, Budget { ops: 1, refreshes: deep(0, 1), ..none() });
    let bounded = Setup { bounded: true, told_only: true, ..bounded };
    holds("bound", &bounded);
    needs("bound", &bounded, Without::Mark);
}

/// The assumptions are assumptions: where one is given up, the literal contract breaks. What clients were told
/// holds without A1 and without the master's order.
#[test]
fn assumptions() {
    let late_bump = Setup { shape: Shape { late_bump: true, ..idle().shape }, ..idle() };
    needs("A1", &late_bump, Without::Nothing);
    holds("A1, told", &Setup { told_only: true, ..late_bump });

    let hasty = Setup { shape: Shape { sleep_at_once: true, ..idle().shape }, ..idle() };
    needs("A2", &hasty, Without::Nothing);

    let late_master = Setup { shape: Shape { late_master: true, ..metadata().shape }, ..metadata() };
    needs("A7", &late_master, Without::Nothing);
    holds("A7, told", &Setup { told_only: true, ..late_master });
}

/// Sums of counters, under unchanged metadata, would do as the tag of wide targets (docs/exactness.md): of two readings
/// that do not overlap, the later one has no counter lower; of two that do, a search that follows the one was sent
/// after the other had begun, and so after the arrival of whoever waits for that. But `indexing.index_total` moves
/// after an operation has entered Lucene, where `max_seq_no` moves before: a window like A1.
#[test]
fn sums_of_counters() {
    let sums = |setup: Setup| Setup { without: Without::Vector, ..setup };
    for setup in [shards(), idle(), merge(), lives(), recreated()] {
        holds("sums", &sums(setup));
    }
    needs("sums, slow operations", &slow(), Without::Vector);
    holds("sums, slow operations, told", &Setup { told_only: true, ..sums(slow()) });
    let overlap = sums(setup(2, 1, Budget { ops: 1, ..none() }));
    holds("sums, overlapping readings", &Setup { overlap: true, ..overlap });
    if deep(0, 1) == 1 {
        let copies = sums(setup(1, 2, Budget { ops: 1, ..none() }));
        holds("sums, copies", &copies);
        holds("sums, copies, overlapping readings", &Setup { overlap: true, ..copies });
    }
}
