//! What no real node does on command: one of two hosts answers every search with 503, as one whose disk or threads are
//! used up does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::arm::{Arm, Came};
use crate::support::engine::{Api, Twist, engine};
use crate::support::escache::verdict;
use crate::support::http::Client;
use crate::support::program::Program;

const READERS: usize = 8;

/// Searches that differ, so that some are hits and some are not.
const SEARCHES: usize = 50;

async fn read(number: usize, url: String, arm: Arm, over: Arc<AtomicBool>) {
    let client = Client::at(&url);
    let mut at = number;
    while !over.load(Ordering::SeqCst) {
        at = (at * 7 + 3) % SEARCHES;
        let from = Instant::now();
        let answer = client.try_request("GET", &format!("/logs/_search?from={at}"), &[], "").await;
        let came = match &answer {
            Err(_) => Came::Error(0),
            Ok(answer) if answer.status != 200 => Came::Error(answer.status),
            Ok(answer) if verdict(&answer.headers).0 == "HIT" => Came::Hit,
            Ok(_) => Came::Whole,
        };
        arm.note(number, false, (from, Instant::now()), came);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Rows for the table.
pub(super) async fn one_host_in_trouble() -> Vec<String> {
    let one = engine();
    let two = one.another_host();
    let program = Program::before(&[&one.url(), &two.url()], "");
    let over = Arc::new(AtomicBool::new(false));
    let (through, direct) = (Arm::default(), Arm::default());
    let mut tasks = Vec::new();
    for reader in 0..READERS {
        let host = if reader % 2 == 0 { &one } else { &two };
        for (url, arm) in [(program.url.clone(), &through), (host.url(), &direct)] {
            tasks.push(tokio::spawn(read(reader, url, arm.clone(), Arc::clone(&over))));
        }
    }
    let began = Instant::now();
    let mut fault = (began, began);
    for second in 0..20 {
        // a new view each second, so that there is something to ask
        one.index("logs", "1", json!({"a": second}));
        one.refresh("logs");
        if second == 3 {
            fault.0 = Instant::now();
            two.on(Api::Search).always(Twist::error(503, "unavailable_shards_exception", "on command"));
        }
        if second == 13 {
            two.calm();
            fault.1 = Instant::now();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let all = (began, Instant::now());
    over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.expect("a task ends well");
    }
    let name = "one of two hosts answers searches with 503 for 10 s (pretend engine)";
    let rows = [("escache", &through), ("directly", &direct)].map(|(way, arm)| {
        let figures = arm.figures(all, fault);
        println!("{}", figures.row(name, way, "-"));
        (figures.failed(), figures.row(name, way, "-"))
    });
    // five in a row, who was under way by then, and one try each after 1, 2, 4 and 8 s: however many are asked, and
    // however long it took on this machine
    let lasted = (fault.1 - fault.0).as_secs();
    let tries = (0..).take_while(|tries| (1_u64 << tries) - 1 <= lasted).count();
    assert!(rows[0].0 <= 5 + READERS + tries, "{rows:?}, {tries} tries in {lasted} s");
    rows.map(|(_, row)| row).to_vec()
}
