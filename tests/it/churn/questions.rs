//! What is asked, and how each answer is held against the ledger.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::error::Elapsed;

use super::Chance;
use super::history::{Span, Window, Word};
use super::ledger::{AGAIN, DOCS, Ledger, NAMES, NOW, ROLL, SHUT, lock};
use crate::support::escache::verdict;
use crate::support::http::{Client, Response};

/// What is searched, and the names of [`NAMES`] that it stands for.
const TARGETS: [(&str, &[usize]); 6] = [
    (NAMES[AGAIN], &[AGAIN]),
    (NAMES[SHUT], &[SHUT]),
    (NAMES[NOW], &[NOW]),
    (NAMES[ROLL], &[ROLL]),
    // the names of the indices behind the alias
    ("rolled-*", &[ROLL]),
    ("churn-again,churn-now", &[AGAIN, NOW]),
];

/// How many illegal answers are shown in full.
const SHOWN: u64 = 10;

/// How long a client waits after an error.
const AFTER_AN_ERROR: Duration = Duration::from_millis(50);

/// The `stale_if_error` that is judged by.
pub(crate) const STALE_FOR: Duration = Duration::from_secs(300);

/// What identifies a version of a document.
const SHOWN_FIELDS: [&str; 3] = ["life", "doc", "n"];

enum Question {
    All,
    One(usize),
    Buckets,
    /// How many of these documents have a counter of at least this.
    Count(usize, u64),
    /// What mappings and settings make of a search.
    Facets,
}

impl Question {
    fn of(ledger: &Ledger, groups: &[usize], chance: &mut Chance) -> Question {
        let doc = chance.below(3) as usize;
        match chance.below(8) {
            5.. if groups == [AGAIN] || groups == [SHUT] => Question::Facets,
            3 => Question::One(doc),
            4 | 5 => Question::Buckets,
            // in steps, so that the question repeats
            6 => Question::Count(doc, (ledger.latest().saturating_sub(100)) / 64 * 64),
            _ => Question::All,
        }
    }

    fn api(&self) -> &'static str {
        if matches!(self, Question::Count(..)) { "_count" } else { "_search" }
    }

    fn body(&self) -> Value {
        match self {
            Question::All => json!({"size": 200, "_source": SHOWN_FIELDS, "query": {"match_all": {}}}),
            Question::One(doc) => {
                json!({"size": 20, "_source": SHOWN_FIELDS, "query": {"term": {"doc": doc}}})
            }
            Question::Buckets => json!({"size": 0, "aggs": {
                "per": {"terms": {"field": "key", "size": 500}, "aggs": {"n": {"max": {"field": "n"}}}}}}),
            Question::Count(doc, n) => {
                json!({"query": {"bool": {"filter": [{"term": {"doc": doc}}, {"range": {"n": {"gte": n}}}]}}})
            }
            // not of size 0: OpenSearch would cache that itself, and not notice a changed mapping
            Question::Facets => json!({"size": 1, "track_total_hits": true,
                "query": {"simple_query_string": {"query": "x"}}, "aggs": {"which": {"max": {"field": "which"}}}}),
        }
    }

    /// A filter of the answer that leaves all that is judged, and nothing of its shards.
    fn filter(&self) -> Option<&'static str> {
        match self {
            Question::All | Question::One(_) => Some("hits.hits._source"),
            Question::Buckets => Some("aggregations.per.buckets"),
            Question::Count(..) | Question::Facets => None,
        }
    }

    fn judge(&self, ledger: &Ledger, groups: &[usize], answer: &Value, window: Window) -> Result<(), String> {
        let all: Vec<usize> = (0..DOCS).collect();
        match self {
            Question::All => ledger.may_show(groups, &documents(answer)?, &all, window),
            Question::One(doc) => ledger.may_show(groups, &documents(answer)?, &[*doc], window),
            Question::Buckets => ledger.may_show(groups, &buckets(answer)?, &all, window),
            Question::Count(doc, n) => judge_count(ledger, groups, *doc, *n, answer, window),
            Question::Facets => judge_facets(ledger, groups[0], answer, window),
        }
    }
}

fn documents(answer: &Value) -> Result<Vec<(u64, usize, u64)>, String> {
    let hits = answer["hits"]["hits"].as_array().ok_or("no hits")?;
    let one = |hit: &Value| {
        let source = &hit["_source"];
        Some((source["life"].as_u64()?, source["doc"].as_u64()? as usize, source["n"].as_u64()?))
    };
    hits.iter().map(|hit| one(hit).ok_or_else(|| format!("a hit that nobody wrote: {hit}"))).collect()
}

