//! A node that its master has dropped, and that does not know: it answers searches by the copies that it has until it has joined
//! again, and so shows what others were told is over. What it answers must not outlive that in the cache.

use std::time::{Duration, Instant};

use escache::upstream::Host;
use serde_json::{Value, json};

use crate::support::escache::{Escache, verdict};
use crate::support::http::Client;
use crate::support::node::{Cluster, Engine};

/// How long a master may take to drop a node that is silent, and the node to join again.
const PATIENCE: Duration = Duration::from_secs(150);

/// How often it is tried to find the node before it knows.
const TRIES: u64 = 3;

async fn write(master: &Client, n: u64) -> Value {
    let (status, answer) = master.json("PUT", "/dropped/_doc/1?refresh=true", Some(json!({"n": n}))).await;
    assert!(status < 300, "{answer}");
    answer["_shards"]["successful"].clone()
}

fn shown(answer: &Value) -> Option<u64> {
    let shards = &answer["_shards"];
    (shards["successful"] == shards["total"]).then(|| answer["hits"]["hits"][0]["_source"]["n"].as_u64())?
}

async fn check(engine: Engine) {
    let Some(Cluster { nodes }) = Cluster::start(engine, 2).await else { return };
    let [master, other] = [&nodes[0], &nodes[1]].map(|node| node.client().within(PATIENCE));
    let settings = json!({"settings": {"number_of_shards": 1, "number_of_replicas": 1}});
    master.put("/dropped", settings).await;
    let hosts: Vec<Host> = nodes.iter().rev().map(|node| Host::parse(node.url()).unwrap()).collect();
    let escache = Escache::start_with(nodes[0].url(), |s| s.upstream.hosts = hosts).await;
    let (search, json) = ("/dropped/_search?preference=_local", [("content-type", "application/json")]);
    let (mut old, mut hits, mut stored) = (0, 0, 0);
    for n in 1..=TRIES {
        let green = "/_cluster/health/dropped?wait_for_status=green&wait_for_nodes=2&timeout=120s";
        assert_eq!(master.get(green).await.json()["timed_out"], false);
        assert_eq!(write(&master, 2 * n).await, 2, "both copies");
        nodes[1].sigstop().await;
        let acknowledged = write(&master, 2 * n + 1).await;
        assert_eq!(acknowledged, 1, "the other copy was not asked");
        nodes[1].sigcont().await;
        let until = Instant::now() + PATIENCE;
        loop {
            let direct = other.try_request("POST", search, &json, "{}").await.ok();
            let direct =
                direct.filter(|answer| answer.status == 200).and_then(|answer| shown(&answer.json()));
            old += u64::from(direct == Some(2 * n));
            let answer = escache.search(search, json!({})).await;
            let (x_cache, status) = verdict(&answer.headers);
            if x_cache == "HIT" {
                hits += 1;
                assert_eq!(shown(&answer.json()), Some(2 * n + 1), "{status}");
            } else if status.contains("stored") && shown(&answer.json()) == Some(2 * n) {
                stored += 1;
            }
            if direct == Some(2 * n + 1) && x_cache == "HIT" {
                break;
            }
            assert!(Instant::now() < until, "it has not come back: {direct:?}, {x_cache} {status}");
        }
    }
    println!(
        "{engine:?}: {old} old answers by the dropped node, {stored} of them stored; {hits} hits, none old"
    );
    assert!(old > 0, "it never answered before it knew");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and two nodes"]
async fn what_a_dropped_node_still_shows_is_never_a_hit() {
    for engine in [Engine::OpenSearch2, Engine::Elasticsearch7] {
        check(engine).await;
    }
}
