//! Fuzzing of what reads the engine's answers, templates, traces and lists of searches.

use std::sync::Arc;

use escache::elastic::params::Params;
use escache::elastic::target::Target;
use escache::elastic::template::{self, Kind};
use escache::generation::{Counters, Generation, Metadata, segments};
use escache::surface::warm;
use escache::{scope, spans, surface, upstream};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::Value;

use super::fuzz;

type Checked = Result<(), TestCaseError>;

const TEXT: &str = "{}[]:,\"\\ \n0123456789-truefalsn_";

fn value(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

/// Counters that are read are those of all shards, and white space and unknown members change nothing of them.
#[test]
fn counters() {
    fuzz("counters", TEXT, |text| {
        let _ = segments(text.as_bytes());
        let (Ok(counters), Some(value)) = (Counters::read(text.as_bytes()), value(text)) else {
            return Ok(());
        };
        prop_assert_eq!(&value["_shards"]["failed"], 0, "{}", text);
        let again = Counters::read(serde_json::to_string_pretty(&value).unwrap().as_bytes());
        prop_assert_eq!(format!("{:?}", Ok::<_, ()>(counters)), format!("{:?}", again.map_err(|_| ())));
        Ok(())
    });
}

/// Metadata that is read names the indices that are there, and gives a generation or a reason with any counters.
#[test]
fn metadata() {
    let stats = include_str!("../../corpus/counters.txt").lines().next().unwrap();
    let counters = Counters::read(stats.as_bytes()).unwrap();
    let target = Target::new(Some("logs"), &Params::default());
    let mut whole = 0;
    for line in include_str!("../../corpus/metadata.txt").lines() {
        let metadata = Metadata::read(&target, line.as_bytes(), Some(b"{}"), b"{}");
        whole += usize::from(
            metadata.is_ok_and(|metadata| Generation::new(&counters, Arc::new(metadata)).is_ok()),
        );
    }
    assert!(whole > 0, "no state of the corpus has what these counters count");
    fuzz("metadata", TEXT, |text| {
        for aliases in ["{}", text] {
            let Ok(metadata) = Metadata::read(&target, text.as_bytes(), Some(b"{}"), aliases.as_bytes())
            else {
                continue;
            };
            let indices = value(text).map(|value| value["metadata"]["indices"].clone());
            if let Some(Value::Object(indices)) = indices {
                let names: Vec<&str> = metadata.names().iter().map(AsRef::as_ref).collect();
                prop_assert!(
                    names.len() == indices.len() && names.iter().all(|name| indices.contains_key(*name))
                );
            }
            let _ = Generation::new(&counters, Arc::new(metadata));
        }
        Ok(())
    });
}

/// Who asks is somebody with the roles that are told, and roles whose filters stay have no clock in them.
#[test]
fn bearers() {
    fuzz("bearers", "{}[]:,\"\\ nowdls_rolename$.-/1", |text| {
        let understood = scope::understood(text.as_bytes());
        let Some(value) = value(text) else {
            prop_assert!(understood.bearers.iter().all(Option::is_none) && understood.still_roles.is_none());
            return Ok(());
        };
        for roles in understood.bearers.iter().flatten() {
            prop_assert_eq!(&value["roles"], &Value::from(roles.clone()), "{}", text);
        }
        for name in understood.still_roles.iter().flatten() {
            let grants = value[name.as_str()]["index_permissions"].as_array();
            prop_assert!(grants.is_some(), "{}", text);
            for filter in grants.into_iter().flatten().filter_map(|grant| grant["dls"].as_str()) {
                let told: Option<Value> = serde_json::from_str(filter).ok();
                prop_assert!(
                    filter.trim_ascii().is_empty() || told.is_some_and(|told| !has_clock(&told)),
                    "{}",
                    text
                );
            }
        }
        Ok(())
    });
}

/// Whether a text in it begins with `now` and ends there or goes on as date maths.
fn has_clock(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            text.strip_prefix("now").is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', '-', '/']))
        }
        Value::Array(items) => items.iter().any(has_clock),
        Value::Object(members) => members.values().any(has_clock),
        _ => false,
    }
}

