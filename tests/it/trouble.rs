//! Hosts that answer, but badly, late or under other addresses: bad answers, silence, names, discovery.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use escache::proxy::ProxySettings;
use escache::upstream::{Credentials, Host, Names, Tls, TlsSettings, Verification};
use serde_json::{Value, json};

use crate::support::authority::Authority;
use crate::support::engine::{Api, At, Engine, Seen, Twist, engine};
use crate::support::escache::Escache;
use crate::support::node::{self, Cluster};
use crate::support::patience::{ends, until};

const SEARCH: &str = "/logs/_search";

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

async fn in_front_of(hosts: &[String], change: impl FnOnce(&mut ProxySettings)) -> Arc<Escache> {
    let escache = Escache::start_with(&hosts[0], |settings| {
        settings.upstream.hosts = hosts.iter().map(|host| Host::parse(host).unwrap()).collect();
        change(settings);
    });
    Arc::new(escache.await)
}

/// A search that no other one is equal to, so that it goes to the engine.
async fn fresh(escache: &Escache, number: usize) -> u16 {
    escache.send("GET", &format!("{SEARCH}?from={number}"), &[], "").await.status
}

async fn hosts(escache: &Escache) -> Vec<Value> {
    escache.stats().await["hosts"].as_array().unwrap().clone()
}

fn ejections(escache: &Escache) -> u64 {
    escache.proxy.stats.plain.host_ejections.get()
}

#[tokio::test]
async fn a_host_that_only_answers_errors_is_left_while_another_one_answers() {
    for status in [429, 502, 503, 504] {
        let one = engine();
        let two = one.another_host();
        let escache = in_front_of(&[one.url(), two.url()], |_| {}).await;
        two.on(Api::Search).always(Twist::error(status, "es_rejected_execution_exception", "too much"));
        let until_left = async |times: u64, numbers: std::ops::Range<usize>| {
            let mut errors = 0;
            for number in numbers {
                let got = fresh(&escache, number).await;
                assert!(got == 200 || got == status, "{got}");
                errors += usize::from(got != 200);
                if ejections(&escache) == times {
                    return errors;
                }
            }
            panic!("it is never left");
        };
        assert_eq!(until_left(1, 0..40).await, 5, "each error is the engine's until it is left");
        assert_eq!(hosts(&escache).await[1]["ejected"], true);
        // one request tries it when its time is over
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(until_left(2, 40..60).await, 1);
        two.calm();
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        let before = two.seen(Api::Search);
        for number in 60..80 {
            assert_eq!(fresh(&escache, number).await, 200);
        }
        assert!(two.seen(Api::Search) > before + 1, "a good answer makes it whole");
    }
}

/// An error says how far a request came: whether there was a connection, and whether an answer began.
#[tokio::test]
async fn an_error_says_how_far_the_request_came() {
    let engine = engine();
    let escache = in_front_of(&[engine.url()], |_| {}).await;
    let said = async || {
        let answer = escache.send("PUT", "/logs/_doc/1", &[], "{}").await;
        assert_eq!((answer.status, &answer.json()["error"]["type"]), (502, &json!("bad_gateway_exception")));
        answer.json()["error"]["reason"].as_str().unwrap().to_owned()
    };
    engine.on(Api::Doc).always(Twist::Drop);
    assert_eq!(said().await, "escache: the engine closed the connection before it answered");
    engine.calm();
    engine.on(Api::Search).always(Twist::Truncate(10));
    let search = escache.send("GET", &format!("{SEARCH}?size=1"), &[], "").await;
    assert_eq!(search.json()["error"]["reason"], "escache: the answer of the engine broke off");
    engine.stop().await;
    // a connection from before may break first
    let _ = said().await;
    assert_eq!(said().await, "escache: the engine cannot be reached");
}

