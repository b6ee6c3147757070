//! Gates: places where requests wait until the test lets them on, so that it chooses the order of events.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::observe::Seen;

/// Where in the handling of a request a gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The request was received, nothing was looked at yet.
    Before,
    /// The answer was made from the state as it was, and nothing of it was sent.
    After,
    /// The head and the first half of the body were sent.
    Body,
}

/// Which requests something applies to.
pub(crate) type Which = Arc<dyn Fn(&Seen) -> bool + Send + Sync>;

/// The test's end of a gate. Dropped, it opens.
pub(crate) struct Gate {
    door: Arc<Door>,
    patience: tokio::runtime::Handle,
}

/// The engine's end of a gate.
pub(crate) struct Door {
    pub(crate) at: At,
    pub(crate) which: Which,
    state: watch::Sender<State>,
}

#[derive(Default)]
struct State {
    open: bool,
    /// How many came so far; the number of the next one.
    came: usize,
    /// The numbers of those who are blocked.
    blocked: BTreeSet<usize>,
    /// How many of those who are yet to come may pass.
    spare: usize,
}

impl Gate {
    pub(super) fn new(at: At, which: Which, patience: tokio::runtime::Handle) -> Self {
        Self { door: Arc::new(Door { at, which, state: watch::Sender::default() }), patience }
    }

    pub(super) fn door(&self) -> Arc<Door> {
        self.door.clone()
    }

    /// Waits until at least so many requests are blocked here.
    pub(crate) async fn arrived(&self, number: usize) {
        let mut state = self.door.state.subscribe();
        let deadline = self.patience.spawn(tokio::time::sleep(super::PATIENCE));
        tokio::select! {
            biased;
            _ = state.wait_for(|state| state.blocked.len() >= number) => {}
            _ = deadline => panic!("{self:?}: waited in vain for {number} requests"),
        }
    }

    /// How many are blocked here now.
    pub(crate) fn blocked(&self) -> usize {
        self.door.state.borrow().blocked.len()
    }

    /// How many came here, blocked or gone.
    pub(crate) fn came(&self) -> usize {
        self.door.state.borrow().came
    }

    /// Lets on who has waited longest, or the next one if nobody waits, and keeps the gate closed.
    pub(crate) fn release_one(&self) {
        self.door.state.send_modify(|state| {
            if state.blocked.pop_first().is_none() {
                state.spare += 1;
            }
        });
    }

    /// Lets on who came as this one, counted from 0, and keeps the gate closed.
    pub(crate) fn release_number(&self, number: usize) {
        self.door.state.send_modify(|state| {
            assert!(state.blocked.remove(&number), "number {number} is not here");
        });
    }

    /// Lets all on that wait now, and keeps the gate closed for those who come later.
    pub(crate) fn release_those_here(&self) {
        self.door.state.send_modify(|state| state.blocked.clear());
    }

    /// Opens the gate for good.
    pub(crate) fn release(&self) {
        self.door.state.send_modify(|state| state.open = true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.release();
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "gate {:?}, {} came, {} blocked", self.door.at, self.came(), self.blocked())
    }
}

impl Door {
    /// If it was opened for good.
    pub(crate) fn is_open(&self) -> bool {
        self.state.borrow().open
    }

    /// Waits here until the test lets this request on.
    pub(crate) async fn pass(&self) {
        let mut number = 0;
        self.state.send_modify(|state| {
            number = state.came;
            state.came += 1;
            if state.spare > 0 {
                state.spare -= 1;
            } else {
                state.blocked.insert(number);
            }
        });
        let _gone = Leaving(&self.state, number);
        let mut state = self.state.subscribe();
        // The sender is borrowed here, so this ends only by the condition.
        let _ = state.wait_for(|state| state.open || !state.blocked.contains(&number)).await;
    }
}

/// Whoever leaves is blocked no more, also when the client gave up.
struct Leaving<'a>(&'a watch::Sender<State>, usize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|state| {
            state.blocked.remove(&self.1);
        });
    }
}
