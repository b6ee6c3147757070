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
    /// What is asked with the credentials of who asks.
    pub(super) fn questions(self) -> &'static [&'static str] {
        match self {
            Kind::OpenSearch => &["/_plugins/_security/authinfo"],
            Kind::Elasticsearch => &["/_security/_authenticate", "/_security/user/_privileges"],
            Kind::ElasticsearchUsers => &["/_security/_authenticate"],
        }
    }

    /// Only who it is, not what it may do.
    pub(super) fn without_privileges(self) -> Kind {
        if self == Kind::Elasticsearch { Kind::ElasticsearchUsers } else { self }
    }
}

/// What an engine without security answers: no handler, no such endpoint.
pub(super) const ABSENT: [StatusCode; 5] = [
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::GONE,
    StatusCode::NOT_IMPLEMENTED,
];

/// What an answer to the question who escache is says of the engine's security.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// It knows who asks.
    Who,
    /// It has no security of this kind.
    Absent,
    /// It has, and does not tell escache.
    No,
    /// This time it could not tell.
    Nothing,
}

impl Says {
    fn of(status: StatusCode, body: &[u8], read: fn(&[u8]) -> Option<Bearer>) -> Says {
        // Elasticsearch 7 with its security not set up answers with a 500 that says so
        let is_off = || {
            status == StatusCode::INTERNAL_SERVER_ERROR
                && String::from_utf8_lossy(body).contains("Security must be explicitly enabled")
        };
        match status {
            StatusCode::OK if read(body).is_some() => Says::Who,
            status if ABSENT.contains(&status) || is_off() => Says::Absent,
            status if is_silent(status) => Says::Nothing,
            _ => Says::No,
        }
    }
}

/// Whether a status tells only that the engine could not answer this time.
pub(super) fn is_silent(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

impl Scope {
    /// Asks the engine, with escache's own credentials, which security it has. The first look at the security index
    /// begins its gap. Returns what is missing for a proof, in a sentence.
    pub async fn survey(&self) -> Option<String> {
        let (plugin, xpack) = tokio::join!(
            self.asker.upstream.ask("/_plugins/_security/authinfo"),
            self.asker.upstream.ask("/_security/_authenticate")
        );
        let (Ok((plugin, _, authinfo)), Ok((xpack, _, authenticate))) = (plugin, xpack) else { return None };
        let plugin = Says::of(plugin, &authinfo, Bearer::of_authinfo);
        let xpack = Says::of(xpack, &authenticate, Bearer::of_authenticate);
        let former = self.facts.load_full();
        let kind = match (plugin, xpack) {
            (Says::Who, _) => Kind::OpenSearch,
            (_, Says::Who) => Kind::Elasticsearch,
            (Says::Nothing, _) | (_, Says::Nothing) => {
                // users that were known stay known; that there were none proves nothing any more
                if !matches!(*former, Facts::Secured { .. }) {
                    self.facts.store(Arc::new(Facts::Unknown));
                }
                return Some("the engine did not answer whether it has users".to_owned());
            }
            told => {
                let open = told == (Says::Absent, Says::Absent);
                self.open.store(open, Ordering::Release);
                self.facts.store(Arc::new(if open { Facts::Open } else { Facts::Unknown }));
                return (!open).then(|| {
                    "the engine does not tell who escache is; set upstream.credentials to cache requests with an identity".to_owned()
                });
            }
        };
        self.open.store(false, Ordering::Release);
        let former = match &*former {
            Facts::Secured { kind: known, index } if *known == kind => index.as_ref(),
            _ => None,
        };
        let index = match self.settings.way {
            Way::Privileges | Way::None => None,
            Way::Auto | Way::SecurityIndex => Some(self.security_index(kind, former).await),
        };
        let readable =
            matches!(self.security(index.as_ref(), Needed::since(Instant::now())).await, Ok(Some(_)));
        let missing = index.as_ref().filter(|_| !readable && kind == Kind::OpenSearch).map(|index| {
            format!("the statistics of [{index}] cannot be read; requests with an identity are forwarded (auth.proof)")
        });
        // one reading that failed does not take the way away: then a lifetime could stand in for the proof
        let index = match index {
            Some(index) if !readable && self.says_no(&index).await => None,
            index => index,
        };
        self.facts.store(Arc::new(Facts::Secured { kind, index }));
        missing
    }

    /// Whether the engine does not let escache see this index, or has none.
    async fn says_no(&self, index: &Target) -> bool {
        let path = index.path();
        let questions =
            [format!("/{path}/_stats/refresh?filter_path=indices.*.uuid"), format!("/{path}/_alias")];
        for question in &questions {
            match self.asker.upstream.ask(question).await {
                Ok((StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, ..)) => {
                    return true;
                }
                // what may not be seen is passed over
                Ok((StatusCode::OK, _, body)) if body.trim_ascii() == b"{}" => return true,
                _ => {}
            }
        }
        false
    }

    /// By the setting, by what the nodes' settings say where they may be read, or by its usual name. If they were read
    /// before and cannot be this time, it is the one that it was.
    async fn security_index(&self, kind: Kind, former: Option<&Target>) -> Target {
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
            Ok((status, ..)) if !is_silent(status) => Value::Null,
            _ => match former {
                Some(former) => return former.clone(),
                None => Value::Null,
            },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_nothing_of_users() {
        let says = |status: u16, body: &[u8]| {
            Says::of(StatusCode::from_u16(status).unwrap(), body, Bearer::of_authenticate)
        };
        assert_eq!(says(200, br#"{"username":"bob","roles":["r"],"enabled":true}"#), Says::Who);
        assert_eq!(says(200, b"ok"), Says::No);
        for (status, expected) in [
            (400, Says::Absent),
            (404, Says::Absent),
            (405, Says::Absent),
            (401, Says::No),
            (403, Says::No),
            (429, Says::Nothing),
            (500, Says::Nothing),
            (502, Says::Nothing),
            (503, Says::Nothing),
        ] {
            assert_eq!(says(status, b"{}"), expected, "{status}");
        }
        let off =
            br#"{"error":{"reason":"Security must be explicitly enabled when using a [basic] license."}}"#;
        assert_eq!(says(500, off), Says::Absent);
    }
}
