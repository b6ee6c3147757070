//! A rounded `now` means what it means on the node that answers. Whose clock is not known may mean anything by it.

use serde_json::json;

use crate::support::engine::{Api, Engine, Flavour, Twist};
use crate::support::escache::{Escache, verdict};

const HOUR: u64 = 3_600_000;

/// A measurement serves for a while, but not for nodes that have joined since.
#[tokio::test]
async fn the_clock_of_a_node_that_has_joined_is_asked_for() {
    for (its_clock, expected) in [
        (100 * HOUR + HOUR / 2, "escache; fwd=miss; stored"),
        (99 * HOUR + HOUR / 2, "escache; fwd=miss; detail=clock-skew"),
    ] {
        let engine = Engine::start_with(Flavour::Es8, 2);
        engine.index("logs", "1", json!({"at": 1}));
        engine.refresh("logs");
        let escache = Escache::start(&engine.url()).await;
        let search = async |name: &str| {
            let range = json!({"range": {"at": {"gte": "now/h"}}});
            let by_hour = json!({"size": 0, "aggs": {name: {"filter": range}}});
            let answer = escache.search("/logs/_search", by_hour).await;
            verdict(&answer.headers).1.to_owned()
        };
        let tell = |last: Option<u64>| {
            let clock = |number| if number == 1 { last } else { Some(100 * HOUR + HOUR / 2) };
            engine.calm();
            engine.on(Api::NodesStats).always(Twist::Status(200, engine.clocks(clock)));
        };
        // measured while it was away, though its return is in the state already
        tell(None);
        assert_eq!(search("a").await, "escache; fwd=miss; detail=clock-skew");
        tell(Some(its_clock));
        let measured = engine.seen(Api::NodesStats);
        assert_eq!(search("b").await, expected);
        assert_eq!(engine.seen(Api::NodesStats), measured + 1);
    }
}

/// The node that tells to which index `<logs-{now/d}>` leads may be in another day than the one that searches.
#[tokio::test]
async fn a_name_of_today_is_cached_where_all_clocks_show_one_day() {
    for (clocks, expected) in
        [([48 * HOUR - 1, 48 * HOUR + 1], ["BYPASS", "BYPASS"]), ([47 * HOUR; 2], ["MISS", "HIT"])]
    {
        let engine = Engine::start_with(Flavour::Es8, 2);
        engine.index("logs-1", "1", json!({}));
        engine.refresh("logs-1");
        engine.date_math("<logs-{now/d}>", "logs-1");
        let told = engine.clocks(|number| Some(clocks[number]));
        engine.on(Api::NodesStats).always(Twist::Status(200, told));
        let escache = Escache::start(&engine.url()).await;
        for expected in expected {
            let answer = escache.search("/%3Clogs-%7Bnow%2Fd%7D%3E/_search", json!({"size": 0})).await;
            assert_eq!(verdict(&answer.headers).0, expected);
        }
    }
}
