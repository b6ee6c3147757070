//! A host that accepts and says nothing (stopped, a long pause): who waits for it, how long, and who need not. The clock
//! of escache stands and is moved by hand; the engines have clocks of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use escache::generation::StateVersion;
use escache::proxy::ProxySettings;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::engine::{Api, Engine, Flavour, Twist, engine, engine_of};
use crate::support::escache::{Escache, verdict};
use crate::support::http::Response;
use crate::support::patience::until;
use crate::support::still::{MOMENT, Still, settle, wall};

/// Not to be answered from the cache, so that no reading is waited for.
const SEARCH: &str = "/logs/_search?request_cache=false";

/// How long a host may owe answers before it is asked who it is, and a read be held up.
const SECOND: Duration = Duration::from_secs(1);

/// How long a test waits for what must come, on the clock of this machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it may take to say so, where another one speaks.
const TO_ANSWER: Duration = Duration::from_secs(2);

/// Two hosts of one cluster, and escache in front of them.
async fn two_hosts(change: impl FnOnce(&mut ProxySettings)) -> (Engine, Engine, Arc<Escache>) {
    let one = engine();
    let two = one.another_host();
    let escache = Arc::new(Escache::in_front_of(&[&one, &two], change).await);
    (one, two, escache)
}

/// Sends something on a task of its own.
fn send(escache: &Arc<Escache>, method: &'static str, path: &'static str) -> JoinHandle<Response> {
    let escache = Arc::clone(escache);
    tokio::spawn(async move { escache.send(method, path, &[], "").await })
}

/// Waits until a host has told its version once more than before, and escache has been told: or else, as the clock
/// moves on, it would be late.
async fn has_told(host: &Engine, before: usize, escache: &Arc<Escache>) {
    host.until_answered(Api::Version, before + 1).await;
    // what was sent before this answer has come before it
    escache.client.get(format!("{}/_echo", host.url())).await;
}

/// Leaves `two` silent, and found to be so.
async fn silence(still: &Still, one: &Engine, two: &Engine, escache: &Arc<Escache>) {
    two.on_any().always(Twist::Hang);
    let (asked, answered) = (two.seen(Api::Version), one.answered(Api::Version));
    let upstream = Arc::clone(&escache.proxy.upstream);
    let check = tokio::spawn(async move { upstream.check_hosts(false).await });
    two.until_seen(Api::Version, asked + 1).await;
    has_told(one, answered, escache).await;
    still.pass(Duration::from_secs(5)).await;
    check.await.unwrap();
}

/// Two searches, of which one is answered and the other waits for `two`, who says nothing; the clock stands. How often
/// `two` had been asked for its version before.
async fn one_of_two_waits(two: &Engine, escache: &Arc<Escache>) -> (Still, usize, [JoinHandle<Response>; 2]) {
    two.on_any().always(Twist::Hang);
    let asked = two.seen(Api::Version);
    let still = Still::stand();
    let searches = [send(escache, "GET", SEARCH), send(escache, "GET", SEARCH)];
    two.until_seen(Api::Search, 1).await;
    while !searches.iter().any(JoinHandle::is_finished) {
        tokio::task::yield_now().await;
    }
    (still, asked, searches)
}

/// Nobody but the searches themselves finds the host silent; the one that waited for it goes to the other one.
#[tokio::test]
async fn who_waits_for_a_silent_host_finds_it_out() {
    let (one, two, escache) = two_hosts(|_| {}).await;
    let (still, asked, searches) = one_of_two_waits(&two, &escache).await;
    still.pass(SECOND).await;
    two.until_seen(Api::Version, asked + 1).await;
    still.pass(TO_ANSWER).await;
    for search in searches {
        assert_eq!(search.await.unwrap().status, 200);
    }
    assert_eq!((one.seen(Api::Search), two.seen(Api::Search)), (2, 1));
    // it is not tried out by requests, however much time passes
    still.pass(100 * SECOND).await;
    for _ in 0..4 {
        assert_eq!(escache.send("GET", SEARCH, &[], "").await.status, 200);
    }
    assert_eq!(two.seen(Api::Search), 1);
    // until it speaks
    two.calm();
    escache.proxy.upstream.check_hosts(true).await;
    for _ in 0..4 {
        assert_eq!(escache.send("GET", SEARCH, &[], "").await.status, 200);
    }
    assert!(two.seen(Api::Search) > 1);
}

