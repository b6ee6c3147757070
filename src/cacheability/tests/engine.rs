//! The verdict against a real engine, where `TEST_ENGINE` names one (`127.0.0.1:9200`).

use std::io::{Read, Write};
use std::net::TcpStream;

use super::coverage::{Sample, samples};
use super::*;
use crate::cacheability::language::search::SEARCH;
use crate::outcome::Reason;

/// What engines say to a word that they do not know.
const UNKNOWN: [&str; 11] = [
    "unknown field",
    "unknown query",
    "Unknown key",
    "Unknown aggregation",
    "Unknown interval type",
    "Unknown parameter",
    "Unknown function_score",
    "Unknown RetrieverBuilder",
    "query does not support",
    "unsupported field",
    "unexpected field",
];

/// The same words, said to a value of a type that is not expected.
const OTHER: [&str; 4] = [
    "Unknown key for a VALUE_STRING in [my_name]: [lag]",
    "[my_name]: [other_bucket]",
    "[my_name]: [keyed]",
    "[indices_boost]",
];

/// Words of modules and plugins that the engines in `tests/nodes` come without.
const ABSENT: [&str; 37] = [
    "adjacency_matrix",
    "auto_date_histogram",
    "boxplot",
    "bucket_selector",
    "bucket_sort",
    "cartesian_bounds",
    "cartesian_centroid",
    "children",
    "counted_terms",
    "cumulative_cardinality",
    "derivative",
    "geo_grid",
    "geo_line",
    "geohex_grid",
    "has_child",
    "has_parent",
    "matrix_stats",
    "moving_fn",
    "moving_percentiles",
    "multi_terms",
    "normalize",
    "p_value",
    "parent",
    "parent_id",
    "percolate",
    "pinned",
    "rank_feature",
    "rate",
    "semantic",
    "shape",
    "sparse_vector",
    "string_stats",
    "t_test",
    "time_series",
    "top_metrics",
    "weighted_tokens",
    "xy_shape",
];

/// It knows each word that is allowed, and does not know each word of which the tables say so.
#[test]
fn the_engine_knows_the_same_words() {
    let Ok(address) = std::env::var("TEST_ENGINE") else { return };
    let engine = engine(&address);
    let mapping =
        json!({"mappings": {"properties": {"x": {"type": "keyword"}, "my_name": {"type": "keyword"}}}});
    ask(&address, "PUT", "/escache-words", &mapping.to_string());
    ask(
        &address,
        "PUT",
        "/escache-words/_doc/1?refresh=true",
        &json!({"x": "x", "my_name": "x"}).to_string(),
    );
    let mut wrong = Vec::new();
    for Sample { what, body, expected } in samples(engine, &SEARCH) {
        let (status, answer) = ask(&address, "POST", "/escache-words/_search", &body.to_string());
        let text = answer["error"].to_string().replace("\\\"", "");
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let unknown = status != 200 && says(&UNKNOWN);
        let absent = ABSENT.iter().any(|word| text.contains(&format!("[{word}]")) && unknown);
        let right = match expected {
            None => !unknown || absent || says(&OTHER),
            Some(Reason::UnknownWord) => unknown,
            Some(_) => true,
        };
        if !right {
            wrong.push(format!("{what}: expected {expected:?} to {body}, got {}", shorten(&text)));
        }
    }
    ask(&address, "DELETE", "/escache-words", "");
    assert!(wrong.is_empty(), "{engine:?}:\n{}", wrong.join("\n"));
}

/// Where a text is replaced by `now`, the engine takes the search for one that depends on the clock (then it does not
/// enter its own request cache) only if escache does, too.
#[test]
fn the_engine_finds_now_nowhere_else() {
    let Ok(address) = std::env::var("TEST_ENGINE") else { return };
    let (engine, index) = (engine(&address), Index::new(&address, "escache-now"));
    let (mut asked, mut missed) = (0, Vec::new());
    let mut entered = index.cache_entries();
    for search in searches() {
        for path in texts(&search) {
            for now in [
                "now-1d/d",
                "now",
                "<escache-{now/d}>",
                "f:now",
                "d:[now-3d TO *]",
                "e:>now",
                "r:\"now/d\"",
                "d:n\\ow",
            ] {
                let mut body = search.clone();
                *body.pointer_mut(&path).unwrap() = json!(now);
                let (status, _) = index.ask("POST", "/_search?request_cache=true", &body.to_string());
                let before = std::mem::replace(&mut entered, index.cache_entries());
                let clock = status == 200 && before == entered && body.get("suggest").is_none();
                if clock && judge_body(Api::Search, Some(engine), "", &body, false).is_ok() {
                    missed.push(format!("{path}: {body}"));
                }
                asked += usize::from(status == 200);
            }
        }
    }
    assert!(asked > 1000);
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// Where the order of members is said to be free, the reverse order gets the same answer.
#[test]
fn the_engine_answers_the_same_in_another_order() {
    let Ok(address) = std::env::var("TEST_ENGINE") else { return };
    let index = Index::new(&address, "escache-order");
    let mut compared = 0;
    for search in searches() {
        let (text, params) = (search.to_string(), Params::default());
        let mut body = parse(text.as_bytes()).unwrap();
        let question = Question {
            api: Api::Search,
            engine: None,
            params: &params,
            body: Some(&mut body),
            rounded_now: false,
        };
        judge(question).unwrap();
        let (one, other) = (write(&body, false), write(&body, true));
        let answer = |text: &str| {
            let (status, mut answer) = index.ask("POST", "/_search", text);
            answer.as_object_mut().map(|answer| answer.remove("took"));
            (status, if status == 200 { answer.to_string() } else { String::new() })
        };
        assert_eq!(answer(&one), answer(&other), "{one}\n{other}");
        compared += usize::from(one != other);
    }
    assert!(compared > 150);
}

/// Searches over the fields of [`Index`], each date field in turn.
fn searches() -> Vec<Value> {
    let text = include_str!("searches.json");
    let searches = ["d", "e", "r", "_index", "nest.d"].map(|field| {
        let text = text.replace("FIELD", field);
        serde_json::from_str::<Vec<Value>>(&text).unwrap()
    });
    searches.concat()
}

/// The places of all texts in a value.
fn texts(value: &Value) -> Vec<String> {
    let under = |name: &str, value: &Value| -> Vec<String> {
        texts(value)
            .into_iter()
            .map(|path| format!("/{}{path}", name.replace('~', "~0").replace('/', "~1")))
            .collect()
    };
    match value {
        Value::String(_) => vec![String::new()],
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(at, item)| under(&at.to_string(), item)).collect()
        }
        Value::Object(members) => members.iter().flat_map(|(name, value)| under(name, value)).collect(),
        _ => Vec::new(),
    }
}

