//! The raw key: blake3 of a request as it was sent. A request that repeats one byte for byte has its raw key, and what
//! was understood of the first need not be understood again.
//!
//! Deny by default, as for the key: everything is in it but the values of headers that understanding a request does not
//! look at. So it tells apart whatever the key tells apart, and more: another order of members, or of headers.

use http::{HeaderMap, Uri};

use super::fields::Field;
use super::headers::HeaderRules;
use crate::elastic::api::Engine;

/// What identifies a request as it was sent. It says nothing about the configuration: each has a second map of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RawKey([u8; 32]);

/// Everything that goes into a raw key.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'s> {
    /// The engine, if it is known.
    pub engine: Option<Engine>,
    /// Its cluster uuid, if it is known.
    pub cluster: &'s str,
    /// The certificate that the client showed, hashed.
    pub certificate: Option<&'s [u8; 32]>,
    /// The method.
    pub method: &'s http::Method,
    /// The path and the query string, undecoded.
    pub uri: &'s Uri,
    /// The headers as the client sent them.
    pub headers: &'s HeaderMap,
    /// What they mean.
    pub rules: &'s HeaderRules,
    /// The whole body.
    pub body: &'s [u8],
}

impl RawKey {
    /// The raw key of a request.
    #[must_use]
    pub fn of(sent: &Sent<'_>) -> RawKey {
        // one piece of memory is hashed twice as fast as many small ones; the body is not copied into it
        let mut fields = Flat(Vec::with_capacity(512));
        fields.put(Field::Engine, sent.cluster.as_bytes());
        if let Some(Engine { distribution, version: (major, minor) }) = sent.engine {
            let mut version = [distribution as u8; 9];
            version[1..5].copy_from_slice(&major.to_le_bytes());
            version[5..].copy_from_slice(&minor.to_le_bytes());
            fields.put(Field::Version, &version);
        }
        if let Some(certificate) = sent.certificate {
            fields.put(Field::Certificate, certificate);
        }
        fields.put(Field::Method, sent.method.as_str().as_bytes());
        fields.put(Field::Path, sent.uri.path().as_bytes());
        if let Some(query) = sent.uri.query() {
            fields.put(Field::Query, query.as_bytes());
        }
        // in the order of the map: two requests with headers in another order are parsed, each once
        for (name, value) in sent.headers {
            if !sent.rules.is_overlooked(name) {
                fields.put(Field::HeaderName, name.as_str().as_bytes());
                fields.put(Field::HeaderValue, value.as_bytes());
            }
        }
        fields.put(Field::Body, blake3::hash(sent.body).as_bytes());
        RawKey(blake3::hash(&fields.0).into())
    }
}

/// Fields in one piece, each as its tag, the length of its bytes, and its bytes, as in [`Fields`](super::fields::Fields).
struct Flat(Vec<u8>);

impl Flat {
    fn put(&mut self, field: Field, bytes: &[u8]) {
        // longer ones than this do not fit into a request's head, and the body is here by its hash
        let length = u32::try_from(bytes.len()).expect("a part of a request's head");
        let mut head = [field as u8; 5];
        head[1..].copy_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(&head);
        self.0.extend_from_slice(bytes);
    }
}
