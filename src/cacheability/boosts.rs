//! `indices_boost`: its names are resolved in the whole cluster, with the options of the search
//! (`TransportSearchAction.resolveIndexBoosts`).

use crate::elastic::json::Json;
use crate::elastic::params::Params;

/// The names of which only metadata outside the target's expression may tell whether they are there: without it the
/// engine answers with an error. They must be found among the indices of the target. A name that stands in the expression is
/// there with it. A pattern that finds nothing is no error, and what it finds outside the
/// target has no effect, unless the request says that nothing found is an error, or has it find closed indices.
pub fn boosted(body: &Json<'_>, expression: Option<&str>, params: &Params<'_>) -> Vec<String> {
    let Json::Object(body) = body else { return Vec::new() };
    let strict = params.get("allow_no_indices").is_some_and(|value| value != "true")
        || params.get("expand_wildcards").is_some_and(|value| value != "open");
    let known = |name: &str| match name.contains('*') {
        true => !strict && !name.starts_with('-'),
        false => expression.is_some_and(|expression| expression.split(',').any(|part| part == name)),
    };
    let boosts = body.members.iter().filter(|(name, _)| name == "indices_boost");
    let objects = boosts.flat_map(|(_, boost)| match boost {
        Json::Array(objects) => objects.as_slice(),
        object => std::slice::from_ref(object),
    });
    let names = objects.filter_map(|object| match object {
        Json::Object(object) => Some(object.members.iter().map(|(name, _)| name.as_ref())),
        _ => None,
    });
    names.flatten().filter(|name| !known(name)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elastic::json;

    fn to_find(boosts: &str, expression: Option<&str>, query: &str) -> Vec<String> {
        let text = format!(r#"{{"indices_boost":{boosts}}}"#);
        let body = json::parse(text.as_bytes()).unwrap();
        boosted(&body, expression, &Params::parse(query).unwrap())
    }

    #[test]
    fn names_of_the_expression_and_patterns_are_known() {
        for (boosts, expression, query) in [
            (r#"[{"a":2},{"b":1}]"#, Some("a,b"), ""),
            (r#"{"a":2}"#, Some("a"), "ignore_unavailable=true"),
            (r#"[{"logs-*":2}]"#, None, "allow_no_indices=true"),
            (r#"[{"logs-*":2}]"#, None, "expand_wildcards=open"),
            ("[]", None, ""),
        ] {
            assert!(to_find(boosts, expression, query).is_empty(), "{boosts}");
        }
    }

    #[test]
    fn others_must_be_found_in_the_target() {
        assert_eq!(to_find(r#"[{"a":2},{"b":1}]"#, Some("a"), ""), ["b"]);
        assert_eq!(to_find(r#"{"b":2}"#, Some("*"), ""), ["b"]);
        assert_eq!(to_find(r#"{"a":2}"#, None, ""), ["a"]);
        assert_eq!(to_find(r#"{"logs-*":2}"#, None, "allow_no_indices=false"), ["logs-*"]);
        assert_eq!(to_find(r#"{"logs-*":2}"#, None, "expand_wildcards=open,closed"), ["logs-*"]);
        assert_eq!(to_find(r#"{"-logs-*":2}"#, None, ""), ["-logs-*"]);
    }
}
