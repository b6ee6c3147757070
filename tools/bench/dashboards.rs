//! Recorded dashboards on a real engine: the sum of the medians of their searches, each way.

use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::measure::Spread;
use super::servers::Kind;
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
    Ok(())
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
