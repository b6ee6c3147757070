//! Which security the engine has, and whether its index can be read.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use serde_json::Value;
use tokio::time::Instant;

use super::answers::Bearer;
use super::{Scope, Way};
use crate::elastic::params::Params;
use crate::elastic::target::Target;
use crate::rounds::Needed;

/// What is known of the engine's security.
#[derive(Debug, Default)]
pub(super) enum Facts {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It has none: everybody may do everything.
    Open,
    /// It has users.
    Secured {
        /// How it tells who asks.
        kind: Kind,
        /// The index where it keeps them, if its counters can be read.
        index: Option<Target>,
    },
}

/// How an engine tells who asks, and what of it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// OpenSearch's security plugin: `authinfo`.
    OpenSearch,
    /// Elasticsearch: `_authenticate` and `_privileges`.
    Elasticsearch,
    /// Elasticsearch: `_authenticate` alone.
    ElasticsearchUsers,
}

impl Kind {
    /// Only who it is, not what it may do.
    pub(super) fn without_privileges(self) -> Kind {
        if self == Kind::Elasticsearch { Kind::ElasticsearchUsers } else { self }
    }
}

/// What an engine without security answers: no handler, no such endpoint, security is switched off.
const ABSENT: [StatusCode; 6] = [
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::GONE,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::NOT_IMPLEMENTED,
];

impl Scope {
    /// Asks the engine, with escache's own credentials, which security it has. The first look at the security index
    /// begins its gap. Returns what is missing for a proof, in a sentence.
    pub async fn survey(&self) -> Option<String> {
        let (plugin, xpack) = tokio::join!(
            self.asker.upstream.ask("/_plugins/_security/authinfo"),
            self.asker.upstream.ask("/_security/_authenticate")
        );
        let (Ok((plugin, _, authinfo)), Ok((xpack, _, authenticate))) = (plugin, xpack) else { return None };
        let kind = if plugin == StatusCode::OK && Bearer::of_authinfo(&authinfo).is_some() {
            Kind::OpenSearch
        } else if xpack == StatusCode::OK && Bearer::of_authenticate(&authenticate).is_some() {
            Kind::Elasticsearch
        } else {
            let open = ABSENT.contains(&plugin) && ABSENT.contains(&xpack);
            let silent =
                |status: StatusCode| status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            // answers such as 503 tell nothing: what was known of users stays known
            if !(silent(plugin) && silent(xpack)) {
                self.open.store(open, Ordering::Release);
            }
            self.facts.store(Arc::new(if open { Facts::Open } else { Facts::Unknown }));
            return (!open).then(|| {
                "the engine does not tell who escache is; set upstream.credentials to cache requests with an identity".to_owned()
            });
        };
        self.open.store(false, Ordering::Release);
        let index = match self.settings.way {
            Way::Privileges | Way::None => None,
            Way::Auto | Way::SecurityIndex => Some(self.security_index(kind).await),
        };
        let readable =
            matches!(self.security(index.as_ref(), Needed::since(Instant::now())).await, Ok(Some(_)));
        let missing = index.as_ref().filter(|_| !readable && kind == Kind::OpenSearch).map(|index| {
            format!("the statistics of [{index}] cannot be read; requests with an identity are forwarded (auth.proof)")
        });
        self.facts.store(Arc::new(Facts::Secured { kind, index: index.filter(|_| readable) }));
        missing
    }

    /// By the setting, by what the nodes' settings say where they may be read, or by its usual name.
    async fn security_index(&self, kind: Kind) -> Target {
        let target = |name: &str| Target::new(Some(name), &Params::default());
        if let Some(name) = &self.settings.index {
            return target(name);
        }
        if kind != Kind::OpenSearch {
            return target(".security");
        }
        let asked =
            self.asker.upstream.ask("/_nodes/settings?flat_settings=true&filter_path=nodes.*.settings").await;
        let told: Value = match asked {
            Ok((StatusCode::OK, _, body)) => serde_json::from_slice(&body).unwrap_or_default(),
            _ => Value::Null,
        };
        let named =
            told["nodes"].as_object().into_iter().flat_map(serde_json::Map::values).find_map(|node| {
                let settings = &node["settings"];
                let named = |name: &str| settings[name].as_str();
                named("plugins.security.config_index_name")
                    .or_else(|| named("opendistro_security.config_index_name"))
            });
        target(named.unwrap_or(".opendistro_security"))
    }
}
