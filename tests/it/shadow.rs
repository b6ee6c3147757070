//! Shadow mode: sampled hits are compared with the engine, and only what surely is wrong is an alarm.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use escache::policy::Share;
use escache::proxy::ProxySettings;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::parity;
use crate::support::engine::{Api, Engine, Flavour, Twist, Users, engine, engine_with, secured, team};
use crate::support::escache::{Escache, prove, verdict};
use crate::support::http::Response;
use crate::support::node::{self, Node};
use crate::support::patience::{until, until_hit};

const SEARCH: &str = "/logs/_search";
const TOTAL: &str = "/hits/total/value";

/// What the shadows came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    equal: u64,
    different: u64,
    varies: u64,
    inconclusive: u64,
    skipped: u64,
}

impl Tally {
    fn of(escache: &Escache) -> Tally {
        let plain = &escache.proxy.stats.plain;
        Tally {
            equal: plain.shadow_equal.get(),
            different: plain.shadow_different.get(),
            varies: plain.shadow_engine_varies.get(),
            inconclusive: plain.shadow_inconclusive.get(),
            skipped: plain.shadow_skipped.get(),
        }
    }

    fn judged(self) -> u64 {
        self.equal + self.different + self.varies + self.inconclusive
    }
}

struct Scene {
    engine: Engine,
    escache: Escache,
}

impl Scene {
    /// Every hit is sampled. The answer is stored, and no hit was yet.
    async fn new() -> Scene {
        Scene::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut ProxySettings)) -> Scene {
        let engine = engine();
        let escache = Escache::start_with(&engine.url(), |settings| {
            settings.policy.shadow_sample = Share::ALL;
            change(settings);
        })
        .await;
        let scene = Scene { engine, escache };
        assert_eq!(verdict(&scene.ask().await.headers).0, "MISS");
        scene
    }

    async fn ask(&self) -> Response {
        self.escache.send("GET", SEARCH, &[], "").await
    }

    async fn hit(&self) {
        assert_eq!(verdict(&self.ask().await.headers).0, "HIT");
    }

    fn tally(&self) -> Tally {
        Tally::of(&self.escache)
    }

    async fn judged(&self, number: u64) -> Tally {
        judged(&self.escache, number).await
    }
}

/// Waits until so many hits were judged.
async fn judged(escache: &Escache, number: u64) -> Tally {
    until("they are judged", async || Tally::of(escache).judged() >= number).await;
    Tally::of(escache)
}

#[tokio::test]
async fn what_the_engine_confirms_is_equal() {
    let scene = Scene::new().await;
    for number in 1..=3 {
        scene.hit().await;
        let expected = Tally { equal: number, ..Tally::default() };
        assert_eq!(scene.judged(number).await, expected);
    }
    // once for the fill, once for each hit, as a fill asks
    assert_eq!(scene.engine.seen(Api::Search), 4);
    let searches = scene.engine.requests(Api::Search);
    let parts = |number: usize| {
        (searches[number].method.clone(), searches[number].uri(), searches[number].headers.clone())
    };
    assert_eq!(parts(0), parts(3));
    let metrics = scene.escache.client.get(format!("{}/metrics", scene.escache.admin)).await.text();
    assert!(metrics.contains("\nescache_shadow_equal_total 3\n"), "{metrics}");
}

