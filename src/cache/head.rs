//! The headers of stored answers. Few answers of one engine differ in them, so they are kept once.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, VARY, WARNING, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};

use crate::coding::Coding;

/// What of an answer's headers is meant for all whose requests are equal. Never Set-Cookie, never another client's
/// X-Opaque-Id.
static FOR_ALL: [HeaderName; 5] = [
    CONTENT_TYPE,
    WARNING,
    VARY,
    HeaderName::from_static("x-elastic-product"),
    HeaderName::from_static("x-opensearch-version"),
];

/// And of what is stored: an asynchronous search that ended in time.
static FOR_ALL_OF_STORED: [HeaderName; 1] = [HeaderName::from_static("x-elasticsearch-async-is-running")];

/// And of what is not: errors.
static FOR_ALL_OF_ERRORS: [HeaderName; 2] = [RETRY_AFTER, WWW_AUTHENTICATE];

/// What lets a page of another origin read the answer (Fetch, CORS protocol). The request's `Origin` is in the key.
fn is_for_browsers(name: &HeaderName) -> bool {
    name.as_str().starts_with("access-control-")
}

/// Whether a header of an answer that is not stored is meant for all who wait for it.
#[must_use]
pub fn is_shared(name: &HeaderName) -> bool {
    FOR_ALL.contains(name) || FOR_ALL_OF_ERRORS.contains(name) || is_for_browsers(name)
}

/// Values that the engines send, kept without a count of who uses them: such a count would be shared by all cores.
const USUAL: [&str; 5] = [
    "application/json",
    "application/json; charset=UTF-8",
    "application/vnd.elasticsearch+json;compatible-with=8",
    "application/vnd.elasticsearch+json;compatible-with=9",
    "Elasticsearch",
];

/// How many different heads are shared; what clients can make the engine say beyond that is kept with each answer.
const MOST_SHARED: usize = 256;

/// The headers to answer with, but for those that are made for each answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredHead {
    lines: Arc<[(HeaderName, HeaderValue)]>,
    /// Bytes that are held for this answer alone.
    own: u32,
}

impl StoredHead {
    /// What is kept of these headers.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> StoredHead {
        static SHARED: LazyLock<Mutex<HashSet<StoredHead>>> = LazyLock::new(Mutex::default);

        let kept = FOR_ALL.iter().chain(&FOR_ALL_OF_STORED);
        let listed = kept.flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)));
        let kept = listed.chain(headers.iter().filter(|(name, _)| is_for_browsers(name)));
        let lines = kept.map(|(name, value)| (name.clone(), of_its_own(value))).collect();
        let head = StoredHead { lines, own: 0 };
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.get(&head) {
            return known.clone();
        }
        if shared.len() < MOST_SHARED {
            shared.insert(head.clone());
            return head;
        }
        let own = head.lines.iter().map(|(_, value)| size_of::<(HeaderName, HeaderValue)>() + value.len());
        StoredHead { own: u32::try_from(own.sum::<usize>()).unwrap_or(u32::MAX), ..head }
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.lines.iter()
    }

    /// All of it, as a map.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        self.iter().cloned().collect()
    }

    /// Bytes that are held for this answer alone.
    pub(super) fn heap_size(&self) -> usize {
        self.own as usize
    }
}

/// What the strong entity tags of a body's codings are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntityTag([u8; 16]);

impl EntityTag {
    /// The tag of a body.
    #[must_use]
    pub fn of(body: &[u8]) -> EntityTag {
        let [tag @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *blake3::hash(body).as_bytes();
        EntityTag(tag)
    }

    /// As the header has it, where the body is coded so.
    #[must_use]
    pub fn value(self, coding: Coding) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        const LONGEST: usize = 34 + Coding::Gzip.suffix().len();
        let mut text = [b'"'; LONGEST];
        for (at, byte) in self.0.into_iter().enumerate() {
            text[1 + 2 * at] = DIGITS[usize::from(byte >> 4)];
            text[2 + 2 * at] = DIGITS[usize::from(byte & 15)];
        }
        let suffix = coding.suffix().as_bytes();
        text[33..][..suffix.len()].copy_from_slice(suffix);
        HeaderValue::from_bytes(&text[..34 + suffix.len()]).expect("hex in quotes is a header value")
    }
}

/// A header's value in memory of its own: what came over the wire is a part of the connection's buffer.
#[must_use]
pub fn of_its_own(value: &HeaderValue) -> HeaderValue {
    let mut copy = match USUAL.iter().find(|usual| usual.as_bytes() == value.as_bytes()) {
        Some(usual) => HeaderValue::from_static(usual),
        None => HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone()),
    };
    copy.set_sensitive(value.is_sensitive());
    copy
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_stored_and_what_is_shared_differ_in_what_only_one_of_them_has() {
        let of_both = ["content-type", "warning", "vary", "x-elastic-product", "x-opensearch-version"];
        let of_both = of_both.into_iter().chain(["access-control-allow-origin"]);
        let of_stored = "x-elasticsearch-async-is-running";
        let of_errors = ["retry-after", "www-authenticate"];
        let of_nobody = ["set-cookie", "x-opaque-id", "content-length", "etag", "cache-status"];
        let all = of_both.clone().chain([of_stored]).chain(of_errors).chain(of_nobody);
        let headers: HeaderMap =
            all.map(|name| (HeaderName::from_static(name), HeaderValue::from_static("x"))).collect();
        let head = StoredHead::of(&headers);
        let stored: BTreeSet<&str> = head.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(stored, of_both.clone().chain([of_stored]).collect());
        let shared: BTreeSet<&str> =
            headers.keys().filter(|name| is_shared(name)).map(HeaderName::as_str).collect();
        assert_eq!(shared, of_both.chain(of_errors).collect());
    }
}
