//! Search templates (`search_template`): what of a request is asked of `_render/template`, and what that answers.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::elastic::json::{self, Json};
use crate::outcome::{Reason, Refusal};

/// The endpoint that renders a template without searching. It reads the same body (`SearchTemplateRequest`).
pub const RENDER: &str = "/_render/template";

/// Where a template is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In the request.
    Inline,
    /// In the cluster state.
    Stored,
}

/// Judges the body of a template search.
///
/// # Errors
/// Why it is not answered from the cache.
pub fn judge(body: &[u8]) -> Result<Kind, Refusal> {
    let Json::Object(object) = json::parse(body)? else { return Err(Reason::NotJson.into()) };
    for (name, value) in &object.members {
        match (name.as_ref(), value) {
            ("source", Json::String(_) | Json::Object(_))
            | ("id", Json::String(_))
            | ("params", Json::Object(_))
            | ("explain" | "profile", Json::Bool(false)) => {}
            ("explain" | "profile", Json::Bool(true)) => {
                return Err(Refusal::at(Reason::Diagnostic, name.clone()));
            }
            // names are of the user's choice
            _ => return Err(Refusal::at(Reason::UnknownWord, "a member of the template request")),
        }
    }
    let has = |word: &str| object.members.iter().any(|(name, _)| name == word);
    match (has("source"), has("id")) {
        (true, false) => Ok(Kind::Inline),
        (false, true) => Ok(Kind::Stored),
        // of both the later one counts
        (true, true) => Err(Refusal::at(Reason::UnknownWord, "id")),
        (false, false) => Err(Refusal::at(Reason::UnknownWord, "source")),
    }
}

/// The search that a template renders to, as the answer of [`RENDER`] shows it byte for byte. `None` where it is not
/// certain that the engine would search for just this: a text that ends the answer's object early has other members,
/// or something behind it.
#[must_use]
pub fn rendered(answer: &[u8]) -> Option<&[u8]> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rendered<'a> {
        #[serde(borrow)]
        template_output: &'a RawValue,
    }
    let rendered: Rendered<'_> = serde_json::from_slice(answer).ok()?;
    let text = rendered.template_output.get();
    text.starts_with('{').then_some(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_template() {
        for (body, expected) in [
            (r#"{"source":"{}"}"#, "Inline"),
            (r#"{"source":{"query":{}},"params":{"a":[1]},"explain":false,"profile":false}"#, "Inline"),
            (r#"{"id":"mine","params":{}}"#, "Stored"),
            (r#"{"id":7}"#, "unknown-word at a member of the template request"),
            (r#"{"source":"{}","id":"mine"}"#, "unknown-word at id"),
            (r#"{"source":"{}","profile":true}"#, "diagnostic at profile"),
            (r#"{"source":"{}","explain":true}"#, "diagnostic at explain"),
            (r#"{"source":"{}","secret":1}"#, "unknown-word at a member of the template request"),
            (r#"{"source":7}"#, "unknown-word at a member of the template request"),
            (r#"{"params":{}}"#, "unknown-word at source"),
            (r#"{"source":"{}","source":"{}"}"#, "duplicate-key at byte 0"),
            ("[]", "not-json"),
        ] {
            let shown = judge(body.as_bytes()).map_or_else(|no| no.to_string(), |kind| format!("{kind:?}"));
            assert_eq!(shown, expected, "{body}");
        }
    }

    #[test]
    fn what_is_rendered_is_one_object() {
        let text =
            |answer: &'static str| rendered(answer.as_bytes()).map(|t| std::str::from_utf8(t).unwrap());
        assert_eq!(text(r#"{"template_output":{"size": 0}}"#), Some(r#"{"size": 0}"#));
        assert_eq!(text(r#"{"template_output":{"a":1,"a":2}}"#), Some(r#"{"a":1,"a":2}"#));
        for other in [
            r#"{"template_output":{"size":0},"more":{}}"#,
            r#"{"template_output":{"size":0},"template_output":{}}"#,
            r#"{"template_output":{"size":0}}}"#,
            r#"{"template_output":{} {}}"#,
            r#"{"template_output":"x"}"#,
            r#"{"template_output":}"#,
            r#"{"error":{},"status":400}"#,
            "",
        ] {
            assert_eq!(text(other), None, "{other}");
        }
    }
}
