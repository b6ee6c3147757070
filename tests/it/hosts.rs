//! Several hosts: which are used, what happens when they fail, lag, or belong to another cluster.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use escache::probe;
use serde_json::{Value, json};

use crate::support::engine::{Api, Engine, Seen, Twist, engine};
use crate::support::escache::{Escache, verdict};
use crate::support::patience::{ends, until};
use crate::support::still::Still;

const SEARCH: &str = "/logs/_search";

async fn in_front_of(hosts: &[&Engine]) -> Escache {
    Escache::in_front_of(hosts, |_| {}).await
}

/// A search that no other one is equal to, so that it goes to the engine.
async fn fresh(escache: &Escache, number: usize) -> u16 {
    escache.send("GET", &format!("{SEARCH}?from={number}"), &[], "").await.status
}

/// So many of them, with one status.
async fn all_fresh(escache: &Escache, numbers: Range<usize>, status: u16) {
    for number in numbers {
        assert_eq!(fresh(escache, number).await, status, "{number}");
    }
}

/// Whether a host is asked which state it has applied.
fn asks_for_applied(seen: &Seen) -> bool {
    seen.query.as_deref().is_some_and(|query| query.contains("local"))
}

async fn shown(escache: &Escache, index: usize) -> Value {
    escache.stats().await["hosts"][index].clone()
}

fn counted(escache: &Escache) -> (u64, u64) {
    let plain = &escache.proxy.stats.plain;
    (plain.upstream_retries.get(), plain.host_ejections.get())
}

/// As the probe loop does it, every few seconds.
async fn probed(escache: &Escache) {
    probe::learn(&escache.proxy, probe::ask(&escache.proxy).await);
}

#[tokio::test]
async fn requests_are_shared_among_hosts() {
    let one = engine();
    let two = one.another_host();
    let escache = in_front_of(&[&one, &two]).await;
    for number in 0..20 {
        assert_eq!(fresh(&escache, number).await, 200);
    }
    assert!(one.seen(Api::Search) >= 5 && two.seen(Api::Search) >= 5, "{}", one.seen(Api::Search));
    assert_eq!(counted(&escache), (0, 0));
}

#[tokio::test]
async fn a_host_that_is_down_costs_no_read_and_comes_back() {
    let one = engine();
    let two = one.another_host();
    let escache = in_front_of(&[&one, &two]).await;
    two.stop().await;
    for number in 0..20 {
        assert_eq!(fresh(&escache, number).await, 200);
        assert_eq!(escache.send("GET", "/logs/_doc/1", &[], "").await.status, 200);
    }
    let (retries, ejections) = counted(&escache);
    assert_eq!((ejections, shown(&escache, 1).await["ejected"].clone()), (1, true.into()));
    // readings are repeated too, so the retry may be one of theirs; if its connections were seen to close, it was asked first
    assert!(retries <= 1, "after the first failure nobody goes there: {retries}");

    two.start_again();
    let before = two.seen(Api::Search);
    assert_eq!(fresh(&escache, 100).await, 200);
    assert_eq!(two.seen(Api::Search), before, "only the health check brings it back");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    escache.proxy.upstream.check_hosts(true).await;
    assert_eq!(shown(&escache, 1).await["used"], true);
    for number in 101..110 {
        assert_eq!(fresh(&escache, number).await, 200);
    }
    assert!(two.seen(Api::Search) > before);
}

#[tokio::test]
async fn a_host_that_is_down_at_the_start_joins_later() {
    let one = engine();
    let two = one.another_host();
    two.stop().await;
    let escache = in_front_of(&[&two, &one]).await;
    for number in 0..5 {
        assert_eq!(fresh(&escache, number).await, 200);
    }
    two.start_again();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    probed(&escache).await;
    assert_eq!(shown(&escache, 0).await["cluster"], "member");
}

