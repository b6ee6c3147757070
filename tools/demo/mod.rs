//! The demo: a real engine, a corpus, the searches of a marketplace and of a log dashboard, with and without escache.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::Failure;
use crate::http::{Client, Response};
use crate::node;
use crate::process::{self, Process, asked_to_end, command};

mod corpus;

mod load;

mod searches;

mod table;

use searches::Search;
use table::Row;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The program escache
    #[arg(long)]
    escache: PathBuf,
    /// A running engine
    #[arg(long)]
    url: Option<String>,
    /// What starts an engine: tests/nodes/run
    #[arg(long)]
    nodes: PathBuf,
    /// Which engine it starts
    #[arg(long, default_value = "elasticsearch-7")]
    engine: String,
    /// A folder for the engine's data and for logs
    #[arg(long)]
    work: PathBuf,
    /// How many documents there shall be
    #[arg(long, default_value_t = 600_000)]
    docs: u64,
    /// Where the proxies listen: this port and the next three
    #[arg(long, default_value_t = 9280)]
    port: u16,
    /// Ends when the table is complete
    #[arg(long)]
    exit: bool,
    /// When the script began, in seconds since 1970
    #[arg(long)]
    since: Option<u64>,
}

/// How often each way is measured; the table has the medians.
const DIRECT: usize = 9;
const MISSES: usize = 3;
const HITS: usize = 51;
const BOUND: Duration = Duration::from_secs(1);

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let mut processes = Vec::new();
    let ended = tokio::select! {
        ended = story(&options, &mut processes) => ended,
        () = asked_to_end() => Err("interrupted".into()),
    };
    let ended = match ended {
        Ok(()) if !options.exit => {
            asked_to_end().await;
            println!("\nEnding.");
            Ok(())
        }
        ended => ended,
    };
    // the proxies first, then the engine
    while let Some(process) = processes.pop() {
        process.end().await;
    }
    ended
}

async fn story(options: &Options, processes: &mut Vec<Process>) -> Result<(), Failure> {
    std::fs::create_dir_all(&options.work)?;
    let engine = match &options.url {
        Some(url) => Client::new(url),
        None => node::start(&options.nodes, &options.engine, &options.work, processes).await?,
    };
    println!("Engine: {} at {}", name_of(&engine).await?, engine.base());
    let documents = load::load(&engine, options.docs).await?;

    let strict = start_escache(options, &engine, options.port, Duration::ZERO, processes).await?;
    let bounded = start_escache(options, &engine, options.port + 2, BOUND, processes).await?;
    println!("escache, strict:                   {}", strict.data.base());
    println!("escache, with --max-staleness 1s:  {}\n", bounded.data.base());

    let mut rows = Vec::new();
    let searches = searches::all();
    for (number, search) in searches.iter().enumerate() {
        println!("measuring {:>2} of {}: {}", number + 1, searches.len(), search.name);
        rows.push(measure(search, &engine, &strict, &bounded).await?);
    }
    println!(
        "\nA write at the engine itself, which no proxy sees, and a refresh: one product, one log line."
    );
    write(&engine).await?;
    let written = Instant::now();
    for (search, row) in searches.iter().zip(&mut rows) {
        row.found.1 = after_write(search, &strict.data, row.found.0, true).await?;
    }
    tokio::time::sleep(BOUND.saturating_sub(written.elapsed()) + Duration::from_millis(10)).await;
    for (search, row) in searches.iter().zip(&rows) {
        after_write(search, &bounded.data, row.found.0, false).await?;
    }
    println!("The strict proxy had the new answers at once, the other one not later than after {BOUND:?}.\n");

    println!("Medians in milliseconds, {documents} documents:\n\n{}", table::HEAD);
    for row in &rows {
        println!("{}", table::line(row));
    }
    println!(
        "\nHIT: strict, it asks the engine once whether anything changed (\"reading\"). HIT 1s: with a bound of 1 s."
    );
    println!(
        "\"faster\" compares no cache with HIT 1s. own: the engine's request cache, which holds searches without hits."
    );
    let broken: Vec<String> = rows.iter().flat_map(Row::broken).collect();
    for line in &broken {
        println!("SLOWER THAN PROMISED: {line}");
    }
    if broken.is_empty() {
        println!(
            "All searches over 20 ms: 20 times faster or more with the bound; strict hits: one reading and less than 1 ms."
        );
    }
    if let Some(since) = options.since {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        println!("Total time: {} s, builds and downloads included.", now.saturating_sub(since));
    }
    if !options.exit {
        invite(&strict, &bounded, &engine);
    }
    Ok(())
}

