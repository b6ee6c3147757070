//! The real engines that the other tests stand on: they answer, crash, come back, freeze, and leave nothing behind.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::http::Client;
use crate::support::node::{Cluster, Engine, Node};
use crate::support::patience::until;

/// The engines that are not needed in every run; the Elasticsearch ones among them come in large downloads.
const OTHERS: [Engine; 5] = [
    Engine::Elasticsearch7Painless,
    Engine::Elasticsearch8Full,
    Engine::Elasticsearch9,
    Engine::OpenSearch2Secured,
    Engine::OpenSearch3,
];

/// Whoever asks for help gets it on standard output; who is mistaken is told where there is some.
#[tokio::test]
async fn the_script_that_runs_nodes_explains_itself() {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nodes/run");
    let asked = async |argument: &str| {
        let Output { status, stdout, stderr } = Command::new(&run).arg(argument).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    };
    for argument in ["--help", "-h"] {
        let (code, out, err) = asked(argument).await;
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        for word in
            ["Runs one node", "run ENGINE PORT DATADIR", "--seed-hosts", "TEST_NODES_DIR", "Exit status 69"]
        {
            assert!(out.contains(word), "no {word} in {out}");
        }
        assert!(!out.contains('#') && !out.contains("set -eu"), "{out}");
    }
    let (code, out, err) = asked("--hlep").await;
    assert!(code == Some(64) && out.is_empty() && err.contains("--help"), "{code:?} {out} {err}");
}

/// The administrator of the secured engine; the others do not look.
fn as_admin(node: &Node) -> Client {
    node.client().with_header("authorization", "Basic YWRtaW46YWRtaW4tcHc=")
}

async fn index_one(client: &Client) {
    let (status, answer) = client.json("PUT", "/nodes-it/_doc/1?refresh=true", Some(json!({"n": 1}))).await;
    assert_eq!(status, 201, "{answer}");
}

async fn hits(client: &Client) -> u64 {
    let (status, answer) = client.json("GET", "/nodes-it/_search", None).await;
    assert_eq!(status, 200, "{answer}");
    answer["hits"]["total"]["value"].as_u64().expect("a total")
}

/// Indexes and searches on a node of this engine.
async fn check_answers(engine: Engine) {
    let Some(node) = Node::start(engine).await else { return };
    let client = as_admin(&node);
    index_one(&client).await;
    assert_eq!(hits(&client).await, 1);
}

#[tokio::test]
async fn elasticsearch_7_answers() {
    check_answers(Engine::Elasticsearch7).await;
}

#[tokio::test]
async fn elasticsearch_8_answers() {
    check_answers(Engine::Elasticsearch8).await;
}

#[tokio::test]
async fn opensearch_2_answers() {
    check_answers(Engine::OpenSearch2).await;
}

#[tokio::test]
#[ignore = "downloads two GiB the first time"]
async fn all_other_engines_answer() {
    for engine in OTHERS {
        check_answers(engine).await;
    }
}

#[tokio::test]
async fn a_node_comes_back_where_it_was() {
    let Some(node) = Node::start(Engine::Elasticsearch7).await else { return };
    let client = node.client();
    index_one(&client).await;
    let url = node.url().to_owned();

    node.kill9().await;
    assert!(client.try_request("GET", "/", &[], "").await.is_err());
    node.restart().await;
    assert_eq!(node.url(), url);
    client.get("/_cluster/health/nodes-it?wait_for_status=yellow").await;
    assert_eq!(hits(&client).await, 1);

    node.stop().await;
    assert!(client.try_request("GET", "/", &[], "").await.is_err());
    node.restart().await;
    client.get("/_cluster/health/nodes-it?wait_for_status=yellow").await;
    assert_eq!(hits(&client).await, 1);
}

#[tokio::test]
async fn a_frozen_node_answers_once_it_thaws() {
    let Some(node) = Node::start(Engine::Elasticsearch7).await else { return };
    let client = node.client();
    assert_eq!(client.get("/").await.status, 200);

    node.sigstop().await;
    let waiting = client.get("/");
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err());
    node.sigcont().await;
    assert_eq!(waiting.await.status, 200);
}

/// Two nodes hold a copy each, and one of them goes.
async fn check_survives(engine: Engine) {
    let Some(cluster) = Cluster::start(engine, 2).await else { return };
    let client = as_admin(&cluster.nodes[0]);
    index_one(&client).await;
    let (_, health) = client.json("GET", "/_cluster/health?wait_for_status=green&timeout=30s", None).await;
    assert_eq!((&health["number_of_nodes"], &health["status"]), (&json!(2), &json!("green")));

    cluster.nodes[1].kill9().await;
    assert_eq!(hits(&client).await, 1);
}

#[tokio::test]
async fn a_cluster_survives_the_loss_of_its_second_node() {
    check_survives(Engine::Elasticsearch7).await;
}

#[tokio::test]
#[ignore = "downloads a GiB the first time"]
async fn clusters_of_all_other_engines_survive_it_too() {
    for engine in OTHERS.into_iter().chain([Engine::Elasticsearch8, Engine::OpenSearch2]) {
        check_survives(engine).await;
    }
}

/// Not a test by itself: the process that [`nodes_die_with_the_test_process`] kills.
#[tokio::test]
#[ignore = "only as a process of nodes_die_with_the_test_process"]
async fn hold_nodes_until_killed() {
    let Some(node) = Node::start(Engine::Elasticsearch7).await else { return };
    if std::env::var_os("TEST_FREEZE").is_some() {
        node.sigstop().await;
    }
    println!("HOLDING {} {}", node.port(), node.data().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn nodes_die_with_the_test_process() {
    for freeze in [false, true] {
        let mut holder = Command::new(std::env::current_exe().unwrap());
        holder.args(["--exact", "nodes::hold_nodes_until_killed", "--ignored", "--nocapture"]);
        holder.stdin(Stdio::null()).stdout(Stdio::piped());
        if freeze {
            holder.env("TEST_FREEZE", "1");
        }
        let mut holder = holder.spawn().unwrap();
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        let held = loop {
            match lines.next_line().await.unwrap() {
                // libtest writes "test NAME ... " before it on the same line
                Some(line) => {
                    if let Some((_, held)) = line.split_once("HOLDING ") {
                        break held.to_owned();
                    }
                }
                None => return, // no node can be had here: it has said so
            }
        };
        let (port, data) = held.split_once(' ').unwrap();
        let port: u16 = port.parse().unwrap();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());

        holder.kill().await.unwrap();
        let runs = || TcpStream::connect(("127.0.0.1", port)).is_ok() || Path::new(data).exists();
        until("the node has ended and its data is gone", async || !runs()).await;
    }
}
