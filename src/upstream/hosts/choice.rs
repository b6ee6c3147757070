//! Which host is asked next.

use std::time::Duration;

use tokio::time::Instant;

use super::Hosts;

/// For so long a host that was asked a question of escache's own in vain is asked no other one, if there is another host.
const AVOIDED: Duration = Duration::from_secs(60);

/// A host to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) struct Choice {
    pub(in crate::upstream) index: usize,
    /// It is ejected, as all that are left are.
    pub(in crate::upstream) ejected: bool,
    /// It must first be asked who it is: that is not known, or it closed a connection since.
    pub(in crate::upstream) unproven: bool,
}

impl Hosts {
    /// For a client's request: the proven host with the least outstanding requests, weighted by how many bad answers it
    /// gave last, ties in turn; else one that must be asked who it is; else the one whose ejection ends first. Never one of
    /// another cluster.
    pub(in crate::upstream) fn choose(&mut self, tried: &[usize], now: Instant) -> Option<Choice> {
        self.choose_for(false, tried, now)
    }

    /// The same for a question of escache's own. What it asks may need the master, or other nodes, that a host has lost
    /// while it still says who it is: taken in turn, such a host could spoil each of the readings, which ask twice.
    pub(in crate::upstream) fn choose_to_ask(&mut self, tried: &[usize], now: Instant) -> Option<Choice> {
        self.choose_for(true, tried, now)
    }

    fn choose_for(&mut self, question: bool, tried: &[usize], now: Instant) -> Option<Choice> {
        let count = self.hosts.len();
        let discovery = self.hosts.iter().any(|host| host.named);
        let rank = |&index: &usize| {
            let (host, ejected) = (&self.hosts[index], self.ejected(index, now));
            let until = ejected.then_some(host.ejected_until).flatten();
            let distance = (index + count - self.turn % count) % count;
            let in_vain = host.in_vain.is_some_and(|since| now.duration_since(since) < AVOIDED);
            let avoided = question && in_vain;
            // who has come back from errors must first answer one request well
            let tried_out = host.relapses > 0 && host.outstanding > 0;
            let load = host.outstanding.saturating_mul(1 + host.streak as usize);
            // seeds serve where no node does that the cluster names
            let reserve = discovery && !host.named;
            (ejected, until, !self.proven(index), avoided, reserve, tried_out, load, distance)
        };
        let open = |&index: &usize| {
            self.is_there(index) && !tried.contains(&index) && !self.hosts[index].is_foreign()
        };
        let index = (0..count).filter(open).min_by_key(rank)?;
        // who is alone cannot be mixed up with another one
        let unproven = !self.proven(index) || self.hosts[index].closed && !self.is_alone();
        let choice = Choice { index, ejected: self.ejected(index, now), unproven };
        self.turn = index + 1;
        Some(choice)
    }

    /// A host was asked a question of escache's own; `in_vain`: it answered that it is in trouble, or nothing until nobody
    /// waited any more.
    pub(in crate::upstream) fn asked(&mut self, index: usize, in_vain: bool, now: Instant) {
        self.hosts[index].in_vain = in_vain.then_some(now);
    }
}
