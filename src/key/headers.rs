//! What a request header means for the key. Deny by default: what is not known to be neutral splits the key.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::fields::{Field, Fields};

/// What a header does to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderRole {
    /// It does not change the answer and is left out.
    Neutral,
    /// It says who asks. It is in the key, and the permissions of its bearer must be proven besides.
    Identity,
    /// It may change the answer: requests that differ in it have different keys.
    Keyed,
}

/// How understanding a request looks at a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Never: not for the key, and not to refuse the request either.
    Not,
    /// By its name, whatever its role. It is none that tells who asks.
    ByName,
    /// As at any header that is not neutral. It may tell who asks.
    AsAnyOther,
}

/// The roles of all headers: the lists below with what the operator added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderRules {
    ignored: Vec<HeaderName>,
    identity: Vec<HeaderName>,
    /// Of both, sorted; `None` if the operator added nothing.
    digest: Option<[u8; 32]>,
}

/// Why a list of header names in the configuration cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRulesError {
    /// No header can have this name.
    #[error("[{0}] is not the name of a header")]
    NotAName(String),
    /// Without this header in the key one user would get the answers of another.
    #[error("[{0}] says who asks, and can never be ignored")]
    Identity(HeaderName),
    /// Without this header in the key an answer in one format would be given to who asked for another.
    #[error("[{0}] decides in which format the engine reads or answers, and can never be ignored")]
    Representation(HeaderName),
}

impl HeaderRules {
    /// The default rules with headers that the operator knows to be neutral (`key.ignore_headers`) or to carry an
    /// identity (`key.identity_headers`).
    ///
    /// # Errors
    /// If a name is no header name, or a header that must not be ignored is to be.
    pub fn new<S: AsRef<str>>(ignored: &[S], identity: &[S]) -> Result<HeaderRules, HeaderRulesError> {
        let identity = names(identity)?;
        let rules = HeaderRules { ignored: Vec::new(), identity, digest: None };
        let ignored = names(ignored)?;
        for name in &ignored {
            if rules.role(name) == HeaderRole::Identity {
                return Err(HeaderRulesError::Identity(name.clone()));
            }
            if REPRESENTATION.contains(&name.as_str()) {
                return Err(HeaderRulesError::Representation(name.clone()));
            }
        }
        let digest = digest(&ignored, &rules.identity);
        Ok(HeaderRules { ignored, digest, ..rules })
    }

    /// Equal for rules that say the same.
    #[must_use]
    pub fn digest(&self) -> Option<[u8; 32]> {
        self.digest
    }

    /// How understanding a request looks at this header.
    #[must_use]
    pub fn look(&self, name: &HeaderName) -> Look {
        let text = name.as_str();
        if LOOKED_AT_SHAPES.fit(text) && LOOKED_AT.contains(&text) && !self.identity.contains(name) {
            Look::ByName
        } else if self.is_neutral(name) {
            Look::Not
        } else {
            Look::AsAnyOther
        }
    }

    /// The role of a header.
    #[must_use]
    pub fn role(&self, name: &HeaderName) -> HeaderRole {
        let text = name.as_str();
        if self.is_neutral(name) {
            HeaderRole::Neutral
        } else if self.identity.contains(name)
            || starts_with_any(text, IDENTITY_PREFIXES)
            || text.split(['-', '_']).any(|word| IDENTITY_SHAPES.fit(word) && IDENTITY_WORDS.contains(&word))
        {
            HeaderRole::Identity
        } else {
            HeaderRole::Keyed
        }
    }

    fn is_neutral(&self, name: &HeaderName) -> bool {
        let text = name.as_str();
        let listed = self.ignored.contains(name)
            || NEUTRAL_SHAPES.fit(text) && NEUTRAL.contains(&text)
            || starts_with_any(text, NEUTRAL_PREFIXES);
        listed && !self.identity.contains(name)
    }
}

/// Whether the client vouches for path and headers of what it sends: then nothing else can be sent in its name.
#[must_use]
pub fn has_signed_head(headers: &HeaderMap) -> bool {
    let by_aws = |value: &HeaderValue| value.as_bytes().starts_with(b"AWS4-");
    headers.contains_key("signature") || headers.get_all(AUTHORIZATION).iter().any(by_aws)
}

