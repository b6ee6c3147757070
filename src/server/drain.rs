//! The end of a listener: each connection is told once to end when its request has been answered, and all are waited for.
//!
//! hyper-util's own way (`server::graceful`) looks at a lock on each turn of a connection, which many connections share.
//! Here a turn looks at a flag. To be woken, the place of a connection is noted once: it is served by one task all its
//! life, so what wakes it stays the same.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The connections of a listener.
#[derive(Debug, Default)]
pub(super) struct Drain {
    bell: Arc<Bell>,
    tracker: TaskTracker,
}

#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    ring: Notify,
}

/// A connection that is waited for until this is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    bell: Arc<Bell>,
    _waited_for: TaskTrackerToken,
}

impl Drain {
    /// One more to be waited for.
    pub(super) fn guest(&self) -> Guest {
        Guest { bell: Arc::clone(&self.bell), _waited_for: self.tracker.token() }
    }

    /// Tells all to end, and waits until they have.
    pub(super) async fn drain(self) {
        self.bell.rung.store(true, Ordering::SeqCst);
        self.bell.ring.notify_waiters();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Guest {
    /// Serves a connection to its end; `end` tells it to take up no more requests. Is to be polled by one task alone.
    pub(super) async fn served<C: Future>(self, connection: C, end: impl Fn(Pin<&mut C>)) -> C::Output {
        let (mut connection, mut ring) = (pin!(connection), pin!(self.bell.ring.notified()));
        let (mut noted, mut told) = (false, false);
        poll_fn(|cx| {
            if !std::mem::replace(&mut noted, true) {
                // if it has rung, the flag says so; if it has not, this task is woken when it does
                let _ = ring.as_mut().poll(cx);
            }
            if !told && self.bell.rung.load(Ordering::SeqCst) {
                told = true;
                end(connection.as_mut());
            }
            connection.as_mut().poll(cx)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Ends when it is told to, and is let go.
    #[derive(Debug, Default)]
    struct Connection(Arc<Mutex<(bool, bool, Option<Waker>)>>);

    impl Future for Connection {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let mut state = self.0.lock().unwrap();
            state.2 = Some(cx.waker().clone());
            if state.0 && state.1 { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    impl Connection {
        fn end(self: Pin<&mut Self>) {
            self.0.lock().unwrap().0 = true;
        }
    }

    fn let_go(state: &Mutex<(bool, bool, Option<Waker>)>) {
        let mut state = state.lock().unwrap();
        state.1 = true;
        state.2.take().unwrap().wake();
    }

    #[tokio::test]
    async fn who_is_idle_is_woken_and_all_are_waited_for() {
        let drain = Drain::default();
        let (one, other) = (Connection::default(), Connection::default());
        let states = [Arc::clone(&one.0), Arc::clone(&other.0)];
        let early = tokio::spawn(drain.guest().served(one, Connection::end));
        let late = drain.guest();
        // idle by now
        tokio::task::yield_now().await;
        assert!(states[0].lock().unwrap().2.is_some() && !states[0].lock().unwrap().0);
        let drained = tokio::spawn(drain.drain());
        while !states[0].lock().unwrap().0 {
            tokio::task::yield_now().await;
        }
        // who begins only now is told at once
        let late = tokio::spawn(late.served(other, Connection::end));
        while !states[1].lock().unwrap().0 {
            tokio::task::yield_now().await;
        }
        let_go(&states[0]);
        early.await.unwrap();
        assert!(!drained.is_finished());
        let_go(&states[1]);
        late.await.unwrap();
        drained.await.unwrap();
    }
}
