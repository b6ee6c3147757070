//! Differential fuzzing of the key: pairs of searches that differ in one place. Where a real engine answers them
//! differently, their keys must differ.
//!
//! The searches are those of the scenarios in `tests/parity`. That the pairs are sharp enough to catch a key that merges
//! too much is shown on one: [`Search::careless`] sorts all members and reads numbers as binary fractions.

use std::collections::BTreeMap;

use escache::elastic::api::{Distribution, Engine as Version, route};
use escache::key::headers::HeaderRules;
use escache::plan::{Asked, Context, plan};
use escache::policy::Policy;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::parity;
use crate::support::http::Client;
use crate::support::node::{Engine, Node};

/// How many pairs in a run, but for `TEST_KEY_PAIRS`.
const PAIRS: usize = 1_600;

/// How many requests are under way.
const AT_ONCE: usize = 8;

/// How often an answer is asked for again before it counts as different.
const VARIANTS: usize = 3;

/// Parameters that a search may have or not have.
const PARAMETERS: [&str; 34] = [
    "size=1",
    "from=1",
    "typed_keys",
    "typed_keys=false",
    "rest_total_hits_as_int=true",
    "_source=false",
    "_source_includes=tag",
    "sort=rank:desc",
    "track_total_hits=2",
    "version=true",
    "filter_path=hits.hits",
    "pretty",
    "pretty=false",
    "preference=x",
    "routing=1",
    "track_scores=true",
    "expand_wildcards=all",
    "expand_wildcards=none",
    "expand_wildcards=open,closed",
    "ignore_unavailable=true",
    "allow_no_indices=false",
    "q=tag:red",
    "df=text",
    "default_operator=AND",
    "_source_excludes=text",
    "docvalue_fields=count",
    "stored_fields=stored",
    "seq_no_primary_term=true",
    "terminate_after=1000",
    "batched_reduce_size=2",
    "stats=a",
    "human",
    "error_trace=true",
    "request_cache=true",
];

/// Headers that a request may have in addition, or in another way.
const HEADERS: [(&str, &str); 14] = [
    ("accept", "application/json"),
    ("accept", "*/*"),
    ("accept", "application/json; charset=utf-8"),
    ("accept", "application/vnd.elasticsearch+json;compatible-with=7"),
    ("accept", "application/vnd.elasticsearch+json;compatible-with=8"),
    ("accept", "application/vnd.elasticsearch+json;compatible-with=9"),
    ("content-type", "application/json; charset=utf-8"),
    ("content-type", "application/vnd.elasticsearch+json;compatible-with=7"),
    ("content-type", "application/vnd.elasticsearch+json;compatible-with=8"),
    ("x-custom", "1"),
    ("authorization", "Basic Ym9iOnB3"),
    ("es-security-runas-user", "bob"),
    ("x-opaque-id", "17"),
    ("accept-language", "de"),
];

/// Index expressions in whose place another one may stand.
const INDICES: [&str; 11] = [
    "parity-a",
    "parity-b",
    "parity-a,parity-b",
    "parity-b,parity-a",
    "parity-*",
    "parity-*,-parity-a",
    "parity-%61",
    "parity",
    "parity-red",
    "parity-routed",
    "parity-a,parity-none",
];

/// A search as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Search {
    path: String,
    query: String,
    body: String,
    headers: Vec<(&'static str, &'static str)>,
}

/// The status, the type and the body; equal for all errors of one status, as their bodies show places in the text.
type Answer = (u16, String, String);

impl Search {
    async fn ask(&self, engine: &Client) -> Answer {
        let url = format!("{}?{}", self.path, self.query);
        let answer = engine.request("POST", &url, &self.headers(), self.body.clone()).await;
        if answer.status != 200 {
            return (answer.status, String::new(), String::new());
        }
        let kind = answer.headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        (answer.status, kind.unwrap_or_default(), parity::body(&answer, &[]))
    }

