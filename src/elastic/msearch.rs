//! The multi search (`msearch`): a request of several searches, two lines each, and an answer that has theirs in a row.
//!
//! What is read here is read as `RestMultiSearchAction` and `MultiSearchRequest.readMultiLineFormat` read it. The engines
//! parse the whole request before they search: one line that they cannot parse is a 400 for all. What is not understood
//! of the whole is therefore an error here, and the request goes on as it came.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::elastic::json::{self, Json, Object};
use crate::elastic::params::Params;
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

/// What a header line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The index expression that stands instead of the path's: `Some(None)` for all indices.
    pub index: Option<Option<String>>,
    /// The rest, as the URL parameters that say the same to a search.
    params: Vec<(&'static str, String)>,
}

/// Reads a header line.
///
/// # Errors
/// [`Reason::NotJson`], [`Reason::DuplicateKey`] and [`Reason::TooDeep`] as [`json::parse`]: then the engines refuse the
/// whole request. [`Reason::UnknownWord`] for a name or a value that escache does not know here.
pub fn header(line: &[u8]) -> Result<Header, Refusal> {
    let mut header = Header::default();
    if line.is_empty() {
        return Ok(header);
    }
    let Json::Object(Object { members, .. }) = json::parse(line)? else { return Err(Reason::NotJson.into()) };
    for (name, value) in &members {
        let unknown = |name: &str| Refusal::at(Reason::UnknownWord, format!("header line: {name}"));
        let (name, value) = match name.as_ref() {
            "index" => {
                header.index = Some(expression(value).ok_or_else(|| unknown("index"))?);
                continue;
            }
            "preference" => ("preference", text(value)),
            "routing" => ("routing", text(value)),
            "search_type" => ("search_type", text(value)),
            "expand_wildcards" => ("expand_wildcards", list(value)),
            "allow_no_indices" => ("allow_no_indices", flag(value)),
            "allow_partial_search_results" => ("allow_partial_search_results", flag(value)),
            "ccs_minimize_roundtrips" => ("ccs_minimize_roundtrips", flag(value)),
            "ignore_throttled" => ("ignore_throttled", flag(value)),
            "ignore_unavailable" => ("ignore_unavailable", flag(value)),
            "request_cache" => ("request_cache", flag(value)),
            _ => return Err(unknown("a name")),
        };
        header.params.push((name, value.ok_or_else(|| unknown(name))?));
    }
    Ok(header)
}

/// An index expression: `Some(None)` for all indices. A string is split at its commas as that of a path is, the
/// elements of a list are not.
fn expression(value: &Json<'_>) -> Option<Option<String>> {
    match value {
        Json::Array(elements) if elements.is_empty() => Some(None),
        _ => list(value).map(Some),
    }
}

fn text(value: &Json<'_>) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone().into_owned()),
        _ => None,
    }
}

fn flag(value: &Json<'_>) -> Option<String> {
    match value {
        Json::Bool(flag) => Some(flag.to_string()),
        Json::String(text) if is_flag(text) => Some(text.clone().into_owned()),
        _ => None,
    }
}

/// A string that is not empty, or a list of such, in which none has a comma.
fn list(value: &Json<'_>) -> Option<String> {
    let Json::Array(elements) = value else { return text(value).filter(|text| !text.is_empty()) };
    let plain = |element: &Json<'_>| text(element).filter(|text| !text.is_empty() && !text.contains(','));
    let elements: Option<Vec<String>> = elements.iter().map(plain).collect();
    elements.filter(|elements| !elements.is_empty()).map(|elements| elements.join(","))
}

fn is_flag(text: &str) -> bool {
    matches!(text, "true" | "false")
}

/// The URL parameters of a request that mean something to each of its searches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Common(Vec<(String, String)>);

