//! What the engines' answers about users and roles say. Pure functions of their text.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::cacheability;
use crate::elastic::json;
use crate::generation::digest_unordered;

/// What an engine said about who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bearer {
    /// Of everything that can matter to what the user may see.
    pub(super) digest: [u8; 32],
    /// The names of the user's roles.
    pub(super) roles: Vec<String>,
}

impl Bearer {
    /// Reads OpenSearch's `authinfo`. What it tells of the connection is left out; everything else counts, also what
    /// is not known here.
    pub(super) fn of_authinfo(body: &[u8]) -> Option<Bearer> {
        let mut told: Map<String, Value> = serde_json::from_slice(body).ok()?;
        told.get("user_name")?.as_str()?;
        let roles = names(told.get("roles")?)?;
        told.remove("remote_address");
        Some(Bearer { digest: digest_unordered(&Value::Object(told)), roles })
    }

    /// Reads Elasticsearch's `_authenticate`.
    pub(super) fn of_authenticate(body: &[u8]) -> Option<Bearer> {
        let told: Value = serde_json::from_slice(body).ok()?;
        told["username"].as_str()?;
        Some(Bearer { digest: digest_unordered(&told), roles: names(&told["roles"])? })
    }

    /// The same, with the privileges that come from the roles.
    pub(super) fn with(self, privileges: &Privileges) -> Bearer {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.digest).update(&privileges.digest);
        Bearer { digest: *hasher.finalize().as_bytes(), ..self }
    }
}

/// What Elasticsearch's `_privileges` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Privileges {
    digest: [u8; 32],
    /// A filter on documents may let other ones through although no role changes.
    pub(super) moving: bool,
}

impl Privileges {
    /// Reads `GET /_security/user/_privileges`.
    pub(super) fn read(body: &[u8]) -> Option<Privileges> {
        let told: Value = serde_json::from_slice(body).ok()?;
        let moving = |grant: &Value| match &grant["query"] {
            Value::Null => false,
            Value::Array(filters) => filters.iter().any(filter_moves),
            one => filter_moves(one),
        };
        told["cluster"].as_array()?;
        let moving = told["indices"].as_array()?.iter().any(moving);
        Some(Privileges { digest: digest_unordered(&told), moving })
    }
}

/// The roles of OpenSearch whose filters on documents let the same documents through until the role changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StillRoles(BTreeSet<String>);

impl StillRoles {
    /// Reads `GET /_plugins/_security/api/roles`.
    pub(super) fn read(body: &[u8]) -> Option<StillRoles> {
        let told: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let mut still = BTreeSet::new();
        for (name, role) in told {
            let grants = role["index_permissions"].as_array()?;
            if !grants.iter().any(|grant| filter_moves(&grant["dls"])) {
                still.insert(name);
            }
        }
        Some(StillRoles(still))
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }

    /// Whether all these roles are. A role that was not shown (hidden ones are not) is not.
    pub(super) fn holds(&self, roles: &[String]) -> bool {
        roles.iter().all(|role| self.0.contains(role))
    }
}

