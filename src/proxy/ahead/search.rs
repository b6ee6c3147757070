//! A search that is asked ahead of its users, as it is kept: without a credential.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::key::headers::{HeaderRole, HeaderRules};

/// A search without a credential.
#[derive(Clone, Debug)]
pub struct Search {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether it is asked with the credential that the configuration names.
    pub(super) as_ours: bool,
}

impl Search {
    /// A search as a list has it.
    ///
    /// # Errors
    /// The header that says who asks.
    pub fn new(
        rules: &HeaderRules,
        method: Method,
        uri: Uri,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Search, http::HeaderName> {
        if let Some(name) = headers.keys().find(|name| rules.role(name) == HeaderRole::Identity) {
            return Err(name.clone());
        }
        keep_keyed(rules, &mut headers);
        Ok(Search { method, uri, headers, body, as_ours: true })
    }

    /// The head of a request for it.
    pub(super) fn head(&self, authorization: Option<&HeaderValue>) -> Parts {
        let (mut head, ()) = http::Request::new(()).into_parts();
        (head.method, head.uri) = (self.method.clone(), self.uri.clone());
        head.headers.clone_from(&self.headers);
        if let Some(authorization) = authorization.filter(|_| self.as_ours) {
            head.headers.insert(AUTHORIZATION, authorization.clone());
        }
        head
    }

    pub(super) fn weight(&self) -> u32 {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let bytes = 1_000 + headers + self.uri.to_string().len() + self.body.len();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// What is in the key, and nothing else.
pub(super) fn keep_keyed(rules: &HeaderRules, headers: &mut HeaderMap) {
    let others: Vec<_> =
        headers.keys().filter(|name| rules.role(name) != HeaderRole::Keyed).cloned().collect();
    for name in others {
        headers.remove(name);
    }
}