/// Nodes that are found are named in the answer, each once.
#[test]
fn nodes() {
    fuzz("nodes", "{}[]:,\"\\ 0123456789./-abcdef", |text| {
        let Some(found) = upstream::nodes_named(text.as_bytes()) else {
            prop_assert!(value(text).is_none());
            return Ok(());
        };
        let told: Vec<Value> = value(text).unwrap()["nodes"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, node)| node.clone())
            .collect();
        prop_assert!(found.len() <= told.len());
        for host in &found {
            let port =
                host.rsplit(':').next().unwrap().trim_end_matches('/').trim_start_matches('0').to_owned();
            let named = told.iter().filter_map(|node| node["http"]["publish_address"].as_str());
            prop_assert!(named.into_iter().any(|address| address.contains(&port)), "{} {}", host, text);
            prop_assert_eq!(found.iter().filter(|other| *other == host).count(), 1, "{}", text);
        }
        Ok(())
    });
}

/// Statistics are replaced once and for all, and nothing else is.
#[test]
fn statistics() {
    fuzz("statistics", TEXT, |text| {
        for (nodes, pretty) in [(false, false), (false, true), (true, false), (true, true)] {
            let replaced = surface::replaced(text.as_bytes(), nodes, pretty);
            let Some(before) = value(text) else {
                prop_assert!(replaced.is_none());
                continue;
            };
            let replaced = replaced.unwrap();
            let after: Value =
                serde_json::from_slice(&replaced).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let again = surface::replaced(&replaced, nodes, pretty);
            prop_assert_eq!(again.as_ref(), Some(&replaced), "{}", text);
            prop_assert_eq!(without_request_cache(after), without_request_cache(before), "{}", text);
        }
        Ok(())
    });
}

fn without_request_cache(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(name, _)| name != "request_cache");
            kept.map(|(name, value)| (name, without_request_cache(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_request_cache).collect(),
        other => other,
    }
}

/// A template that is judged has its text in one place, and what it renders to is an object, as it was sent.
#[test]
fn templates() {
    fuzz("templates", "{}[]:,\"\\ sourceidpamtl_u1", |text| {
        if let (Ok(kind), Some(value)) = (template::judge(text.as_bytes()), value(text)) {
            let has = |name: &str| value.get(name).is_some();
            prop_assert_eq!(
                (has("source"), has("id")),
                (kind == Kind::Inline, kind == Kind::Stored),
                "{}",
                text
            );
        }
        if let Some(rendered) = template::rendered(text.as_bytes()) {
            let rendered = std::str::from_utf8(rendered).unwrap();
            prop_assert!(
                text.contains(rendered) && rendered.starts_with('{') && rendered.ends_with('}'),
                "{}",
                text
            );
        }
        Ok(())
    });
}

/// Whatever a client says of its trace: the engine gets an id that is well formed, and the one that was said.
#[test]
fn traces() {
    fuzz("traces", "0123456789abcdefABCDEF-00- \u{e9}", |text| {
        let Ok(said) = HeaderValue::from_str(text) else { return Ok(()) };
        let headers = HeaderMap::from_iter([(HeaderName::from_static("traceparent"), said)]);
        let Some(passed) = spans::passed_on(&headers) else { return Ok(()) };
        let parts: Vec<&str> = passed.to_str().unwrap().split('-').collect();
        let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        prop_assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2], "{}", text);
        prop_assert!(parts.iter().all(|part| is_hex(part)), "{}", text);
        prop_assert!(parts[1].bytes().any(|byte| byte != b'0') && parts[2].bytes().any(|byte| byte != b'0'));
        prop_assert!(text.contains(parts[1]) && text.contains(parts[2]), "{} {:?}", text, parts);
        Ok(())
    });
}

/// A list of searches is read to its end: its lines, written one after the other, are the same list.
#[test]
fn lists() {
    fuzz("lists", "{}[]:,\"\\ \n/_searchpathbody", same_list);
}

fn same_list(text: &str) -> Checked {
    let Ok(lines) = warm::lines(text) else { return Ok(()) };
    for line in &lines {
        prop_assert!(text.contains(line.get()), "{}", text);
    }
    let array = format!("[{}]", lines.iter().map(|line| line.get()).collect::<Vec<_>>().join(","));
    let again = warm::lines(&array).map_err(TestCaseError::fail)?;
    let (texts, again): (Vec<_>, Vec<_>) =
        (lines.iter().map(|l| l.get()).collect(), again.iter().map(|l| l.get()).collect());
    prop_assert_eq!(texts, again);
    Ok(())
}
