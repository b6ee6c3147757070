//! Search templates on the pretend engine: several of them in one request, and stored ones.

use std::time::Duration;

use serde_json::json;

use crate::msearch::{Scene, status};
use crate::support::engine::{Api, Flavour, Twist};
use crate::support::escache::verdict;
use crate::support::http::Response;

const FLAVOURS: [Flavour; 3] = [Flavour::Es7, Flavour::Es8, Flavour::Os2];

const SEVERAL: &str = "/_msearch/template";

/// Two searches, one of them of another text.
const TWO: &str = concat!(
    r#"{"index":"a"}"#,
    "\n",
    r#"{"source":"{\"query\":{\"term\":{\"team\":\"{{team}}\"}}}","params":{"team":"x"}}"#,
    "\n",
    r#"{"index":"b"}"#,
    "\n",
    r#"{"source":{"size":1}}"#,
    "\n",
);

const STORED: &str = "fwd=miss; stored; detail=\"items-hit=0/2\"";
const HIT: &str = "hit; detail=\"items-hit=2/2\"";

#[tokio::test]
async fn several_templates_are_their_searches_by_template() {
    for flavour in FLAVOURS {
        let scene = Scene::with(flavour, |_| {}).await;
        scene.check(SEVERAL, TWO, STORED).await;
        let rendered = scene.engine.seen(Api::Render);
        assert_eq!(rendered, 2);
        scene.check(SEVERAL, TWO, HIT).await;
        let asked = scene.engine.seen(Api::MsearchTemplate);
        assert_eq!(status(&scene.ask(SEVERAL, TWO).await), HIT);
        assert_eq!(scene.engine.seen(Api::MsearchTemplate), asked, "nothing is asked but the reading");
        assert_eq!(scene.engine.seen(Api::Render), rendered);
        // from there to `_search/template`, in its own form, and not to `_search`
        let one = json!({"source": {"query": {"term": {"team": "x"}}}});
        let search = scene.escache.search("/a/_search/template", one.clone()).await;
        assert_eq!(verdict(&search.headers).0, "HIT", "{flavour:?}");
        let direct = scene.direct("/a/_search/template", &one.to_string()).await;
        assert_eq!(search.json()["status"], direct.json()["status"]);
        assert_eq!(search.json()["hits"], direct.json()["hits"]);
        let search = scene.escache.search("/a/_search", json!({"query": {"term": {"team": "x"}}})).await;
        assert_eq!(verdict(&search.headers).0, "MISS");
        // and back
        scene.escache.search("/b/_search/template?routing=1", json!({"source": {"size": 0}})).await;
        let other = "{\"index\":[\"b\"],\"routing\":\"1\"}\n{\"source\":\"{\\\"size\\\":0}\"}\n";
        scene.check(SEVERAL, &format!("{TWO}{other}"), "hit; detail=\"items-hit=3/3\"").await;
        // one write ends the items that it touches
        scene.engine.index("b", "9", json!({"team": "y"}));
        scene.engine.refresh("b");
        scene.check(SEVERAL, TWO, "fwd=miss; stored; detail=\"items-hit=1/2\"").await;
        let smaller = scene.engine.requests(Api::MsearchTemplate);
        assert_eq!(smaller[smaller.len() - 2].body, "{\"index\":\"b\"}\n{\"source\":{\"size\":1}}\n");
    }
}

/// What cannot be rendered is an error of its own, and an error for all if nothing else is asked.
#[tokio::test]
async fn one_bad_template_spoils_nothing_else() {
    for flavour in FLAVOURS {
        let scene = Scene::with(flavour, |_| {}).await;
        scene.ask(SEVERAL, TWO).await;
        let bad = "{\"index\":\"a\"}\n{\"source\":\"{\\\"size\\\":\"}\n";
        let mixed = format!("{TWO}{bad}");
        let told = "fwd=miss; detail=\"items-hit=0/3 status\"";
        scene.check(SEVERAL, &mixed, told).await;
        let sent = scene.engine.requests(Api::MsearchTemplate);
        assert_eq!(sent[sent.len() - 2].body, mixed, "the smaller one was refused, so all of it is asked");
        // an index that is missing is an error of its own, whatever else is asked
        let mixed = format!("{TWO}{{\"index\":\"nowhere\"}}\n{{\"source\":{{}}}}\n");
        scene.check(SEVERAL, &mixed, "fwd=miss; detail=\"items-hit=2/3 target\"").await;
        // what the engine does not parse at all is an error for all
        for spoilt in ["{\"index\":\"a\"}\n{\"params\":{}}\n", "{\"index\":\"a\"}\n{\"source\":\n"] {
            let (through, direct) = (
                scene.ask(SEVERAL, &format!("{TWO}{spoilt}")).await,
                scene.direct(SEVERAL, &format!("{TWO}{spoilt}")).await,
            );
            assert_eq!((through.status, direct.status), (400, 400));
        }
        // of a multi search alone
        let of_shards = "/_msearch/template?max_concurrent_shard_requests=5";
        let refused = "fwd=bypass; detail=\"unknown-parameter at max_concurrent_shard_requests\"";
        assert_eq!(status(&scene.ask(of_shards, TWO).await), refused);
    }
}

