//! The live page: its data, what a browser may do with it, and the page itself in a real Chromium.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use escache::proxy::Probed;
use escache::surface::admin::Controls;
use escache::surface::overview;
use serde_json::{Value, json};

use crate::support::browser::{Browser, keys};
use crate::support::engine::{Api, Engine, Flavour, Twist, engine_of};
use crate::support::escache::{Escache, verdict};
use crate::support::patience::until;

const LITERAL: &str = "wanted-by-alice";

fn by_user(size: u64) -> Value {
    json!({"size": size, "query": {"bool": {"filter": [{"term": {"user": LITERAL}}]}}})
}

async fn two() -> (Engine, Escache) {
    let engine = engine_of(Flavour::Es8, &["logs", "products"]);
    let escache = Escache::start(&engine.url()).await;
    (engine, escache)
}

/// Searches of all kinds: three hits and a miss by user, of products one more of each, two that bypass, and a change.
async fn send_searches(engine: &Engine, escache: &Escache) {
    for _ in 0..4 {
        escache.search("/logs/_search", by_user(0)).await;
    }
    for _ in 0..2 {
        escache.search("/products/_search", json!({"aggs": {"teams": {"terms": {"field": "team"}}}})).await;
    }
    escache.search("/logs/_search", json!({"query": {"range": {"at": {"gte": "now-1h"}}}})).await;
    escache.search("/logs/_search?scroll=1m", json!({})).await;
    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
    escache.search("/logs/_search", by_user(1)).await;
}

async fn overview(escache: &Escache) -> Value {
    escache.client.get(format!("{}/overview", escache.admin)).await.json()
}

fn row<'a>(overview: &'a Value, shape: &str) -> &'a Value {
    let rows = overview["searches"].as_array().unwrap();
    let mut found = rows.iter().filter(|row| row["shape"].as_str().unwrap().contains(shape));
    found.next().unwrap_or_else(|| panic!("no {shape} in {overview:#}"))
}

#[tokio::test]
async fn the_overview_tells_which_searches_save_and_cost_and_why() {
    let (engine, escache) = two().await;
    send_searches(&engine, &escache).await;
    let told = overview(&escache).await;
    let outcomes = json!({"hit": 4, "miss": 3, "stale": 0, "bypass": 2});
    assert_eq!(told["totals"]["searches"], outcomes, "{told:#}");
    // both sizes are one shape
    let users = row(&told, "term:{user:?}");
    assert_eq!((&users["hits"], &users["asked"]), (&json!(3), &json!(2)), "{users}");
    assert_eq!((&users["target"], &users["verdict"]), (&json!("logs"), &json!("cacheable")));
    assert!(users["saved_seconds"].as_f64().unwrap() > 0.0 && users["spent_seconds"].as_f64().unwrap() > 0.0);
    let now = row(&told, "range:{at:{gte:?}}");
    assert_eq!((&now["verdict"], &now["reason"]), (&json!("bypass"), &json!("now")), "{now}");
    let reasons: Vec<&str> =
        told["reasons"].as_array().unwrap().iter().map(|row| row["reason"].as_str().unwrap()).collect();
    assert!(reasons.len() == 2 && reasons.contains(&"now") && reasons.contains(&"stateful"), "{reasons:?}");
    assert!(told["reasons"][0]["advice"].as_str().unwrap().len() > 20);
    let logs = told["indices"]["rows"].as_array().unwrap().iter().find(|row| row["index"] == "logs").unwrap();
    assert_eq!(
        (&logs["hits"], &logs["misses"], &logs["causes"]),
        (&json!(3), &json!(2), &json!({"refresh": 1}))
    );
    assert!(logs["bytes"].as_u64().unwrap() > 100);
    // a multi search is told of search by search
    let lines = format!("{{}}\n{}\n{{}}\n{}\n", by_user(5), json!({"size": 3, "profile": true}));
    let headers = [("content-type", "application/x-ndjson")];
    escache.send("POST", "/logs/_msearch", &headers, &lines).await;
    let told = overview(&escache).await;
    assert_eq!(row(&told, "term:{user:?}")["asked"], 3, "{told:#}");
    assert_eq!(row(&told, "{size:?,profile:?}")["reason"], "diagnostic", "{told:#}");
}

