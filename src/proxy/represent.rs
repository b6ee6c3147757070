//! Which representation of an entry a client gets: its body as it is stored, or compressed; or none, if the client has
//! one that it accepts.

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::request::Parts;

use super::{Live, Proxy};
use crate::cache::Entry;
use crate::coding::{Accepted, Coding, SMALLEST};
use crate::control;
use crate::key::CacheKey;
use crate::respond::Representation;

/// Which part of the store's size is for compressed forms.
pub(super) const CODINGS_SHARE: u64 = 8;

/// A representation for a client that is given it compressed, where that can be made: still with the body as it is
/// stored.
pub(super) struct Uncompressed(Representation);

impl Proxy {
    /// The representation of an entry for this request.
    pub(super) async fn represent(
        &self,
        live: &Live,
        head: &Parts,
        key: CacheKey,
        entry: &Entry,
    ) -> Representation {
        match self.represent_now(live, head, key, entry) {
            Ok(shown) => shown,
            Err(plain) => Box::pin(self.compress(key, entry, plain)).await,
        }
    }

    /// The same, if nothing has to be compressed for it: nearly always on a hit.
    pub(super) fn represent_now(
        &self,
        live: &Live,
        head: &Parts,
        key: CacheKey,
        entry: &Entry,
    ) -> Result<Representation, Uncompressed> {
        let (found, wants_gzip) = negotiate(live.policy.compression, head, entry);
        if found.body.is_none() || !wants_gzip {
            return Ok(found);
        }
        match self.codings.known_gzip(key, entry) {
            Some(body) => Ok(compressed(body)),
            None => Err(Uncompressed(found)),
        }
    }

    /// What `represent_now` could not do at once.
    pub(super) async fn compress(
        &self,
        key: CacheKey,
        entry: &Entry,
        Uncompressed(plain): Uncompressed,
    ) -> Representation {
        if let Some(body) = self.codings.gzip(key, entry, &self.budget).await {
            return compressed(body);
        }
        tracing::debug!("an answer could not be compressed, or there was no room for it");
        plain
    }
}

/// Only what varies is compressed.
fn compressed(body: Bytes) -> Representation {
    Representation { coding: Coding::Gzip, body: Some(body), varies: true }
}

/// What can be said without compressing anything: with the body as it is stored if the client has none, and whether it
/// wants gzip then.
fn negotiate(compression: bool, head: &Parts, entry: &Entry) -> (Representation, bool) {
    let headers = &head.headers;
    let conditional = control::is_conditional(headers);
    let has = |coding| conditional && control::has_current(headers, &entry.entity_tag().value(coding));
    let varies = compression && entry.body().len() >= SMALLEST;
    let plain = Representation { coding: Coding::Identity, body: None, varies };
    let whole = Representation { body: Some(entry.body().clone()), ..plain };
    if !varies || !headers.contains_key(http::header::ACCEPT_ENCODING) {
        return (if has(Coding::Identity) { plain } else { whole }, false);
    }
    let mut accepted = Accepted::of(headers);
    accepted.gzip &= !is_to_be_left(head);
    // any that the client has and accepts is as good as another
    if accepted.gzip && has(Coding::Gzip) {
        return (Representation { coding: Coding::Gzip, ..plain }, true);
    }
    let has_plain = (accepted.identity || !accepted.gzip) && has(Coding::Identity);
    (if has_plain { plain } else { whole }, accepted.gzip)
}

/// `no-transform` (RFC 9111 5.2.1.6)
fn is_to_be_left(head: &Parts) -> bool {
    head.headers.get_all(CACHE_CONTROL).iter().any(|value| {
        value.to_str().is_ok_and(|value| {
            value.split(',').any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
        })
    })
}
