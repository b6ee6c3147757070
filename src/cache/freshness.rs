//! When an entry may be served: a pure function of the entry, what is known of the target, and the time.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::entry::Entry;
use crate::generation::Generation;

/// A moment on both clocks. The monotonic one stands still while a machine is suspended, the wall clock may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// On the monotonic clock.
    pub at: Instant,
    /// On the wall clock.
    pub wall: SystemTime,
}

impl Stamp {
    /// The time that has passed until `now`: the larger of the two clocks' answers. For ever, if the wall clock went
    /// back: then nobody knows.
    #[must_use]
    pub fn age(&self, now: Stamp) -> Duration {
        const MOST_SET_BACK: Duration = Duration::from_secs(1);
        let by_wall = match now.wall.duration_since(self.wall) {
            Ok(passed) => passed,
            Err(back) if back.duration() <= MOST_SET_BACK => Duration::ZERO,
            Err(_) => Duration::MAX,
        };
        now.at.saturating_duration_since(self.at).max(by_wall)
    }
}

/// What shows that an entry is current.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// A reading that started at `started` found this generation.
    Reading {
        /// What it found.
        generation: &'a Generation,
        /// When it started.
        started: Instant,
    },
    /// `freshness.ttl_only`: nothing but the entry's age, and that no write has passed through since.
    Unwatched {
        /// When the last write, refresh or metadata call that passed through ended.
        mark: Option<Instant>,
    },
}

/// How long an entry may live whatever its generation, counted from when it was *asked for*; no use renews it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime(pub Option<Duration>);

impl Lifetime {
    /// The shorter of two.
    #[must_use]
    pub fn and(self, other: Option<Duration>) -> Lifetime {
        Lifetime(match (self.0, other) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }
}

/// Who may have an answer when nothing can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// Everybody: the engine has no users, and nobody was named.
    Everybody,
    /// Those of whom it is proven that they may see what this digest stands for.
    Proven([u8; 32]),
    /// Nobody: nothing proves it.
    #[default]
    Unproven,
}

/// On which terms an entry may be served although nothing shows that it is current (`stale_if_error`).
#[derive(Clone, Copy, Debug)]
pub struct StaleIfError {
    /// For how long nothing may have shown that the entry is current.
    pub bound: Duration,
    /// How long it may live in any case.
    pub lifetime: Lifetime,
    /// What the last successful reading has shown of who asks.
    pub audience: Audience,
    /// Whether a rounded `now` of the question still means what it meant. True where there is none.
    pub now_holds: bool,
}

/// Decides on an entry at `now` when the engine cannot be asked. Returns the value of the `Age` header if it may be
/// served: the time since it was last shown to be current.
#[must_use]
pub fn decide_stale(entry: &Entry, terms: StaleIfError, now: Stamp) -> Option<Duration> {
    let lives = terms.lifetime.0.is_none_or(|limit| entry.asked().age(now) < limit);
    let known = terms.audience != Audience::Unproven && terms.audience == entry.audience();
    let age = entry.unproven_for(now);
    (lives && known && terms.now_holds && age < terms.bound).then_some(age)
}

/// What to do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Serve it.
    Serve {
        /// The value of the `Age` header: the time since the proof started.
        age: Duration,
        /// How long it may still be served by its lifetime, if that is limited.
        ttl: Option<Duration>,
    },
    /// The target has changed since, or may have changed and changed back around its search.
    Superseded,
    /// Its lifetime is over.
    Expired,
}

