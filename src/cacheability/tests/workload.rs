//! Recorded searches, where `BENCH_WORKLOAD` names a file of them: `[{"name", "params": {..}, "body"}, ..]`.

use super::*;

/// At least 95 of 100 recorded searches are allowed; what is refused is printed.
#[test]
fn recorded_searches_are_allowed() {
    let Ok(path) = std::env::var("BENCH_WORKLOAD") else { return };
    let searches: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for engine in [None, Some(ES8_19)] {
        let refused: Vec<_> = searches.iter().filter_map(|search| refusal(engine, search)).collect();
        println!("{engine:?}: {} of {} refused\n{}", refused.len(), searches.len(), refused.join("\n"));
        assert!(refused.len() * 20 <= searches.len());
    }
}

fn refusal(engine: Option<Engine>, search: &Value) -> Option<String> {
    let params = search["params"].as_object().unwrap().iter();
    let query: Vec<_> = params.map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect();
    let verdict = judge_body(Api::Search, engine, &query.join("&"), &search["body"], false);
    verdict.err().map(|refusal| format!("{}: {refusal}", search["name"]))
}
