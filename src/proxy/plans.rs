//! The second map: from a request as it was sent to what was understood of it. It spares the parsing and nothing else:
//! what depends on the time or on the target is asked again for each request.
//!
//! One that differs from another in white space alone is found by what is left without it, which is cheaper than to
//! parse it.
//!
//! A request is remembered when it comes for the second time: to remember costs as much as to understand, and what
//! never repeats would push out what does. Whether it came before is noted in a small table, by hash: one that is taken
//! for another is remembered too early, or too late, and that is all.

use std::hash::BuildHasher;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cache::{Bounded, Hashing};
use crate::key::raw::{RawKey, Sent};
use crate::outcome::Refusal;
use crate::plan::Plan;
use crate::watcher::Spot;

/// A request that was understood: its plan, and where what is read of its target was found last.
#[derive(Debug)]
pub(crate) struct Planned {
    plan: Plan,
    spot: Spot,
}

impl Planned {
    /// Where what is read of the target was found last.
    pub(super) fn spot(&self) -> &Spot {
        &self.spot
    }
}

impl From<Plan> for Planned {
    fn from(plan: Plan) -> Planned {
        Planned { plan, spot: Spot::default() }
    }
}

impl Deref for Planned {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

/// What is understood of requests that came before.
#[derive(Debug)]
pub(super) struct Plans {
    known: Bounded<RawKey, Result<Arc<Planned>, Refusal>>,
    bytes: u64,
    hashing: Hashing,
    /// Of requests that came lately: each place has a part of the hash of the latest one.
    came: Box<[AtomicU32]>,
}

/// How many requests are noted as having come.
const NOTED: usize = 1 << 14;

impl Plans {
    /// A map of at most so many bytes.
    pub(super) fn new(bytes: u64) -> Plans {
        let known = Bounded::weighed(bytes, weight);
        let came = std::iter::repeat_with(AtomicU32::default).take(NOTED).collect();
        Plans { known, bytes, hashing: Hashing::default(), came }
    }

    /// An empty map of the same size.
    pub(super) fn another(&self) -> Plans {
        Plans::new(self.bytes)
    }

    /// What was understood of a request; `understand` if it has not come lately.
    pub(super) fn of(
        &self,
        sent: &Sent<'_>,
        understand: impl FnOnce() -> Result<Plan, Refusal>,
    ) -> Result<Arc<Planned>, Refusal> {
        sent.with_raw_key(|raw| {
            if let Some(known) = self.known.get(raw.bytes()) {
                return known;
            }
            let compacted = raw.compacted();
            let known = compacted.as_deref().and_then(|key| self.known.get(key)).filter(Result::is_ok);
            let understood = known.unwrap_or_else(|| {
                let understood = understand().map(|plan| Arc::new(Planned::from(plan)));
                if let (Some(key), Ok(_)) = (&compacted, &understood) {
                    self.remember(key, &understood);
                }
                understood
            });
            self.remember(raw.bytes(), &understood);
            understood
        })
    }

    fn remember(&self, key: &[u8], understood: &Result<Arc<Planned>, Refusal>) {
        if self.has_come(key) {
            self.known.insert(RawKey::from(key), understood.clone());
        }
    }

    /// Whether a request with this raw key has come lately. Notes that it has.
    fn has_come(&self, key: &[u8]) -> bool {
        let hash = self.hashing.hash_one(key);
        let [high, low] = [hash >> 32, hash & u64::from(u32::MAX)].map(|half| half as u32);
        let place = &self.came[low as usize % NOTED];
        place.load(Ordering::Relaxed) == high || {
            place.store(high, Ordering::Relaxed);
            false
        }
    }