/// One definition, by one name, on every surface: the engines' own numbers, a crowd and multi searches included.
#[tokio::test(flavor = "multi_thread")]
async fn the_hit_ratio_is_the_same_wherever_it_is_shown() {
    let (engine, escache) = two().await;
    let none = json!({"hit_count": 0, "miss_count": 0, "hit_ratio": null, "share_of_all_searches": null});
    assert_eq!(overview(&escache).await["totals"]["ratios"], none);
    send_searches(&engine, &escache).await;
    let lines = format!("{{}}\n{}\n{{}}\n{}\n", by_user(1), by_user(7));
    escache.send("POST", "/logs/_msearch", &[("content-type", "application/x-ndjson")], &lines).await;
    let escache = Arc::new(escache);
    let gate = engine.gate_before(Api::Search);
    let crowd = [(); 2].map(|()| {
        let escache = Arc::clone(&escache);
        tokio::spawn(async move { escache.search("/logs/_search", by_user(9)).await.status })
    });
    until("one waits for the other", async || escache.proxy.stats.plain.followers.get() == 1).await;
    gate.release();
    for one in crowd {
        assert_eq!(one.await.unwrap(), 200);
    }

    // 4 hits, 3 misses, 2 that bypass; a hit and a miss in one request; a miss and who has waited for it
    let told = overview(&escache).await["totals"]["ratios"].clone();
    let (hits, misses) = (6, 5);
    assert_eq!((&told["hit_count"], &told["miss_count"]), (&json!(hits), &json!(misses)), "{told}");
    let near = |name: &str, expected: f64| {
        assert!((told[name].as_f64().unwrap() - expected).abs() < 1e-9, "{name} in {told}");
    };
    near("hit_ratio", 6.0 / 11.0);
    near("share_of_all_searches", 4.0 / 12.0);
    let get = async |url: String| escache.client.get(url).await;
    assert_eq!(get(format!("{}/stats", escache.admin)).await.json()["ratios"], told);
    let engines = get(format!("{}/_stats/request_cache", escache.url)).await.json();
    let engines = &engines["_all"]["total"]["request_cache"];
    assert_eq!((&engines["hit_count"], &engines["miss_count"]), (&told["hit_count"], &told["miss_count"]));
    let metrics = get(format!("{}/metrics", escache.admin)).await.text();
    for (result, count) in [("hit", hits), ("miss", misses)] {
        let line = format!("escache_lookups_total{{result=\"{result}\"}} {count}\n");
        assert!(metrics.contains(&line), "no {line} in {metrics}");
    }
}

#[tokio::test]
async fn texts_of_searches_are_shown_where_the_operator_allows_it() {
    let (engine, escache) = two().await;
    send_searches(&engine, &escache).await;
    let identity = [("content-type", "application/json"), ("authorization", "Basic c2VjcmV0OnNlY3JldA==")];
    escache.send("POST", "/products/_search?q=team:alice", &identity, "{}").await;
    let explain =
        async |question: Value| escache.client.post(format!("{}/explain", escache.admin), question).await;
    let told = overview(&escache).await;
    for secret in [LITERAL, "alice", "now-1h", "c2VjcmV0"] {
        assert!(!told.to_string().contains(secret), "{secret} in {told:#}");
    }
    // what is not shown can be explained, and the explanation does not show it
    let id = &row(&told, "term:{user:?}")["id"];
    let explained = explain(json!({"search": id})).await.json();
    assert_eq!((&explained["verdict"], &explained["indices"]), (&json!("cacheable"), &json!(["logs"])));
    assert!(!explained.to_string().contains(LITERAL), "{explained:#}");
    let explained = explain(json!({"search": row(&told, "range:{at")["id"]})).await.json();
    assert_eq!(explained["reason"], "now");
    assert!(explained["advice"].as_str().unwrap().contains("Round"), "{explained:#}");
    let explained = explain(json!({"search": row(&told, "?q")["id"]})).await.json();
    assert!(explained["note"].as_str().unwrap().contains("credentials"), "{explained:#}");
    let gone = explain(json!({"search": "200-9"})).await;
    assert_eq!((gone.status, explain(json!({"method": "GET"})).await.status), (400, 400));
    let shown = Controls { show_queries: true, ..Controls::default() };
    escache.listeners[1].control(shown);
    let told = overview(&escache).await;
    assert!(row(&told, "term:{user:?}")["example"]["body"].as_str().unwrap().contains(LITERAL), "{told:#}");
    assert!(!told.to_string().contains("c2VjcmV0"), "{told:#}");
}