/// A hit of a multi search is compared as the search that it is, and one that is wrong is removed.
#[tokio::test]
async fn hits_of_a_multi_search_are_compared_each() {
    let scene = Scene::new().await;
    let lines = "{\"index\":\"logs\"}\n{\"size\":1}\n{\"index\":\"logs\"}\n{\"size\":2}\n";
    let ask = async || {
        let ndjson = [("content-type", "application/x-ndjson")];
        let answer = scene.escache.send("POST", "/_msearch", &ndjson, lines).await;
        verdict(&answer.headers).1.to_owned()
    };
    scene.engine.on(Api::Msearch).next(Twist::Set("/responses/1/hits/total/value", json!(7)));
    assert_eq!(ask().await, "escache; fwd=miss; stored; detail=\"items-hit=0/2\"");
    assert_eq!(scene.tally(), Tally::default(), "what is asked is not compared");
    assert_eq!(ask().await, "escache; hit; detail=\"items-hit=2/2\"");
    assert_eq!(scene.judged(2).await, Tally { equal: 1, different: 1, ..Tally::default() });
    let sent = scene.engine.requests(Api::Search);
    assert!(sent.iter().any(|search| search.body == "{\"size\":2}"), "{sent:?}");
    assert_eq!(ask().await, "escache; fwd=miss; stored; detail=\"items-hit=1/2\"");
    assert_eq!(scene.judged(3).await, Tally { equal: 2, different: 1, ..Tally::default() });
}

/// `took` is different in each answer of the pretend engine; `filter_path` cuts what only the fill asks for.
#[tokio::test]
async fn what_was_asked_for_beyond_a_filter_does_not_count() {
    let scene = Scene::new().await;
    let filtered = "/logs/_search?filter_path=hits.total.value";
    for expected in ["MISS", "HIT"] {
        let answer = scene.escache.send("GET", filtered, &[], "").await;
        assert_eq!(verdict(&answer.headers).0, expected);
    }
    assert_eq!(scene.judged(1).await, Tally { equal: 1, ..Tally::default() });
}

#[tokio::test]
async fn a_wrong_entry_is_counted_logged_and_removed() {
    let engine = engine_with(Flavour::Es8, json!({"team": "confidential"}));
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let escache = Escache::start_with(&engine.url(), |s| s.policy.shadow_sample = Share::ALL).await;
    // the engine lies once, as it would if a change had left no trace in any counter
    engine.on(Api::Search).next(Twist::Set("/hits/hits/0/_source/team", json!("hush-hush")));
    let scene = Scene { engine, escache };
    assert_eq!(verdict(&scene.ask().await.headers).0, "MISS");
    scene.hit().await;
    assert_eq!(scene.judged(1).await, Tally { different: 1, ..Tally::default() });
    let text = log.text();
    let line = text.lines().find(|line| line.contains("WARN")).unwrap_or_else(|| panic!("{text}"));
    for part in
        ["reason=\"value\"", "place=\"$.hits.hits[0]._source\"", "target=logs", "key=", "api=\"search\""]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!text.contains("confidential") && !text.contains("hush-hush"), "{text}");
    // it is not served again, and what the engine says now is
    let next = scene.ask().await;
    assert_eq!(verdict(&next.headers).0, "MISS");
    assert!(next.text().contains("confidential"));
    scene.hit().await;
    assert_eq!(scene.judged(2).await, Tally { different: 1, equal: 1, ..Tally::default() });
}

#[tokio::test]
async fn a_refusal_is_a_difference_and_trouble_is_not() {
    for (status, expected) in [
        (403, Tally { different: 1, ..Tally::default() }),
        (400, Tally { different: 1, ..Tally::default() }),
        (429, Tally { inconclusive: 1, ..Tally::default() }),
        (503, Tally { inconclusive: 1, ..Tally::default() }),
    ] {
        let scene = Scene::new().await;
        scene.engine.on(Api::Search).always(Twist::error(status, "some_exception", "no"));
        scene.hit().await;
        assert_eq!(scene.judged(1).await, expected, "{status}");
    }
    for twist in [Twist::ShardMissing, Twist::TimedOut, Twist::Drop, Twist::Truncate(30)] {
        let scene = Scene::new().await;
        scene.engine.on(Api::Search).always(twist.clone());
        scene.hit().await;
        assert_eq!(scene.judged(1).await, Tally { inconclusive: 1, ..Tally::default() }, "{twist:?}");
        scene.engine.calm();
        scene.hit().await;
    }
}

