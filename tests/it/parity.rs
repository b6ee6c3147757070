//! Parity: the scenarios in `tests/parity` are asked of a real engine directly and through escache, and nobody can tell
//! the answers apart.
//!
//! Each request goes to the engine, and then through the proxy until its verdict is the expected one: a hit for what
//! is allowed, a bypass with exactly its reason for what is refused. *Every* answer through the proxy must be the direct
//! one: status, headers but for those that escache adds, body byte for byte but for `took`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;
use tokio::time::error::Elapsed;

use crate::support::escache::{Escache, verdict};
use crate::support::http::{Client, Response};
use crate::support::node::{Engine, Node};

mod words;

use words::{Page, Place};

/// How often a request may be a miss before it must be a hit. A quiet engine needs one.
const SETTLING: usize = 5;

/// How many answers of the engine are looked at where they differ from each other.
const VARIANTS: usize = 20;

/// An answer that has not come by then never will: the run goes on without it, and names what was asked. Twice as long as
/// escache waits for an answer of the engine before it gives one of its own.
const LONGEST: Duration = Duration::from_secs(120);

/// How many requests are under way.
const AT_ONCE: usize = 8;

/// The headers that escache adds, as `docs/` declares them.
const ADDED: [&str; 5] = ["cache-status", "x-cache", "age", "etag", "vary"];

/// The engines of this machine's run, and their names in the scenarios.
const ENGINES: [(&str, Engine); 5] = [
    ("elasticsearch-7", Engine::Elasticsearch7),
    ("elasticsearch-8", Engine::Elasticsearch8),
    ("elasticsearch-9", Engine::Elasticsearch9),
    ("opensearch-2", Engine::OpenSearch2),
    ("opensearch-3", Engine::OpenSearch3),
];

/// A file of `tests/parity`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// What must be there before the requests.
    #[serde(default)]
    setup: Vec<Step>,
    #[serde(default)]
    requests: Vec<Request>,
}

/// One call of the set-up: a request, or documents.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    put: Option<String>,
    post: Option<String>,
    body: Option<Value>,
    /// Goes into this index, one after the other, with the ids 0, 1, ...
    index: Option<String>,
    #[serde(default)]
    docs: Vec<Value>,
    #[serde(default)]
    engines: Vec<String>,
}

/// A request and what must become of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default = "post")]
    method: String,
    #[serde(default = "search")]
    path: String,
    #[serde(default)]
    headers: Map<String, Value>,
    /// As JSON.
    body: Option<Value>,
    /// As it stands.
    text: Option<String>,
    /// `hit` (of a multi search `hit items-hit=1/1`), `bypass REASON` or `miss REASON`.
    #[serde(default = "hit")]
    expect: String,
    #[serde(default = "ok")]
    status: u16,
    /// The engines that it is for, by the beginning of their names; all if it is empty.
    #[serde(default)]
    engines: Vec<String>,
    /// Members of the body that may differ, as JSON pointers (`body`: all of it).
    #[serde(default)]
    ignore: Vec<String>,
    /// What it asks for is in a module that not all engines of `tests/nodes` have: if the engine says 400, then so do we.
    #[serde(default)]
    module: bool,
    /// One of the searches that the tests of the verdict use.
    #[serde(skip)]
    of_the_verdict: bool,
}

fn post() -> String {
    "POST".to_owned()
}

fn search() -> String {
    "/parity-a/_search".to_owned()
}

fn hit() -> String {
    "hit".to_owned()
}

fn ok() -> u16 {
    200
}

impl Request {
    fn text(&self) -> String {
        match (&self.text, &self.body) {
            (Some(text), _) => text.clone(),
            (None, Some(body)) => body.to_string(),
            (None, None) => String::new(),
        }
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        if !headers.iter().any(|(name, _)| *name == "content-type")
            && (self.body.is_some() || self.text.is_some())
        {
            headers.push(("content-type", "application/json"));
        }
        headers
    }

