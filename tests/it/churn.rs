//! Writers, refreshes, flushes and merges at a real engine, while clients repeat searches through the proxy. Every
//! answer is checked: it may never be older than the last refresh that was acknowledged before its request was sent,
//! and never show what was not yet written.
//!
//! `ESCACHE_CHURN_ANSWERS` says how many answers are checked, `ESCACHE_CHURN_SEED` where chance begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::escache::{Escache, verdict};
use crate::support::http::{Client, Response};
use crate::support::node::{Engine, Node};

const DOCS: usize = 16;
const READERS: u64 = 12;
const WRITERS: u64 = 3;

/// What is known about the documents: each carries a counter that only rises.
struct Ledger {
    /// The highest counter whose write was begun.
    begun: [AtomicU64; DOCS],
    /// The highest counter whose write was acknowledged.
    written: [AtomicU64; DOCS],
    /// The highest counter that an acknowledged refresh has made visible.
    visible: [AtomicU64; DOCS],
    over: AtomicBool,
    answers: AtomicU64,
    hits: AtomicU64,
    illegal: AtomicU64,
}

impl Ledger {
    fn new() -> Arc<Ledger> {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Arc::new(Ledger {
            begun: zeros(),
            written: zeros(),
            visible: zeros(),
            over: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            illegal: AtomicU64::new(0),
        })
    }

    fn snapshot(counters: &[AtomicU64; DOCS]) -> [u64; DOCS] {
        std::array::from_fn(|doc| counters[doc].load(Ordering::SeqCst))
    }

    fn raise(counters: &[AtomicU64; DOCS], to: &[u64; DOCS]) {
        for (counter, value) in counters.iter().zip(to) {
            counter.fetch_max(*value, Ordering::SeqCst);
        }
    }