/// Reads the query string of a request. Values are looked at, too: the engines refuse the whole for one that they cannot
/// read, even if no search would use it.
///
/// # Errors
/// Why the request has to go on as it came.
pub fn common(query: &str) -> Result<Common, Refusal> {
    let mut common = Common::default();
    for (name, value) in Params::parse(query)?.iter() {
        let fits = match name {
            "error_trace" | "human" | "rest_total_hits_as_int" | "typed_keys" => {
                value.is_empty() || is_flag(value)
            }
            // an item of a pretty answer is indented more than the answer to a search
            "pretty" if value != "false" => return Err(Refusal::at(Reason::NotYet, "pretty")),
            "filter_path" => return Err(Refusal::at(Reason::NotYet, "filter_path")),
            "format" if value != "json" => return Err(Refusal::at(Reason::AnswerType, "format")),
            "search_type" if value != "query_then_fetch" => {
                return Err(Refusal::at(Reason::Diagnostic, "search_type"));
            }
            "pretty" | "format" | "routing" | "search_type" => true,
            "allow_no_indices" | "ccs_minimize_roundtrips" | "ignore_throttled" | "ignore_unavailable" => {
                is_flag(value)
            }
            "expand_wildcards" => {
                value.split(',').all(|word| matches!(word, "open" | "closed" | "hidden" | "none" | "all"))
            }
            "max_concurrent_shard_requests" | "pre_filter_shard_size" => is_count(value),
            // how many at once is no matter of any of them
            "max_concurrent_searches" if is_count(value) => continue,
            _ => false,
        };
        if !fits {
            let known = KNOWN.contains(&name);
            return Err(Refusal::at(Reason::UnknownParameter, if known { name } else { "" }));
        }
        common.0.push((name.to_owned(), value.to_owned()));
    }
    Ok(common)
}

/// The names of parameters that may be shown although their value is not understood.
const KNOWN: &[&str] = &[
    "allow_no_indices",
    "ccs_minimize_roundtrips",
    "error_trace",
    "expand_wildcards",
    "human",
    "ignore_throttled",
    "ignore_unavailable",
    "max_concurrent_searches",
    "max_concurrent_shard_requests",
    "pre_filter_shard_size",
    "rest_total_hits_as_int",
    "typed_keys",
];

/// A number that all versions take: positive, without a sign, within 31 bits.
fn is_count(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<i32>().is_ok_and(|n| n > 0)
}