    fn is_for(&self, engine: &str) -> bool {
        is_for(&self.engines, engine)
    }
}

fn is_for(engines: &[String], engine: &str) -> bool {
    engines.is_empty() || engines.iter().any(|name| engine.starts_with(name.as_str()))
}

/// All scenarios, the one that sets up for all of them first.
fn scenarios() -> Vec<(String, Scenario)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let scenario = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, scenario)
    };
    files.into_iter().map(read).collect()
}

/// The searches that the tests of the verdict use, over the index `parity-dates`; each date field in turn if there is
/// time for it.
fn searches_of_the_verdict() -> Vec<Request> {
    let fields: &[&str] =
        if std::env::var_os("TEST_PARITY_ENGINES").is_some() { &["d", "e", "r", "nest.d"] } else { &["d"] };
    let text = include_str!("../../src/cacheability/tests/searches.json");
    let bodies = fields.iter().flat_map(|field| {
        let bodies = serde_json::from_str::<Vec<Value>>(&text.replace("FIELD", field)).unwrap();
        bodies.into_iter().map(move |body| (*field, body))
    });
    let request = |(field, body): (&str, Value)| Request {
        method: post(),
        path: "/parity-dates/_search".to_owned(),
        headers: Map::new(),
        text: None,
        expect: hit(),
        status: 200,
        engines: engines_of(field, &body),
        body: Some(body),
        ignore: Vec::new(),
        module: true,
        of_the_verdict: true,
    };
    bodies.map(request).collect()
}

/// The engines that answer such a search at all. OpenSearch 3.5 never answers one that sorts several documents by a range of
/// dates: its coordinator fails in taking the shard's result (an `UnsupportedOperationException`, told to the log at TRACE
/// alone), and tells nobody. Neither does a collapse whose groups are sorted so: it waits for the searches of its groups. Its tasks
/// stay, cancelled or not. The others say 400.
fn engines_of(field: &str, body: &Value) -> Vec<String> {
    let range_sorts_groups = field == "r" && body.get("collapse").is_some();
    let answer: &[&str] = if range_sorts_groups { &["elasticsearch", "opensearch-2"] } else { &[] };
    answer.iter().map(|name| (*name).to_owned()).collect()
}

/// The searches that are hits on an engine: path, query string, body.
pub(crate) fn searches(name: &str) -> Vec<(String, String, String)> {
    let written = scenarios().into_iter().flat_map(|(_, scenario)| scenario.requests);
    let all = written.chain(searches_of_the_verdict());
    let hits =
        all.filter(|request| request.is_for(name) && request.expect == "hit" && request.headers.is_empty());
    hits.map(|request| {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        (path.to_owned(), query.to_owned(), request.text())
    })
    .collect()
}

/// Makes what the scenarios need, once for the shared node of an engine.
pub(crate) async fn set_up(name: &str, client: &Client) {
    static DONE: [OnceCell<()>; ENGINES.len()] = [const { OnceCell::const_new() }; ENGINES.len()];
    let at = ENGINES.iter().position(|(known, _)| *known == name).unwrap();
    DONE[at].get_or_init(|| make(name, client)).await;
}

async fn make(name: &str, client: &Client) {
    let scenarios = scenarios();
    let ok = async |method: &str, path: &str, body: Option<Value>| {
        let (status, answer) = client.json(method, path, body).await;
        assert!((200..300).contains(&status), "{name}: {method} {path}: {answer}");
        answer
    };
    let steps = scenarios.iter().flat_map(|(_, scenario)| &scenario.setup);
    for step in steps.filter(|step| is_for(&step.engines, name)) {
        for (method, path) in [("PUT", &step.put), ("POST", &step.post)] {
            if let Some(path) = path {
                ok(method, path, step.body.clone()).await;
            }
        }
        if let Some(index) = &step.index {
            let lines: String = step
                .docs
                .iter()
                .enumerate()
                .map(|(id, doc)| format!("{}\n{doc}\n", json!({"index": {"_id": id.to_string()}})))
                .collect();
            let answer = client
                .request(
                    "POST",
                    &format!("/{index}/_bulk"),
                    &[("content-type", "application/x-ndjson")],
                    lines,
                )
                .await
                .json();
            assert_eq!(answer["errors"], json!(false), "{name}: {answer}");
        }
    }
    ok("POST", "/parity-*/_forcemerge?max_num_segments=1", None).await;
    ok("POST", "/parity-*/_refresh", None).await;
}

