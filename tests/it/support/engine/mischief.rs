//! Misbehaviour on command: which requests fare how.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Engine;
use super::answer::{Answer, Payload};
use super::api::Api;
use super::gate::{At, Door, Gate, Which};
use super::observe::Seen;

/// A way to misbehave.
#[derive(Clone, Debug)]
pub(crate) enum Twist {
    /// Answers with this status and body, and evaluates nothing.
    Status(u16, Bytes),
    /// Closes the connection instead of answering. Nothing was evaluated.
    Drop,
    /// Evaluates (a write happens), then closes the connection instead of answering.
    DropAfter,
    /// Never answers.
    Hang,
    /// Waits before it evaluates.
    Delay(Duration),
    /// Announces the whole body, sends so many bytes of it, and cuts the connection.
    Truncate(usize),
    /// Sends the body in pieces of so many bytes with a pause between them.
    Slow(usize, Duration),
    /// Sends the body without a length.
    Chunked,
    /// `_shards.failed` is 1, with a failure listed.
    ShardFailed,
    /// `successful` is less than `total`, and no failure is shown.
    ShardMissing,
    /// `timed_out: true`.
    TimedOut,
    /// `terminated_early: true`.
    TerminatedEarly,
    /// Another value at this JSON pointer, which must be there. No counter moves.
    Set(&'static str, Value),
    /// One more response header: `Age`, `X-Cache`, `Set-Cookie`.
    Header(&'static str, String),
    /// The asker may not see this index: wildcards and aliases pass it over in silence, its name is answered by 403.
    HideIndex(String),
}

impl Twist {
    /// Any status, with a body in the engines' shape.
    pub(crate) fn error(status: u16, kind: &str, reason: &str) -> Self {
        let cause = json!({ "type": kind, "reason": reason });
        let error = json!({ "root_cause": [cause], "type": kind, "reason": reason });
        Self::Status(status, json!({ "error": error, "status": status }).to_string().into())
    }

    /// 403 for lack of this privilege.
    pub(crate) fn forbidden(action: &str) -> Self {
        let reason = format!("action [{action}] is unauthorized for user [reader]");
        Self::error(403, "security_exception", &reason)
    }

    /// Changes a finished answer.
    pub(crate) fn apply(&self, answer: &mut Answer) {
        if let Self::Header(name, value) = self {
            answer.headers.push(((*name).into(), value.clone()));
        }
        let Payload::Json(body) = &mut answer.payload else { return };
        match self {
            Self::ShardFailed => {
                let failure = json!({
                    "shard": 0, "index": "any", "node": "any",
                    "reason": { "type": "exception", "reason": "failed on command" },
                });
                one_shard_fewer(body);
                body["_shards"]["failed"] = 1.into();
                body["_shards"]["failures"] = json!([failure]);
            }
            Self::ShardMissing => one_shard_fewer(body),
            Self::TimedOut => body["timed_out"] = true.into(),
            Self::Set(at, value) => {
                *body.pointer_mut(at).unwrap_or_else(|| panic!("nothing at {at}")) = value.clone();
            }
            Self::TerminatedEarly => body["terminated_early"] = true.into(),
            _ => {}
        }
    }
}

fn one_shard_fewer(body: &mut Value) {
    let successful = body["_shards"]["successful"].as_u64().unwrap_or(1);
    body["_shards"]["successful"] = successful.saturating_sub(1).into();
}

/// What is set on a host.
#[derive(Default)]
pub(crate) struct Mischief {
    rules: Mutex<Vec<Rule>>,
    doors: Mutex<Vec<Arc<Door>>>,
}

struct Rule {
    which: Which,
    times: Option<usize>,
    twist: Twist,
}

impl Mischief {
    /// The twists for this request; those that are set for a number of requests are used up.
    pub(crate) fn twists(&self, request: &Seen) -> Vec<Twist> {
        let mut rules = self.rules.lock().unwrap();
        let mut twists = Vec::new();
        for rule in rules.iter_mut().filter(|rule| (rule.which)(request)) {
            if let Some(times) = &mut rule.times {
                *times -= 1;
            }
            twists.push(rule.twist.clone());
        }
        rules.retain(|rule| rule.times != Some(0));
        twists
    }

    /// The closed gates in the way of this request.
    pub(crate) fn doors(&self, at: At, request: &Seen) -> Vec<Arc<Door>> {
        let mut doors = self.doors.lock().unwrap();
        doors.retain(|door| !door.is_open());
        doors.iter().filter(|door| door.at == at && (door.which)(request)).cloned().collect()
    }
}

/// Sets gates and misbehaviour for some requests: `engine.on(Api::Search).always(Twist::TimedOut)`.
pub(crate) struct On<'a> {
    engine: &'a Engine,
    which: Which,
}

impl On<'_> {
    /// Only requests of which this is true.
    pub(crate) fn when(self, condition: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Self {
        let which = self.which;
        Self { which: Arc::new(move |request| which(request) && condition(request)), ..self }
    }

    /// Every such request from now on, until `calm`.
    pub(crate) fn always(self, twist: Twist) -> Self {
        self.add(None, twist)
    }

    /// Only the next such request. Several add up for the same request.
    pub(crate) fn next(self, twist: Twist) -> Self {
        self.add(Some(1), twist)
    }

    /// The next so many such requests.
    pub(crate) fn times(self, times: usize, twist: Twist) -> Self {
        assert!(times > 0, "no times at all");
        self.add(Some(times), twist)
    }

    /// A gate in the way of such requests, closed.
    pub(crate) fn gate(self, at: At) -> Gate {
        let gate = Gate::new(at, self.which, self.engine.runtime().handle().clone());
        self.engine.host.mischief.doors.lock().unwrap().push(gate.door());
        gate
    }

    fn add(self, times: Option<usize>, twist: Twist) -> Self {
        let rule = Rule { which: self.which.clone(), times, twist };
        self.engine.host.mischief.rules.lock().unwrap().push(rule);
        self
    }
}

impl Engine {
    /// Requests of this kind.
    pub(crate) fn on(&self, api: Api) -> On<'_> {
        self.on_any().when(move |request| request.api == api)
    }

    /// Requests of any kind.
    pub(crate) fn on_any(&self) -> On<'_> {
        On { engine: self, which: Arc::new(|_| true) }
    }

    /// The next request of this kind gets this status and body.
    pub(crate) fn fail_next(&self, api: Api, status: u16, body: impl Into<Bytes>) {
        self.on(api).next(Twist::Status(status, body.into()));
    }

    /// A gate that stops requests before anything is evaluated.
    pub(crate) fn gate_before(&self, api: Api) -> Gate {
        self.on(api).gate(At::Before)
    }

    /// A gate that stops requests between their evaluation and their answer.
    pub(crate) fn gate_after(&self, api: Api) -> Gate {
        self.on(api).gate(At::After)
    }

    /// A gate in the middle of the answer's body.
    pub(crate) fn gate_body(&self, api: Api) -> Gate {
        self.on(api).gate(At::Body)
    }

    /// No misbehaviour any more. Gates stay.
    pub(crate) fn calm(&self) {
        self.host.mischief.rules.lock().unwrap().clear();
    }
}