/// A tree as text, with the members of free objects in reverse.
fn write(json: &Json<'_>, reverse: bool) -> String {
    match json {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(text) => (*text).to_owned(),
        Json::String(text) => json!(text).to_string(),
        Json::Array(items) => {
            format!("[{}]", items.iter().map(|item| write(item, reverse)).collect::<Vec<_>>().join(","))
        }
        Json::Object(object) => {
            let member = |(name, value): &(_, _)| format!("{}:{}", json!(name), write(value, reverse));
            let mut members: Vec<_> = object.members.iter().map(member).collect();
            if reverse && object.order == Order::Free {
                members.reverse();
            }
            format!("{{{}}}", members.join(","))
        }
    }
}

/// An index with a date of each kind in each document, from before now to after it; deleted at the end.
struct Index<'a> {
    address: &'a str,
    name: &'static str,
}

impl<'a> Index<'a> {
    fn new(address: &'a str, name: &'static str) -> Index<'a> {
        let index = Index { address, name };
        let kinds = [
            ("d", "date"),
            ("e", "date_nanos"),
            ("r", "date_range"),
            ("k", "keyword"),
            ("n", "long"),
            ("t", "text"),
            ("g", "geo_point"),
            ("s", "completion"),
        ];
        let mut fields: serde_json::Map<_, _> =
            kinds.iter().map(|(name, kind)| ((*name).to_owned(), json!({"type": kind}))).collect();
        fields.insert("nest".to_owned(), json!({"type": "nested", "properties": {"d": {"type": "date"}}}));
        let settings = json!({"number_of_shards": 1, "number_of_replicas": 0});
        index.ask("PUT", "", &json!({"settings": settings, "mappings": {"properties": fields}}).to_string());
        let now = jiff::Timestamp::now();
        let lines: Vec<_> = (-20..40)
            .map(|day: i64| {
                let date = (now + jiff::SignedDuration::from_hours(24 * day)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                let document = json!({"d": date, "e": date, "r": {"gte": date, "lte": "2199-01-01"}, "k": format!("k{}", day % 5),
                    "n": day, "t": "hello now world", "g": "1,1", "s": "abc", "nest": [{"d": date}]});
                format!("{}\n{document}\n", json!({"index": {"_id": (day + 20).to_string()}}))
            })
            .collect();
        let (_, answer) = index.ask("POST", "/_bulk?refresh=true", &lines.concat());
        assert_eq!(answer["errors"], json!(false), "{answer}");
        index
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        ask(self.address, method, &format!("/{}{path}", self.name), body)
    }

    /// How often a search entered the request cache.
    fn cache_entries(&self) -> u64 {
        let (_, stats) = self.ask("GET", "/_stats/request_cache", "");
        let cache = &stats["_all"]["total"]["request_cache"];
        cache["hit_count"].as_u64().unwrap() + cache["miss_count"].as_u64().unwrap()
    }
}

impl Drop for Index<'_> {
    fn drop(&mut self) {
        self.ask("DELETE", "", "");
    }
}

fn shorten(text: &str) -> &str {
    text.get(..300).unwrap_or(text)
}

/// Which engine it is. Elasticsearch 8 in its lean form has no `GET /`.
fn engine(address: &str) -> Engine {
    let (_, root) = ask(address, "GET", "/", "");
    let (_, nodes) = ask(address, "GET", "/_nodes?filter_path=nodes.*.version", "");
    let number = nodes["nodes"].as_object().unwrap().values().next().unwrap()["version"].as_str().unwrap();
    let mut numbers = number.split('.').map(|number| number.parse().unwrap());
    let distribution = match root["version"]["distribution"].as_str() {
        Some("opensearch") => Distribution::OpenSearch,
        _ => Distribution::Elasticsearch,
    };
    Engine { distribution, version: (numbers.next().unwrap(), numbers.next().unwrap()) }
}

/// One request on a connection of its own.
fn ask(address: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}
