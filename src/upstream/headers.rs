//! Headers on their way: hop-by-hop fields end here, forwarding fields begin here (RFC 9110 7.6).

use std::net::IpAddr;

use http::header::{CONNECTION, EXPECT, FORWARDED, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE, VIA};
use http::{HeaderMap, HeaderValue};

use crate::control::has_any;

/// Fields that belong to one connection (RFC 9110 7.6.1), whether or not `Connection` names them.
static HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Removes the fields of one connection.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if !has_any(headers, &HOP_BY_HOP) {
        return;
    }
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .filter_map(|name| HeaderName::try_from(name.trim()).ok())
            // RFC 9110 7.6.1 forbids to name these; who does so wants to smuggle
            .filter(|name| {
                !matches!(name.as_str(), "host" | "content-length" | "authorization" | "cache-control")
            })
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Adds the client's address to `X-Forwarded-For` at once, if the request tells of addresses already; and otherwise
/// gives it back, to be added when the request is passed on.
///
/// An engine may map roles to addresses, and takes the last one that it does not trust. So the address is added before
/// the request gets its key: then it is part of the key, and of everything that is asked in the client's name. A request
/// that would be asked for several clients with what one of them made up would let it choose who it is.
pub fn tell_of_client(headers: &mut HeaderMap, client: Option<IpAddr>) -> Option<IpAddr> {
    static TELL: [HeaderName; 3] = [X_FORWARDED_FOR, FORWARDED, HeaderName::from_static("x-real-ip")];
    let address = client?;
    if !has_any(headers, &TELL) {
        return client;
    }
    // what is for this hop only does not reach the engine
    let ends_here = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(X_FORWARDED_FOR.as_str().as_bytes()));
    if ends_here {
        return client;
    }
    append_list(headers, X_FORWARDED_FOR, &text_of(address));
    None
}

/// Makes a client's headers those of the request to the engine: `Host` is the engine's, `X-Forwarded-*` tell of the
/// client, and this member of `Via` of escache. `Expect` was answered here.
pub(super) fn forward(
    headers: &mut HeaderMap,
    authority: &HeaderValue,
    client: Option<IpAddr>,
    via: &HeaderValue,
) {
    static EXPECTS: [HeaderName; 1] = [EXPECT];
    static TELLS_HOST: [HeaderName; 2] = [X_FORWARDED_HOST, FORWARDED];
    static TELLS_PROTO: [HeaderName; 1] = [X_FORWARDED_PROTO];
    strip_hop_by_hop(headers);
    if has_any(headers, &EXPECTS) {
        headers.remove(EXPECT);
    }
    // what is added here and behind
    headers.reserve(4);
    if let Some(client) = client {
        append_list(headers, X_FORWARDED_FOR, &text_of(client));
    }
    if let Some(host) = headers.insert(HOST, authority.clone())
        && !has_any(headers, &TELLS_HOST)
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    if !has_any(headers, &TELLS_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    append_list(headers, VIA, via);
}

/// An address as a header has it. By hand for IPv4: the standard library's way costs a tenth of what passing a request
/// on costs.
fn text_of(address: IpAddr) -> HeaderValue {
    let text = match address {
        IpAddr::V4(address) => {
            let mut text = String::with_capacity(15);
            for (at, part) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    text.push('.');
                }
                let digit = |of: u8| char::from(b'0' + of % 10);
                if part >= 100 {
                    text.push(digit(part / 100));
                }
                if part >= 10 {
                    text.push(digit(part / 10));
                }
                text.push(digit(part));
            }
            text
        }
        IpAddr::V6(address) => address.to_string(),
    };
    HeaderValue::try_from(text).expect("digits, letters, dots and colons")
}

/// Adds an item to the list that a header has; all its lines become one.
fn append_list(headers: &mut HeaderMap, name: HeaderName, item: &HeaderValue) {
    let mut list: Vec<u8> = Vec::new();
    for value in headers.get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    if list.is_empty() {
        headers.insert(name, item.clone());
        return;
    }
    list.extend_from_slice(item.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        headers
    }

    #[test]
    fn hop_by_hop_fields_end_here() {
        let mut headers = map(&[
            ("connection", "close, X-Mine"),
            ("connection", "te, authorization"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("keep-alive", "5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("authorization", "stays"),
            ("accept", "a"),
            ("accept", "b"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("authorization", "stays"), ("accept", "a"), ("accept", "b")]));
    }

    #[test]
    fn who_tells_of_addresses_is_told_of() {
        let client = Some("10.0.0.7".parse().unwrap());
        let check = |sent: &[(&str, &str)], expected: &[(&str, &str)], left| {
            let mut headers = map(sent);
            assert_eq!(tell_of_client(&mut headers, client), left, "{sent:?}");
            assert_eq!(headers, map(expected), "{sent:?}");
        };
        check(&[("accept", "a")], &[("accept", "a")], client);
        check(&[("x-forwarded-for", "1.1.1.1")], &[("x-forwarded-for", "1.1.1.1, 10.0.0.7")], None);
        let real = ("x-real-ip", "1.1.1.1");
        check(&[real], &[real, ("x-forwarded-for", "10.0.0.7")], None);
        let standard = ("forwarded", "for=1.1.1.1");
        check(&[standard], &[standard, ("x-forwarded-for", "10.0.0.7")], None);
        let hop = [("connection", "close, X-Forwarded-For"), ("x-forwarded-for", "1.1.1.1")];
        check(&hop, &hop, client);
        assert_eq!(tell_of_client(&mut map(&[real]), None), None);
    }

    #[test]
    fn addresses_are_written_as_they_are_read() {
        let mut addresses: Vec<IpAddr> = ["0.0.0.0", "255.255.255.255", "10.200.9.99", "::1", "2001:db8::7"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        addresses.extend((0..=255).map(|n| IpAddr::from([n, 255 - n, n / 2, n % 100])));
        for address in addresses {
            assert_eq!(text_of(address).to_str().unwrap(), address.to_string());
        }
    }

    #[test]
    fn forwarding_fields_begin_here() {
        let mut headers =
            map(&[("host", "search.example"), ("x-forwarded-for", "10.0.0.1"), ("expect", "100-continue")]);
        forward(
            &mut headers,
            &HeaderValue::from_static("es:9200"),
            Some("127.0.0.1".parse().unwrap()),
            &HeaderValue::from_static("1.1 escache"),
        );
        assert_eq!(
            headers,
            map(&[
                ("host", "es:9200"),
                ("x-forwarded-for", "10.0.0.1, 127.0.0.1"),
                ("x-forwarded-host", "search.example"),
                ("x-forwarded-proto", "http"),
                ("via", "1.1 escache"),
            ])
        );
    }
}