    fn headers(&self) -> Vec<(&'static str, &'static str)> {
        let mut headers = self.headers.clone();
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            headers.push(("content-type", "application/json"));
        }
        headers
    }

    /// The key, if it may be cached at all.
    fn key(&self, version: Version) -> Option<[u8; 32]> {
        let query = Some(self.query.as_str());
        let route = route(&http::Method::POST, &self.path, query);
        let headers = self.headers().into_iter();
        let headers: HeaderMap = headers
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let (policy, rules) = (Policy::default(), HeaderRules::default());
        let asked = Asked { route: &route, query, headers: &headers, body: self.body.as_bytes() };
        let context = Context { engine: Some(version), cluster: "c", policy: &policy, headers: &rules };
        plan(&asked, &context).ok().map(|plan| *plan.key.as_bytes())
    }

    /// Whether a key that was not thought about would merge the two.
    fn is_careless(&self, other: &Search) -> bool {
        self.careless().is_some_and(|key| other.careless() == Some(key))
    }

    /// Such a key; headers are not thought of, and wildcards mean what they usually mean.
    fn careless(&self) -> Option<String> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        let mut params: Vec<&str> = pairs.filter(|pair| !pair.starts_with("expand_wildcards")).collect();
        params.sort_unstable();
        let body = careless(&serde_json::from_str(&self.body).ok()?);
        Some(format!("{}?{}\n{body}", self.path, params.join("&")))
    }
}

/// JSON with all members sorted, and numbers as binary fractions.
fn careless(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(careless).collect(),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().map(|(name, value)| (name, careless(value))).collect();
            members.sort_by(|one, other| one.0.cmp(other.0));
            members.into_iter().map(|(name, value)| (name.clone(), value)).collect()
        }
        other => other.clone(),
    }
}

/// A stream of chance that follows from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides.max(1)
    }

    fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.roll(of.len())]
    }
}

/// A place holder for a text that is no JSON value of serde_json, such as the number `1.0e0`.
const RAW: &str = "\u{1}raw\u{1}";

/// The same search, changed in one place; and what was changed.
fn change(search: &Search, dice: &mut Dice) -> (&'static str, Search) {
    let mut changed = search.clone();
    match dice.roll(12) {
        0..2 => {
            let what = change_query(&mut changed.query, dice);
            return (what, changed);
        }
        2 => {
            let (name, value) = *dice.pick(&HEADERS);
            changed.headers.retain(|(known, _)| *known != name);
            changed.headers.push((name, value));
            return (name, changed);
        }
        3 => {
            let (_, rest) = changed.path.trim_start_matches('/').split_once('/').unwrap_or_default();
            changed.path = format!("/{}/{rest}", dice.pick(&INDICES));
            return ("indices", changed);
        }
        _ => {}
    }
    let Ok(mut body) = serde_json::from_str::<Value>(&search.body) else { return ("nothing", changed) };
    let mut places = Vec::new();
    find_places(&body, String::new(), &mut places);
    // with a compression of 5e21 Elasticsearch 9 computes for ever
    places.retain(|place| !place.ends_with("/compression"));
    // where keys go wrong: the order of members, and numbers
    let focus = dice.roll(4);
    let in_focus = |place: &&String| match body.pointer(place) {
        Some(Value::Object(members)) => focus < 2 && members.len() > 1,
        Some(Value::Number(_)) => focus == 2,
        _ => false,
    };
    let focused: Vec<String> = places.iter().filter(in_focus).cloned().collect();
    let place = dice.pick(if focused.is_empty() { &places } else { &focused }).clone();
    let mut raw = None;
    let what = change_value(body.pointer_mut(&place).unwrap(), dice, &mut raw);
    let text =
        if dice.roll(8) == 0 { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
    changed.body = text.unwrap().replacen(&json!(RAW).to_string(), raw.as_deref().unwrap_or_default(), 1);
    (what, changed)
}

fn change_query(query: &mut String, dice: &mut Dice) -> &'static str {
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    let what = if !pairs.is_empty() && dice.roll(3) == 0 {
        let at = dice.roll(pairs.len());
        if dice.roll(2) == 0 {
            pairs.remove(at);
            "parameter removed"
        } else {
            pairs.rotate_left(at.max(1));
            "parameter order"
        }
    } else {
        let pair = dice.pick(&PARAMETERS);
        pairs.retain(|known| known.split('=').next() != pair.split('=').next());
        pairs.push(pair);
        "parameter added"
    };
    *query = pairs.join("&");
    what
}

