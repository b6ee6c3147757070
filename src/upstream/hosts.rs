//! Which host is asked next, and what is known of each: rules without a network and without a clock.
//!
//! A host is *used* once it has shown the uuid of the cluster: asked at start, at health checks, and after a failure.
//! The first uuid that any host shows rules. A host that shows another one is left out, until it shows the right one or
//! until all hosts show another: then the cluster was swapped, and the new uuid rules.
//!
//! A host that cannot be connected to is *ejected*: for a second, and twice as long after each further failure. The
//! health check brings it back. If all are ejected, the one whose time ends first is asked who it is by one request at a
//! time; as soon as it answers, it is used again.
//!
//! A host that answers nothing but 429, 502, 503 or 504, several times in a row, while another one answers well, is left
//! in the same way. When its time is over it gets one request at a time, and a good answer makes it whole. Where all
//! answer so, nobody is left: then the errors are the engine's answer.
//!
//! A host of which answers are awaited and none has come for a second is *suspect*: it is asked who it is. If that is not
//! answered either it is *silent*: it is left as one that failed, and stays out until it has said something, as long as
//! another one speaks. While a host is silent, what the others are asked may have to wait for it.
//!
//! A host that says who it is, and leaves other questions of escache's own without an answer, is asked them last for a
//! while (`hosts/choice.rs`): clients' requests say nothing of that.
//!
//! A host that closed a connection may be another one when the next is made: it is asked who it is before it is sent
//! anything else. A node that the cluster named and names no more is forgotten after a while, and its place is given to
//! another one.

mod choice;

mod record;

use std::net::SocketAddr;

use tokio::time::Instant;

pub(super) use self::choice::Choice;
use self::record::Record;
pub(super) use self::record::SUSPICION;
pub use self::record::Standing;
use super::contact::Contact;
use crate::generation::StateVersion;

/// So many answers that it is in trouble, in a row, and a host is left.
const BAD_STREAK: u32 = 5;

/// How a host failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection.
    Connect,
    /// The connection broke before an answer began. That may be the request's fault, so nobody is ejected for it.
    Broken,
    /// The same, on a connection that had served before: it may have been closed for being idle.
    Stale,
    /// It did not say in time who it is, or was found to be silent while it was waited for.
    Silent,
}

/// What a host said when it was asked who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) cluster_uuid: String,
    /// The version of the state that it has applied itself, and the address that said so.
    pub(super) applied: Option<(Option<SocketAddr>, u64)>,
}

/// What is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The host is left out.
    LeftOut,
    /// The host is used, or used again.
    Joined,
    /// All hosts show another cluster than before: this one rules now.
    Swapped,
}

/// What is known of all hosts.
#[derive(Debug)]
pub(super) struct Hosts {
    cluster: Option<String>,
    hosts: Vec<Record>,
    turn: usize,
}

impl Hosts {
    pub(super) fn new(count: usize) -> Hosts {
        Hosts { cluster: None, hosts: vec![Record::new(true); count], turn: 0 }
    }

    /// A node that the cluster has named, which is no seed. Returns its index: the place of one that was forgotten, if
    /// there is any, or else a new one. `None` if there are `most` already.
    pub(super) fn add(&mut self, most: usize, now: Instant) -> Option<usize> {
        if let Some(index) = self.hosts.iter().position(|host| host.is_forgotten(now)) {
            self.hosts[index] = Record::named();
            return Some(index);
        }
        if self.hosts.len() >= most {
            return None;
        }
        self.hosts.push(Record::named());
        Some(self.hosts.len() - 1)
    }

    /// The cluster names this one. Returns whether it did not before.
    pub(super) fn found(&mut self, index: usize) -> bool {
        let host = &mut self.hosts[index];
        let new = !std::mem::replace(&mut host.named, true);
        if new && !host.seed {
            *host = Record { outstanding: host.outstanding, ..Record::named() };
        }
        new
    }

    /// The cluster does not name this one. Returns whether it did before.
    pub(super) fn gone(&mut self, index: usize, now: Instant) -> bool {
        let host = &mut self.hosts[index];
        let before = std::mem::take(&mut host.named);
        if before {
            host.gone = Some(now);
        }
        before
    }

    /// Whether it is one of the configuration.
    pub(super) fn is_seed(&self, index: usize) -> bool {
        self.hosts[index].seed
    }

    /// Whether it is a seed, or a node that the cluster names.
    pub(super) fn is_there(&self, index: usize) -> bool {
        self.hosts[index].is_there()
    }

    fn is_alone(&self) -> bool {
        self.hosts.iter().filter(|host| host.is_there()).count() == 1
    }

    /// The cluster whose hosts are used.
    pub(super) fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// Whether it may be used without being asked. A single host cannot be mixed up with another one, and where no
    /// host tells its cluster, there is nothing to go by (and nothing is cached but by `ttl_only`).
    pub(super) fn proven(&self, index: usize) -> bool {
        match self.hosts[index].standing {
            _ if !self.is_there(index) => false,
            Standing::Member => true,
            Standing::Untold => self.cluster.is_none() || self.is_alone(),
            Standing::Unknown => self.is_alone(),
            Standing::Other(_) => false,
        }
    }

