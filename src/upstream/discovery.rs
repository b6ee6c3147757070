//! `upstream.discovery: nodes`: the nodes of the cluster, asked of it. The hosts of the configuration are seeds: they
//! are asked first, and serve while no node that was found does.
//!
//! What a node publishes is the address that *other nodes and clients beside it* can use. Behind NAT, a port mapping or
//! a proxy it is another node's or nobody's; a node is used only after it has shown, at that address, the uuid of the
//! cluster, so a wrong address is left out, and the seeds stay in use. It gets escache's credentials before that only where
//! its certificate says that it is who the address names.

use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;

use http::StatusCode;
use serde_json::Value;
use tokio::time::Instant;

use super::{Host, Member, Upstream};

/// What is asked.
const NODES: &str = "/_nodes/http?filter_path=nodes.*.roles,nodes.*.http.publish_address";

/// Hosts that are known at once, those included that have gone and are not forgotten yet.
const MOST_HOSTS: usize = 1024;

/// Roles of nodes that take searches. Without any role a node coordinates.
const TAKE_SEARCHES: &[&str] = &["data", "ingest", "search", "warm"];

impl Upstream {
    /// Asks the cluster for its nodes, if that is wanted and due.
    pub(super) async fn discover(&self) {
        let Some(interval) = self.settings.discovery else { return };
        // until somebody has shown the cluster there is nobody to believe
        if self.cluster_uuid().is_none() {
            return;
        }
        {
            let mut latest = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
            if latest.is_some_and(|latest| latest.elapsed() < interval) {
                return;
            }
            *latest = Some(Instant::now());
        }
        let found = match self.ask_for_nodes().await {
            Ok(found) if !found.is_empty() => found,
            Ok(_) => {
                return tracing::warn!("upstream.discovery: the cluster names no node that takes searches");
            }
            Err(error) => return tracing::warn!(error, "upstream.discovery: the nodes stay as they were"),
        };
        let new = self.adopt(&found, Instant::now());
        futures_util::future::join_all(new.into_iter().map(|index| self.listen(index))).await;
    }

    async fn ask_for_nodes(&self) -> Result<Vec<Host>, String> {
        let asked = self.ask_any(NODES).await.map_err(|error| error.to_string())?;
        let ((status, _, body, from), seed) = asked;
        if status != StatusCode::OK {
            return Err(format!("GET _nodes/http answered {status}"));
        }
        let told: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        Ok(nodes(&told, &self.member(seed.host).host, from))
    }

    /// Takes over which nodes there are. Returns those that were not known.
    fn adopt(&self, found: &[Host], now: Instant) -> Vec<usize> {
        let mut state = self.state();
        let mut members = Vec::clone(&self.members.load_full());
        let mut new = Vec::new();
        for host in found {
            match members.iter().position(|member| member.host == *host) {
                Some(index) => {
                    if state.found(index) {
                        tracing::info!(%host, "this node is there again");
                        new.push(index);
                    }
                }
                None => {
                    let Some(index) = state.add(MOST_HOSTS, now) else {
                        tracing::error!(%host, "there are too many nodes; this one is not used");
                        continue;
                    };
                    match members.get_mut(index) {
                        Some(forgotten) => *forgotten = Member::new(host.clone()),
                        None => members.push(Member::new(host.clone())),
                    }
                    new.push(index);
                    tracing::info!(%host, "a node was found");
                }
            }
        }
        for (index, member) in members.iter().enumerate() {
            if !found.contains(&member.host) && state.gone(index, now) {
                tracing::info!(host = %member.host, "this node has gone");
            }
        }
        self.members.store(members.into());
        drop(state);
        self.note_silence();
        new
    }
}

/// The nodes that take searches, at the addresses that they publish.
fn nodes(told: &Value, seed: &Host, from: Option<SocketAddr>) -> Vec<Host> {
    let nodes = told["nodes"].as_object().into_iter().flatten().map(|(_, node)| node);
    let mut found = Vec::new();
    for node in nodes.filter(|node| takes_searches(node)) {
        let Some(published) = node["http"]["publish_address"].as_str() else { continue };
        let Some((name, address)) = parse(published) else {
            tracing::warn!(published, "upstream.discovery: an address that cannot be read");
            continue;
        };
        // what a node far away calls itself is here another machine
        if away(address.ip()) && from.is_some_and(|from| !from.ip().is_loopback()) {
            tracing::warn!(
                published,
                "upstream.discovery: this address is reachable on its own machine only"
            );
            continue;
        }
        // a certificate is for a name where there is one
        let authority = match name.filter(|_| seed.is_https()) {
            Some(name) => format!("{name}:{}", address.port()),
            None => address.to_string(),
        };
        let scheme = if seed.is_https() { "https" } else { "http" };
        if let Ok(host) = Host::parse(&format!("{scheme}://{authority}"))
            && !found.contains(&host)
        {
            found.push(host);
        }
    }
    found
}

