//! The body of every request and answer that passes: whole, streamed, or a beginning with the rest of a stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::budget::{Budget, SMALL, Share, hold};
use crate::error::ProxyError;
use crate::stats::Stats;

/// A body.
#[derive(Debug)]
pub enum Body {
    /// All of it, in memory; `None` when it was taken.
    Whole(Option<Bytes>),
    /// A stream, as it comes.
    Stream(Stream),
    /// The beginning in memory, and the rest of the stream.
    Rest(VecDeque<Bytes>, Stream),
}

impl Body {
    /// No body.
    #[must_use]
    pub fn empty() -> Body {
        Body::Whole(None)
    }

    /// A body in memory.
    pub fn whole(bytes: impl Into<Bytes>) -> Body {
        let bytes = bytes.into();
        Body::Whole((!bytes.is_empty()).then_some(bytes))
    }

    /// The next part of it: of a body that is whole in memory at most so many bytes, so that it is asked for the next one only
    /// when its reader has taken most of this one.
    pub fn poll_part(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Body::Whole(Some(bytes)) if bytes.len() > most => {
                Poll::Ready(Some(Ok(Frame::data(bytes.split_to(most)))))
            }
            _ => Pin::new(this).poll_frame(cx),
        }
    }

    /// The same body once more, if it is all here.
    pub(super) fn again(&self) -> Option<Body> {
        match self {
            Body::Whole(bytes) => Some(Body::Whole(bytes.clone())),
            Body::Stream(stream) => stream.is_end_stream().then(Body::empty),
            Body::Rest(..) => None,
        }
    }
}

/// A body that comes from a connection, within times.
#[derive(Debug)]
pub struct Stream {
    incoming: Incoming,
    pause: Option<Pause>,
}

/// Who sends a body.
#[derive(Clone, Copy, Debug)]
enum Sender {
    Client,
    Engine,
}

/// How long who sends a body may pause in it.
#[derive(Debug)]
struct Pause {
    sender: Sender,
    limit: Duration,
    /// Whether the limit is one for all that is still to come, and not for each pause.
    whole: bool,
    /// Runs while something is waited for, and once it was, until the whole is there. What is at hand needs no timer.
    over: Option<Pin<Box<Sleep>>>,
    stats: Arc<Stats>,
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection broke, or what came was no body.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// Nothing came for this long.
    #[error("nothing came for {0:?}")]
    Slow(Duration),
    /// It was taken away from who was to send it. Its end must not look like the end of a whole body.
    #[error("given up")]
    GivenUp,
}

impl BodyError {
    /// What it means where the body was that of a client's request.
    #[must_use]
    pub fn of_request(&self) -> ProxyError {
        match self {
            BodyError::Broken(_) | BodyError::GivenUp => ProxyError::BrokenRequest,
            BodyError::Slow(limit) => ProxyError::SlowRequest(*limit),
        }
    }

    /// What it means where the body was that of the engine's answer.
    #[must_use]
    pub fn of_answer(&self) -> ProxyError {
        match self {
            BodyError::Broken(_) | BodyError::GivenUp => ProxyError::BrokenAnswer(self.to_string()),
            BodyError::Slow(limit) => ProxyError::TimedOut(*limit),
        }
    }
}

impl Stream {
    /// The body of a client's request. It fails if nothing comes for `limit`, or if it is collected and is not all
    /// there by then.
    #[must_use]
    pub fn of_client(incoming: Incoming, limit: Duration, stats: Arc<Stats>) -> Stream {
        Stream::within(Sender::Client, incoming, limit, stats)
    }

    /// The body of an answer of the engine, by the same rule: who waits for the rest of it does not wait for ever.
    pub(super) fn of_engine(incoming: Incoming, limit: Duration, stats: Arc<Stats>) -> Stream {
        Stream::within(Sender::Engine, incoming, limit, stats)
    }

    fn within(sender: Sender, incoming: Incoming, limit: Duration, stats: Arc<Stats>) -> Stream {
        let pause = Pause { sender, limit, whole: false, over: None, stats };
        Stream { pause: (!incoming.is_end_stream()).then_some(pause), incoming }
    }