#[tokio::test]
async fn writes_are_sent_once() {
    let one = engine();
    let two = one.another_host();
    let escache = in_front_of(&[&one, &two]).await;
    for host in [&one, &two] {
        host.on(Api::Doc).always(Twist::DropAfter);
        host.on(Api::Search).next(Twist::Drop);
    }
    let write = escache.send("PUT", "/logs/_doc/7", &[], r#"{"team":"b"}"#).await;
    assert_eq!((write.status, one.seen(Api::Doc) + two.seen(Api::Doc)), (502, 1));
    let delete = escache.send("DELETE", "/logs/_doc/7", &[], "").await;
    assert_eq!((delete.status, one.seen(Api::Doc) + two.seen(Api::Doc)), (502, 2));
    // a read is sent twice, and not three times
    let read = escache.search("/logs/_search?request_cache=false", json!({"size": 1})).await;
    assert_eq!((read.status, one.seen(Api::Search) + two.seen(Api::Search)), (502, 2));
    let read = escache.search("/logs/_search?request_cache=false", json!({"size": 1})).await;
    assert_eq!(read.status, 200);
}

/// Two contexts would be open, of which the client would know the id of one.
#[tokio::test]
async fn a_search_that_opens_a_scroll_is_sent_once() {
    let one = engine();
    let two = one.another_host();
    let escache = in_front_of(&[&one, &two]).await;
    for host in [&one, &two] {
        host.on(Api::Search).always(Twist::DropAfter);
    }
    let scroll = escache.search("/logs/_search?scroll=1m", json!({"size": 1})).await;
    assert_eq!((scroll.status, one.seen(Api::Search) + two.seen(Api::Search)), (502, 1));
    one.calm();
    two.stop().await;
    // where there is no connection nothing was sent, and another host has all of it
    let ports = [&one, &two].map(|host| host.seen(Api::Search));
    for _ in 0..4 {
        let scroll = escache.search("/logs/_search?scroll=1m", json!({"size": 1})).await;
        assert_eq!(scroll.status, 200);
    }
    assert_eq!([one.seen(Api::Search), two.seen(Api::Search)], [ports[0] + 4, ports[1]]);
}

/// The node has gone without a word, and a node of another cluster has its address before any health check has seen
/// that: who closes a connection must show its cluster before it is sent anything on the next one.
#[tokio::test]
async fn who_has_the_address_of_a_node_that_has_gone_is_asked_first() {
    let one = engine();
    let (two, other) = (one.another_host(), engine());
    let escache = in_front_of(&[&one, &two]).await;
    all_fresh(&escache, 0..8, 200).await;
    assert!(two.seen(Api::Search) > 0);
    let closed = || escache.proxy.stats.plain.upstream_closed.get();
    assert_eq!(closed(), 0);
    two.stop().await;
    let uuid = json!({"cluster_uuid": other.cluster().uuid.clone(), "version": 9, "state_uuid": "x"});
    two.on(Api::Version).always(Twist::Status(200, uuid.to_string().into()));
    two.start_again();
    until("the connections have closed", async || closed() > 0).await;
    let before = two.seen_in_all() - two.seen(Api::Version);
    for number in 8..20 {
        assert_eq!(fresh(&escache, number).await, 200);
        assert!(escache.send("PUT", "/logs/_doc/9", &[], "{}").await.status < 300);
    }
    assert_eq!(two.seen_in_all() - two.seen(Api::Version), before, "it is asked who it is, and nothing else");
    assert_eq!(shown(&escache, 1).await["cluster"], "other");
}

#[tokio::test]
async fn with_all_hosts_down_the_error_comes_at_once_and_the_end_is_seen() {
    let one = engine();
    let two = one.another_host();
    let escache = in_front_of(&[&one, &two]).await;
    escache.send("GET", SEARCH, &[], "").await;
    one.stop().await;
    two.stop().await;
    // the clock stands, so nobody can wait for a time to be over
    let still = Still::stand();
    for number in 0..10 {
        assert_eq!(ends("a search", fresh(&escache, number)).await, 502);
    }
    still.end();
    probed(&escache).await;
    one.start_again();
    two.start_again();
    // without a probe: the host whose time ends first is tried though its time has not ended
    let direct = escache.send("GET", "/logs/_doc/1", &[], "").await;
    assert_eq!(direct.status, 200);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    probed(&escache).await;
    assert_eq!(
        (shown(&escache, 0).await["used"].clone(), shown(&escache, 1).await["used"].clone()),
        (true.into(), true.into())
    );
    assert_eq!(verdict(&escache.send("GET", SEARCH, &[], "").await.headers).0, "HIT");
}

/// Another cluster has the address of a host, which is found out by the question which state it has applied.
async fn is_sent_no_search(breaks: bool) {
    let (one, other) = (engine(), engine());
    let two = one.another_host();
    let escache = in_front_of(&[&one, &two]).await;
    all_fresh(&escache, 0..8, 200).await;
    // what breaks later is not for having been idle
    let _still = Still::stand();
    let uuid = json!({"cluster_uuid": other.cluster().uuid.clone(), "version": 9, "state_uuid": "x"});
    two.on(Api::Version).when(asks_for_applied).always(Twist::Status(200, uuid.to_string().into()));
    if breaks {
        two.on(Api::Version).when(asks_for_applied).next(Twist::Drop);
    }
    one.bump_state();
    let before = two.seen(Api::Search);
    all_fresh(&escache, 8..20, 200).await;
    assert_eq!(two.seen(Api::Search), before);
    assert_eq!(shown(&escache, 1).await["cluster"], "other");
}

#[tokio::test]
async fn who_turns_out_to_be_of_another_cluster_is_sent_no_search() {
    is_sent_no_search(false).await;
}

#[tokio::test]
async fn nor_is_who_is_asked_once_more_for_it() {
    is_sent_no_search(true).await;
}

/// The last one that is left breaks off as it says which state it has applied: who is there now is not known.
#[tokio::test]
async fn nor_is_the_last_one_that_has_not_shown_its_cluster_again() {
    let one = engine();
    let two = one.another_host();
    let escache = in_front_of(&[&one, &two]).await;
    all_fresh(&escache, 0..8, 200).await;
    two.on(Api::Version).when(asks_for_applied).always(Twist::Truncate(10));
    one.bump_state();
    one.stop().await;
    let before = two.seen(Api::Search);
    all_fresh(&escache, 8..12, 502).await;
    assert_eq!(two.seen(Api::Search), before);
    two.calm();
    assert_eq!(fresh(&escache, 12).await, 200);
}

#[tokio::test]
async fn a_host_of_another_cluster_is_left_out_and_shown() {
    let (one, other) = (engine(), engine());
    let escache = in_front_of(&[&one, &other]).await;
    for number in 0..20 {
        assert_eq!(fresh(&escache, number).await, 200);
        escache.send("PUT", "/logs/_doc/9", &[], "{}").await;
    }
    let asked = other.seen_in_all();
    assert_eq!(asked, other.seen(Api::Version), "it is asked who it is, and nothing else");
    let host = shown(&escache, 1).await;
    assert_eq!((&host["used"], &host["cluster"]), (&json!(false), &json!("other")));
    let metrics = escache.client.get(format!("{}/metrics", escache.admin)).await.text();
    assert!(metrics.contains(&format!("escache_host_left_out{{host=\"{}\"}} 1", other.url())), "{metrics}");
    // not even if it is the only one that is up
    one.stop().await;
    assert_eq!(fresh(&escache, 100).await, 502);
    assert_eq!(fresh(&escache, 101).await, 502);
    probed(&escache).await;
    assert_eq!(other.seen(Api::Search), 0);
}

/// The host restarts as a member of another cluster, under the same address.
#[tokio::test]
async fn after_a_failure_a_host_must_show_its_cluster_again() {
    let one = engine();
    let (two, three) = (one.another_host(), engine());
    let escache = in_front_of(&[&one, &two]).await;
    two.on(Api::Search).always(Twist::Drop);
    two.on(Api::Version).always(Twist::Status(
        200,
        json!({"cluster_uuid": three.cluster().uuid, "version": 9, "state_uuid": "x"}).to_string().into(),
    ));
    for number in 0..20 {
        assert_eq!(fresh(&escache, number).await, 200);
    }
    let (searched, written) = (two.seen(Api::Search), two.seen(Api::Doc));
    assert!(searched <= 1, "{searched}");
    probed(&escache).await;
    assert_eq!(shown(&escache, 1).await["cluster"], "other");
    for _ in 0..4 {
        assert!(escache.send("PUT", "/logs/_doc/9", &[], "{}").await.status < 300);
    }
    assert_eq!(two.seen(Api::Doc), written);
}

/// Even where it is the only one left: nothing of a client's goes to it before it has shown its cluster.
#[tokio::test]
async fn the_last_host_is_asked_before_it_is_used() {
    let one = engine();
    let two = one.another_host();
    let escache = in_front_of(&[&one, &two]).await;
    let other = json!({"cluster_uuid": "another", "version": 9, "state_uuid": "x"}).to_string();
    two.stop().await;
    until("it is left", async || fresh(&escache, 1).await == 200 && counted(&escache).1 > 0).await;
    two.on(Api::Version).always(Twist::Status(200, other.into()));
    two.start_again();
    one.stop().await;
    let before = two.seen(Api::Doc);
    for _ in 0..4 {
        assert_eq!(escache.send("GET", "/logs/_doc/1", &[], "").await.status, 502);
        assert_eq!(escache.send("PUT", "/logs/_doc/9", &[], "{}").await.status, 502);
    }
    assert_eq!(two.seen(Api::Doc), before);
}

/// What could not be read is unknown, and not another cluster.
#[tokio::test]
async fn a_master_that_is_not_there_empties_nothing() {
    let one = engine();
    let escache = in_front_of(&[&one]).await;
    escache.send("GET", SEARCH, &[], "").await;
    one.on(Api::Version).times(3, Twist::error(503, "master_not_discovered_exception", "election"));
    probed(&escache).await;
    one.calm();
    probed(&escache).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(verdict(&escache.send("GET", SEARCH, &[], "").await.headers).0, "HIT");
}

#[tokio::test]
async fn a_cluster_swapped_behind_the_name_empties_the_cache() {
    let one = engine();
    let two = one.another_host();
    let escache = in_front_of(&[&one, &two]).await;
    escache.send("GET", SEARCH, &[], "").await;
    assert_eq!(escache.proxy.store.iter().count(), 1);
    one.change_cluster_uuid();
    let first = verdict(&escache.send("GET", SEARCH, &[], "").await.headers).0.to_owned();
    assert_ne!(first, "HIT");
    probed(&escache).await;
    assert_eq!(escache.proxy.store.iter().count(), 0);
    let uuid = one.cluster().uuid.clone();
    assert_eq!(escache.proxy.engine.load().cluster_uuid, uuid);
    assert_eq!(escache.proxy.upstream.cluster_uuid(), Some(uuid));
    assert_eq!(verdict(&escache.send("GET", SEARCH, &[], "").await.headers).0, "MISS");
    assert_eq!(verdict(&escache.send("GET", SEARCH, &[], "").await.headers).0, "HIT");
}

#[tokio::test]
async fn what_a_lagging_coordinator_answers_is_not_stored() {
    let engine = engine();
    let escache = in_front_of(&[&engine]).await;
    engine.put_mapping("logs", json!({"properties": {"new": {"type": "keyword"}}}));
    engine.lag_local_state(1);
    for _ in 0..2 {
        let answer = escache.send("GET", SEARCH, &[], "").await;
        assert_eq!(verdict(&answer.headers).1, "escache; fwd=miss; detail=host-lagging");
    }
    engine.lag_local_state(0);
    let answer = escache.send("GET", SEARCH, &[], "").await;
    assert_eq!(verdict(&answer.headers).1, "escache; fwd=miss; stored");
    // what is known is not asked again
    let asked = engine.seen(Api::Version);
    fresh(&escache, 1).await;
    assert_eq!(engine.seen(Api::Version), asked + 1, "the reading's own question");
}

/// It has caught up only after it searched: the version of afterwards proves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_read_before_the_search_is_sent() {
    let engine = engine();
    let escache = in_front_of(&[&engine]).await;
    engine.bump_state();
    engine.lag_local_state(1);
    let gate = engine.gate_before(Api::Search);
    let (client, url) = (escache.client.clone(), format!("{}{SEARCH}", escache.url));
    let search = tokio::spawn(async move { client.request("GET", url, &[], "").await });
    gate.arrived(1).await;
    engine.lag_local_state(0);
    gate.release();
    let answer = search.await.unwrap();
    assert_eq!(verdict(&answer.headers).1, "escache; fwd=miss; detail=host-lagging");
}

