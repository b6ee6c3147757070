//! The program itself: start, reload, drain, exit codes.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::engine::{Api, Engine};
use crate::support::escache::verdict;
use crate::support::http::Client;
use crate::support::wire::{Wire, ask};

/// How long the program may take to say or do something.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running program, killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    log: mpsc::Receiver<Value>,
    dir: TempDir,
    pub(crate) url: String,
    pub(crate) admin: String,
}

impl Program {
    /// Starts it with this configuration besides its addresses, in front of `upstream`.
    pub(crate) fn start(upstream: &str, config: &str) -> Program {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("escache.yml"), config).unwrap();
        let mut command = program(dir.path());
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream", upstream]);
        // no test depends on speed
        command.envs([("ESCACHE_LOG_FORMAT", "json"), ("ESCACHE_FRESHNESS_READING_DEARER", "wait")]);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let mut program = Program { child, log, dir, url: String::new(), admin: String::new() };
        let said = program.until_said("escache listens");
        let of = |name: &str| format!("http://{}", said[name].as_str().unwrap());
        (program.url, program.admin) = (of("listen"), of("admin"));
        program.until_said("the engine answers");
        program
    }

    /// Waits for a line of the log.
    pub(crate) fn until_said(&self, words: &str) -> Value {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("never said: {words}"));
            let fields = line.get("fields").cloned().unwrap_or_else(|| line.clone());
            if line.to_string().contains(words) {
                return fields;
            }
        }
    }

    /// What of its memory is resident, in bytes.
    pub(crate) fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    fn write(&self, config: &str) {
        std::fs::write(self.dir.path().join("escache.yml"), config).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    async fn reload(&self, client: &Client) -> (u16, Value) {
        client.json("POST", &format!("{}/reload", self.admin), Some(json!({}))).await
    }

    async fn exit_code(mut self) -> Option<i32> {
        let exited = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, exited).await.expect("it exits")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with the configuration of this folder, and none of the environment's.
fn program(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_escache"));
    command.env_clear().stderr(Stdio::piped()).stdout(Stdio::null());
    command.arg("--config").arg(dir.join("escache.yml"));
    command
}

fn engine() -> Engine {
    let engine = Engine::start();
    engine.index("logs", "1", json!({"a": 1}));
    engine.refresh("logs");
    engine
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_running_requests_and_has_a_deadline() {
    let (engine, client) = (engine(), Client::new());
    let program = Program::start(&engine.url(), "drain.timeout: 20s\n");
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
    assert_eq!(run("", &["--frob"]).0, 2);
}
