//! The lines of a multi search: two for each of its searches.

use std::borrow::Cow;

use crate::outcome::{Reason, Refusal};

/// How many searches of one request are looked at; a request of more goes on as it came.
pub const MOST_ITEMS: usize = 1_000;

/// One search of a request, as it stands there, without line breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines<'a> {
    /// The line that says what is searched, and how; it may be empty.
    pub header: &'a [u8],
    /// The line with the search.
    pub body: &'a [u8],
}

/// Takes a request apart.
///
/// # Errors
/// [`Reason::NotJson`] with the number of the line, where engines differ or refuse the whole: no line break at the end,
/// an odd number of lines, an empty first line (some skip it), another line of nothing but white space.
/// [`Reason::BodyTooLarge`] for more than [`MOST_ITEMS`] searches.
pub fn split(request: &[u8]) -> Result<Vec<Lines<'_>>, Refusal> {
    let not_understood = |line: usize| Refusal::at(Reason::NotJson, format!("line {}", line + 1));
    let Some(all) = request.strip_suffix(b"\n") else {
        return Err(not_understood(request.split(|byte| *byte == b'\n').count() - 1));
    };
    let mut lines = all.split(|byte| *byte == b'\n');
    let mut items = Vec::new();
    while let Some(header) = lines.next() {
        let number = 2 * items.len();
        let blank = header.trim_ascii().is_empty();
        if blank && (number == 0 || !header.is_empty()) {
            return Err(not_understood(number));
        }
        let body = lines.next().ok_or_else(|| not_understood(number))?;
        if body.trim_ascii().is_empty() {
            return Err(not_understood(number + 1));
        }
        if items.len() == MOST_ITEMS {
            return Err(Refusal::at(Reason::BodyTooLarge, format!("line {}", number + 1)));
        }
        items.push(Lines { header, body });
    }
    Ok(items)
}

/// A request of some of these searches, in this order. An empty header line becomes `{}`, which means the same: as the
/// first line of a request it would not.
pub fn join<'a>(items: impl IntoIterator<Item = Lines<'a>>) -> Vec<u8> {
    let mut request = Vec::new();
    for Lines { header, body } in items {
        request.extend_from_slice(if header.is_empty() { b"{}" } else { header });
        request.push(b'\n');
        request.extend_from_slice(body);
        request.push(b'\n');
    }
    request
}

/// The content type of a search in the place of that of a multi search: what is sent as lines of JSON is JSON.
#[must_use]
pub fn content_type(of_lines: &str) -> Cow<'_, str> {
    let (essence, rest) = of_lines.split_once(';').map_or((of_lines, None), |(e, rest)| (e, Some(rest)));
    let one = match essence.trim().to_ascii_lowercase().as_str() {
        "application/x-ndjson" => "application/json",
        "application/vnd.elasticsearch+x-ndjson" => "application/vnd.elasticsearch+json",
        _ => return Cow::Borrowed(of_lines),
    };
    Cow::Owned(rest.map_or_else(|| one.to_owned(), |rest| format!("{one};{rest}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &str) -> Result<Vec<(&str, &str)>, String> {
        let text_of = |bytes| std::str::from_utf8(bytes).unwrap();
        split(text.as_bytes())
            .map(|items| items.iter().map(|item| (text_of(item.header), text_of(item.body))).collect())
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn takes_requests_apart_by_lines() {
        assert_eq!(lines("{}\n{\"size\":0}\n"), Ok(vec![("{}", "{\"size\":0}")]));
        assert_eq!(lines("{}\r\na\r\n\nb\n"), Ok(vec![("{}\r", "a\r"), ("", "b")]));
        for (text, line) in [
            ("", 1),
            ("{}\n{}", 2),
            ("{}\n", 1),
            ("\n{}\n", 1),
            ("{}\na\n\r\nb\n", 3),
            ("{}\na\n{}\n", 3),
            ("\n", 1),
            ("{}\n\n", 2),
            ("{}\n\r\n", 2),
        ] {
            assert_eq!(lines(text), Err(format!("not-json at line {line}")), "{text:?}");
        }
        let many = "{}\n{}\n".repeat(MOST_ITEMS);
        assert_eq!(lines(&many).unwrap().len(), MOST_ITEMS);
        assert_eq!(lines(&(many + "{}\n{}\n")), Err("body-too-large at line 2001".to_owned()));
    }

    #[test]
    fn an_empty_header_line_is_never_the_first_line() {
        let items = split(b"{}\na\n\nb\n").unwrap();
        assert_eq!(join(items[1..].iter().copied()), b"{}\nb\n");
    }

    #[test]
    fn lines_of_json_are_json() {
        for (lines, one) in [
            ("application/x-ndjson", "application/json"),
            ("application/X-NDJSON; charset=utf-8", "application/json; charset=utf-8"),
            (
                "application/vnd.elasticsearch+x-ndjson;compatible-with=8",
                "application/vnd.elasticsearch+json;compatible-with=8",
            ),
            ("application/json", "application/json"),
            ("application/smile", "application/smile"),
        ] {
            assert_eq!(content_type(lines), one);
        }
    }

    proptest! {
        #[test]
        fn what_is_joined_splits_alike(items in prop::collection::vec(("(\\{[a-z\"]{0,4}\\})?", "[!-~]{1,6}"), 1..6)) {
            let items: Vec<_> =
                items.iter().map(|(h, b)| Lines { header: h.as_bytes(), body: b.as_bytes() }).collect();
            let joined = join(items.iter().copied());
            let again = split(&joined).unwrap();
            prop_assert_eq!(again.len(), items.len());
            for (one, other) in items.iter().zip(&again) {
                prop_assert_eq!(one.body, other.body);
                prop_assert_eq!(if one.header.is_empty() { b"{}" } else { one.header }, other.header);
            }
        }
    }
}
