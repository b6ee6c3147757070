//! `escache explain`: what escache would do with a request, and why.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::{Admin, Failure, NOT_SO, name, read, show};
use crate::config::cli::ExplainArgs;

pub(super) async fn run(admin: &Admin, asked: &ExplainArgs) -> Result<ExitCode, Failure> {
    let question = request(&read(&asked.file)?, asked.index.as_deref())
        .map_err(|Failure(why, code)| Failure(format!("{}: {why}", name(&asked.file)), code))?;
    let told = admin.post("/explain", question.to_string()).await?;
    if asked.running.json {
        show(format!("{told:#}\n"))?;
    } else {
        show(render(&question, &told))?;
    }
    let items = told["items"].as_array().cloned().unwrap_or_else(|| vec![told]);
    let cacheable = items.iter().all(|item| item["verdict"] == "cacheable");
    Ok(ExitCode::from(if cacheable { 0 } else { NOT_SO }))
}

const WANTED: &str = "a request begins with METHOD /path, or is the JSON of a search";

/// A request as people write it down: JSON as `POST /explain` takes it, `METHOD /path` with headers and a body behind it
/// (as in Kibana's console), or a body alone.
fn request(text: &str, index: Option<&str>) -> Result<Value, Failure> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let target = index.map_or_else(|| "/_search".to_owned(), |index| format!("/{index}/_search"));
    if text.is_empty() {
        // it would be a search for everything, which nobody means who sends nothing
        return Err(format!("there is no request in it: {WANTED}; {{}} finds everything").into());
    }
    if text.starts_with('{') {
        if let Ok(Value::Object(object)) = serde_json::from_str::<Value>(text)
            && object.get("path").is_some_and(Value::is_string)
        {
            return Ok(Value::Object(object));
        }
        return Ok(json!({"method": "POST", "path": target, "body": text}));
    }
    let (first, mut rest) = text.split_once('\n').unwrap_or((text, ""));
    let Some((method, path)) = first.trim().split_once(char::is_whitespace) else {
        return Err(format!("[{}] is not understood: {WANTED}", first.trim()).into());
    };
    let path = path.trim();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut headers = Map::new();
    loop {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let header = line.split_once(':').filter(|(name, _)| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        });
        match header {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().into());
            }
            None if line.trim().is_empty() && !rest.is_empty() => {}
            None => break,
        }
        rest = after;
    }
    let mut question = json!({"method": method, "path": path, "headers": headers});
    if !rest.trim().is_empty() {
        // the last line of several searches has its end
        question["body"] = format!("{}\n", rest.trim_end()).into();
    }
    Ok(question)
}

/// What was told, as lines.
fn render(question: &Value, told: &Value) -> String {
    let text = |name: &str| question[name].as_str().unwrap_or("GET");
    let mut out = format!("{} {}\n", text("method"), text("path"));
    lines(told, 0, &mut out);
    out
}

fn lines(value: &Value, depth: usize, out: &mut String) {
    let Some(object) = value.as_object() else { return };
    let first = ["verdict", "reason", "place", "help"].into_iter();
    let first = first.filter_map(|name| object.get_key_value(name));
    let rest =
        object.iter().filter(|(name, _)| !["verdict", "reason", "place", "help"].contains(&name.as_str()));
    let indent = "  ".repeat(depth);
    for (name, value) in first.chain(rest) {
        let label = name.replace('_', " ");
        match value {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for (number, item) in items.iter().enumerate() {
                    let _ = writeln!(out, "{indent}{label} {}", number + 1);
                    lines(item, depth + 1, out);
                }
            }
            Value::Array(items) if items.is_empty() => {}
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(scalar).collect();
                let _ = writeln!(out, "{indent}{label:<20} {}", items.join(", "));
            }
            Value::Object(_) => {
                let _ = writeln!(out, "{indent}{label}");
                lines(value, depth + 1, out);
            }
            scalar_value => {
                let _ = writeln!(out, "{indent}{label:<20} {}", scalar(scalar_value));
            }
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, index: Option<&str>, expected: &Value) {
        assert_eq!(request(text, index).unwrap(), *expected, "{text}");
    }

    #[test]
    fn requests_are_read_as_people_write_them() {
        let body = "{\"size\":0,\n\"query\":{}}";
        check(body, None, &json!({"method": "POST", "path": "/_search", "body": body}));
        check(
            &format!("\u{feff} {body}\n"),
            Some("a,b"),
            &json!({"method": "POST", "path": "/a,b/_search", "body": body}),
        );
        check("GET logs/_count", None, &json!({"method": "GET", "path": "/logs/_count", "headers": {}}));
        check(
            "POST /logs/_search?size=1 \r\nAccept: a/b\nX-Opaque-Id: 7:8\n\n{\"query\": {}}\n\n",
            None,
            &json!({"method": "POST", "path": "/logs/_search?size=1",
                "headers": {"accept": "a/b", "x-opaque-id": "7:8"}, "body": "{\"query\": {}}\n"}),
        );
        check(
            "GET /_msearch\n{}\n{\"size\":1}",
            None,
            &json!({"method": "GET", "path": "/_msearch", "headers": {}, "body": "{}\n{\"size\":1}\n"}),
        );
        check(r#"{"path":"/a/_search","body":{}}"#, None, &json!({"path": "/a/_search", "body": {}}));
        check("{}", Some("logs"), &json!({"method": "POST", "path": "/logs/_search", "body": "{}"}));
        for (text, index) in [("hello", None), ("", None), (" \n", Some("logs"))] {
            assert!(request(text, index).is_err(), "{text}");
        }
    }

    #[test]
    fn the_verdict_comes_first_and_what_is_empty_not_at_all() {
        let told = json!({
            "api": "search", "rule": null, "headers_in_key": [], "verdict": "bypass", "reason": "now", "place": "",
            "indices": ["a", "b"], "stored": false, "entry": {"bytes": 7}, "items": [{"verdict": "cacheable"}],
        });
        let text = render(&json!({"method": "GET", "path": "/_search"}), &told);
        let expected = "GET /_search\nverdict              bypass\nreason               now\napi                  search\n\
            indices              a, b\nstored               no\nentry\n  bytes                7\nitems 1\n  verdict              cacheable\n";
        assert_eq!(text, expected);
    }
}
