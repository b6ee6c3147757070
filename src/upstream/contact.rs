//! Whether the engine can be reached, as far as is known without asking: by what the hosts last said.

use tokio::time::Instant;

use super::Upstream;

/// Whether the engine can be reached; of several hosts, that one with which it went best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contact {
    /// Nobody was asked yet.
    Unasked,
    /// Who answers does not show the cluster, and is not used.
    Foreign,
    /// There was no connection, and no answer on any other one for a moment.
    Refused,
    /// It was connected to, and did not say in time who it is.
    Silent,
    /// It answered.
    Answers,
}

impl Upstream {
    /// Whether the engine can be reached: every request, reading and health check has a say in it. Asks nobody.
    #[must_use]
    pub fn contact(&self) -> Contact {
        self.state().contact(Instant::now())
    }

    /// Whether a host that answers has refused a connection since. What needed that connection had no answer, which says
    /// nothing of what the engine can answer.
    #[must_use]
    pub fn refused_in_passing(&self, since: Instant) -> bool {
        self.state().refused_in_passing(since, Instant::now())
    }
}
