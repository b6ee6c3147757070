//! The key: blake3 of the canonical request. Two requests with equal keys are the same question.
//!
//! That is a law. That two spellings of one question have equal keys is a goal.

use std::fmt;

use http::{HeaderMap, HeaderName, header};

use crate::elastic::json::Json;
use crate::elastic::params::Params;

pub mod canonical;

mod compact;

pub mod fields;

pub mod headers;

pub mod identity;

pub mod raw;

use fields::{Field, Fields};
use headers::{CONNECTION_OPTIONS, HeaderRole, HeaderRules};
use identity::Identity;

/// What identifies a question. The method is not part of it: GET and POST ask the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; 32]);

/// Everything that goes into a key. There is no other way to make one, so nothing can be forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'i> {
    /// The identity of the engine: its cluster uuid.
    pub engine: &'i str,
    /// The endpoint by its name in Elastic's rest-api-spec.
    pub api: &'i str,
    /// The path segment with the index expression, decoded, otherwise as written; `None` if the path has none.
    pub target: Option<&'i str>,
    /// What else the path says, such as the id of a document, as it is written.
    pub detail: Option<&'i str>,
    /// The URL parameters, without those that escache itself takes.
    pub params: &'i Params<'i>,
    /// The headers as the client sent them.
    pub headers: &'i HeaderMap,
    /// What they mean.
    pub rules: &'i HeaderRules,
    /// Who asks, as the same headers say.
    pub identity: &'i Identity,
    /// The body, objects whose order is free marked so.
    pub body: Option<&'i Json<'i>>,
}

impl CacheKey {
    /// The key of a request.
    #[must_use]
    pub fn of(inputs: &Inputs<'_>) -> CacheKey {
        let mut fields = Fields::new("escache 1 key");
        fields.put(Field::Engine, inputs.engine.as_bytes());
        fields.put(Field::Api, inputs.api.as_bytes());
        if let Some(target) = inputs.target {
            fields.put(Field::Target, target.as_bytes());
        }
        if let Some(detail) = inputs.detail {
            fields.put(Field::Detail, detail.as_bytes());
        }
        put_params(inputs.params, &mut fields);
        // an epoch of the configuration: what one set of rules ignored, another may not
        if let Some(digest) = inputs.rules.digest() {
            fields.put(Field::Rules, &digest);
        }
        put_headers(inputs.headers, inputs.rules, &mut fields);
        if let Identity::Bearer { digest, .. } = inputs.identity {
            fields.put(Field::Identity, digest);
        }
        if let Some(body) = inputs.body {
            // as long as most bodies are
            let mut text = Vec::with_capacity(1_024);
            canonical::write(body, &mut text);
            fields.put(Field::Body, &text);
        }
        CacheKey(fields.finish())
    }

    /// The key of the same question while its rounded `now` holds: until this moment, in milliseconds since 1970.
    #[must_use]
    pub fn until(self, moment: i64) -> CacheKey {
        let mut fields = Fields::new("escache 1 key until");
        fields.put(Field::Key, &self.0);
        fields.put(Field::Until, &moment.to_le_bytes());
        CacheKey(fields.finish())
    }

    /// The key of several questions that are asked together, each under the tag of a generation.
    #[must_use]
    pub fn joined(questions: impl IntoIterator<Item = (CacheKey, [u8; 32])>) -> CacheKey {
        let mut fields = Fields::new("escache 1 keys joined");
        for (key, tag) in questions {
            fields.put(Field::Key, &key.0);
            fields.put(Field::Key, &tag);
        }
        CacheKey(fields.finish())
    }

    /// The key of the same question, asked by who showed a certificate with this hash.
    #[must_use]
    pub fn of_certificate(self, certificate: &[u8; 32]) -> CacheKey {
        let mut fields = Fields::new("escache 1 key of certificate");
        fields.put(Field::Key, &self.0);
        fields.put(Field::Certificate, certificate);
        CacheKey(fields.finish())
    }

    /// The key of a question that was asked by a stored template, in a request with a body of this hash.
    #[must_use]
    pub fn of_stored(self, body: &[u8; 32]) -> CacheKey {
        let mut fields = Fields::new("escache 1 key of stored template");
        fields.put(Field::Key, &self.0);
        fields.put(Field::BodyDigest, body);
        CacheKey(fields.finish())
    }

    /// All of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The first 16 hexadecimal digits: enough to recognise a key in a log.
impl CacheKey {
    /// Its beginning, of which [`Display`](fmt::Display) shows the digits.
    #[must_use]
    pub fn prefix(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({self})")
    }
}

/// `request_cache` chooses how a question is answered, not what the answer is.
fn put_params(params: &Params<'_>, fields: &mut Fields) {
    let mut pairs: Vec<_> = params.iter().filter(|(name, _)| *name != "request_cache").collect();
    pairs.sort_unstable();
    for (name, value) in pairs {
        fields.put(Field::ParamName, name.as_bytes());
        fields.put(Field::ParamValue, value.as_bytes());
    }
}

/// Values are taken as written, those of `Accept` and `Content-Type` too: the engines differ in what of their spelling
/// they overlook.
fn put_headers(headers: &HeaderMap, rules: &HeaderRules, fields: &mut Fields) {
    let mut names: Vec<&HeaderName> =
        headers.keys().filter(|name| rules.role(name) == HeaderRole::Keyed).collect();
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    for name in names {
        fields.put_header(name, headers);
    }
    let mut options: Vec<_> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(|option| option.trim_ascii().to_ascii_lowercase())
        .filter(|option| !option.is_empty() && !CONNECTION_OPTIONS.iter().any(|o| o.as_bytes() == option))
        .collect();
    options.sort_unstable();
    for option in options {
        fields.put(Field::ConnectionOption, &option);
    }
}

#[cfg(test)]
mod tests;
