//! Proof of scope on the pretend engine, where the order of events can be chosen. The x-pack way (`_authenticate` and
//! `_privileges`) is shown on nothing else: no Elasticsearch with x-pack can be had.

use std::time::Duration;

use escache::key::headers::HeaderRules;
use escache::policy::Rule;
use escache::proxy::ProxySettings;
use escache::rounds::Needed;
use escache::scope::{Found, Way};
use escache::upstream::Credentials;
use futures_util::future::join_all;
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::engine::{Api, Engine, Flavour, Seen, Twist, engine, secured, team};
use crate::support::escache::{Escache, prove, verdict};
use crate::support::http::Response;
use crate::support::patience::until_hit;

const SEARCH: &str = "/logs/_search";

const SETTLING: &str = "escache; fwd=bypass; detail=scope-settling";

/// An engine with the users alice, bob and watcher, and escache in front as the last. Its gap is short, so that a test can wait for it.
struct Scene {
    engine: Engine,
    escache: Escache,
    alice: String,
}

const GAP: Duration = Duration::from_millis(300);

impl Scene {
    async fn new(flavour: Flavour, change: impl FnOnce(&mut ProxySettings)) -> Scene {
        let (engine, users) = secured(flavour);
        let escache = Escache::start_with(&engine.url(), |settings| {
            prove(settings, &users.watcher, GAP);
            change(settings);
        })
        .await;
        Scene { engine, escache, alice: users.alice }
    }

    async fn xpack() -> Scene {
        Scene::new(Flavour::Es8, |_| {}).await
    }

    async fn ask(&self, headers: &[(&str, &str)]) -> Response {
        self.escache.send("GET", SEARCH, headers, "").await
    }

    async fn alice(&self) -> Response {
        self.ask(&[("authorization", &self.alice)]).await
    }

    async fn warm(&self, headers: &[(&str, &str)]) -> Response {
        until_hit(async || self.ask(headers).await).await
    }

    async fn warm_alice(&self) -> Response {
        self.warm(&[("authorization", &self.alice)]).await
    }
}

fn total(answer: &Response) -> u64 {
    answer.json()["hits"]["total"]["value"].as_u64().unwrap()
}

#[tokio::test]
async fn a_changed_role_is_seen_in_either_way() {
    for flavour in [Flavour::Es8, Flavour::Os2] {
        let scene = Scene::new(flavour, |_| {}).await;
        let first = scene.alice().await;
        assert_eq!(verdict(&first.headers), ("BYPASS", SETTLING), "first sight {flavour:?}");
        assert_eq!(total(&scene.warm_alice().await), 3);
        for (filter, documents) in [(team("a"), 1), (team("b"), 2), (None, 3)] {
            scene.engine.restrict("alice", filter);
            let changed = scene.alice().await;
            assert_eq!((verdict(&changed.headers), total(&changed)), (("BYPASS", SETTLING), documents));
            assert_eq!(total(&scene.warm_alice().await), documents, "{flavour:?}");
        }
        scene.engine.cluster().remove_user("alice");
        assert_eq!(scene.alice().await.status, 401);
    }
}

/// The counters show a change, and a search still runs under the old role. Whether the old answer is served after the
/// change is enforced.
async fn serves_the_old_role(gap: Duration) -> bool {
    let scene = Scene::new(Flavour::Os2, |settings| settings.scope.gap = gap).await;
    scene.warm_alice().await;
    scene.engine.cluster().announce();
    assert_eq!(total(&scene.alice().await), 3, "not enforced yet");
    scene.engine.cluster().enforce("alice", team("a"));
    let stale = total(&scene.alice().await) == 3;
    if !stale {
        assert_eq!(total(&scene.warm_alice().await), 1);
    }
    stale
}

#[tokio::test]
async fn what_is_asked_within_the_enforcement_gap_is_not_stored() {
    assert!(!serves_the_old_role(GAP).await);
    assert!(serves_the_old_role(Duration::ZERO).await, "the scene does not show what the gap is for");
}

/// A search that is under way while the change is made and enforced carries a generation from before.
#[tokio::test]
async fn a_change_during_a_search_does_not_come_back() {
    for flavour in [Flavour::Es8, Flavour::Os2] {
        let scene = Scene::new(flavour, |_| {}).await;
        scene.warm_alice().await;
        scene.engine.refresh("logs");
        let gate = scene.engine.gate_before(Api::Search);
        let (answer, ()) = tokio::join!(scene.alice(), async {
            gate.arrived(1).await;
            scene.engine.restrict("alice", team("a"));
            gate.release();
        });
        assert_eq!(total(&answer), 1);
        // back before anybody has looked: Elasticsearch's answer is what it was
        scene.engine.restrict("alice", None);
        let after = scene.alice().await;
        assert_eq!(total(&after), 3, "{flavour:?} {:?}", verdict(&after.headers));
        assert_eq!(total(&scene.warm_alice().await), 3);
    }
}

