//! Whether clients should be sent here. What requests, readings and health checks found out about the way to the engine
//! counts at once, for better or worse; besides it, whether the engine answers all that it is asked from time to time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::Proxy;
use crate::upstream::Contact;

/// What came of it when the engine was last asked who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Probed {
    /// It was not asked yet.
    #[default]
    Never,
    /// It has answered.
    Well,
    /// No host could be reached. By the next answer of one this is over.
    Unreached,
    /// Hosts answer, but some question was left without an answer, such as one that only a master can answer.
    Unanswered,
}

/// Whether clients should be sent here, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They should.
    Ready,
    /// escache is about to stop.
    Draining,
    /// The engine cannot be reached.
    Lost(Contact),
    /// The engine can be reached, and does not answer what it is asked from time to time.
    Unanswered,
}

impl Readiness {
    /// In words for operators, who may be anybody here: they name no host.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Readiness::Ready | Readiness::Lost(Contact::Answers) => "ready",
            Readiness::Draining => "draining",
            Readiness::Lost(Contact::Unasked) => "the engine does not answer: it was not asked yet",
            Readiness::Lost(Contact::Refused) => "the engine does not answer: no host can be connected to",
            Readiness::Lost(Contact::Silent) => "the engine does not answer: no host says who it is",
            Readiness::Lost(Contact::Foreign) => "the engine does not answer: no host shows the cluster",
            Readiness::Unanswered => "the engine does not answer: not all that a health check asks",
        }
    }
}

impl Proxy {
    /// Whether clients should be sent here, or why not.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        match (self.draining.load(Ordering::Acquire), self.upstream.contact(), *self.probed()) {
            (true, _, _) => Readiness::Draining,
            (false, Contact::Answers, Probed::Unanswered) => Readiness::Unanswered,
            (false, Contact::Answers, _) => Readiness::Ready,
            (false, lost, _) => Readiness::Lost(lost),
        }
    }

    /// Whether the engine answers, as far as is known.
    #[must_use]
    pub fn reachable(&self) -> bool {
        self.upstream.contact() == Contact::Answers && *self.probed() != Probed::Unanswered
    }

    /// The engine was asked who it is. Returns what came of it the time before.
    pub fn note_probe(&self, now: Probed) -> Probed {
        std::mem::replace(&mut *self.probed(), now)
    }

    /// What the upstream answered, if it looks like no search engine. No more than a word for people: it is passed what
    /// comes, and clients are sent here, as before. Nobody can list all engines that there will be, and gateways that
    /// hide `/`; to be wrong here would take a whole service down for its looks.
    #[must_use]
    pub fn stranger(&self) -> Option<Arc<String>> {
        self.stranger.load_full()
    }

    /// The upstream looks like no search engine, or like one. Returns what was known before.
    pub fn note_stranger(&self, gave: Option<String>) -> Option<Arc<String>> {
        self.stranger.swap(gave.map(Arc::new))
    }

    fn probed(&self) -> MutexGuard<'_, Probed> {
        self.probed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