    /// How many requests are remembered.
    #[cfg(test)]
    fn len(&self) -> u64 {
        self.known.len()
    }
}

/// The bytes that it takes to remember it: with the map's own, as measured for entries.
fn weight(key: &RawKey, understood: &Result<Arc<Planned>, Refusal>) -> u32 {
    const MAP: usize = 450;
    let held = match understood {
        Ok(known) => size_of::<Planned>() + known.heap_size(),
        Err(refusal) => refusal.place.len(),
    };
    u32::try_from(MAP + key.heap_size() + held).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
    use proptest::prelude::*;

    use super::*;
    use crate::elastic::api::{Distribution, Engine, route};
    use crate::key::headers::{HeaderRules, NAMED};
    use crate::plan::{Asked, Context, plan};
    use crate::policy::Policy;

    /// What matters here of a request; the rest is of none.
    fn bare<'s>(uri: &'s Uri, headers: &'s HeaderMap, rules: &'s HeaderRules, body: &'s [u8]) -> Sent<'s> {
        Sent {
            engine: None,
            cluster: "",
            certificate: None,
            method: &Method::POST,
            uri,
            headers,
            rules,
            body,
        }
    }

    /// Two bodies whose bytes differ where text has white space are two, if they are compressed.
    #[test]
    fn white_space_of_a_coding_is_none() {
        let plans = Plans::new(1 << 20);
        let rules = HeaderRules::default();
        let mut headers = HeaderMap::new();
        headers.insert("content-encoding", HeaderValue::from_static("gzip"));
        let uri = Uri::from_static("/logs/_search");
        let asked = |body: &[u8], understands: bool| {
            let sent = bare(&uri, &headers, &rules, body);
            let plan = || request().plan();
            let nothing = || Err(crate::outcome::Reason::ContentType.into());
            plans.of(&sent, || if understands { plan() } else { nothing() }).is_ok()
        };
        for _ in 0..3 {
            assert!(asked(b"{\x00}", true));
        }
        assert!(!asked(b" {\x00}", false));
    }

    /// A request in words, so that cases are data.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Request {
        engine: Option<Engine>,
        cluster: &'static str,
        certificate: Option<[u8; 32]>,
        method: Method,
        uri: &'static str,
        headers: Vec<(&'static str, &'static str)>,
        body: &'static str,
        rules: HeaderRules,
    }

    fn request() -> Request {
        Request {
            engine: None,
            cluster: "a",
            certificate: None,
            method: Method::POST,
            uri: "/logs/_search?size=1",
            headers: vec![("content-type", "application/json")],
            body: r#"{"query":{"match_all":{}}}"#,
            rules: HeaderRules::default(),
        }
    }

    impl Request {
        fn headers(&self) -> HeaderMap {
            let mut map = HeaderMap::new();
            for (name, value) in &self.headers {
                map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            map
        }

        fn sent<T>(&self, look: impl FnOnce(&Sent<'_>) -> T) -> T {
            look(&Sent {
                engine: self.engine,
                cluster: self.cluster,
                certificate: self.certificate.as_ref(),
                method: &self.method,
                uri: &Uri::from_static(self.uri),
                headers: &self.headers(),
                rules: &self.rules,
                body: self.body.as_bytes(),
            })
        }

        fn raw(&self) -> RawKey {
            self.sent(|sent| sent.with_raw_key(|raw| RawKey::from(raw.bytes())))
        }

        fn plan(&self) -> Result<Plan, Refusal> {
            let (uri, headers, policy) = (Uri::from_static(self.uri), self.headers(), Policy::default());
            let route = route(&self.method, uri.path(), uri.query());
            let body = Bytes::from_static(self.body.as_bytes());
            let asked = Asked { route: &route, query: uri.query(), headers: &headers, body: &body };
            let (engine, cluster) = (self.engine, self.cluster);
            plan(&asked, &Context { engine, cluster, policy: &policy, headers: &self.rules })
        }
    }

    /// The law. Returns whether the two were told apart.
    fn check(one: &Request, other: &Request) -> bool {
        let apart = one.raw() != other.raw();
        assert!(apart || one.plan() == other.plan(), "one raw key for {one:?} and {other:?}");
        apart
    }

    const VALUES: [&str; 10] = [
        "",
        "a",
        "b",
        "application/json",
        "application/yaml",
        "gzip",
        "close",
        "accept, x-a",
        "websocket",
        "bytes=0-1",
    ];

    const URIS: [&str; 9] = [
        "/logs/_search?size=1",
        "/logs/_search?size=2",
        "/logs/_search?size=1&request_cache=false",
        "/logs/_search?size=1&ignore_unavailable=true",
        "/logs/_search?filter_path=hits",
        "/logs/_search",
        "/logs/_search?",
        "/logs/_count",
        "/log/_search?size=1",
    ];

    const BODIES: [&str; 6] = [
        r#"{"query":{"match_all":{}}}"#,
        r#"{"query":{"match_all":{ }}}"#,
        r#"{"query":{"range":{"@timestamp":{"gte":"now-1d/d"}}}}"#,
        r#"{"query":{"range":{"@timestamp":{"gte":"now"}}}}"#,
        "{",
        "",
    ];

    fn names() -> impl Iterator<Item = &'static str> {
        let families = ["x-b3-traceid", "x-datadog-sampled", "x-amz-date", "x-proxy-user", "x-anything"];
        NAMED.iter().flat_map(|list| list.iter().copied()).chain(families)
    }

