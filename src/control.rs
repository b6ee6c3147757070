//! What a request asks of the cache itself: `Cache-Control` (RFC 9111 5.2.1), `Pragma`, `If-None-Match`.

use std::time::Duration;

use http::header::{CACHE_CONTROL, IF_MODIFIED_SINCE, IF_NONE_MATCH, PRAGMA};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::key::headers::has_signed_head;

/// The directives of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// `no-cache`: only what a reading after the request's arrival has proven.
    pub no_cache: bool,
    /// `no-store`: neither read nor store.
    pub no_store: bool,
    /// `only-if-cached`: 504 rather than ask the engine.
    pub only_if_cached: bool,
    /// `max-age`
    pub max_age: Option<Duration>,
    /// `max-stale`; without a number, any.
    pub max_stale: Option<Duration>,
    /// `stale-if-error` (RFC 5861 4)
    pub stale_if_error: Option<Duration>,
}

impl Control {
    /// Reads the directives. What is not understood is ignored, as RFC 9111 5.2.3 wants; of two values the stricter
    /// one counts.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Control {
        let mut control = Control::default();
        if !has_any(headers, &DIRECTIVES) {
            return control;
        }
        for directive in list(headers.get_all(CACHE_CONTROL).iter()) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = value.trim().trim_matches('"').parse().map(Duration::from_secs);
            match name.trim().to_ascii_lowercase().as_str() {
                "no-cache" => control.no_cache = true,
                "no-store" => control.no_store = true,
                "only-if-cached" => control.only_if_cached = true,
                // a bound that cannot be read is the strictest one
                "max-age" => {
                    let given = seconds.unwrap_or_default();
                    control.max_age = Some(control.max_age.map_or(given, |known| known.min(given)));
                }
                "stale-if-error" => {
                    let given = seconds.unwrap_or_default();
                    control.stale_if_error =
                        Some(control.stale_if_error.map_or(given, |known| known.min(given)));
                }
                "max-stale" => {
                    let given = if value.is_empty() { Duration::MAX } else { seconds.unwrap_or_default() };
                    control.max_stale = Some(control.max_stale.map_or(given, |known| known.min(given)));
                }
                _ => {}
            }
        }
        if !headers.contains_key(CACHE_CONTROL) {
            control.no_cache =
                list(headers.get_all(PRAGMA).iter()).any(|d| d.eq_ignore_ascii_case("no-cache"));
        }
        control
    }

    /// How old a reading may be that decides this request: the operator's bound, lowered by `max-age` and `no-cache`,
    /// raised by `max-stale` as far as `most_stale` allows.
    #[must_use]
    pub fn bound(&self, configured: Duration, most_stale: Duration) -> Duration {
        if self.no_cache {
            return Duration::ZERO;
        }
        let raised = self.max_stale.map_or(configured, |asked| configured.max(asked.min(most_stale)));
        self.max_age.map_or(raised, |limit| raised.min(limit))
    }

    /// For how long nothing may have shown that an entry is current which is served because the engine cannot be asked:
    /// as long as the operator allows, lowered by `stale-if-error` and `max-stale`. `None` if the request allows no such
    /// entry at all.
    #[must_use]
    pub fn stale_if_error(&self, configured: Duration) -> Option<Duration> {
        if self.no_cache || self.no_store || self.only_if_cached || self.max_age.is_some() {
            return None;
        }
        let wanted = [self.stale_if_error, self.max_stale].into_iter().flatten();
        Some(wanted.fold(configured, Duration::min))
    }
}

/// Makes the headers of a request those of a fill: what its client asked of caches goes, and `no-cache` keeps caches
/// underneath honest (R6).
pub fn for_fill(headers: &mut HeaderMap) {
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, PRAGMA] {
        headers.remove(name);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
}

/// Where directives are.
static DIRECTIVES: [HeaderName; 2] = [CACHE_CONTROL, PRAGMA];

/// Whether one of these headers is there. With the few headers that requests have, looking at each costs less than
/// hashing a name.
#[must_use]
pub fn has_any(headers: &HeaderMap, names: &[HeaderName]) -> bool {
    headers.keys().any(|name| names.contains(name))
}

