//! Headers on their way: hop-by-hop fields end here, forwarding fields begin here (RFC 9110 7.6).

use std::net::IpAddr;

use http::header::{CONNECTION, EXPECT, FORWARDED, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE, VIA};
use http::{HeaderMap, HeaderValue, Version};

/// Fields that belong to one connection (RFC 9110 7.6.1), whether or not `Connection` names them.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Removes the fields of one connection.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
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
    const TELL: [HeaderName; 3] = [X_FORWARDED_FOR, FORWARDED, HeaderName::from_static("x-real-ip")];
    let address = client?;
    // what is for this hop only does not reach the engine
    let ends_here = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(X_FORWARDED_FOR.as_str().as_bytes()));
    if ends_here || !TELL.iter().any(|name| headers.contains_key(name)) {
        return client;
    }
    append_list(headers, X_FORWARDED_FOR, &address.to_string());
    None
}

/// Makes a client's headers those of the request to the engine: `Host` is the engine's, `X-Forwarded-*` tell of the
/// client, `Via` of escache. `Expect` was answered here.
pub(super) fn forward(
    headers: &mut HeaderMap,
    authority: &HeaderValue,
    client: Option<IpAddr>,
    received: Version,
) {
    strip_hop_by_hop(headers);
    headers.remove(EXPECT);
    if let Some(client) = client {
        append_list(headers, X_FORWARDED_FOR, &client.to_string());
    }
    if let Some(host) = headers.insert(HOST, authority.clone())
        && !headers.contains_key("x-forwarded-host")
        && !headers.contains_key(FORWARDED)
    {
        headers.insert("x-forwarded-host", host);
    }
    if !headers.contains_key("x-forwarded-proto") {
        headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    }
    let via = match received {
        Version::HTTP_10 => "1.0 escache",
        Version::HTTP_2 => "2.0 escache",
        _ => "1.1 escache",
    };
    append_list(headers, VIA, via);
}

fn append_list(headers: &mut HeaderMap, name: HeaderName, item: &str) {
    let mut list: Vec<u8> = Vec::new();
    for value in headers.get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
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
    fn forwarding_fields_begin_here() {
        let mut headers =
            map(&[("host", "search.example"), ("x-forwarded-for", "10.0.0.1"), ("expect", "100-continue")]);
        forward(
            &mut headers,
            &HeaderValue::from_static("es:9200"),
            Some("127.0.0.1".parse().unwrap()),
            Version::HTTP_11,
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
