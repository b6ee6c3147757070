//! How escache knows a request that it has sent before: hosts that lead back to it, directly or by way of other proxies.
//!
//! Whatever is sent carries a pseudonym in `Via` (RFC 9110 7.6.3), made up at start; who finds its own in a request has
//! met itself. So no request passes one escache twice, and any number of them may stand in a row. Counting members would
//! need a limit, which a long row could reach; and a client could bring so many of them that the next escache refuses
//! the search, and with it all others who wait for the same answer. The pseudonym is known to what stands behind, and to
//! whom that shows it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::VIA;
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use tokio::time::Instant;

use super::Upstream;
use crate::control::has_any;

/// How often the log tells of it at most.
const PAUSE: Duration = Duration::from_secs(60);

/// What this escache is called in `Via`.
#[derive(Debug)]
pub(super) struct Via {
    pseudonym: String,
    /// What is added to requests that came by HTTP/1.0, by HTTP/1.1, and by HTTP/2.
    members: [HeaderValue; 3],
    /// When the log told of a request that came back.
    told: Mutex<Option<Instant>>,
}

impl Via {
    /// One that nobody else has.
    pub(super) fn drawn() -> Via {
        // the keys of the standard library's hashes are what the system drew
        Via::of(RandomState::new().build_hasher().finish())
    }

    fn of(number: u64) -> Via {
        let pseudonym = format!("escache-{number:016x}");
        let member = |version| {
            HeaderValue::try_from(format!("{version} {pseudonym}")).expect("digits, letters, dots and dashes")
        };
        Via { members: ["1.0", "1.1", "2.0"].map(member), pseudonym, told: Mutex::default() }
    }

    /// What is added to a request that came by this version, or is a question of escache's own.
    pub(super) fn member(&self, received: Version) -> &HeaderValue {
        let [old, usual, second] = &self.members;
        match received {
            Version::HTTP_10 => old,
            Version::HTTP_2 => second,
            _ => usual,
        }
    }

    /// Whether a request with these headers was sent by this escache.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        static NAMES: [HeaderName; 1] = [VIA];
        let is_own = |member: &[u8]| {
            let mut words = member.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            words.nth(1) == Some(self.pseudonym.as_bytes())
        };
        has_any(headers, &NAMES)
            && headers.get_all(VIA).iter().any(|list| list.as_bytes().split(|byte| *byte == b',').any(is_own))
    }

    /// Whether the log is told of a request that came back.
    fn tells(&self, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let tells = told.is_none_or(|before| now.duration_since(before) >= PAUSE);
        if tells {
            *told = Some(now);
        }
        tells
    }
}

impl Upstream {
    /// Whether a request with these headers is one that was sent from here, and has come back. Then it is counted, and
    /// the log is told.
    #[must_use]
    pub fn note_loop(&self, headers: &HeaderMap) -> bool {
        let met = self.via.is_in(headers);
        if met {
            self.stats.plain.loops.inc();
            if self.via.tells(Instant::now()) {
                tracing::warn!(
                    "a request came back to this escache that it had sent: upstream.hosts leads to itself, directly or by \
                     way of other proxies; such requests are answered with 508"
                );
            }
        }
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (VIA, HeaderValue::try_from(*line).unwrap())).collect()
    }

    #[test]
    fn who_has_sent_a_request_finds_itself_in_it_and_nobody_else_does() {
        let via = Via::of(0xab);
        for (lines, expected) in [
            (&["1.1 escache-00000000000000ab"][..], true),
            (&["1.0 fred", "HTTP/2 b.example:80 (a, b) ,\t1.1  escache-00000000000000ab (c)"], true),
            (&["1.1 escache-00000000000000ab,1.1 escache-00000000000000ac"], true),
            (&[], false),
            (&["1.1 escache"], false),
            (&["1.1 escache-00000000000000ac, 1.1 escache-00000000000000abc"], false),
            (&["escache-00000000000000ab", "1.1 b (escache-00000000000000ab)", ", ,"], false),
        ] {
            assert_eq!(via.is_in(&headers(lines)), expected, "{lines:?}");
        }
        for (version, expected) in
            [(Version::HTTP_10, "1.0"), (Version::HTTP_11, "1.1"), (Version::HTTP_2, "2.0")]
        {
            let member = via.member(version);
            assert_eq!(member, &format!("{expected} escache-00000000000000ab"));
            assert!(via.is_in(&headers(&[member.to_str().unwrap()])));
        }
        assert_ne!(Via::drawn().pseudonym, Via::drawn().pseudonym);
    }

    #[test]
    fn the_log_is_told_once_a_minute() {
        let (via, start) = (Via::of(1), Instant::now());
        let told = [0, 1, 59, 60, 61, 119, 120].map(|second| via.tells(start + Duration::from_secs(second)));
        assert_eq!(told, [true, false, false, true, false, false, true]);
    }
}
