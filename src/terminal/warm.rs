//! `escache warm`: has a running escache ask the searches of a list.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Admin, Failure, NO_ANSWER, NOT_SO, name, read, show};
use crate::config::cli::WarmArgs;
use crate::surface::warm::lines;

/// How many searches are sent in one request, so that what came of them is told while more are asked ...
const MOST: usize = 100;
/// ... and their bytes: the listener takes no more than some.
const MOST_BYTES: usize = 2 << 20;

const COUNTS: [&str; 7] =
    ["searches", "stored", "current", "not_stored", "refused", "failed", "not_understood"];

pub(super) async fn run(admin: &Admin, asked: &WarmArgs) -> Result<ExitCode, Failure> {
    let list = lines(&read(&asked.file)?)
        .map_err(|error| Failure(format!("{}: {error}", name(&asked.file)), NO_ANSWER))?;
    let mut total = json!({"reasons": {}, "problems": []});
    for batch in batches(&list) {
        let texts: Vec<&str> = batch.iter().map(|line| line.get()).collect();
        let told = admin.post("/warm", format!("[{}]", texts.join(","))).await?;
        let offset = total["searches"].as_u64().unwrap_or_default();
        add(&mut total, &told, offset);
        if std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr(), "\r{} of {} searches", total["searches"], list.len());
        }
    }
    if std::io::stderr().is_terminal() && !list.is_empty() {
        let _ = writeln!(std::io::stderr());
    }
    show(if asked.running.json { format!("{total:#}\n") } else { render(&total) })?;
    let whole = ["not_stored", "refused", "failed", "not_understood"]
        .iter()
        .all(|name| total[*name].as_u64().unwrap_or_default() == 0);
    Ok(ExitCode::from(if whole { 0 } else { NOT_SO }))
}

fn batches(list: &[Box<RawValue>]) -> Vec<&[Box<RawValue>]> {
    let (mut all, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (at, line) in list.iter().enumerate() {
        if at > begin && (at - begin == MOST || bytes + line.get().len() > MOST_BYTES) {
            all.push(&list[begin..at]);
            (begin, bytes) = (at, 0);
        }
        bytes += line.get().len();
    }
    if begin < list.len() {
        all.push(&list[begin..]);
    }
    all
}

/// Adds what came of a batch; `offset` searches were before it.
fn add(total: &mut Value, told: &Value, offset: u64) {
    let sum =
        |total: &Value, told: &Value| total.as_u64().unwrap_or_default() + told.as_u64().unwrap_or_default();
    for name in COUNTS {
        total[name] = sum(&total[name], &told[name]).into();
    }
    for (name, count) in told["reasons"].as_object().into_iter().flatten() {
        total["reasons"][name] = sum(&total["reasons"][name], count).into();
    }
    let problems = told["problems"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let problems: Vec<Value> = problems
        .map(|problem| match problem.strip_prefix("search ").and_then(|rest| rest.split_once(':')) {
            Some((number, rest)) => {
                format!("search {}:{rest}", offset + number.parse::<u64>().unwrap_or_default()).into()
            }
            None => problem.into(),
        })
        .collect();
    if let Some(all) = total["problems"].as_array_mut() {
        all.extend(problems);
    }
}

fn render(total: &Value) -> String {
    let mut out = String::new();
    for (name, help) in COUNTS.iter().zip([
        "in the list",
        "asked, and stored",
        "stored already, and current",
        "asked, but not stored",
        "not asked",
        "asked without an answer",
        "not understood",
    ]) {
        let count = total[*name].as_u64().unwrap_or_default();
        if count > 0 || matches!(*name, "searches" | "stored") {
            let _ = writeln!(out, "{count:>8} {help}");
        }
    }
    for (name, count) in total["reasons"].as_object().into_iter().flatten() {
        let _ = writeln!(out, "         {name}: {count}");
    }
    for problem in total["problems"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let _ = writeln!(out, "{problem}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_and_nothing_is_lost() {
        let line = |bytes: usize| RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).unwrap();
        let sizes =
            |list: &[Box<RawValue>]| batches(list).iter().map(|batch| batch.len()).collect::<Vec<_>>();
        assert!(sizes(&[]).is_empty());
        assert_eq!(sizes(&(0..250).map(|_| line(1)).collect::<Vec<_>>()), [100, 100, 50]);
        assert_eq!(sizes(&[line(MOST_BYTES * 2), line(1), line(1)]), [1, 2]);
        assert_eq!(sizes(&[line(1), line(MOST_BYTES), line(MOST_BYTES)]), [1, 1, 1]);
    }

    #[test]
    fn what_came_of_batches_is_added_up() {
        let mut total = json!({"reasons": {}, "problems": []});
        let told = json!({"searches": 2, "stored": 1, "not_understood": 1, "reasons": {"now": 1}, "problems": ["search 2: path"]});
        add(&mut total, &told, 0);
        add(&mut total, &told, 2);
        assert_eq!(
            (&total["searches"], &total["stored"], &total["reasons"]),
            (&json!(4), &json!(2), &json!({"now": 2}))
        );
        assert_eq!(total["problems"], json!(["search 2: path", "search 4: path"]));
        assert!(
            render(&total)
                .starts_with("       4 in the list\n       2 asked, and stored\n       2 not understood\n")
        );
    }
}
