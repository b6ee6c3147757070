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

/// What a file may hold.
const WANTED: &str = "explain takes one request: METHOD /path with headers and a body below it, as in Kibana's console \
                      (GET, POST, ...; lines that begin with # are comments); or the JSON of a search alone; or the JSON \
                      that POST /explain takes";

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"];

/// A request as people write it down: JSON as `POST /explain` takes it, `METHOD /path` with headers and a body behind it
/// (as in Kibana's console), or a body alone.
fn request(text: &str, index: Option<&str>) -> Result<Value, Failure> {
    let text = uncommented(text.trim_start_matches('\u{feff}'));
    let text = text.trim();
    let target = index.map_or_else(|| "/_search".to_owned(), |index| format!("/{index}/_search"));
    if text.is_empty() {
        // it would be a search for everything, which nobody means who sends nothing
        return Err(format!("there is no request in it. {WANTED}; {{}} finds everything").into());
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
    let first = first.trim();
    let Some((method, path)) = request_line(first) else {
        let shown: String = first.chars().take(80).collect();
        return Err(format!("[{shown}] is neither a request line nor JSON. {WANTED}").into());
    };
    if let Some(second) = rest.lines().map(str::trim).find(|line| request_line(line).is_some()) {
        return Err(format!("there is a second request in it: [{second}]. {WANTED}").into());
    }
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

/// Without the comments of Kibana's console. No line of JSON, and none of a head, begins so.
fn uncommented(text: &str) -> String {
    let comment = |line: &str| line.trim_start().starts_with('#') || line.trim_start().starts_with("//");
    text.split_inclusive('\n').filter(|line| !comment(line)).collect()
}

/// Method and path of a line; the path may have its slash or not, or be a whole URL, and the protocol may follow it.
fn request_line(line: &str) -> Option<(String, String)> {
    let mut words = line.split_whitespace();
    let method = words.next()?.to_ascii_uppercase();
    let url = words.next().filter(|_| METHODS.contains(&method.as_str()))?;
    if words.next().is_some_and(|protocol| !protocol.starts_with("HTTP/")) || words.next().is_some() {
        return None;
    }
    let authority = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let path = authority.map_or(url, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    Some((method, if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }))
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
    }

    #[test]
    fn comments_of_the_console_are_skipped() {
        check(
            "# what Kibana sends\n\n// by hand\nget logs/_search\n# of whom\nAccept: a/b\n{\"size\": 1,\n  # how many\n  \"from\": 0}\n#\n",
            None,
            &json!({"method": "GET", "path": "/logs/_search", "headers": {"accept": "a/b"},
                "body": "{\"size\": 1,\n  \"from\": 0}\n"}),
        );
        check("# all\n{}", None, &json!({"method": "POST", "path": "/_search", "body": "{}"}));
        // `#` elsewhere is none
        let body = r##"{"query": {"match": {"a": "#1 // x"}}}"##;
        check(body, None, &json!({"method": "POST", "path": "/_search", "body": body}));
    }

    #[test]
    fn a_request_line_may_be_that_of_http() {
        for line in ["POST /a/_search?size=1 HTTP/1.1", "POST http://localhost:9200/a/_search?size=1"] {
            check(line, None, &json!({"method": "POST", "path": "/a/_search?size=1", "headers": {}}));
        }
        check("GET https://a.example", None, &json!({"method": "GET", "path": "/", "headers": {}}));
    }

    #[test]
    fn what_is_no_request_is_told_what_is_one() {
        for (text, said) in [
            ("hello", "[hello] is neither"),
            ("hello world", "[hello world] is neither"),
            ("curl -X POST localhost:9200/a/_search", "is neither a request line nor JSON"),
            ("GET", "[GET] is neither"),
            ("GET /a b/_search", "is neither"),
            ("[1, 2]", "is neither"),
            ("", "there is no request"),
            (" \n", "there is no request"),
            ("# a comment\n", "there is no request"),
            ("GET /a/_search\n{}\n\nPOST b/_search\n{}", "a second request in it: [POST b/_search]"),
        ] {
            let Err(Failure(error, _)) = request(text, Some("logs")) else { panic!("{text} is taken") };
            let forms = ["METHOD /path", "JSON of a search", "POST /explain"];
            assert!(error.contains(said) && forms.iter().all(|form| error.contains(form)), "{text}: {error}");
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