    fn over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

/// xorshift: enough chance for a test, and the same from the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

async fn write(ledger: Arc<Ledger>, engine: Client, seed: u64, writer: u64) {
    let mut chance = Chance(seed ^ (0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(writer + 1)));
    while !ledger.over() {
        // each document has one writer, so that its counter rises
        let doc = (chance.below(DOCS as u64 / WRITERS) * WRITERS + writer) as usize % DOCS;
        let before = Ledger::snapshot(&ledger.written);
        match chance.below(20) {
            0..=9 if doc as u64 % WRITERS == writer => {
                let n = ledger.begun[doc].fetch_add(1, Ordering::SeqCst) + 1;
                let refresh =
                    ["", "?refresh=true", "?refresh=wait_for"][[0, 0, 1, 2][chance.below(4) as usize]];
                let path = format!("/churn/_doc/{doc}{refresh}");
                let (status, answer) = engine.json("PUT", &path, Some(json!({"n": n, "doc": doc}))).await;
                assert!(status < 300, "{answer}");
                ledger.written[doc].fetch_max(n, Ordering::SeqCst);
                if !refresh.is_empty() {
                    ledger.visible[doc].fetch_max(n, Ordering::SeqCst);
                }
            }
            10..=13 => {
                assert_eq!(engine.json("POST", "/churn/_refresh", None).await.0, 200);
                Ledger::raise(&ledger.visible, &before);
            }
            14 => assert_eq!(engine.json("POST", "/churn/_flush", None).await.0, 200),
            15 => assert_eq!(engine.json("POST", "/churn/_forcemerge?max_num_segments=1", None).await.0, 200),
            16 => {
                engine.get(format!("/churn/_doc/{doc}")).await;
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(20 + chance.below(400))).await;
    }
}

/// A question, and how its answer is held against what must be visible and what may be.
async fn ask(
    escache: &Escache,
    chance: &mut Chance,
    least: &[u64; DOCS],
) -> (Response, Result<Vec<(usize, u64)>, String>) {
    let doc = chance.below(4) as usize;
    match chance.below(4) {
        0 => {
            let answer =
                escache.search("/churn/_search", json!({"size": 100, "query": {"match_all": {}}})).await;
            let seen = documents(&answer);
            (answer, seen)
        }
        1 => {
            let answer = escache.search("/chur*/_search", json!({"query": {"term": {"doc": doc}}})).await;
            let seen = all_of(1, documents(&answer));
            (answer, seen)
        }
        2 => {
            let body = json!({"size": 0, "aggs": {"per": {"terms": {"field": "doc", "size": 100}, "aggs": {"n": {"max": {"field": "n"}}}}}});
            let answer = escache.search("/churn/_search", body).await;
            let seen = all_of(DOCS, buckets(&answer));
            (answer, seen)
        }
        _ => {
            // in steps, so that the question repeats
            let n = least[doc] / 8 * 8;
            let body = json!({"query": {"bool": {"filter": [{"term": {"doc": doc}}, {"range": {"n": {"gte": n}}}]}}});
            let answer = escache.search("/churn/_count", body).await;
            let seen = match answer.json()["count"].as_u64() {
                Some(1) => Ok(vec![(doc, least[doc])]),
                // the document is older than what must be visible
                Some(0) => Ok(vec![(doc, n.saturating_sub(1))]),
                _ => Err(answer.text()),
            };
            (answer, seen)
        }
    }
}

/// No document is ever deleted: an answer that lacks one is wrong.
fn all_of(wanted: usize, seen: Result<Vec<(usize, u64)>, String>) -> Result<Vec<(usize, u64)>, String> {
    match seen {
        Ok(seen) if seen.len() != wanted => Err(format!("{} documents instead of {wanted}", seen.len())),
        seen => seen,
    }
}

fn documents(answer: &Response) -> Result<Vec<(usize, u64)>, String> {
    let json = answer.json();
    let hits = json["hits"]["hits"].as_array().ok_or_else(|| answer.text())?;
    Ok(hits.iter().filter_map(|hit| pair(&hit["_source"]["doc"], &hit["_source"]["n"])).collect())
}

fn buckets(answer: &Response) -> Result<Vec<(usize, u64)>, String> {
    let json = answer.json();
    let buckets = json["aggregations"]["per"]["buckets"].as_array().ok_or_else(|| answer.text())?;
    Ok(buckets.iter().filter_map(|bucket| pair(&bucket["key"], &bucket["n"]["value"])).collect())
}

fn pair(doc: &Value, n: &Value) -> Option<(usize, u64)> {
    Some((usize::try_from(doc.as_u64()?).ok()?, n.as_f64()? as u64))
}

async fn read(ledger: Arc<Ledger>, escache: Arc<Escache>, seed: u64, reader: u64, wanted: u64) {
    let mut chance = Chance(seed ^ (0xd1b5_4a32_d192_ed03_u64.wrapping_mul(reader + 1)));
    while ledger.answers.fetch_add(1, Ordering::SeqCst) < wanted {
        let least = Ledger::snapshot(&ledger.visible);
        let (answer, seen) = ask(&escache, &mut chance, &least).await;
        let most = Ledger::snapshot(&ledger.begun);
        let seen = seen.unwrap_or_else(|text| panic!("{text}"));
        if seen.iter().any(|(doc, n)| *n < least[*doc] || *n > most[*doc]) {
            ledger.illegal.fetch_add(1, Ordering::SeqCst);
        }
        if verdict(&answer.headers).0 == "HIT" {
            ledger.hits.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Returns answers, hits, illegal answers.
async fn churn(node: &Node, escache: Escache, wanted: u64, seed: u64) -> (u64, u64, u64) {
    let engine = node.client();
    engine.json("DELETE", "/churn", None).await;
    let body = json!({
        "settings": {"number_of_shards": 2, "number_of_replicas": 0},
        "mappings": {"properties": {"n": {"type": "long"}, "doc": {"type": "long"}}}
    });
    assert_eq!(engine.json("PUT", "/churn", Some(body)).await.0, 200);
    for doc in 0..DOCS {
        engine.json("PUT", &format!("/churn/_doc/{doc}"), Some(json!({"n": 0, "doc": doc}))).await;
    }
    engine.json("POST", "/churn/_refresh", None).await;
    let (ledger, escache) = (Ledger::new(), Arc::new(escache));
    let writers: Vec<_> =
        (0..WRITERS).map(|i| tokio::spawn(write(Arc::clone(&ledger), engine.clone(), seed, i))).collect();
    let readers: Vec<_> = (0..READERS)
        .map(|i| tokio::spawn(read(Arc::clone(&ledger), Arc::clone(&escache), seed, i, wanted)))
        .collect();
    for reader in join_all(readers).await {
        reader.expect("a reader ends well");
    }
    ledger.over.store(true, Ordering::SeqCst);
    for writer in join_all(writers).await {
        writer.expect("a writer ends well");
    }
    let plain = &escache.proxy.stats.plain;
    println!(
        "{} readings of {} us, {} requests for them, {} with metadata, {} searches upstream",
        plain.readings.get(),
        plain.reading_microseconds.get() / plain.readings.get().max(1),
        plain.reading_requests.get(),
        plain.metadata_reads.get(),
        plain.flights.get()
    );
    let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    (wanted, of(&ledger.hits), of(&ledger.illegal))
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

async fn check(engine: Engine) {
    let Some(node) = Node::start(engine).await else { return };
    let (wanted, seed) =
        (setting("ESCACHE_CHURN_ANSWERS", 10_000), setting("ESCACHE_CHURN_SEED", 20_261_121));
    let escache = Escache::start(node.url()).await;
    let (answers, hits, illegal) = churn(&node, escache, wanted, seed).await;
    println!("{engine:?}: seed {seed}, {answers} answers, {hits} hits, {illegal} illegal");
    assert_eq!(illegal, 0);
    assert!(hits * 10 >= answers * 3, "{hits} hits of {answers}");

    // and the check bites: with a bound, answers are older than strict ones may be
    let bounded =
        Escache::start_with(node.url(), |s| s.policy.max_staleness = Duration::from_millis(300)).await;
    let (answers, hits, illegal) = churn(&node, bounded, 2_000.min(wanted), seed).await;
    println!(
        "{engine:?} with a bound of 300 ms: {answers} answers, {hits} hits, {illegal} older than strict allows"
    );
    assert!(illegal > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_illegal_under_churn_on_elasticsearch_7() {
    check(Engine::Elasticsearch7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_illegal_under_churn_on_opensearch_2() {
    check(Engine::OpenSearch2).await;
}