/// Who may search by a template need not be allowed to do it several times over, nor who may multi search.
#[tokio::test]
async fn several_templates_have_doors_of_their_own() {
    let scene = Scene::with(Flavour::Os2, |_| {}).await;
    scene.escache.search("/a/_search/template", json!({"source": {"query": {"term": {"team": "x"}}}})).await;
    scene.escache.search("/b/_search/template", json!({"source": {"size": 1}})).await;
    scene.ask("/_msearch", "{\"index\":\"a\"}\n{}\n").await;
    scene.engine.on(Api::MsearchTemplate).next(Twist::forbidden("indices:data/read/msearch/template"));
    assert_eq!(scene.ask(SEVERAL, TWO).await.status, 403);
    assert_eq!(status(&scene.ask(SEVERAL, TWO).await), "fwd=miss; stored; detail=\"items-hit=1/2\"");
    assert_eq!(status(&scene.ask(SEVERAL, TWO).await), HIT);
}

const MINE: &str = r#"{"query":{"term":{"team":"{{team}}"}}}"#;

fn by_id(team: &str) -> serde_json::Value {
    json!({"id": "mine", "params": {"team": team}})
}

fn total(answer: &Response) -> u64 {
    answer.json()["hits"]["total"]["value"].as_u64().unwrap()
}