/// Then the error is what the engine says, at once, whatever host is asked.
#[tokio::test]
async fn where_all_hosts_answer_errors_they_are_passed_on() {
    let one = engine();
    let two = one.another_host();
    let escache = in_front_of(&[one.url(), two.url()], |_| {}).await;
    for host in [&one, &two] {
        host.on(Api::Search).always(Twist::error(
            503,
            "search_phase_execution_exception",
            "all shards failed",
        ));
    }
    for number in 0..30 {
        assert_eq!(fresh(&escache, number).await, 503);
    }
    assert_eq!((one.seen(Api::Search) + two.seen(Api::Search), ejections(&escache)), (30, 0));
}

/// One host is frozen: its connections are open, and nothing is answered. Reads that wait for it go to the other one as
/// soon as the health check has missed its answer; a write stays where it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn reads_that_wait_for_a_silent_host_go_to_another_one() {
    let one = engine();
    let two = one.another_host();
    let escache = in_front_of(&[one.url(), two.url()], |_| {}).await;
    two.on_any().always(Twist::Hang);
    // what waits at one host sends the next to the other: both get some of each
    let is_asked = |request: &Seen| matches!(request.api, Api::Doc | Api::Search);
    let gate = one.on_any().when(is_asked).gate(At::Before);
    let seen = |host: &Engine| host.all_requests().iter().filter(|request| is_asked(request)).count();
    let writes = |host: &Engine| host.requests(Api::Doc).iter().filter(|r| r.method == "PUT").count();
    let ask = |method: &'static str, path: &'static str| {
        let escache = Arc::clone(&escache);
        let body = if method == "PUT" { "{}" } else { "" };
        tokio::spawn(async move { escache.send(method, path, &[], body).await.status })
    };
    let arrived = async |number: usize| {
        until("a host has it", async || seen(&one) + seen(&two) >= number).await;
    };
    let mut puts = Vec::new();
    while writes(&two) == 0 {
        assert!(puts.len() < 10, "none goes to the silent host");
        puts.push(ask("PUT", "/logs/_doc/7"));
        arrived(puts.len()).await;
    }
    let mut reads = Vec::new();
    for path in ["/logs/_doc/1", "/logs/_search?request_cache=false"] {
        let there = seen(&two);
        // on a slow machine it may be left before it has one
        while seen(&two) == there && ejections(&escache) == 0 {
            assert!(reads.len() < 20, "none goes to the silent host");
            reads.push(ask("GET", path));
            arrived(puts.len() + reads.len()).await;
        }
    }
    drop(gate);
    until("the silent host is left", async || {
        escache.proxy.upstream.check_hosts(true).await;
        ejections(&escache) > 0
    })
    .await;
    for mut read in reads {
        assert_eq!(ends("a read", &mut read).await.unwrap(), 200);
    }
    let mut waiting = puts.pop().unwrap();
    for put in &mut puts {
        assert!(ends("a write", put).await.unwrap() < 300);
    }
    assert!(!waiting.is_finished(), "it is still waited for");
    assert_eq!((writes(&one), writes(&two)), (puts.len(), 1), "no write is sent twice");
    two.stop().await;
    assert_eq!(ends("the write that waited", &mut waiting).await.unwrap(), 502);
}

/// Names in a table that can be changed.
type Table = Arc<Mutex<HashMap<String, Vec<IpAddr>>>>;

fn names(table: &Table) -> Names {
    let table = Arc::clone(table);
    Names::by(move |name| {
        let found = table.lock().unwrap().get(&name).cloned();
        async move { found.ok_or_else(|| io::Error::other("nobody knows it")) }
    })
}

/// What stands at an address passes everything on to an engine, and counts.
async fn passing_on(at: (IpAddr, u16), to: SocketAddr) -> Arc<Mutex<u32>> {
    let listener = tokio::net::TcpListener::bind(at).await.unwrap();
    let accepted = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            *counter.lock().unwrap() += 1;
            let mut engine = tokio::net::TcpStream::connect(to).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut engine).await });
        }
    });
    accepted
}