fn names(list: &Value) -> Option<Vec<String>> {
    list.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Words of a filter whose result depends on more than the documents that it filters: other documents, scripts, what
/// a template or a user's attributes in a directory say.
const MOVING_WORDS: &[&str] =
    &["template", "script", "percolate", "more_like_this", "indexed_shape", "path", "source", "random_score"];

/// Whether a filter on documents (its text, or JSON) may give another result although it stays as it is.
fn filter_moves(filter: &Value) -> bool {
    match filter {
        Value::Null => false,
        Value::String(text) if text.trim_ascii().is_empty() => false,
        Value::String(text) => {
            serde_json::from_str(text).map_or(true, |filter| moves(&filter) || !is_known(&filter))
        }
        other => moves(other) || !is_known(other),
    }
}

/// Whether the allow-list knows all of a filter.
fn is_known(filter: &Value) -> bool {
    let text = filter.to_string();
    json::parse(text.as_bytes()).is_ok_and(|mut filter| cacheability::judge_query(None, &mut filter).is_ok())
}

fn moves(filter: &Value) -> bool {
    match filter {
        Value::Object(members) => {
            members.iter().any(|(name, value)| MOVING_WORDS.contains(&name.as_str()) || moves(value))
        }
        Value::Array(elements) => elements.iter().any(moves),
        Value::String(text) => says_now(text) || text.contains("{{") || text.contains("${attr.ldap"),
        _ => false,
    }
}

/// Whether `now` begins a word: as a date, or as one in a query string.
fn says_now(text: &str) -> bool {
    text.match_indices("now").any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + 3..].chars().next();
        let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_letter(before) && !is_letter(after)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const AUTHINFO: &str = r#"{"user":"User [name=bob, backend_roles=[], requestedTenant=null]","user_name":"bob",
        "remote_address":"127.0.0.1:59388","backend_roles":["x","y"],"roles":["a","b"],"tenants":{"bob":true}}"#;

    #[test]
    fn authinfo_is_equal_but_for_the_connection() {
        let base = Bearer::of_authinfo(AUTHINFO.as_bytes()).unwrap();
        assert_eq!(base.roles, ["a", "b"]);
        let other = |from: &str, to: &str| Bearer::of_authinfo(AUTHINFO.replace(from, to).as_bytes());
        assert_eq!(other("59388", "59389").unwrap(), base);
        for (from, to) in
            [("\"bob\",", "\"eve\","), ("[\"a\",", "[\"c\","), ("[\"x\",", "["), ("true", "false")]
        {
            assert_ne!(other(from, to).unwrap().digest, base.digest, "{from}");
        }
        assert_eq!(other("\"user_name\":\"bob\",", ""), None);
        assert_eq!(other("\"roles\"", "\"rolls\""), None);
        assert_eq!(Bearer::of_authinfo(b"Unauthorized"), None);
    }

    #[test]
    fn privileges_are_part_of_a_bearer() {
        let bearer = Bearer::of_authenticate(br#"{"username":"bob","roles":["r"],"enabled":true}"#).unwrap();
        let with = |query: &str| {
            let told = json!({"cluster": [], "indices": [{"names": ["logs-*"], "query": [query]}]});
            let privileges = Privileges::read(told.to_string().as_bytes()).unwrap();
            (bearer.clone().with(&privileges).digest, privileges.moving)
        };
        assert_ne!(with(r#"{"term":{"team":"a"}}"#).0, with(r#"{"term":{"team":"b"}}"#).0);
        assert!(!with(r#"{"term":{"team":"b"}}"#).1);
        assert!(with(r#"{"range":{"at":{"gte":"now-1d"}}}"#).1);
        assert!(with(r#"{"template":{"source":"{\"term\":{\"u\":\"{{_user.username}}\"}}"}}"#).1);
        assert_eq!(Privileges::read(b"{}"), None);
    }

    #[track_caller]
    fn check_filter(filter: &str, expected: bool) {
        assert_eq!(filter_moves(&Value::String(filter.to_owned())), expected, "{filter}");
    }

    #[test]
    fn filters_that_move_by_themselves_are_known() {
        check_filter("", false);
        check_filter(r#"{"term":{"team":"snow"}}"#, false);
        check_filter(r#"{"term":{"known":"nowhere"}}"#, false);
        check_filter(r#"{"terms":{"team":["a","b"]}}"#, false);
        check_filter(r#"{"term":{"owner":"${user.name}"}}"#, false);
        check_filter(r#"{"range":{"at":{"gte":"now"}}}"#, true);
        check_filter(r#"{"range":{"at":{"gte":"now/d"}}}"#, true);
        check_filter(r#"{"query_string":{"query":"at:[now-1d TO *]"}}"#, true);
        check_filter(r#"{"terms":{"id":{"index":"users","id":"1","path":"ids"}}}"#, true);
        check_filter(r#"{"term":{"team":"${attr.ldap.team}"}}"#, true);
        check_filter(r#"{"script":{"script":"true"}}"#, true);
        check_filter("not JSON", true);
    }

    #[test]
    fn only_roles_that_were_shown_are_still() {
        let told = json!({
            "plain": {"index_permissions": [{"index_patterns": ["*"], "allowed_actions": ["read"]}]},
            "team": {"index_permissions": [{"dls": "{\"term\":{\"team\":\"b\"}}"}]},
            "recent": {"index_permissions": [{"dls": "{\"range\":{\"at\":{\"gte\":\"now-1d\"}}}"}, {}]},
        });
        let roles = StillRoles::read(told.to_string().as_bytes()).unwrap();
        let holds = |names: &[&str]| roles.holds(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert!(holds(&[]) && holds(&["plain", "team"]));
        assert!(!holds(&["plain", "recent"]) && !holds(&["hidden"]));
        assert_eq!(StillRoles::read(br#"{"status":"FORBIDDEN","message":"no"}"#), None);
    }
}
