//! Asynchronous searches, on the pretend engine: no engine of `tests/nodes` has them. The answers are shaped as
//! Elastic's reference and OpenSearch's plugin publish them.

use serde_json::{Value, json};

use crate::support::engine::{Api, Engine, Flavour, engine_with};
use crate::support::escache::{Escache, verdict};
use crate::support::patience::until;

/// The flavours with where each is asked.
const SUBMITS: [(Flavour, &str); 3] = [
    (Flavour::Es7, "/logs/_async_search?wait_for_completion_timeout=1s"),
    (Flavour::Es8, "/logs/_async_search?keep_on_completion=false&keep_alive=1m&size=5"),
    (Flavour::Os2, "/_plugins/_asynchronous_search?index=logs&wait_for_completion_timeout=1s"),
];

async fn start(flavour: Flavour) -> (Engine, Escache) {
    let engine = engine_with(flavour, json!({"team": "a"}));
    let escache = Escache::start(&engine.url()).await;
    (engine, escache)
}

fn all() -> Value {
    json!({"query": {"match_all": {}}})
}

#[tokio::test]
async fn a_search_that_ends_in_time_is_a_search() {
    for (flavour, path) in SUBMITS {
        let (engine, escache) = start(flavour).await;
        let first = escache.search(path, all()).await;
        assert_eq!(verdict(&first.headers), ("MISS", "escache; fwd=miss; stored"), "{flavour:?}");
        let second = escache.search(path, all()).await;
        assert_eq!(verdict(&second.headers), ("HIT", "escache; hit"), "{flavour:?}");
        assert_eq!((first.body, engine.seen(Api::AsyncSearch)), (second.body, 1));
        engine.index("logs", "2", json!({"team": "b"}));
        engine.refresh("logs");
        let after = escache.search(path, all()).await;
        assert_eq!(verdict(&after.headers).0, "MISS", "{flavour:?}");
        assert_eq!(after.json()["response"]["hits"]["total"]["value"], 2, "{flavour:?}");
    }
}

#[tokio::test]
async fn what_is_kept_on_the_engine_passes() {
    for (flavour, path) in SUBMITS {
        let (_engine, escache) = start(flavour).await;
        let mut ids = Vec::new();
        for _ in 0..2 {
            let path = format!("{}&keep_on_completion=true", path.replace("keep_on_completion=false&", ""));
            let kept = escache.search(&path, all()).await;
            let (outcome, status) = verdict(&kept.headers);
            assert!(outcome == "BYPASS" && status.contains("stateful"), "{flavour:?} {status}");
            ids.push(kept.json()["id"].as_str().unwrap().to_owned());
        }
        assert_ne!(ids[0], ids[1]);
        let scrolled = escache.search(&format!("{path}&scroll=1m"), all()).await;
        assert!(verdict(&scrolled.headers).1.contains("stateful"), "{flavour:?}");
    }
}

#[tokio::test]
async fn a_search_that_goes_on_is_for_who_asked() {
    for (flavour, path) in SUBMITS {
        let (engine, escache) = start(flavour).await;
        let path = path.replace("timeout=1s", "timeout=0ms");
        let path = if path.contains("0ms") { path } else { path + "&wait_for_completion_timeout=0ms" };
        let gate = engine.gate_before(Api::AsyncSearch);
        let ask = async || escache.search(&path, all()).await;
        let open = async {
            // both wait for one flight before it goes on
            until("one follows", async || escache.proxy.stats.plain.followers.get() > 0).await;
            gate.release();
        };
        let (one, other, ()) = tokio::join!(ask(), ask(), open);
        let id = |answer: &crate::support::http::Response| answer.json()["id"].as_str().unwrap().to_owned();
        assert_ne!(id(&one), id(&other), "{flavour:?}");
        for answer in [&one, &other] {
            assert!(verdict(&answer.headers).1.contains("stateful"), "{flavour:?}");
        }
        assert_eq!(verdict(&ask().await.headers).0, "MISS", "{flavour:?}");
    }
}
