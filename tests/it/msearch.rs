//! The multi search on the pretend engine: its searches share entries with `_search`, and the answer is the engine's.

use std::time::Duration;

use escache::outcome::Outcome;
use escache::proxy::ProxySettings;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::engine::{Api, Engine, Flavour, Twist};
use crate::support::escache::{Escache, prove, verdict};
use crate::support::http::{Client, Response};
use crate::support::patience::{until, until_hit};

pub(crate) const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

/// An engine with the indices `a` and `b`, and escache in front.
pub(crate) struct Scene {
    pub(crate) engine: Engine,
    pub(crate) escache: Escache,
    client: Client,
}

impl Scene {
    async fn new() -> Scene {
        Scene::with(Flavour::Es8, |_| {}).await
    }

    pub(crate) async fn with(flavour: Flavour, change: impl FnOnce(&mut ProxySettings)) -> Scene {
        let engine = Engine::start_as(flavour);
        for (index, id, team) in [("a", "1", "x"), ("a", "2", "y"), ("b", "1", "x")] {
            engine.index(index, id, json!({"team": team}));
        }
        engine.refresh("a");
        engine.refresh("b");
        let escache = Escache::start_with(&engine.url(), change).await;
        Scene { engine, escache, client: Client::new() }
    }

    pub(crate) async fn ask(&self, path: &str, lines: &str) -> Response {
        self.escache.send("POST", path, &[NDJSON], lines).await
    }

    pub(crate) async fn direct(&self, path: &str, lines: &str) -> Response {
        self.client.request("POST", self.engine.url() + path, &[NDJSON], lines.to_owned()).await
    }

    /// The answer is the engine's own.
    pub(crate) async fn check(&self, path: &str, lines: &str, expected: &str) {
        let through = self.ask(path, lines).await;
        let direct = self.direct(path, lines).await;
        assert_eq!(status(&through), expected, "{path} {lines:?}");
        assert_eq!(
            (through.status, without_took(&through)),
            (direct.status, without_took(&direct)),
            "{path} {lines:?}"
        );
        assert_eq!(through.header("content-type"), direct.header("content-type"));
        assert_eq!(through.header("x-elastic-product"), direct.header("x-elastic-product"));
    }

    fn asked(&self) -> (usize, usize) {
        (self.engine.seen(Api::Search), self.engine.seen(Api::Msearch))
    }
}

pub(crate) fn status(answer: &Response) -> &str {
    verdict(&answer.headers).1.strip_prefix("escache; ").unwrap()
}

pub(crate) fn without_took(answer: &Response) -> String {
    let text = answer.text();
    let mut parts = text.split("\"took\"");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |out, part| out + part.trim_start_matches(|c: char| " :0123456789".contains(c)))
}

const TWO: &str =
    "{\"index\":\"a\"}\n{\"size\":1}\n{\"index\":\"b\"}\n{\"query\":{\"term\":{\"team\":\"x\"}}}\n";
const STORED: &str = "fwd=miss; stored; detail=\"items-hit=0/2\"";
const HIT: &str = "hit; detail=\"items-hit=2/2\"";

#[tokio::test]
async fn a_multi_search_is_its_searches() {
    for flavour in [Flavour::Es7, Flavour::Es8, Flavour::Os2] {
        let scene = Scene::with(flavour, |_| {}).await;
        scene.check("/_msearch", TWO, STORED).await;
        let asked = scene.asked();
        let answer = scene.ask("/_msearch", TWO).await;
        assert_eq!(
            (status(&answer), answer.header("x-cache"), answer.header("age")),
            (HIT, Some("HIT"), Some("0"))
        );
        assert_eq!(scene.asked(), asked, "all hit: nothing is asked but the reading");
        scene.check("/_msearch", TWO, HIT).await;
        // from there to `_search`
        let search = scene.escache.search("/b/_search", json!({"query": {"term": {"team": "x"}}})).await;
        assert_eq!(verdict(&search.headers).0, "HIT");
        let direct = scene
            .client
            .post(scene.engine.url() + "/b/_search", json!({"query": {"term": {"team": "x"}}}))
            .await;
        assert_eq!(without_took(&search), without_took(&direct));
        assert_eq!(search.header("content-type"), direct.header("content-type"));
        // and from `_search` to there, and to other spellings
        scene.escache.search("/a/_search?routing=1", json!({"size": 0})).await;
        let other = "{\"index\":[\"a\"],\"routing\":\"1\"}\r\n{ \"size\" : 0 }\r\n\n{\"size\":1}\n";
        scene.check("/a/_msearch", other, HIT).await;
        scene.check("/a/_msearch?max_concurrent_searches=3", other, HIT).await;
        let total = scene.escache.proxy.stats.total();
        assert_eq!((total.hits, total.misses), (9, 3));
    }
}

