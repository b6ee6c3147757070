//! Identities on a real OpenSearch with its security plugin: users, roles, filters on documents, impersonation.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use escache::proxy::ProxySettings;
use escache::upstream::{Credentials, Host};
use serde_json::{Value, json};

use crate::support::escache::{Escache, verdict};
use crate::support::http::{Client, Response};
use crate::support::node::{Cluster, Engine, Node};
use crate::support::patience::{until, until_hit};

/// Shorter than the default, so that tests can wait for it; still many times what these nodes take.
const GAP: Duration = Duration::from_secs(2);

/// When a change that was acknowledged is enforced on every node for sure (seen: 0.4 s after its counters moved).
const ENFORCED: Duration = Duration::from_secs(1);

const SEARCH: &str = "/logs-*/_search?size=50&sort=n";

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")))
}

fn user(name: &str) -> String {
    basic(name, &format!("{name}-pw"))
}

/// A secured engine, reached as its administrator, with 20 documents of which half are of team b.
struct Scene {
    urls: Vec<String>,
    admin: Client,
}

impl Scene {
    async fn new(urls: &[&str]) -> Scene {
        let admin = Client::at(urls[0]).with_header("authorization", &user("admin"));
        let scene = Scene { urls: urls.iter().map(|url| (*url).to_owned()).collect(), admin };
        scene.until_secured().await;
        for id in 0..20 {
            let document = json!({"team": (["a", "b"][id % 2]), "secret": "s", "n": id, "at": "2020-01-01"});
            scene.change("PUT", &format!("/logs-1/_doc/{id}"), document).await;
        }
        scene.change("PUT", "/other/_doc/1", json!({"team": "a", "n": 1})).await;
        scene.change("POST", "/_refresh", json!({})).await;
        scene
    }

    async fn until_secured(&self) {
        let health = "/_cluster/health?wait_for_status=yellow";
        until("security is initialised", async || self.admin.get(health).await.status == 200).await;
    }

    /// A request of the administrator that must succeed. The time is when its answer had come.
    async fn change(&self, method: &str, path: &str, body: Value) -> Instant {
        let (status, answer) = self.admin.json(method, path, Some(body)).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        Instant::now()
    }

    /// Which documents the role of bob lets through.
    async fn filter(&self, filter: &str) -> Instant {
        let role = json!({
            "cluster_permissions": ["cluster_composite_ops_ro"],
            "index_permissions": [{
                "index_patterns": ["logs-*"], "dls": filter, "fls": ["~secret"], "allowed_actions": ["read"]
            }]
        });
        self.change("PUT", "/_plugins/_security/api/roles/logs_reader_b", role).await
    }

    async fn proxy(&self, own: &str, change: impl FnOnce(&mut ProxySettings)) -> Escache {
        Escache::start_with(&self.urls[0], |settings| {
            settings.upstream.hosts = self.urls.iter().map(|url| Host::parse(url).unwrap()).collect();
            settings.upstream.credentials = Some(Credentials::new(&user(own)).unwrap());
            settings.scope.gap = GAP;
            settings.scope.static_roles = true;
            change(settings);
        })
        .await
    }

    async fn direct(&self, headers: &[(&str, &str)]) -> Response {
        Client::at(&self.urls[0]).request("GET", SEARCH, headers, "").await
    }

    /// The answer comes from the cache after a while, and is the engine's own.
    async fn check_cached(&self, escache: &Escache, headers: &[(&str, &str)]) -> Response {
        let cached = warm(escache, headers).await;
        let direct = self.direct(headers).await;
        assert_eq!((cached.status, &cached.json()["hits"]), (direct.status, &direct.json()["hits"]));
        cached
    }
}

async fn ask(escache: &Escache, headers: &[(&str, &str)]) -> Response {
    escache.send("GET", SEARCH, headers, "").await
}

async fn warm(escache: &Escache, headers: &[(&str, &str)]) -> Response {
    until_hit(async || ask(escache, headers).await).await
}

