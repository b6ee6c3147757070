//! A clock that stands and is moved by hand. It is that of the test's own thread, and so of escache in it; the pretend
//! engines have clocks of their own.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// What is a little less or more than a time.
pub(crate) const MOMENT: Duration = Duration::from_millis(10);

/// Stops the clock. It stands, even where everybody waits, until this is dropped: tokio would move it else to the next
/// time that somebody waits for, while an engine's answer is on its way.
pub(crate) struct Still(#[allow(dead_code, reason = "held, and dropped")] std::sync::mpsc::Sender<()>);

impl Still {
    pub(crate) fn stand() -> Still {
        tokio::time::pause();
        let (held, dropped) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || dropped.recv());
        Still(held)
    }

    /// The clock goes on as that of the machine does.
    pub(crate) fn end(self) {
        drop(self);
        tokio::time::resume();
    }

    /// This time passes, and the little that timers are rounded up by.
    pub(crate) async fn pass(&self, time: Duration) {
        settle().await;
        tokio::time::advance(time + MOMENT / 5).await;
        settle().await;
    }
}

/// Goes with the clock that stands: a machine whose clocks differ was suspended, and nothing that was found before holds.
pub(crate) fn wall() -> SystemTime {
    thread_local!(static BORN: Instant = Instant::now());
    SystemTime::UNIX_EPOCH + BORN.with(Instant::elapsed)
}

/// Lets everybody get as far as they can without the network.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
