//! A hit without sockets: understand the request, find its entry, decide that it may be served.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use divan::Bencher;
use escache::cache::{
    Audience, Decision, Entry, Eviction, Fetched, Lifetime, Proof, Stamp, Storable, Store, decide,
};
use escache::elastic::answer::Extent;
use escache::elastic::api::{Api, route};
use escache::elastic::filter_path::Widening;
use escache::generation::Generation;
use escache::key::headers::HeaderRules;
use escache::plan::{Asked, Context, Plan, plan};
use escache::policy::Policy;
use escache::stats::Stats;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::Instant;

fn main() {
    divan::main();
}

/// Entries in the store beside the one that is found.
const OTHERS: u32 = 10_000;

struct Setup {
    store: Store,
    generation: Generation,
    headers: HeaderMap,
    policy: Policy,
    rules: HeaderRules,
}

fn body(size: u32) -> String {
    format!(
        r#"{{"size":{size},"query":{{"term":{{"category":"shoes"}}}},"aggs":{{"b":{{"terms":{{"field":"b"}}}}}}}}"#
    )
}

impl Setup {
    fn new() -> Setup {
        let stats = Arc::new(Stats::default());
        let indices = stats.indices(&[Arc::from("products")]);
        let setup = Setup {
            store: Store::new(256 << 20, None, Eviction::Lru, stats),
            generation: Generation::unwatched(),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
            policy: Policy::default(),
            rules: HeaderRules::default(),
        };
        let answer = format!(
            r#"{{"took":3,"timed_out":false,"_shards":{{"total":1,"successful":1,"skipped":0,"failed":0}},"hits":{{"hits":["{}"]}}}}"#,
            "x".repeat(1_000)
        );
        let fetched = Fetched {
            status: StatusCode::OK,
            headers: setup.headers.clone(),
            body: Bytes::from(answer),
            took: Duration::from_millis(3),
        };
        let checked = || Storable::check(&fetched, Api::Search, Widening::None, &Extent::default());
        for size in 0..=OTHERS {
            let entry = Entry::new(
                checked().expect("a whole answer"),
                &setup.generation,
                now(),
                Arc::clone(&indices),
                Audience::Unproven,
            );
            setup.store.insert(setup.plan(&body(size)).key, Arc::new(entry), setup.store.epoch());
        }
        setup
    }

    fn plan(&self, body: &str) -> Plan {
        let route = route(&Method::POST, "/products/_search", None);
        let asked = Asked { route: &route, query: None, headers: &self.headers, body: body.as_bytes() };
        let context = Context { engine: None, cluster: "bench", policy: &self.policy, headers: &self.rules };
        plan(&asked, &context).expect("a search that may be cached")
    }

    fn serve(&self, plan: &Plan) -> Arc<Entry> {
        let entry = self.store.get(&plan.key).expect("it is stored");
        let now = now();
        let proof = Proof::Reading { generation: &self.generation, started: now.at };
        match decide(&entry, proof, Lifetime::default(), now) {
            Decision::Serve { .. } => entry,
            other => panic!("{other:?}"),
        }
    }
}

fn now() -> Stamp {
    Stamp { at: Instant::now(), wall: SystemTime::now() }
}

#[divan::bench]
fn whole(bencher: Bencher<'_, '_>) {
    let (setup, body) = (Setup::new(), body(24));
    bencher.bench(|| setup.serve(&setup.plan(divan::black_box(&body))));
}

#[divan::bench(threads = [1, 2, 4])]
fn find_and_decide(bencher: Bencher<'_, '_>) {
    let setup = Setup::new();
    let plan = setup.plan(&body(24));
    bencher.bench(|| setup.serve(divan::black_box(&plan)));
}
