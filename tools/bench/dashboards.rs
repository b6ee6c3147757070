//! Recorded dashboards on a real engine: the sum of the medians of their searches, each way; and each dashboard as a whole,
//! in one `_msearch`.

use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::measure::Spread;
use super::report::Report;
use super::servers::{Kind, Server};
use super::stage::Stage;
use crate::Failure;
use crate::http::Client;
use crate::process::command;

/// One recorded search.
#[derive(Debug, Deserialize)]
struct Recorded {
    name: String,
    path: String,
    #[serde(default)]
    params: Map<String, Value>,
    body: Value,
}

impl Recorded {
    fn url(&self, more: &str) -> String {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let plain = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let own = self.params.iter().filter(|(name, _)| !more.starts_with(&format!("{name}=")));
        let mut pairs: Vec<String> =
            own.map(|(name, value)| format!("{}={}", plain(name), plain(&text(value)))).collect();
        if !more.is_empty() {
            pairs.push(more.to_owned());
        }
        if pairs.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, pairs.join("&")) }
    }
}

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let (Some(workload), Some(loader)) = (&stage.options.workload, &stage.options.loader) else {
        stage.report.say("The dashboards are left out: there is no --workload with a --loader.\n");
        return Ok(());
    };
    let recorded: Vec<Recorded> = serde_json::from_slice(&std::fs::read(workload)?)?;
    let engine = stage.engine("dashboards").await?;
    load(&engine.client, loader, stage.options.docs).await?;
    let strict = stage.serve(Kind::Strict, &engine).await?;
    let bounded = stage.serve(Kind::Bounded, &engine).await?;
    let ways = [
        ("direct, no cache", &engine.client, "request_cache=false"),
        ("direct, the engine's own cache warm", &engine.client, ""),
        ("escache, strict", &strict.client, ""),
        ("escache, 1 s bound", &bounded.client, ""),
    ];
    let mut sums = ways.map(|_| (0.0, 0_usize));
    let mut refused = Vec::new();
    for (number, search) in recorded.iter().enumerate() {
        eprintln!("measuring {} of {}: {}", number + 1, recorded.len(), search.name);
        for ((_, client, more), (sum, hits)) in ways.iter().zip(&mut sums) {
            // one to warm up, and to fill
            let first = ask(client, search, more).await?;
            if first.is_none() {
                refused.push(search.name.clone());
                break;
            }
            let mut took = Vec::new();
            let mut hit = true;
            for _ in 0..stage.options.rounds.max(3) {
                let (millis, was_hit) =
                    ask(client, search, more).await?.ok_or("a search failed on its way")?;
                took.push(millis);
                hit &= was_hit;
            }
            *sum += Spread::of(took).map_or(0.0, |spread| spread.median);
            *hits += usize::from(hit);
        }
    }
    let Stage { options, report, .. } = stage;
    report.say(&format!(
        "### Recorded dashboards: {} searches over {} documents, {}\n\n| way | sum of medians, ms | of them hits |\n\
         | --- | ---: | ---: |",
        recorded.len() - refused.len(),
        options.docs,
        options.engine
    ));
    for ((name, ..), (sum, hits)) in ways.iter().zip(sums) {
        report.say(&format!("| {name} | {sum:.1} | {hits} |"));
    }
    if !refused.is_empty() {
        report.say(&format!("\nThe engine refuses {}.", refused.join(", ")));
    }
    report.say("");
    let recorded: Vec<Recorded> =
        recorded.into_iter().filter(|search| !refused.contains(&search.name)).collect();
    replay(&boards(&recorded), &[engine, strict, bounded], options.rounds.max(3), report).await
}

/// A dashboard: all of its searches in one request.
struct Board {
    name: String,
    searches: usize,
    lines: Bytes,
}

/// What is recorded, by dashboard: a name begins with it.
fn boards(recorded: &[Recorded]) -> Vec<Board> {
    let mut lines: Vec<(String, usize, String)> = Vec::new();
    for search in recorded {
        let parts: Vec<&str> = search.name.split('/').collect();
        let name = parts[..if parts.len() > 2 { 2 } else { 1 }].join("/");
        if lines.last().is_none_or(|(last, ..)| *last != name) {
            lines.push((name, 0, String::new()));
        }
        let Some((_, count, text)) = lines.last_mut() else { continue };
        *count += 1;
        text.push_str(&search.item());
    }
    let board = |(name, searches, lines)| Board { name, searches, lines: Bytes::from(lines) };
    lines.into_iter().map(board).collect()
}

