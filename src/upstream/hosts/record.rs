//! What is known of one host.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::generation::StateVersion;
use crate::upstream::contact::Contact;

/// How long a host is ejected for its first failure.
pub(super) const FIRST_EJECTION: Duration = Duration::from_secs(1);

/// And at most.
pub(super) const LONGEST_EJECTION: Duration = Duration::from_secs(60);

/// After how long without any answer a host is asked whether it is there.
pub(in crate::upstream) const SUSPICION: Duration = Duration::from_secs(1);

/// For how long an answer outweighs a connection that was refused.
const OUTWEIGHS: Duration = Duration::from_secs(1);

/// How long a node is remembered that the cluster names no more. Nothing that was asked of it is under way by then.
pub(super) const FORGOTTEN: Duration = Duration::from_secs(600);

/// Addresses behind one name whose versions are remembered.
const MOST_ADDRESSES: usize = 64;

/// What a host has said about the cluster that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was not asked yet, or not since it failed.
    Unknown,
    /// It answers, but does not tell.
    Untold,
    /// It belongs to the cluster.
    Member,
    /// It belongs to the cluster of this uuid, and is left out.
    Other(String),
}

/// What is known of one host.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Whether it is one of the configuration.
    pub(super) seed: bool,
    /// Whether the cluster has named it (`upstream.discovery`).
    pub(super) named: bool,
    /// Since when the cluster names it no more.
    pub(super) gone: Option<Instant>,
    pub(super) standing: Standing,
    /// What came of the latest word with it.
    pub(super) contact: Contact,
    /// When it last answered.
    pub(super) answered: Option<Instant>,
    /// When it last refused a connection.
    pub(super) refused: Option<Instant>,
    pub(super) failures: u32,
    pub(super) ejected_until: Option<Instant>,
    /// Whether it did not even say who it is when it was last asked.
    pub(super) silent: bool,
    /// Whether it closed a connection since it last said who it is.
    pub(super) closed: bool,
    pub(super) outstanding: usize,
    /// Answers that it is in trouble, since the last good one.
    pub(super) streak: u32,
    /// How often it was left for them, since the last good one.
    pub(super) relapses: u32,
    /// When it was last asked a question of escache's own, if that was in vain.
    pub(super) in_vain: Option<Instant>,
    /// When it last answered, or had its first request to answer.
    pub(super) heard_of: Option<Instant>,
    /// By address, since a name may be several nodes: the latest state that it has applied.
    pub(super) applied: Vec<(Option<SocketAddr>, String, u64)>,
    /// Who answered last.
    pub(super) latest: Option<SocketAddr>,
}

impl Record {
    pub(super) fn new(seed: bool) -> Record {
        Record {
            seed,
            named: false,
            gone: None,
            standing: Standing::Unknown,
            contact: Contact::Unasked,
            answered: None,
            refused: None,
            failures: 0,
            ejected_until: None,
            silent: false,
            closed: false,
            outstanding: 0,
            streak: 0,
            relapses: 0,
            in_vain: None,
            heard_of: None,
            applied: Vec::new(),
            latest: None,
        }
    }

    /// Versions of one cluster only rise; a node that starts anew takes a state from the master before it answers.
    pub(super) fn remember(&mut self, address: Option<SocketAddr>, uuid: &str, version: u64) {
        if let Some((_, known, latest)) = self.applied.iter_mut().find(|(known, ..)| *known == address) {
            *latest = if known == uuid { version.max(*latest) } else { version };
            uuid.clone_into(known);
            return;
        }
        if self.applied.len() >= MOST_ADDRESSES {
            self.applied.sort_by_key(|(_, _, version)| Reverse(*version));
            self.applied.pop();
        }
        self.applied.push((address, uuid.to_owned(), version));
    }

    /// A node that the cluster names.
    pub(super) fn named() -> Record {
        Record { named: true, ..Record::new(false) }
    }

    /// Whether it is a seed, or a node that the cluster names.
    pub(super) fn is_there(&self) -> bool {
        self.seed || self.named
    }

    /// Whether its place can be given to another one.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        let long = |since| now.duration_since(since) >= FORGOTTEN;
        !self.is_there() && self.outstanding == 0 && self.gone.is_some_and(long)
    }

    /// Whether it belongs to another cluster.
    pub(super) fn is_foreign(&self) -> bool {
        matches!(self.standing, Standing::Other(_))
    }

    /// Whether it is left for its failures, and the time of that is not over.
    pub(super) fn is_out(&self, now: Instant) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }

    /// Leaves it for a while: the longer, the more often that was done `before`.
    pub(super) fn leave(&mut self, before: u32, now: Instant) {
        self.ejected_until = Some(now + ejection(before));
    }

    /// Whether answers are awaited of it, and none came for a while.
    pub(super) fn is_suspect(&self, now: Instant) -> bool {
        self.outstanding > 0 && self.heard_of.is_some_and(|since| now.duration_since(since) >= SUSPICION)
    }

    /// Whether it can be reached. A connection that it refuses is no loss of those that it has: as long as one of them has just
    /// answered, and none was closed since it last said who it is.
    pub(super) fn contact_at(&self, now: Instant) -> Contact {
        let answers = self.answered.is_some_and(|at| now.duration_since(at) < OUTWEIGHS) && !self.closed;
        if self.contact == Contact::Refused && answers { Contact::Answers } else { self.contact }
    }

    /// Its addresses that are known to have applied the state of a tag.
    pub(super) fn that_applied(&self, tag: &StateVersion) -> Vec<Option<SocketAddr>> {
        let reached =
            |(_, uuid, version): &&(_, String, u64)| *uuid == tag.cluster_uuid && *version >= tag.version;
        self.applied.iter().filter(reached).map(|(address, ..)| *address).collect()
    }
}

/// For how long a host is left that was left so many times before.
fn ejection(before: u32) -> Duration {
    let factor = 1u32.checked_shl(before).unwrap_or(u32::MAX);
    FIRST_EJECTION.saturating_mul(factor).min(LONGEST_EJECTION)
}
