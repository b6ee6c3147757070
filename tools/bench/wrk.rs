//! Drives a server with wrk, and reads what it says.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Failure;

use super::places::pinned;

/// What is sent.
#[derive(Clone, Debug)]
pub(super) enum Load {
    /// The same bytes again and again.
    Same,
    /// The same bytes again and again, from a client that wants gzip.
    Gzip,
    /// So many different bodies in turn.
    Keys(u64),
    /// A body that was never sent before.
    Fresh,
    /// The same question in other words: other order of members, other white space; bytes that never repeat.
    Reordered,
    /// GET without a body, for servers that cache no other.
    Get,
    /// The same body to these paths in turn.
    Paths(Vec<String>),
}

/// One run of wrk.
#[derive(Clone, Debug)]
pub(super) struct Drive<'a> {
    /// Scheme and address.
    pub(super) base: &'a str,
    pub(super) path: &'a str,
    pub(super) load: Load,
    pub(super) connections: usize,
    pub(super) seconds: u64,
    pub(super) core: Option<usize>,
}

/// What wrk found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Driven {
    pub(super) requests: f64,
    pub(super) seconds: f64,
    /// Milliseconds.
    pub(super) p50: f64,
    /// Milliseconds.
    pub(super) p99: f64,
    pub(super) errors: f64,
}

/// The members of the search that is sent, about 600 bytes; `{n}` is a number of ten digits.
const MEMBERS: [&str; 4] = [
    r#""size":0"#,
    r#""track_total_hits":true"#,
    r#""query":{"bool":{"must":[{"multi_match":{"query":"red leather sneaker","fields":["title^3","description"],"operator":"and"}}],"filter":[{"term":{"category":"shoes"}},{"terms":{"brand":["acme","globex","initech","umbrella","hooli"]}},{"range":{"price":{"gte":10.5,"lt":{n}}}},{"range":{"stock":{"gt":0}}}]}}"#,
    r#""aggs":{"brands":{"terms":{"field":"brand","size":30}},"ratings":{"histogram":{"field":"rating","interval":1}},"prices":{"percentiles":{"field":"price","percents":[25,50,75,95]}}}"#,
];

/// Numbers of keys begin here.
const FIRST: u64 = 1_000_000_000;

/// The search with this number.
pub(super) fn body(number: u64) -> String {
    format!("{{{}}}", MEMBERS.join(",")).replace("{n}", &(FIRST + number).to_string())
}

/// A number of which no run before has come close.
pub(super) fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(10_000_000);
    NEXT.fetch_add(2_000_000, Ordering::Relaxed)
}

/// All orders of the members, as texts of equal length without their brackets.
fn orders() -> Vec<String> {
    let mut orders = Vec::new();
    let all = 0..MEMBERS.len();
    for a in all.clone() {
        for b in all.clone().filter(|b| *b != a) {
            for c in all.clone().filter(|c| *c != a && *c != b) {
                for d in all.clone().filter(|d| ![a, b, c].contains(d)) {
                    orders
                        .push([a, b, c, d].map(|n| MEMBERS[n]).join(",").replace("{n}", &FIRST.to_string()));
                }
            }
        }
    }
    orders
}

const DONE: &str = r#"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

/// The head of a request with a body of so many bytes, as a text of Lua.
fn head(host: &str, path: &str, length: usize) -> String {
    format!(
        r#""POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n""#
    )
}

fn script(drive: &Drive<'_>) -> String {
    let host = drive.base.trim_start_matches("http://");
    let first = body(0);
    let head = |length| head(host, drive.path, length);
    let own = match &drive.load {
        Load::Get => String::new(),
        Load::Same | Load::Gzip => {
            let gzip = match drive.load {
                Load::Gzip => "wrk.headers[\"Accept-Encoding\"] = \"gzip\"\n",
                _ => "",
            };
            format!(
                "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\n{gzip}wrk.body = [==[{first}]==]\n"
            )
        }
        Load::Keys(_) | Load::Fresh => {
            let number = FIRST.to_string();
            let (before, after) = first.split_once(&number).unwrap_or_default();
            // a stride without a common divisor visits all keys, and none soon again
            let (start, step) = match &drive.load {
                Load::Keys(count) => (0, format!("(i + 7919) % {count}")),
                _ => (fresh(), "i + 1".to_owned()),
            };
            format!(
                "local before = {} .. [==[{before}]==]\nlocal after = [==[{after}]==]\nlocal i = {start}\n\
                 function request()\n  i = {step}\n  return before .. string.format(\"%d\", {FIRST} + i) .. after\nend\n",
                head(first.len())
            )
        }
        Load::Reordered => {
            let orders = orders();
            let mut list = String::new();
            for order in &orders {
                let _ = write!(list, "[==[{{{order}]==],");
            }
            format!(
                "local head = {}\nlocal orders = {{{list}}}\nlocal spaces = {{}}\nlocal kinds = {{\" \", \"\\t\", \"\\n\", \"\\r\"}}\n\
                 for i = 0, 1023 do\n  local s = \"\"\n  local n = i\n  for _ = 1, 5 do s = s .. kinds[n % 4 + 1]; n = math.floor(n / 4) end\n  spaces[i] = s\nend\n\
                 local i = {}\nfunction request()\n  i = i + 1\n  return head .. orders[i % {} + 1] .. spaces[i % 1024] .. spaces[math.floor(i / 1024) % 1024] .. spaces[math.floor(i / 1048576) % 1024] .. \"}}\"\nend\n",
                head(first.len() + 15),
                fresh(),
                orders.len()
            )
        }
        Load::Paths(paths) => {
            let mut list = String::new();
            for path in paths {
                let _ = write!(list, "{} .. [==[{first}]==],", self::head(host, path, first.len()));
            }
            format!(
                "local all = {{{list}}}\nlocal i = 0\nfunction request()\n  i = i + 1\n  return all[i % {} + 1]\nend\n",
                paths.len()
            )
        }
    };
    own + DONE
}

impl Drive<'_> {
    /// Runs wrk to its end.
    pub(super) async fn run(&self, work: &Path) -> Result<Driven, Failure> {
        let file = work.join("wrk.lua");
        std::fs::write(&file, script(self))?;
        let mut wrk = pinned(self.core, "wrk");
        wrk.args(["-t1", "--timeout", "10s"]);
        wrk.arg(format!("-c{}", self.connections)).arg(format!("-d{}s", self.seconds));
        wrk.arg("-s").arg(&file).arg(format!("{}{}", self.base, self.path));
        let ended = tokio::task::spawn_blocking(move || wrk.output()).await??;
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        let found = text.lines().find_map(|line| line.strip_prefix("RESULT "));
        let Some(found) = found else {
            let said = String::from_utf8_lossy(&ended.stderr);
            return Err(format!("wrk did not say what it found: {text}{said}").into());
        };
        let numbers: Vec<f64> = found.split(' ').filter_map(|number| number.parse().ok()).collect();
        let [requests, micros, p50, p99, errors] = numbers.as_slice() else {
            return Err(format!("wrk said {found}").into());
        };
        Ok(Driven {
            requests: *requests,
            seconds: micros / 1e6,
            p50: p50 / 1e3,
            p99: p99 / 1e3,
            errors: *errors,
        })
    }
}
