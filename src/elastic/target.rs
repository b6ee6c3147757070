//! The index expression of a request as the client wrote it, with the parameters that decide what it resolves to.

use std::fmt;
use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::elastic::params::Params;

/// What stays as it is in a path segment or a query value that we write.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b',');

/// An index expression with its index options (`IndicesOptions.fromRequest`). Equal targets resolve equally in one
/// state of the cluster (and, for date math, at one time).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The expression, decoded; empty for all indices.
    pub expression: Box<str>,
    /// `expand_wildcards`, as given or the default of a search (`open`).
    expand_wildcards: Box<str>,
    /// `ignore_unavailable`, as given or the default of a search (`false`).
    ignore_unavailable: Box<str>,
    /// `allow_no_indices`, as given or the default of a search (`true`).
    allow_no_indices: Box<str>,
}

impl Target {
    /// The target of a request with this expression in its path and these parameters.
    #[must_use]
    pub fn new(expression: Option<&str>, params: &Params<'_>) -> Target {
        let option = |name, default: &'static str| match params.get(name) {
            None | Some("") => default.into(),
            Some(given) => given.into(),
        };
        Target {
            expression: expression.filter(|e| *e != "_all").unwrap_or_default().into(),
            expand_wildcards: option("expand_wildcards", "open"),
            ignore_unavailable: option("ignore_unavailable", "false"),
            allow_no_indices: option("allow_no_indices", "true"),
        }
    }

    /// Whether the expression means something else at another time.
    #[must_use]
    pub fn has_date_math(&self) -> bool {
        self.expression.contains('<')
    }

    /// Whether it may name this alias, in whatever state of the cluster: by its name, by a wildcard, or by date math.
    ///
    /// An engine resolves an expression to names first (`IndexNameExpressionResolver.resolveExpressions`), and gives an
    /// index the filters of those of its aliases that are among them (`filteringAliases`). A part without `*` and
    /// `<` resolves to itself, and one with `*` to names that match it; what begins with `-` only takes names away, or
    /// names nothing that can exist. So what this denies is not among the names, on any engine. A wildcard that matches
    /// alias and index alike is not denied: whether the index is among the names too depends on its state, on hidden
    /// indices, and on what who asks may see.
    #[must_use]
    pub fn may_name(&self, alias: &str) -> bool {
        let may_name = |part: &str| {
            let inner = part.strip_prefix('-').unwrap_or(part);
            if inner.starts_with('<') || part == "_all" {
                return true;
            }
            !part.starts_with('-') && matches(part, alias)
        };
        self.expression.is_empty() || self.expression.split(',').any(may_name)
    }

    /// The expression as a path segment, `_all` where it is empty.
    #[must_use]
    pub fn path(&self) -> String {
        match &*self.expression {
            "" => "_all".to_owned(),
            expression => utf8_percent_encode(expression, PLAIN).to_string(),
        }
    }

    /// The index options as URL parameters, all of them, so that the defaults of the endpoint do not matter.
    #[must_use]
    pub fn options(&self) -> String {
        let mut out = String::new();
        for (name, value) in [
            ("expand_wildcards", &self.expand_wildcards),
            ("ignore_unavailable", &self.ignore_unavailable),
            ("allow_no_indices", &self.allow_no_indices),
        ] {
            let _ = write!(
                out,
                "{}{name}={}",
                if out.is_empty() { "" } else { "&" },
                utf8_percent_encode(value, PLAIN)
            );
        }
        out
    }

    /// Bytes that this value holds beyond its own size.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        self.expression.len()
            + self.expand_wildcards.len()
            + self.ignore_unavailable.len()
            + self.allow_no_indices.len()
    }
}

/// A list of names as a path segment.
#[must_use]
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut list = String::new();
    for name in names {
        let comma = if list.is_empty() { "" } else { "," };
        let _ = write!(list, "{comma}{}", utf8_percent_encode(name, PLAIN));
    }
    list
}

/// `Regex.simpleMatch` of the engines: `*` stands for any text.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.expression.is_empty() { "_all" } else { &self.expression })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_an_alias_or_surely_does_not() {
        for (expression, expected) in [
            ("recent", true),
            ("a,recent", true),
            ("*", true),
            ("", true),
            ("_all", true),
            ("rec*", true),
            ("*ent,-recent", true),
            ("<recent>", true),
            ("<logs-{now/d}>", true),
            ("a,-<x>", true),
            ("logs-1", false),
            ("Recent", false),
            ("logs-*", false),
            ("logs-*,-recent", false),
            ("-recent", false),
            ("recent-1,x*", false),
        ] {
            let target = Target::new(Some(expression), &Params::default());
            assert_eq!(target.may_name("recent"), expected, "{expression}");
        }
    }

    #[test]
    fn patterns_match_as_in_the_engines() {
        for (pattern, text, expected) in [
            ("logs-*", "logs-2026", true),
            ("logs-*", "logs-*", true),
            ("logs-*", "other", false),
            ("*", "", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXc", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("*ab", "abab", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn writes_paths_and_options() {
        let params = Params::parse("expand_wildcards=open,hidden&ignore_unavailable=true").unwrap();
        let target = Target::new(Some("<logs-{now/d}>,a*"), &params);
        assert_eq!(target.path(), "%3Clogs%2D%7Bnow%2Fd%7D%3E,a*".replace("%2D", "-"));
        assert_eq!(
            target.options(),
            "expand_wildcards=open,hidden&ignore_unavailable=true&allow_no_indices=true"
        );
        assert!(target.has_date_math());
        let all = Target::new(None, &Params::default());
        assert_eq!((all.path().as_str(), all.to_string().as_str()), ("_all", "_all"));
        assert_eq!(all, Target::new(Some("_all"), &Params::default()));
    }
}