/// Options of `Connection` that are about the connection. Any other option names a header that the next hop is not to
/// see, and then the request is not what its headers say: the option goes into the key.
pub const CONNECTION_OPTIONS: &[&str] = &[
    "close",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that decide in which format the engine reads the request or writes the answer.
const REPRESENTATION: &[&str] = &["accept", "content-encoding", "content-type"];

/// Headers that [`plan`](crate::plan::plan) asks for by name, whatever their role: a request that has one may be
/// refused for it, or have its options in the key.
const LOOKED_AT: &[&str] = &[
    "accept",
    "connection",
    "content-encoding",
    "content-type",
    "range",
    "upgrade",
    "x-elastic-product-origin",
];

/// Headers that the engines do not read, or do not answer by.
///
/// Not among them, though proxies add them: `x-forwarded-for`, `forwarded` and `x-real-ip`. OpenSearch's security
/// plugin can take the client's address from them and map roles to addresses, so the address of who sends one of them is
/// added to them before they are keyed (`upstream::tell_of_client`). Nor `origin`: the answer to it has
/// headers of its own.
const NEUTRAL: &[&str] = &[
    // the message and its way
    "connection",
    "content-length",
    "date",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    // read by escache itself
    "accept-encoding",
    "cache-control",
    "if-none-match",
    "pragma",
    // who wrote the client program
    "user-agent",
    "x-elastic-client-meta",
    // to find a request again
    "b3",
    "baggage",
    "elastic-apm-traceparent",
    "sentry-trace",
    "traceparent",
    "tracestate",
    "uber-trace-id",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-opaque-id",
    "x-request-id",
];

/// The lengths and first letters that the texts of a list have. It is asked before the list: most texts are in none.
struct Shapes([u32; 32]);

impl Shapes {
    const fn of(list: &[&str]) -> Shapes {
        let mut letters = [0; 32];
        let mut at = 0;
        while at < list.len() {
            letters[list[at].len()] |= 1 << (list[at].as_bytes()[0] % 32);
            at += 1;
        }
        Shapes(letters)
    }

    fn fit(&self, text: &str) -> bool {
        let letters = self.0.get(text.len()).copied().unwrap_or_default();
        text.bytes().next().is_some_and(|first| letters >> (first % 32) & 1 == 1)
    }
}

static LOOKED_AT_SHAPES: Shapes = Shapes::of(LOOKED_AT);

static NEUTRAL_SHAPES: Shapes = Shapes::of(NEUTRAL);

static IDENTITY_SHAPES: Shapes = Shapes::of(IDENTITY_WORDS);

const NEUTRAL_PREFIXES: &[&str] = &["x-b3-", "x-datadog-"];

/// Families of headers by which gateways tell who asks.
const IDENTITY_PREFIXES: &[&str] =
    &["cf-access-", "x-amz-", "x-goog-authenticated-", "x-goog-iap-", "x-ms-client-", "x-proxy-", "x-ssl-"];

/// A header is taken to carry an identity if one of these is a word of its name, as in `es-security-runas-user`,
/// `opendistro_security_impersonate_as`, `x-auth-request-email` or `x-api-key`. A word too many costs hits, a word
/// too few a proof.
const IDENTITY_WORDS: &[&str] = &[
    "account",
    "actor",
    "apikey",
    "assertion",
    "auth",
    "authenticated",
    "authentication",
    "authn",
    "authorization",
    "authz",
    "bearer",
    "cert",
    "certificate",
    "cookie",
    "cookie2",
    "credential",
    "credentials",
    "dn",
    "email",
    "group",
    "groups",
    "identity",
    "impersonate",
    "jwt",
    "key",
    "login",
    "oauth",
    "oauth2",
    "oidc",
    "passwd",
    "password",
    "permission",
    "permissions",
    "principal",
    "role",
    "roles",
    "runas",
    "saml",
    "secret",
    "securitytenant",
    "session",
    "sessionid",
    "sgtenant",
    "sid",
    "signature",
    "sso",
    "subject",
    "tenant",
    "token",
    "uid",
    "user",
    "userid",
    "username",
];

fn digest(ignored: &[HeaderName], identity: &[HeaderName]) -> Option<[u8; 32]> {
    if ignored.is_empty() && identity.is_empty() {
        return None;
    }
    let mut fields = Fields::new("escache 1 header rules");
    for names in [ignored, identity] {
        let mut names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names.dedup();
        fields.put(Field::Rules, &(names.len() as u64).to_le_bytes());
        names.iter().for_each(|name| fields.put(Field::HeaderName, name.as_bytes()));
    }
    Some(fields.finish())
}

fn starts_with_any(text: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| text.starts_with(prefix))
}

