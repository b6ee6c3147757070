//! Asks the engine who it is: at start, and from time to time. A changed cluster empties the cache. What could not be
//! read is unknown, and changes nothing.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use crate::elastic::api::{Distribution, Engine};
use crate::elastic::params::Params;
use crate::elastic::target::Target;
use crate::generation::StateVersion;
use crate::outcome::{Reason, Refusal};
use crate::proxy::{EngineInfo, Probed, Proxy};
use crate::rounds::Needed;
use crate::upstream::Contact;

/// What the engine said about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What escache needs to know of it.
    pub info: EngineInfo,
    /// For people: `Elasticsearch 7.17.29, cluster "x"`.
    pub name: String,
    /// What is missing for exact caching, in a sentence.
    pub missing: Option<String>,
    /// If it looks like no search engine: what it answered, as in `GET / gave 200 OK, text/html`.
    pub stranger: Option<String>,
}

/// Why it did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NoAnswer {
    /// In words.
    pub why: String,
    /// Whether a host that answers refused a connection meanwhile, so that this need not be the engine's trouble.
    pub in_passing: bool,
}

/// How long the engine may take for all questions together. Each host has a time of its own besides.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How often hosts that failed are looked at, whether they have served their time.
const TICK: Duration = Duration::from_secs(1);

/// Asks each host whose it is, and the engine who it is and whether generations can be read.
///
/// # Errors
/// Why it did not answer.
pub async fn ask(proxy: &Arc<Proxy>) -> Result<Found, NoAnswer> {
    let began = Instant::now();
    proxy.upstream.check_hosts(false).await;
    let asked = tokio::time::timeout(TIMEOUT, ask_engine(proxy)).await;
    match asked {
        Ok(found) => {
            found.map_err(|why| NoAnswer { why, in_passing: proxy.upstream.refused_in_passing(began) })
        }
        Err(_) => Err(NoAnswer { why: format!("no answer within {TIMEOUT:?}"), in_passing: false }),
    }
}

async fn ask_engine(proxy: &Arc<Proxy>) -> Result<Found, String> {
    let (status, headers, body) = proxy.upstream.ask("/").await.map_err(|e| e.to_string())?;
    if status == StatusCode::LOOP_DETECTED {
        return Err(format!("what upstream.hosts leads to answered {status}"));
    }
    let root: Value = serde_json::from_slice(&body).unwrap_or_default();
    let is_elasticsearch = headers.contains_key("x-elastic-product");
    let mut version = root["version"]["number"].as_str().map(str::to_owned);
    if version.is_none()
        && let Ok((StatusCode::OK, _, body)) =
            proxy.upstream.ask("/_nodes/_local?filter_path=nodes.*.version").await
    {
        let nodes: Value = serde_json::from_slice(&body).unwrap_or_default();
        let first = nodes["nodes"].as_object().and_then(|nodes| nodes.values().next());
        version = first.and_then(|node| node["version"].as_str()).map(str::to_owned);
    }
    let distribution = match root["version"]["distribution"].as_str() {
        Some("opensearch") => Some(Distribution::OpenSearch),
        None if is_elasticsearch || root["tagline"] == "You Know, for Search" => {
            Some(Distribution::Elasticsearch)
        }
        _ => None,
    };
    let engine = version.as_deref().and_then(|v| {
        let mut numbers = v.split('.').map(|n| n.parse().ok());
        Some(Engine { distribution: distribution?, version: (numbers.next()??, numbers.next()??) })
    });
    let mut has_state = false;
    let mut missing = match proxy.upstream.ask("/_cluster/state/version").await {
        Ok((StatusCode::OK, _, body)) => match StateVersion::read(&body) {
            Ok(_) => {
                has_state = true;
                None
            }
            Err(_) => Some("its cluster state has no version".to_owned()),
        },
        Ok((status, _, _)) => {
            has_state = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            Some(format!("GET _cluster/state/version answered {status}"))
        }
        Err(error) => return Err(error.to_string()),
    };
    // what the hosts have shown; one answer that could not be read takes nothing back
    let cluster_uuid = proxy.upstream.cluster_uuid().unwrap_or_default();
    if missing.is_none() && !proxy.unwatched() {
        missing = missing_readings(proxy).await;
        let unproven = proxy.scope.survey().await;
        missing = missing.or(unproven);
    }
    if status == StatusCode::UNAUTHORIZED {
        missing =
            Some("it wants credentials; set upstream.credentials for escache's own questions".to_owned());
    }
    let version_is_known = version.is_some();
    let name = match (engine, version) {
        (Some(engine), Some(version)) => format!("{:?} {version}", engine.distribution),
        (_, Some(version)) => format!("an engine of version {version}"),
        _ => format!("an engine that answered {status}"),
    };
    let cluster = root["cluster_name"].as_str().map_or(String::new(), |c| format!(", cluster \"{c}\""));
    let known = is_elasticsearch || version_is_known || has_state;
    let stranger = (!known).then(|| stranger(status, &headers)).flatten();
    Ok(Found { info: EngineInfo { engine, cluster_uuid }, name: name + &cluster, missing, stranger })
}

