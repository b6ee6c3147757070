use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::elastic::json::parse;

/// A request in words, so that cases are data.
#[derive(Clone, Debug)]
struct Request {
    engine: &'static str,
    api: &'static str,
    target: Option<&'static str>,
    query: &'static str,
    headers: Vec<(String, String)>,
    body: Option<&'static str>,
}

fn plain() -> Request {
    Request {
        engine: "uuid-1",
        api: "search",
        target: Some("logs"),
        query: "size=0&pretty",
        headers: vec![header("content-type", "application/json"), header("authorization", "Basic YTpi")],
        body: Some(r#"{"query":{"match_all":{}},"size":0}"#),
    }
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn with_headers(headers: &[(&str, &str)]) -> Request {
    Request { headers: headers.iter().map(|(n, v)| header(n, v)).collect(), ..plain() }
}

fn key(request: &Request) -> CacheKey {
    key_with(request, &HeaderRules::default())
}

fn key_with(request: &Request, rules: &HeaderRules) -> CacheKey {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        headers
            .append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    CacheKey::of(&Inputs {
        engine: request.engine,
        api: request.api,
        target: request.target,
        detail: None,
        params: &Params::parse(request.query).unwrap(),
        headers: &headers,
        rules,
        identity: &Identity::of(&headers, rules),
        body: request.body.map(|text| parse(text.as_bytes()).unwrap()).as_ref(),
    })
}

fn check_all_differ(requests: &[Request]) {
    for (i, one) in requests.iter().enumerate() {
        for other in &requests[..i] {
            assert_ne!(key(one), key(other), "{one:?} {other:?}");
        }
    }
}

fn check_all_equal(requests: &[Request]) {
    for request in requests {
        assert_eq!(key(request), key(&requests[0]), "{request:?} {:?}", requests[0]);
    }
}

#[test]
fn each_input_is_in_the_key() {
    check_all_differ(&[
        plain(),
        Request { engine: "uuid-2", ..plain() },
        Request { api: "count", ..plain() },
        Request { target: None, ..plain() },
        Request { target: Some(""), ..plain() },
        Request { target: Some("logs*"), ..plain() },
        Request { target: Some("logs,metrics"), ..plain() },
        Request { target: Some("metrics,logs"), ..plain() },
        Request { query: "", ..plain() },
        Request { query: "size=0", ..plain() },
        Request { query: "size=0&pretty=true", ..plain() },
        Request { query: "size=00&pretty", ..plain() },
        Request { query: "size=0&pretty&routing=a", ..plain() },
        Request { query: "size=0&pretty&routing=a&preference=b", ..plain() },
        Request { query: "size=0&pretty&routing=b&preference=a", ..plain() },
        Request { body: None, ..plain() },
        Request { body: Some("{}"), ..plain() },
        Request { body: Some(r#"{"query":{"match_all":{}},"size":1}"#), ..plain() },
        Request { body: Some(r#"{"size":0,"query":{"match_all":{}}}"#), ..plain() },
        Request { headers: vec![], ..plain() },
        with_headers(&[("accept", "a/b")]),
        with_headers(&[("accept", "a/b"), ("accept", "c/d")]),
        with_headers(&[("accept", "c/d"), ("accept", "a/b")]),
        with_headers(&[("accept", "a/b, c/d")]),
        with_headers(&[("content-type", "a/b")]),
        with_headers(&[("x-a", "b")]),
        with_headers(&[("x-a", "")]),
        with_headers(&[("x-a", "b"), ("x-b", "a")]),
        with_headers(&[("x-a", "a"), ("x-b", "b")]),
        with_headers(&[("x-a", "x-b"), ("x-b", "x-a")]),
        with_headers(&[("authorization", "b")]),
        with_headers(&[("cookie", "b")]),
        with_headers(&[("origin", "b")]),
    ]);
}

#[test]
fn spellings_of_one_request_are_one_key() {
    check_all_equal(&[
        plain(),
        Request { query: "pretty&size=0", ..plain() },
        Request { query: "&pretty=&&size=%30", ..plain() },
        Request { query: "size=0&pretty&request_cache=true", ..plain() },
        Request { query: "request_cache&size=0&pretty", ..plain() },
        Request { body: Some("{ \"query\" : {\"match_all\":{ }},\n\"s\\u0069ze\":0 }"), ..plain() },
        with_headers(&[("Authorization", "Basic YTpi"), ("Content-Type", "application/json")]),
    ]);
}

/// A forwarder drops what `Connection` names. Then the engine answers another question than the other headers ask.
#[test]
fn a_header_declared_hop_by_hop_splits_the_key() {
    check_all_differ(&[
        with_headers(&[("accept", "a/b")]),
        with_headers(&[("accept", "a/b"), ("connection", "accept")]),
        with_headers(&[("accept", "a/b"), ("connection", "authorization, accept")]),
    ]);
    check_all_equal(&[
        with_headers(&[("accept", "a/b")]),
        with_headers(&[("accept", "a/b"), ("connection", "keep-alive")]),
        with_headers(&[("accept", "a/b"), ("connection", "Upgrade,Close , ,TE")]),
    ]);
    check_all_equal(&[
        with_headers(&[("connection", "x-a, Accept")]),
        with_headers(&[("connection", "accept"), ("connection", "close,X-A")]),
    ]);
}

#[test]
fn the_operator_can_ignore_a_header() {
    let rules = HeaderRules::new(&["x-team"], &[]).unwrap();
    let (one, other) = (with_headers(&[("x-team", "a")]), with_headers(&[("x-team", "b")]));
    assert_eq!(key_with(&one, &rules), key_with(&other, &rules));
    assert_ne!(key(&one), key(&other));
}

#[test]
fn shows_a_prefix() {
    let key = CacheKey([0xab; 32]);
    assert_eq!(format!("{key} {key:?}"), "abababababababab CacheKey(abababababababab)");
}

/// The key names an entry that another process may hold (a shared second level), so it stays from version to version.
#[test]
fn is_the_same_in_every_process() {
    assert_eq!(key(&plain()).to_string(), "bbd3067acd729cb4");
}

const NEUTRAL: &[&str] =
    &["user-agent", "x-opaque-id", "traceparent", "host", "accept-encoding", "x-b3-spanid", "te"];
const KEYED: &[&str] =
    &["accept", "content-type", "x-anything", "origin", "authorization", "cookie", "x-api-key"];

fn headers(names: &'static [&'static str]) -> impl Strategy<Value = Vec<(String, String)>> {
    let pair = (prop::sample::select(names), "[a-c]{0,2}");
    prop::collection::vec(pair.prop_map(|(name, value)| header(name, &value)), 0..5)
}

/// What of a list of headers matters: for each name its values in order.
fn grouped(headers: &[(String, String)]) -> Vec<(String, String)> {
    let mut headers = headers.to_vec();
    headers.sort_by(|a, b| a.0.cmp(&b.0));
    headers
}

proptest! {
    #[test]
    fn neutral_headers_make_no_difference(
        keyed in headers(KEYED), some in headers(NEUTRAL), others in headers(NEUTRAL), at: prop::sample::Index,
    ) {
        let one = Request { headers: [keyed.clone(), some].concat(), ..plain() };
        let mut mixed = keyed;
        let at = at.index(mixed.len() + 1);
        mixed.splice(at..at, others);
        prop_assert_eq!(key(&one), key(&Request { headers: mixed, ..plain() }));
    }

    #[test]
    fn keyed_headers_are_equal_or_the_keys_differ(one in headers(KEYED), other in headers(KEYED)) {
        let equal = grouped(&one) == grouped(&other);
        let (one, other) = (Request { headers: one, ..plain() }, Request { headers: other, ..plain() });
        prop_assert_eq!(key(&one) == key(&other), equal);
    }
}
