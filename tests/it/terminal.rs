//! The commands for the terminal, as they are run.

use std::fs;
use std::io::pipe;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use escache::surface::admin::{Controls, Token};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::engine::Engine;
use crate::support::escache::{Escache, two, verdict};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `escache` with the listener's address, in a directory of its own.
async fn run(escache: &Escache, line: &str, directory: &Path) -> (i32, String, String) {
    run_into(Stdio::piped(), escache, line, directory).await
}

/// The same, with what it prints going there.
async fn run_into(out: Stdio, escache: &Escache, line: &str, directory: &Path) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_escache"));
    command.current_dir(directory).args(line.split(' ')).env_remove("ESCACHE_ADMIN_TOKEN");
    if !escache.admin.is_empty() {
        command.args(["--url", &escache.admin]);
    }
    command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()).kill_on_drop(true);
    let done = command.spawn().unwrap().wait_with_output();
    let Output { status, stdout, stderr } = timeout(PATIENCE, done).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

async fn start() -> (Engine, Escache, TempDir) {
    let (engine, escache) = two().await;
    let files = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("body", "{\"size\": 1}"),
        ("console", "# as in the console\nGET /logs/_search?scroll=1m\nX-Opaque-Id: 7\n\n{\"size\": 1}\n"),
        ("list", "{\"path\":\"/logs/_search\",\"body\":{\"size\":1}}\n{\"path\":\"/logs/_count\"}\n"),
        ("writes", "[{\"method\":\"PUT\",\"path\":\"/logs/_doc/1\"},\n{\"path\":\"/logs/_search\"}]"),
        ("token", "hush\n"),
        ("nothing", "hello world"),
    ] {
        fs::write(files.path().join(name), text).unwrap();
    }
    (engine, escache, files)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_escache_is_asked_from_a_terminal() {
    let (engine, escache, files) = start().await;
    let at = files.path();
    let (code, out, err) = run(&escache, "explain body --index logs", at).await;
    assert_eq!((code, out.lines().next(), err.as_str()), (0, Some("POST /logs/_search"), ""), "{out}");
    assert!(out.contains("\nverdict              cacheable\n"), "{out}");
    let (code, out, _) = run(&escache, "explain --json console", at).await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["reason"]), (3, &json!("stateful")), "{out}");
    let (code, _, err) = run(&escache, "explain nothing", at).await;
    let neither = "nothing: [hello world] is neither a request line nor JSON";
    assert!(code == 1 && err.contains(neither) && err.contains("METHOD /path"), "{code} {err}");
    // standard input is empty
    for line in ["explain -", "explain - --index logs"] {
        let (code, out, err) = run(&escache, line, at).await;
        assert!(code == 1 && err.contains("standard input: there is no request in it"), "{code} {out} {err}");
    }

    let (code, out, _) = run(&escache, "warm list", at).await;
    assert_eq!((code, out.as_str()), (0, "       2 in the list\n       2 asked, and stored\n"));
    let hit = escache.search("/logs/_search", json!({"size": 1})).await;
    assert_eq!(verdict(&hit.headers).0, "HIT");
    let (code, out, _) = run(&escache, "warm writes --json", at).await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["stored"], &told["refused"]), (3, &json!(1), &json!(1)), "{out}");

    let (code, out, _) = run(&escache, "stats", at).await;
    assert!(
        code == 0
            && out.contains(": ready\n")
            && out.contains("\nhit ratio              25.0 % (hits 1, misses 3)")
            && out.contains("\ncache                  3 entries"),
        "{out}"
    );
    let (_, out, _) = run(&escache, "stats --json", at).await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["requests"]["search"]["hit"], 1, "{out}");
    drop(engine);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_has_an_exit_code() {
    let (_engine, mut escache, files) = start().await;
    let at = files.path();
    escache.listeners[1].control(Controls { token: Some(Token::new("hush")), ..Controls::default() });
    let (code, _, err) = run(&escache, "stats", at).await;
    assert!(code == 1 && err.contains("wants its token"), "{code} {err}");
    let (code, _, err) = run(&escache, "stats --token-file token", at).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let (code, _, err) = run(&escache, "warm missing --token-file token", at).await;
    assert!(code == 1 && err.contains("missing: cannot be read"), "{code} {err}");
    let (code, _, _) = run(&escache, "stats --every 0", at).await;
    assert_eq!(code, 2);
    escache.admin = "http://127.0.0.1:1".to_owned();
    let (code, _, err) = run(&escache, "stats", at).await;
    assert!(code == 1 && err.contains("127.0.0.1:1 does not answer"), "{code} {err}");
    escache.admin.clear();
    let (code, _, err) = run(&escache, "stats --config nothing", at).await;
    assert!(code == 78 && err.contains("the configuration cannot be used"), "{code} {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_read_enough_ends_a_command_quietly() {
    let (_engine, mut escache, files) = start().await;
    let closed = || {
        let (_, writer) = pipe().unwrap();
        Stdio::from(writer)
    };
    let asking = [
        ("stats", 0),
        ("stats --json", 0),
        ("stats --watch --every 1", 0),
        ("explain body", 0),
        ("explain --json console", 3),
        ("warm list", 0),
    ];
    for (line, expected) in asking {
        let (code, _, err) = run_into(closed(), &escache, line, files.path()).await;
        assert_eq!((code, err.as_str()), (expected, ""), "{line}");
    }
    escache.admin.clear();
    for line in ["completions bash", "man", "check", "--help"] {
        let (code, _, err) = run_into(closed(), &escache, line, files.path()).await;
        assert_eq!((code, err.as_str()), (0, ""), "{line}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_said() {
    let (_engine, mut escache, files) = start().await;
    let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
    let (code, _, err) = run_into(full(), &escache, "stats", files.path()).await;
    assert!(code == 74 && err.contains("standard output cannot be written"), "{code} {err}");
    escache.admin.clear();
    for line in ["completions fish", "man", "check"] {
        let (code, _, err) = run_into(full(), &escache, line, files.path()).await;
        assert!(code == 74 && err.contains("standard output cannot be written"), "{line}: {code} {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_and_man_know_every_command() {
    let (_engine, mut escache, files) = start().await;
    escache.admin.clear();
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run(&escache, &format!("completions {shell}"), files.path()).await;
        for word in ["check", "health", "stats", "explain", "warm", "max-staleness", "token-file"] {
            assert!(code == 0 && out.contains(word), "{shell} {word}");
        }
    }
    let (code, out, _) = run(&escache, "man", files.path()).await;
    assert!(code == 0 && out.starts_with(".ie") && out.contains(".TH escache 1"), "{}", &out[..200]);
    for word in ["stats", "explain", "warm", "Exit codes: 0 done"] {
        assert!(out.contains(word), "{word}");
    }
}