/// Whether the client may have the answer already.
#[must_use]
pub fn is_conditional(headers: &HeaderMap) -> bool {
    static CONDITION: [HeaderName; 1] = [IF_NONE_MATCH];
    has_any(headers, &CONDITION)
}

/// Whether the client already has the representation with this strong entity tag (RFC 9110 13.1.2).
#[must_use]
pub fn has_current(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    is_conditional(headers)
        && list(headers.get_all(IF_NONE_MATCH).iter())
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes())
}

/// The members of a comma-separated list. Entity tags of ours have no comma in them.
fn list<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> impl Iterator<Item = &'a str> {
    values.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim).filter(|d| !d.is_empty())
}

/// Whether the client vouches for any part of what it sends: then nothing else can be sent in its name.
#[must_use]
pub fn is_signed(headers: &HeaderMap) -> bool {
    const DIGESTS: [&str; 5] =
        ["content-md5", "content-digest", "digest", "repr-digest", "x-amz-content-sha256"];
    DIGESTS.iter().any(|name| headers.contains_key(*name)) || has_signed_head(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        values.iter().map(|v| (HeaderName::from_static(name), HeaderValue::from_str(v).unwrap())).collect()
    }

    #[test]
    fn directives_are_read_as_rfc_9111_says() {
        let of = |value: &str| Control::of(&headers("cache-control", &[value]));
        assert_eq!(of("No-Cache"), Control { no_cache: true, ..Control::default() });
        assert_eq!(of("no-store, foo=bar"), Control { no_store: true, ..Control::default() });
        assert_eq!(of("only-if-cached"), Control { only_if_cached: true, ..Control::default() });
        assert_eq!(of("max-age=5, max-age=3").max_age, Some(Duration::from_secs(3)));
        assert_eq!(of("max-age=x").max_age, Some(Duration::ZERO));
        assert_eq!(of("max-stale").max_stale, Some(Duration::MAX));
        assert!(Control::of(&headers("pragma", &["no-cache"])).no_cache);
    }

    #[test]
    fn bounds_are_lowered_freely_and_raised_only_as_allowed() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let bound = |value: &str, most| Control::of(&headers("cache-control", &[value])).bound(second, most);
        assert_eq!(bound("x", minute), second);
        assert_eq!(bound("no-cache, max-stale=9", minute), Duration::ZERO);
        assert_eq!(bound("max-age=0", minute), Duration::ZERO);
        assert_eq!(bound("max-age=9", minute), second);
        assert_eq!(bound("max-stale=9", Duration::ZERO), second);
        assert_eq!(bound("max-stale=9", minute), Duration::from_secs(9));
        assert_eq!(bound("max-stale", minute), minute);
    }

    #[test]
    fn a_request_may_lower_what_is_served_in_trouble_and_never_raise_it() {
        let minute = Duration::from_secs(60);
        let bound = |value: &str| Control::of(&headers("cache-control", &[value])).stale_if_error(minute);
        for none in ["no-cache", "no-store", "max-age=0", "max-age=3600", "only-if-cached"] {
            assert_eq!(bound(none), None, "{none}");
        }
        assert_eq!(Control::of(&headers("pragma", &["no-cache"])).stale_if_error(minute), None);
        assert_eq!(bound("x"), Some(minute));
        assert_eq!(bound("stale-if-error=9"), Some(Duration::from_secs(9)));
        assert_eq!(bound("stale-if-error=9, max-stale=3"), Some(Duration::from_secs(3)));
        assert_eq!(bound("stale-if-error=3600, max-stale"), Some(minute));
        assert_eq!(bound("stale-if-error=x"), Some(Duration::ZERO));
    }

    #[test]
    fn entity_tags_compare_weakly() {
        let etag = HeaderValue::from_static("\"abc\"");
        let has = |value: &str| has_current(&headers("if-none-match", &[value]), &etag);
        assert!(has("\"abc\"") && has("W/\"abc\"") && has("\"x\", \"abc\"") && has("*"));
        assert!(!has("\"x\"") && !has("abc"));
    }
}