#[tokio::test]
async fn who_waits_shares_one_question() {
    let scene = Scene::xpack().await;
    scene.warm_alice().await;
    let before = scene.engine.seen(Api::Privileges);
    let gate = scene.engine.gate_after(Api::Privileges);
    let many = join_all((0..20).map(|_| scene.alice()));
    let (answers, ()) = tokio::join!(many, async {
        gate.arrived(1).await;
        // all of them have read the target by then or wait for it; the first question serves who came before it
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.release();
    });
    assert!(answers.iter().all(|answer| verdict(&answer.headers).0 == "HIT"));
    let asked = scene.engine.seen(Api::Privileges) - before;
    assert!((1..=2).contains(&asked), "{asked} questions for 20 requests");
}

#[tokio::test]
async fn a_question_from_before_the_request_does_not_serve_it() {
    let scene = Scene::xpack().await;
    scene.warm_alice().await;
    let gate = scene.engine.gate_after(Api::Privileges);
    let (early, late) = tokio::join!(scene.alice(), async {
        // the engine has made its answer, and the role changes
        gate.arrived(1).await;
        scene.engine.restrict("alice", team("a"));
        let late = scene.alice();
        let (late, ()) = tokio::join!(late, async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            gate.release();
        });
        late
    });
    assert_eq!((verdict(&early.headers).0, total(&early)), ("HIT", 3));
    assert_eq!(total(&late), 1, "{:?}", verdict(&late.headers));
}

/// What a rule wants of the target of an alias, it wants of the permissions too.
#[tokio::test]
async fn a_stricter_rule_is_one_for_permissions_too() {
    let strict = |settings: &mut ProxySettings| {
        settings.policy.max_staleness = Duration::from_secs(3600);
        let rule =
            Rule { indices: vec!["logs".to_owned()], max_staleness: Some(Duration::ZERO), ..Rule::default() };
        settings.policy.rules = vec![rule];
    };
    let scene = Scene::new(Flavour::Os2, strict).await;
    scene.engine.put_alias("logs", "al");
    let alice = [("authorization", scene.alice.as_str())];
    let by_alias = async || scene.escache.send("GET", "/al/_search", &alice, "").await;
    until_hit(&by_alias).await;
    scene.engine.restrict("alice", team("a"));
    assert_eq!(total(&by_alias().await), 1);
}

/// With a bound an answer about the bearer serves for as long, and settles meanwhile.
#[tokio::test]
async fn a_bound_is_one_for_permissions_too() {
    let bound = |settings: &mut ProxySettings| settings.policy.max_staleness = Duration::from_secs(3600);
    for flavour in [Flavour::Es8, Flavour::Os2] {
        let scene = Scene::new(flavour, bound).await;
        scene.warm_alice().await;
        scene.engine.restrict("alice", team("a"));
        let asked = scene.engine.seen_in_all();
        assert_eq!(total(&scene.alice().await), 3);
        assert_eq!(scene.engine.seen_in_all(), asked);
        let fresh = [("authorization", scene.alice.as_str()), ("cache-control", "no-cache")];
        assert_eq!(total(&scene.ask(&fresh).await), 1);
    }
}

#[tokio::test]
async fn filters_that_move_by_themselves_are_not_cached() {
    let scene = Scene::xpack().await;
    for filter in [
        json!({"range": {"at": {"gte": "now-1h"}}}),
        json!({"template": {"source": "{\"term\":{\"team\":\"{{_user.username}}\"}}"}}),
    ] {
        scene.engine.restrict("alice", Some(filter));
        // the pretend engine does not know what to do with such a filter, nor does it have to
        scene.engine.on(Api::Search).always(Twist::Status(200, "{}".into()));
        for _ in 0..2 {
            let answer = scene.alice().await;
            let status = r#"escache; fwd=bypass; detail="scope-unknown at _privileges.indices.query""#;
            assert_eq!(verdict(&answer.headers), ("BYPASS", status));
            tokio::time::sleep(GAP).await;
        }
    }
}

