//! The answer to a multi search, taken apart and put together.

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::elastic::api::{Api, Distribution};

/// An answer, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The milliseconds, as written.
    pub took: &'a [u8],
    /// What the engine says to each search, byte for byte.
    pub items: Vec<&'a [u8]>,
}

/// Takes an answer apart; `None` if it is not what [`assemble`] would make of its parts.
#[must_use]
pub fn take_apart(answer: &[u8]) -> Option<Answer<'_>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Parts<'a> {
        #[serde(borrow)]
        took: &'a RawValue,
        #[serde(borrow)]
        responses: Vec<&'a RawValue>,
    }
    let parts: Parts<'_> = serde_json::from_slice(answer).ok()?;
    let items = parts.responses.iter().map(|item| item.get().as_bytes()).collect();
    let parts = Answer { took: parts.took.get().as_bytes(), items };
    (assemble(parts.took, parts.items.iter().map(|item| Piece::of_answer(item))) == answer).then_some(parts)
}

/// How the answer to a search is written as an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With its status behind.
    Status,
    /// As it is.
    Bare,
}

impl Form {
    /// How an engine has written this item of an answer, if it is that of a search that succeeded. A multi search always
    /// shows the status (`MultiSearchResponse.toXContent`). With templates, an Elasticsearch of a later version does
    /// (`MultiSearchTemplateResponse.toXContent`); an OpenSearch of a later version shows it in the answer to the search by
    /// template itself, so that the item is that answer.
    #[must_use]
    pub fn of(api: Api, distribution: Option<Distribution>, item: &[u8]) -> Form {
        match (api, distribution) {
            (Api::MsearchTemplate, Some(Distribution::OpenSearch)) => Form::Bare,
            (Api::MsearchTemplate, _) if !item.ends_with(STATUS_OK) => Form::Bare,
            _ => Form::Status,
        }
    }
}

/// An item of an answer, as it will be written.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    text: &'a [u8],
    end: &'static [u8],
}

