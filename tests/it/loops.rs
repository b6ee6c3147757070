//! Hosts that lead back to escache: a request goes round once, and is answered by an error that says so. Several
//! escaches in a row are none.

use std::collections::HashSet;

use escache::outcome::Reason;
use escache::probe;
use escache::server::Limits;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::engine::{Api, engine};
use crate::support::escache::{Escache, bound, settings, two, url_of, verdict};
use crate::support::patience::ends;

/// How many connections each has room for. What goes round for ever ends when they are used up.
const ROOM: usize = 64;

/// So many escaches, each in front of the next one, and the last one in front of the first.
async fn ring(count: usize) -> Vec<Escache> {
    let mut ports = Vec::new();
    for _ in 0..count {
        ports.push([bound().await, bound().await]);
    }
    let urls: Vec<_> = ports.iter().map(|[data, _]| url_of(data)).collect();
    let starting = ports.into_iter().enumerate().map(|(at, ports)| {
        let limits = Limits { max_connections: ROOM, ..Limits::default() };
        Escache::start_at(ports, limits, settings(&urls[(at + 1) % count]))
    });
    ends("they start", join_all(starting)).await
}

#[tokio::test]
async fn a_request_that_comes_back_is_refused_at_the_first_turn() {
    let search = json!({"query": {"match_all": {}}}).to_string();
    let several = "{}\n{\"query\":{\"match_all\":{}}}\n";
    for count in 1..=3 {
        let ring = ring(count).await;
        for (method, path, body) in [
            ("GET", "/", ""),
            ("POST", "/logs/_search", search.as_str()),
            ("POST", "/_msearch", several),
            ("PUT", "/logs/_doc/1", "{}"),
            ("POST", "/logs/_cache/clear", ""),
            ("GET", "/_stats/request_cache", ""),
        ] {
            let kind = [("content-type", "application/json")];
            let what = format!("{method} {path} among {count}");
            let answer = ends(&what, ring[0].send(method, path, &kind, body)).await;
            assert_eq!(answer.status, 508, "{what}: {}", answer.text());
            let told = answer.json();
            assert_eq!(told["error"]["type"], "loop_detected_exception", "{what}: {told}");
            assert!(told["error"]["reason"].as_str().unwrap().contains("upstream.hosts"), "{what}: {told}");
        }
        let loops = || ring.iter().map(|escache| escache.proxy.stats.plain.loops.get()).collect::<Vec<_>>();
        let before = loops();
        assert_eq!(ring[0].send("PUT", "/logs/_doc/1", &[], "{}").await.status, 508);
        assert_eq!((loops()[0], &loops()[1..]), (before[0] + 1, &before[1..]), "among {count}");
        for escache in &ring {
            let (stats, limits) = (&escache.proxy.stats, escache.proxy.stats.plain.limited_connections.get());
            let connections = stats.plain.connections.get();
            assert!(limits == 0 && connections < ROOM as u64 / 2, "{connections} connections among {count}");
            let (loops, reasons) = (stats.plain.loops.get(), stats.reason(Reason::Loop));
            assert!(loops > 0 && loops == reasons, "{loops} {reasons}");
            assert_eq!(escache.proxy.store.iter().count(), 0);
            // what it asks by itself has come back, too
            assert!(probe::ask(&escache.proxy).await.unwrap_err().why.contains("508"));
            assert_eq!(escache.client.get(format!("{}/ready", escache.admin)).await.status, 503);
        }
    }
}

#[tokio::test]
async fn several_in_a_row_pass_requests_on() {
    let engine = engine();
    let mut row = vec![Escache::start(&engine.url()).await];
    for at in 0..3 {
        row.push(Escache::start(&row[at].url).await);
    }
    let others =
        [("via", "1.0 fred, 1.1 escache, 1.1 escache-0000000000000000"), ("via", "1.1 varnish (x, y)")];
    let edge = &row[3];
    for (method, path) in
        [("GET", "/logs/_search"), ("GET", "/logs/_search"), ("PUT", "/logs/_doc/2"), ("GET", "/_echo")]
    {
        let answer = edge.send(method, path, &others, "{}").await;
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.text());
    }
    let write = &engine.requests(Api::Doc)[0];
    let via: Vec<_> = write.header("via").unwrap().split(", ").map(str::to_owned).collect();
    assert_eq!(via[..5], ["1.0 fred", "1.1 escache", "1.1 escache-0000000000000000", "1.1 varnish (x", "y)"]);
    let ours: HashSet<_> = via[5..].iter().filter(|member| member.starts_with("1.1 escache-")).collect();
    assert_eq!((via.len(), ours.len()), (9, 4), "{via:?}");
    // of its own questions each brings no more than those who passed it on
    let asked = engine.requests(Api::Version);
    let lengths: HashSet<_> =
        asked.iter().map(|seen| seen.header("via").map_or(0, |via| via.split(", ").count())).collect();
    assert_eq!(lengths, HashSet::from([1, 2, 3, 4]));
    for escache in &row {
        assert_eq!(escache.proxy.stats.plain.loops.get(), 0);
        assert_eq!(escache.client.get(format!("{}/ready", escache.admin)).await.status, 200);
    }
}

#[tokio::test]
async fn who_has_passed_a_search_on_makes_no_difference_to_its_answer() {
    let (engine, escache) = two().await;
    let asked = async |via| escache.send("GET", "/logs/_search", &[("via", via)], "").await;
    let found: Vec<_> = [asked("1.1 a").await, asked("1.1 b, 1.1 escache-0000000000000000").await]
        .iter()
        .map(|answer| verdict(&answer.headers).0.to_owned())
        .collect();
    assert_eq!((found.as_slice(), engine.seen(Api::Search)), (&["MISS".to_owned(), "HIT".to_owned()][..], 1));
}