#[tokio::test]
async fn each_identity_has_its_own_answers() {
    let scene = Scene::xpack().await;
    let as_bob = [("authorization", scene.alice.as_str()), ("es-security-runas-user", "bob")];
    assert_eq!(total(&scene.warm_alice().await), 3);
    assert_eq!(total(&scene.warm(&as_bob).await), 2);
    assert_eq!(total(&scene.alice().await), 3);
    scene.engine.restrict("bob", team("a"));
    assert_eq!(total(&scene.ask(&as_bob).await), 1);
    assert_eq!(verdict(&scene.alice().await.headers).0, "HIT");
}

#[tokio::test]
async fn credentials_are_used_for_what_they_are_given_for() {
    for flavour in [Flavour::Es8, Flavour::Os2] {
        let scene = Scene::new(flavour, |_| {}).await;
        let surveyed = scene.engine.all_requests().len();
        scene.warm_alice().await;
        scene.ask(&[]).await;
        for request in scene.engine.all_requests().split_off(surveyed) {
            let whose = request.header("authorization");
            let own = matches!(
                request.api,
                Api::Stats | Api::State | Api::Version | Api::ClusterSettings | Api::Alias
            );
            let expected = if own { request.header("authorization") } else { Some(scene.alice.as_str()) };
            assert!(!own || whose.is_some_and(|whose| whose != scene.alice), "{request:?}");
            assert!(whose == expected || whose.is_none(), "{request:?}");
        }
    }
}

