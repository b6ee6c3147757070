//! Old answers for those who say who they are: only what was last proven to be their own.

use std::time::Duration;

use super::{ask, change, check_honest, check_stale, in_front_of, search_trouble, trouble};
use crate::support::engine::{Api, Engine, Flavour, Twist, Users, engine, secured, team};
use crate::support::escache::{Escache, prove, verdict};
use crate::support::http::Response;
use crate::support::patience::until_hit;

const GAP: Duration = Duration::from_millis(200);

struct Secured {
    engine: Engine,
    escache: Escache,
    alice: String,
    bob: String,
}

impl Secured {
    async fn new(flavour: Flavour) -> Secured {
        let (engine, Users { watcher, alice, bob }) = secured(flavour);
        let escache = in_front_of(&engine, |settings| prove(settings, &watcher, GAP)).await;
        Secured { engine, escache, alice, bob }
    }

    async fn ask(&self, who: &str) -> Response {
        ask(&self.escache, &[("authorization", who)]).await
    }

    async fn warm(&self, who: &str) -> Response {
        until_hit(async || self.ask(who).await).await
    }
}

#[tokio::test]
async fn an_identity_is_served_what_was_proven_to_be_its_own() {
    for flavour in [Flavour::Es8, Flavour::Os2] {
        let scene = Secured::new(flavour).await;
        let first = scene.warm(&scene.alice).await;
        trouble(&scene.engine, 503);
        let stale = scene.ask(&scene.alice).await;
        check_stale(&stale, &first, "escache; fwd=stale; fwd-status=503");
        check_honest(&scene.ask(&scene.bob).await, 503, "bob has asked nothing");
        check_honest(&ask(&scene.escache, &[]).await, 503, "nobody");
        scene.engine.calm();
        scene.engine.stop().await;
        check_stale(&scene.ask(&scene.alice).await, &first, "escache; fwd=stale");
    }
}

/// The last successful reading has shown other permissions: also where somebody else's request made it, also if they
/// have not settled yet.
#[tokio::test]
async fn an_identity_is_not_served_what_the_last_reading_has_taken_away() {
    for flavour in [Flavour::Es8, Flavour::Os2] {
        let scene = Secured::new(flavour).await;
        scene.warm(&scene.alice).await;
        scene.warm(&scene.bob).await;
        scene.engine.restrict("alice", team("a"));
        // on OpenSearch the security index tells of it, whoever looks
        let who = if flavour == Flavour::Os2 { &scene.bob } else { &scene.alice };
        assert_eq!(verdict(&scene.ask(who).await.headers).1, "escache; fwd=bypass; detail=scope-settling");
        scene.engine.stop().await;
        check_honest(&scene.ask(&scene.alice).await, 502, &format!("{flavour:?}"));
    }
}

/// The engine does not know the identity any more.
#[tokio::test]
async fn an_identity_that_was_turned_away_is_not_served() {
    for flavour in [Flavour::Es8, Flavour::Os2] {
        let scene = Secured::new(flavour).await;
        scene.warm(&scene.alice).await;
        scene.engine.cluster().remove_user("alice");
        check_honest(&scene.ask(&scene.alice).await, 401, "the word");
        scene.engine.stop().await;
        check_honest(&scene.ask(&scene.alice).await, 502, "after it");
        // the question about who asks is refused, and the search itself finds the engine in trouble
        let scene = Secured::new(flavour).await;
        scene.warm(&scene.alice).await;
        scene.engine.on(Api::Authenticate).always(Twist::error(401, "security_exception", "who are you"));
        search_trouble(&scene.engine, 503);
        check_honest(&scene.ask(&scene.alice).await, 503, "unknown to the engine");
        // another of its entries neither
        let scene = Secured::new(flavour).await;
        scene.warm(&scene.alice).await;
        let other = escache_count(&scene).await;
        assert_eq!(verdict(&other.headers).0, "MISS");
        scene.engine.on(Api::Search).always(Twist::forbidden("indices:data/read/search"));
        change(&scene.engine);
        check_honest(&scene.ask(&scene.alice).await, 403, "forbidden");
        scene.engine.stop().await;
        check_honest(&escache_count(&scene).await, 502, "the count");
    }
}

async fn escache_count(scene: &Secured) -> Response {
    scene.escache.send("GET", "/logs/_count", &[("authorization", &scene.alice)], "").await
}

/// `auth.entry_ttl` is no proof.
#[tokio::test]
async fn an_identity_of_which_nothing_is_proven_is_not_served() {
    let engine = engine();
    let escache = in_front_of(&engine, |s| s.policy.entry_ttl = Some(Duration::from_secs(60))).await;
    let named = [("authorization", "Basic eDp5")];
    ask(&escache, &named).await;
    assert_eq!(verdict(&ask(&escache, &named).await.headers).0, "HIT");
    engine.stop().await;
    check_honest(&ask(&escache, &named).await, 502, "unproven");
}
