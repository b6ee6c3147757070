//! The pretend engine's own tests: what happens in it on command happens as in a real one.

#![allow(clippy::unwrap_used, reason = "in a test a surprise is a failed test")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::join;

use crate::support::engine::{Api, At, Engine, Flavour, Twist};
use crate::support::http::{Client, raw};

/// What a search sees now.
async fn ids(client: &Client, engine: &Engine, expression: &str) -> Vec<String> {
    let found = client.get(format!("{}/{expression}/_search", engine.url())).await.json();
    let hits = found["hits"]["hits"].as_array().unwrap_or_else(|| panic!("{found}"));
    hits.iter().map(|hit| hit["_id"].as_str().unwrap().into()).collect()
}

/// The counters of the first copy of the first shard.
async fn counters(client: &Client, engine: &Engine, index: &str) -> [i64; 4] {
    let url = format!("{}/{index}/_stats/refresh,merge?level=shards", engine.url());
    let stats = client.get(url).await.json();
    let copy = &stats["indices"][index]["shards"]["0"][0];
    ["/refresh/total", "/refresh/external_total", "/merges/total", "/seq_no/max_seq_no"]
        .map(|path| copy.pointer(path).and_then(Value::as_i64).unwrap_or_else(|| panic!("{path} in {stats}")))
}

#[tokio::test]
async fn a_write_is_seen_after_a_refresh_and_moves_the_real_counters() {
    let (client, engine) = (Client::new(), Engine::start());
    engine.index("logs", "1", json!({"team": "a"}));
    engine.refresh("logs");
    assert_eq!(counters(&client, &engine, "logs").await, [3, 3, 0, 0]);
    engine.index("logs", "2", json!({"team": "b"}));
    engine.delete("logs", "1");
    assert_eq!(counters(&client, &engine, "logs").await, [3, 3, 0, 2]);
    assert_eq!(ids(&client, &engine, "logs").await, ["1"]);
    engine.refresh("logs");
    assert_eq!(counters(&client, &engine, "logs").await, [4, 4, 0, 2]);
    assert_eq!(ids(&client, &engine, "logs").await, ["2"]);
    engine.tick("logs");
    assert_eq!(counters(&client, &engine, "logs").await, [4, 4, 0, 2]);
}

#[tokio::test]
async fn a_merge_changes_the_order_of_ties_after_a_refresh() {
    let (client, engine) = (Client::new(), Engine::start());
    for id in ["1", "2", "3"] {
        engine.index("logs", id, json!({}));
    }
    engine.refresh("logs");
    engine.merge("logs");
    assert_eq!(ids(&client, &engine, "logs").await, ["1", "2", "3"]);
    assert_eq!(counters(&client, &engine, "logs").await, [3, 3, 1, 2]);
    engine.tick("logs");
    assert_eq!(ids(&client, &engine, "logs").await, ["2", "3", "1"]);
}

#[tokio::test]
async fn a_search_wakes_only_the_copy_that_it_comes_to() {
    let (client, engine) = (Client::new(), Engine::start_with(Flavour::Es8, 2));
    engine.create_index_with("logs", 1, 2);
    engine.search_idle("logs", true);
    engine.index("logs", "1", json!({}));
    engine.search_copy(1);
    assert_eq!(ids(&client, &engine, "logs").await, ["1"]);
    let refreshed = |copy| engine.with_copy("logs", 0, copy, |copy| copy.counters.external_total);
    assert_eq!([refreshed(0), refreshed(1)], [2, 3]);
}