    fn ejected(&self, index: usize, now: Instant) -> bool {
        let host = &self.hosts[index];
        // it stays out until somebody has asked it, unless it is proven still
        let stays = || host.standing == Standing::Unknown || host.silent && self.another_speaks(index, now);
        host.is_out(now) || host.ejected_until.is_some() && stays()
    }

    fn another_speaks(&self, index: usize, now: Instant) -> bool {
        let speaks = |host: &Record| !host.silent && !host.is_out(now);
        (0..self.hosts.len()).any(|other| other != index && self.proven(other) && speaks(&self.hosts[other]))
    }

    /// Whether a host is silent, so that others may have to wait for it.
    pub(super) fn has_silent(&self) -> bool {
        self.hosts.iter().any(|host| host.silent && host.is_there())
    }

    /// It closed a connection.
    pub(super) fn closed(&mut self, index: usize) {
        self.hosts[index].closed = true;
    }

    /// Whether each host can be reached, and of them the best.
    pub(super) fn contact(&self, now: Instant) -> Contact {
        let contact = |index: usize| match self.hosts[index].standing {
            Standing::Other(_) => Contact::Foreign,
            Standing::Untold if !self.proven(index) => Contact::Foreign,
            _ => self.hosts[index].contact_at(now),
        };
        let there = (0..self.hosts.len()).filter(|&index| self.is_there(index));
        there.map(contact).max().unwrap_or(Contact::Unasked)
    }

    /// Whether a host that answers has refused a connection since then.
    pub(super) fn refused_in_passing(&self, since: Instant, now: Instant) -> bool {
        let refused = |host: &Record| host.refused.is_some_and(|at| at >= since);
        let answers = |host: &Record| host.contact_at(now) == Contact::Answers;
        self.hosts.iter().any(|host| host.is_there() && refused(host) && answers(host))
    }

    /// A request was given to a host (+1), or is done with (-1).
    pub(super) fn outstanding(&mut self, index: usize, change: isize, now: Instant) {
        let host = &mut self.hosts[index];
        if host.outstanding == 0 {
            host.heard_of = Some(now);
        }
        host.outstanding = host.outstanding.saturating_add_signed(change);
    }

    /// Whether another host than those tried may be used as it is.
    pub(super) fn has_other(&self, tried: &[usize], now: Instant) -> bool {
        (0..self.hosts.len())
            .any(|index| !tried.contains(&index) && self.proven(index) && !self.ejected(index, now))
    }

    /// A host failed. Returns whether that ejects it.
    pub(super) fn failed(&mut self, index: usize, how: Failure, now: Instant) -> bool {
        let host = &mut self.hosts[index];
        host.silent = how == Failure::Silent;
        match how {
            Failure::Connect => (host.contact, host.refused) = (Contact::Refused, Some(now)),
            Failure::Silent => host.contact = Contact::Silent,
            // it may be there
            Failure::Broken | Failure::Stale => host.closed = true,
        }
        if how != Failure::Silent {
            host.applied.clear();
            if !host.is_foreign() {
                host.standing = Standing::Unknown;
            }
        }
        // of the requests that fail together, the first one counts
        if matches!(how, Failure::Broken | Failure::Stale) || host.is_out(now) {
            return false;
        }
        host.leave(host.failures, now);
        host.failures = host.failures.saturating_add(1);
        true
    }

    /// A host answered, from this address: well, or that it or the engine is in trouble; `None` says nothing of that.
    /// Returns whether that ejects it.
    pub(super) fn answered(
        &mut self,
        index: usize,
        from: Option<SocketAddr>,
        well: Option<bool>,
        now: Instant,
    ) -> bool {
        let host = &mut self.hosts[index];
        (host.failures, host.latest, host.heard_of, host.silent) = (0, from, Some(now), false);
        (host.contact, host.answered) = (Contact::Answers, Some(now));
        match well {
            Some(true) => (host.streak, host.relapses) = (0, 0),
            Some(false) => return self.troubled(index, now),
            None => {}
        }
        if host.relapses == 0 {
            host.ejected_until = None;
        }
        false
    }

    /// A host answered that it is in trouble, or took too long. Returns whether that ejects it.
    pub(super) fn troubled(&mut self, index: usize, now: Instant) -> bool {
        let host = &mut self.hosts[index];
        host.streak = host.streak.saturating_add(1);
        // what was under way when it was ejected says nothing new
        if host.is_out(now) || (host.streak < BAD_STREAK && host.relapses == 0) {
            return false;
        }
        let answers_well = |other: usize| {
            other != index && self.proven(other) && !self.ejected(other, now) && self.hosts[other].streak == 0
        };
        if !(0..self.hosts.len()).any(answers_well) {
            return false;
        }
        let host = &mut self.hosts[index];
        host.leave(host.relapses, now);
        host.relapses = host.relapses.saturating_add(1);
        true
    }