/// The name moves to another address, on which another node listens; the old one is still there, and in use.
#[tokio::test]
async fn a_name_that_moves_is_followed() {
    let old = engine();
    let port = old.addr().port();
    let moved = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let table: Table = Arc::default();
    table.lock().unwrap().insert("es.test".to_owned(), vec![Ipv4Addr::LOCALHOST.into()]);
    let by = names(&table);
    let escache = in_front_of(&[format!("http://es.test:{port}")], |s| s.upstream.names = by).await;
    assert_eq!(fresh(&escache, 1).await, 200);
    // without a name service all goes on, new connections included
    let by = names(&table);
    let unpooled = in_front_of(&[format!("http://es.test:{port}")], |s| {
        s.upstream.names = by;
        s.upstream.max_idle_per_host = 0;
    })
    .await;
    table.lock().unwrap().clear();
    escache.proxy.upstream.check_hosts(false).await;
    assert_eq!((fresh(&escache, 2).await, fresh(&unpooled, 3).await), (200, 200));
    drop(unpooled);

    let accepted = passing_on((moved, port), old.addr()).await;
    table.lock().unwrap().insert("es.test".to_owned(), vec![moved]);
    escache.proxy.upstream.check_hosts(false).await;
    assert_eq!(*accepted.lock().unwrap(), 0, "it may be a name server that tells a part");
    escache.proxy.upstream.check_hosts(false).await;
    assert_eq!(fresh(&escache, 3).await, 200);
    assert!(*accepted.lock().unwrap() > 0);
}

/// The same, and who listens there is of another cluster: no search goes there, since another host serves.
#[tokio::test]
async fn a_name_that_moves_to_another_cluster_gets_no_request() {
    let (old, stranger) = (engine(), engine());
    let (other, port) = (old.another_host(), old.addr().port());
    let moved = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
    let table: Table = Arc::default();
    table.lock().unwrap().insert("es.test".to_owned(), vec![Ipv4Addr::LOCALHOST.into()]);
    let by = names(&table);
    let both = [format!("http://es.test:{port}"), other.url()];
    let escache = in_front_of(&both, |s| s.upstream.names = by).await;
    escache.proxy.upstream.check_hosts(false).await;
    let accepted = passing_on((moved, port), stranger.addr()).await;
    table.lock().unwrap().insert("es.test".to_owned(), vec![moved]);
    for _ in 0..2 {
        escache.proxy.upstream.check_hosts(false).await;
    }
    for number in 0..20 {
        assert_eq!(fresh(&escache, number).await, 200);
    }
    assert_eq!(stranger.seen(Api::Search), 0);
    assert!(*accepted.lock().unwrap() > 0, "it was asked who it is");
}

fn told(nodes: &[(&str, Vec<&str>)]) -> Twist {
    let nodes: serde_json::Map<String, Value> = nodes
        .iter()
        .enumerate()
        .map(|(i, (address, roles))| {
            (format!("node-{i}"), json!({"roles": roles, "http": {"publish_address": address}}))
        })
        .collect();
    Twist::Status(200, json!({"nodes": nodes}).to_string().into())
}

fn address(engine: &Engine) -> String {
    engine.addr().to_string()
}