/// A write between the hit and the shadow's answer, and one between that answer and the reading after it.
#[tokio::test]
async fn a_write_in_between_is_no_alarm() {
    for gate_before in [true, false] {
        let scene = Scene::new().await;
        let gate = match gate_before {
            true => scene.engine.gate_before(Api::Search),
            false => scene.engine.gate_after(Api::Search),
        };
        scene.hit().await;
        gate.arrived(1).await;
        scene.engine.index("logs", "2", json!({"team": "b"}));
        scene.engine.refresh("logs");
        gate.release();
        let expected = Tally { inconclusive: 1, ..Tally::default() };
        assert_eq!(scene.judged(1).await, expected, "before: {gate_before}");
    }
}

#[tokio::test]
async fn a_purge_in_between_is_no_alarm() {
    let scene = Scene::new().await;
    scene.engine.on(Api::Search).always(Twist::Set(TOTAL, json!(2)));
    let gate = scene.engine.gate_before(Api::Search);
    scene.hit().await;
    gate.arrived(1).await;
    scene.escache.send("POST", "/logs/_cache/clear", &[], "").await;
    gate.release();
    assert_eq!(scene.judged(1).await, Tally { inconclusive: 1, ..Tally::default() });
}

/// Percentiles, sums of several shards, ties: one view, several answers.
#[tokio::test]
async fn an_engine_that_varies_is_no_alarm() {
    // not what the entry says, and not twice the same
    let scene = Scene::new().await;
    for value in 2..6 {
        scene.engine.on(Api::Search).when(nth(value - 2)).always(Twist::Set(TOTAL, json!(value)));
    }
    scene.hit().await;
    assert_eq!(scene.judged(1).await, Tally { varies: 1, ..Tally::default() });
    scene.engine.calm();
    // the entry is kept
    scene.hit().await;
    assert_eq!(scene.judged(2).await, Tally { varies: 1, equal: 1, ..Tally::default() });
    // what the entry says comes with the second answer, or the third
    for times in [1, 2] {
        let scene = Scene::new().await;
        scene.engine.on(Api::Search).times(times, Twist::Set(TOTAL, json!(7)));
        scene.hit().await;
        assert_eq!(scene.judged(1).await, Tally { equal: 1, ..Tally::default() }, "{times}");
        assert_eq!(scene.engine.seen(Api::Search), 2 + times);
    }
}

/// Of the requests that come from now on, the one with this number.
fn nth(number: usize) -> impl Fn(&crate::support::engine::Seen) -> bool + Send + Sync + 'static {
    let came = std::sync::atomic::AtomicUsize::new(0);
    move |_| came.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == number
}

/// Hits go on while the engine answers no search; four of them wait for it, and no more are sampled.
#[tokio::test]
async fn hits_never_wait_and_few_shadows_are_under_way() {
    let scene = Scene::new().await;
    let gate = scene.engine.gate_before(Api::Search);
    for _ in 0..10 {
        scene.hit().await;
    }
    gate.arrived(4).await;
    assert_eq!(scene.tally(), Tally { skipped: 6, ..Tally::default() });
    assert_eq!((gate.blocked(), gate.came()), (4, 4));
    gate.release();
    assert_eq!(scene.judged(4).await, Tally { equal: 4, skipped: 6, ..Tally::default() });
    // their places are free again
    for number in 5..=8 {
        scene.hit().await;
        scene.judged(number).await;
    }
    assert_eq!(scene.tally(), Tally { equal: 8, skipped: 6, ..Tally::default() });
}

