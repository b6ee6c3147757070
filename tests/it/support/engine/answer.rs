//! An answer before it is sent, and the bodies that send it: whole, in pieces, late, cut off, or never.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use serde_json::{Map, Value, json};

use super::observe::InFlight;

/// What the engine says.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Payload,
}

/// What an answer carries.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// JSON; `filter_path` and `pretty` apply.
    Json(Value),
    /// Bytes as they are.
    Raw(Bytes),
    /// So many bytes; without a length if the flag is set.
    Zeros { bytes: u64, chunked: bool },
}

impl Answer {
    /// 200 with JSON.
    pub(crate) fn ok(value: Value) -> Self {
        Self::json(200, value)
    }

    /// JSON with a status.
    pub(crate) fn json(status: u16, value: Value) -> Self {
        Self { status, headers: Vec::new(), payload: Payload::Json(value) }
    }

    /// With one more header.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// An error in the engines' shape; `about` are its further fields.
    pub(crate) fn error(status: u16, kind: &str, reason: &str, about: &Value) -> Self {
        let mut fields = Map::from_iter([("type".into(), kind.into()), ("reason".into(), reason.into())]);
        fields.extend(about.as_object().unwrap().clone());
        let mut error = Map::from_iter([("root_cause".into(), json!([fields]))]);
        error.extend(fields);
        Self::json(status, json!({ "error": error, "status": status }))
    }

    /// 400 `illegal_argument_exception`.
    pub(crate) fn illegal(reason: &str) -> Self {
        Self::error(400, "illegal_argument_exception", reason, &json!({}))
    }

    /// No such endpoint.
    pub(crate) fn no_handler(method: &str, uri: &str) -> Self {
        Self::json(400, json!({ "error": format!("no handler found for uri [{uri}] and method [{method}]") }))
    }

    /// The endpoint exists, but not with this method.
    pub(crate) fn wrong_method(method: &str, uri: &str, allowed: &str) -> Self {
        let error =
            format!("Incorrect HTTP method for uri [{uri}] and method [{method}], allowed: [{allowed}]");
        Self::json(405, json!({ "error": error, "status": 405 })).with("allow", &allowed.replace(", ", ","))
    }
}

/// One step of sending a body.
pub(crate) enum Step {
    /// These bytes.
    Bytes(Bytes),
    /// So many zeros.
    Zeros(u64),
    /// Wait for this (a gate, a pause, or for ever).
    Wait(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// Let what was written go out, then cut the connection.
    Break,
}

/// A body as a list of steps. When it is dropped before its end, the request counts as aborted.
pub(crate) struct Outgoing {
    steps: VecDeque<Step>,
    length: Option<u64>,
    in_flight: Arc<InFlight>,
    flushed: bool,
}

impl Outgoing {
    /// A body of these steps; with a length, it is announced, whatever is sent.
    pub(crate) fn new(steps: Vec<Step>, length: Option<u64>, in_flight: Arc<InFlight>) -> Self {
        let body = Self { steps: steps.into(), length, in_flight, flushed: false };
        body.done_if_at_end();
        body
    }

    fn done_if_at_end(&self) {
        if self.steps.is_empty() {
            self.in_flight.answered();
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        loop {
            let bytes = match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Bytes(bytes)) => bytes,
                Some(Step::Zeros(left)) => {
                    let now = left.min(ZEROS.len() as u64);
                    if left > now {
                        self.steps.push_front(Step::Zeros(left - now));
                    }
                    Bytes::from_static(&ZEROS[..now as usize])
                }
                Some(Step::Wait(mut future)) => {
                    if future.as_mut().poll(context).is_pending() {
                        self.steps.push_front(Step::Wait(future));
                        return Poll::Pending;
                    }
                    self.done_if_at_end();
                    continue;
                }
                Some(Step::Break) if self.flushed => {
                    self.in_flight.cut();
                    return Poll::Ready(Some(Err(std::io::Error::other("cut off on command"))));
                }
                Some(Step::Break) => {
                    self.flushed = true;
                    self.steps.push_front(Step::Break);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            };
            self.done_if_at_end();
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Cuts bytes into pieces with a pause before each but the first.
pub(crate) fn slowly(bytes: &Bytes, piece: usize, pause: Duration) -> Vec<Step> {
    let mut steps = Vec::new();
    for (number, chunk) in bytes.chunks(piece.max(1)).enumerate() {
        if number > 0 {
            steps.push(Step::Wait(Box::pin(tokio::time::sleep(pause))));
        }
        steps.push(Step::Bytes(bytes.slice_ref(chunk)));
    }
    steps
}