/// Searches with the headers that Elasticsearch's own clients send, and one with credentials.
#[tokio::test]
async fn what_is_shown_is_a_list_for_warming() {
    let (engine, escache) = two().await;
    let kind = "application/vnd.elasticsearch+json; compatible-with=8";
    let headers = [("content-type", kind), ("accept", kind)];
    let named = [headers[0], headers[1], ("authorization", "Basic c2VjcmV0OnNlY3JldA==")];
    let body = by_user(2).to_string();
    escache.send("POST", "/logs/_search", &headers, &body).await;
    escache.send("POST", "/products/_search", &named, "{}").await;
    escache.send("GET", "/logs/_count", &[], "").await;
    let lines = format!("{{}}\n{}\n", json!({"size": 7}));
    let many = [("content-type", "application/x-ndjson"), ("accept", "application/json")];
    escache.send("POST", "/logs/_msearch", &many, &lines).await;
    let warm = async |to: &Escache, list: &str| {
        let kind = [("content-type", "application/json")];
        to.client.request("POST", format!("{}/warm", to.admin), &kind, list.to_owned()).await.json()
    };
    let other = Escache::start(&engine.url()).await;
    let told = warm(&other, &overview(&escache).await.to_string()).await;
    assert_eq!((&told["stored"], &told["not_understood"]), (&json!(0), &json!(4)), "{told:#}");
    assert!(told["problems"][0].as_str().unwrap().contains("admin.show_queries"), "{told:#}");
    escache.listeners[1].control(Controls { show_queries: true, ..Controls::default() });
    let shown = overview(&escache).await;
    assert!(!shown.to_string().contains("c2VjcmV0"), "{shown:#}");
    // the one with credentials is asked for nobody
    let told = warm(&other, &shown.to_string()).await;
    assert_eq!((&told["searches"], &told["stored"]), (&json!(4), &json!(4)), "{told:#}");
    for (method, path, headers, body) in [
        ("POST", "/logs/_search", &headers[..], &*body),
        ("GET", "/logs/_count", &[], ""),
        ("POST", "/logs/_search", &[("content-type", "application/json"), many[1]], "{\"size\":7}"),
    ] {
        let found = other.send(method, path, headers, body).await;
        assert_eq!(verdict(&found.headers).0, "HIT", "{path} {headers:?}");
    }
    // so what is explained is what was asked
    let id = &row(&shown, "term:{user:?}")["id"];
    let explained =
        escache.client.post(format!("{}/explain", escache.admin), json!({"search": id})).await.json();
    assert_eq!(explained["entry"]["state"], "current", "{explained:#}");
}

#[tokio::test]
async fn the_page_may_load_nothing_from_elsewhere() {
    let (_engine, escache) = two().await;
    let get = async |path: &str| escache.client.get(format!("{}{path}", escache.admin)).await;
    let page = get("/").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    let text = page.text();
    let mut files = 0;
    for part in text.split(['"', '\'']) {
        assert!(!part.contains("//") || part.contains(' '), "{part}");
        if [".js", ".css", ".svg"].iter().any(|end| part.ends_with(end)) {
            files += 1;
            let file = get(&format!("/{part}")).await;
            assert_eq!(
                (file.status, file.header("x-content-type-options")),
                (200, Some("nosniff")),
                "{part}"
            );
        }
    }
    assert_eq!(files, 4);
    for inline in ["<style", "style=", "onclick", "<script>"] {
        assert!(!text.contains(inline), "{inline}");
    }
    for path in ["/", "/page.js", "/overview"] {
        let answer = escache.client.request("POST", format!("{}{path}", escache.admin), &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{path}");
    }
}

/// Where the picture of the page stands in the documentation. `UPDATE=1` draws it anew.
fn picture(name: &str, png: &[u8]) {
    assert!(png.starts_with(b"\x89PNG") && png.len() > 20_000, "{name}: {} bytes", png.len());
    if std::env::var_os("UPDATE").is_some_and(|update| update == "1") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
        std::fs::write(&path, png).unwrap();
    }
}

