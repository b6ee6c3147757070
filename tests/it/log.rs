//! The log: who reads it slowly, or not at all, holds up nobody.

use rustix::process::Signal;

use crate::support::engine::engine;
use crate::support::http::Client;
use crate::support::patience::ends;
use crate::support::program::Program;

/// How many requests at once. The lines of a few rounds are more than a pipe holds.
const AT_ONCE: usize = 50;
const ROUNDS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_up_nobody() {
    let (engine, client) = (engine(), Client::new());
    let program = Program::start(&engine.url(), "log.level: trace\nlog.access: all\n");
    let ears = program.ears();
    let _deaf = ears.lock_owned().await;
    engine.stop().await;
    let ask = async || {
        let url = format!("{}/logs/_search", program.url);
        let asked = client.request("POST", &url, &[("content-type", "application/json")], "{}");
        assert_eq!(asked.await.status, 502);
    };
    // what had no room is counted, everywhere where counters are
    let dropped = async || {
        let stats = client.get(format!("{}/stats", program.admin)).await.json();
        stats["counters"]["log_lines_dropped"].as_u64().unwrap()
    };
    let mut round = 0;
    while round < ROUNDS || dropped().await == 0 {
        round += 1;
        assert!(round < 1_000, "no line is dropped");
        let all = futures_util::future::join_all((0..AT_ONCE).map(|_| ask()));
        ends(&format!("round {round} of requests"), all).await;
        let live = client.get(format!("{}/live", program.admin));
        assert_eq!(ends("/live", live).await.status, 200);
    }
    let metrics = client.get(format!("{}/metrics", program.admin)).await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("escache_log_lines_dropped_total "));
    assert!(line.unwrap().parse::<u64>().unwrap() > 0);
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code().await, Some(0));
}

/// The last lines are not lost.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_lines_are_written() {
    let engine = engine();
    let program = Program::start(&engine.url(), "");
    program.signal(Signal::TERM);
    program.until_said("stopped");
}