    /// A host answered the question who it is; `None` if it did not tell.
    pub(super) fn heard(&mut self, index: usize, told: Option<Told>, now: Instant) -> Option<News> {
        let alone = self.is_alone();
        let host = &mut self.hosts[index];
        (host.failures, host.ejected_until, host.heard_of) = (0, None, Some(now));
        (host.silent, host.contact, host.answered) = (false, Contact::Answers, Some(now));
        let closed = std::mem::take(&mut host.closed) && !alone;
        let Some(Told { cluster_uuid, applied }) = told else {
            // who is at its address now may be somebody else, and does not say
            if closed && host.standing == Standing::Member {
                host.applied.clear();
                host.standing = Standing::Untold;
            }
            if host.standing == Standing::Unknown {
                host.standing = Standing::Untold;
            }
            return None;
        };
        if let Some((address, version)) = applied {
            host.latest = address;
            host.remember(address, &cluster_uuid, version);
        }
        let cluster = self.cluster.get_or_insert_with(|| cluster_uuid.clone());
        let standing =
            if *cluster == cluster_uuid { Standing::Member } else { Standing::Other(cluster_uuid) };
        let before = std::mem::replace(&mut host.standing, standing);
        if before == host.standing {
            return None;
        }
        let joined = host.standing == Standing::Member;
        if self.adopt(now) {
            return Some(News::Swapped);
        }
        Some(if joined { News::Joined } else { News::LeftOut })
    }

    /// If all seeds show other clusters, the first one's rules from now on, and the nodes of the old one have gone.
    fn adopt(&mut self, now: Instant) -> bool {
        let mut seeds = self.hosts.iter().filter(|host| host.seed);
        let all = seeds.all(Record::is_foreign);
        let Some(Standing::Other(uuid)) =
            self.hosts.first().map(|host| host.standing.clone()).filter(|_| all)
        else {
            return false;
        };
        for host in &mut self.hosts {
            if host.standing == Standing::Other(uuid.clone()) {
                host.standing = Standing::Member;
            } else if !host.seed {
                let gone = if host.named { Some(now) } else { host.gone };
                (host.named, host.standing, host.gone) = (false, Standing::Unknown, gone);
            }
        }
        self.cluster = Some(uuid);
        true
    }

    /// Whether whoever answers at this host now is known to have applied the state of a tag.
    pub(super) fn has_applied(&self, index: usize, tag: &StateVersion) -> bool {
        self.applied_by(index, tag).contains(&self.hosts[index].latest)
    }

    /// The addresses of this host that are known to have applied the state of a tag.
    pub(super) fn applied_by(&self, index: usize, tag: &StateVersion) -> Vec<Option<SocketAddr>> {
        self.hosts[index].that_applied(tag)
    }

    /// Who is to be asked: all who are not ejected, and who have served their time; everybody if nobody else is left.
    /// With `ailing` only those of them who cannot be used as they are, are suspect, or closed a connection.
    pub(super) fn to_check(&self, ailing: bool, now: Instant) -> Vec<usize> {
        let mut there = (0..self.hosts.len()).filter(|&index| self.is_there(index));
        let outage = there.all(|index| self.hosts[index].ejected_until.is_some());
        (0..self.hosts.len())
            .filter(|&index| self.is_there(index))
            .filter(|&index| outage || !self.hosts[index].is_out(now))
            .filter(|&index| {
                let host = &self.hosts[index];
                let ill = host.ejected_until.is_some() || matches!(host.standing, Standing::Unknown);
                let ill = ill || host.closed;
                !ailing || ill || self.suspect(index, now)
            })
            .collect()
    }

    /// Whether answers are awaited of it, and none came for a while.
    pub(super) fn suspect(&self, index: usize, now: Instant) -> bool {
        self.hosts[index].is_suspect(now)
    }

    /// Whether it has answered anything since.
    pub(super) fn heard_since(&self, index: usize, since: Instant) -> bool {
        self.hosts[index].heard_of.is_some_and(|heard| heard > since)
    }

    /// The hosts but this one that are used, and were not heard of for a while.
    pub(super) fn unheard(&self, but: usize, now: Instant) -> Vec<usize> {
        let unheard = |&index: &usize| {
            let quiet = |since| now.duration_since(since) >= SUSPICION;
            self.proven(index) && !self.ejected(index, now) && self.hosts[index].heard_of.is_none_or(quiet)
        };
        (0..self.hosts.len()).filter(|&index| index != but).filter(unheard).collect()
    }

    /// Standing, whether ejected, and outstanding requests.
    pub(super) fn report(&self, index: usize, now: Instant) -> (Standing, bool, usize) {
        let host = &self.hosts[index];
        (host.standing.clone(), self.ejected(index, now), host.outstanding)
    }
}

#[cfg(test)]
mod tests;
