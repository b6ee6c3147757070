//! Answers, and how long a stream of HTTP/2 is waited for that does not take its own.
//!
//! A client of HTTP/2 lets each stream send only so much, so one may stand still while its connection lives. hyper runs a
//! stream as a task, and asks the body for its next part when the one before can be sent. So it is seen from both sides:
//! the body notes when a part has left it, and the task, which [`Streams`] starts, ends when no other part was asked for
//! within `http.write_timeout`. Dropped, a stream is reset (RFC 9113 6.4), and the connection goes on.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::Instant;

use super::allowance::Allowance;
use super::patience::{Alarm, Busy};
use crate::stats::Stats;
use crate::upstream::{Body, BodyError, behind};

/// How much of an answer is given to a stream at once, in bytes: what a client has to take within `http.write_timeout`. A
/// frame of HTTP/2 has no more unless the client asks for it (`SETTINGS_MAX_FRAME_SIZE`).
const PART: usize = 16 << 10;

/// The same for a connection of HTTP/1, whose progress is seen from below: that a client takes little of its answer is noticed
/// when the next part is asked for.
const PART_OF_HTTP1: usize = 256 << 10;

tokio::task_local! {
    /// That of the stream which is being worked on.
    static PROGRESS: Arc<Progress>;
}

/// How an answer comes on.
#[derive(Debug, Default)]
struct Progress {
    /// Since when its last part waits for the client; nothing does if it is not known.
    waits: Mutex<Option<Instant>>,
}

impl Progress {
    fn note(&self, waits: Option<Instant>) {
        *self.waits.lock().unwrap_or_else(PoisonError::into_inner) = waits;
    }

    fn waits_since(&self) -> Option<Instant> {
        *self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works on the streams of a connection of HTTP/2, as long as they come on.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) write_timeout: Duration,
    pub(super) stats: Arc<Stats>,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let Streams { write_timeout, stats } = self.clone();
        tokio::spawn(async move {
            let progress = Arc::<Progress>::default();
            let (mut stream, mut alarm) = (pin!(stream), Alarm::default());
            poll_fn(|cx| {
                let polled = PROGRESS.sync_scope(Arc::clone(&progress), || stream.as_mut().poll(cx));
                if polled.is_ready() {
                    return Poll::Ready(());
                }
                let Some(since) = progress.waits_since() else { return Poll::Pending };
                ready!(alarm.poll(since + write_timeout, cx));
                stats.plain.limited_slow_readers.inc();
                Poll::Ready(())
            })
            .await;
        });
    }
}

/// The body of an answer; with its end the request has ended.
#[derive(Debug)]
pub(super) struct Answering {
    body: Body,
    allowance: Allowance,
    /// Of a stream of HTTP/2.
    progress: Option<Arc<Progress>>,
    /// What of the last part was not given yet.
    rest: Bytes,
    _busy: Busy,
}

impl Answering {
    /// To be made where the request is answered, by the task of its stream if it has one.
    pub(super) fn new(body: Body, allowance: Allowance, busy: Busy) -> Answering {
        let progress = PROGRESS.try_with(Arc::clone).ok();
        Answering { body, allowance, progress, rest: Bytes::new(), _busy: busy }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(progress) = &self.progress else {
            return Pin::new(&mut self.body).poll_part(cx, PART_OF_HTTP1);
        };
        if self.rest.is_empty() {
            progress.note(None);
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                over => return Poll::Ready(over),
            }
        }
        progress.note(Some(Instant::now()));
        let part = self.rest.split_to(PART.min(self.rest.len()));
        // nobody watches the last one: it may wait in h2 until the connection ends, and is not to hold the whole answer
        let part = if self.rest.is_empty() { Bytes::copy_from_slice(&part) } else { part };
        Poll::Ready(Some(Ok(Frame::data(part))))
    }
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = this.poll_next(cx);
        let over = match &frame {
            Poll::Pending => this.allowance.poll(cx).is_ready(),
            Poll::Ready(Some(Ok(_))) => !this.is_end_stream() && this.allowance.is_over(),
            Poll::Ready(_) => false,
        };
        // as an error, so that nobody takes what has come for the whole
        if over { Poll::Ready(Some(Err(BodyError::GivenUp))) } else { frame }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        behind(self.rest.len() as u64, &self.body.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::super::patience::Activity;
    use super::*;

    fn allowance() -> Allowance {
        Allowance::new(Duration::from_secs(1800), Arc::default())
    }

    /// A stream of this body that is polled so often.
    async fn parts(body: Body, most: usize) -> (Vec<usize>, bool, Option<u64>) {
        let activity = Arc::<Activity>::default();
        let progress = Arc::<Progress>::default();
        PROGRESS
            .scope(Arc::clone(&progress), async {
                let mut answer = Answering::new(body, allowance(), activity.request(true));
                let mut lengths = Vec::new();
                while lengths.len() < most
                    && let Some(frame) = answer.frame().await
                {
                    assert!(progress.waits_since().is_some());
                    lengths.push(frame.unwrap().into_data().unwrap().len());
                }
                (lengths, answer.is_end_stream(), answer.size_hint().exact())
            })
            .await
    }

    #[tokio::test]
    async fn a_stream_is_given_an_answer_in_parts() {
        let body = |length: usize| Body::whole(vec![b'x'; length]);
        assert_eq!(parts(body(PART), 9).await, (vec![PART], true, Some(0)));
        assert_eq!(parts(body(2 * PART + 1), 9).await, (vec![PART, PART, 1], true, Some(0)));
        assert_eq!(parts(body(2 * PART + 1), 1).await, (vec![PART], false, Some(PART as u64 + 1)));
        // HTTP/1 is given more at once
        let busy = Arc::<Activity>::default().request(false);
        let mut answer = Answering::new(body(PART_OF_HTTP1 + 1), allowance(), busy);
        for length in [PART_OF_HTTP1, 1] {
            assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap().len(), length);
        }
    }

    /// h2 may keep the last part for as long as the connection lives.
    #[tokio::test]
    async fn the_last_part_holds_nothing_of_the_answer() {
        let budget = crate::budget::Budget::new(1 << 20);
        let held = crate::budget::hold(vec![b'x'; PART + 1].into(), budget.take(PART + 1).unwrap());
        let activity = Arc::<Activity>::default();
        let last = PROGRESS.scope(Arc::default(), async {
            let mut answer = Answering::new(Body::whole(held), allowance(), activity.request(true));
            let first = answer.frame().await.unwrap().unwrap();
            assert_eq!(first.data_ref().unwrap().len(), PART);
            answer.frame().await.unwrap().unwrap()
        });
        assert_eq!((last.await.data_ref().map(Bytes::len), budget.held()), (Some(1), 0));
    }
}