/// The other one, to which a read has gone, may be held up by it.
#[tokio::test]
async fn who_goes_to_another_host_need_not_wait_there_either() {
    let (one, two, escache) = two_hosts(|_| {}).await;
    let (still, asked, searches) = one_of_two_waits(&two, &escache).await;
    one.on(Api::Search).next(Twist::Hang);
    still.pass(SECOND).await;
    two.until_seen(Api::Version, asked + 1).await;
    still.pass(TO_ANSWER).await;
    one.until_seen(Api::Search, 2).await;
    still.pass(SECOND).await;
    for search in searches {
        assert_eq!(search.await.unwrap().status, 200);
    }
    assert_eq!((one.seen(Api::Search), two.seen(Api::Search)), (3, 1));
}

/// The one that speaks waits for the silent one itself, for the shards that it has given to it. Asked once more it gives
/// them to another one, as a node that owes answers comes last.
#[tokio::test]
async fn a_read_that_is_held_up_by_a_silent_host_is_sent_once_more() {
    let (one, two, escache) = two_hosts(|_| {}).await;
    let still = Still::stand();
    silence(&still, &one, &two, &escache).await;
    one.on(Api::Search).next(Twist::Hang);
    let search = send(&escache, "GET", SEARCH);
    one.until_seen(Api::Search, 1).await;
    still.pass(SECOND - MOMENT).await;
    assert_eq!(one.seen(Api::Search), 1, "it may take its time");
    still.pass(MOMENT).await;
    assert_eq!(search.await.unwrap().status, 200);
    assert_eq!((one.seen(Api::Search), escache.proxy.stats.plain.upstream_retries.get()), (2, 1));
    // both may be held up: then it is waited for, and not sent a third time
    one.on(Api::Search).times(2, Twist::Hang);
    let search = send(&escache, "GET", SEARCH);
    one.until_seen(Api::Search, 3).await;
    still.pass(SECOND).await;
    one.until_seen(Api::Search, 4).await;
    still.pass(30 * SECOND).await;
    assert!(!search.is_finished() && one.seen(Api::Search) == 4);
    // without a silent host nothing is sent twice
    two.calm();
    escache.proxy.upstream.check_hosts(true).await;
    search.abort();
    let before = one.seen(Api::Search) + two.seen(Api::Search);
    for host in [&one, &two] {
        host.on(Api::Search).next(Twist::Hang);
    }
    let search = send(&escache, "GET", SEARCH);
    settle().await;
    until("one is asked", async || one.seen(Api::Search) + two.seen(Api::Search) > before).await;
    still.pass(5 * SECOND).await;
    assert!(!search.is_finished() && one.seen(Api::Search) + two.seen(Api::Search) == before + 1);
}

/// Nobody waits for the silent one itself: who is held up by it asks whether it is there, long before a health check does.
#[tokio::test]
async fn who_is_held_up_finds_out_by_whom() {
    let (one, two, escache) = two_hosts(|_| {}).await;
    assert_eq!(escache.send("GET", SEARCH, &[], "").await.status, 200);
    // the next one is the other one's turn
    let (silent, next) = if one.seen(Api::Search) == 1 { (&one, &two) } else { (&two, &one) };
    silent.on_any().always(Twist::Hang);
    next.on(Api::Search).next(Twist::Hang);
    let (asked, told) = (silent.seen(Api::Version), next.answered(Api::Version));
    let still = Still::stand();
    let search = send(&escache, "GET", SEARCH);
    next.until_seen(Api::Search, 1).await;
    still.pass(SECOND - MOMENT).await;
    assert_eq!(silent.seen(Api::Version), asked, "it may take its time");
    still.pass(MOMENT).await;
    silent.until_seen(Api::Version, asked + 1).await;
    // who is waited for is asked, too
    has_told(next, told, &escache).await;
    still.pass(TO_ANSWER - MOMENT).await;
    assert_eq!(next.seen(Api::Search), 1, "it may take its time to say so");
    still.pass(MOMENT).await;
    assert_eq!((answered(search).await, next.seen(Api::Search)), (200, 2));
}

