//! What the header lines and the URL of a multi search say, as a `_search` would say it.

use std::fmt::Write as _;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::elastic::api::Api;
use crate::elastic::json::{self, Json, Object};
use crate::elastic::params::Params;
use crate::outcome::{Reason, Refusal};

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
pub fn common(api: Api, query: &str) -> Result<Common, Refusal> {
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
            // `RestMultiSearchTemplateAction` does not know them
            "max_concurrent_shard_requests" | "pre_filter_shard_size" => {
                api == Api::Msearch && is_count(value)
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_query(url: &str, line: &str, index: Option<Option<&str>>, expected: &str) {
        let header = header(line.as_bytes()).unwrap();
        assert_eq!(header.index.as_ref().map(Option::as_deref), index, "{line}");
        let query = common(Api::Msearch, url).unwrap().query(&header);
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
            assert_eq!(common(Api::Msearch, url).unwrap_err().to_string(), refusal, "{url}");
        }
        assert!(common(Api::Msearch, "pretty=false&human&typed_keys&rest_total_hits_as_int=false").is_ok());
        let of_shards = "max_concurrent_shard_requests=5";
        assert!(common(Api::Msearch, of_shards).is_ok());
        let refusal = common(Api::MsearchTemplate, of_shards).unwrap_err();
        assert_eq!(refusal.to_string(), "unknown-parameter at max_concurrent_shard_requests");
    }
}