/// What a run came to.
#[derive(Default)]
struct Tally {
    requests: usize,
    hits: usize,
    refused: usize,
    /// Errors of the engine, and partial answers.
    errors: usize,
    /// Asked for what this engine's build does not have.
    absent: usize,
    /// Allowed words that were hits.
    allowed: BTreeSet<Place>,
    /// Refused words that were the place of a refusal.
    refusals: BTreeSet<Place>,
    failures: Vec<String>,
}

struct Runner<'r> {
    name: &'r str,
    engine: &'r Client,
    through: Client,
    page: &'r Page,
}

/// What became of a request that was answered rightly.
enum Shown {
    Hit,
    /// With the place of the refusal.
    Refused(String),
    Error,
    Absent,
}

impl Runner<'_> {
    async fn run(&self, requests: Vec<Request>) -> Tally {
        let mut tally = Tally { requests: requests.len(), ..Tally::default() };
        let mut checks = stream::iter(requests)
            .map(async |request| (self.check(&request).await, request))
            .buffer_unordered(AT_ONCE);
        while let Some((result, request)) = checks.next().await {
            match result {
                Ok(Shown::Hit) => {
                    tally.hits += 1;
                    tally.allowed.extend(self.page.said("+", &request.path, &request.text()));
                }
                Ok(Shown::Refused(at)) => {
                    tally.refused += 1;
                    let said = self.page.said("-", &request.path, &request.text());
                    tally.refusals.extend(said.into_iter().filter(|(_, word)| is_the_end(word, &at)));
                }
                Ok(Shown::Error) => tally.errors += 1,
                Ok(Shown::Absent) => tally.absent += usize::from(!request.of_the_verdict),
                Err(failure) => {
                    let what = format!("{} {} {}", request.method, request.path, request.text());
                    tally.failures.push(format!("{}: {what}\n    {failure}", self.name));
                }
            }
        }
        tally
    }

    async fn check(&self, request: &Request) -> Result<Shown, String> {
        let direct = self.ask_directly(request).await?;
        let absent = request.module && !is_whole(&direct);
        if !absent && direct.status != request.status {
            return Err(format!("the engine says {}: {}", direct.status, shorten(&direct.text())));
        }
        let settles = !absent && request.expect.starts_with("hit");
        let (mut last, mut place) = (String::new(), String::new());
        // the first is the fill
        for attempt in 0..if settles { 1 + SETTLING } else { 2 } {
            if attempt > 1 {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            let through =
                ask(&self.through, request).await.map_err(|why| format!("through escache: {why}"))?;
            last = shown(&through);
            place = place_of(&through);
            self.compare(request, &direct, &through).await?;
            if attempt > 0 && settles && last == request.expect {
                break;
            }
        }
        match request.expect.as_str() {
            // what is refused is refused whatever the engine says to it
            expected if expected.starts_with("bypass") && last == expected => Ok(Shown::Refused(place)),
            _ if absent => Ok(Shown::Absent),
            expected if last != expected => Err(format!("expected {expected}, got {last}")),
            expected if expected.starts_with("hit") => Ok(Shown::Hit),
            _ => Ok(Shown::Error),
        }
    }

    async fn ask_directly(&self, request: &Request) -> Result<Response, String> {
        ask(self.engine, request).await.map_err(|why| format!("directly: {why}"))
    }

    async fn compare(&self, request: &Request, direct: &Response, through: &Response) -> Result<(), String> {
        if direct.status != through.status {
            return Err(format!("status {} is {} through the proxy", direct.status, through.status));
        }
        let (expected, found) = (headers(direct), headers(through));
        if expected != found {
            return Err(format!("headers {expected:?} are {found:?} ({})", shown(through)));
        }
        let (expected, found) = (body(direct, &request.ignore), body(through, &request.ignore));
        if expected == found {
            return Ok(());
        }
        // some answers of the engine differ from each other, such as in the order of a hit's fields: then this one must
        // be among them
        let mut differs = false;
        for _ in 0..VARIANTS {
            let again = body(&self.ask_directly(request).await?, &request.ignore);
            if again == found {
                return Ok(());
            }
            differs |= again != expected;
        }
        let who = if differs { "the engine differs from itself: " } else { "" };
        let verdict = shown(through);
        Err(format!("{who}{}\n    is {verdict} {}", shorten(&expected), shorten(&found)))
    }
}

