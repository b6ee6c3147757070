//! The shape of a search: what it looks like without its literals, so that it can be shown and counted where the
//! searches of users are nobody's business.

use super::json::{self, Json};

/// The longest shape, in characters; what is longer is cut.
const MOST: usize = 1_000;

/// The shape of a body and a query string. Names of members and of parameters stay; every value becomes `?`, and a list of
/// values one `?`, so that a list of three terms has the shape of one of five.
#[must_use]
pub fn shape(query: Option<&str>, body: &[u8]) -> String {
    let mut out = String::new();
    if !body.trim_ascii().is_empty() {
        match json::parse(body) {
            Ok(body) => write(&body, &mut out),
            Err(_) => out.push_str("(not JSON)"),
        }
    }
    let names = query.unwrap_or_default().split('&').filter_map(|pair| pair.split('=').next());
    for (at, name) in names.filter(|name| is_plain(name)).enumerate() {
        out.push_str(if at == 0 { " ?" } else { "&" });
        out.push_str(name);
    }
    if let Some((end, _)) = out.char_indices().nth(MOST) {
        out.truncate(end);
        out.push('…');
    }
    out.trim_start().to_owned()
}

/// Whether it can be the name of a parameter; anything else may be a value that somebody forgot to escape.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= 40 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn write(value: &Json<'_>, out: &mut String) {
    // what is cut need not be written
    if out.len() > 4 * MOST {
        return;
    }
    match value {
        Json::Object(object) => {
            out.push('{');
            for (at, (name, value)) in object.members.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                out.push_str(name);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
        Json::Array(elements) => {
            out.push('[');
            let mut before = String::new();
            for element in elements {
                let mut one = String::new();
                write(element, &mut one);
                // equal ones that follow each other are one
                if one != before {
                    out.push_str(if before.is_empty() { "" } else { "," });
                    out.push_str(&one);
                    before = one;
                }
                if out.len() > 4 * MOST {
                    break;
                }
            }
            out.push(']');
        }
        _ => out.push('?'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: Option<&str>, body: &str, expected: &str) {
        assert_eq!(shape(query, body.as_bytes()), expected);
    }

    #[test]
    fn literals_are_left_out() {
        check(None, r#"{"query":{"term":{"user":"alice"}},"size":0}"#, "{query:{term:{user:?}},size:?}");
        check(None, r#"{"query":{"terms":{"id":[1,2,3]}}}"#, "{query:{terms:{id:[?]}}}");
        check(
            None,
            r#"{"query":{"bool":{"filter":[{"term":{"a":1}},{"term":{"a":2}},{"term":{"b":2}}]}}}"#,
            "{query:{bool:{filter:[{term:{a:?}},{term:{b:?}}]}}}",
        );
        check(Some("q=secret&size=5&se cret=1"), "", "?q&size");
        check(Some("request_cache=true"), "{}", "{} ?request_cache");
        check(None, "secret", "(not JSON)");
        check(None, " ", "");
    }

    #[test]
    fn shapes_are_bounded() {
        let members: Vec<String> = (0..5_000).map(|n| format!(r#""field_{n}":1"#)).collect();
        let long = format!("{{{}}}", members.join(","));
        assert_eq!(shape(None, long.as_bytes()).chars().count(), MOST + 1);
        let names = "é".repeat(3_000);
        assert_eq!(shape(None, format!(r#"{{"{names}":1}}"#).as_bytes()).chars().count(), MOST + 1);
    }
}