#[tokio::test]
async fn expressions_resolve_as_the_engines_resolve_them() {
    let (client, engine) = (Client::new(), Engine::start());
    for (index, id) in [("logs-1", "1"), ("logs-2", "2"), ("other", "3")] {
        engine.index(index, id, json!({"team": id}));
        engine.refresh(index);
    }
    engine.put_filtered_alias("logs-1", "mine", json!({"term": {"team": "nobody"}}));
    engine.put_alias("other", "mine");
    for (expression, expected) in [
        ("logs-*", vec!["1", "2"]),
        ("logs-*,-logs-1", vec!["2"]),
        ("_all", vec!["1", "2", "3"]),
        ("mine", vec!["3"]),
        ("mine,logs-1", vec!["1", "3"]),
        ("none*", vec![]),
    ] {
        assert_eq!(ids(&client, &engine, expression).await, expected, "{expression}");
    }
    engine.date_math("<logs-{now/d}>", "logs-2");
    assert_eq!(ids(&client, &engine, "%3Clogs-%7Bnow%2Fd%7D%3E").await, ["2"]);
    let search = |path: &str| client.get(format!("{}{path}", engine.url()));
    assert_eq!(search("/nowhere/_search").await.status, 404);
    assert_eq!(search("/nowhere,other/_search?ignore_unavailable=true").await.status, 200);
    assert_eq!(search("/none*/_search?allow_no_indices=false").await.status, 404);
    engine.close("logs-1");
    assert_eq!(search("/logs-1/_stats/refresh").await.status, 400);
    assert_eq!(ids(&client, &engine, "logs-*").await, ["2"]);
    assert_eq!(
        search("/_cluster/state/metadata/logs-1").await.json()["metadata"]["indices"]["logs-1"]["state"],
        "close"
    );
}

#[tokio::test]
async fn a_restart_resets_counters_and_moves_the_metadata() {
    let (client, engine) = (Client::new(), Engine::start());
    engine.index("logs", "1", json!({}));
    engine.refresh("logs");
    let url = format!("{}/_cluster/state/metadata,nodes,version/logs", engine.url());
    let before = client.get(&url).await.json();
    engine.restart_node(0);
    let after = client.get(&url).await.json();
    assert_eq!(counters(&client, &engine, "logs").await, [2, 2, 0, 0]);
    assert_eq!(after["metadata"]["indices"]["logs"]["primary_terms"]["0"], 2);
    assert_ne!(before["nodes"], after["nodes"]);
    assert_ne!(before["version"], after["version"]);
}

#[tokio::test]
async fn a_lost_shard_answers_in_part_and_shows_no_failure() {
    let (client, engine) = (Client::new(), Engine::start());
    engine.create_index_with("logs", 2, 1);
    for id in ["a", "b"] {
        engine.index("logs", id, json!({}));
    }
    engine.refresh("logs");
    engine.drop_shard("logs", 0);
    let found = client.get(engine.url() + "/logs/_search").await.json();
    assert_eq!(found["_shards"], json!({"total": 2, "successful": 1, "skipped": 0, "failed": 0}));
    assert_eq!(found["hits"]["total"]["value"], 1);
}

#[tokio::test]
async fn gates_choose_the_order_of_events() {
    let (client, engine) = (Client::new(), Engine::start());
    engine.create_index("logs");
    let write = || {
        engine.index("logs", "1", json!({}));
        engine.refresh("logs");
    };
    let before = engine.gate_before(Api::Search);
    let (late, ()) = join!(ids(&client, &engine, "logs"), async {
        before.arrived(1).await;
        write();
        before.release();
    });
    assert_eq!(late, ["1"], "evaluated after the gate");
    let after = engine.on(Api::Search).when(|search| search.path == "/logs/_search").gate(At::After);
    let (early, ()) = join!(ids(&client, &engine, "logs"), async {
        after.arrived(1).await;
        engine.delete("logs", "1");
        engine.refresh("logs");
        after.release_one();
    });
    assert_eq!(early, ["1"], "evaluated before the gate");
    drop(after);
    assert!(ids(&client, &engine, "logs").await.is_empty(), "a dropped gate is open");
}

#[tokio::test]
async fn a_client_that_hangs_up_is_counted() {
    let (client, engine) = (Client::new(), Engine::start());
    for at in [At::Before, At::After, At::Body] {
        let gate = engine.on(Api::Echo).gate(at);
        let url = engine.url() + "/_echo";
        let aborted = engine.aborted(Api::Echo);
        {
            let request = client.try_request("GET", &url, &[], "");
            tokio::select! {
                answer = request => panic!("answered: {answer:?}"),
                () = gate.arrived(1) => {}
            }
        }
        engine.until_aborted(Api::Echo, aborted + 1).await;
        assert_eq!((gate.blocked(), gate.came()), (0, 1), "{at:?}");
    }
    assert_eq!((engine.seen(Api::Echo), engine.answered(Api::Echo)), (3, 0));
}