/// What somebody answered to `GET /` who shows no version and no cluster; `None` where an engine, or a gateway in front
/// of one, may answer so: to who is not let in, or while it is in trouble.
fn stranger(status: StatusCode, headers: &HeaderMap) -> Option<String> {
    let may_be_one = status.is_server_error()
        || [
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            StatusCode::TOO_MANY_REQUESTS,
        ]
        .contains(&status);
    // what it says is for logs and for whoever asks /ready: a word, not whatever it likes
    let plain = |kind: &&str| {
        kind.len() < 60 && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b"/+-.".contains(&b))
    };
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()?.split(';').next());
    let kind = kind.map(str::trim).filter(plain).map_or(String::new(), |kind| format!(", {kind}"));
    (!may_be_one).then(|| format!("GET / gave {status}{kind}"))
}

/// Whether a reading of all indices works; with the reason in words if not.
async fn missing_readings(proxy: &Arc<Proxy>) -> Option<String> {
    let everything = Target::new(None, &Params::default());
    let reading = proxy.watcher.reading(&everything, Needed::since(Instant::now())).await;
    match reading.found {
        Err(Refusal { reason: Reason::GenerationUnknown, place }) => Some(format!(
            "generations cannot be read (_stats, _cluster/state or _alias refused: {place}); searches will be forwarded"
        )),
        Ok(_) | Err(_) => None,
    }
}

/// Asks for ever, every `interval`, and tells the proxy what has changed. Meanwhile, hosts that failed are asked when they
/// have served their time: an engine that keeps its answer back must not keep them out.
pub async fn keep_asking(proxy: Arc<Proxy>, interval: Duration) {
    let ask_engine = async {
        loop {
            tokio::time::sleep(interval).await;
            learn(&proxy, ask(&proxy).await);
        }
    };
    let look_after_hosts = async {
        loop {
            tokio::time::sleep(interval.min(TICK)).await;
            proxy.upstream.check_hosts(true).await;
        }
    };
    let ((), ()) = tokio::join!(ask_engine, look_after_hosts);
}

/// Takes over what the engine said.
pub fn learn(proxy: &Proxy, answer: Result<Found, NoAnswer>) {
    let now = match (&answer, proxy.upstream.contact()) {
        (Ok(_), _) => Probed::Well,
        (Err(NoAnswer { in_passing: false, .. }), Contact::Answers) => Probed::Unanswered,
        (Err(_), _) => Probed::Unreached,
    };
    let before = proxy.note_probe(now);
    match &answer {
        // who asks for the first time says what came of it
        _ if before == Probed::Never => {}
        Ok(found) if before != now && found.stranger.is_none() => {
            tracing::info!(engine = found.name, "the engine answers");
        }
        Err(error) if before == Probed::Well => tracing::warn!(%error, "the engine does not answer"),
        _ => {}
    }
    let Ok(mut found) = answer else { return };
    let was = proxy.note_stranger(found.stranger.clone());
    if let Some(gave) = found.stranger.as_ref().filter(|_| was.is_none()) {
        tracing::warn!(
            gave,
            "the upstream does not look like Elasticsearch or OpenSearch: is upstream.hosts right? Requests are passed on to it"
        );
    }
    let known = proxy.engine.load();
    if found.info.cluster_uuid.is_empty() {
        known.cluster_uuid.clone_into(&mut found.info.cluster_uuid);
    }
    if found.info.cluster_uuid == known.cluster_uuid {
        found.info.engine = found.info.engine.or(known.engine);
    }
    if **known == found.info {
        return;
    }
    let other_cluster = !known.cluster_uuid.is_empty() && known.cluster_uuid != found.info.cluster_uuid;
    proxy.engine.store(Arc::new(found.info));
    if other_cluster {
        tracing::warn!(engine = found.name, "another cluster answers: the cache is emptied");
        proxy.watcher.forget();
        proxy.scope.forget();
        proxy.purge(None);
    }
}
