//! Who asks, as far as the headers of a request say it.

use std::fmt;

use http::{HeaderMap, HeaderName};

use super::fields::Fields;
use super::headers::{HeaderRole, HeaderRules};

/// Who asks. Two requests with equal identities carry the same credentials, byte for byte.
#[derive(Clone, PartialEq, Eq)]
pub enum Identity {
    /// No header says who asks.
    Anonymous,
    /// These headers do.
    Bearer {
        /// A hash of the headers and all their values. It is made from secrets: it is for comparing, not for showing.
        digest: [u8; 32],
        /// The names of the headers, sorted.
        carriers: Vec<HeaderName>,
    },
}

impl Identity {
    /// The identity that the headers of a request carry.
    #[must_use]
    pub fn of(headers: &HeaderMap, rules: &HeaderRules) -> Identity {
        let mut carriers: Vec<HeaderName> =
            headers.keys().filter(|name| rules.role(name) == HeaderRole::Identity).cloned().collect();
        if carriers.is_empty() {
            return Identity::Anonymous;
        }
        carriers.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        let mut fields = Fields::new("escache 1 identity");
        for name in &carriers {
            fields.put_header(name, headers);
        }
        Identity::Bearer { digest: fields.finish(), carriers }
    }

    /// Whether the request carries no identity at all.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        *self == Identity::Anonymous
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Anonymous => f.write_str("Anonymous"),
            Identity::Bearer { carriers, .. } => f.debug_tuple("Bearer").field(carriers).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> Identity {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        Identity::of(&map, &HeaderRules::default())
    }

    #[test]
    fn nothing_known_is_anonymous() {
        assert!(of(&[]).is_anonymous());
        assert_eq!(
            of(&[("user-agent", "curl"), ("accept", "*/*"), ("x-forwarded-for", "::1")]),
            Identity::Anonymous
        );
    }

    #[test]
    fn each_difference_is_another_identity() {
        let cases = [
            of(&[]),
            of(&[("authorization", "")]),
            of(&[("authorization", "Basic YTpi")]),
            of(&[("authorization", "Basic YTpj")]),
            of(&[("proxy-authorization", "Basic YTpi")]),
            of(&[("authorization", "Basic YTpi"), ("es-security-runas-user", "bob")]),
            of(&[("authorization", "Basic YTpi"), ("es-security-runas-user", "eve")]),
            of(&[("authorization", "a"), ("authorization", "b")]),
            of(&[("authorization", "b"), ("authorization", "a")]),
            of(&[("authorization", "ab")]),
            of(&[("authorization", "a"), ("cookie", "b")]),
        ];
        for (i, one) in cases.iter().enumerate() {
            assert!(cases[..i].iter().all(|other| other != one), "{i}: {one:?}");
        }
    }

    #[test]
    fn the_order_of_names_and_neutral_headers_make_no_difference() {
        let one = of(&[("cookie", "b"), ("authorization", "a"), ("host", "h")]);
        let other = of(&[("user-agent", "x"), ("authorization", "a"), ("cookie", "b")]);
        assert_eq!(one, other);
    }

    #[test]
    fn shows_the_carriers_and_no_secret() {
        let shown = format!("{:?}", of(&[("cookie", "secret"), ("authorization", "Basic YTpi")]));
        assert_eq!(shown, r#"Bearer(["authorization", "cookie"])"#);
    }
}
