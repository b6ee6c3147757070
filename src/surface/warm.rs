//! `POST /warm`: asks the searches of a list ahead of their users.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::key::headers::HeaderRules;
use crate::proxy::{Proxy, Refreshed, Search};

/// A search of a list. What a line has besides, such as the other fields of an access log, is not looked at.
#[derive(Debug, Deserialize)]
struct Line {
    /// POST if it is not given.
    #[serde(default)]
    method: Option<String>,
    /// Path, and query.
    #[serde(alias = "uri")]
    path: String,
    /// Parameters, beside those of the path.
    #[serde(default)]
    params: Map<String, Value>,
    /// Headers: those that are in the key, such as `Accept` with a compatible version.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body: text, or JSON as it was written.
    #[serde(default)]
    body: Option<Box<RawValue>>,
}

/// A row of `/overview`: its search is its example, which is there only where the operator shows searches.
#[derive(Debug, Deserialize)]
struct Row {
    #[serde(rename = "shape")]
    _shape: IgnoredAny,
    #[serde(default)]
    path: Option<IgnoredAny>,
    #[serde(default)]
    example: Option<Box<RawValue>>,
}

/// A list in one piece, such as `/overview`.
#[derive(Debug, Deserialize)]
struct List {
    searches: Vec<Box<RawValue>>,
}

/// The lines of a list: a JSON array, an object with one called `searches`, or one JSON object in each line.
///
/// # Errors
/// Which line is no JSON.
pub fn lines(text: &str) -> Result<Vec<Box<RawValue>>, String> {
    // one after the other: an untagged choice would not leave them as they were written
    if let Ok(lines) = serde_json::from_str(text) {
        return Ok(lines);
    }
    if let Ok(List { searches }) = serde_json::from_str(text) {
        return Ok(searches);
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            serde_json::from_str(line.trim()).map_err(|error| format!("line {}: {error}", number + 1))
        })
        .collect()
}

/// Asks a list.
///
/// # Errors
/// A sentence about what cannot be understood of the list.
pub(super) async fn warm(proxy: &Arc<Proxy>, body: &Bytes) -> Result<Value, String> {
    const MOST_PROBLEMS: usize = 10;
    let text = std::str::from_utf8(body).map_err(|_| "the list is not UTF-8".to_owned())?;
    let lines = lines(text)?;
    let rules = proxy.live.load_full();
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for (number, line) in lines.iter().enumerate() {
        match search(&rules.headers, line) {
            Ok(search) => all.push(search),
            Err(problem) => problems.push(format!("search {}: {problem}", number + 1)),
        }
    }
    let not_understood = problems.len();
    let (mut counts, mut reasons) = ([0_u64; 5], BTreeMap::<&str, u64>::new());
    for refreshed in proxy.warm(all).await {
        let (at, reason) = match refreshed {
            Refreshed::Stored => (0, None),
            Refreshed::Current => (1, None),
            Refreshed::NotStored(reason) => (2, Some(reason)),
            Refreshed::Refused(refusal) => (3, Some(refusal.reason)),
            Refreshed::Failed => (4, None),
        };
        counts[at] += 1;
        if let Some(reason) = reason {
            *reasons.entry(reason.name()).or_default() += 1;
        }
    }
    problems.truncate(MOST_PROBLEMS);
    let [stored, current, not_stored, refused, failed] = counts;
    Ok(json!({
        "searches": lines.len(), "stored": stored, "current": current, "not_stored": not_stored, "refused": refused,
        "failed": failed, "not_understood": not_understood, "reasons": reasons, "problems": problems,
    }))
}

fn search(rules: &HeaderRules, line: &RawValue) -> Result<Search, String> {
    if let Ok(Row { example, path: None, .. }) = serde_json::from_str(line.get()) {
        const NONE: &str = "its text is not there: admin.show_queries is false, or it is longer than 4 kB";
        return search(rules, &example.ok_or(NONE)?);
    }
    let line: Line = serde_json::from_str(line.get()).map_err(|error| error.to_string())?;
    let method: Method =
        line.method.as_deref().unwrap_or("POST").parse().map_err(|_| "method: no such method")?;
    let body = match &line.body {
        None => String::new(),
        Some(raw) if raw.get() == "null" => String::new(),
        Some(raw) if raw.get().starts_with('"') => {
            serde_json::from_str(raw.get()).map_err(|error| format!("body: {error}"))?
        }
        Some(raw) => raw.get().to_owned(),
    };
    let mut path = line.path;
    for (name, value) in &line.params {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        path.push(if path.contains('?') { '&' } else { '?' });
        path.extend(utf8_percent_encode(name, NON_ALPHANUMERIC));
        path.push('=');
        path.extend(utf8_percent_encode(&value, NON_ALPHANUMERIC));
    }
    if !path.starts_with('/') {
        return Err("path: must begin with a slash".to_owned());
    }
    let uri = PathAndQuery::try_from(path).map_err(|_| "path: not a path that can be requested")?.into();
    let mut headers = HeaderMap::new();
    for (name, value) in &line.headers {
        let name =
            HeaderName::try_from(name).map_err(|_| format!("headers: no header is called [{name}]"))?;
        let value =
            HeaderValue::try_from(value).map_err(|_| format!("headers.{name}: not a header's value"))?;
        headers.append(name, value);
    }
    if !body.is_empty() {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    }
    Search::new(rules, method, uri, headers, body.into()).map_err(|name| {
        format!("headers.{name}: a list has no credentials; warm.authorization_file names one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found = lines(text).unwrap();
        assert_eq!(found.iter().map(|line| line.get()).collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn lists_are_lines_or_arrays_and_stay_as_they_were_written() {
        let one = r#"{"path":"/_search","body":{"from":1.0, "size":18446744073709551617}}"#;
        check("", &[]);
        check(one, &[one]);
        check(&format!("{one}\r\n\n {one}\n"), &[one, one]);
        check(&format!("[{one},\n{one}]"), &[one, one]);
        check(&format!(r#"{{"since":7,"searches":[{one}]}}"#), &[one]);
        assert!(lines(&format!("{one}\n{{")).unwrap_err().starts_with("line 2: "));
    }
}
