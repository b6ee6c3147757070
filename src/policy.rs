//! What the operator decided: what is cached, for how long, and how old an answer may be.

use std::time::Duration;

use crate::elastic::api::Api;
use crate::elastic::target::matches;

/// What becomes of a search that costs the engine less than the question whether anything changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadingDearer {
    /// It is forwarded.
    #[default]
    Forward,
    /// It waits for the reading all the same.
    Wait,
}

/// The settings that decide about requests.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `cache.enabled`
    pub enabled: bool,
    /// `cache.hits`: whether searches that return hits are cached without `request_cache=true`.
    pub hits: bool,
    /// `cache.max_entry_size`, in bytes.
    pub max_entry_size: usize,
    /// `limits.max_key_body`, in bytes: larger bodies stream through.
    pub max_key_body: usize,
    /// `freshness.max_staleness`: 0 is strict.
    pub max_staleness: Duration,
    /// `freshness.max_stale`: how far a request's `max-stale` may raise that.
    pub max_stale: Duration,
    /// `freshness.ttl_only`: no watching for changes at all.
    pub ttl_only: Option<Duration>,
    /// `freshness.reading_dearer`
    pub reading_dearer: ReadingDearer,
    /// `indices.requests.cache.expire`
    pub expire: Option<Duration>,
    /// `auth.entry_ttl`: how long an entry of an identity lives from when it was asked for.
    pub entry_ttl: Option<Duration>,
    /// `stale_if_error`: for how long an entry that nothing shows to be current is served if the engine is in trouble.
    pub stale_if_error: Option<Duration>,
    /// `rules`; the first that matches decides.
    pub rules: Vec<Rule>,
    /// `shadow.sample`: of how many hits the engine is asked too.
    pub shadow_sample: Share,
    /// `http.compression`: whether clients that accept gzip get it from the cache.
    pub compression: bool,
    /// `refresh_ahead`: how often the searches that are asked most are looked after.
    pub refresh_ahead: Option<Duration>,
}

/// `http.compression`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Where there is no TLS, as Elasticsearch does it: the length of what is compressed and then encrypted can tell
    /// of its content (BREACH).
    #[default]
    Auto,
    /// In any case.
    On,
    /// Never.
    Off,
}

/// A share from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share(f64);

impl Share {
    /// Nothing.
    pub const NONE: Share = Share(0.0);
    /// Everything.
    pub const ALL: Share = Share(1.0);

    /// `None` unless it is a number from 0 to 1.
    #[must_use]
    pub fn new(share: f64) -> Option<Share> {
        (0.0..=1.0).contains(&share).then_some(Share(share))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// Whether a draw falls into it, of draws that are spread evenly over all numbers.
    #[must_use]
    pub fn takes(self, draw: u32) -> bool {
        f64::from(draw) < self.0 * (f64::from(u32::MAX) + 1.0)
    }
}

/// Draws number 0, 1, 2 ... for [`Share::takes`]: the upper half of splitmix64. Spread, because requests come in
/// rounds: every hundredth could always be the same panel of a dashboard.
#[must_use]
pub fn draw(number: u64) -> u32 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 32) as u32
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            enabled: true,
            hits: true,
            max_entry_size: 8 << 20,
            max_key_body: 1 << 20,
            max_staleness: Duration::ZERO,
            max_stale: Duration::ZERO,
            ttl_only: None,
            reading_dearer: ReadingDearer::default(),
            expire: None,
            entry_ttl: None,
            stale_if_error: None,
            rules: Vec::new(),
            shadow_sample: Share::NONE,
            compression: true,
            refresh_ahead: None,
        }
    }
}

/// A rule by index and endpoint. What it does not say stays as the general settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Index patterns with `*`; any of them. Empty: every target.
    pub indices: Vec<String>,
    /// The endpoint; `None`: every one.
    pub api: Option<Api>,
    /// Whether to cache.
    pub cache: Option<bool>,
    /// The longest life of an entry.
    pub ttl: Option<Duration>,
    /// Instead of `freshness.max_staleness`.
    pub max_staleness: Option<Duration>,
    /// Instead of `cache.hits`.
    pub hits: Option<bool>,
}

impl Policy {
    /// Whether somebody has asked for a bound, for all targets or for some, be it 0.
    #[must_use]
    pub fn has_bound(&self) -> bool {
        !self.max_staleness.is_zero() || self.rules.iter().any(|rule| rule.max_staleness.is_some())
    }

