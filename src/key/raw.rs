//! The raw key: a request as it was sent. A request that repeats one byte for byte has its raw key, and what was
//! understood of the first need not be understood again.
//!
//! Deny by default, as for the key: everything is in it but the values of headers that understanding a request does not
//! look at. So it tells apart whatever the key tells apart, and more: another order of members, or of headers.
//!
//! It is the bytes themselves, not a digest of them: to compare a thousand bytes costs a fiftieth of hashing them well
//! enough to trust the hash. Of a longer body there is a digest instead, so that the second map holds no large bodies, and
//! of headers that may tell who asks, so that it holds no credentials.

use std::borrow::Borrow;
use std::cell::Cell;

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::compact;
use super::fields::Field;
use super::headers::{HeaderRules, Look};
use crate::elastic::api::Engine;

/// What identifies a request as it was sent. It says nothing about the configuration: each has a second map of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RawKey(Box<[u8]>);

/// Found by its bytes, which hash and compare as it does.
impl Borrow<[u8]> for RawKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for RawKey {
    fn from(bytes: &[u8]) -> RawKey {
        RawKey(bytes.into())
    }
}

impl RawKey {
    /// The bytes that it holds.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        self.0.len()
    }
}

/// Bodies up to this length are in the raw key as they are, in bytes.
const LONGEST_BODY: usize = 2 << 10;

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

thread_local! {
    /// Where raw keys are written: most are only looked up, and need no memory of their own.
    static PLACE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The raw key of a request, to look up.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'r> {
    bytes: &'r [u8],
    /// The length of what stands before the body.
    head: usize,
    body: &'r [u8],
    /// Whether the body has a coding: then it is no text.
    coded: bool,
}

impl Raw<'_> {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// The raw key of the same request without white space in its body that means nothing, if that is another one. Where
    /// such a request is understood, this one means the same; where it is refused, this one may be for another reason.
    #[must_use]
    pub fn compacted(&self) -> Option<Vec<u8>> {
        if self.coded {
            return None;
        }
        let mut body = Vec::with_capacity(self.body.len());
        compact::write(self.body, &mut body);
        // no body asks something else than an empty one may
        if body.is_empty() || body.len() == self.body.len() {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.head + 5 + body.len());
        bytes.extend_from_slice(&self.bytes[..self.head]);
        Flat(&mut bytes).put_body(&body);
        Some(bytes)
    }
}

impl Sent<'_> {
    /// Gives the raw key to `look`.
    pub fn with_raw_key<T>(&self, look: impl FnOnce(Raw<'_>) -> T) -> T {
        // what `look` calls may come here again, and then finds an empty place
        let mut place = PLACE.take();
        place.clear();
        let mut fields = Flat(&mut place);
        self.write(&mut fields);
        let head = fields.0.len();
        fields.put_body(self.body);
        let coded = self.headers.contains_key(CONTENT_ENCODING);
        let looked = look(Raw { bytes: &place, head, body: self.body, coded });
        PLACE.set(place);
        looked
    }

    fn write(&self, fields: &mut Flat<'_>) {
        fields.put(Field::Engine, self.cluster.as_bytes());
        if let Some(Engine { distribution, version: (major, minor) }) = self.engine {
            let mut version = [distribution as u8; 9];
            version[1..5].copy_from_slice(&major.to_le_bytes());
            version[5..].copy_from_slice(&minor.to_le_bytes());
            fields.put(Field::Version, &version);
        }
        if let Some(certificate) = self.certificate {
            fields.put(Field::Certificate, certificate);
        }
        fields.put(Field::Method, self.method.as_str().as_bytes());
        fields.put(Field::Path, self.uri.path().as_bytes());
        if let Some(query) = self.uri.query() {
            fields.put(Field::Query, query.as_bytes());
        }
        // in the order of the map: two requests with headers in another order are parsed, each once
        for (name, value) in self.headers {
            if self.rules.look(name) == Look::ByName {
                fields.put_header(name, value);
            }
        }
        let begin = fields.0.len();
        // a buffer that grows leaves a copy behind
        fields
            .0
            .reserve(self.headers.iter().map(|(name, value)| 10 + name.as_str().len() + value.len()).sum());
        for (name, value) in self.headers {
            if self.rules.look(name) == Look::AsAnyOther {
                fields.put_header(name, value);
            }
        }
        // credentials may be among these: they are not kept, nor left behind in a buffer that outlives the request
        if fields.0.len() > begin {
            let digest = blake3::hash(&fields.0[begin..]);
            fields.0[begin..].fill(0);
            fields.0.truncate(begin);
            fields.put(Field::HeadersDigest, digest.as_bytes());
        }
    }
}

/// Fields in one piece, each as its tag, the length of its bytes, and its bytes, as in [`Fields`](super::fields::Fields).
struct Flat<'p>(&'p mut Vec<u8>);

impl Flat<'_> {
    fn put(&mut self, field: Field, bytes: &[u8]) {
        // longer ones than this do not fit into a request's head, and a long body is here by its digest
        let length = u32::try_from(bytes.len()).expect("a part of a request's head");
        let mut head = [field as u8; 5];
        head[1..].copy_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(&head);
        self.0.extend_from_slice(bytes);
    }

    fn put_body(&mut self, body: &[u8]) {
        if body.len() <= LONGEST_BODY {
            self.put(Field::Body, body);
        } else {
            self.put(Field::BodyDigest, blake3::hash(body).as_bytes());
        }
    }

    fn put_header(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.put(Field::HeaderName, name.as_str().as_bytes());
        self.put(Field::HeaderValue, value.as_bytes());
    }
}