/// A host that says nothing to the question which state it has applied, which comes before a search: the search does not
/// go there at all.
#[tokio::test]
async fn who_does_not_tell_its_state_is_sent_no_search() {
    let (one, two, escache) = two_hosts(|_| {}).await;
    assert_eq!(escache.send("GET", SEARCH, &[], "").await.status, 200);
    let (silent, next) = if one.seen(Api::Search) == 1 { (&two, &one) } else { (&one, &two) };
    silent.on_any().always(Twist::Hang);
    let (asked, searched) = (silent.seen(Api::Version), next.seen(Api::Search));
    let uuid = one.cluster().uuid.clone();
    let ahead = json!({"cluster_uuid": uuid, "version": 1_000_000, "state_uuid": "x"}).to_string();
    let tag = StateVersion::read(ahead.as_bytes()).unwrap();
    let still = Still::stand();
    let upstream = Arc::clone(&escache.proxy.upstream);
    let search = tokio::spawn(async move {
        let (head, ()) = http::Request::get("/logs/_search").body(()).unwrap().into_parts();
        upstream.fill(head, bytes::Bytes::new(), None, Some(&tag)).await.unwrap().response.status().as_u16()
    });
    silent.until_seen(Api::Version, asked + 1).await;
    still.pass(TO_ANSWER - MOMENT).await;
    assert_eq!(next.seen(Api::Search), searched, "it may take its time to say so");
    still.pass(MOMENT).await;
    next.until_seen(Api::Search, searched + 1).await;
    assert_eq!((search.await.unwrap(), silent.seen(Api::Search)), (200, 0));
}

/// Reads that only take long ask a host that says nothing else about once a second, all together, whenever they began.
#[tokio::test]
async fn searches_that_take_long_ask_seldom() {
    const PARTS: u32 = 5;
    let (one, two, escache) = two_hosts(|_| {}).await;
    for host in [&one, &two] {
        host.on(Api::Search).always(Twist::Hang);
    }
    let versions = || one.seen(Api::Version) + two.seen(Api::Version);
    let before = versions();
    let still = Still::stand();
    let mut searches = Vec::new();
    for part in 1..=PARTS as usize {
        searches.extend([(); 4].map(|()| send(&escache, "GET", SEARCH)));
        one.until_seen(Api::Search, 2 * part).await;
        two.until_seen(Api::Search, 2 * part).await;
        still.pass(SECOND / PARTS).await;
    }
    for _ in 0..4 * PARTS {
        still.pass(SECOND / PARTS).await;
        // who was asked answers before the clock moves on
        while one.answered(Api::Version) + two.answered(Api::Version) < versions() {
            tokio::task::yield_now().await;
        }
        settle().await;
    }
    let asked = versions() - before;
    assert!((2..=2 * 6).contains(&asked), "{asked} times in 5 s");
    assert!(searches.iter().all(|search| !search.is_finished()));
    assert_eq!(one.seen(Api::Search) + two.seen(Api::Search), 4 * PARTS as usize, "nobody is silent");
}

/// Waits for what must be answered, while the clock stands.
async fn answered(search: JoinHandle<Response>) -> u16 {
    let began = std::time::Instant::now();
    while !search.is_finished() {
        assert!(began.elapsed() < PATIENCE, "it is not answered");
        tokio::task::yield_now().await;
    }
    search.await.unwrap().status
}

/// Of a read that was sent twice, one sending breaks while the other is under way.
#[tokio::test]
async fn where_one_of_two_sendings_breaks_the_other_ones_answer_is_taken() {
    for first_breaks in [true, false] {
        let (one, two, escache) = two_hosts(|_| {}).await;
        let still = Still::stand();
        silence(&still, &one, &two, &escache).await;
        let number = AtomicUsize::new(0);
        one.on(Api::Search)
            .when(move |_| (number.fetch_add(1, Ordering::SeqCst) == 0) == first_breaks)
            .next(Twist::Drop);
        let gate = one.gate_before(Api::Search);
        let search = send(&escache, "GET", SEARCH);
        gate.arrived(1).await;
        still.pass(SECOND).await;
        gate.arrived(2).await;
        let errors = || escache.proxy.stats.plain.upstream_errors.get();
        let before = errors();
        let (breaks, answers) = if first_breaks { (0, 1) } else { (1, 0) };
        gate.release_number(breaks);
        while errors() == before {
            tokio::task::yield_now().await;
        }
        settle().await;
        assert!(!search.is_finished(), "the other one is waited for, if {breaks} breaks");
        gate.release_number(answers);
        assert_eq!((answered(search).await, one.seen(Api::Search)), (200, 2));
        still.end();
    }
}