/// One that cannot be asked is not trusted either, and costs no answer.
#[tokio::test]
async fn a_coordinator_that_does_not_tell_its_version_is_not_trusted() {
    let engine = engine();
    let escache = in_front_of(&[&engine]).await;
    engine.bump_state();
    let local = engine.on(Api::Version).when(asks_for_applied);
    local.always(Twist::error(503, "unavailable", "not now"));
    let answer = escache.send("GET", SEARCH, &[], "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(verdict(&answer.headers).1, "escache; fwd=miss; detail=host-lagging");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_same_question_shares_its_answer() {
    let engine = engine();
    let escache = Arc::new(in_front_of(&[&engine]).await);
    engine.bump_state();
    let before = engine.seen(Api::Version);
    let gate = engine
        .on(Api::Version)
        .when(|r| r.query.as_deref().is_some_and(|q| q.contains("local")))
        .gate(crate::support::engine::At::Before);
    let searches: Vec<_> = (0..20)
        .map(|number| {
            let escache = Arc::clone(&escache);
            tokio::spawn(async move { fresh(&escache, number).await })
        })
        .collect();
    gate.arrived(1).await;
    let flights = || escache.proxy.stats.plain.flights.get();
    until("all are aboard", async || flights() == 20).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.release();
    for search in searches {
        assert_eq!(search.await.unwrap(), 200);
    }
    let local = engine.seen(Api::Version) - before;
    assert!(local <= 6, "{local} questions for 20 searches");
}

/// Where nobody tells its cluster (no permission), everything passes all the same.
#[tokio::test]
async fn hosts_that_do_not_tell_are_used_if_none_tells() {
    let one = engine();
    let two = one.another_host();
    for host in [&one, &two] {
        host.on(Api::Version).always(Twist::forbidden("cluster:monitor/state"));
        host.on(Api::Root).always(Twist::error(401, "security_exception", "who are you"));
    }
    let escache = in_front_of(&[&one, &two]).await;
    for number in 0..10 {
        assert_eq!(fresh(&escache, number).await, 200);
    }
    assert!(one.seen(Api::Search) > 0 && two.seen(Api::Search) > 0);
    // one that hangs cannot hold up the health check for ever, nor the others
    two.on(Api::Version).always(Twist::Hang);
    ends("the health check", probed(&escache)).await;
}

/// `ttl_only` has no tag, so no question either.
#[tokio::test]
async fn without_readings_no_version_is_asked_for() {
    let engine = engine();
    let escache =
        Escache::in_front_of(&[&engine], |s| s.policy.ttl_only = Some(Duration::from_secs(60))).await;
    let before = engine.seen(Api::Version);
    assert_eq!(fresh(&escache, 1).await, 200);
    assert_eq!(engine.seen(Api::Version), before);
    assert_eq!(escache.proxy.store.iter().count(), 1);
}