fn change_value(value: &mut Value, dice: &mut Dice, raw: &mut Option<String>) -> &'static str {
    match value {
        Value::Object(members) => match dice.roll(4) {
            0 if !members.is_empty() => {
                let name = members.keys().nth(dice.roll(members.len())).unwrap().clone();
                members.shift_remove(&name);
                "member removed"
            }
            1 => {
                *value = json!([value.take()]);
                "array around"
            }
            _ => {
                let mut shuffled: Vec<_> = std::mem::take(members).into_iter().collect();
                let by =
                    if shuffled.is_empty() { 0 } else { dice.roll(shuffled.len()).max(1) % shuffled.len() };
                shuffled.rotate_left(by);
                *members = Map::from_iter(shuffled);
                "member order"
            }
        },
        Value::Array(items) => match dice.roll(4) {
            0 if !items.is_empty() => {
                items.remove(dice.roll(items.len()));
                "item removed"
            }
            1 if !items.is_empty() => {
                items.push(items[dice.roll(items.len())].clone());
                "item twice"
            }
            2 if items.len() == 1 => {
                *value = items.remove(0);
                "item alone"
            }
            _ => {
                items.reverse();
                "array order"
            }
        },
        Value::Number(number) => {
            let text = number.to_string();
            let spelled = match dice.roll(8) {
                0 if !text.contains('.') => format!("{text}.0"),
                1 if !text.contains('.') => format!("{text}.00"),
                2 => format!("{text}e0"),
                3 if text.contains('.') => format!("{text}0"),
                4 => format!("\"{text}\""),
                5 if !text.contains('.') => format!("{text}0000000000000000001"),
                6 if text.contains('.') => format!("{text}00000000000000000001"),
                _ => {
                    *value = number
                        .as_i64()
                        .map_or_else(|| json!(number.as_f64().unwrap() + 1.0), |number| json!(number + 1));
                    return "number";
                }
            };
            *raw = Some(spelled);
            *value = json!(RAW);
            "number text"
        }
        Value::Bool(flag) => {
            *value = if dice.roll(3) == 0 { json!(flag.to_string()) } else { json!(!*flag) };
            "flag"
        }
        Value::String(text) => match dice.roll(6) {
            0 => {
                let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
                *raw = Some(format!("\"{escaped}\""));
                *value = json!(RAW);
                "escapes"
            }
            1 => {
                text.push(*dice.pick(&['x', ' ', '0', '*', 's', '\u{e9}']));
                "text longer"
            }
            2 => {
                *text = if text.chars().any(char::is_uppercase) {
                    text.to_lowercase()
                } else {
                    text.to_uppercase()
                };
                "text case"
            }
            3 => {
                *value = json!([text]);
                "array around"
            }
            4 if text.parse::<f64>().is_ok() => {
                *raw = Some(text.clone());
                *value = json!(RAW);
                "text as number"
            }
            _ => {
                *text = (*dice.pick(&["red", "asc", "desc", "count", "price", "fox", "max", "1", "true"]))
                    .to_owned();
                "text"
            }
        },
        Value::Null => {
            *value = json!(0);
            "null"
        }
    }
}

/// All places in a value, as JSON pointers.
fn find_places(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find_places(item, format!("{at}/{index}"), places);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                find_places(member, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), places);
            }
        }
        _ => {}
    }
    places.push(at);
}

/// A pair with what the engine says to it.
struct Compared {
    what: &'static str,
    one: Search,
    other: Search,
    /// Both are answered with 200, or only one of them.
    told_apart: bool,
    some_answer: bool,
}

async fn compare(engine: &Client, what: &'static str, one: Search, other: Search) -> Compared {
    // what the engine does not say twice in the same way tells nothing apart (its own request cache, for one, answers
    // with another order of a hit's fields than the search that filled it)
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    let mut same = false;
    for _ in 0..VARIANTS {
        ones.push(one.ask(engine).await);
        others.push(other.ask(engine).await);
        same = ones.iter().any(|answer| others.contains(answer));
        if same || ones[0].0 != others[0].0 {
            break;
        }
    }
    let some_answer = ones[0].0 == 200 || others[0].0 == 200;
    Compared { what, told_apart: some_answer && !same, some_answer, one, other }
}