    /// From now on the limit of time is one for all that is still to come, or one for each pause.
    fn limit_whole(&mut self, whole: bool) {
        if let Some(pause) = &mut self.pause {
            (pause.whole, pause.over) = (whole, None);
        }
    }
}

impl Pause {
    /// Called when nothing is there.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let over = self.over.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limit)));
        over.as_mut().poll(cx).map(|()| self.fail())
    }

    fn fail(&self) -> BodyError {
        let counters = &self.stats.plain;
        match self.sender {
            Sender::Client => counters.limited_slow_bodies.inc(),
            Sender::Engine => counters.upstream_errors.inc(),
        }
        BodyError::Slow(self.limit)
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.incoming).poll_frame(cx).map_err(BodyError::Broken);
        match (&mut this.pause, frame.is_pending()) {
            (Some(pause), true) => pause.poll(cx).map(|slow| Some(Err(slow))),
            (Some(pause), false) if !pause.whole => {
                pause.over = None;
                frame
            }
            _ => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Body::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Body::Stream(stream) => Pin::new(stream).poll_frame(cx),
            Body::Rest(begin, stream) => match begin.pop_front() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Pin::new(stream).poll_frame(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(bytes) => bytes.is_none(),
            Body::Stream(stream) => stream.is_end_stream(),
            Body::Rest(begin, stream) => begin.is_empty() && stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Body::Stream(stream) => stream.size_hint(),
            Body::Rest(begin, stream) => {
                let held = begin.iter().map(|b| b.remaining() as u64).sum();
                behind(held, &stream.size_hint())
            }
        }
    }
}

/// How long a body is of which so many bytes come before what is hinted at.
#[must_use]
pub fn behind(bytes: u64, rest: &SizeHint) -> SizeHint {
    let mut hint = SizeHint::new();
    if let Some(upper) = rest.upper() {
        hint.set_upper(bytes + upper);
    }
    hint.set_lower(bytes + rest.lower());
    hint
}

/// A body on its way to the engine, with a sign for when it has been sent: the client drops it then. It stays in a place
/// from which it can be taken back.
#[derive(Debug)]
pub(super) struct Outgoing {
    slot: Slot,
}

/// How a body is being sent.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// The next part has not come from the client yet, or is not wanted yet.
    Waits,
    /// The latest part was taken then.
    Taken(Instant),
    /// It has been sent since then, or given up.
    Over(Instant),
}

/// Where a body is while it waits and while it is sent, so that it can be taken away from whoever sends it.
#[derive(Clone, Debug)]
pub(super) struct Slot(Arc<Mutex<Place>>);

#[derive(Debug)]
struct Place {
    body: Option<Body>,
    /// Whether somebody has asked for a part of it.
    begun: bool,
    progress: Progress,
}

impl Slot {
    /// The body, if nothing of it was sent.
    pub(super) fn unsent(&self) -> Option<Body> {
        let mut place = self.lock();
        if place.begun { None } else { place.body.take() }
    }

    /// Nobody waits for what becomes of it: its client is not read any more, though who sends it may be stuck.
    pub(super) fn give_up(&self) {
        let body = self.lock().body.take();
        drop(body);
    }