impl<'a> Piece<'a> {
    /// What stands in an answer of the engine's.
    #[must_use]
    pub fn of_answer(item: &'a [u8]) -> Piece<'a> {
        Piece { text: item, end: b"" }
    }

    /// The answer to a search as an item of this form; `None` if it is not written as the engines write one.
    #[must_use]
    pub fn of_search(search: &'a [u8], form: Form) -> Option<Piece<'a>> {
        let text = search.strip_suffix(b"}").filter(|inner| inner.starts_with(b"{") && inner.len() > 1)?;
        Some(match form {
            Form::Status => Piece { text, end: STATUS_OK },
            Form::Bare => Piece::of_answer(search),
        })
    }
}

/// Writes an answer as the engines do (`MultiSearchResponse.toXContent`), into memory that it fills.
pub fn assemble<'a>(took: &[u8], items: impl Iterator<Item = Piece<'a>> + Clone) -> Vec<u8> {
    const AROUND: usize = "{\"took\":,\"responses\":[]}".len();
    let length: usize = items.clone().map(|item| item.text.len() + item.end.len() + 1).sum();
    let mut answer = Vec::with_capacity(AROUND + took.len() + length);
    for part in [b"{\"took\":", took, b",\"responses\":["] {
        answer.extend_from_slice(part);
    }
    for (number, item) in items.enumerate() {
        if number > 0 {
            answer.push(b',');
        }
        answer.extend_from_slice(item.text);
        answer.extend_from_slice(item.end);
    }
    answer.extend_from_slice(b"]}");
    answer
}

/// How an item of a search that succeeded ends: it is the search's answer with its status behind.
const STATUS_OK: &[u8] = b",\"status\":200}";

/// An item of this form as the answer to a search; `None` if its status is not 200.
#[must_use]
pub fn search_of(item: &[u8], form: Form) -> Option<Vec<u8>> {
    if form == Form::Bare {
        return (!is_error(item)).then(|| item.to_vec());
    }
    let inner = item.strip_suffix(STATUS_OK).filter(|inner| inner.starts_with(b"{") && inner.len() > 1)?;
    Some([inner, b"}"].concat())
}

/// Whether an item is an error (`generateFailureXContent`).
fn is_error(item: &[u8]) -> bool {
    item.starts_with(b"{\"error\":")
}

/// The status of an item that says that who asks is turned away, or that there is no such target. An error without a
/// status, as some engines write it for templates, could say so.
#[must_use]
pub fn refusal_of(item: &[u8]) -> Option<StatusCode> {
    const LAST: [StatusCode; 3] = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
    if is_error(item) && status_of(item).is_none() {
        return Some(StatusCode::FORBIDDEN);
    }
    LAST.into_iter().find(|no| item.ends_with(format!("\"status\":{}}}", no.as_str()).as_bytes()))
}

/// The status that an item shows at its end.
fn status_of(item: &[u8]) -> Option<StatusCode> {
    let digits = item.strip_suffix(b"}")?.last_chunk::<3>()?;
    let before = item.get(..item.len() - 4)?;
    before.ends_with(b",\"status\":").then(|| StatusCode::from_bytes(digits).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_are_taken_apart_byte_for_byte() {
        let answer =
            br#"{"took":3,"responses":[{"took":1, "x":"]}","status":200},{"error":{},"status":404}]}"#;
        let parts = take_apart(answer).unwrap();
        assert_eq!(parts.took, b"3");
        assert_eq!(search_of(parts.items[0], Form::Status).unwrap(), br#"{"took":1, "x":"]}"}"#);
        assert_eq!(search_of(parts.items[1], Form::Status), None);
        assert_eq!(
            parts.items.iter().map(|item| refusal_of(item)).collect::<Vec<_>>(),
            [None, Some(StatusCode::NOT_FOUND)]
        );
        assert_eq!(take_apart(br#"{"took":3,"responses":[]}"#).unwrap().items.len(), 0);
        for other in [
            &br#"{"took":3, "responses":[]}"#[..],
            br#"{"responses":[],"took":3}"#,
            br#"{"took":3,"responses":[],"_clusters":{}}"#,
            br#"{"took":3,"responses":[{} ]}"#,
            b"{\"took\":3,\"responses\":[]}\n",
            br#"{"error":{},"status":400}"#,
            br#"{"took":3,"responses":[{"a":1"#,
        ] {
            assert_eq!(take_apart(other), None, "{}", String::from_utf8_lossy(other));
        }
    }

    fn item_of(search: &[u8]) -> Option<Vec<u8>> {
        Piece::of_search(search, Form::Status).map(|piece| [piece.text, piece.end].concat())
    }

    #[test]
    fn an_item_is_a_search_with_its_status() {
        assert_eq!(item_of(br#"{"took":1}"#).unwrap(), br#"{"took":1,"status":200}"#);
        for odd in [&b"{}"[..], b"", b"}", b"[1]", b"{\"a\":1}\n", b" {\"a\":1}"] {
            assert_eq!(item_of(odd), None);
        }
        assert_eq!(search_of(br#"{,"status":200}"#, Form::Status), None);
        assert_eq!(search_of(br#"{"took":1,"status":503}"#, Form::Status), None);
    }

    #[test]
    fn an_item_of_a_template_has_the_form_of_its_engine() {
        use Distribution::{Elasticsearch, OpenSearch};
        let (bare, with) = (&br#"{"took":1}"#[..], &br#"{"took":1,"status":200}"#[..]);
        for (api, distribution, item, form, search) in [
            (Api::Msearch, Elasticsearch, with, Form::Status, Some(bare)),
            (Api::Msearch, OpenSearch, with, Form::Status, Some(bare)),
            (Api::Msearch, OpenSearch, bare, Form::Status, None),
            (Api::MsearchTemplate, Elasticsearch, with, Form::Status, Some(bare)),
            (Api::MsearchTemplate, Elasticsearch, bare, Form::Bare, Some(bare)),
            (Api::MsearchTemplate, OpenSearch, with, Form::Bare, Some(with)),
            (Api::MsearchTemplate, OpenSearch, bare, Form::Bare, Some(bare)),
        ] {
            assert_eq!(Form::of(api, Some(distribution), item), form);
            assert_eq!(search_of(item, form).as_deref(), search);
            let piece = search.and_then(|search| Piece::of_search(search, form));
            assert_eq!(piece.map(|piece| [piece.text, piece.end].concat()).as_deref(), search.map(|_| item));
        }
        assert_eq!(search_of(br#"{"error":{"type":"x"}}"#, Form::Bare), None);
        assert_eq!(Piece::of_search(b"{}", Form::Bare).map(|piece| piece.text.len()), None);
    }

    #[test]
    fn an_error_that_shows_no_status_may_be_a_refusal() {
        for (item, expected) in [
            (r#"{"error":{"reason":"x"},"status":403}"#, Some(StatusCode::FORBIDDEN)),
            (r#"{"error":{"reason":"x"},"status":404}"#, Some(StatusCode::NOT_FOUND)),
            (r#"{"error":{"reason":"x"},"status":400}"#, None),
            (r#"{"error":{"reason":"x"}}"#, Some(StatusCode::FORBIDDEN)),
            (r#"{"took":1}"#, None),
            (r#"{"took":1,"status":200}"#, None),
        ] {
            assert_eq!(refusal_of(item.as_bytes()), expected, "{item}");
        }
        assert_eq!(status_of(br#"{"took":1,"status":200}"#), Some(StatusCode::OK));
        assert_eq!((status_of(b"{}"), status_of(b"")), (None, None));
    }

    proptest! {
        #[test]
        fn what_is_assembled_comes_apart_alike(took in 0_u32.., items in prop::collection::vec("\\{\"[a-z]{1,3}\":\"[\\[\\]{},a-z ]{0,5}\"\\}", 0..5)) {
            let items: Vec<Vec<u8>> = items.iter().map(|search| item_of(search.as_bytes()).unwrap()).collect();
            let answer = assemble(took.to_string().as_bytes(), items.iter().map(|item| Piece::of_answer(item)));
            let parts = take_apart(&answer).unwrap();
            prop_assert_eq!(&parts.items, &items);
            for item in parts.items {
                prop_assert_eq!(item_of(&search_of(item, Form::Status).unwrap()).unwrap(), item);
            }
        }
    }
}
