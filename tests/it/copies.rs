//! Copies of one shard that show different views, on a real cluster of two nodes. What one copy shows changes here
//! while no counter of the other one moves, which the churn test cannot provoke: what its oracle is sure of was told by
//! a refresh of all copies, and that moves the counters of all.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::escache::{Escache, verdict};
use crate::support::http::Client;
use crate::support::node::{Cluster, Engine};
use crate::support::patience::until;

/// How often copies are refreshed. The two begin to count at different times.
const INTERVAL: Duration = Duration::from_secs(2);

struct Scene {
    engine: Client,
    escache: Escache,
    /// Where the primary and the replica are searched.
    copies: [String; 2],
}

impl Scene {
    async fn new(engine: &Client, escache: Escache) -> Scene {
        let settings = json!({"settings": {"number_of_shards": 1, "number_of_replicas": 0,
            "refresh_interval": format!("{}s", INTERVAL.as_secs())}});
        ok(engine, "PUT", "/apart", settings).await;
        let scene = Scene { engine: engine.clone(), escache, copies: Default::default() };
        // the replica comes half an interval later, and so do its refreshes
        scene.with_another_replica(INTERVAL / 2).await
    }

    /// The same, with a replica that begins to count so much later than now.
    async fn with_another_replica(self, later: Duration) -> Scene {
        let engine = &self.engine;
        ok(engine, "PUT", "/apart/_settings", json!({"number_of_replicas": 0})).await;
        tokio::time::sleep(later).await;
        ok(engine, "PUT", "/apart/_settings", json!({"number_of_replicas": 1})).await;
        let health = engine.get("/_cluster/health/apart?wait_for_status=green&timeout=60s").await.json();
        assert_eq!(health["timed_out"], false, "{health}");
        let state = engine.get("/_cluster/state/routing_table/apart").await.json();
        let copies = state["routing_table"]["indices"]["apart"]["shards"]["0"].as_array().unwrap().clone();
        let at = |primary: bool| {
            let copy = copies.iter().find(|copy| copy["primary"] == primary).unwrap();
            format!("/apart/_search?preference=_only_nodes:{}", copy["node"].as_str().unwrap())
        };
        let copies = [at(true), at(false)];
        Scene { copies, ..self }
    }

    /// How many documents a copy shows, asked directly.
    async fn shown(&self, copy: usize) -> u64 {
        total(&self.engine.post(&self.copies[copy], all()).await.json())
    }

    /// Asks for a copy through escache: how many it shows, and what became of the request.
    async fn through(&self, copy: usize) -> (u64, String) {
        let answer = self.escache.search(&self.copies[copy], all()).await;
        (total(&answer.json()), verdict(&answer.headers).1.to_owned())
    }
}

fn all() -> Value {
    json!({"size": 0, "track_total_hits": true})
}

fn total(answer: &Value) -> u64 {
    answer["hits"]["total"]["value"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

async fn ok(engine: &Client, method: &str, path: &str, body: Value) {
    let (status, answer) = engine.json(method, path, Some(body)).await;
    assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
}

/// The primary shows a new document and the replica does not yet. What the replica answers is stored then, under
/// counters of the primary that stay as they are; so those of the replica alone tell when it shows the document, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_lags_is_followed_by_its_own_counters() {
    let Some(Cluster { nodes }) = Cluster::start(Engine::Elasticsearch7, 2).await else { return };
    let mut scene = Scene::new(&nodes[0].client(), Escache::start(nodes[0].url()).await).await;
    let (mut provoked, mut written) = (0, 0);
    for _ in 0..60 {
        written += 1;
        ok(&scene.engine, "PUT", &format!("/apart/_doc/{written}"), json!({})).await;
        until("the primary shows it", async || scene.shown(0).await >= written).await;
        // the fill, and the hit that shows that it was stored
        scene.through(1).await;
        let kept = scene.through(1).await;
        until("the replica shows it", async || scene.shown(1).await >= written).await;
        let (found, status) = scene.through(1).await;
        assert_eq!(found, written, "{status}: the replica shows all of them");
        provoked += u64::from(kept.0 < written && kept.1.contains("hit"));
        if provoked == 3 {
            return;
        }
        // nearly the same moment for both: the replica begins anew at another one
        if written % 6 == 0 && provoked == 0 {
            scene = scene.with_another_replica(INTERVAL / 7 * (written / 6) as u32).await;
        }
    }
    panic!("the copies never were apart: {provoked} of {written}");
}