/// A write may have been carried out, and a search with `scroll` have opened a context: one sending is all.
#[tokio::test]
async fn what_leaves_something_behind_is_sent_once() {
    let (one, two, escache) = two_hosts(|_| {}).await;
    let still = Still::stand();
    silence(&still, &one, &two, &escache).await;
    one.on_any().always(Twist::Hang);
    let sent = [
        (Api::Doc, send(&escache, "PUT", "/logs/_doc/9")),
        (Api::Search, send(&escache, "GET", "/logs/_search?scroll=1m")),
        (Api::Other, send(&escache, "POST", "/logs/_pit?keep_alive=1m")),
    ];
    for (api, _) in &sent {
        one.until_seen(*api, 1).await;
    }
    still.pass(30 * SECOND).await;
    for (api, waiting) in &sent {
        assert!(!waiting.is_finished(), "{api:?} is waited for");
        assert_eq!((one.seen(*api), two.seen(*api)), (1, 0), "{api:?}");
    }
}

/// Of a reading each node is asked that has a shard, so it ends when the silent one does. One request waits for that, a
/// while; who comes then, for whatever target, is forwarded without.
#[tokio::test]
async fn readings_are_not_waited_for_while_a_host_is_silent() {
    const TIMEOUT: Duration = Duration::from_secs(4);
    let (one, two, escache) = two_hosts(|settings| {
        (settings.watcher.timeout, settings.watcher.wall) = (TIMEOUT, wall);
    })
    .await;
    one.index("other", "1", json!({"team": "a"}));
    one.refresh("other");
    let still = Still::stand();
    silence(&still, &one, &two, &escache).await;
    one.on(Api::Stats).always(Twist::Hang);
    let unknown = |answer: Response| {
        let told = verdict(&answer.headers).1.to_owned();
        assert!(answer.status == 200 && told.contains("detail=generation-unknown"), "{told}");
    };
    let stats = one.seen(Api::Stats);
    for (index, path) in [("/logs/", "/logs/_count"), ("/other/", "/other/_count")] {
        let count = send(&escache, "GET", path);
        // the reading of the one before may ask once more
        let asked = || one.requests(Api::Stats).split_off(stats);
        until("it is read", async || asked().iter().any(|seen| seen.uri().starts_with(index))).await;
        still.pass(TIMEOUT / 4 - MOMENT).await;
        assert!(!count.is_finished(), "it may take a while");
        still.pass(MOMENT).await;
        unknown(count.await.unwrap());
    }
    // and not at all for a target whose reading has ended in vain
    still.pass(TIMEOUT).await;
    for _ in 0..3 {
        unknown(escache.send("GET", "/logs/_count", &[], "").await);
        still.pass(SECOND).await;
    }
}

/// The same where there is but one host, which stands for nodes that cannot be seen from here: one reading is waited for
/// as long as it may take, and no other.
#[tokio::test]
async fn one_reading_that_is_late_is_enough() {
    const TIMEOUT: Duration = Duration::from_secs(4);
    let engine = engine_of(Flavour::Es8, &["logs", "other"]);
    let url = engine.url();
    let escache = Escache::start_with(&url, |settings| settings.watcher.timeout = TIMEOUT);
    let escache = Arc::new(escache.await);
    let still = Still::stand();
    engine.on(Api::Stats).always(Twist::Hang);
    let stats = engine.seen(Api::Stats);
    for (number, path, patience) in [(1, "/logs/_count", TIMEOUT), (2, "/other/_count", TIMEOUT / 4)] {
        let count = send(&escache, "GET", path);
        engine.until_seen(Api::Stats, stats + number).await;
        still.pass(patience - MOMENT).await;
        assert!(!count.is_finished(), "{path}");
        still.pass(MOMENT).await;
        assert_eq!(count.await.unwrap().status, 200);
    }
}