fn names<S: AsRef<str>>(names: &[S]) -> Result<Vec<HeaderName>, HeaderRulesError> {
    let name = |name: &S| {
        HeaderName::from_bytes(name.as_ref().as_bytes())
            .map_err(|_| HeaderRulesError::NotAName(name.as_ref().to_owned()))
    };
    names.iter().map(name).collect()
}

/// Every name above, for tests; the words of identities are names as well.
#[cfg(test)]
pub(crate) const NAMED: [&[&str]; 3] = [NEUTRAL, LOOKED_AT, IDENTITY_WORDS];

#[cfg(test)]
mod tests {
    use super::*;

    fn role(rules: &HeaderRules, name: &str) -> HeaderRole {
        rules.role(&HeaderName::from_bytes(name.as_bytes()).unwrap())
    }

    fn check(role_expected: HeaderRole, names: &str) {
        for name in names.split_whitespace() {
            assert_eq!(role(&HeaderRules::default(), name), role_expected, "{name}");
        }
    }

    #[test]
    fn identity_headers() {
        check(
            HeaderRole::Identity,
            "Authorization proxy-authorization cookie es-security-runas-user es-secondary-authorization
            es-client-authentication es-secondary-x-client-authentication x-api-key apikey api-key
            opendistro_security_impersonate_as opensearch_security_impersonate_as sg_impersonate_as securitytenant
            security_tenant sgtenant x-proxy-user x-proxy-roles x-proxy-ext-department x-forwarded-user
            x-forwarded-email x-forwarded-groups x-forwarded-preferred-username x-forwarded-access-token x-remote-user
            remote-user x-webauth-user x-auth-request-user x-auth-request-email x-auth-request-access-token
            x-amz-security-token x-amz-date x-amz-content-sha256 x-jwt-assertion x-goog-iap-jwt-assertion
            x-goog-authenticated-user-email x-ms-client-principal x-ms-client-principal-name cf-access-jwt-assertion
            x-client-cert ssl-client-cert x-ssl-client-s-dn x-client-dn x-user-id x-tenant-id x-roles x-session-id
            x-access-token x-id-token x-auth-token jwt x-csrf-token x-saml x-vouch-user",
        );
    }

    #[test]
    fn neutral_headers() {
        check(
            HeaderRole::Neutral,
            "Host User-Agent content-length transfer-encoding connection keep-alive te trailer upgrade proxy-connection
            accept-encoding x-opaque-id traceparent tracestate b3 x-b3-traceid x-b3-sampled x-request-id
            x-elastic-client-meta via x-forwarded-proto x-forwarded-host x-forwarded-port expect cache-control pragma
            if-none-match date",
        );
    }

    #[test]
    fn every_other_header_is_keyed() {
        check(
            HeaderRole::Keyed,
            "accept content-type content-encoding accept-language origin referer range if-modified-since if-match
            x-elastic-product-origin x-elastic-internal-origin kbn-xsrf osd-xsrf x-forwarded-for forwarded x-real-ip
            x-acme-shard-hint x-http-method-override sec-fetch-mode",
        );
    }

    #[test]
    fn the_operator_adds() {
        let rules = HeaderRules::new(&["X-Acme-Team", "x-forwarded-for"], &["X-Acme-Badge", "via"]).unwrap();
        assert_eq!(role(&rules, "x-acme-team"), HeaderRole::Neutral);
        assert_eq!(role(&rules, "x-forwarded-for"), HeaderRole::Neutral);
        assert_eq!(role(&rules, "x-acme-badge"), HeaderRole::Identity);
        assert_eq!(role(&rules, "via"), HeaderRole::Identity);
        assert_eq!(role(&rules, "x-acme"), HeaderRole::Keyed);
    }

    #[test]
    fn the_operator_cannot_ignore_what_matters() {
        let cases = [
            ("Authorization", "[authorization] says who asks, and can never be ignored"),
            ("x-tenant", "[x-tenant] says who asks, and can never be ignored"),
            ("x-badge", "[x-badge] says who asks, and can never be ignored"),
            (
                "Accept",
                "[accept] decides in which format the engine reads or answers, and can never be ignored",
            ),
            ("x y", "[x y] is not the name of a header"),
            ("", "[] is not the name of a header"),
        ];
        for (name, expected) in cases {
            let error = HeaderRules::new(&[name], &["x-badge"]).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