#[tokio::test]
async fn nodes_are_found_used_and_left_as_the_cluster_names_them() {
    let seed = engine();
    let (two, three, master, stranger) =
        (seed.another_host(), seed.another_host(), seed.another_host(), engine());
    let says = |nodes: &[(&str, Vec<&str>)]| {
        for host in [&seed, &two, &three] {
            host.calm();
            host.on_any().when(|request| request.path == "/_nodes/http").always(told(nodes));
        }
    };
    let [at_two, at_three, at_master, at_stranger] = [&two, &three, &master, &stranger].map(address);
    // what nobody listens at is a trap, as a published address behind NAT is
    says(&[
        (&at_two, vec!["data", "ingest"]),
        (&at_three, vec![]),
        (&at_master, vec!["master"]),
        (&at_stranger, vec!["data"]),
        ("127.0.0.1:1", vec!["data"]),
    ]);
    let escache = in_front_of(&[seed.url()], |s| s.upstream.discovery = Some(Duration::ZERO)).await;
    let used = |hosts: &[Value]| {
        let mut used: Vec<String> = hosts
            .iter()
            .filter(|host| host["used"] == true)
            .map(|host| host["host"].as_str().unwrap().to_owned())
            .collect();
        used.sort();
        used
    };
    let mut expected = vec![seed.url(), two.url(), three.url()];
    expected.sort();
    assert_eq!(used(&hosts(&escache).await), expected);
    let searched_before = seed.seen(Api::Search);
    for number in 0..12 {
        assert_eq!(fresh(&escache, number).await, 200);
    }
    assert_eq!(seed.seen(Api::Search), searched_before, "nodes go before seeds");
    assert!(two.seen(Api::Search) >= 4 && three.seen(Api::Search) >= 4);
    assert_eq!(master.seen_in_all(), 0, "it takes no searches");
    assert_eq!(stranger.seen_in_all(), stranger.seen(Api::Version), "it is of another cluster");

    // one has gone
    says(&[(&at_two, vec!["data"])]);
    escache.proxy.upstream.check_hosts(false).await;
    let before = three.seen(Api::Search);
    for number in 20..30 {
        assert_eq!(fresh(&escache, number).await, 200);
    }
    assert_eq!(three.seen(Api::Search), before);
    // a question that fails changes nothing
    for host in [&seed, &two, &three] {
        host.calm();
        host.on_any()
            .when(|r| r.path == "/_nodes/http")
            .always(Twist::forbidden("cluster:monitor/nodes/info"));
    }
    escache.proxy.upstream.check_hosts(false).await;
    // and the seed serves where no node does
    two.stop().await;
    for number in 30..40 {
        assert_eq!(fresh(&escache, number).await, 200);
    }
    assert!(seed.seen(Api::Search) > searched_before);
    // it comes back under its address
    two.start_again();
    says(&[(&at_two, vec!["data"]), (&at_three, vec!["data"])]);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    escache.proxy.upstream.check_hosts(false).await;
    assert_eq!(used(&hosts(&escache).await), expected);
}

/// Whoever listens at a published address need not be a node of the cluster: it is asked who it is without credentials,
/// and gets them where it has shown the cluster. (Over TLS: `upstream_tls.rs`.)
#[tokio::test]
async fn who_is_found_gets_no_credentials_before_it_has_shown_the_cluster() {
    let seed = engine();
    let (open, guarded) = (seed.another_host(), seed.another_host());
    let bare = |request: &Seen| request.header("authorization").is_none();
    guarded.on_any().when(bare).always(Twist::error(401, "security_exception", "who are you"));
    let [at_open, at_guarded] = [&open, &guarded].map(address);
    for host in [&seed, &open] {
        let nodes = told(&[(&at_open, vec!["data"]), (&at_guarded, vec!["data"])]);
        host.on_any().when(|request| request.path == "/_nodes/http").always(nodes);
    }
    // names are verified where there is TLS, and here there is none
    let ours = Authority::new();
    let verified = TlsSettings { authorities: vec![ours.file()], ..TlsSettings::default() };
    assert_eq!(verified.verification, Verification::Full);
    let escache = in_front_of(&[seed.url()], |settings| {
        settings.upstream.tls = Some(Tls::new(&verified).unwrap());
        settings.upstream.discovery = Some(Duration::ZERO);
        settings.upstream.credentials = Some(Credentials::new("Basic b3VyczpvdXJz").unwrap());
    })
    .await;
    for number in 0..8 {
        assert_eq!(fresh(&escache, number).await, 200);
    }
    escache.proxy.upstream.check_hosts(false).await;
    assert!(!bare(&seed.all_requests()[0]), "the operator has named it");
    let met = guarded.all_requests();
    assert!(!met.is_empty() && met.iter().all(bare), "{met:?}");
    let used = |url: String, hosts: &[Value]| hosts.iter().any(|h| h["host"] == *url && h["used"] == true);
    let shown = hosts(&escache).await;
    assert!(used(open.url(), &shown) && !used(guarded.url(), &shown), "{shown:?}");
    // what it was asked before it had shown the cluster
    let first = open.all_requests().into_iter().next().unwrap();
    assert!(first.api == Api::Version && bare(&first), "{first:?}");
    assert!(open.requests(Api::Stats).iter().any(|request| !bare(request)), "a reading has them");
}