#[tokio::test]
async fn misbehaviour_comes_on_command_and_ends() {
    let (client, engine) = (Client::new(), Engine::start());
    engine.index("logs", "1", json!({}));
    engine.refresh("logs");
    let search = || client.get(engine.url() + "/logs/_search");
    let attempt = || async {
        let url = engine.url() + "/logs/_search";
        client.try_request("GET", &url, &[], "").await
    };
    engine.fail_next(Api::Search, 429, "{}");
    assert_eq!((search().await.status, search().await.status), (429, 200));
    engine.on(Api::Search).next(Twist::Drop);
    assert!(attempt().await.is_err());
    engine.on(Api::Search).next(Twist::Truncate(20));
    assert!(attempt().await.is_err());
    let partial = engine.on(Api::Search).next(Twist::ShardFailed).next(Twist::TimedOut);
    drop(partial.next(Twist::Header("age", "7".into())));
    let answer = search().await;
    assert_eq!(
        (answer.json()["_shards"]["failed"].clone(), answer.json()["timed_out"].clone()),
        (json!(1), json!(true))
    );
    assert_eq!(answer.header("age"), Some("7"));
    engine.on(Api::Search).next(Twist::ShardMissing);
    assert_eq!(
        search().await.json()["_shards"],
        json!({"total": 1, "successful": 0, "skipped": 0, "failed": 0})
    );
    engine.on(Api::Search).next(Twist::Slow(40, Duration::from_millis(1)));
    assert_eq!(search().await.json()["hits"]["total"]["value"], 1);
    engine.on(Api::Search).next(Twist::Chunked);
    assert_eq!(search().await.header("content-length"), None);
    let denied = Twist::forbidden("indices:monitor/stats");
    engine.on(Api::Stats).when(|request| request.header("authorization").is_none()).always(denied);
    let stats = engine.url() + "/logs/_stats/refresh?level=shards";
    assert_eq!(client.get(&stats).await.status, 403);
    assert_eq!(client.request("GET", &stats, &[("authorization", "any")], "").await.status, 200);
    engine.calm();
    engine.on(Api::Stats).always(Twist::HideIndex("logs".into()));
    assert_eq!(client.get(&stats).await.status, 403);
    let narrowed = client.get(engine.url() + "/log*/_stats/refresh").await;
    assert_eq!((narrowed.status, &narrowed.json()["_shards"]["total"]), (200, &json!(0)));
}

#[tokio::test]
async fn a_gate_lets_one_on_after_the_other() {
    let (client, engine) = (Client::new(), Engine::start());
    let gate = engine.gate_after(Api::Echo);
    let echo = || client.get(engine.url() + "/_echo");
    join!(echo(), echo(), async {
        gate.arrived(2).await;
        gate.release_one();
        engine.until_answered(Api::Echo, 1).await;
        assert_eq!(gate.blocked(), 1);
        gate.release_those_here();
        engine.until_answered(Api::Echo, 2).await;
    });
    gate.release_one();
    assert_eq!((echo().await.status, gate.came()), (200, 3));
}

#[tokio::test]
async fn a_multi_search_has_a_status_for_each_item() {
    let (client, engine) = (Client::new(), Engine::start());
    engine.index("logs", "1", json!({}));
    engine.refresh("logs");
    let lines = "{\"index\":\"logs\"}\n{}\n{\"index\":\"nowhere\"}\n{}\n";
    let answer = client.request("POST", engine.url() + "/_msearch", &[], lines).await.json();
    let statuses: Vec<&Value> =
        answer["responses"].as_array().unwrap().iter().map(|item| &item["status"]).collect();
    assert_eq!(statuses, [200, 404]);
    assert_eq!(answer["responses"][0]["hits"]["total"]["value"], 1);
}

#[tokio::test]
async fn filter_path_cuts_as_the_engines_cut() {
    let (client, engine) = (Client::new(), Engine::start());
    engine.index("logs", "1", json!({}));
    engine.refresh("logs");
    for (paths, expected) in [
        ("hits.hits._id", json!({"hits": {"hits": [{"_id": "1"}]}})),
        ("**.total", json!({"_shards": {"total": 1}, "hits": {"total": {"value": 1, "relation": "eq"}}})),
        ("hits,-hits.hits,-hits.max*", json!({"hits": {"total": {"value": 1, "relation": "eq"}}})),
        ("timed*", json!({"timed_out": false})),
        ("nothing.*", json!({})),
    ] {
        let url = format!("{}/logs/_search?filter_path={paths}", engine.url());
        assert_eq!(client.get(url).await.json(), expected, "{paths}");
    }
}