#[tokio::test]
async fn the_page_in_a_browser() {
    let Some(browser) = Browser::start().await else { return };
    let (engine, escache) = two().await;
    tokio::spawn(overview::keep_history(Arc::clone(&escache.proxy), Duration::from_millis(250)));
    browser.open(&escache.admin).await;
    browser.wait_for("document.querySelector('#searches tbody').innerText.includes('No search')").await;

    // numbers and lists change by themselves
    engine.on(Api::Search).times(2, Twist::Delay(Duration::from_millis(30)));
    send_searches(&engine, &escache).await;
    browser.wait_for("document.querySelector('#totals').innerText.includes('57.1 %')").await;
    let text = async |of: &str| {
        let script = format!("return document.querySelector('{of}').innerText");
        browser.run(&script).await.as_str().unwrap().to_owned()
    };
    assert!(text("#state").await.contains("Elasticsearch 8.19"), "{}", text("#state").await);
    let searches = text("#searches tbody").await;
    for expected in ["term:{user:?}", "aggs:{teams:{terms:{field:?}}}", "cacheable", "bypass", "now at query"]
    {
        assert!(searches.contains(expected), "{expected} in {searches}");
    }
    assert!(!searches.contains(LITERAL), "{searches}");
    let reasons = text("#reasons tbody").await;
    assert!(reasons.contains("stateful") && reasons.contains("Round the time"), "{reasons}");
    let indices = text("#indices tbody").await;
    assert!(indices.contains("logs") && indices.contains("refresh 1"), "{indices}");
    // plots are drawn, and say their values to who does not see them
    browser.wait_for("document.querySelectorAll('#plots path.series.hit').length >= 3").await;
    browser.wait_for("document.querySelectorAll('#plots rect.bar.change').length >= 1").await;
    let labels = browser
        .run("return [...document.querySelectorAll('#plots svg')].map(svg => svg.getAttribute('aria-label'))")
        .await;
    let labels: Vec<&str> = labels.as_array().unwrap().iter().map(|label| label.as_str().unwrap()).collect();
    for (label, title) in
        labels.iter().zip(["Hit ratio", "Searches a second", "Latency", "Memory", "Evictions", "Changes"])
    {
        assert!(label.starts_with(title), "{label}");
    }
    assert_eq!(labels.len(), 6);
    for _ in 0..9 {
        escache.search("/products/_search", json!({"aggs": {"teams": {"terms": {"field": "team"}}}})).await;
    }
    browser.wait_for("document.querySelector('#totals').innerText.includes('Hits\\n13')").await;

    by_keyboard(&browser).await;
    tries_a_search(&browser).await;

    // there is nothing to save, and the page says why in words that a screen reader reads
    let of_export = "const [button, why] = ['export', 'no-export'].map(id => document.getElementById(id));
                     return [button.checkVisibility(), why.checkVisibility(), why.closest('p').innerText.trim()]";
    let told = browser.run(of_export).await;
    assert_eq!((&told[0], &told[1]), (&json!(false), &json!(true)), "{told}");
    assert!(told[2].as_str().unwrap().contains("admin.show_queries: true"), "{told}");

    // something to see
    for round in 0..40 {
        for _ in 0..4 {
            escache.search("/logs/_search", by_user(1)).await;
            escache
                .search("/products/_search", json!({"aggs": {"teams": {"terms": {"field": "team"}}}}))
                .await;
        }
        if round % 4 == 0 {
            engine.on(Api::Search).next(Twist::Delay(Duration::from_millis(40)));
            engine.index("products", &round.to_string(), json!({"team": "b"}));
            engine.refresh("products");
            escache.search("/logs/_search?scroll=1m", json!({})).await;
        }
    }
    // for people who like it dark, and those who do not
    let mut backgrounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme).await;
        let script = "const of = name => getComputedStyle(document.querySelector(name));
                      return [of('body').backgroundColor, of('body').color, of('#searches').color]";
        backgrounds.push(browser.run(script).await);
        picture(&format!("page-{scheme}.png"), &browser.picture(1_000).await);
    }
    let [light, dark] = &backgrounds[..] else { panic!("two schemes: {backgrounds:?}") };
    for at in 0..3 {
        assert_ne!(light[at], dark[at]);
    }

    // with the operator's consent
    escache.listeners[1].control(Controls { show_queries: true, ..Controls::default() });
    browser.wait_for(&format!("document.querySelector('#searches').innerText.includes('{LITERAL}')")).await;

    // a list for `escache warm`, which another one understands
    let told = browser.run(of_export).await;
    assert_eq!((&told[0], &told[1]), (&json!(true), &json!(false)), "{told}");
    assert_eq!(browser.run("return document.querySelector('#export').disabled").await, false);
    browser.run("document.querySelector('#export').click()").await;
    browser.wait_for("document.querySelector('#exported').innerText.includes('searches saved')").await;
    let list = browser.run("return exportable().map(search => JSON.stringify(search)).join('\\n')").await;
    let other = Escache::start(&engine.url()).await;
    let kind = [("content-type", "application/x-ndjson")];
    let list = list.as_str().unwrap().to_owned();
    let told =
        other.client.request("POST", format!("{}/warm", other.admin), &kind, list.clone()).await.json();
    assert!(told["searches"].as_u64().unwrap() >= 2 && told["searches"] == told["stored"], "{told:#} {list}");

    // it keeps to itself, and has nothing to complain of
    let elsewhere = browser
        .run("return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin))")
        .await;
    assert_eq!(elsewhere, json!([]));
    assert_eq!(browser.console().await, [""; 0]);

    // what it says when escache is gone
    escache.proxy.note_probe(Probed::Unanswered);
    browser.wait_for("document.querySelector('#state.bad').innerText.includes('does not answer')").await;
}