    /// Completes when the body was sent `limit` ago, or there is more to send and nobody has wanted it for `limit`. Time
    /// in which the client has sent nothing does not count. It looks from time to time, so that nobody has to wake it.
    pub(super) async fn stalled(&self, limit: Duration) {
        let mut until = Instant::now() + limit;
        loop {
            tokio::time::sleep_until(until).await;
            let now = Instant::now();
            let since = match self.lock().progress {
                Progress::Waits => now,
                Progress::Taken(at) | Progress::Over(at) => at,
            };
            until = since + limit;
            if until <= now {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outgoing {
    /// With the place where it waits.
    pub(super) fn new(body: Body) -> (Outgoing, Slot) {
        let place = Place { body: Some(body), begun: false, progress: Progress::Waits };
        let slot = Slot(Arc::new(Mutex::new(place)));
        (Outgoing { slot: slot.clone() }, slot)
    }

    /// Looks at the body.
    fn look<T>(&self, look: impl FnOnce(&Body) -> T) -> Option<T> {
        self.slot.lock().body.as_ref().map(look)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.slot.lock().progress = Progress::Over(Instant::now());
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut place = self.slot.lock();
        place.begun = true;
        let frame = match &mut place.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(Some(Err(BodyError::GivenUp))),
        };
        // who has a part is to take the next one in time; who finds none waits for the client
        place.progress = match frame {
            Poll::Ready(_) => Progress::Taken(Instant::now()),
            Poll::Pending => Progress::Waits,
        };
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.look(HttpBody::is_end_stream).unwrap_or(false)
    }

    fn size_hint(&self) -> SizeHint {
        self.look(HttpBody::size_hint).unwrap_or_default()
    }
}

/// What came of collecting a body.
#[derive(Debug)]
pub enum Collected {
    /// All of it. It may be a part of the connection's read buffer, and keeps that alive: what is kept for long is
    /// copied by who keeps it.
    Whole(Bytes),
    /// It is not taken whole: what was read, the rest, and why.
    TooLong(Body, Excess),
}

/// Why a body is not taken whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It is longer than the limit.
    Limit,
    /// There is no room for it in memory (`limits.max_buffered`).
    Memory,
}

/// Reads the body of a request up to `limit` bytes. What has to be waited for takes of the budget as it comes, as long as
/// anybody has it; a body that came with its head is no more than what was read at once.
///
/// # Errors
/// The body broke off, or took longer than it may.
pub async fn collect(stream: Stream, limit: usize, budget: &Arc<Budget>) -> Result<Collected, BodyError> {
    gather(stream, limit, Some(budget), usize::MAX).await
}

/// Reads the body of an answer up to `limit` bytes. All but the [smallest](SMALL) that come at once take of the budget, as
/// long as anybody has them: their clients may read slowly.
///
/// # Errors
/// The body broke off, or took longer than it may.
pub async fn collect_answer(
    stream: Stream,
    limit: usize,
    budget: &Arc<Budget>,
) -> Result<Collected, BodyError> {
    gather(stream, limit, Some(budget), SMALL).await
}

/// Reads the body of an answer to a question of escache's own.
pub(super) async fn collect_own(stream: Stream, limit: usize) -> Result<Collected, BodyError> {
    gather(stream, limit, None, usize::MAX).await
}

/// What is at hand as a whole, and has fewer bytes than `at_once`, takes nothing of the budget.
async fn gather(
    mut stream: Stream,
    limit: usize,
    budget: Option<&Arc<Budget>>,
    at_once: usize,
) -> Result<Collected, BodyError> {
    if stream.size_hint().lower() > limit as u64 {
        return Ok(Collected::TooLong(Body::Stream(stream), Excess::Limit));
    }
    stream.limit_whole(true);
    let Some(first) = data(&mut stream).await? else { return Ok(Collected::Whole(Bytes::new())) };
    let gathered = || Gathered { whole: BytesMut::new(), share: budget.map(Budget::share) };
    if stream.is_end_stream() && first.len() <= limit {
        if first.len() < at_once {
            return Ok(Collected::Whole(first));
        }
        let mut gathered = gathered();
        return Ok(match (gathered.take(first.len()), gathered.share) {
            (true, Some(share)) => Collected::Whole(hold(first, share)),
            (true, None) => Collected::Whole(first),
            (false, _) => Collected::TooLong(Body::whole(first), Excess::Memory),
        });
    }
    // a part of the connection's read buffer keeps all of that alive: many of them are copied at once
    let rest = usize::try_from(stream.size_hint().lower()).unwrap_or_default();
    let expected = first.len().saturating_add(rest);
    let (mut gathered, mut part) = (gathered(), Some(first));
    while let Some(bytes) = part {
        let excess = if gathered.whole.len() + bytes.len() > limit {
            Some(Excess::Limit)
        } else {
            (!gathered.has_room_for(bytes.len(), expected)).then_some(Excess::Memory)
        };
        if let Some(excess) = excess {
            stream.limit_whole(false);
            let begin = [gathered.end(), bytes].into_iter().filter(|bytes| !bytes.is_empty());
            return Ok(Collected::TooLong(Body::Rest(begin.collect(), stream), excess));
        }
        gathered.whole.extend_from_slice(&bytes);
        part = data(&mut stream).await?;
    }
    Ok(Collected::Whole(gathered.end()))
}

/// What has come of a body, and its share of the budget.
struct Gathered {
    whole: BytesMut,
    share: Option<Share>,
}

impl Gathered {
    fn take(&mut self, bytes: usize) -> bool {
        self.share.as_mut().is_none_or(|share| share.grow(bytes))
    }

    /// Makes room for more bytes of a body of which so many are expected in all; in steps, since what was announced may
    /// never come, and then nobody shall have paid for it.
    fn has_room_for(&mut self, more: usize, expected: usize) -> bool {
        let (needed, had) = (self.whole.len() + more, self.whole.capacity());
        if needed <= had {
            return true;
        }
        let step = needed.next_power_of_two();
        let room = if needed <= expected { step.min(expected) } else { step };
        if !self.take(room - had) {
            return false;
        }
        let mut larger = BytesMut::with_capacity(room);
        larger.extend_from_slice(&self.whole);
        self.whole = larger;
        true
    }

    fn end(self) -> Bytes {
        let Gathered { whole, share } = self;
        let whole = match whole.len() == whole.capacity() {
            true => whole.freeze(),
            false => Bytes::copy_from_slice(&whole),
        };
        match share {
            Some(mut share) => {
                share.shrink_to(whole.len());
                hold(whole, share)
            }
            None => whole,
        }
    }
}

/// The next part of a body. Trailers of a body that is taken whole end here: the engines send none, and read none.
async fn data(stream: &mut Stream) -> Result<Option<Bytes>, BodyError> {
    while let Some(frame) = stream.frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_part_takes_the_next_in_time() {
        let limit = Duration::from_secs(60);
        let (mut body, slot) = Outgoing::new(Body::whole("part"));
        let mut stalled = Box::pin(slot.stalled(limit));
        // before it is wanted, other limits hold
        for _ in 0..4 {
            assert!(poll!(&mut stalled).is_pending());
            tokio::time::advance(limit * 2 / 3).await;
        }
        assert!(poll!(&mut stalled).is_pending());
        assert!(body.frame().await.is_some());
        assert!(poll!(&mut stalled).is_pending());
        tokio::time::advance(limit - Duration::from_millis(2)).await;
        assert!(poll!(&mut stalled).is_pending());
        tokio::time::advance(Duration::from_millis(4)).await;
        assert!(poll!(&mut stalled).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_the_answer_begins_when_the_request_was_sent() {
        let limit = Duration::from_secs(60);
        let (mut body, slot) = Outgoing::new(Body::whole("part"));
        let mut stalled = Box::pin(slot.stalled(limit));
        assert!(poll!(&mut stalled).is_pending());
        tokio::time::advance(limit / 2).await;
        assert!(body.frame().await.is_some());
        drop(body);
        tokio::time::advance(limit * 3 / 4).await;
        assert!(poll!(&mut stalled).is_pending());
        tokio::time::advance(limit / 2).await;
        assert!(poll!(&mut stalled).is_ready());
    }

    /// Or else a write would be carried out in part: what is cut off by the end of its chunks looks whole.
    #[tokio::test]
    async fn a_body_that_was_taken_away_has_no_end() {
        for part in ["", "part"] {
            let (mut body, slot) = Outgoing::new(Body::whole(part));
            assert_eq!(body.is_end_stream(), part.is_empty());
            slot.give_up();
            assert!(!body.is_end_stream());
            assert!(matches!(body.frame().await, Some(Err(BodyError::GivenUp))));
        }
        let (mut body, slot) = Outgoing::new(Body::whole("part"));
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        assert!(slot.unsent().is_none(), "a part of it was sent");
        let (mut body, slot) = Outgoing::new(Body::whole("part"));
        assert!(slot.unsent().is_some());
        assert!(matches!(body.frame().await, Some(Err(BodyError::GivenUp))));
    }
}
