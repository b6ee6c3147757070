//! `filter_path`: which parts of an answer the client wants. `*` stands for any part of a name, `**` for any names,
//! a leading `-` leaves out; arrays are looked through.

use serde_json::{Map, Value};

/// Cuts an answer down to what the parameter asks for.
pub(crate) fn filter_path(answer: Value, parameter: &str) -> Value {
    let (excludes, includes): (Vec<&str>, Vec<&str>) = parameter
        .split(',')
        .map(str::trim)
        .filter(|path| !path.is_empty())
        .partition(|path| path.starts_with('-'));
    let split = |path: &&str| path.trim_start_matches('-').split('.').map(String::from).collect::<Vec<_>>();
    let includes: Vec<Vec<String>> = includes.iter().map(split).collect();
    let excludes: Vec<Vec<String>> = excludes.iter().map(split).collect();
    let kept = if includes.is_empty() { Some(answer) } else { include(answer, &slices(&includes)) };
    let kept = kept.unwrap_or_else(|| Value::Object(Map::new()));
    if excludes.is_empty() { kept } else { exclude(kept, &slices(&excludes)) }
}

fn include(value: Value, paths: &[&[String]]) -> Option<Value> {
    if paths.iter().any(|path| path.is_empty()) {
        return Some(value);
    }
    match value {
        Value::Object(fields) => {
            let kept: Map<String, Value> = fields
                .into_iter()
                .filter_map(|(key, value)| {
                    let below = below(&key, paths);
                    Some((key, include(value, &below).filter(|_| !below.is_empty())?))
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => {
            let kept: Vec<Value> = items.into_iter().filter_map(|item| include(item, paths)).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        _ => None,
    }
}

fn exclude(value: Value, paths: &[&[String]]) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter_map(|(key, value)| {
                let below = below(&key, paths);
                (!below.iter().any(|path| path.is_empty())).then(|| (key, exclude(value, &below)))
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(|item| exclude(item, paths)).collect(),
        scalar => scalar,
    }
}

/// What is left of the paths that lead through this key.
fn below<'a>(key: &str, paths: &[&'a [String]]) -> Vec<&'a [String]> {
    let mut rest = Vec::new();
    for &path in paths {
        match path {
            [any, after @ ..] if any == "**" => {
                rest.push(path);
                match after {
                    [] => rest.push(after),
                    [name, after @ ..] if glob(name, key) => rest.push(after),
                    _ => {}
                }
            }
            [name, after @ ..] if glob(name, key) => rest.push(after),
            _ => {}
        }
    }
    rest
}

/// If a name fits a pattern with `*`.
pub(crate) fn glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.into_iter().any(|at| glob(tail, &rest[at..]))
        }),
    }
}

fn slices(paths: &[Vec<String>]) -> Vec<&[String]> {
    paths.iter().map(Vec::as_slice).collect()
}