fn buckets(answer: &Value) -> Result<Vec<(u64, usize, u64)>, String> {
    let buckets = answer["aggregations"]["per"]["buckets"].as_array().ok_or("no buckets")?;
    let one = |bucket: &Value| {
        let key = bucket["key"].as_u64()?;
        Some((key / 1000, (key % 1000) as usize, bucket["n"]["value"].as_f64()? as u64))
    };
    buckets.iter().map(|b| one(b).ok_or_else(|| format!("a bucket that nobody wrote: {b}"))).collect()
}

fn judge_count(
    ledger: &Ledger,
    groups: &[usize],
    doc: usize,
    from: u64,
    answer: &Value,
    window: Window,
) -> Result<(), String> {
    let count = answer["count"].as_u64().ok_or("no count")?;
    // what each name may add
    let mut sums = vec![0];
    for &group in groups {
        let mut of_group = Vec::new();
        for view in ledger.views(group, window).into_iter().flatten() {
            let (mut least, mut most) = (0, 0);
            let lives = view.lives.iter().filter_map(|id| ledger.life(*id));
            for life in lives.filter(|_| !view.even || doc.is_multiple_of(2)) {
                let guard = life.doc(doc);
                let counted = |n: &Option<u64>| n.is_some_and(|n| n >= from);
                most += u64::from(guard.history.possible(window).any(counted));
                least += u64::from(guard.history.possible(window).all(counted));
            }
            of_group.extend(least..=most);
        }
        sums = sums.iter().flat_map(|sum| of_group.iter().map(move |more| sum + more)).collect();
    }
    match sums.contains(&count) {
        true => Ok(()),
        false => Err(format!("{count} documents {doc} from {from} on, possible are {sums:?}")),
    }
}

fn judge_facets(ledger: &Ledger, group: usize, answer: &Value, window: Window) -> Result<(), String> {
    let total = answer["hits"]["total"]["value"].as_u64().ok_or("no total")?;
    let which = answer["aggregations"]["which"]["value"].as_f64();
    let mut why = "cannot be searched".to_owned();
    for view in ledger.views(group, window).into_iter().flatten() {
        let Some(life) = ledger.life(view.lives[0]) else { continue };
        let sides: Vec<bool> = lock(&life.left).possible(window).copied().collect();
        let paths: Vec<u64> = lock(&life.path).possible(window).copied().collect();
        let empty = (0..DOCS).all(|doc| life.doc(doc).history.possible(window).any(Option::is_none));
        let legal = match total {
            0 => sides.contains(&false) || empty,
            _ => sides.contains(&true) && paths.iter().any(|path| which == Some(*path as f64)),
        };
        if legal {
            return Ok(());
        }
        why = format!("{total} found, which {which:?}; possible are left {sides:?}, path {paths:?}");
    }
    Err(format!("{}: {why}", NAMES[group]))
}

/// A question that was asked, and what came of it.
pub(crate) struct Asked {
    pub(crate) window: Span,
    /// `None` where the connection broke, or it did not come in time.
    pub(crate) answer: Option<Response>,
    /// The engine has never answered. There is nothing to judge.
    pub(super) lost: bool,
    /// Whether the engine could have given it.
    pub(crate) judged: Result<(), String>,
}

/// Asks one question, judges the answer and counts it. `directly`: not through escache, to see that the ledger is right.
/// One in eight is bound to certain copies.
pub(crate) async fn ask(ledger: &Ledger, client: &Client, chance: &mut Chance, directly: bool) -> Asked {
    let bound = chance.below(8) == 0;
    ask_bound(ledger, client, chance, directly, bound).await
}

