//! The program itself: start, reload, drain, exit codes.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::json;
use tokio::sync::Mutex;

use crate::support::engine::{Api, engine};
use crate::support::escache::{Escache, verdict};
use crate::support::http::Client;
use crate::support::patience::until;
use crate::support::program::{Program, program};
use crate::support::wire::{Wire, ask};

async fn search(client: &Client, program: &Program, headers: &[(&str, &str)]) -> String {
    let headers = [headers, &[("content-type", "application/json")]].concat();
    let answer = client.request("POST", format!("{}/logs/_search", program.url), &headers, "{}").await;
    assert_eq!(answer.status, 200);
    verdict(&answer.headers).0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_read_again_and_the_cache_stays() {
    let (engine, client) = (engine(), Client::new());
    let program = Program::start(&engine.url(), "key.ignore_headers: [x-team]\n");
    // stored for who sent x-team: b, which was ignored, and served to all
    assert_eq!(search(&client, &program, &[("x-team", "b")]).await, "MISS");
    assert_eq!(search(&client, &program, &[("x-team", "a")]).await, "HIT");
    assert_eq!(search(&client, &program, &[]).await, "HIT");

    program.write("key.ignore_headers: [x-team]\nlisten: 127.0.0.1:1\ncache.hits: false\nlog.level: warn\n");
    // the flag wins over the file, so the address has not changed
    let told = program.reload(&client).await;
    let expected = json!({"reloaded": true, "changed": ["cache.hits"], "restart_needed": ["log.level"]});
    assert_eq!(told, (200, expected));
    assert_eq!(search(&client, &program, &[]).await, "BYPASS");
    program.write("key.ignore_headers: [x-team]\n");
    program.signal(Signal::HUP);
    program.until_said("the configuration was read again");
    program.until_said("the configuration was read again");
    assert_eq!(search(&client, &program, &[]).await, "HIT", "the cache stayed");

    // nobody may get what was stored while a header was ignored that now is not
    program.write("");
    assert_eq!(program.reload(&client).await.1["changed"], json!(["key.ignore_headers"]));
    assert_eq!(search(&client, &program, &[]).await, "MISS");
    assert_eq!(search(&client, &program, &[("x-team", "b")]).await, "MISS");
    assert_eq!(search(&client, &program, &[("x-team", "a")]).await, "MISS");

    for broken in ["cache.hitz: 1\n", "http.ssl: {certificate: /nowhere, key: /nowhere}\ncache.hits: false\n"]
    {
        program.write(broken);
        let (status, told) = program.reload(&client).await;
        let reason = told["error"]["reason"].as_str().unwrap();
        assert!(status == 400 && reason.starts_with("nothing was changed: "), "{told}");
        assert!(reason.contains("cache.hits]?") || reason.contains("http.ssl.certificate"), "{told}");
        assert_eq!(search(&client, &program, &[]).await, "HIT");
    }
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code().await, Some(0));
}

