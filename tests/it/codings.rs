//! Compressed answers from one entry, and compressed requests.

use std::sync::Arc;

use escache::coding::{gunzip, gzip};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::engine::{Api, Engine, Flavour, engine_with};
use crate::support::escache::{Escache, verdict};
use crate::support::http::Response;

const SEARCH: &str = "/logs/_search";
const JSON: (&str, &str) = ("content-type", "application/json");

/// An engine whose answer is as long as this text, and some more.
async fn with_text(text: String) -> (Engine, Escache) {
    let engine = engine_with(Flavour::Es8, json!({ "text": text }));
    let escache = Escache::start(&engine.url()).await;
    (engine, escache)
}

async fn long() -> (Engine, Escache) {
    with_text("All happy families are alike. ".repeat(100)).await
}

async fn ask(escache: &Escache, accept: &str, known: &str) -> Response {
    let mut headers = vec![JSON];
    headers.extend((!accept.is_empty()).then_some(("accept-encoding", accept)));
    headers.extend((!known.is_empty()).then_some(("if-none-match", known)));
    escache.send("POST", SEARCH, &headers, "{}").await
}

fn plain(answer: &Response) -> Value {
    match answer.header("content-encoding") {
        None => answer.json(),
        Some("gzip") => serde_json::from_slice(&gunzip(&answer.body, 1 << 30).unwrap()).unwrap(),
        Some(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn each_client_gets_its_coding_from_one_entry() {
    let (engine, escache) = long().await;
    let answers = [
        ask(&escache, "gzip", "").await,
        ask(&escache, "", "").await,
        ask(&escache, "deflate, gzip", "").await,
        ask(&escache, "gzip;q=0", "").await,
    ];
    assert_eq!(engine.seen(Api::Search), 1);
    assert_eq!(engine.last(Api::Search).header("accept-encoding"), Some("identity"));
    for (answer, (outcome, coding)) in
        answers.iter().zip([("MISS", Some("gzip")), ("HIT", None), ("HIT", Some("gzip")), ("HIT", None)])
    {
        assert_eq!((verdict(&answer.headers).0, answer.header("content-encoding")), (outcome, coding));
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
        assert_eq!(plain(answer), plain(&answers[0]));
    }
    assert!(answers[0].body.len() * 4 < answers[1].body.len());
    let tags: Vec<_> = answers.iter().map(|answer| answer.header("etag").unwrap()).collect();
    assert_eq!((tags[0], tags[1]), (tags[2], tags[3]));
    assert_ne!(tags[0], tags[1]);
    assert_eq!(escache.proxy.codings.len(), 1);
}

#[tokio::test]
async fn a_condition_is_about_what_the_client_has() {
    let (_engine, escache) = long().await;
    ask(&escache, "", "").await;
    let identity = ask(&escache, "", "").await.header("etag").unwrap().to_owned();
    let gzip = ask(&escache, "gzip", "").await.header("etag").unwrap().to_owned();
    let both = format!("{gzip}, {identity}");
    let weak = format!("W/{gzip}");
    for (accept, known, expected) in [
        ("gzip", &gzip, Some(&gzip)),
        ("gzip", &weak, Some(&gzip)),
        ("gzip", &both, Some(&gzip)),
        // what is not coded is acceptable, and it has it
        ("gzip", &identity, Some(&identity)),
        ("", &identity, Some(&identity)),
        ("", &both, Some(&identity)),
        // what it has it does not accept any more
        ("", &gzip, None),
        ("identity", &gzip, None),
        ("gzip;q=0", &gzip, None),
        ("gzip, identity;q=0", &identity, None),
    ] {
        let answer = ask(&escache, accept, known).await;
        let found = (answer.status == 304).then(|| answer.header("etag").unwrap());
        assert_eq!(found, expected.map(String::as_str), "{accept} {known}");
        assert_eq!((answer.header("vary"), verdict(&answer.headers).0), (Some("accept-encoding"), "HIT"));
        if found.is_some() {
            assert!(answer.body.is_empty() && answer.header("content-encoding").is_none());
        }
    }
    let any = ask(&escache, "gzip", "*").await;
    assert_eq!((any.status, any.header("etag")), (304, Some(gzip.as_str())));
}

#[tokio::test]
async fn what_is_short_or_not_to_be_changed_is_not_compressed() {
    let (_engine, escache) = with_text("short".to_owned()).await;
    for _ in 0..2 {
        let answer = ask(&escache, "gzip", "").await;
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), (None, None));
    }
    let (engine, escache) = long().await;
    let headers = [JSON, ("accept-encoding", "gzip"), ("cache-control", "no-transform")];
    let answer = escache.send("POST", SEARCH, &headers, "{}").await;
    assert_eq!((answer.header("content-encoding"), answer.header("vary")), (None, Some("accept-encoding")));
    let off = Escache::start_with(&engine.url(), |settings| settings.policy.compression = false).await;
    for _ in 0..2 {
        let answer = ask(&off, "gzip", "").await;
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), (None, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_is_compressed_once_for_all_who_wait() {
    let (engine, escache) = with_text("Every unhappy family. ".repeat(4_000)).await;
    let first = ask(&escache, "", "").await;
    let escache = Arc::new(escache);
    let all = join_all((0..20).map(|_| ask(&escache, "gzip", ""))).await;
    for answer in &all {
        assert_eq!((verdict(&answer.headers).0, answer.header("content-encoding")), ("HIT", Some("gzip")));
        assert_eq!(plain(answer), first.json());
    }
    assert_eq!((escache.proxy.codings.len(), engine.seen(Api::Search)), (1, 1));
    // the content goes with the entry where the operator says so
    escache.proxy.purge(None);
    assert_eq!(escache.proxy.codings.len(), 0);
}

#[tokio::test]
async fn a_new_answer_is_compressed_anew() {
    let (engine, escache) = long().await;
    let first = ask(&escache, "gzip", "").await;
    engine.index("logs", "2", json!({"text": "new"}));
    engine.refresh("logs");
    let second = ask(&escache, "gzip", first.header("etag").unwrap()).await;
    assert_eq!((second.status, verdict(&second.headers).0), (200, "MISS"));
    assert_eq!(plain(&second)["hits"]["total"]["value"], 2);
    let third = ask(&escache, "gzip", "").await;
    assert_eq!((verdict(&third.headers).0, &third.body), ("HIT", &second.body));
}

async fn post_coded(escache: &Escache, coding: &str, body: impl Into<bytes::Bytes>) -> Response {
    let headers = [JSON, ("content-encoding", coding)];
    escache.client.request("POST", format!("{}{SEARCH}", escache.url), &headers, body).await
}

#[tokio::test]
async fn a_compressed_request_is_understood_and_forwarded_as_it_came() {
    let (engine, escache) = long().await;
    let body = r#"{"query":{"match_all":{}}}"#;
    let coded = gzip(body.as_bytes());
    let first = post_coded(&escache, "gzip", coded.clone()).await;
    assert_eq!((first.status, verdict(&first.headers).0), (200, "MISS"));
    let seen = engine.last(Api::Search);
    assert_eq!((seen.header("content-encoding"), &seen.body), (Some("gzip"), &coded));
    let again = post_coded(&escache, "gzip", coded).await;
    let spelt = escache.send("POST", SEARCH, &[JSON], body).await;
    for hit in [again, spelt] {
        assert_eq!((verdict(&hit.headers).0, &hit.body), ("HIT", &first.body));
    }
    let other = post_coded(&escache, "gzip", gzip(br#"{"query":{"match_none":{}}}"#)).await;
    assert_eq!((other.status, verdict(&other.headers).0), (200, "MISS"));
}

#[tokio::test]
async fn an_odd_coding_passes_unchanged() {
    let (engine, escache) = long().await;
    let coded = gzip(b"{}");
    let twice = [&coded[..], &coded[..]].concat();
    let bomb = gzip(&vec![b' '; 8 << 20]);
    for (coding, body, reason) in [
        ("deflate", coded.to_vec(), "content-type"),
        ("gzip", twice, "content-type"),
        ("gzip", b"{}".to_vec(), "content-type"),
        ("gzip", bomb.to_vec(), "body-too-large"),
    ] {
        let answer = post_coded(&escache, coding, body.clone()).await;
        let (outcome, status) = verdict(&answer.headers);
        assert_eq!(outcome, "BYPASS", "{coding} {status}");
        assert!(status.contains(reason), "{coding} {status}");
        let seen = engine.last(Api::Search);
        assert_eq!((seen.header("content-encoding"), &seen.body[..]), (Some(coding), &body[..]));
    }
}
