//! The time that a request has in all (`http.request_timeout`).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::error::ProxyError;
use crate::stats::Stats;

/// The time that a request has in all. It costs nothing as long as nothing is waited for.
#[derive(Debug)]
pub(super) struct Allowance {
    limit: Duration,
    over: Option<Pin<Box<Sleep>>>,
    stats: Arc<Stats>,
}

impl Allowance {
    /// For a request that has just come.
    pub(super) fn new(limit: Duration, stats: Arc<Stats>) -> Allowance {
        Allowance { limit, over: None, stats }
    }

    /// It runs from the first time that this is asked for: when the request has just come, or has an answer that was there
    /// at once and does not go out at once.
    fn over(&mut self) -> &mut Pin<Box<Sleep>> {
        self.over.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limit)))
    }

    /// Something is waited for: has it been for too long?
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ProxyError> {
        self.over().as_mut().poll(cx).map(|()| self.fail())
    }

    /// Nothing is waited for, but there is more to come.
    pub(super) fn is_over(&mut self) -> bool {
        let over = self.over().deadline() <= Instant::now();
        if over {
            self.fail();
        }
        over
    }

    fn fail(&self) -> ProxyError {
        self.stats.plain.limited_slow_requests.inc();
        // when the engine hangs, many end together; they are counted
        tracing::debug!(limit = ?self.limit, "a request took too long in all, and was ended (http.request_timeout)");
        ProxyError::Late(self.limit)
    }
}