impl Common {
    /// The query string of a `_search` that asks what the search under this header line asks: what the line says counts
    /// more than what the URL says.
    #[must_use]
    pub fn query(&self, header: &Header) -> String {
        let own = header.params.iter().map(|(name, value)| (*name, value.as_str()));
        let of_all = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let of_all = of_all.filter(|(name, _)| !header.params.iter().any(|(own, _)| own == name));
        let mut query = String::new();
        for (name, value) in of_all.chain(own) {
            let separator = if query.is_empty() { "" } else { "&" };
            let _ = write!(query, "{separator}{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        }
        query
    }
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

    /// The answer to a search, with its status; `None` if it is not written as the engines write one.
    #[must_use]
    pub fn of_search(search: &'a [u8]) -> Option<Piece<'a>> {
        let text = search.strip_suffix(b"}").filter(|inner| inner.starts_with(b"{") && inner.len() > 1)?;
        Some(Piece { text, end: STATUS_OK })
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

/// An item as the answer to a search; `None` if its status is not 200.
#[must_use]
pub fn search_of(item: &[u8]) -> Option<Vec<u8>> {
    let inner = item.strip_suffix(STATUS_OK).filter(|inner| inner.starts_with(b"{") && inner.len() > 1)?;
    Some([inner, b"}"].concat())
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

    #[track_caller]
    fn check_query(url: &str, line: &str, index: Option<Option<&str>>, expected: &str) {
        let header = header(line.as_bytes()).unwrap();
        assert_eq!(header.index.as_ref().map(Option::as_deref), index, "{line}");
        let query = common(url).unwrap().query(&header);
        assert_eq!(query, expected, "{url} {line}");
    }

    #[test]
    fn a_header_line_says_what_a_url_says() {
        check_query("", "", None, "");
        check_query("", "{}\r", None, "");
        check_query("", r#"{"index":"a,-b*"}"#, Some(Some("a,-b*")), "");
        check_query("", r#"{"index":["a","b"],"preference":"x y"}"#, Some(Some("a,b")), "preference=x%20y");
        check_query("", r#"{"index":[]}"#, Some(None), "");
        check_query(
            "typed_keys=true&max_concurrent_searches=5&ignore_unavailable=true&routing=u",
            r#"{"ignore_unavailable":false,"search_type":"query_then_fetch","request_cache":"true"}"#,
            None,
            "typed_keys=true&routing=u&ignore_unavailable=false&search_type=query%5Fthen%5Ffetch&request_cache=true",
        );
        check_query("", r#"{"expand_wildcards":["open","hidden"]}"#, None, "expand_wildcards=open%2Chidden");
    }

    #[test]
    fn a_header_line_that_is_not_understood_is_refused() {
        for (line, reason) in [
            (r#"{"index":["a,b"]}"#, Reason::UnknownWord),
            (r#"{"index":["a",""]}"#, Reason::UnknownWord),
            (r#"{"index":["a",null]}"#, Reason::UnknownWord),
            (r#"{"index":""}"#, Reason::UnknownWord),
            (r#"{"index":7}"#, Reason::UnknownWord),
            (r#"{"indices":"a"}"#, Reason::UnknownWord),
            (r#"{"searchType":"x"}"#, Reason::UnknownWord),
            (r#"{"max_concurrent_shard_requests":5}"#, Reason::UnknownWord),
            (r#"{"ignore_unavailable":"yes"}"#, Reason::UnknownWord),
            (r#"{"ignore_unavailable":1}"#, Reason::UnknownWord),
            (r#"{"preference":null}"#, Reason::UnknownWord),
            (r#"{"index":"a","index":"b"}"#, Reason::DuplicateKey),
            ("[]", Reason::NotJson),
            ("{", Reason::NotJson),
        ] {
            assert_eq!(header(line.as_bytes()).unwrap_err().reason, reason, "{line}");
        }
    }

    #[test]
    fn a_url_that_is_not_understood_is_refused() {
        for (url, refusal) in [
            ("pretty", "not-yet at pretty"),
            ("filter_path=took", "not-yet at filter_path"),
            ("format=yaml", "answer-type at format"),
            ("search_type=dfs_query_then_fetch", "diagnostic at search_type"),
            ("max_concurrent_searches=0", "unknown-parameter at max_concurrent_searches"),
            ("max_concurrent_searches=%2B5", "unknown-parameter at max_concurrent_searches"),
            ("ignore_unavailable", "unknown-parameter at ignore_unavailable"),
            ("expand_wildcards=open,shut", "unknown-parameter at expand_wildcards"),
            ("typed_keys=yes", "unknown-parameter at typed_keys"),
            ("index=a", "unknown-parameter"),
            ("preference=a", "unknown-parameter"),
            ("a;b", "query-string"),
        ] {
            assert_eq!(common(url).unwrap_err().to_string(), refusal, "{url}");
        }
        assert!(common("pretty=false&human&typed_keys&rest_total_hits_as_int=false").is_ok());
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

    #[test]
    fn answers_are_taken_apart_byte_for_byte() {
        let answer =
            br#"{"took":3,"responses":[{"took":1, "x":"]}","status":200},{"error":{},"status":404}]}"#;
        let parts = take_apart(answer).unwrap();
        assert_eq!(parts.took, b"3");
        assert_eq!(search_of(parts.items[0]).unwrap(), br#"{"took":1, "x":"]}"}"#);
        assert_eq!(search_of(parts.items[1]), None);
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
        Piece::of_search(search).map(|piece| [piece.text, piece.end].concat())
    }

    #[test]
    fn an_item_is_a_search_with_its_status() {
        assert_eq!(item_of(br#"{"took":1}"#).unwrap(), br#"{"took":1,"status":200}"#);
        for odd in [&b"{}"[..], b"", b"}", b"[1]", b"{\"a\":1}\n", b" {\"a\":1}"] {
            assert_eq!(item_of(odd), None);
        }
        assert_eq!(search_of(br#"{,"status":200}"#), None);
        assert_eq!(search_of(br#"{"took":1,"status":503}"#), None);
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

        #[test]
        fn what_is_assembled_comes_apart_alike(took in 0_u32.., items in prop::collection::vec("\\{\"[a-z]{1,3}\":\"[\\[\\]{},a-z ]{0,5}\"\\}", 0..5)) {
            let items: Vec<Vec<u8>> = items.iter().map(|search| item_of(search.as_bytes()).unwrap()).collect();
            let answer = assemble(took.to_string().as_bytes(), items.iter().map(|item| Piece::of_answer(item)));
            let parts = take_apart(&answer).unwrap();
            prop_assert_eq!(&parts.items, &items);
            for item in parts.items {
                prop_assert_eq!(item_of(&search_of(item).unwrap()).unwrap(), item);
            }
        }
    }
}
