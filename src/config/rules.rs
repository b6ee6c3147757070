//! `rules`: what to cache by index and endpoint.

use std::time::Duration;

use super::nearest::nearest;
use super::units::Wait;
use super::value::{Scalar, Shape, Unfit, Value, Written, WrittenRule};
use super::yaml;
use crate::elastic::api::Api;
use crate::policy::Rule;

/// The rules in their order; the first that matches decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules(pub(super) Vec<Rule>);

/// The names in a rule.
const FIELDS: [&str; 6] = ["index", "api", "cache", "ttl", "max_staleness", "hits"];

impl Value for Rules {
    const SHAPE: Shape = Shape::Rules;

    fn read(written: &Written) -> Result<Rules, String> {
        let parsed;
        let written = match written {
            Written::Rules(rules) => rules,
            Written::Many(_) => return Err("a list of words is not a list of rules".to_owned()),
            Written::One(text) => {
                parsed = yaml::rules(text).map_err(|unreadable| unreadable.message)?;
                &parsed
            }
        };
        let rule = |(i, written)| rule(written).map_err(|reason| format!("rule {}: {reason}", i + 1));
        written.iter().enumerate().map(rule).collect::<Result<_, _>>().map(Rules)
    }

    fn show(&self) -> String {
        format!("[{}]", self.0.iter().map(show).collect::<Vec<_>>().join(", "))
    }
}

fn rule(written: &WrittenRule) -> Result<Rule, String> {
    let mut rule = Rule::default();
    for (i, (name, value)) in written.fields.iter().enumerate() {
        if written.fields[..i].iter().any(|(other, _)| other == name) {
            return Err(format!("[{name}] is set twice"));
        }
        let wrong = |reason| format!("{name}: {reason}");
        match name.as_str() {
            "index" => rule.indices = patterns(value).map_err(wrong)?,
            "api" => rule.api = Some(one::<Cached>(value).map_err(wrong)?.0),
            "cache" => rule.cache = Some(one(value).map_err(wrong)?),
            "ttl" => rule.ttl = Some(one::<Wait>(value).map_err(wrong)?.0),
            "max_staleness" => rule.max_staleness = Some(one::<Duration>(value).map_err(wrong)?),
            "hits" => rule.hits = Some(one(value).map_err(wrong)?),
            unknown => {
                let hint = nearest(unknown, FIELDS.into_iter()).map_or_else(
                    || format!("; a rule has {}", FIELDS.join(", ")),
                    |name| format!(", did you mean [{name}]?"),
                );
                return Err(format!("unknown name [{unknown}]{hint}"));
            }
        }
    }
    let sets = [rule.cache.is_some(), rule.ttl.is_some(), rule.max_staleness.is_some(), rule.hits.is_some()];
    if sets.contains(&true) {
        Ok(rule)
    } else {
        Err("sets none of cache, ttl, max_staleness, hits".to_owned())
    }
}

fn one<T: Scalar>(written: &Written) -> Result<T, String> {
    <T as Value>::read(written)
}

fn patterns(written: &Written) -> Result<Vec<String>, String> {
    let patterns: Vec<String> = Value::read(written)?;
    match patterns.iter().find(|p| p.is_empty() || p.contains(|c: char| c == ',' || c.is_whitespace())) {
        Some(bad) => Err(format!("[{bad}] is not an index pattern, such as logs-*")),
        None if patterns.is_empty() => {
            Err("an empty list matches no index; leave the name out to match all".to_owned())
        }
        None => Ok(patterns),
    }
}

/// An endpoint whose answers can be cached.
struct Cached(Api);

impl Scalar for Cached {
    const WHAT: &'static str = "a read that is cached, such as search or count";

    fn parse(text: &str) -> Result<Cached, Unfit> {
        let cached = Api::READS.into_iter().find(|api| api.name() == text);
        cached.map(Cached).ok_or(Unfit::Plainly)
    }

    fn show(&self) -> String {
        self.0.name().to_owned()
    }
}

fn show(rule: &Rule) -> String {
    let fields = [
        (!rule.indices.is_empty()).then(|| format!("index: {}", rule.indices.show())),
        rule.api.map(|api| format!("api: {}", api.name())),
        rule.cache.map(|cache| format!("cache: {cache}")),
        rule.ttl.map(|ttl| format!("ttl: {}", Scalar::show(&ttl))),
        rule.max_staleness.map(|bound| format!("max_staleness: {}", Scalar::show(&bound))),
        rule.hits.map(|hits| format!("hits: {hits}")),
    ];
    format!("{{{}}}", fields.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let found = Rules::read(&Written::One(text.to_owned())).map(|rules| rules.show());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn reads_rules() {
        check("", Ok("[]"));
        check("[]", Ok("[]"));
        check("[{index: logs-*, cache: false}]", Ok("[{index: [logs-*], cache: false}]"));
        check(
            "- {index: [a, b*], api: count, max_staleness: 10s}\n- {hits: false, ttl: 1h}",
            Ok("[{index: [a, b*], api: count, max_staleness: 10s}, {ttl: 1h, hits: false}]"),
        );
        check("[{index: 'a,b', cache: true}]", Ok("[{index: [a, b], cache: true}]"));
    }

    #[test]
    fn refuses_what_is_no_rule() {
        check("[{indx: a, cache: true}]", Err("rule 1: unknown name [indx], did you mean [index]?"));
        check(
            "[{index: a, cache: true}, {when: never}]",
            Err("rule 2: unknown name [when]; a rule has index, api, cache, ttl, max_staleness, hits"),
        );
        check("[{index: a}]", Err("rule 1: sets none of cache, ttl, max_staleness, hits"));
        check("[{}]", Err("rule 1: sets none of cache, ttl, max_staleness, hits"));
        check(
            "[{index: [], cache: true}]",
            Err("rule 1: index: an empty list matches no index; leave the name out to match all"),
        );
        check(
            "[{index: [a b], cache: true}]",
            Err("rule 1: index: [a b] is not an index pattern, such as logs-*"),
        );
        check(
            "[{api: bulk, cache: true}]",
            Err("rule 1: api: [bulk] is not a read that is cached, such as search or count"),
        );
        check("[{cache: maybe}]", Err("rule 1: cache: [maybe] is not true or false"));
        check("[{cache: true, cache: false}]", Err("rule 1: [cache] is set twice"));
        check("[logs-*]", Err("names with values are expected here, as in \"name: value\""));
        check("logs-*", Err("a list is expected here"));
    }
}
