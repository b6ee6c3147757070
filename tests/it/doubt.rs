//! What keeps readings from being waited for, or from ending, must not do so for ever while the engine answers. The
//! clock of escache stands and is moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::support::engine::{Api, At, Engine, Flavour, Seen, Twist, engine, engine_of};
use crate::support::escache::{Escache, verdict};
use crate::support::http::Response;
use crate::support::patience::{ends, until};
use crate::support::still::{MOMENT, Still, wall};

/// How long a reading may take; a request waits a quarter of it while there is doubt.
const TIMEOUT: Duration = Duration::from_secs(4);

async fn in_front_of(hosts: &[&Engine]) -> Arc<Escache> {
    let escache = Escache::in_front_of(hosts, |settings| {
        (settings.watcher.timeout, settings.watcher.wall) = (TIMEOUT, wall);
    });
    Arc::new(escache.await)
}

fn count(escache: &Arc<Escache>, index: &str) -> JoinHandle<Response> {
    let (escache, path) = (Arc::clone(escache), format!("/{index}/_count"));
    tokio::spawn(async move { escache.send("GET", &path, &[], "").await })
}

async fn told(count: JoinHandle<Response>) -> String {
    verdict(&ends("an answer", count).await.unwrap().headers).1.to_owned()
}

const UNKNOWN: &str = "escache; fwd=bypass; detail=generation-unknown";

/// Whether a question names this index.
fn of(index: &'static str) -> impl Fn(&Seen) -> bool + Send + Sync {
    move |seen| seen.uri().split('/').nth(1) == Some(index)
}

/// One target whose readings never end, and another one whose readings take longer than who is in doubt waits: as on an engine
/// that has much to do. The first one must not keep the other one out of the cache for ever.
#[tokio::test]
async fn who_is_read_well_is_waited_for_whatever_becomes_of_others() {
    let engine = engine_of(Flavour::Es8, &["logs", "other"]);
    let escache = in_front_of(&[&engine]).await;
    let still = Still::stand();
    engine.on(Api::Stats).when(of("logs")).always(Twist::Hang);
    for round in 1..=2 {
        let late = count(&escache, "logs");
        until("it is read", async || {
            engine.requests(Api::Stats).iter().filter(|s| of("logs")(s)).count() >= round
        })
        .await;
        still.pass(TIMEOUT).await;
        assert_eq!(told(late).await, UNKNOWN);
        // nothing is known of the other one since: there is doubt
        let gate = engine.on(Api::Stats).when(of("other")).gate(At::Before);
        let waits = count(&escache, "other");
        ends("it is read", gate.arrived(1)).await;
        still.pass(TIMEOUT / 4 - MOMENT).await;
        assert!(!waits.is_finished());
        still.pass(MOMENT).await;
        assert_eq!(told(waits).await, UNKNOWN, "round {round}");
        // but its reading ends well, though nobody waits for it
        let readings = || escache.proxy.stats.plain.readings.get();
        let before = readings();
        gate.release();
        until("it has ended", async || readings() > before).await;
        let gate = engine.on(Api::Stats).when(of("other")).gate(At::Before);
        let waits = count(&escache, "other");
        ends("it is read", gate.arrived(1)).await;
        still.pass(TIMEOUT / 2).await;
        assert!(!waits.is_finished(), "round {round}: it is waited for");
        gate.release();
        assert_ne!(told(waits).await, UNKNOWN, "round {round}");
        // the next attempt at the late one, for which nobody waits any more, makes them doubtful anew
        still.pass(Duration::from_secs(30)).await;
    }
}

/// The same while a host is silent.
#[tokio::test]
async fn who_is_read_well_is_waited_for_though_a_host_is_silent() {
    let one = engine();
    let two = one.another_host();
    let escache = in_front_of(&[&one, &two]).await;
    let still = Still::stand();
    two.on_any().always(Twist::Hang);
    let (asked, answered) = (two.seen(Api::Version), one.answered(Api::Version));
    let upstream = Arc::clone(&escache.proxy.upstream);
    let check = tokio::spawn(async move { upstream.check_hosts(false).await });
    two.until_seen(Api::Version, asked + 1).await;
    one.until_answered(Api::Version, answered + 1).await;
    // what was sent before this answer has come before it: else it would be late, as the clock moves on
    escache.client.get(format!("{}/_echo", one.url())).await;
    still.pass(Duration::from_secs(5)).await;
    check.await.unwrap();
    let readings = || escache.proxy.stats.plain.readings.get();
    for doubtful in [true, false] {
        let gate = one.gate_before(Api::Stats);
        let waits = count(&escache, "logs");
        ends("it is read", gate.arrived(1)).await;
        still.pass(TIMEOUT / 4 + MOMENT).await;
        let before = readings();
        if doubtful {
            assert_eq!(told(waits).await, UNKNOWN);
            gate.release();
        } else {
            gate.release();
            assert_ne!(told(waits).await, UNKNOWN, "it is waited for");
        }
        until("it has ended", async || readings() > before).await;
    }
}

/// A node that has lost its master answers searches and says who it is, and keeps waiting whoever asks it for the state.
/// Of two hosts in turn it has one of the questions of each reading.
#[tokio::test]
async fn a_host_that_leaves_questions_unanswered_spoils_no_reading_for_long() {
    let one = engine();
    let two = one.another_host();
    let escache = in_front_of(&[&one, &two]).await;
    for _ in 0..2 {
        count(&escache, "logs").await.unwrap();
    }
    // it is the turn of the same one each time
    let before = two.seen(Api::Version);
    assert_eq!(told(count(&escache, "logs")).await, "escache; hit");
    let spoils = if two.seen(Api::Version) > before { &two } else { &one };
    let still = Still::stand();
    let hung = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&hung);
    let of_the_master = move |seen: &Seen| {
        let hangs = seen.path.starts_with("/_cluster/") && !seen.uri().contains("local=true");
        counter.fetch_add(usize::from(hangs), Ordering::SeqCst);
        hangs
    };
    spoils.on_any().when(of_the_master).always(Twist::Hang);
    let times = || hung.load(Ordering::SeqCst);
    let asked = count(&escache, "logs");
    until("a question hangs", async || times() > 0).await;
    still.pass(TIMEOUT).await;
    assert_eq!(told(asked).await, UNKNOWN, "that one reading is spoiled");
    // after the pause there is another attempt, for which nobody waits
    still.pass(Duration::from_secs(2)).await;
    let readings = || escache.proxy.stats.plain.readings.get();
    let before = readings();
    assert_eq!(told(count(&escache, "logs")).await, UNKNOWN);
    until("it has ended, or hangs", async || readings() > before || times() > 1).await;
    // it has no question of the readings that follow, not even one that it would answer
    let counted = spoils.seen(Api::Stats);
    for _ in 0..8 {
        // else the reading before serves
        still.pass(MOMENT).await;
        assert_eq!(told(count(&escache, "logs")).await, "escache; hit");
    }
    assert_eq!((times(), spoils.seen(Api::Stats) - counted), (1, 0));
}