    /// What holds for an index expression as the client wrote it. Each of its parts has the first rule that matches
    /// it; of several parts the strictest ruling wins, so that a rule for one index never loosens what holds for another.
    #[must_use]
    pub fn ruling(&self, expression: &str, api: Api) -> Ruling {
        let parts = expression.split(',').filter(|part| !part.starts_with('-'));
        let rulings = parts.map(|part| {
            let found = self.rules.iter().enumerate().find(|(_, rule)| {
                rule.api.is_none_or(|wanted| wanted == api) && (rule.indices.is_empty() || rule.names(part))
            });
            let none = Rule::default();
            let rule = found.map_or(&none, |(_, rule)| rule);
            Ruling {
                rule: found.map(|(number, _)| number),
                cache: rule.cache.unwrap_or(true),
                ttl: rule.ttl,
                max_staleness: rule.max_staleness.unwrap_or(self.max_staleness),
                hits: rule.hits.unwrap_or(self.hits),
            }
        });
        rulings.reduce(Ruling::stricter).unwrap_or(Ruling {
            rule: None,
            cache: true,
            ttl: None,
            max_staleness: self.max_staleness,
            hits: self.hits,
        })
    }

    /// The ruling of an expression, made stricter by the rules that match the indices it resolves to.
    #[must_use]
    pub fn tightened(
        &self,
        ruling: Ruling,
        names: impl IntoIterator<Item = impl AsRef<str>>,
        api: Api,
    ) -> Ruling {
        if self.rules.is_empty() {
            return ruling;
        }
        let matched =
            names.into_iter().map(|name| self.ruling(name.as_ref(), api)).filter(|own| own.rule.is_some());
        matched.fold(ruling, Ruling::stricter)
    }

    /// The number of the rule that forbids to cache answers that touch one of these indices, however the client named
    /// them.
    #[must_use]
    pub fn forbids(&self, names: impl IntoIterator<Item = impl AsRef<str>>, api: Api) -> Option<usize> {
        if !self.rules.iter().any(|rule| rule.cache == Some(false)) {
            return None;
        }
        let mut rulings = names.into_iter().map(|name| self.ruling(name.as_ref(), api));
        rulings.find(|ruling| !ruling.cache)?.rule
    }
}

/// What the rules and the general settings together say about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The number of the rule that decided whether to cache, from 0; `None` if no rule matched.
    pub rule: Option<usize>,
    /// Whether to cache.
    pub cache: bool,
    /// The longest life of an entry.
    pub ttl: Option<Duration>,
    /// How old a reading may be.
    pub max_staleness: Duration,
    /// Whether searches that return hits are cached without `request_cache=true`.
    pub hits: bool,
}

impl Ruling {
    fn stricter(self, other: Ruling) -> Ruling {
        Ruling {
            rule: if self.cache && !other.cache { other.rule } else { self.rule.or(other.rule) },
            cache: self.cache && other.cache,
            ttl: [self.ttl, other.ttl].into_iter().flatten().min(),
            max_staleness: self.max_staleness.min(other.max_staleness),
            hits: self.hits && other.hits,
        }
    }
}

impl Rule {
    fn names(&self, name: &str) -> bool {
        self.indices.iter().any(|pattern| matches(pattern, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_rule_decides() {
        let rule =
            |index: &str, api, cache| Rule { indices: vec![index.into()], api, cache, ..Rule::default() };
        let policy = Policy {
            rules: vec![
                rule("secret-*", None, Some(false)),
                rule("logs-*", Some(Api::Count), Some(true)),
                Rule::default(),
            ],
            ..Policy::default()
        };
        let found = |expression, api| {
            let ruling = policy.ruling(expression, api);
            (ruling.rule, ruling.cache)
        };
        assert_eq!(found("logs-1", Api::Count), (Some(1), true));
        assert_eq!(found("logs-1", Api::Search), (Some(2), true));
        assert_eq!(found("logs-1,secret-2", Api::Search), (Some(0), false));
        assert_eq!(found("logs-1,-secret-2", Api::Search), (Some(2), true));
        assert_eq!(policy.forbids(["logs-1", "secret-2"], Api::Search), Some(0));
        assert_eq!(policy.forbids(["logs-1"], Api::Search), None);
    }

    #[test]
    fn a_rule_for_one_index_loosens_nothing_for_another() {
        let policy = Policy {
            rules: vec![Rule {
                indices: vec!["logs-*".into()],
                max_staleness: Some(Duration::from_secs(60)),
                ttl: Some(Duration::from_secs(9)),
                ..Rule::default()
            }],
            ..Policy::default()
        };
        assert_eq!(policy.ruling("logs-1", Api::Search).max_staleness, Duration::from_secs(60));
        let both = policy.ruling("orders,logs-1", Api::Search);
        assert_eq!((both.max_staleness, both.ttl), (Duration::ZERO, Some(Duration::from_secs(9))));
        assert_eq!(policy.ruling("*", Api::Search).max_staleness, Duration::ZERO);
        let strict =
            Rule { indices: vec!["orders".into()], max_staleness: Some(Duration::ZERO), ..Rule::default() };
        let policy =
            Policy { rules: vec![strict], max_staleness: Duration::from_secs(60), ..Policy::default() };
        let wide = policy.ruling("*", Api::Search);
        assert_eq!(wide.max_staleness, Duration::from_secs(60));
        assert_eq!(policy.tightened(wide, ["logs", "orders"], Api::Search).max_staleness, Duration::ZERO);
        assert_eq!(policy.tightened(wide, ["logs"], Api::Search), wide);
    }
}