/// The teams of the documents in an answer, each once.
fn teams(answer: &Response) -> Vec<String> {
    let found = answer.json();
    let hits = found["hits"]["hits"].as_array().unwrap();
    let mut teams: Vec<String> =
        hits.iter().map(|hit| hit["_source"]["team"].as_str().unwrap().to_owned()).collect();
    teams.sort_unstable();
    teams.dedup();
    teams
}

fn by(name: &str) -> String {
    format!(r#"{{"term":{{"team.keyword":"{name}"}}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_are_cached_apart_and_follow_their_permissions() {
    let Some(node) = Node::start(Engine::OpenSearch2Secured).await else { return };
    let scene = Scene::new(&[node.url()]).await;
    let escache = scene.proxy("watcher2", |_| {}).await;
    who_sees_what(&scene, &escache).await;
    a_role_under_way(&scene, &escache, 6).await;
    filters_that_move(&scene).await;
    a_watcher_that_sees_less(&scene).await;
    users_who_change(&scene, &escache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_enforce_a_role_at_different_times() {
    let Some(cluster) = Cluster::start(Engine::OpenSearch2Secured, 2).await else { return };
    let scene = Scene::new(&[cluster.nodes[0].url(), cluster.nodes[1].url()]).await;
    let escache = scene.proxy("watcher2", |_| {}).await;
    who_sees_what(&scene, &escache).await;
    a_role_under_way(&scene, &escache, 6).await;
    filters_that_move(&scene).await;
    a_watcher_that_sees_less(&scene).await;
    users_who_change(&scene, &escache).await;
}

async fn who_sees_what(scene: &Scene, escache: &Escache) {
    let (alice, bob, carol, proxy) = (user("alice"), user("bob"), user("carol"), user("proxy"));
    let alices = scene.check_cached(escache, &[("authorization", &alice)]).await;
    assert_eq!(teams(&alices), ["a", "b"]);
    assert!(alices.text().contains("secret"));
    let bobs = scene.check_cached(escache, &[("authorization", &bob)]).await;
    assert_eq!(teams(&bobs), ["b"]);
    assert!(!bobs.text().contains("secret"));
    for (name, expected) in [("alice", &alices), ("bob", &bobs)] {
        let impersonated = [("authorization", proxy.as_str()), ("opendistro_security_impersonate_as", name)];
        let answer = scene.check_cached(escache, &impersonated).await;
        assert_eq!(answer.json()["hits"], expected.json()["hits"], "as {name}");
    }
    let wrong = basic("alice", "wrong");
    for (authorization, status) in [(carol.as_str(), 403), (wrong.as_str(), 401)] {
        for _ in 0..3 {
            let refused = ask(escache, &[("authorization", authorization)]).await;
            assert_eq!(refused.status, status);
            assert_ne!(verdict(&refused.headers).0, "HIT");
        }
    }
    let not_bobs = [("authorization", bob.as_str()), ("opendistro_security_impersonate_as", "alice")];
    assert_eq!(ask(escache, &not_bobs).await.status, scene.direct(&not_bobs).await.status);
    assert_eq!(ask(escache, &[]).await.status, 401);
}

/// Bob searches without a pause while his role is changed to and fro.
async fn a_role_under_way(scene: &Scene, escache: &Escache, changes: usize) {
    let bob = user("bob");
    let bob = [("authorization", bob.as_str())];
    let (mut answers, mut hits, mut settling) = (0, 0, 0);
    for change in 0..changes {
        let (old, new) = if change % 2 == 0 { ("b", "a") } else { ("a", "b") };
        let asking = async {
            let mut seen = Vec::new();
            let end = Instant::now() + GAP * 2;
            while Instant::now() < end {
                let sent = Instant::now();
                let answer = ask(escache, &bob).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                seen.push((sent, teams(&answer), verdict(&answer.headers).1.to_owned()));
            }
            seen
        };
        let (seen, acknowledged) = tokio::join!(asking, async {
            tokio::time::sleep(Duration::from_millis(100 + 130 * change as u64)).await;
            scene.filter(&by(new)).await
        });
        for (sent, teams, status) in &seen {
            let enforced = *sent > acknowledged + ENFORCED;
            assert!(*teams == [new] || !enforced && *teams == [old], "{teams:?} for {new}: {status}");
            hits += usize::from(status.contains("; hit"));
            settling += usize::from(status.contains("scope-settling"));
        }
        answers += seen.len();
        assert_eq!(teams(&warm(escache, &bob).await), [new]);
    }
    println!("{changes} changes: {answers} answers, {hits} hits, {settling} while settling");
    assert!(hits > 0 && settling > 0);
}

/// Filters with `now` are not cached where roles may be read; where they may not, nobody's are without the operator's word.
async fn filters_that_move(scene: &Scene) {
    let bob = user("bob");
    let bob = [("authorization", bob.as_str())];
    let unknown = r#"escache; fwd=bypass; detail="scope-unknown at document filter of a role""#;
    let reads_roles = scene.proxy("admin", |settings| settings.scope.static_roles = false).await;
    warm(&reads_roles, &bob).await;
    scene.filter(r#"{"range":{"at":{"gte":"now-50y"}}}"#).await;
    tokio::time::sleep(GAP + ENFORCED).await;
    ask(&reads_roles, &bob).await;
    tokio::time::sleep(GAP + ENFORCED).await;
    for _ in 0..2 {
        assert_eq!(verdict(&ask(&reads_roles, &bob).await.headers), ("BYPASS", unknown));
    }
    warm(&reads_roles, &[("authorization", &user("alice"))]).await;
    scene.filter(&by("b")).await;
    warm(&reads_roles, &bob).await;

    let may_not = scene.proxy("watcher2", |settings| settings.scope.static_roles = false).await;
    tokio::time::sleep(GAP + ENFORCED).await;
    for _ in 0..2 {
        assert_eq!(verdict(&ask(&may_not, &bob).await.headers), ("BYPASS", unknown));
    }
}

/// The administrator may search an index that the watcher may not see.
async fn a_watcher_that_sees_less(scene: &Scene) {
    let (admin, alice) = (user("admin"), user("alice"));
    let blind = scene.proxy("monitor", |_| {}).await;
    let refused = ask(&blind, &[("authorization", &alice)]).await;
    let status = r#"escache; fwd=bypass; detail="scope-unknown at security index""#;
    assert_eq!(verdict(&refused.headers), ("BYPASS", status));

    for own in ["monitor", "watcher2"] {
        let lent = |settings: &mut ProxySettings| settings.policy.entry_ttl = Some(Duration::from_secs(3600));
        let escache = scene.proxy(own, lent).await;
        tokio::time::sleep(GAP + ENFORCED).await;
        for path in ["/*/_search", "/_search", "/other/_search", "/logs-1,other/_search"] {
            for _ in 0..3 {
                let answer = escache.send("GET", path, &[("authorization", &admin)], "").await;
                let (outcome, status) = verdict(&answer.headers);
                assert_eq!((answer.status, outcome), (200, "BYPASS"), "{own} {path}: {status}");
                assert!(status.contains("detail=generation-"), "{own} {path}: {status}");
            }
        }
        warm(&escache, &[("authorization", &admin)]).await;
    }
}

async fn users_who_change(scene: &Scene, escache: &Escache) {
    const PASSWORD: &str = "another-Long-1-passphrase";
    let (alice, bob) = (user("alice"), user("bob"));
    for name in [&alice, &bob] {
        warm(escache, &[("authorization", name)]).await;
    }
    scene.change("PUT", "/_plugins/_security/api/internalusers/alice", json!({"password": PASSWORD})).await;
    tokio::time::sleep(ENFORCED).await;
    assert_eq!(ask(escache, &[("authorization", &alice)]).await.status, 401);
    scene.check_cached(escache, &[("authorization", &basic("alice", PASSWORD))]).await;

    warm(escache, &[("authorization", &bob)]).await;
    scene.change("DELETE", "/_plugins/_security/api/internalusers/bob", json!({})).await;
    tokio::time::sleep(ENFORCED).await;
    assert_eq!(ask(escache, &[("authorization", &bob)]).await.status, 401);
}
