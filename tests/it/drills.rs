//! Faults on a real two-node cluster under load, with escache in between and without it: what clients see, how long they
//! wait, and that no answer is wrong and no acknowledged write is lost. `scripts/drills` runs them and prints the table of
//! docs/operations.md; `scripts/soak` runs the long one.
//!
//! Answers are judged by the ledger of `churn`. Every drill has both ways at the same time, on the same cluster.

pub(crate) mod arm;

pub(crate) mod journal;

mod pretence;

mod soak;

mod stage;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use escache::probe;
use escache::upstream::{Host, Names};
use serde_json::json;

use self::arm::Came;
use self::stage::Stage;
use crate::support::escache::Escache;
use crate::support::node::{Engine, Node};

const FAULT: Duration = Duration::from_secs(20);

/// `elasticsearch-7` unless `TEST_DRILLS_ENGINE` names another.
fn engine() -> Engine {
    match std::env::var("TEST_DRILLS_ENGINE").as_deref() {
        Ok("opensearch-2") => Engine::OpenSearch2,
        Ok("elasticsearch-7") | Err(_) => Engine::Elasticsearch7,
        Ok(other) => panic!("{other} is neither elasticsearch-7 nor opensearch-2"),
    }
}

/// Which drills: all, or those that `TEST_DRILLS` names.
fn wanted(name: &str) -> bool {
    std::env::var("TEST_DRILLS").map_or(true, |names| names.is_empty() || names.split(',').any(|n| n == name))
}

/// `scripts/drills`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and two nodes"]
async fn faults_on_two_nodes() {
    let Some(mut stage) = Stage::set(engine()).await else { return };
    if wanted("kill") {
        stage
            .drill("one node killed (kill -9), started again after 15 s", async |stage| {
                stage.kill_nodes(&[1], Duration::from_secs(15)).await;
            })
            .await;
        stage.up_again().await;
    }
    if wanted("stop") {
        stage
            .drill("one node stopped (SIGSTOP) for 20 s", async |stage| {
                stage.world.nodes[1].sigstop().await;
                tokio::time::sleep(FAULT).await;
                stage.mends();
                stage.world.nodes[1].sigcont().await;
            })
            .await;
        stage.tell_waits();
    }
    if wanted("stop-stale") {
        stage.configure("upstream.response_timeout: 2s\nstale_if_error: 5m\n").await;
        stage
            .drill("the same, with `upstream.response_timeout: 2s` and `stale_if_error: 5m`", async |stage| {
                stage.world.nodes[1].sigstop().await;
                tokio::time::sleep(FAULT).await;
                stage.mends();
                stage.world.nodes[1].sigcont().await;
            })
            .await;
        stage.configure("").await;
    }
    if wanted("both") {
        stage
            .drill("both nodes killed, started again after 20 s", async |stage| {
                stage.kill_nodes(&[0, 1], FAULT).await;
            })
            .await;
        stage.up_again().await;
    }
    if wanted("stale") {
        stage.configure("stale_if_error: 5m\n").await;
        // however slow this machine is, there is something stored, and somebody asks for it
        stage.until(Came::Hit).await;
        let [through, _] = stage
            .drill("both nodes killed, with `stale_if_error: 5m`", async |stage| {
                let stale = async |stage: &Stage| stage.until(Came::Stale).await;
                stage.kill_nodes_until(&[0, 1], FAULT, stale).await;
            })
            .await;
        stage.up_again().await;
        assert!(through.stale > 0, "{through:?}");
        stage.configure("").await;
    }
    if wanted("proxy") {
        stage
            .drill("escache killed (kill -9) and started again", async |stage| {
                stage.program.start_again();
            })
            .await;
    }
    if wanted("table") {
        stage.configure("limits.max_connections: 40\n").await;
        let mut newcomers = (0, 0);
        let [through, _] = stage
            .drill("the table of connections full (40) for 15 s", async |stage| {
                stage.open_connections().await;
                newcomers = stage::mob(&stage.program.url, 60, Duration::from_secs(15)).await;
            })
            .await;
        println!("newcomers served and refused: {newcomers:?}");
        assert!(newcomers.1 > 0 && through.failed() == 0, "{newcomers:?} {through:?}");
        stage.configure("").await;
    }
    if wanted("disk") {
        stage
            .drill("the disk is full (the block of the flood stage) for 15 s", async |stage| {
                let block = |value: serde_json::Value| json!({"index.blocks.read_only_allow_delete": value});
                let client = stage.world.clients[0].clone();
                // the master of a busy machine takes its time
                let all = "/_all/_settings?master_timeout=2m&timeout=2m";
                let (status, told) = client.json("PUT", all, Some(block(json!(true)))).await;
                assert_eq!(status, 200, "{told}");
                tokio::time::sleep(Duration::from_secs(15)).await;
                stage.mends();
                let (status, told) = client.json("PUT", all, Some(block(json!(null)))).await;
                assert_eq!(status, 200, "{told}");
            })
            .await;
    }
    if wanted("dns") {
        let gone = Arc::new(AtomicBool::new(false));
        let escache = by_name(&stage.world.nodes, Arc::clone(&gone)).await;
        let asking = tokio::spawn(probe::keep_asking(Arc::clone(&escache.proxy), Duration::from_secs(5)));
        stage.also_at(&escache.url);
        let [through, _] = stage
            .drill("the name service is gone for 20 s (a new connection for each request)", async |_| {
                gone.store(true, Ordering::SeqCst);
                tokio::time::sleep(FAULT).await;
                gone.store(false, Ordering::SeqCst);
            })
            .await;
        assert_eq!(through.failed(), 0, "{through:?}");
        asking.abort();
        stage.keep(escache);
    }
    if wanted("503") {
        stage.rows.extend(pretence::one_host_in_trouble().await);
    }
    let (rows, audits) = stage.end().await;
    println!("\n{}\n", rows.join("\n"));
    for audit in audits {
        assert_eq!((audit.lost, audit.sent), (0, audit.acknowledged + audit.failed), "{audit:?}");
    }
}

/// escache in front of nodes that it knows by names, which are looked up for each request.
async fn by_name(nodes: &[Node], gone: Arc<AtomicBool>) -> Escache {
    let names = Names::by(move |name| {
        let gone = gone.load(Ordering::SeqCst);
        async move {
            match gone {
                true => Err(io::Error::other(format!("nobody knows {name}"))),
                false => Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]),
            }
        }
    });
    let hosts = nodes.iter().enumerate().map(|(i, node)| format!("http://node-{i}.test:{}", node.port()));
    let hosts: Vec<Host> = hosts.map(|host| Host::parse(&host).unwrap()).collect();
    Escache::start_with(nodes[0].url(), |settings| {
        settings.upstream.hosts = hosts;
        settings.upstream.names = names;
        settings.upstream.max_idle_per_host = 0;
        // a machine that is busy for longer than that is no name service that is gone
        settings.upstream.connect_timeout = Duration::from_secs(60);
    })
    .await
}