/// A list of nodes that stops in the middle: the health check goes on without it.
#[tokio::test]
async fn a_list_of_nodes_that_never_ends_holds_up_no_health_check() {
    let seed = engine();
    seed.on_any().when(|r| r.path == "/_nodes/http").always(told(&[(&address(&seed), vec!["data"])]));
    let escache = in_front_of(&[seed.url()], |settings| {
        settings.upstream.discovery = Some(Duration::ZERO);
        settings.upstream.response_timeout = Duration::from_millis(300);
    })
    .await;
    let gate = seed.on_any().when(|r| r.path == "/_nodes/http").gate(At::Body);
    let checked = tokio::time::timeout(PATIENCE, escache.proxy.upstream.check_hosts(false)).await;
    assert!(checked.is_ok() && gate.came() == 1, "{checked:?}, {}", gate.came());
    assert_eq!(fresh(&escache, 1).await, 200);
}

/// The seed is a name behind which another cluster now is: the nodes of the old one have gone with it.
#[tokio::test]
async fn nodes_of_a_cluster_that_was_swapped_are_forgotten() {
    let seed = engine();
    let two = seed.another_host();
    let at_two = address(&two);
    seed.on_any().when(|r| r.path == "/_nodes/http").always(told(&[(&at_two, vec!["data"])]));
    two.on_any().when(|r| r.path == "/_nodes/http").always(told(&[(&at_two, vec!["data"])]));
    let escache = in_front_of(&[seed.url()], |s| s.upstream.discovery = Some(Duration::ZERO)).await;
    assert_eq!(fresh(&escache, 1).await, 200);
    assert!(two.seen(Api::Search) > 0);
    let other = json!({"cluster_uuid": "another", "version": 9, "state_uuid": "x"}).to_string();
    seed.on(Api::Version).always(Twist::Status(200, other.into()));
    two.stop().await;
    escache.proxy.upstream.check_hosts(false).await;
    assert_eq!(escache.proxy.upstream.cluster_uuid().as_deref(), Some("another"));
    let left = hosts(&escache).await;
    assert!(
        left.iter().filter(|host| host["used"] == true).all(|host| host["host"] == seed.url()),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_nodes_of_a_real_cluster_are_found() {
    let Some(Cluster { nodes }) = Cluster::start(node::Engine::Elasticsearch7, 2).await else { return };
    nodes[0].client().put("/found", json!({})).await;
    // a copy on both: one node is killed
    let health = nodes[0].client().get("/_cluster/health/found?wait_for_status=green&timeout=60s").await;
    assert_eq!(health.json()["timed_out"], false, "{}", health.text());
    let url = nodes[0].url().to_owned();
    let escache = in_front_of(&[url], |s| s.upstream.discovery = Some(Duration::ZERO)).await;
    let told = hosts(&escache).await;
    for node in &nodes {
        let shown = told.iter().find(|host| host["host"] == node.url());
        assert!(shown.is_some_and(|host| host["used"] == true), "{} in {told:?}", node.url());
    }
    nodes[1].kill9().await;
    for number in 0..10 {
        let answer = escache.send("GET", &format!("/found/_count?q=a:{number}"), &[], "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