async fn ask(client: &Client, request: &Request) -> Result<Response, String> {
    let answer = client.try_request(&request.method, &request.path, &request.headers(), request.text()).await;
    answer.map_err(|error| match error.is::<Elapsed>() {
        true => format!("no answer within {LONGEST:?}"),
        false => format!("no answer: {error}"),
    })
}

/// Status 200, with all shards.
fn is_whole(answer: &Response) -> bool {
    answer.status == 200
        && serde_json::from_slice::<Value>(&answer.body)
            .is_ok_and(|answer| answer.pointer("/_shards/failed").is_none_or(|failed| *failed == json!(0)))
}

/// The verdict in the words of the scenarios.
fn shown(answer: &Response) -> String {
    let reason = detail(answer).split(' ').next().unwrap_or_default().to_owned();
    format!("{} {reason}", verdict(&answer.headers).0.to_lowercase()).trim_end().to_owned()
}

/// Where the refusal was found.
fn place_of(answer: &Response) -> String {
    detail(answer).split_once(" at ").map_or("", |(_, place)| place).to_owned()
}

fn detail(answer: &Response) -> &str {
    let (_, status) = verdict(&answer.headers);
    status.split_once("detail=").map_or("", |(_, detail)| detail).trim_matches('"')
}

/// Whether a place ends with this word.
fn is_the_end(word: &str, place: &str) -> bool {
    place.strip_suffix(word).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The headers that must be equal: all but those that escache adds, and those that frame the body (Elasticsearch 8 and 9
/// send it in chunks, a hit has a length; and that of `took` differs).
fn headers(answer: &Response) -> Vec<(String, String)> {
    let framing = ["content-length", "transfer-encoding"];
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| !ADDED.contains(&name.as_str()) && !framing.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    headers
}

/// The body but for `took` and what else may differ.
pub(crate) fn body(answer: &Response, ignore: &[String]) -> String {
    if ignore.iter().any(|place| place == "body") {
        return String::new();
    }
    let text = answer.text();
    if ignore.is_empty() {
        return without_took(&text);
    }
    let mut value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    for place in ignore {
        if let Some(found) = value.pointer_mut(place) {
            *found = Value::Null;
        }
    }
    without_took(&value.to_string())
}

/// Without the digits behind the first `took`, which is the one of the search, in JSON or YAML.
fn without_took(text: &str) -> String {
    let at = ["\"took\"", "\ntook"].iter().find_map(|name| Some(text.find(name)? + name.len()));
    let Some(at) = at else { return text.to_owned() };
    let digits = text[at..].trim_start_matches([' ', ':']);
    format!("{}{}", &text[..at], digits.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn shorten(text: &str) -> String {
    text.chars().take(1500).collect()
}

async fn check(name: &'static str) {
    let wanted = std::env::var("TEST_PARITY_ENGINES").unwrap_or_default();
    let in_ci = matches!(name, "elasticsearch-7" | "opensearch-2");
    if !(wanted == "all" || wanted.split(',').any(|one| one == name) || wanted.is_empty() && in_ci) {
        return;
    }
    let engine = ENGINES.iter().find(|(known, _)| *known == name).unwrap().1;
    let Some(node) = Node::shared(engine).await else { return };
    let began = Instant::now();
    let client = node.client().within(LONGEST);
    let scenarios = scenarios();
    set_up(name, &client).await;
    let set_up_in = began.elapsed();
    let escache = Escache::start(node.url()).await;
    let page = Page::new(ENGINES.iter().position(|(known, _)| *known == name).unwrap());
    let through = Client::at(&escache.url).within(LONGEST);
    let runner = Runner { name, engine: &client, through, page: &page };
    let written = scenarios.iter().flat_map(|(_, scenario)| &scenario.requests);
    let mut requests: Vec<_> = written.filter(|request| request.is_for(name)).cloned().collect();
    requests.extend(searches_of_the_verdict().into_iter().filter(|request| request.is_for(name)));
    let tally = runner.run(requests).await;
    println!(
        "{name}: {} scenarios, {} requests: {} hits, {} refused, {} errors, {} of absent modules; {:.1} s, and {:.1} s to set up",
        scenarios.len(),
        tally.requests,
        tally.hits,
        tally.refused,
        tally.errors,
        tally.absent,
        (began.elapsed() - set_up_in).as_secs_f32(),
        set_up_in.as_secs_f32(),
    );
    let count = tally.failures.len();
    assert!(tally.failures.is_empty(), "{count} failures\n{}", tally.failures.join("\n"));
    all_is_shown(name, &page, &tally);
}

/// Every allowed word was a hit, and every refused one a bypass that names it, but for what `unshown.yml` gives a reason for.
fn all_is_shown(name: &str, page: &Page, tally: &Tally) {
    let listed = words::unshown();
    let mut wrong = Vec::new();
    for (refused, mark, shown) in [(false, "+", &tally.allowed), (true, "-", &tally.refusals)] {
        let all = page.marked(mark);
        let (all_names, shown_names) = (words::names(&all), words::names(shown));
        let missing: BTreeSet<_> = all_names.difference(&shown_names).cloned().collect();
        let what = if refused { "refused words were refused by name" } else { "allowed words were hits" };
        println!(
            "{name}: {} of {} {what}, {} of {} places",
            all_names.len() - missing.len(),
            all_names.len(),
            shown.len(),
            all.len()
        );
        if std::env::var_os("TEST_PARITY_MISSING").is_some() {
            let places = all.difference(shown).map(|(form, word)| format!("{form}: {word}"));
            println!("{}", places.collect::<Vec<_>>().join("\n"));
        }
        let listed = listed.of(refused, name);
        let (more, less): (Vec<_>, Vec<_>) =
            (missing.difference(&listed).collect(), listed.difference(&missing).collect());
        if !more.is_empty() {
            wrong.push(format!(
                "no scenario shows, and unshown.yml does not say why: {more:?} (refused: {refused})"
            ));
        }
        if !less.is_empty() {
            wrong.push(format!("unshown.yml lists what is shown or unknown: {less:?} (refused: {refused})"));
        }
    }
    let (absent, places) = (listed.absent.get(name).copied(), listed.places.get(name).copied());
    if absent.is_none_or(|most| tally.absent > most) {
        wrong.push(format!(
            "{} requests were answered as of absent modules, at most {absent:?} may be",
            tally.absent
        ));
    }
    if places.is_none_or(|least| tally.allowed.len() < least) {
        wrong.push(format!("{} places of allowed words were hits, not {places:?}", tally.allowed.len()));
    }
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn elasticsearch_7_answers_the_same_through_the_proxy() {
    check("elasticsearch-7").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn elasticsearch_8_answers_the_same_through_the_proxy() {
    check("elasticsearch-8").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn elasticsearch_9_answers_the_same_through_the_proxy() {
    check("elasticsearch-9").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opensearch_2_answers_the_same_through_the_proxy() {
    check("opensearch-2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opensearch_3_answers_the_same_through_the_proxy() {
    check("opensearch-3").await;
}