impl Recorded {
    /// Its two lines in a multi search. A header line takes fewer parameters than a URL does.
    fn item(&self) -> String {
        let index = self.path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let (mut header, mut body) = (json!({"index": index}), self.body.clone());
        for (name, value) in &self.params {
            let value = value
                .as_str()
                .and_then(|text| serde_json::from_str(text).ok())
                .unwrap_or_else(|| value.clone());
            match name.as_str() {
                "track_total_hits" if body.get(name).is_none() => body[name] = value,
                // no header line takes either; how many shards are reduced together no answer shows
                "batched_reduce_size" | "track_total_hits" => {}
                _ => header[name] = value,
            }
        }
        format!("{header}\n{body}\n")
    }
}

/// Each dashboard twice at each server, which has nothing cached at first: median times, and how many searches were found.
async fn replay(
    boards: &[Board],
    servers: &[Server; 3],
    rounds: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    report.say(
        "### The same dashboards, each in one `_msearch`, sent twice (ms)\n\n\
         | dashboard | searches | direct | again | strict: first | second | found | 1 s bound: first | second | found |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    );
    let [engine, ..] = servers;
    for board in boards {
        eprintln!("measuring {}", board.name);
        let mut took = [(); 3].map(|()| (Vec::new(), Vec::new()));
        let mut found = [board.searches; 3];
        for _ in 0..rounds {
            for ((server, (first, second)), found) in servers.iter().zip(&mut took).zip(&mut found) {
                engine.client.ok(Method::POST, "/_all/_cache/clear", None).await?;
                if let Some(admin) = &server.admin {
                    admin.ok(Method::POST, "/clear", Some(&json!({}))).await?;
                }
                first.push(board.ask(server).await?.0);
                let (millis, hits) = board.ask(server).await?;
                second.push(millis);
                *found = hits.min(*found);
            }
        }
        let mut row = format!("| {} | {} |", board.name, board.searches);
        for ((server, (first, second)), found) in servers.iter().zip(took).zip(found) {
            for times in [first, second] {
                row += &format!(" {:.1} |", Spread::of(times).map_or(0.0, |spread| spread.median));
            }
            if server.admin.is_some() {
                row += &format!(" {found} |");
            }
        }
        report.say(&row);
    }
    report.say("");
    Ok(())
}

impl Board {
    /// Milliseconds, and how many of its searches came from the cache.
    async fn ask(&self, server: &Server) -> Result<(f64, usize), Failure> {
        let answer = server.client.send_lines("/_msearch", self.lines.clone()).await?;
        let told = answer.json()?;
        let whole = |item: &Value| item["hits"].is_object() && item["_shards"]["failed"] == 0;
        let items = told["responses"].as_array().map(Vec::as_slice).unwrap_or_default();
        if items.len() != self.searches || !items.iter().all(whole) {
            let text: String = told.to_string().chars().take(500).collect();
            return Err(format!("{}: {} {text}", self.name, answer.status).into());
        }
        let hits = match answer.cache_status().split_once("items-hit=") {
            _ if answer.x_cache() == "HIT" => self.searches,
            Some((_, rest)) => rest.split('/').next().unwrap_or_default().parse()?,
            None => 0,
        };
        Ok((answer.took.as_secs_f64() * 1e3, hits))
    }
}

/// Milliseconds, and whether it was a hit; `None` if the engine refuses it.
async fn ask(client: &Client, search: &Recorded, more: &str) -> Result<Option<(f64, bool)>, Failure> {
    let body = Bytes::from(search.body.to_string());
    let answer = client.send(Method::POST, &search.url(more), body).await?;
    match answer.status {
        200 => Ok(Some((answer.took.as_secs_f64() * 1e3, answer.x_cache() == "HIT"))),
        400 => Ok(None),
        status => Err(format!("{}: {status}", search.name).into()),
    }
}

/// The loader also writes searches, out of files that need not be there: only its documents are wanted.
const LOADER: &str = "
import importlib.util, sys
spec = importlib.util.spec_from_file_location('load', sys.argv[1])
load = importlib.util.module_from_spec(spec)
spec.loader.exec_module(load)
load.queries = lambda *_: []
sys.argv = sys.argv[1:]
load.main()
";

/// Loads the documents, unless they are there.
async fn load(engine: &Client, loader: &Path, docs: u64) -> Result<(), Failure> {
    let count = engine.get("/logs-*/_count").await?;
    if count.status == 200 && count.json()?["count"].as_u64() == Some(docs) {
        return Ok(());
    }
    eprintln!("loading {docs} documents");
    let mut run = command("python3");
    run.args(["-c", LOADER])
        .arg(loader)
        .arg(engine.base())
        .arg(docs.to_string())
        .args(["--out", "/dev/null"]);
    run.stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || run.status()).await??;
    if !ended.success() {
        return Err(format!("{} failed: {ended}", loader.display()).into());
    }
    engine.ok(Method::POST, "/logs-*/_forcemerge?max_num_segments=1", None).await?;
    engine.ok(Method::POST, "/logs-*/_refresh", None).await?;
    Ok(())
}
