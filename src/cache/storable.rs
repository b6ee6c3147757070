//! Whether an answer may be stored. Only [`Storable::check`] makes a [`Storable`], and only that can be stored.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::head::{EntityTag, StoredHead};
use crate::budget::{self, Budget, Share};
use crate::elastic::answer::{Extent, check_whole};
use crate::elastic::api::Api;
use crate::elastic::filter_path::{self, Widening};
use crate::outcome::Reason;

/// A whole answer of the engine, as it came.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The status.
    pub status: StatusCode,
    /// The end-to-end headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The time from sending the request to the last byte of the answer.
    pub took: Duration,
}

/// An answer that was checked: 200, JSON, whole, and made by the engine itself.
#[derive(Debug)]
pub struct Storable {
    pub(super) head: StoredHead,
    pub(super) tag: EntityTag,
    pub(super) body: Bytes,
    pub(super) share: Option<Arc<Share>>,
    pub(super) took: Duration,
}

impl Storable {
    /// Checks an answer, and cuts out what the fill had asked for beyond the client's `filter_path`. `extent` is how far
    /// the generation says that it has to reach.
    ///
    /// # Errors
    /// Why it may not be stored. The caller then forwards the answer as it came (cut alike where it was widened).
    pub fn check(
        fetched: &Fetched,
        api: Api,
        widening: Widening,
        extent: &Extent,
    ) -> Result<Storable, Reason> {
        if fetched.status != StatusCode::OK {
            return Err(Reason::Status);
        }
        if shows_a_cache(&fetched.headers) {
            return Err(Reason::CacheUnderneath);
        }
        if fetched.headers.contains_key(CONTENT_ENCODING) || !is_json(&fetched.headers) {
            return Err(Reason::AnswerType);
        }
        if forbids(&fetched.headers) {
            return Err(Reason::NoStore);
        }
        check_whole(api, &fetched.body, extent)?;
        let body = match widening {
            // what came in one read is a part of the connection's buffer: kept as it is, it would keep all of that
            Widening::None => Bytes::copy_from_slice(&fetched.body),
            Widening::Add => filter_path::cut(&fetched.body)?.into(),
        };
        Ok(Storable {
            head: StoredHead::of(&fetched.headers),
            tag: EntityTag::of(&body),
            body,
            share: None,
            took: fetched.took,
        })
    }

    /// The same, counted in this budget until it is stored, and once it is stored no more and somebody still reads it.
    #[must_use]
    pub fn within(self, budget: &Arc<Budget>) -> Storable {
        let (body, share) = budget::hold_anyway(self.body, budget);
        Storable { body, share, ..self }
    }

    /// The body as clients get it.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(kind)) = headers.get(CONTENT_TYPE).map(HeaderValue::to_str) else { return false };
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/vnd.elasticsearch+json"))
}

/// R6: whether an answer shows that a cache made it. An inner cache's old content must not get a newer tag.
#[must_use]
pub fn shows_a_cache(headers: &HeaderMap) -> bool {
    let says = |name: &str, word: &str| {
        headers.get_all(name).iter().any(|v| {
            v.to_str()
                .is_ok_and(|v| v.to_ascii_lowercase().split([';', ',', ' ']).any(|part| part.trim() == word))
        })
    };
    headers.contains_key(AGE)
        || says("cache-status", "hit")
        || ["hit", "stale", "updating", "revalidated"].iter().any(|word| says("x-cache", word))
        || says("x-cache-status", "hit")
        || says("cf-cache-status", "hit")
        || says("x-cache-hit", "true")
}

fn forbids(headers: &HeaderMap) -> bool {
    headers.get_all(CACHE_CONTROL).iter().any(|v| {
        v.to_str().is_ok_and(|v| {
            v.to_ascii_lowercase().split(',').any(|d| matches!(d.trim(), "no-store" | "private"))
        })
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use http::header::WARNING;

    use super::*;

    const WHOLE: &str =
        r#"{"took":1,"timed_out":false,"_shards":{"total":1,"successful":1,"skipped":0,"failed":0}}"#;

    fn fetched(status: u16, headers: &[(&str, &str)], body: &str) -> Fetched {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        Fetched {
            status: StatusCode::from_u16(status).unwrap(),
            headers: map,
            body: Bytes::copy_from_slice(body.as_bytes()),
            took: Duration::ZERO,
        }
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=UTF-8");

    #[test]
    fn only_whole_answers_of_the_engine_are_stored() {
        let check = |status, headers: &[(&str, &str)], body: &str| {
            Storable::check(
                &fetched(status, headers, body),
                Api::Search,
                Widening::None,
                &Extent { shards: Some(1), ..Extent::default() },
            )
            .map(|_| ())
            .err()
        };
        assert_eq!(check(200, &[JSON], WHOLE), None);
        assert_eq!(
            check(200, &[("content-type", "application/vnd.elasticsearch+json;compatible-with=8")], WHOLE),
            None
        );
        let wider = WHOLE.replace(":1,\"successful\":1", ":2,\"successful\":2");
        assert_eq!(check(200, &[JSON], &wider), Some(Reason::GenerationIncomplete));
        assert_eq!(check(404, &[JSON], WHOLE), Some(Reason::Status));
        assert_eq!(check(200, &[], WHOLE), Some(Reason::AnswerType));
        assert_eq!(check(200, &[("content-type", "application/yaml")], WHOLE), Some(Reason::AnswerType));
        assert_eq!(check(200, &[JSON, ("content-encoding", "gzip")], WHOLE), Some(Reason::AnswerType));
        assert_eq!(check(200, &[JSON, ("cache-control", "private")], WHOLE), Some(Reason::NoStore));
        for underneath in [
            ("age", "0"),
            ("x-cache", "HIT"),
            ("x-cache", "HIT from squid"),
            ("cache-status", "inner; hit; ttl=3"),
            ("cache-status", "inner; hit"),
        ] {
            assert_eq!(
                check(200, &[JSON, underneath], WHOLE),
                Some(Reason::CacheUnderneath),
                "{underneath:?}"
            );
        }
        assert_eq!(
            check(200, &[JSON, ("cache-status", "inner; fwd=miss"), ("x-cache", "MISS")], WHOLE),
            None
        );
    }

    #[test]
    fn headers_are_kept_by_allow_list() {
        let answer = fetched(
            200,
            &[
                JSON,
                ("x-elastic-product", "Elasticsearch"),
                ("warning", "299 a"),
                ("warning", "299 b"),
                ("set-cookie", "secret"),
                ("x-opaque-id", "7"),
                ("content-length", "3"),
            ],
            WHOLE,
        );
        let stored = Storable::check(&answer, Api::Search, Widening::None, &Extent::default()).unwrap();
        let names: Vec<_> = stored.head.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-type", "warning", "warning", "x-elastic-product"]);
        assert!(stored.head.iter().any(|(name, value)| name == WARNING && value == "299 b"));
    }

    #[test]
    fn a_widened_answer_is_cut_before_it_is_stored() {
        let answer = fetched(200, &[JSON], WHOLE);
        let stored = Storable::check(&answer, Api::Search, Widening::Add, &Extent::default()).unwrap();
        assert_eq!(stored.body(), r#"{"took":1}"#);
    }
}