/// The hosts that an answer of `_nodes/http` names, for those who try to break it; `None` if it is not JSON.
#[doc(hidden)]
#[must_use]
pub fn nodes_named(body: &[u8]) -> Option<Vec<String>> {
    let told: Value = serde_json::from_slice(body).ok()?;
    let seed = Host::parse("http://localhost:9200").ok()?;
    Some(nodes(&told, &seed, None).iter().map(ToString::to_string).collect())
}

fn away(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified()
}

/// `10.0.0.1:9200`, or `name/10.0.0.1:9200`.
fn parse(published: &str) -> Option<(Option<&str>, SocketAddr)> {
    let (name, address) = match published.rsplit_once('/') {
        Some((name, address)) => (Some(name).filter(|name| !name.is_empty()), address),
        None => (None, published),
    };
    Some((name, address.parse().ok()?))
}

fn takes_searches(node: &Value) -> bool {
    let Some(roles) = node["roles"].as_array() else { return true };
    let takes = |role: &str| TAKE_SEARCHES.contains(&role) || role.starts_with("data_");
    roles.is_empty() || roles.iter().filter_map(Value::as_str).any(takes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::stats::Stats;
    use crate::upstream::{Names, UpstreamSettings};

    fn found(nodes_told: &Value, seed: &str, from: &str) -> Vec<String> {
        let seed = Host::parse(seed).unwrap();
        let from = Some(from.parse().unwrap());
        nodes(&json!({"nodes": nodes_told}), &seed, from).iter().map(ToString::to_string).collect()
    }

    /// As many nodes as there are may come and go, an hour apart: the table does not grow, and none is refused.
    #[test]
    fn nodes_that_have_gone_leave_their_places() {
        let names = Names::by(|_| async { Ok(Vec::new()) });
        let (limit, stats) = (Duration::from_secs(1), Arc::<Stats>::default());
        let settings = UpstreamSettings {
            hosts: vec![Host::parse("http://seed:9200").unwrap()],
            credentials: None,
            tls: None,
            connect_timeout: limit,
            response_timeout: limit,
            max_idle_per_host: 1,
            idle_timeout: limit,
            discovery: Some(limit),
            names,
        };
        let upstream = Upstream::new(settings, stats);
        let mut now = Instant::now();
        for round in 0..3 * MOST_HOSTS / 64 {
            let nodes: Vec<Host> = (0..64)
                .map(|node| Host::parse(&format!("http://10.0.{round}.{node}:9200")).unwrap())
                .collect();
            assert_eq!(upstream.adopt(&nodes, now).len(), 64, "in round {round}");
            let used: Vec<String> = upstream.hosts().into_iter().map(|host| host.host).collect();
            assert!(nodes.iter().all(|node| used.contains(&node.to_string())) && used.len() == 65);
            now += Duration::from_secs(3600);
        }
        assert!(upstream.members.load().len() <= 1 + 2 * 64, "{}", upstream.members.load().len());
    }

    #[test]
    fn nodes_that_take_searches_are_found_where_they_publish() {
        let told = json!({
            "a": {"roles": ["data", "master"], "http": {"publish_address": "10.0.0.1:9200"}},
            "b": {"roles": ["master", "remote_cluster_client"], "http": {"publish_address": "10.0.0.2:9200"}},
            "c": {"roles": ["cluster_manager"], "http": {"publish_address": "10.0.0.3:9200"}},
            "d": {"roles": [], "http": {"publish_address": "es-4.local/10.0.0.4:9201"}},
            "e": {"roles": ["data_hot"], "http": {"publish_address": "[fd00::5]:9200"}},
            "f": {"roles": ["data"]},
            "g": {"roles": ["data"], "http": {"publish_address": "inet[nonsense]"}},
            "h": {"roles": ["data"], "http": {"publish_address": "127.0.0.1:9200"}},
            "i": {"roles": ["ml"], "http": {"publish_address": "10.0.0.9:9200"}},
        });
        let expected = ["http://10.0.0.1:9200", "http://10.0.0.4:9201", "http://[fd00::5]:9200"];
        assert_eq!(found(&told, "http://seed:9200", "10.0.0.1:9200"), expected);
        let expected = ["https://10.0.0.1:9200", "https://es-4.local:9201", "https://[fd00::5]:9200"];
        assert_eq!(found(&told, "https://seed:9200", "10.0.0.1:9200"), expected);
        // on one machine loopback is the way
        let told = json!({"a": {"http": {"publish_address": "127.0.0.1:9201"}}});
        assert_eq!(found(&told, "http://localhost:9200", "127.0.0.1:9200"), ["http://127.0.0.1:9201"]);
        assert!(found(&json!(null), "http://a", "127.0.0.1:9200").is_empty());
    }
}