#[tokio::test]
async fn took_differs_each_time() {
    let (client, engine) = (Client::new(), Engine::start());
    let (one, two) = join!(client.get(engine.url() + "/_search"), client.get(engine.url() + "/_search"));
    assert_ne!(one.json()["took"], two.json()["took"]);
}

#[tokio::test]
async fn an_outage_keeps_the_port_and_the_state() {
    let (client, engine) = (Client::new(), Engine::start());
    engine.index("logs", "1", json!({}));
    engine.refresh("logs");
    let gate = engine.gate_before(Api::Search);
    let url = engine.url() + "/logs/_search";
    let (cut, ()) = join!(client.try_request("GET", &url, &[], ""), async {
        gate.arrived(1).await;
        engine.stop().await;
    });
    assert!(cut.is_err());
    gate.release();
    assert!(client.try_request("GET", &url, &[], "").await.is_err());
    engine.start_again();
    assert_eq!(ids(&client, &engine, "logs").await, ["1"]);
}

#[tokio::test]
async fn two_hosts_show_one_cluster() {
    let (client, engine) = (Client::new(), Engine::start());
    let other = engine.another_host();
    engine.index("logs", "1", json!({}));
    engine.refresh("logs");
    assert_eq!(ids(&client, &other, "logs").await, ["1"]);
    assert_eq!((engine.seen(Api::Search), other.seen(Api::Search)), (0, 1));
}

#[tokio::test]
async fn an_upload_is_counted_while_it_comes_and_a_download_has_its_length() {
    let (client, engine) = (Client::new(), Engine::start());
    let bulk = vec![b'x'; 3_000_000];
    assert_eq!(client.request("POST", engine.url() + "/_bulk", &[], bulk).await.status, 200);
    assert_eq!(engine.body_bytes(Api::Bulk), 3_000_000);
    assert!(engine.last(Api::Bulk).body.is_empty());
    let answer = client.get(engine.url() + "/_big?bytes=1000001").await;
    assert_eq!((answer.body.len(), answer.header("content-length")), (1_000_001, Some("1000001")));
    let answer = client.get(engine.url() + "/_big?bytes=1000001&chunked").await;
    assert_eq!((answer.body.len(), answer.header("content-length")), (1_000_001, None));
}

#[tokio::test]
async fn echo_tells_what_was_received() {
    let engine = Engine::start();
    let request = b"PATCH /_echo/a%2Fb?x=%20;y HTTP/1.1\r\nHost: any\r\nX-B: 1\r\nX-A: 2\r\nX-B: 3\r\n\
        Content-Length: 4\r\nConnection: close\r\n\r\n\xff\x00\x01\x02";
    let answer = String::from_utf8(raw(engine.addr(), request).await).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let echo: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&echo["method"], &echo["uri"]), (&json!("PATCH"), &json!("/_echo/a%2Fb?x=%20;y")));
    assert_eq!(echo["body_base64"], "/wABAg==");
    assert_eq!(
        echo["headers"],
        json!([
            ["host", "any"],
            ["x-b", "1"],
            ["x-b", "3"],
            ["x-a", "2"],
            ["content-length", "4"],
            ["connection", "close"]
        ])
    );
}

#[tokio::test]
async fn users_see_what_their_role_lets_them() {
    let (client, engine) = (Client::new(), Engine::start());
    engine.index("logs", "1", json!({"team": "a"}));
    engine.index("logs", "2", json!({"team": "b"}));
    engine.refresh("logs");
    let alice = engine.add_user("alice");
    let headers = [("authorization", alice.as_str())];
    let url = engine.url() + "/logs/_count";
    let count = || async { client.request("GET", &url, &headers, "").await.json()["count"].clone() };
    assert_eq!(client.get(&url).await.status, 401);
    assert_eq!(count().await, 2);
    let before = engine.cluster().version;
    engine.restrict("alice", Some(json!({"term": {"team": "b"}})));
    assert_eq!(count().await, 1);
    assert_eq!(engine.cluster().version, before);
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_stops_no_engine() {
    let (client, engine) = (Client::new(), Engine::start());
    let started = Instant::now();
    engine.on(Api::Echo).next(Twist::Delay(Duration::from_millis(20)));
    assert_eq!(client.get(engine.url() + "/_echo").await.status, 200);
    assert!(started.elapsed() >= Duration::from_millis(20));
}
