//! How long a connection is waited for: for a head, between requests, and while an answer is written.
//!
//! hyper has one time for both a head and the pause before it, and no time for writing; so the connection is watched
//! from below. Whether a request is under way is told from above, by [`Activity`]. A stream of HTTP/2 that its client does
//! not read cannot be seen from here: `streams.rs`.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::limits::Limits;
use crate::elastic;
use crate::stats::Stats;

/// What goes on above a connection.
#[derive(Debug)]
pub(super) struct Activity {
    /// Under way.
    requests: AtomicUsize,
    /// Begun since the beginning.
    begun: AtomicUsize,
    http2: AtomicBool,
    /// Whether the end of the present request is to be noted, which costs a look at the clock.
    noted: AtomicBool,
    /// When a request that was noted has ended, in nanoseconds since `since`.
    ended: AtomicU64,
    since: Instant,
}

impl Default for Activity {
    fn default() -> Activity {
        Activity {
            requests: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            http2: AtomicBool::new(false),
            noted: AtomicBool::new(false),
            ended: AtomicU64::new(0),
            since: Instant::now(),
        }
    }
}

impl Activity {
    /// A request begins; it ends when what this returns is dropped.
    pub(super) fn request(self: &Arc<Self>, http2: bool) -> Busy {
        if http2 {
            self.http2.store(true, Ordering::Relaxed);
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    fn busy(&self) -> bool {
        self.requests.load(Ordering::Relaxed) != 0
    }

    /// Since when there is no request, as far as that was noted; else, now.
    fn idle_since(&self) -> Instant {
        match self.noted.swap(false, Ordering::Relaxed) {
            true => self.since + Duration::from_nanos(self.ended.load(Ordering::Relaxed)),
            false => Instant::now(),
        }
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.noted.load(Ordering::Relaxed) {
            let now = u64::try_from(self.0.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.0.ended.store(now, Ordering::Relaxed);
        }
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is not waited for for ever.
#[derive(Debug)]
pub(super) struct Patient<S> {
    inner: S,
    activity: Arc<Activity>,
    stats: Arc<Stats>,
    header_timeout: Duration,
    idle_timeout: Duration,
    write_timeout: Duration,
    waiting: Waiting,
    /// How many bytes of [`PREFACE`] have come and nothing else; `None` if something else has.
    preface: Option<usize>,
    /// How many requests had begun when that was looked at.
    begun: usize,
    reading: Alarm,
    writing: Alarm,
    /// Since when nothing of an answer could be written.
    stalled: Option<Instant>,
}

/// How the preface of HTTP/2 begins (RFC 9113 3.4). No method of HTTP/1 is called so.
const PREFACE: &[u8] = b"PRI ";

/// What of a client is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// Nothing: it waits for us.
    Nothing,
    /// The first byte, until then.
    First(Instant),
    /// Another request, until then.
    Idle(Instant),
    /// The rest of a head, until then.
    Head(Instant),
}

impl<S> Patient<S> {
    pub(super) fn new(inner: S, activity: Arc<Activity>, limits: &Limits, stats: Arc<Stats>) -> Patient<S> {
        Patient {
            inner,
            activity,
            stats,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            write_timeout: limits.write_timeout,
            waiting: Waiting::First(Instant::now() + limits.header_timeout),
            preface: Some(0),
            begun: 0,
            reading: Alarm::default(),
            writing: Alarm::default(),
            stalled: None,
        }
    }
}

impl<S> Patient<S> {
    /// Whether these bytes, the next ones of the connection, are the last of what tells HTTP/2 from HTTP/1. They may come
    /// in as many parts as the network likes.
    fn begins_with_preface(&mut self, bytes: &[u8]) -> bool {
        let Some(come) = self.preface else { return false };
        let awaited = &PREFACE[come..];
        let length = awaited.len().min(bytes.len());
        self.preface = (awaited[..length] == bytes[..length]).then_some(come + length);
        if self.preface != Some(PREFACE.len()) {
            return false;
        }
        self.preface = None;
        true
    }
}

impl<S: AsyncWrite + Unpin> Patient<S> {
    /// Nothing is there to be read: how long has it been so?
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.busy() {
            self.waiting = Waiting::Nothing;
            self.activity.noted.store(true, Ordering::Relaxed);
            // hyper has found nothing to read, and need not look again when the answer has ended: the alarm does
            let _ = self.reading.poll(Instant::now() + self.idle_timeout, cx);
            return Poll::Pending;
        }
        if self.waiting == Waiting::Nothing {
            self.waiting = Waiting::Idle(self.activity.idle_since() + self.idle_timeout);
        }
        match self.waiting {
            Waiting::Nothing => Poll::Pending,
            // as if the client had hung up
            Waiting::First(until) | Waiting::Idle(until) => {
                ready!(self.reading.poll(until, cx));
                self.stats.plain.limited_idle.inc();
                Poll::Ready(Ok(()))
            }
            Waiting::Head(until) => {
                ready!(self.reading.poll(until, cx));
                self.stats.plain.limited_slow_heads.inc();
                self.say_timeout(cx);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// No request is under way, so what is written is an answer to the head that did not come.
    fn say_timeout(&mut self, cx: &mut Context<'_>) {
        if self.stalled.is_none() && !self.activity.http2.load(Ordering::Relaxed) {
            let _ = Pin::new(&mut self.inner).poll_write(cx, &TIMEOUT);
            let _ = Pin::new(&mut self.inner).poll_flush(cx);
        }
    }

    /// Whether a write came on, or has been waited for too long.
    fn poll_written<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        ready!(self.writing.poll(since + self.write_timeout, cx));
        self.stats.plain.limited_slow_readers.inc();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // a request may have come and been answered since bytes were last looked for: its head is not waited for
        let begun = this.activity.begun.load(Ordering::Relaxed);
        if begun != this.begun {
            this.begun = begun;
            this.waiting = Waiting::Nothing;
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Pending => this.poll_patience(cx),
            done => {
                let came = buf.filled().len() > before;
                if this.begins_with_preface(&buf.filled()[before..]) {
                    this.activity.http2.store(true, Ordering::Relaxed);
                    // from here on it is a connection without requests, which HTTP/2 has a right to
                    this.waiting = Waiting::Nothing;
                }
                if came && !this.activity.busy() && !this.activity.http2.load(Ordering::Relaxed) {
                    if !matches!(this.waiting, Waiting::Head(_)) {
                        this.waiting = Waiting::Head(Instant::now() + this.header_timeout);
                    }
                } else if this.activity.busy() {
                    this.waiting = Waiting::Nothing;
                }
                done
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.poll_written(written, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        this.poll_written(flushed, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.poll_written(shut, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.poll_written(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// A timer that is only set anew for an earlier time, so that a busy connection leaves it alone.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    pub(super) fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if until < sleep.deadline() {
            sleep.as_mut().reset(until);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }
}

static TIMEOUT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let reason = "escache: the head of the request did not come within http.header_timeout";
    plain("408 Request Timeout", &elastic::error::body(408, "request_timeout_exception", reason))
});

/// An answer that no request led to.
pub(super) fn plain(status: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json; charset=UTF-8\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// A connection on which these parts have come, one after another, and its other end.
    async fn after(parts: &[&str]) -> (Patient<DuplexStream>, DuplexStream, Arc<Stats>) {
        let (ours, mut theirs) = duplex(1024);
        let stats = Arc::<Stats>::default();
        let mut connection = Patient::new(ours, Arc::default(), &Limits::default(), Arc::clone(&stats));
        for part in parts {
            theirs.write_all(part.as_bytes()).await.unwrap();
            let mut read = vec![0; 1024];
            let length = connection.read(&mut read).await.unwrap();
            assert_eq!(&read[..length], part.as_bytes());
        }
        (connection, theirs, stats)
    }

    /// Whether it is given up, with a 408, when the time for a head is over and nothing more has come.
    async fn is_timed_out(parts: &[&str]) -> bool {
        let (mut connection, mut theirs, stats) = after(parts).await;
        let mut read = Box::pin(async move { connection.read_u8().await });
        assert!(poll!(&mut read).is_pending());
        tokio::time::advance(Limits::default().header_timeout).await;
        let over = poll!(&mut read).is_ready();
        assert_eq!(over, stats.plain.limited_slow_heads.get() == 1);
        let mut said = [0; 12];
        let told = poll!(Box::pin(theirs.read(&mut said))).is_ready() && &said == b"HTTP/1.1 408";
        assert_eq!(over, told, "{said:?}");
        over
    }

    /// A connection of HTTP/2 may be without a request for longer than a head may take.
    #[tokio::test(start_paused = true)]
    async fn the_preface_of_http2_may_come_in_parts() {
        let rest = "* HTTP/2.0\r\n\r\nSM\r\n\r\n";
        assert!(!is_timed_out(&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]).await);
        for parts in [["P", "RI ", rest], ["PR", "I", " * HTTP/2.0\r\n"], ["PRI", " ", rest]] {
            assert!(!is_timed_out(&parts).await, "{parts:?}");
        }
        for parts in [["P", "R", "I"], ["P", "OST ", "/"], ["G", "PRI ", "x"], ["PRI", "OR", "I "]] {
            assert!(is_timed_out(&parts).await, "{parts:?}");
        }
    }
}
