//! How hosts fare: what is noted of each as answers, failures and closed connections come, what the log says of it, and
//! the health check.

use std::net::SocketAddr;

use http::StatusCode;
use tokio::time::Instant;

use super::Upstream;
use super::hosts::{Failure, News, Standing, Told};
use crate::error::ProxyError;

/// Whether an answer says that who gives it is in trouble.
pub(super) fn is_trouble(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// What is to be seen of a host from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReport {
    /// Its address, as configured.
    pub host: String,
    /// What it has said about its cluster.
    pub standing: Standing,
    /// Whether it is out because it failed.
    pub ejected: bool,
    /// Whether requests go to it.
    pub used: bool,
    /// Requests that wait for their answers to begin.
    pub outstanding: usize,
}

impl Upstream {
    /// The cluster whose hosts are used; `None` while no host has told.
    #[must_use]
    pub fn cluster_uuid(&self) -> Option<String> {
        self.state().cluster().map(str::to_owned)
    }

    /// Whether there is one host, and never was another.
    #[must_use]
    pub fn has_one_host(&self) -> bool {
        self.members.load().len() == 1
    }

    /// How each host fares.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostReport> {
        let (state, members, now) = (self.state(), self.members.load(), Instant::now());
        let hosts = members.iter().enumerate().filter(|(index, _)| state.is_there(*index));
        hosts
            .map(|(index, member)| {
                let (standing, ejected, outstanding) = state.report(index, now);
                let used = state.proven(index) && !ejected;
                HostReport { host: member.host.to_string(), standing, ejected, used, outstanding }
            })
            .collect()
    }

    /// The health check: asks who they are all hosts, or with `ailing` those that were left for their failures and
    /// have served their time, those that are suspect, and those that closed a connection, as who is killed does.
    /// Without it, names are looked up and nodes discovered as well.
    pub async fn check_hosts(&self, ailing: bool) {
        self.heed_closed();
        let mut due = self.state().to_check(ailing, Instant::now()).into_iter();
        // the first one in the list that tells is the first one heard
        while self.cluster_uuid().is_none()
            && let Some(index) = due.next()
        {
            let _ = self.listen(index).await;
        }
        futures_util::future::join_all(due.map(|index| self.listen(index))).await;
        if !ailing {
            self.look_at_names().await;
            self.discover().await;
        }
    }

    /// Hosts that closed a connection are asked who they are before anything else.
    pub(super) fn heed_closed(&self) {
        let closed = self.closed.take();
        if closed.is_empty() {
            return;
        }
        let (members, mut state) = (self.members.load(), self.state());
        for (index, member) in members.iter().enumerate() {
            if closed.iter().any(|address| member.host.is_at(address)) {
                state.closed(index);
            }
        }
    }

    /// A host answered, from this address; a client's request, if its status is said.
    pub(super) fn answered(&self, index: usize, from: Option<SocketAddr>, status: Option<StatusCode>) {
        let well = status.map(|status| !is_trouble(status));
        let left = self.state().answered(index, from, well, Instant::now());
        if left {
            self.left_for_trouble(index, status);
        }
        if self.silence.borrow().is_some() {
            self.note_silence();
        }
    }

    /// A host took too long, or answered that it is in trouble.
    pub(super) fn troubled(&self, index: usize, status: Option<StatusCode>) {
        if self.state().troubled(index, Instant::now()) {
            self.left_for_trouble(index, status);
        }
    }

    fn left_for_trouble(&self, index: usize, status: Option<StatusCode>) {
        self.stats.plain.host_ejections.inc();
        let (host, status) = (&self.member(index).host, status.map(|status| status.as_u16()));
        tracing::warn!(%host, status, "this host is in trouble while others are not, and is left for a while");
    }

    /// A host failed.
    pub(super) fn failed(&self, index: usize, how: Failure, error: &ProxyError) {
        // closed connections are noted first: then a refusal is a loss
        self.heed_closed();
        if self.state().failed(index, how, Instant::now()) {
            self.stats.plain.host_ejections.inc();
            tracing::warn!(host = %self.member(index).host, %error, "this host fails and is left for a while");
        }
        if how == Failure::Silent {
            self.member(index).silences.send_modify(|silences| *silences += 1);
        }
        self.note_silence();
    }

    /// A host has said who it is; `None` if it answered and did not tell.
    pub(super) fn heard(&self, index: usize, told: Option<Told>) {
        let (news, cluster) = {
            let mut state = self.state();
            let was_out = !state.proven(index) || state.report(index, Instant::now()).1;
            let uuid = told.as_ref().map(|told| told.cluster_uuid.clone());
            let news = state
                .heard(index, told, Instant::now())
                .or((was_out && state.proven(index)).then_some(News::Joined));
            (news.map(|news| (news, uuid)), state.cluster().unwrap_or_default().to_owned())
        };
        self.note_silence();
        let Some((news, uuid)) = news else { return };
        let (host, uuid) = (&self.member(index).host, uuid.unwrap_or_default());
        match news {
            News::LeftOut => tracing::error!(
                %host, uuid, cluster,
                "this host belongs to another cluster and is left out; see upstream.hosts"
            ),
            News::Joined => tracing::info!(%host, uuid, "this host is used"),
            News::Swapped => tracing::warn!(%host, cluster, "all hosts show another cluster than before"),
        }
    }
}