#[tokio::test]
async fn a_stored_template_is_what_the_state_says_now() {
    for flavour in FLAVOURS {
        let scene = Scene::with(flavour, |_| {}).await;
        scene.engine.put_script("mine", MINE);
        let path = "/a/_search/template";
        let ask = async |team: &str| scene.escache.search(path, by_id(team)).await;
        for expected in ["MISS", "HIT", "HIT"] {
            let answer = ask("x").await;
            assert_eq!((verdict(&answer.headers).0, total(&answer)), (expected, 1), "{flavour:?}");
        }
        assert_eq!((scene.engine.seen(Api::Render), scene.engine.seen(Api::SearchTemplate)), (1, 1));
        assert_eq!(verdict(&ask("y").await.headers).0, "MISS");
        // an entry of its own: the same text in the request rests on less
        let inline = json!({"source": MINE, "params": {"team": "x"}});
        assert_eq!(verdict(&scene.escache.search(path, inline).await.headers).0, "MISS");
        // another template, and the first one again: what is stored is of neither
        scene.engine.put_script("mine", r#"{"query":{"match_all":{}}}"#);
        let all = ask("x").await;
        assert_eq!((verdict(&all.headers).0, total(&all)), ("MISS", 2));
        scene.engine.put_script("mine", MINE);
        let again = ask("x").await;
        assert_eq!((verdict(&again.headers).0, total(&again)), ("MISS", 1));
        // documents count as they do everywhere
        scene.engine.index("a", "7", json!({"team": "x"}));
        scene.engine.refresh("a");
        let more = ask("x").await;
        assert_eq!((verdict(&more.headers).0, total(&more)), ("MISS", 2));
        assert_eq!(verdict(&ask("x").await.headers).0, "HIT");
        // one that is judged to be no more of the cache's
        scene.engine.put_script("mine", r#"{"query":{"range":{"at":{"gte":"now-1h"}}}}"#);
        let moving = ask("x").await;
        assert!(verdict(&moving.headers).1.contains("now"), "{:?}", verdict(&moving.headers));
        let nobody = scene.escache.search(path, json!({"id": "nobody"})).await;
        assert_eq!((nobody.status, verdict(&nobody.headers).0), (404, "BYPASS"));
    }
}

#[tokio::test]
async fn stored_templates_among_several() {
    for flavour in FLAVOURS {
        let scene = Scene::with(flavour, |_| {}).await;
        scene.engine.put_script("mine", MINE);
        let lines = format!(
            "{{\"index\":\"a\"}}\n{}\n{{\"index\":\"b\"}}\n{{\"source\":{{\"size\":1}}}}\n",
            by_id("x")
        );
        scene.check(SEVERAL, &lines, STORED).await;
        scene.check(SEVERAL, &lines, HIT).await;
        let one = scene.escache.search("/a/_search/template", by_id("x")).await;
        assert_eq!(verdict(&one.headers).0, "HIT");
        scene.escache.confirm().await;
        scene.engine.put_script("mine", r#"{"size":0}"#);
        scene.check(SEVERAL, &lines, "fwd=miss; stored; detail=\"items-hit=1/2\"").await;
    }
}

/// A node that is ahead of the master may have another template already: nothing of it is stored.
#[tokio::test]
async fn who_is_in_another_state_renders_for_nobody_else() {
    let scene = Scene::with(Flavour::Es8, |_| {}).await;
    scene.engine.put_script("mine", MINE);
    let path = "/a/_search/template";
    let local =
        |seen: &crate::support::engine::Seen| seen.query.as_deref().is_some_and(|q| q.contains("local=true"));
    let ahead = || scene.engine.on(Api::Version).when(local).always(Twist::Set("/version", json!(9_999)));
    ahead();
    let answer = scene.escache.search(path, by_id("x")).await;
    assert_eq!(
        verdict(&answer.headers).1,
        "escache; fwd=bypass; detail=\"host-lagging at _render/template\""
    );
    scene.engine.calm();
    // rendered in this state, and searched for by who is ahead of it
    let gate = scene.engine.gate_before(Api::SearchTemplate);
    let (answer, ()) = tokio::join!(scene.escache.search(path, by_id("x")), async {
        gate.arrived(1).await;
        ahead();
        gate.release();
    });
    assert_eq!(verdict(&answer.headers).1, "escache; fwd=miss; detail=host-lagging");
    scene.engine.calm();
    let answer = scene.escache.search(path, by_id("x")).await;
    assert_eq!(verdict(&answer.headers), ("MISS", "escache; fwd=miss; stored"));
}

#[tokio::test]
async fn without_readings_nothing_tells_of_a_stored_template() {
    let scene = Scene::with(Flavour::Es8, |settings| {
        settings.policy.ttl_only = Some(Duration::from_secs(60));
    })
    .await;
    scene.engine.put_script("mine", MINE);
    let answer = scene.escache.search("/a/_search/template", by_id("x")).await;
    assert_eq!(verdict(&answer.headers), ("BYPASS", "escache; fwd=bypass; detail=stored-template"));
}

#[tokio::test]
async fn a_compressed_template_is_rendered() {
    let scene = Scene::with(Flavour::Es8, |_| {}).await;
    let body = json!({"source": {"size": 1}});
    let coded = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let url = format!("{}/a/_search/template", scene.escache.url);
    scene.escache.search("/a/_search/template", body.clone()).await;
    let gzip = escache::coding::gzip(body.to_string().as_bytes());
    let answer = scene.escache.client.request("POST", url, &coded, gzip).await;
    assert_eq!(verdict(&answer.headers).0, "HIT");
}

const ENUM: &str = "/a/_terms_enum";

#[tokio::test]
async fn terms_are_stored_if_all_shards_gave_theirs_in_time() {
    let scene = Scene::with(Flavour::Es8, |_| {}).await;
    let body = json!({"field": "team", "string": "", "timeout": "1s"});
    let ask = async || scene.escache.search(ENUM, body.clone()).await;
    for expected in ["MISS", "HIT"] {
        let answer = ask().await;
        assert_eq!(verdict(&answer.headers).0, expected);
        assert_eq!(answer.json()["terms"], json!(["x", "y"]));
    }
    scene.engine.index("a", "3", json!({"team": "z"}));
    scene.engine.refresh("a");
    let incomplete = || scene.engine.on(Api::TermsEnum).next(Twist::Set("/complete", json!(false)));
    incomplete();
    assert_eq!(verdict(&ask().await.headers).1, "escache; fwd=miss; detail=timed-out");
    scene.engine.on(Api::TermsEnum).next(Twist::Set("/_shards/total", json!(0)));
    let short = ask().await;
    assert_eq!(verdict(&short.headers).0, "MISS");
    scene.engine.index("a", "4", json!({"team": "zz"}));
    scene.engine.refresh("a");
    scene.engine.on(Api::TermsEnum).next(Twist::Set("/_shards/successful", json!(0)));
    assert_eq!(verdict(&ask().await.headers).1, "escache; fwd=miss; detail=partial");
    let answer = ask().await;
    assert_eq!(verdict(&answer.headers).1, "escache; fwd=miss; stored");
    assert_eq!(answer.json()["terms"], json!(["x", "y", "z", "zz"]));
    // a tile is in a form that is not stored
    let tile = scene.escache.search("/a/_mvt/at/1/2/3", json!({})).await;
    assert_eq!(verdict(&tile.headers).1, "escache; fwd=bypass; detail=answer-type");
}