async fn check(engine: Engine, name: &'static str, version: Version) {
    let Some(node) = Node::shared(engine).await else { return };
    let client = node.client();
    parity::set_up(name, &client).await;
    let bases: Vec<_> = parity::searches(name)
        .into_iter()
        .map(|(path, query, body)| Search { path, query, body, headers: Vec::new() })
        .filter(|search| search.key(version).is_some())
        .collect();
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (pairs, seed) = (number("TEST_KEY_PAIRS", PAIRS), number("TEST_KEY_SEED", 1));
    let mut dice = Dice(seed as u64);
    let (mut made, mut refused) = (Vec::new(), 0);
    for _ in 0..pairs {
        let one = dice.pick(&bases).clone();
        let (what, other) = change(&one, &mut dice);
        if other.key(version).is_none() {
            refused += 1;
        } else if one != other {
            made.push((what, one, other));
        }
    }
    let compared: Vec<Compared> = stream::iter(made)
        .map(|(what, one, other)| compare(&client, what, one, other))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;

    let equal = |pair: &Compared| pair.one.key(version) == pair.other.key(version);
    let wrong = |pair: &Compared| {
        let shown = |search: &Search| {
            format!("{}?{} {:?} {}", search.path, search.query, search.headers, search.body)
        };
        format!("{}: {}\n    {}", pair.what, shown(&pair.one), shown(&pair.other))
    };
    let merged: Vec<String> =
        compared.iter().filter(|pair| pair.told_apart && equal(pair)).map(wrong).collect();
    let by_careless = compared.iter().filter(|pair| pair.told_apart && pair.one.is_careless(&pair.other));
    let by_what = |mut counts: BTreeMap<&'static str, usize>, pair: &Compared| {
        *counts.entry(pair.what).or_default() += 1;
        counts
    };
    let caught = by_careless.fold(BTreeMap::new(), by_what);
    let told = compared.iter().filter(|pair| pair.told_apart).fold(BTreeMap::new(), by_what);
    let count = |which: &dyn Fn(&Compared) -> bool| compared.iter().filter(|pair| which(pair)).count();
    println!(
        "{name}: {pairs} pairs of {} searches (seed {seed}): {refused} refused, {} answered, {} told apart by the engine, \
         {} with equal keys, {} of them merged wrongly; a careless key: {caught:?}; told apart: {told:?}",
        bases.len(),
        count(&|pair| pair.some_answer),
        count(&|pair| pair.told_apart),
        count(&equal),
        merged.len(),
    );
    assert!(merged.is_empty(), "{}", merged.join("\n"));
    assert!(pairs < PAIRS || !caught.is_empty(), "no pair is sharp enough");
    assert!(
        count(&|pair| equal(pair) && pair.some_answer) > pairs / 25,
        "spellings of one question are one key"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_elasticsearch_7_tells_apart_has_two_keys() {
    let version = Version { distribution: Distribution::Elasticsearch, version: (7, 17) };
    check(Engine::Elasticsearch7, "elasticsearch-7", version).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opensearch_2_tells_apart_has_two_keys() {
    let version = Version { distribution: Distribution::OpenSearch, version: (2, 19) };
    check(Engine::OpenSearch2, "opensearch-2", version).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/keys runs it"]
async fn what_elasticsearch_8_tells_apart_has_two_keys() {
    let version = Version { distribution: Distribution::Elasticsearch, version: (8, 19) };
    check(Engine::Elasticsearch8, "elasticsearch-8", version).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/keys runs it"]
async fn what_elasticsearch_9_tells_apart_has_two_keys() {
    let version = Version { distribution: Distribution::Elasticsearch, version: (9, 4) };
    check(Engine::Elasticsearch9, "elasticsearch-9", version).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/keys runs it"]
async fn what_opensearch_3_tells_apart_has_two_keys() {
    let version = Version { distribution: Distribution::OpenSearch, version: (3, 5) };
    check(Engine::OpenSearch3, "opensearch-3", version).await;
}