/// Everything can be reached by Tab, has a name, and does what it says by key alone.
async fn by_keyboard(browser: &Browser) {
    browser.run("document.activeElement.blur(); scrollTo(0, 0)").await;
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut explained = None;
    for _ in 0..60 {
        browser.press(keys::TAB).await;
        let focused = browser.focused().await;
        // behind the last one is the page itself, and then the first
        if seen.len() > 10 && (focused.0 == "none" || focused == seen[0]) {
            break;
        }
        assert!(!focused.1.is_empty(), "{focused:?} has no name, after {seen:?}");
        if focused.1.starts_with("Explain the search") && explained.is_none() {
            explained = Some(focused.clone());
            // the number at which a reader is stays while the page goes on
            browser.press(keys::ENTER).await;
            browser.wait_for("document.querySelector('#explained[open] strong') !== null").await;
            let inside =
                browser.run("return document.querySelector('dialog').contains(document.activeElement)").await;
            assert_eq!(inside, true, "the focus is in the dialog");
            let told = browser.run("return document.querySelector('#explained').innerText").await;
            let told = told.as_str().unwrap();
            assert!(told.contains("cacheable") || told.contains("bypass"), "{told}");
            assert!(!told.contains(LITERAL), "{told}");
            browser.press(keys::ESCAPE).await;
            browser.wait_for("!document.querySelector('#explained').open").await;
            assert_eq!(browser.focused().await, focused, "the focus is back where it was");
        }
        if focused.1.starts_with("Latency") {
            browser.press(keys::LEFT).await;
            let told = browser.focused().await.1;
            assert!(told.ends_with("ago") || told.ends_with("now"), "{told}");
        }
        seen.push(focused);
    }
    assert!(explained.is_some(), "no Explain in {seen:?}");
    for name in
        ["Skip to the numbers", "metrics", "Pause", "Hit ratio", "time saved", "Method", "Path", "Body"]
    {
        assert!(seen.iter().any(|(_, label)| label.starts_with(name)), "no {name} in {seen:?}");
    }
    // Pause is a switch that tells its state
    browser.run("document.querySelector('#pause').focus()").await;
    for state in ["true", "false"] {
        browser.press(keys::SPACE).await;
        browser.wait_for(&format!("document.querySelector('#pause').ariaPressed === '{state}'")).await;
    }
    // the other order
    browser.run("document.querySelector('input[name=order]').focus()").await;
    browser.press(keys::LEFT).await;
    browser.wait_for("document.querySelector('input[value=spent]').checked").await;
    let first = browser.run("return document.querySelector('#searches tbody tr').innerText").await;
    let dearest = "latest.searches.reduce((a, b) => a.spent_seconds < b.spent_seconds ? b : a)";
    let dearest = browser.run(&format!("return {dearest}.shape")).await;
    assert!(first.as_str().unwrap().contains(dearest.as_str().unwrap()), "{dearest} is not in {first}");
}

/// The form asks `explain` and shows how to send it.
async fn tries_a_search(browser: &Browser) {
    browser
        .run("const path = document.querySelector('[name=path]'); path.value = '/logs/_search?scroll=1m'; path.focus()")
        .await;
    browser.press(keys::ENTER).await;
    browser.wait_for("document.querySelector('#tried').innerText.includes('stateful')").await;
    let told = browser.run("return document.querySelector('#tried').innerText").await;
    assert!(
        told.as_str().unwrap().contains("curl -i -X POST 'http://localhost:9280/logs/_search?scroll=1m'")
    );
    browser
        .run("const path = document.querySelector('[name=path]'); path.value = '/logs/_search'; path.focus()")
        .await;
    browser.press(keys::ENTER).await;
    browser.wait_for("document.querySelector('#tried strong.good') !== null").await;
    // nothing was sent: what would be a miss is not stored afterwards
    let told = browser.run("return document.querySelector('#tried').innerText").await;
    assert!(told.as_str().unwrap().contains("not stored now"), "{told}");
}