    fn rules() -> [HeaderRules; 2] {
        let ignored = ["range", "upgrade", "x-elastic-product-origin", "origin"];
        [HeaderRules::default(), HeaderRules::new(&ignored, &["via", "connection"]).unwrap()]
    }

    #[test]
    fn each_header_that_is_looked_at_is_in_the_raw_key() {
        for rules in rules() {
            let plain = Request { rules, ..request() };
            let mut apart = 0;
            for name in names() {
                let with = |value| Request {
                    headers: [plain.headers.clone(), vec![(name, value)]].concat(),
                    ..plain.clone()
                };
                for (one, other) in VALUES.iter().zip(VALUES.iter().cycle().skip(1)) {
                    apart += usize::from(check(&plain, &with(one)));
                    check(&with(one), &with(other));
                }
            }
            assert!(apart > 500, "{apart}");
        }
    }

    #[test]
    fn whatever_else_is_looked_at_is_in_the_raw_key() {
        let engine = |distribution, version| Some(Engine { distribution, version });
        let mut all = vec![request(), Request { cluster: "b", ..request() }];
        all.extend(URIS.map(|uri| Request { uri, ..request() }));
        all.extend(BODIES.map(|body| Request { body, ..request() }));
        all.extend([
            Request { method: Method::GET, ..request() },
            Request { method: Method::PUT, ..request() },
            Request { engine: engine(Distribution::Elasticsearch, (7, 17)), ..request() },
            Request { engine: engine(Distribution::Elasticsearch, (17, 7)), ..request() },
            Request { engine: engine(Distribution::OpenSearch, (7, 17)), ..request() },
        ]);
        for (at, one) in all.iter().enumerate() {
            for other in all[..at].iter().filter(|other| *other != one) {
                assert!(check(one, other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn what_is_overlooked_does_not_split() {
        let traced = [("traceparent", "a"), ("x-opaque-id", "7"), ("user-agent", "x"), ("host", "h")];
        let traced = Request { headers: [request().headers, traced.to_vec()].concat(), ..request() };
        assert!(!check(&request(), &traced));
    }

    fn requests() -> impl Strategy<Value = Request> {
        let names: Vec<_> = names().collect();
        let header = (prop::sample::select(names), prop::sample::select(&VALUES[..]));
        let kind = prop::sample::select(vec![Some("application/json"), None]);
        (
            prop::sample::select(vec![Method::GET, Method::POST]),
            prop::sample::select(&URIS[..]),
            (kind, prop::collection::vec(header, 0..3)),
            prop::sample::select(&BODIES[..]),
            prop::sample::select(rules().to_vec()),
        )
            .prop_map(|(method, uri, (kind, others), body, rules)| {
                let headers = kind.map(|kind| ("content-type", kind)).into_iter().chain(others).collect();
                Request { method, uri, headers, body, rules, ..request() }
            })
    }

    proptest! {
        #[test]
        fn requests_that_are_understood_differently_have_two_raw_keys(
            one in requests(), other in requests(), which in 0..4,
        ) {
            // mostly one difference, where a careless key would miss it
            let other = match which {
                0 => Request { headers: other.headers, ..one.clone() },
                1 => Request { uri: other.uri, ..one.clone() },
                2 => Request { body: other.body, ..one.clone() },
                _ => Request { rules: one.rules.clone(), ..other },
            };
            check(&one, &other);
        }
    }

    #[test]
    fn what_came_once_is_not_remembered_and_what_came_twice_is() {
        let plans = Plans::new(1_000_000);
        let understood = std::cell::Cell::new(0);
        let come = |request: &Request| {
            let plan = request.sent(|sent| {
                plans.of(sent, || {
                    understood.set(understood.get() + 1);
                    request.plan()
                })
            });
            assert_eq!(plan.map(|plan| Plan::clone(&plan)), request.plan());
            (understood.get(), plans.len())
        };
        assert_eq!(come(&request()), (1, 0));
        assert_eq!(come(&Request { cluster: "b", ..request() }), (2, 0));
        assert_eq!(come(&request()), (3, 1));
        assert_eq!(come(&request()), (3, 1));
        // what is refused is remembered too
        for expected in [(4, 1), (5, 2), (5, 2)] {
            assert_eq!(come(&Request { body: "{", ..request() }), expected);
        }
    }

    #[test]
    fn white_space_is_not_understood_twice() {
        let plans = Plans::new(1_000_000);
        let understood = std::cell::Cell::new(0);
        let come = |body: &'static str| {
            let request = Request { body, ..request() };
            let plan = request.sent(|sent| {
                plans.of(sent, || {
                    understood.set(understood.get() + 1);
                    request.plan()
                })
            });
            assert_eq!(plan.map(|plan| Plan::clone(&plan)), request.plan(), "{body}");
            understood.get()
        };
        assert_eq!(come(r#"{"query":{"match_all":{ }}}"#), 1);
        assert_eq!(come(r#"{"query":{"match_all": {}}}"#), 2);
        // what is left without it has come twice by now
        assert_eq!(come(r#"{"query": {"match_all":{}}}"#), 2);
        assert_eq!(come(r#"{"query":{"match_all":{}}}"#), 2);
        assert_eq!(come(r#"{"query":{"match_all":{} }}"#), 2);
        // what is refused says where, and that is another place each time
        for body in ["{ ]", "{ ]", "{ ]"] {
            come(body);
        }
        let before = come("{  ]");
        assert_eq!((come("{   ]"), come("{]")), (before + 1, before + 2));
        // nothing is not the same as no body
        assert_eq!((come(""), come("")), (before + 3, before + 4));
        assert_eq!(come(" "), before + 5);
    }

    #[test]
    fn long_bodies_are_told_apart_by_their_digest() {
        let long = "x".repeat(10_000);
        let other = format!("{}y", &long[1..]);
        let bodies = [&*long, &other, &long[1..]];
        let keys = bodies.map(|body| {
            let uri = Uri::from_static("/");
            let (headers, rules) = (HeaderMap::new(), HeaderRules::default());
            let sent = bare(&uri, &headers, &rules, body.as_bytes());
            sent.with_raw_key(|raw| RawKey::from(raw.bytes()))
        });
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
        assert!(keys.iter().all(|key| key.heap_size() < 100));
    }

    #[test]
    fn the_map_is_bounded_by_bytes() {
        let plans = Plans::new(100_000);
        for number in 0..1_000 {
            let uri: Uri = format!("/{number}").parse().unwrap();
            let (headers, rules) = (HeaderMap::new(), HeaderRules::default());
            let sent = bare(&uri, &headers, &rules, b"");
            for _ in 0..2 {
                let understood = plans.of(&sent, || request().plan());
                assert_eq!(**understood.unwrap(), request().plan().unwrap());
            }
        }
        let len = plans.len();
        assert!((50..=200).contains(&len), "{len}");
    }
}
