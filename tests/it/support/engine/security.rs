//! Users, if a test wants some: who may come in, and a document filter that moves no counter when it changes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::Answer;
use super::api::Api;
use super::ids::base64;
use super::model::Cluster;
use super::observe::Seen;
use super::route::Call;

/// The users. With none, everybody may do everything, and there is no security API.
#[derive(Default)]
pub(crate) struct Users(BTreeMap<String, User>);

#[derive(Default)]
struct User {
    authorization: String,
    /// The documents that they see; all if none.
    filter: Option<Value>,
}

impl Users {
    /// What the user who asks is refused with.
    pub(crate) fn refuses(&self, request: &Seen) -> Option<Answer> {
        if self.0.is_empty() || self.named(request).is_some() {
            return None;
        }
        let reason = "missing or wrong authentication credentials for REST request";
        let refusal = Answer::error(401, "security_exception", reason, &json!({}));
        Some(refusal.with("www-authenticate", "Basic realm=\"security\" charset=\"UTF-8\""))
    }

    /// The filter on what the user who asks sees.
    pub(crate) fn filter(&self, request: &Seen) -> Option<&Value> {
        self.named(request).and_then(|(_, user)| user.filter.as_ref())
    }

    /// `_security/_authenticate`, `_security/user/_privileges`, OpenSearch's `authinfo`.
    pub(crate) fn describe(&self, call: &Call<'_>) -> Answer {
        let Some((name, user)) = self.named(call.request) else {
            return Answer::no_handler(call.method, &call.request.uri());
        };
        if call.request.path.starts_with("/_plugins/") {
            return Answer::ok(json!({
                "user": format!("User [name={name}, backend_roles=[], requestedTenant=null]"), "user_name": name,
                "remote_address": format!("127.0.0.1:{}", super::ids::fresh_id()), "backend_roles": [],
                "roles": [name], "tenants": { name: true },
            }));
        }
        let mut rights = json!({ "names": ["*"], "privileges": ["read"], "allow_restricted_indices": false });
        if let Some(filter) = &user.filter {
            rights["query"] = json!([filter.to_string()]);
        }
        Answer::ok(match call.place.api {
            Api::Privileges => {
                json!({ "cluster": [], "global": [], "indices": [rights], "applications": [], "run_as": [] })
            }
            _ => json!({
                "username": name, "roles": [name], "full_name": null, "email": null, "metadata": {}, "enabled": true,
                "authentication_realm": { "name": "file", "type": "file" },
                "lookup_realm": { "name": "file", "type": "file" },
                "authentication_type": "realm",
            }),
        })
    }

    fn named(&self, request: &Seen) -> Option<(&String, &User)> {
        let sent = request.header("authorization")?;
        let bearer = self.0.iter().find(|(_, user)| user.authorization == sent)?;
        match request.header("es-security-runas-user") {
            Some(name) => self.0.get_key_value(name),
            None => Some(bearer),
        }
    }
}

/// The index whose counters tell of changed roles.
pub(crate) const SECURITY_INDEX: &str = ".opendistro_security";

impl Cluster {
    /// Adds a user with the password `NAME-pw`. From now on, others are refused.
    pub(crate) fn add_user(&mut self, name: &str) {
        let user = User { authorization: basic(name), filter: None };
        self.users.0.insert(name.into(), user);
    }

    /// Changes which documents a user sees. No counter and no metadata of any other index moves; those of OpenSearch's
    /// security index do.
    pub(crate) fn restrict(&mut self, name: &str, filter: Option<Value>) {
        self.announce();
        self.enforce(name, filter);
    }

    /// The second half of `restrict`: what nodes do a little later.
    pub(crate) fn enforce(&mut self, name: &str, filter: Option<Value>) {
        self.users.0.get_mut(name).unwrap_or_else(|| panic!("no such user: {name}")).filter = filter;
    }

    /// The first half of `restrict`: the counters of the security index move, searches stay as they were.
    pub(crate) fn announce(&mut self) {
        if !self.flavour.is_elasticsearch() {
            if !self.indices.contains_key(SECURITY_INDEX) {
                self.create_index(SECURITY_INDEX, 1, 1);
            }
            self.write(SECURITY_INDEX, "roles", Some(&json!({})));
            self.refresh(SECURITY_INDEX);
        }
    }

    /// Removes a user.
    pub(crate) fn remove_user(&mut self, name: &str) {
        self.users.0.remove(name);
    }
}

/// The `Authorization` header of a user of `add_user`.
pub(crate) fn basic(name: &str) -> String {
    format!("Basic {}", base64(format!("{name}:{name}-pw").as_bytes()))
}
