//! Recorded searches, where `BENCH_WORKLOAD` names a file of them: `[{"name", "params": {..}, "body"}, ..]`.

use super::coverage::ENGINES;
use super::*;
use crate::outcome::Reason;

/// Why a recorded search may be refused: it is as true of these as of any other.
const REASONS: [Reason; 3] = [Reason::Now, Reason::Random, Reason::Script];

/// At least 95 of 100 recorded searches are allowed on each engine; what is refused is printed, with a reason that is known.
#[test]
fn recorded_searches_are_allowed() {
    let Ok(path) = std::env::var("BENCH_WORKLOAD") else {
        println!("SKIPPED: BENCH_WORKLOAD names no file of recorded searches");
        return;
    };
    let searches: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(searches.len() >= 20, "{} searches say nothing", searches.len());
    for engine in [None].into_iter().chain(ENGINES.map(Some)) {
        let judged = searches.iter().filter_map(|search| Some((search, refusal(engine, search)?)));
        let refused: Vec<(&Value, Refusal)> = judged.collect();
        let name = engine.map_or("an unknown engine".to_owned(), |engine| engine.to_string());
        let share = 100.0 - 100.0 * refused.len() as f64 / searches.len() as f64;
        println!("{name}: {share:.1}% of {} searches are allowed", searches.len());
        for (search, refusal) in &refused {
            println!("    {}: {refusal}", search["name"]);
            assert!(REASONS.contains(&refusal.reason), "{name}: {}: {refusal}", search["name"]);
        }
        assert!(refused.len() * 20 <= searches.len(), "{name}");
    }
}

fn refusal(engine: Option<Engine>, search: &Value) -> Option<Refusal> {
    let params = search["params"].as_object().unwrap().iter();
    let query: Vec<_> = params.map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect();
    judge_body(Api::Search, engine, &query.join("&"), &search["body"], false).err()
}