/// Decides on an entry at `now`. Generations compare by equality, never by order (R3).
#[must_use]
pub fn decide(entry: &Entry, proof: Proof<'_>, lifetime: Lifetime, now: Stamp) -> Decision {
    let lifetime = match proof {
        // equal generations have it in common: what it depends on is in the tag
        Proof::Reading { generation, .. } => lifetime.and(generation.longest_life()),
        Proof::Unwatched { .. } => lifetime,
    };
    let lived = entry.asked().age(now);
    if lifetime.0.is_some_and(|limit| lived >= limit) {
        return Decision::Expired;
    }
    let ttl = lifetime.0.map(|limit| limit - lived);
    match proof {
        Proof::Unwatched { mark } if mark.is_none_or(|mark| entry.asked().at > mark) => {
            Decision::Serve { age: lived, ttl }
        }
        Proof::Reading { generation, started }
            if generation.tag() == entry.tag() && entry.met(generation.state()) =>
        {
            Decision::Serve { age: now.at.saturating_duration_since(started), ttl }
        }
        Proof::Unwatched { .. } | Proof::Reading { .. } => Decision::Superseded,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;
    use crate::cache::{Fetched, PUBLICATION, Storable};
    use crate::elastic::answer::Extent;
    use crate::elastic::api::Api;
    use crate::elastic::filter_path::Widening;
    use crate::elastic::params::Params;
    use crate::elastic::target::Target;
    use crate::generation::{Counters, Metadata};
    use crate::stats::IndexSet;

    const MINUTE: Duration = Duration::from_secs(60);

    fn entry(asked: Stamp, audience: Audience) -> Entry {
        tagged(&Generation::unwatched(), asked, audience)
    }

    fn tagged(generation: &Generation, asked: Stamp, audience: Audience) -> Entry {
        let body =
            Bytes::from_static(br#"{"count":1,"_shards":{"total":1,"successful":1,"skipped":0,"failed":0}}"#);
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let fetched = Fetched { status: StatusCode::OK, headers, body, took: Duration::ZERO };
        let answer = Storable::check(&fetched, Api::Count, Widening::None, &Extent::default()).unwrap();
        Entry::new(answer, generation, asked, Arc::<IndexSet>::default(), audience)
    }

    #[test]
    fn what_nothing_shows_to_be_current_is_served_on_all_terms_or_not_at_all() {
        let asked = Stamp { at: Instant::now(), wall: SystemTime::UNIX_EPOCH + MINUTE };
        let later = |by: Duration| Stamp { at: asked.at + by, wall: asked.wall + by };
        let alice = Audience::Proven([1; 32]);
        let entry = entry(asked, alice);
        let lifetime = Lifetime(Some(MINUTE * 10));
        let terms = StaleIfError { bound: MINUTE * 5, lifetime, audience: alice, now_holds: true };
        let second = Duration::from_secs(1);

        assert_eq!(decide_stale(&entry, terms, later(MINUTE)), Some(MINUTE));
        assert_eq!(decide_stale(&entry, terms, later(MINUTE * 5 - second)), Some(MINUTE * 5 - second));
        assert_eq!(decide_stale(&entry, terms, later(MINUTE * 5)), None, "the bound");
        for audience in [Audience::Proven([2; 32]), Audience::Everybody, Audience::Unproven] {
            assert_eq!(decide_stale(&entry, StaleIfError { audience, ..terms }, later(MINUTE)), None);
        }
        let passed = StaleIfError { now_holds: false, ..terms };
        assert_eq!(decide_stale(&entry, passed, later(MINUTE)), None, "the boundary");

        // a proof counts from its start, and an older one takes nothing back
        entry.prove(asked.at + MINUTE * 4);
        entry.prove(asked.at + MINUTE);
        assert_eq!(decide_stale(&entry, terms, later(MINUTE * 8)), Some(MINUTE * 4));
        entry.prove(asked.at + MINUTE * 9);
        assert_eq!(
            decide_stale(&entry, terms, later(MINUTE * 10)),
            None,
            "its lifetime, which no proof renews"
        );

        // a machine that slept, and a clock that was set back
        let slept = Stamp { at: asked.at + MINUTE * 9, wall: asked.wall + MINUTE * 15 };
        let unlimited = StaleIfError { lifetime: Lifetime::default(), ..terms };
        assert_eq!(decide_stale(&entry, unlimited, slept), None);
        assert_eq!(
            decide_stale(&entry, unlimited, Stamp { wall: SystemTime::UNIX_EPOCH, ..later(MINUTE * 9) }),
            None
        );
    }

    /// A generation whose shard has an operation with a number that is not written, or has not.
    fn generation(checkpoint: i64) -> Generation {
        in_state(1, checkpoint)
    }

    fn in_state(version: u64, checkpoint: i64) -> Generation {
        let state = format!(
            r#"{{"cluster_uuid":"c","version":{version},"state_uuid":"s{version}","metadata":{{"indices":{{"logs":{{"state":"open",
            "settings":{{"index":{{"uuid":"u","number_of_shards":"1","search":{{"idle":{{"after":"30s"}}}}}}}}}}}}}}}}"#
        );
        let metadata =
            Metadata::read(&Target::new(None, &Params::default()), state.as_bytes(), Some(b"{}"), b"{}")
                .unwrap();
        let stats = format!(
            r#"{{"_shards":{{"failed":0}},"indices":{{"logs":{{"uuid":"u","shards":{{"0":[{{
                "routing":{{"state":"STARTED","primary":true,"node":"n"}},
                "refresh":{{"total":1,"external_total":1}},"merges":{{"current":0,"total":0}},
                "seq_no":{{"max_seq_no":9,"local_checkpoint":{checkpoint}}}}}]}}}}}}}}"#
        );
        Generation::new(&Counters::read(stats.as_bytes()).unwrap(), Arc::new(metadata)).unwrap()
    }

    #[test]
    fn what_was_asked_for_in_another_state_is_served_once_that_has_been_confirmed() {
        let asked = Stamp { at: Instant::now(), wall: SystemTime::UNIX_EPOCH };
        let moment = |millis| asked.at + Duration::from_millis(millis);
        let (before, after) = (in_state(1, 9), in_state(2, 9));
        assert!(before.tag() == after.tag() && before.moment() != after.moment());
        let served = |entry: &Entry, generation: &Generation| {
            let now = Stamp { at: moment(9) + PUBLICATION, wall: asked.wall + PUBLICATION };
            let proof = Proof::Reading { generation, started: now.at };
            matches!(decide(entry, proof, Lifetime::default(), now), Decision::Serve { .. })
        };
        let entry = || tagged(&before, asked, Audience::Everybody).landed(moment(5));
        // by another state nothing is confirmed, nor by what the master was asked before the state of who has answered must
        // have become its own
        for (state, started, confirmed) in
            [(after.state(), 8, false), (before.state(), 5, false), (before.state(), 6, true)]
        {
            let entry = entry();
            assert!(served(&entry, &before) && !served(&entry, &after));
            entry.confirm(state, moment(started) + PUBLICATION);
            assert_eq!((served(&entry, &before), served(&entry, &after)), (true, confirmed), "{started}");
        }
        let too_early = entry();
        too_early.confirm(before.state(), moment(5) + PUBLICATION);
        let unknown = tagged(&before, asked, Audience::Everybody);
        unknown.confirm(before.state(), moment(8) + PUBLICATION);
        let ahead = entry();
        ahead.confirm_by_giver(after.state());
        for entry in [too_early, unknown, ahead] {
            assert!(!served(&entry, &after) && !entry.is_confirmed());
        }
        let by_giver = entry();
        by_giver.confirm_by_giver(before.state());
        assert!(served(&by_giver, &after));
    }

    #[test]
    fn what_was_asked_for_during_a_write_lives_no_longer_than_its_search_keeps_the_shard_awake() {
        let asked = Stamp { at: Instant::now(), wall: SystemTime::UNIX_EPOCH };
        let state_after = |generation: &Generation, seconds: u64| {
            let entry = tagged(generation, asked, Audience::Everybody);
            let passed = Duration::from_secs(seconds);
            let now = Stamp { at: asked.at + passed, wall: asked.wall + passed };
            decide(&entry, Proof::Reading { generation, started: now.at }, Lifetime::default(), now)
        };
        let serve = |ttl| Decision::Serve { age: Duration::ZERO, ttl };
        let writing = generation(8);
        assert_eq!(state_after(&writing, 14), serve(Some(Duration::from_secs(1))));
        assert_eq!(state_after(&writing, 15), Decision::Expired);
        assert_eq!(state_after(&writing.within(&[1; 32]), 15), Decision::Expired);
        assert_eq!(state_after(&generation(9), 1_000_000), serve(None));
    }

    #[test]
    fn what_is_meant_for_nobody_is_served_to_nobody() {
        let asked = Stamp { at: Instant::now(), wall: SystemTime::UNIX_EPOCH };
        let terms = StaleIfError {
            bound: MINUTE,
            lifetime: Lifetime::default(),
            audience: Audience::Unproven,
            now_holds: true,
        };
        assert_eq!(decide_stale(&entry(asked, Audience::Unproven), terms, asked), None);
        let terms = StaleIfError { audience: Audience::Everybody, ..terms };
        assert_eq!(decide_stale(&entry(asked, Audience::Everybody), terms, asked), Some(Duration::ZERO));
    }
}
