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
        append_list(headers, HeaderName::from_static("x-forwarded-for"), &client.to_string());
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