/// The same; `bound`: the engine is to take one copy of each shard, always the same one.
pub(crate) async fn ask_bound(
    ledger: &Ledger,
    client: &Client,
    chance: &mut Chance,
    directly: bool,
    bound: bool,
) -> Asked {
    let (target, groups) = TARGETS[chance.below(TARGETS.len() as u64) as usize];
    let question = Question::of(ledger, groups, chance);
    let filter = question.filter().filter(|_| chance.below(4) == 0);
    let parameters = match (filter, bound) {
        (Some(filter), false) => format!("?filter_path={filter}"),
        (Some(filter), true) => format!("?filter_path={filter}&preference=mine"),
        (None, true) => "?preference=mine".to_owned(),
        (None, false) => String::new(),
    };
    let path = format!("/{target}/{}{parameters}", question.api());
    let (body, json) = (question.body().to_string(), [("content-type", "application/json")]);
    let arrival = Instant::now();
    let answer = client.try_request("POST", &path, &json, body).await;
    let window = (arrival, Instant::now());
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let lost = directly && error.is::<Elapsed>();
            ledger.counts.lost.fetch_add(u64::from(lost), Ordering::SeqCst);
            return Asked { window, answer: None, lost, judged: Ok(()) };
        }
    };
    let judged = judge(ledger, &question, filter.is_some(), groups, &answer, window, directly);
    let counts = &ledger.counts;
    let (answers, illegal) = match directly {
        true => (&counts.direct, &counts.direct_illegal),
        false => (&counts.answers, &counts.illegal),
    };
    if verdict(&answer.headers).0 == "HIT" {
        counts.hits.fetch_add(1, Ordering::SeqCst);
        counts.illegal_hits.fetch_add(u64::from(judged.is_err()), Ordering::SeqCst);
    }
    if answer.status == 200 {
        answers.fetch_add(1, Ordering::SeqCst);
    }
    if let Err(why) = &judged
        && illegal.fetch_add(1, Ordering::SeqCst) < SHOWN
    {
        let status = verdict(&answer.headers).1;
        let took = window.1 - window.0;
        let (at, disturbed) = (client.base(), ledger.disturbed(window));
        println!(
            "ILLEGAL {path} ({status}; at {at}, directly: {directly}; {took:?}; disturbed: {disturbed}): {why}"
        );
    }
    Asked { window, answer: Some(answer), lost: false, judged }
}

/// Asks until it is over.
pub(crate) async fn read(ledger: Arc<Ledger>, client: Client, mut chance: Chance, directly: bool) {
    while !ledger.over() {
        let asked = ask(&ledger, &client, &mut chance, directly).await;
        match asked.answer {
            Some(answer) if answer.status == 200 => {}
            Some(_) => tokio::time::sleep(AFTER_AN_ERROR).await,
            // a node that was killed, or that has lost it; escache itself always answers
            None => {
                let excused = asked.lost || (directly && ledger.disturbed(asked.window));
                assert!(excused, "no answer; directly: {directly}");
                tokio::time::sleep(AFTER_AN_ERROR).await;
            }
        }
    }
}

fn judge(
    ledger: &Ledger,
    question: &Question,
    filtered: bool,
    groups: &[usize],
    answer: &Response,
    span: Span,
    directly: bool,
) -> Result<(), String> {
    let counts = &ledger.counts;
    let (x_cache, status) = verdict(&answer.headers);
    let kept = x_cache == "HIT" || status.contains("stored");
    // a hit is decided on what the master says; what an engine answers comes from a node that may have been dropped
    let word = if x_cache == "HIT" { Word::Engine } else { Word::AllNodes };
    let window = Window { span, word };
    if answer.status != 200 {
        if kept {
            return Err(format!("an error from the cache: {}", answer.text()));
        }
        let fails = groups.iter().any(|group| ledger.views(*group, window).contains(&None));
        // 429: the engine is busy
        if fails || answer.status == 429 || ledger.disturbed(span) {
            counts.errors.fetch_add(1, Ordering::SeqCst);
        } else if counts.unexplained.fetch_add(1, Ordering::SeqCst) < SHOWN {
            println!("UNEXPLAINED {} ({status}; directly: {directly}): {}", answer.status, answer.text());
        }
        return Ok(());
    }
    let mut json = answer.json();
    if filtered {
        // whether it is whole cannot be seen, but what comes from the cache is
        if !kept && x_cache != "STALE" {
            return Ok(());
        }
        // a filter leaves out what is empty
        let empty =
            json!({"hits": {"hits": []}, "aggregations": {"per": {"buckets": []}}, "_shards": {"failed": 0}});
        json = with(empty, &json)?;
    }
    let shards = &json["_shards"];
    if json["timed_out"] == true || shards["failed"] != 0 || shards["successful"] != shards["total"] {
        counts.partial.fetch_add(1, Ordering::SeqCst);
        return if kept { Err(format!("a partial answer from the cache: {shards}")) } else { Ok(()) };
    }
    // an answer that says it is stale is as old as it may be
    let window = match x_cache {
        "STALE" => Window { span: (span.0.checked_sub(STALE_FOR).unwrap_or(span.0), span.1), word },
        _ => window,
    };
    question.judge(ledger, groups, &json, window)
}

/// The members that stand in for those which a filter left out, under what it left.
fn with(mut empty: Value, left: &Value) -> Result<Value, String> {
    let left = left.as_object().ok_or("no object")?;
    let odd = left.keys().find(|name| !matches!(name.as_str(), "hits" | "aggregations"));
    if let Some(odd) = odd {
        return Err(format!("{odd} was not asked for"));
    }
    for (name, value) in left {
        empty[name] = value.clone();
    }
    Ok(empty)
}
