//! A fill asks for the members that tell whether the answer is whole, even if the client's `filter_path` does not;
//! what the client did not ask for is cut out of the answer again, byte for byte.

use std::ops::Range;

use crate::outcome::Reason;

/// The members that a fill needs to see.
pub const NEEDED: &str = "_shards,timed_out,terminated_early";

/// How a fill with a `filter_path` asks, and what is cut out of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Widening {
    /// The client's own filter shows all that is needed.
    None,
    /// Ask for [`NEEDED`] as well and cut it out again.
    Add,
}

/// Decides how to widen a client's `filter_path`.
///
/// # Errors
/// [`Reason::PartialityUnknown`] where the client's filter touches what is needed in a way that cutting would not undo.
pub fn widen(filter_path: &str) -> Result<Widening, Reason> {
    let patterns = || filter_path.split(',').map(str::trim);
    // exclusions alone (`-hits`) leave the rest in; mixed with inclusions their meaning depends on both
    if patterns().any(|p| p.starts_with('-')) {
        let harmless = patterns().all(|p| matches!(p.strip_prefix('-'), Some(p) if !touches(p)));
        return if harmless { Ok(Widening::None) } else { Err(Reason::PartialityUnknown) };
    }
    let whole = |name| patterns().any(|p| p == name);
    if whole("_shards") && whole("timed_out") && whole("terminated_early") {
        return Ok(Widening::None);
    }
    if patterns().any(touches) { Err(Reason::PartialityUnknown) } else { Ok(Widening::Add) }
}

/// Whether a pattern could match one of the members that are needed, or a part of them.
fn touches(pattern: &str) -> bool {
    let first = pattern.split('.').next().unwrap_or(pattern);
    first.is_empty() || first.contains('*') || NEEDED.split(',').any(|name| name == first)
}

/// Cuts the members of [`NEEDED`] out of a JSON object's text and leaves every other byte as it was.
///
/// # Errors
/// [`Reason::PartialityUnknown`] if the text is not a JSON object as the engines write one.
pub fn cut(body: &[u8]) -> Result<Vec<u8>, Reason> {
    let members = members(body).ok_or(Reason::PartialityUnknown)?;
    let kept: Vec<_> = members
        .iter()
        .filter(|m| !NEEDED.split(',').any(|n| n.as_bytes() == &body[m.name.clone()]))
        .collect();
    let (Some(first), Some(last)) = (members.first(), members.last()) else { return Ok(body.to_vec()) };
    let (head, tail) = (&body[..first.whole.start], &body[last.whole.end..]);
    if kept.is_empty() {
        // an empty object is `{}`, or `{ }` where the engine writes it pretty
        let pretty = head.len() > 1;
        let end = tail.iter().position(|&b| b == b'}').ok_or(Reason::PartialityUnknown)?;
        return Ok([if pretty { b"{ }".as_slice() } else { b"{}" }, &tail[end + 1..]].concat());
    }
    // between two members stands the same separator everywhere
    let separator = members.get(1).map_or(&b","[..], |second| &body[first.whole.end..second.whole.start]);
    let mut out = Vec::with_capacity(body.len());
    out.extend_from_slice(head);
    for (i, member) in kept.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(separator);
        }
        out.extend_from_slice(&body[member.whole.clone()]);
    }
    out.extend_from_slice(tail);
    Ok(out)
}

struct Member {
    /// The name, without quotes.
    name: Range<usize>,
    /// From the opening quote of the name to the end of the value.
    whole: Range<usize>,
}

/// The top-level members of an object; `None` if the brackets do not match.
fn members(body: &[u8]) -> Option<Vec<Member>> {
    let mut found = Vec::new();
    let mut at = skip_space(body, 0);
    if body.get(at) != Some(&b'{') {
        return None;
    }
    at = skip_space(body, at + 1);
    while body.get(at) == Some(&b'"') {
        let start = at;
        let name_end = string_end(body, at)?;
        at = skip_space(body, name_end);
        if body.get(at) != Some(&b':') {
            return None;
        }
        at = value_end(body, skip_space(body, at + 1))?;
        found.push(Member { name: start + 1..name_end - 1, whole: start..at });
        at = skip_space(body, at);
        if body.get(at) != Some(&b',') {
            break;
        }
        at = skip_space(body, at + 1);
    }
    (body.get(at) == Some(&b'}')).then_some(found)
}

fn skip_space(body: &[u8], at: usize) -> usize {
    body[at.min(body.len())..].iter().position(|b| !b.is_ascii_whitespace()).map_or(body.len(), |n| at + n)
}

fn string_end(body: &[u8], quote: usize) -> Option<usize> {
    let mut at = quote + 1;
    loop {
        match body.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn value_end(body: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = start;
    loop {
        match body.get(at)? {
            b'"' => at = string_end(body, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                at += 1;
            }
            b'}' | b']' | b',' if depth == 0 => return (at > start).then(|| trim_end(body, start, at)),
            _ => at += 1,
        }
        if depth == 0 && matches!(body.get(at - 1), Some(b'"' | b'}' | b']')) {
            return Some(at);
        }
    }
}

fn trim_end(body: &[u8], start: usize, end: usize) -> usize {
    start + body[start..end].trim_ascii_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widens_only_what_it_can_undo() {
        assert_eq!(widen("hits.hits._source"), Ok(Widening::Add));
        assert_eq!(widen("took,aggregations.**.buckets"), Ok(Widening::Add));
        assert_eq!(widen("_shards,timed_out,terminated_early,hits"), Ok(Widening::None));
        assert_eq!(widen("-hits.hits._source"), Ok(Widening::None));
        for filter in
            ["_shards.total", "**.total", "*", "-_shards", "-hits,took", "", "-*.total", "timed_out"]
        {
            assert_eq!(widen(filter), Err(Reason::PartialityUnknown), "{filter}");
        }
    }

    #[track_caller]
    fn check(body: &str, expected: &str) {
        assert_eq!(String::from_utf8(cut(body.as_bytes()).unwrap()).unwrap(), expected);
    }

    #[test]
    fn cuts_byte_for_byte() {
        check(
            r#"{"timed_out":false,"_shards":{"total":1},"hits":{"a":[1,"}"]}}"#,
            r#"{"hits":{"a":[1,"}"]}}"#,
        );
        check(r#"{"took":3,"timed_out":false,"_shards":{"total":1}}"#, r#"{"took":3}"#);
        check(r#"{"timed_out":false,"_shards":{}}"#, "{}");
        check(r#"{"hits":1}"#, r#"{"hits":1}"#);
        check("{}", "{}");
        check(
            "{\n  \"took\" : 1,\n  \"timed_out\" : false,\n  \"hits\" : {\n    \"x\" : 1\n  }\n}\n",
            "{\n  \"took\" : 1,\n  \"hits\" : {\n    \"x\" : 1\n  }\n}\n",
        );
        check("{\n  \"timed_out\" : false\n}\n", "{ }\n");
        check(r#"{"a\"b":"\\","timed_out":true,"n":-1.5e3}"#, r#"{"a\"b":"\\","n":-1.5e3}"#);
        assert!(cut(b"[1]").is_err());
        assert!(cut(b"{\"a\":").is_err());
    }
}