#[tokio::test]
async fn what_is_left_is_asked_and_put_back_in_order() {
    let scene = Scene::new().await;
    scene.ask("/_msearch", TWO).await;
    let five = format!(
        "{{}}\n{{\"size\":0}}\n{TWO}{{\"index\":\"nowhere\"}}\n{{}}\n\n{{\"query\":{{\"term\":{{\"team\":\"y\"}}}}}}\n"
    );
    scene.check("/a/_msearch", &five, "fwd=miss; stored; detail=\"items-hit=2/5 target\"").await;
}

#[tokio::test]
async fn one_write_ends_the_items_that_it_touches() {
    let scene = Scene::new().await;
    scene.ask("/_msearch", TWO).await;
    scene.engine.index("b", "2", json!({"team": "x"}));
    scene.engine.refresh("b");
    scene.check("/_msearch", TWO, "fwd=miss; stored; detail=\"items-hit=1/2\"").await;
    let last = scene.engine.requests(Api::Msearch);
    let smaller = &last[last.len() - 2];
    assert_eq!(smaller.body, "{\"index\":\"b\"}\n{\"query\":{\"term\":{\"team\":\"x\"}}}\n");
    scene.check("/_msearch", TWO, HIT).await;
}

#[tokio::test]
async fn errors_are_the_engines() {
    for flavour in [Flavour::Es7, Flavour::Es8] {
        let scene = Scene::with(flavour, |_| {}).await;
        scene.ask("/_msearch", TWO).await;
        for (lines, expected) in [
            (TWO.trim_end(), "fwd=bypass; detail=\"not-json at line 4\""),
            ("", "fwd=bypass; detail=\"not-json at line 1\""),
            ("{}\n", "fwd=bypass; detail=\"not-json at line 1\""),
            ("{\"index\":\"a\"}\n{\"size\":1\n", "fwd=bypass; detail=\"not-json at byte 9\""),
            ("{\"index\":\"a\"\n{\"size\":1}\n", "fwd=bypass; detail=\"not-json at byte 12\""),
            (&format!("{TWO}{{\n{{}}\n"), "fwd=bypass; detail=\"not-json at byte 1\""),
            (&format!("\n{TWO}"), "fwd=bypass; detail=\"not-json at line 1\""),
            // unknown to the engine as well: an error for all
            (
                &format!("{TWO}{{\"index\":\"a\",\"nope\":1}}\n{{}}\n"),
                "fwd=miss; detail=\"items-hit=0/3 unknown-word at header line: a name\"",
            ),
            (
                &format!("{TWO}{{\"index\":\"a\"}}\n{{\"query\":{{\"nope\":{{}}}}}}\n"),
                "fwd=miss; detail=\"items-hit=0/3 unknown-word at query.?\"",
            ),
        ] {
            let through = scene.ask("/_msearch", lines).await;
            let direct = scene.direct("/_msearch", lines).await;
            let verdict = if status(&through).contains("query") { "fwd=miss" } else { expected };
            assert!(status(&through).starts_with(verdict), "{lines:?}: {}", status(&through));
            assert_eq!(
                (through.status, without_took(&through)),
                (direct.status, without_took(&direct)),
                "{lines:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_understood_of_the_whole_passes_unchanged() {
    let scene = Scene::new().await;
    scene.ask("/_msearch", TWO).await;
    for (query, reason) in [
        ("?pretty", "\"not-yet at pretty\""),
        ("?filter_path=responses.hits.total", "\"not-yet at filter_path\""),
        ("?nope=1", "unknown-parameter"),
        ("?search_type=dfs_query_then_fetch", "\"diagnostic at search_type\""),
        ("?max_concurrent_searches=0", "\"unknown-parameter at max_concurrent_searches\""),
    ] {
        scene.check(&format!("/_msearch{query}"), TWO, &format!("fwd=bypass; detail={reason}")).await;
        assert_eq!(scene.engine.last(Api::Msearch).body, TWO);
    }
    let no_store =
        scene.escache.send("POST", "/_msearch", &[NDJSON, ("cache-control", "no-store")], TWO).await;
    assert_eq!(status(&no_store), "fwd=bypass; detail=no-store");
    scene.check("/_msearch", TWO, HIT).await;
}

#[tokio::test]
async fn the_shape_of_all_is_in_the_key_of_each() {
    let scene = Scene::new().await;
    let lines = "{\"index\":\"a\"}\n{\"size\":0,\"aggs\":{\"t\":{\"terms\":{\"field\":\"team\"}}}}\n{\"index\":\"b\"}\n{}\n";
    for query in
        ["", "?rest_total_hits_as_int=true", "?typed_keys=true", "?typed_keys&rest_total_hits_as_int"]
    {
        scene.check(&format!("/_msearch{query}"), lines, STORED).await;
        scene.check(&format!("/_msearch{query}"), lines, HIT).await;
    }
    // what the line says counts more than what the URL says
    let ignoring =
        "{\"index\":\"a,nowhere\",\"ignore_unavailable\":true}\n{}\n{\"index\":\"a,nowhere\"}\n{}\n";
    let left = "fwd=miss; stored; detail=\"items-hit=0/2 target\"";
    scene.check("/_msearch?ignore_unavailable=false", ignoring, left).await;
    let left = "fwd=miss; detail=\"items-hit=1/2 target\"";
    scene.check("/_msearch?ignore_unavailable=false", ignoring, left).await;
}

#[tokio::test]
async fn each_item_is_stored_only_if_it_is_whole() {
    let scene = Scene::new().await;
    scene.engine.drop_shard("b", 0);
    scene.engine.create_index("c");
    let lines = "{\"index\":\"a\"}\n{}\n{\"index\":\"b,c\"}\n{}\n";
    scene.check("/_msearch", lines, "fwd=miss; stored; detail=\"items-hit=0/2 target\"").await;
    scene.check("/_msearch", lines, "fwd=miss; detail=\"items-hit=1/2 target\"").await;
    // and if nothing was purged meanwhile
    let gate = scene.engine.gate_after(Api::Msearch);
    let (answer, ()) = tokio::join!(scene.ask("/_msearch", TWO), async {
        gate.arrived(1).await;
        scene.escache.send("POST", "/_cache/clear", &[], "").await;
        gate.release();
    });
    assert_eq!(status(&answer), "fwd=miss; detail=\"items-hit=0/2 target\"");
    scene.engine.restore_shard("b", 0);
    assert_eq!(status(&scene.ask("/_msearch", TWO).await), STORED);
}

#[tokio::test]
async fn a_late_answer_is_not_stored_over_a_purge() {
    let scene = Scene::new().await;
    let gate = scene.engine.gate_after(Api::Msearch);
    let (answer, ()) = tokio::join!(scene.ask("/_msearch", TWO), async {
        gate.arrived(1).await;
        scene.escache.send("POST", "/_cache/clear", &[], "").await;
        gate.release();
    });
    assert_eq!(status(&answer), "fwd=miss; detail=\"items-hit=0/2 purged\"");
    assert_eq!(status(&scene.ask("/_msearch", TWO).await), STORED);
}

#[tokio::test]
async fn an_answer_tagged_with_a_state_that_its_host_has_not_applied_is_not_stored() {
    let scene = Scene::new().await;
    scene.engine.bump_state();
    scene.engine.lag_local_state(1);
    assert!(status(&scene.ask("/_msearch", TWO).await).contains("host-lagging"));
    scene.engine.lag_local_state(0);
    assert_eq!(status(&scene.ask("/_msearch", TWO).await), STORED);
}

#[tokio::test]
async fn who_may_search_need_not_be_allowed_to_multi_search() {
    let scene = Scene::new().await;
    for (index, body) in [("a", json!({"size": 1})), ("b", json!({"query": {"term": {"team": "x"}}}))] {
        scene.escache.search(&format!("/{index}/_search"), body).await;
    }
    // all is in the store, and yet the engine is asked for one of them
    scene.engine.on(Api::Msearch).next(Twist::forbidden("indices:data/read/msearch"));
    let refused = scene.ask("/_msearch", TWO).await;
    assert_eq!((refused.status, status(&refused)), (403, "fwd=miss; detail=\"items-hit=0/2 status\""));
    assert_eq!(status(&scene.ask("/_msearch", TWO).await), "fwd=miss; stored; detail=\"items-hit=1/2\"");
    assert_eq!(status(&scene.ask("/_msearch", TWO).await), HIT);
    // another representation is another door
    let other = scene.escache.send("POST", "/_msearch", &[NDJSON, ("accept", "application/json")], TWO).await;
    assert_eq!(status(&other), STORED);
    // after a node's start its settings may be others
    scene.engine.restart_node(0);
    assert_eq!(status(&scene.ask("/_msearch", TWO).await), STORED);
}

#[tokio::test]
async fn header_lines_with_indices_need_a_proof_of_their_own() {
    let scene = Scene::new().await;
    let by_path = "{}\n{\"size\":1}\n{}\n{\"size\":2}\n";
    let by_line = "{\"index\":\"a\"}\n{\"size\":1}\n{\"index\":\"a\"}\n{\"size\":2}\n";
    scene.engine.on(Api::Msearch).when(|seen| seen.body.starts_with(b"{\"index\"")).next(Twist::error(
        400,
        "illegal_argument_exception",
        "explicit index in multi search is not allowed",
    ));
    assert_eq!(status(&scene.ask("/a/_msearch", by_path).await), STORED);
    assert_eq!(status(&scene.ask("/a/_msearch", by_path).await), HIT);
    let refused = scene.ask("/a/_msearch", by_line).await;
    assert_eq!((refused.status, status(&refused)), (400, "fwd=miss; detail=\"items-hit=0/2 status\""));
    assert_eq!(
        status(&scene.ask("/a/_msearch", by_line).await),
        "fwd=miss; stored; detail=\"items-hit=1/2\""
    );
    assert_eq!(status(&scene.ask("/a/_msearch", by_line).await), HIT);
    assert_eq!(status(&scene.ask("/a/_msearch", by_path).await), HIT);
    // the younger proof of the one does not take the other's place
    scene.ask("/a/_msearch", "{}\n{\"size\":3}\n").await;
    assert_eq!(status(&scene.ask("/a/_msearch", by_line).await), HIT);
}

#[tokio::test]
async fn identities_have_entries_and_doors_of_their_own() {
    let engine = Engine::start_as(Flavour::Os2);
    for (id, team) in [("1", "x"), ("2", "y")] {
        engine.index("a", id, json!({"team": team}));
    }
    engine.refresh("a");
    let (watcher, alice, bob) =
        (engine.add_user("watcher"), engine.add_user("alice"), engine.add_user("bob"));
    engine.restrict("bob", Some(json!({"term": {"team": "y"}})));
    let escache = Escache::start_with(&engine.url(), |settings| {
        prove(settings, &watcher, Duration::from_millis(50));
    })
    .await;
    let lines = "{\"index\":\"a\"}\n{}\n";
    let ask =
        async |who: &str| escache.send("POST", "/_msearch", &[NDJSON, ("authorization", who)], lines).await;
    let total = |answer: &Response| answer.json()["responses"][0]["hits"]["total"]["value"].as_u64().unwrap();
    let warm = async |who: &str| total(&until_hit(async || ask(who).await).await);
    assert_eq!((warm(&alice).await, warm(&bob).await), (2, 1));
    engine.restrict("alice", Some(json!({"term": {"team": "z"}})));
    let changed = ask(&alice).await;
    assert_eq!((total(&changed), verdict(&changed.headers).0), (0, "BYPASS"));
    assert_eq!(warm(&alice).await, 0);
    // the permission to multi search is taken away, and what is in the store is of before
    engine.restrict("bob", Some(json!({"term": {"team": "x"}})));
    until_hit(async || escache.send("POST", "/a/_search", &[("authorization", &bob)], "").await).await;
    engine.on(Api::Msearch).always(Twist::forbidden("indices:data/read/msearch"));
    assert_eq!(ask(&bob).await.status, 403);
    assert_eq!(ask("Basic bm9ib2R5").await.status, 403);
}

#[tokio::test]
async fn a_client_reads_its_own_writes_within_a_bound() {
    let scene = Scene::with(Flavour::Es8, |settings| {
        settings.policy.max_staleness = Duration::from_secs(3600);
    })
    .await;
    scene.ask("/_msearch", TWO).await;
    let readings = scene.engine.seen(Api::Stats);
    scene.engine.index("b", "7", json!({"team": "x"}));
    scene.engine.refresh("b");
    assert_eq!(status(&scene.ask("/_msearch", TWO).await), HIT, "within the bound");
    assert_eq!(scene.engine.seen(Api::Stats), readings);
    scene.escache.send("POST", "/b/_refresh", &[], "").await;
    scene.check("/_msearch", TWO, "fwd=miss; stored; detail=\"items-hit=1/2\"").await;
    let fresh = scene.escache.send("POST", "/_msearch", &[NDJSON, ("cache-control", "no-cache")], TWO).await;
    assert_eq!(status(&fresh), HIT);
    assert!(scene.engine.seen(Api::Stats) > readings);
}

#[tokio::test]
async fn only_if_cached_asks_nobody() {
    let scene = Scene::new().await;
    let ask = async || {
        scene.escache.send("POST", "/_msearch", &[NDJSON, ("cache-control", "only-if-cached")], TWO).await
    };
    assert_eq!(ask().await.status, 504);
    assert_eq!(scene.asked(), (0, 0));
    scene.ask("/_msearch", TWO).await;
    assert_eq!((ask().await.status, scene.asked()), (200, (0, 1)));
}

#[tokio::test]
async fn too_large_an_answer_streams() {
    let scene = Scene::with(Flavour::Es8, |settings| settings.policy.max_entry_size = 700).await;
    for id in 0..20 {
        scene.engine.index("b", &format!("many-{id}"), json!({"team": "x"}));
    }
    scene.engine.refresh("b");
    let streamed = "fwd=miss; detail=entry-too-large";
    scene.check("/_msearch", TWO, streamed).await;
    let asked = scene.asked().1;
    scene.check("/_msearch", TWO, "fwd=miss; detail=\"items-hit=0/2 entry-too-large\"").await;
    assert_eq!(scene.asked().1, asked + 2, "streamed at once, and asked directly");
    // a part is found, the rest is too large to be put beside it
    scene.escache.search("/a/_search", json!({"size": 1})).await;
    scene.check("/_msearch", TWO, "fwd=miss; detail=\"items-hit=0/2 entry-too-large\"").await;
    scene.check("/_msearch", TWO, "fwd=miss; detail=\"items-hit=0/2 entry-too-large\"").await;
}

/// What is asked beside a search, and is too large, does not make the search too large for others.
#[tokio::test]
async fn too_large_is_what_was_asked_together() {
    let scene = Scene::with(Flavour::Es8, |settings| settings.policy.max_entry_size = 1_500).await;
    for id in 0..40 {
        scene.engine.index("b", &format!("many-{id}"), json!({"team": "x"}));
    }
    scene.engine.refresh("b");
    let small = "{\"index\":\"a\"}\n{\"size\":1}\n";
    let huge = "{\"index\":\"b\"}\n{\"size\":40,\"profile\":true}\n";
    let both = format!("{small}{huge}");
    assert!(status(&scene.ask("/_msearch", &both).await).contains("entry-too-large"));
    // once more: now it is known, and streams at once
    assert!(status(&scene.ask("/_msearch", &both).await).contains("entry-too-large"));
    assert_eq!(scene.asked().1, 2);
    scene.check("/_msearch", small, "fwd=miss; stored; detail=\"items-hit=0/1\"").await;
}

/// A request of many targets does not use up the readings that all have.
#[tokio::test]
async fn many_targets_are_read_by_turns() {
    let scene = Scene::with(Flavour::Es8, |settings| settings.watcher.max_concurrent = 4).await;
    let mut lines = String::new();
    for number in 0..12 {
        let index = format!("many-{number}");
        scene.engine.index(&index, "1", json!({"team": "x"}));
        scene.engine.refresh(&index);
        lines += &format!("{{\"index\":\"{index}\"}}\n{{\"size\":{number}}}\n");
    }
    scene.check("/_msearch", &lines, "fwd=miss; stored; detail=\"items-hit=0/12\"").await;
    scene.check("/_msearch", &lines, "hit; detail=\"items-hit=12/12\"").await;
}

/// Many searches may hit one entry: what is put together in memory has a limit, and the engine's answer streams.
#[tokio::test]
async fn hits_that_are_too_large_together_are_asked() {
    let scene = Scene::with(Flavour::Es8, |settings| settings.policy.max_entry_size = 2_000).await;
    let line = "{\"index\":\"a\"}\n{\"size\":1}\n";
    scene.ask("/_msearch", &line.repeat(2)).await;
    scene.check("/_msearch", &line.repeat(2), HIT).await;
    let many = line.repeat(40);
    scene.check("/_msearch", &many, "fwd=miss; detail=\"items-hit=0/40 entry-too-large\"").await;
    let asked = scene.engine.requests(Api::Msearch);
    assert_eq!(asked[asked.len() - 2].body, many);
    // nor are they put beside what is asked
    let mixed = many + "{\"index\":\"b\"}\n{\"size\":0}\n";
    scene.check("/_msearch", &mixed, "fwd=miss; detail=\"items-hit=0/41 entry-too-large\"").await;
    let only = [NDJSON, ("cache-control", "only-if-cached")];
    assert_eq!(scene.escache.send("POST", "/_msearch", &only, &mixed).await.status, 504);
}

#[tokio::test]
async fn a_warning_of_nobody_knows_which_is_not_stored() {
    let scene = Scene::new().await;
    let warn = |text: &str| Twist::Header("warning", format!("299 Elasticsearch-7.17.29-x \"{text}\""));
    scene.engine.on(Api::Msearch).next(warn("this is deprecated"));
    let answer = scene.ask("/_msearch", TWO).await;
    assert_eq!(status(&answer), "fwd=miss; detail=\"items-hit=0/2 warnings\"");
    assert!(answer.header("warning").unwrap().contains("deprecated"));
    // that of an engine without security is with every answer
    let ambient = "Elasticsearch built-in security features are not enabled. Without authentication ...";
    scene.engine.on(Api::Msearch).next(warn(ambient));
    assert_eq!(status(&scene.ask("/_msearch", TWO).await), STORED);
    let hit = scene.ask("/_msearch", TWO).await;
    assert_eq!((status(&hit), hit.headers.get_all("warning").iter().count()), (HIT, 1));
    // one that belongs to a search is stored with it, and not shown among others
    scene.engine.on(Api::Search).next(warn("this is deprecated"));
    scene.escache.search("/a/_search", json!({"size": 3})).await;
    let lines = "{\"index\":\"a\"}\n{\"size\":3}\n{\"index\":\"a\"}\n{\"size\":1}\n";
    assert_eq!(status(&scene.ask("/_msearch", lines).await), "fwd=miss; stored; detail=\"items-hit=1/2\"");
}

#[tokio::test]
async fn a_signed_body_is_sent_as_it_is() {
    let scene = Scene::new().await;
    let signed = [NDJSON, ("content-digest", "sha-256=:abc:")];
    let b = "{\"index\":\"b\"}\n{\"query\":{\"term\":{\"team\":\"x\"}}}\n";
    scene.escache.send("POST", "/_msearch", &signed, b).await;
    let answer = scene.escache.send("POST", "/_msearch", &signed, TWO).await;
    assert_eq!(status(&answer), STORED);
    assert_eq!(scene.engine.last(Api::Msearch).body, TWO);
}

#[tokio::test]
async fn what_is_told_of_the_target_is_not_told_by_name() {
    let scene = Scene::new().await;
    scene.engine.put_filtered_alias("b", "al", json!({"range": {"at": {"gte": "now-1d"}}}));
    let lines = "{\"index\":\"al\"}\n{}\n";
    assert_eq!(status(&scene.ask("/_msearch", lines).await), "fwd=bypass; detail=target");
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_multi_searches_are_one() {
    let scene = Scene::new().await;
    let gate = scene.engine.gate_before(Api::Msearch);
    let asks: Vec<_> = (0..50)
        .map(|_| {
            let (client, url) = (scene.escache.client.clone(), format!("{}/_msearch", scene.escache.url));
            tokio::spawn(async move { client.request("POST", url, &[NDJSON], TWO).await })
        })
        .collect();
    let plain = &scene.escache.proxy.stats.plain;
    until("all are aboard", async || plain.followers.get() + plain.flights.get() == 50).await;
    gate.release();
    let answers = join_all(asks).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().body == first.body));
    assert_eq!(scene.asked(), (0, 1));
    assert_eq!(scene.escache.proxy.flights.len(), 0);
    assert_eq!(scene.escache.proxy.stats.requests(2, Outcome::Miss), 50);
}

#[tokio::test]
async fn an_unwatched_cache_lives_by_time_and_marks() {
    let scene = Scene::with(Flavour::Es8, |settings| {
        settings.policy.ttl_only = Some(Duration::from_secs(3600));
    })
    .await;
    let told = "hit; ttl=3599; detail=\"items-hit=2/2 ttl-only\"";
    scene.ask("/_msearch", TWO).await;
    let hit = scene.ask("/_msearch", TWO).await;
    assert_eq!(status(&hit).replace("3600", "3599"), told);
    scene.escache.send("POST", "/b/_refresh", &[], "").await;
    assert_eq!(verdict(&scene.ask("/_msearch", TWO).await.headers).0, "MISS");
}

#[tokio::test]
async fn explain_tells_of_each_search() {
    let scene = Scene::new().await;
    scene.ask("/_msearch", TWO).await;
    let lines = format!("{TWO}{{\"nope\":1}}\n{{}}\n");
    let question = json!({"method": "POST", "path": "/a/_msearch", "body": lines, "headers": {"content-type": "application/x-ndjson"}});
    let told = scene.client.post(format!("{}/explain", scene.escache.admin), question).await.json();
    let verdicts: Vec<_> = told["items"].as_array().unwrap().iter().map(|item| &item["verdict"]).collect();
    assert_eq!(verdicts, ["cacheable", "cacheable", "bypass"], "{told}");
    assert_eq!(
        (&told["items"][0]["entry"]["state"], &told["items"][1]["index"]),
        (&json!("current"), &json!("b"))
    );
    let whole = json!({"method": "POST", "path": "/_msearch", "body": "{}"});
    let told = scene.client.post(format!("{}/explain", scene.escache.admin), whole).await.json();
    assert_eq!((&told["verdict"], &told["reason"]), (&json!("bypass"), &json!("not-json")));
}

/// A compressed request is taken apart like any other, and what is left of it goes on as it is.
#[tokio::test]
async fn a_compressed_request_is_its_searches() {
    let scene = Scene::new().await;
    let gzip = |text: &str| escache::coding::gzip(text.as_bytes());
    let coded = [NDJSON, ("content-encoding", "gzip")];
    let ask = async |lines: &str| {
        let url = format!("{}/_msearch", scene.escache.url);
        scene.escache.client.request("POST", url, &coded, gzip(lines)).await
    };
    // whole, it goes on as it came
    assert_eq!(status(&ask(TWO).await), STORED);
    let sent = scene.engine.last(Api::Msearch);
    assert_eq!((&sent.body[..], sent.header("content-encoding")), (&gzip(TWO)[..], Some("gzip")));
    assert_eq!(status(&ask(TWO).await), HIT);
    scene.check("/_msearch", TWO, HIT).await;
    let more = format!("{TWO}{{\"index\":\"a\"}}\n{{\"size\":0}}\n");
    assert_eq!(status(&ask(&more).await), "fwd=miss; stored; detail=\"items-hit=2/3\"");
    let sent = scene.engine.last(Api::Msearch);
    assert_eq!(sent.body, "{\"index\":\"a\"}\n{\"size\":0}\n");
    assert_eq!(sent.header("content-encoding"), None);
    // what is not what it says, or too long
    let odd = scene.escache.send("POST", "/_msearch", &coded, TWO).await;
    assert_eq!(status(&odd), "fwd=bypass; detail=\"content-type at content-encoding\"");
    let bomb = ask(&" ".repeat(32 << 20)).await;
    assert_eq!(status(&bomb), "fwd=bypass; detail=body-too-large");
}