/// That times alone decide is settled at the start; nobody is left with a bound that is not kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_bound_cannot_come_to_who_watches_for_nothing() {
    let (engine, client) = (engine(), Client::new());
    let program = Program::start(&engine.url(), "freshness.ttl_only: 60s\n");
    for bound in ["freshness.max_staleness: 1s\n", "rules:\n  - index: [a]\n    max_staleness: 0s\n"] {
        program.write(bound);
        let (status, told) = program.reload(&client).await;
        let reason = told["error"]["reason"].as_str().unwrap();
        assert!(status == 400 && reason.contains("freshness.ttl_only"), "{told}");
    }
    program.write("");
    let told = program.reload(&client).await;
    assert_eq!((told.0, &told.1["restart_needed"]), (200, &json!(["freshness.ttl_only"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_running_requests_and_has_a_deadline() {
    let (engine, client) = (engine(), Client::new());
    let program = Program::start(&engine.url(), "drain.timeout: 10m\n");
    let gate = engine.gate_before(Api::Doc);
    let mut running = Wire::to(&program.url).await;
    running.send("GET /logs/_doc/1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    gate.arrived(1).await;
    let mut idle = Wire::to(&program.url).await;
    idle.send("GET /_echo HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(idle.answer().await.status, 200);
    assert_eq!(client.get(format!("{}/ready", program.admin)).await.status, 200);
    program.signal(Signal::TERM);
    program.until_said("draining");
    // an idle connection is closed, and no other is let in, while the admin listener tells why
    assert_eq!(idle.rest().await, "");
    let ready =
        ask(&program.admin, "GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(ready.status == 503 && ready.text.ends_with("draining\n"), "{ready:?}");
    assert!(std::net::TcpStream::connect(crate::support::wire::address(&program.url)).is_err());
    gate.release();
    let answer = running.last_answer().await;
    assert!(answer.status == 200 && answer.text.contains("connection: close"), "{answer:?}");
    assert_eq!(program.exit_code().await, Some(0));

    // who does not end is cut off
    for (timeout, signals) in [("100ms", 1), ("10m", 2)] {
        let program = Program::start(&engine.url(), &format!("drain.timeout: {timeout}\n"));
        let gate = engine.gate_before(Api::Doc);
        let mut running = Wire::to(&program.url).await;
        running.send("GET /logs/_doc/1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        gate.arrived(1).await;
        for _ in 0..signals {
            program.signal(Signal::TERM);
            program.until_said(if signals == 1 { "still busy" } else { "drain" });
            if signals == 2 {
                program.signal(Signal::TERM);
                break;
            }
        }
        assert_eq!(program.exit_code().await, Some(0));
        assert_eq!(running.rest().await, "");
        gate.release();
    }
}

/// The signal comes while the engine is being asked who it is, and it takes its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_is_asked_for_during_the_start_is_made() {
    let (engine, client) = (engine(), Client::new());
    let gate = engine.gate_before(Api::Version);
    let program = Program::unmet(&[&engine.url()], "");
    gate.arrived(1).await;
    program.write("cache.hits: false\n");
    program.signal(Signal::HUP);
    // it is delivered before any later one is
    program.signal(Signal::HUP);
    gate.release();
    let told = program.until_said("the configuration was read again");
    assert!(told["changed"].to_string().contains("cache.hits"), "{told}");
    assert_eq!(search(&client, &program, &[]).await, "BYPASS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_changed_in_its_file_is_named() {
    let (engine, client) = (engine(), Client::new());
    let mut program = Program::start(&engine.url(), "");
    let (token, password) = (program.path("token"), program.path("password"));
    std::fs::write(&token, "one").unwrap();
    std::fs::write(&password, "one").unwrap();
    let config = |user: &str| {
        let [token, password] = [&token, &password].map(|path| path.display().to_string());
        format!(
            "admin.token_file: {token}\nupstream.credentials: {{username: {user}, password_file: {password}}}\n"
        )
    };
    let admin = program.admin.clone();
    let reload = async |secret: &str| {
        let headers = [("content-type", "application/json"), ("authorization", &format!("Bearer {secret}"))];
        client.request("POST", format!("{admin}/reload"), &headers, "{}").await.json()
    };
    program.write(&config("a"));
    let told = reload("").await;
    assert_eq!(told["changed"], json!(["admin.token_file"]), "{told}");
    assert_eq!(
        reload("one").await["restart_needed"],
        json!(["upstream.credentials.username", "upstream.credentials.password_file"]),
        "named until the restart"
    );
    std::fs::write(&token, "two").unwrap();
    assert_eq!(reload("one").await["changed"], json!(["admin.token_file"]));
    let told = reload("two").await;
    assert_eq!(told["changed"], json!([]), "{told}");
    std::fs::write(&password, "two").unwrap();
    program.start_again();
    assert_eq!(reload("two").await["restart_needed"], json!([]));
    std::fs::write(&password, "three").unwrap();
    assert_eq!(reload("two").await["restart_needed"], json!(["upstream.credentials.password_file"]));
}

#[test]
fn exit_codes_say_whose_fault_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let run = |config: &str, arguments: &[&str]| {
        std::fs::write(dir.path().join("escache.yml"), config).unwrap();
        let output = program(dir.path()).args(arguments).stderr(Stdio::piped()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run("listn: a:1\n", &[]);
    assert!(code == 78 && said.contains("did you mean [listen]"), "{code} {said}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, said) =
        run("", &["--listen", &taken.local_addr().unwrap().to_string(), "--admin", "127.0.0.1:0"]);
    assert!(code == 71 && said.contains("cannot listen on"), "{code} {said}");
    let tls = "http.ssl: {certificate: /nowhere, key: /nowhere}\n";
    let (code, said) = run(tls, &["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    assert!(code == 78 && said.contains("http.ssl.certificate: [/nowhere] cannot be read"), "{code} {said}");
    assert!(said.contains("escache listens"), "what was logged before is there: {said}");
    assert_eq!(run("", &["--frob"]).0, 2);
}

/// A clock that panics when somebody looks at it, as long as it is broken.
static BROKEN: AtomicBool = AtomicBool::new(false);

fn wall() -> SystemTime {
    assert!(!BROKEN.load(Ordering::SeqCst), "the clock is broken");
    SystemTime::now()
}

/// Who finds an entry looks at the clock, and so does `/entries`. With a bound there is no reading between.
#[tokio::test]
async fn a_panic_costs_one_request() {
    for bound in [Duration::from_secs(600), Duration::ZERO] {
        let engine = engine();
        let escache = Escache::start_with(&engine.url(), |settings| {
            settings.watcher.wall = wall;
            settings.policy.max_staleness = bound;
        })
        .await;
        let panics = || escache.proxy.stats.plain.panics.get();
        escache.search("/logs/_search", json!({})).await;
        let search = "GET /logs/_search HTTP/1.1\r\nHost: a\r\n\r\n";
        let wire = Mutex::new(Wire::to(&escache.url).await);
        BROKEN.store(true, Ordering::SeqCst);
        for number in 1..=2 {
            let mut wire = wire.lock().await;
            wire.send(search).await;
            let answer = wire.answer().await;
            if bound.is_zero() {
                // the reading has panicked, which costs no request
                assert!(answer.status == 200 && !answer.text.contains("x-cache: HIT"), "{answer:?}");
                continue;
            }
            assert_eq!((answer.status, panics()), (500, number));
            let (told, own) = (answer.json(), "escache_internal_exception");
            assert_eq!((&told["status"], &told["error"]["type"]), (&json!(500), &json!(own)), "{told}");
        }
        let entries = escache.client.get(format!("{}/entries", escache.admin)).await;
        assert_eq!((entries.status, entries.json()["status"].clone()), (500, json!(500)));
        let before = panics();
        assert_eq!(before, if bound.is_zero() { 1 } else { 3 });
        BROKEN.store(false, Ordering::SeqCst);
        // the same connection goes on, and so does the cache
        let hit = async || {
            let mut wire = wire.lock().await;
            wire.send(search).await;
            let answer = wire.answer().await;
            assert_eq!(answer.status, 200);
            answer.text.contains("x-cache: HIT")
        };
        until("hits", hit).await;
        assert_eq!(panics(), before);
    }
}