#[tokio::test]
async fn where_the_engine_does_not_tell_a_lifetime_may_stand_in() {
    for ttl in [None, Some(Duration::from_secs(3600))] {
        let scene = Scene::new(Flavour::Es8, |settings| settings.policy.entry_ttl = ttl).await;
        scene
            .engine
            .on(Api::Privileges)
            .always(Twist::forbidden("cluster:admin/xpack/security/user/list_privileges"));
        let answers = [scene.alice().await, scene.alice().await];
        let verdicts = answers.each_ref().map(|answer| verdict(&answer.headers));
        let unknown = ("BYPASS", r#"escache; fwd=bypass; detail="scope-unknown at bearer""#);
        match ttl {
            None => assert_eq!(verdicts, [unknown; 2]),
            Some(_) => {
                assert_eq!(
                    verdicts,
                    [("MISS", "escache; fwd=miss; stored"), ("HIT", "escache; hit; ttl=3599")]
                );
            }
        }
    }
}

/// What was known of the engine's users outlasts a time in which it does not tell.
#[tokio::test]
async fn a_survey_without_an_answer_takes_no_proof_away() {
    let ttl = Some(Duration::from_secs(3600));
    for flavour in [Flavour::Es8, Flavour::Os2] {
        for status in [429, 500, 503] {
            let scene = Scene::new(flavour, |settings| settings.policy.entry_ttl = ttl).await;
            scene.warm_alice().await;
            // the other endpoint is not there
            let theirs = if flavour == Flavour::Os2 { "/_plugins/" } else { "/_security/" };
            let asked =
                |of: bool| scene.engine.on(Api::Authenticate).when(move |r| r.path.starts_with(theirs) == of);
            asked(true).always(Twist::error(status, "some_exception", "trouble"));
            asked(false).always(Twist::error(400, "illegal_argument_exception", "no handler found"));
            assert!(scene.escache.proxy.scope.survey().await.is_some());
            scene.engine.calm();
            assert_eq!(verdict(&scene.ask(&[]).await.headers).0, "BYPASS", "{flavour:?} {status}: nobody");
            scene.engine.restrict("alice", team("a"));
            let changed = scene.alice().await;
            assert_eq!(
                (verdict(&changed.headers), total(&changed)),
                (("BYPASS", SETTLING), 1),
                "{flavour:?} {status}"
            );
        }
    }
}

/// The security index is the way until the engine says that it is not to be read.
#[tokio::test]
async fn one_failed_reading_of_the_security_index_is_no_other_way() {
    let ttl = Some(Duration::from_secs(3600));
    for (status, expected) in
        [(503, "BYPASS"), (429, "BYPASS"), (500, "BYPASS"), (403, "MISS"), (404, "MISS")]
    {
        let scene = Scene::new(Flavour::Os2, |settings| settings.policy.entry_ttl = ttl).await;
        scene.warm_alice().await;
        let of_users = |seen: &Seen| seen.path.starts_with("/.opendistro_security");
        let trouble = Twist::error(status, "some_exception", "trouble");
        scene.engine.on(Api::Stats).when(of_users).always(trouble);
        assert!(scene.escache.proxy.scope.survey().await.is_some(), "{status}");
        scene.engine.calm();
        scene.engine.restrict("alice", team("a"));
        let answer = scene.alice().await;
        assert_eq!(
            (verdict(&answer.headers).0, total(&answer)),
            (expected, 1),
            "{status}: {:?}",
            answer.headers
        );
    }
}

/// A proof that fails, or says no, is not the same as none: the lifetime does not stand in for it.
#[tokio::test]
async fn a_lifetime_never_stands_in_for_a_proof_that_fails() {
    let ttl = Some(Duration::from_secs(3600));
    for flavour in [Flavour::Es8, Flavour::Os2] {
        for (status, expected) in
            [(403, "HIT"), (404, "HIT"), (401, "BYPASS"), (503, "BYPASS"), (429, "BYPASS")]
        {
            let scene = Scene::new(flavour, |settings| settings.policy.entry_ttl = ttl).await;
            scene.engine.on(Api::Authenticate).always(Twist::error(status, "some_exception", "no"));
            scene.alice().await;
            let last = scene.alice().await;
            assert_eq!(verdict(&last.headers).0, expected, "{flavour:?} {status}: {:?}", last.headers);
        }
        for twist in [Twist::Drop, Twist::Hang] {
            let scene = Scene::new(flavour, |settings| {
                settings.policy.entry_ttl = ttl;
                settings.scope.timeout = Duration::from_millis(50);
            })
            .await;
            scene.engine.on(Api::Authenticate).always(twist.clone());
            for _ in 0..2 {
                let answer = scene.alice().await;
                assert_eq!(verdict(&answer.headers).0, "BYPASS", "{flavour:?} {twist:?}");
                assert!(verdict(&answer.headers).1.contains("scope-unknown"), "{:?}", answer.headers);
            }
        }
    }
}

/// A9: each node knows groups of a directory by a copy of its own. What the one says of the bearer proves nothing of a
/// search that the other has carried out.
#[tokio::test]
async fn the_host_that_searches_is_the_one_that_must_say_the_same() {
    let engine = engine();
    let other = engine.another_host();
    let hosts = [&engine, &other];
    let (watcher, alice) = (engine.add_user("watcher"), engine.add_user("alice"));
    let escache = Escache::in_front_of(&hosts, |settings| {
        settings.upstream.credentials = Some(Credentials::new(&watcher).unwrap());
        settings.scope.gap = Duration::ZERO;
    })
    .await;
    let rights = json!({"cluster": [], "global": [], "applications": [], "run_as": [], "indices": [
        {"names": ["*"], "privileges": ["read", "write"], "allow_restricted_indices": false}
    ]});
    other.on(Api::Privileges).always(Twist::Status(200, rights.to_string().into()));
    let asked = || hosts.map(|host| (host.seen(Api::Search), host.seen(Api::Privileges)));
    let (mut told_apart, mut stored) = (0, 0);
    for from in 0..120 {
        let before = asked();
        let path = format!("{SEARCH}?from={from}");
        let answer = escache.send("GET", &path, &[("authorization", &alice)], "").await;
        let after = asked();
        let searched = usize::from(after[1].0 > before[1].0);
        match verdict(&answer.headers).1 {
            // the proof of the tag, and what was asked after the search, are both of the host that has searched
            "escache; fwd=miss; stored" => {
                assert_eq!(after[searched].1 - before[searched].1, 2, "stored, and not by one host");
                stored += 1;
            }
            status => {
                assert_eq!(status, "escache; fwd=miss; detail=scope-settling");
                told_apart += 1;
            }
        }
    }
    assert!(told_apart > 0 && stored > 0, "{told_apart} told apart, {stored} stored");

    // whoever has told of alice: each host is asked itself whether it says the same
    let (mut head, scope) = (HeaderMap::new(), &escache.proxy.scope);
    head.insert("authorization", alice.parse().unwrap());
    let proof = scope.of(&HeaderRules::default(), false, &head, Needed::since(Instant::now())).await;
    let Ok(Found::Proven(proven)) = proof else { panic!("alice is known") };
    let mut agree = 0;
    for host in 0..2 {
        let before = asked();
        for _ in 0..5 {
            agree += usize::from(scope.confirms(&proven.bearer, host).await);
        }
        let after = asked();
        assert_eq!(
            [0, 1].map(|n| after[n].1 - before[n].1),
            [5, 0].map(|n| if host == 0 { n } else { 5 - n })
        );
    }
    assert_eq!(agree, 5, "one of the two");
}

/// `explain` shows the scope apart from the verdict.
#[tokio::test]
async fn explain_tells_what_proves_the_scope() {
    let told = async |scene: &Scene, headers: Value| {
        let question = json!({"path": "/logs/_search?scroll=1m", "headers": headers.clone()});
        let refused =
            scene.escache.client.post(format!("{}/explain", scene.escache.admin), question).await.json();
        assert_eq!(
            (refused["reason"].as_str(), refused["place"].as_str()),
            (Some("stateful"), Some("scroll"))
        );
        assert!(refused["scope"]["state"].is_string(), "{refused}");
        let question = json!({"path": SEARCH, "headers": headers});
        scene.escache.client.post(format!("{}/explain", scene.escache.admin), question).await.json()
    };
    for (flavour, by) in [
        (Flavour::Es8, vec!["/_security/_authenticate", "/_security/user/_privileges"]),
        (Flavour::Os2, vec!["the counters of .opendistro_security", "/_plugins/_security/authinfo"]),
    ] {
        let scene = Scene::new(flavour, |_| {}).await;
        let alice = json!({"authorization": scene.alice});
        scene.warm_alice().await;
        let proven = told(&scene, alice.clone()).await;
        assert_eq!((&proven["scope"]["state"], &proven["verdict"]), (&json!("proven"), &json!("cacheable")));
        assert_eq!(proven["scope"]["by"], json!(by), "{flavour:?}");
        // a property of the target decides the verdict, and the scope is told all the same
        scene.engine.put_settings("logs", json!({"requests.cache.enable": false}));
        let off = told(&scene, alice.clone()).await;
        assert_eq!((&off["scope"]["state"], &off["reason"]), (&json!("proven"), &json!("index-setting")));
        let unknown = told(&scene, json!({"authorization": "Basic eDp5"})).await;
        assert_eq!(
            (&unknown["scope"]["state"], &unknown["scope"]["place"]),
            (&json!("unknown"), &json!("bearer"))
        );
        let scene = Scene::new(flavour, |settings| settings.scope.way = Way::None).await;
        let unproven = told(&scene, json!({"authorization": scene.alice})).await;
        assert_eq!(unproven["scope"]["state"], "unproven");
        assert_eq!(unproven["scope"]["place"], "auth.proof");
    }
}

/// Who tells of addresses cannot choose the one that the engine takes: the last one is the client's own, in whatever is
/// asked in its name.
#[tokio::test]
async fn a_made_up_address_is_not_the_last_one() {
    for (name, value, expected) in [
        ("x-forwarded-for", "10.1.1.1", "10.1.1.1, 127.0.0.1"),
        ("x-real-ip", "10.1.1.1", "127.0.0.1"),
        ("forwarded", "for=10.1.1.1", "127.0.0.1"),
    ] {
        let scene = Scene::new(Flavour::Os2, |_| {}).await;
        let headers = [("authorization", scene.alice.as_str()), (name, value)];
        let surveyed = scene.engine.all_requests().len();
        scene.warm(&headers).await;
        let mut forwarded = headers.to_vec();
        forwarded.push(("cache-control", "no-store"));
        scene.ask(&forwarded).await;
        let hers: Vec<_> = scene
            .engine
            .all_requests()
            .split_off(surveyed)
            .into_iter()
            .filter(|seen| seen.header("authorization") == Some(&scene.alice))
            .collect();
        assert!([Api::Search, Api::Authenticate].iter().all(|api| hers.iter().any(|seen| seen.api == *api)));
        for seen in hers {
            assert_eq!(seen.header("x-forwarded-for"), Some(expected), "{name}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn nobody_is_an_identity_too_where_there_are_users() {
    let scene = Scene::xpack().await;
    let refused = scene.ask(&[]).await;
    assert_eq!((refused.status, verdict(&refused.headers).0), (401, "BYPASS"));
}

#[tokio::test]
async fn guessed_credentials_do_not_grow_what_is_known() {
    let scene = Scene::new(Flavour::Es8, |settings| settings.scope.max_identities = 8).await;
    for guess in 0..40 {
        let answer = scene.ask(&[("authorization", &format!("Basic {guess}"))]).await;
        assert_eq!(answer.status, 401);
    }
    assert!(scene.escache.proxy.scope.identities() <= 8);
}