#[tokio::test]
async fn a_share_of_hits_is_sampled_and_none_if_it_is_0() {
    let scene = Scene::with(|settings| settings.policy.shadow_sample = Share::NONE).await;
    // were one sampled, it would wait here, and the fifth be skipped
    let gate = scene.engine.gate_before(Api::Search);
    for _ in 0..50 {
        scene.hit().await;
    }
    assert_eq!((scene.tally(), gate.came(), scene.engine.seen(Api::Search)), (Tally::default(), 0, 1));
    let scene = Scene::with(|settings| settings.policy.shadow_sample = Share::new(0.1).unwrap()).await;
    for _ in 0..400 {
        scene.hit().await;
    }
    let sampled = |tally: Tally| tally.judged() + tally.skipped;
    until("some are sampled", async || sampled(scene.tally()) >= 20).await;
    assert!(sampled(scene.tally()) <= 60, "{:?}", scene.tally());
}

/// Without readings there is nothing to hold it against.
#[tokio::test]
async fn what_only_time_ends_is_not_sampled() {
    let minute = Some(Duration::from_secs(60));
    let unwatched = Scene::with(|settings| settings.policy.ttl_only = minute).await;
    let unproven = Scene::with(|settings| settings.policy.entry_ttl = minute).await;
    // nothing tells who this is on an engine without users
    let named = [("authorization", "Basic YTpi")];
    for (scene, headers) in [(unwatched, &[][..]), (unproven, &named)] {
        scene.escache.send("GET", SEARCH, headers, "").await;
        // were one sampled, it would wait here, and the fifth be skipped
        let gate = scene.engine.gate_before(Api::Search);
        for _ in 0..6 {
            let answer = scene.escache.send("GET", SEARCH, headers, "").await;
            assert_eq!(verdict(&answer.headers).0, "HIT");
        }
        assert_eq!((scene.tally(), gate.came()), (Tally::default(), 0));
    }
}

/// The engine is asked with the client's own credentials, and what changed for them in between is no alarm.
#[tokio::test]
async fn a_shadow_asks_as_the_client_did() {
    let (engine, Users { watcher, bob, .. }) = secured(Flavour::Es8);
    let escache = Escache::start_with(&engine.url(), |settings| {
        prove(settings, &watcher, Duration::ZERO);
        settings.policy.shadow_sample = Share::ALL;
    })
    .await;
    let scene = Scene { engine, escache };
    let as_bob = [("authorization", bob.as_str())];
    let ask = async || scene.escache.send("GET", SEARCH, &as_bob, "").await;
    until_hit(&ask).await;
    let judged = scene.judged(1).await;
    assert_eq!(judged, Tally { equal: judged.equal, ..Tally::default() });
    assert_eq!(scene.engine.last(Api::Search).header("authorization"), Some(bob.as_str()));
    let gate = scene.engine.gate_before(Api::Search);
    assert_eq!(verdict(&ask().await.headers).0, "HIT");
    gate.arrived(1).await;
    scene.engine.restrict("bob", team("a"));
    gate.release();
    let after = scene.judged(judged.equal + 1).await;
    assert_eq!(after, Tally { equal: judged.equal, inconclusive: 1, ..Tally::default() });
}

/// Every search of the parity scenarios: what a hit was, a real engine says too.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_real_node_no_hit_is_different() {
    let Some(node) = Node::shared(node::Engine::Elasticsearch7).await else { return };
    parity::set_up("elasticsearch-7", &node.client()).await;
    let escache = Escache::start_with(node.url(), |s| s.policy.shadow_sample = Share::ALL).await;
    let (mut hits, mut tally) = (0, Tally::default());
    for (path, query, body) in parity::searches("elasticsearch-7") {
        let path = if query.is_empty() { path } else { format!("{path}?{query}") };
        for _ in 0..6 {
            let answer = escache.send("POST", &path, &[("content-type", "application/json")], &body).await;
            if verdict(&answer.headers).0 != "HIT" {
                continue;
            }
            hits += 1;
            tally = judged(&escache, hits).await;
            if tally.different > 0 {
                panic!("{path} {body}: {tally:?}");
            }
            break;
        }
    }
    println!("{hits} hits on a real node: {tally:?}");
    assert!(hits > 200 && tally.equal * 10 >= hits * 9, "{hits} hits: {tally:?}");
}

/// What is logged, in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        self.clone()
    }
}