async fn name_of(engine: &Client) -> Result<String, Failure> {
    // a lean Elasticsearch 8 has no GET /
    let path = "/_nodes/_master?filter_path=nodes.*.version";
    let nodes = engine.ok(Method::GET, path, None).await?.json()?;
    let version = nodes["nodes"].as_object().and_then(|nodes| nodes.values().next()?["version"].as_str());
    let root = engine.get("/").await?;
    let distribution =
        root.json().ok().and_then(|root| Some(root["version"]["distribution"].as_str()?.to_owned()));
    Ok(format!("{} {}", distribution.unwrap_or("elasticsearch".to_owned()), version.unwrap_or("?")))
}

/// A running proxy.
struct Escache {
    data: Client,
    admin: Client,
}

async fn start_escache(
    options: &Options,
    engine: &Client,
    port: u16,
    bound: Duration,
    processes: &mut Vec<Process>,
) -> Result<Escache, Failure> {
    let port = process::free_port(port);
    let (data, admin) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", process::free_port(port + 1)));
    let log = options.work.join(format!("escache-{port}.log"));
    let mut run = command(&options.escache);
    run.args(["--listen", &data, "--admin", &admin, "--upstream", engine.base()]);
    run.args(["--max-staleness", &format!("{}s", bound.as_secs())]);
    // the table is to show what a hit costs, also where this machine is so busy that a search would cost less
    run.env("ESCACHE_FRESHNESS_READING_DEARER", "wait");
    run.stdout(std::fs::File::create(&log)?).stderr(std::fs::File::options().append(true).open(&log)?);
    processes.push(Process::start(&mut run)?);
    let escache = Escache {
        data: Client::new(&format!("http://{data}")),
        admin: Client::new(&format!("http://{admin}")),
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !escache.admin.get("/ready").await.is_ok_and(|ready| ready.status == 200) {
        if Instant::now() > deadline {
            return Err(format!("escache did not start; the end of its log:\n{}", process::tail(&log)).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(escache)
}

async fn measure(
    search: &Search,
    engine: &Client,
    strict: &Escache,
    bounded: &Escache,
) -> Result<Row, Failure> {
    let no_cache = "?request_cache=false";
    for _ in 0..4 {
        ask(search, engine, no_cache, None).await?; // the engine compiles itself while it runs
    }
    let (direct, expected) = several(DIRECT, search, engine, no_cache, None).await?;
    let mut misses = Vec::new();
    let mut miss = None;
    for _ in 0..MISSES {
        // the engine's own cache goes with it
        strict.data.ok(Method::POST, &format!("/{}/_cache/clear", search.index), None).await?;
        let answer = ask(search, &strict.data, "", Some("MISS")).await?;
        misses.push(answer.took);
        miss = Some(answer);
    }
    let miss = miss.ok_or("no miss")?;
    let before = readings(strict).await?;
    let (strict_hit, hit) = several(HITS, search, &strict.data, "", Some("HIT")).await?;
    let after = readings(strict).await?;
    if hit.body != miss.body {
        return Err(format!("{}: the hit is not what was stored", search.name).into());
    }
    same_answer(search, engine, &expected, &hit).await?;
    ask(search, &bounded.data, "", Some("MISS")).await?;
    let (bounded_hit, _) = several(HITS * 4, search, &bounded.data, "", Some("HIT")).await?;
    let (own, _) = several(DIRECT, search, engine, "", None).await?;
    let reading =
        Duration::from_micros(after.1.saturating_sub(before.1)) / (after.0 - before.0).max(1) as u32;
    Ok(Row {
        name: search.name,
        direct,
        own,
        miss: median(misses),
        strict: strict_hit,
        reading,
        bounded: bounded_hit,
        found: (found(&hit)?, 0),
    })
}

/// Asks a search, and fails unless it was answered in the expected way.
async fn ask(
    search: &Search,
    server: &Client,
    query: &str,
    expected: Option<&str>,
) -> Result<Response, Failure> {
    let path = format!("/{}/_search{query}", search.index);
    let answer = server.ok(Method::POST, &path, Some(&search.body)).await?;
    match expected {
        Some(expected) if answer.x_cache() != expected => Err(format!(
            "{}: a {expected} was expected and {} came ({})",
            search.name,
            answer.x_cache(),
            answer.cache_status()
        )
        .into()),
        _ => Ok(answer),
    }
}

/// The median time of some repetitions, and the last answer.
async fn several(
    times: usize,
    search: &Search,
    server: &Client,
    query: &str,
    expected: Option<&str>,
) -> Result<(Duration, Response), Failure> {
    let mut last = ask(search, server, query, expected).await?;
    let mut took = vec![last.took];
    for _ in 1..times {
        last = ask(search, server, query, expected).await?;
        took.push(last.took);
    }
    Ok((median(took), last))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// How many readings the proxy has made, and for how many microseconds.
async fn readings(escache: &Escache) -> Result<(u64, u64), Failure> {
    let stats = escache.admin.ok(Method::GET, "/stats", None).await?.json()?;
    let of = |name: &str| stats["counters"][name].as_u64().unwrap_or_default();
    Ok((of("readings"), of("reading_microseconds")))
}

/// Nothing is written meanwhile, so that the engine's answer and the hit are the same but for the time they took.
/// Where the engine's own answers differ (percentiles are drawn with some chance), that is said instead.
async fn same_answer(
    search: &Search,
    engine: &Client,
    direct: &Response,
    hit: &Response,
) -> Result<(), Failure> {
    let without_took = |answer: &Response| -> Result<Value, Failure> {
        let mut answer = answer.json()?;
        if let Some(answer) = answer.as_object_mut() {
            answer.remove("took");
        }
        Ok(answer)
    };
    let (first, hit) = (without_took(direct)?, without_took(hit)?);
    if first == hit {
        return Ok(());
    }
    let mut differ = false;
    for _ in 0..5 {
        let again = without_took(&ask(search, engine, "?request_cache=false", None).await?)?;
        if again == hit {
            return Ok(());
        }
        differ |= again != first;
    }
    if !differ {
        return Err(format!("{}: the engine answers something else than the hit", search.name).into());
    }
    println!(
        "            the engine's answers to this one differ slightly from each other; the hit is one of them"
    );
    Ok(())
}

async fn write(engine: &Client) -> Result<(), Failure> {
    for (path, document) in corpus::added() {
        engine.ok(Method::PUT, &format!("{path}?refresh=true"), Some(&document)).await?;
    }
    Ok(())
}

/// The same search after the write: through the strict proxy it is a miss. Returns what it finds.
async fn after_write(search: &Search, proxy: &Client, before: u64, strict: bool) -> Result<u64, Failure> {
    let answer = ask(search, proxy, "", strict.then_some("MISS")).await?;
    let now = found(&answer)?;
    if now != before + 1 {
        return Err(
            format!("{}: {now} documents found after the write, {before} before it", search.name).into()
        );
    }
    ask(search, proxy, "", Some("HIT")).await?;
    Ok(now)
}

fn found(answer: &Response) -> Result<u64, Failure> {
    answer.json()?["hits"]["total"]["value"].as_u64().ok_or_else(|| "the answer has no total".into())
}

fn invite(strict: &Escache, bounded: &Escache, engine: &Client) {
    let (proxy, admin, index) = (strict.data.base(), strict.admin.base(), corpus::PRODUCTS);
    let body = json!({"size": 0, "aggs": {"brands": {"terms": {"field": "brand"}}}});
    let explained = json!({"method": "POST", "path": format!("/{index}/_search"), "body": body});
    let json = "-H 'Content-Type: application/json'";
    println!(
        "
The proxies run until Ctrl-C. To try, in another terminal:

# twice: MISS, then HIT
curl -i {json} '{proxy}/{index}/_search' -d '{body}'

# a write at the engine, behind the proxy's back; then the search above again: MISS
curl -X POST {json} '{}/{index}/_doc?refresh=true' -d '{{\"brand\": \"my-brand\"}}'

# what escache would do with a request, and why
curl {json} '{admin}/explain' -d '{explained}'

# numbers, as Elasticsearch shows them, and escache's own
curl '{proxy}/_stats/request_cache?human&filter_path=_all.total'
curl '{admin}/stats'

# the same with a bound of one second: {}",
        engine.base(),
        bounded.data.base(),
    );
}
