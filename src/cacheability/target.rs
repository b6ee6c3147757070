//! The index expression: whether it stays on this cluster.

use super::dates::{self, Now, RoundedNow, Zone};
use crate::outcome::{Reason, Refusal};

/// Refuses index expressions that leave the cluster (`remote:index`) or that select something other than the
/// documents of an index (`index::failures`), as `RemoteClusterAware` and `SelectorResolver` read them.
///
/// Returns the rounded `now`s of date maths in index names (`<logs-{now/d}>`), each once. What a name resolves to is part of
/// the generation, but the clock of the node that has told it may be ahead of that of the node that searches. So an answer
/// holds as one to a question with such a `now` in its body does. A `:` within braces is one of a zone.
///
/// # Errors
/// [`Reason::RemoteIndex`] without the expression, and [`Reason::Now`] for a `now` that is not rounded or too many others.
pub fn judge_target(expression: &str) -> Result<Vec<RoundedNow>, Refusal> {
    let mut found = Vec::new();
    for part in expression.split(',') {
        let mut braces = 0_u32;
        let part = part.strip_prefix('-').unwrap_or(part);
        let dated = part.strip_prefix('<').and_then(|part| part.strip_suffix('>'));
        let mut escaped = false;
        for c in part.chars() {
            match c {
                ':' if braces == 0 => return Err(Reason::RemoteIndex.into()),
                '{' if dated.is_some() && !escaped => braces += 1,
                '}' if dated.is_some() && !escaped => braces = braces.saturating_sub(1),
                _ => {}
            }
            escaped = c == '\\' && !escaped;
        }
        let refused = || Refusal::at(Reason::Now, "index");
        for now in maths(dated.unwrap_or_default()).ok_or_else(refused)? {
            dates::note(&mut found, now).then_some(()).ok_or_else(refused)?;
        }
    }
    Ok(found)
}

/// What stands in the braces of a name, as `DateMathExpressionResolver` reads it: `{now/M{yyyy.MM|+12:00}}`. What it writes
/// changes no more often than the date that is written. `None` where that depends on more than a rounded `now`, and for
/// what the engines refuse.
fn maths(mut name: &str) -> Option<Vec<RoundedNow>> {
    let mut found = Vec::new();
    while let Some(at) = name.find(['{', '}', '\\']) {
        let (char, rest) = (name.as_bytes()[at], &name[at + 1..]);
        if char == b'\\' {
            // what is escaped is part of the name
            let mut rest = rest.chars();
            rest.next();
            name = rest.as_str();
            continue;
        }
        let end = rest.find(['{', '}']).filter(|_| char == b'{')?;
        let (maths, after) = rest.split_at(end);
        let (format, after) = match after.strip_prefix('{') {
            Some(format) => format.split_once("}}").map(|(format, after)| (Some(format), after))?,
            None => (None, &after[1..]),
        };
        let is_plain = |text: &str| !text.is_empty() && !text.contains(['{', '}', '\\']);
        if !is_plain(maths) || !format.is_none_or(is_plain) {
            return None;
        }
        let (format, zone) = match format.map(|format| format.split_once('|').unwrap_or((format, "UTC"))) {
            Some((format, zone)) => (format, Zone::read(zone)),
            None => ("", Zone::UTC),
        };
        // no name of an index has one: it would be read as the end of a cluster's
        if format.contains(':') {
            return None;
        }
        match dates::read(maths, &zone) {
            Now::Rounded(now) => found.push(now),
            // a date that stands there, or what the engines do not take for one
            Now::None => {}
            Now::Exact => return None,
        }
        name = after;
    }
    Some(found)
}

/// Whether an index name may hold date maths with `now`, as `IndexNameExpressionResolver` reads it. In the target
/// [`judge_target`] sees to it; within a body (`_index` in a query: `SearchIndexNameMatcher`, in lower case where the query is
/// case-insensitive; `indices_boost`) nobody reads again what it resolves to.
pub(super) fn has_date_maths(name: &str) -> bool {
    name.trim_start_matches('-').starts_with('<') && name.to_ascii_lowercase().contains("now")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cacheability::{Terms, valid_until};

    #[track_caller]
    fn check_refused(expression: &str, reason: Reason, place: &str) {
        let refusal = judge_target(expression).unwrap_err();
        assert_eq!((refusal.reason, refusal.place.as_str()), (reason, place), "{expression}");
    }

    #[test]
    fn stays_on_this_cluster() {
        for expression in [
            "",
            "_all",
            "*",
            "logs-*,-logs-2026*",
            "<logs-{now/d}>",
            "<logs-{now/d{yyyy.MM.dd|+12:00}}>,b",
            "a,<b-{now/h{uuuu-MM-dd-HH|-05:30}}>",
            ".ds-logs-x",
            "a{b}c",
            "<x{",
        ] {
            assert!(judge_target(expression).is_ok(), "{expression}");
        }
    }

    #[test]
    fn a_date_in_a_name_lasts_as_long_as_one_in_a_body() {
        const MINUTE: i64 = 60_000;
        const DAY: i64 = 20_000 * 24 * 60 * MINUTE;
        // at twenty past six
        let until = |expression| {
            let terms = Terms { now: judge_target(expression).unwrap(), ..Terms::default() };
            valid_until(&terms, DAY + 380 * MINUTE).map(|until| (until - DAY) / MINUTE)
        };
        for (expression, minutes) in [
            ("logs", None),
            ("<logs>", None),
            ("<logs-{2026.11.23||/d}>", None),
            ("<logs-\\{now/d\\}>", None),
            ("<logs-{now/d}>", Some(1_440)),
            ("-<logs-{now-1d/d{HH.mm}}-x>,a", Some(1_440)),
            ("a,<a\\}b-{now/h-1M{yyyy.MM}}>", Some(420)),
            ("<logs-{now/d{yyyy.MM.dd|+12:00}}>", Some(720)),
            // its clocks may change
            ("<logs-{now/d{yyyy.MM.dd|Europe/Berlin}}>", Some(389)),
            ("<a-{now/d{MM|-05:30}}>", Some(1_770)),
            ("<a-{now/d}>,<b-{now/d{MM|-05:30}}>", Some(1_440)),
            ("<a-{now/M}-{now/h}>", Some(420)),
        ] {
            assert_eq!(until(expression), minutes, "{expression}");
        }
        assert_eq!(judge_target("<a-{now/d}>,<b-{now/d}>").unwrap().len(), 1);
    }

    #[test]
    fn a_date_that_may_be_any() {
        for expression in [
            "<b-{now}>",
            "a,<b-{now{yyyy.MM.dd}}>",
            "<b-{now/d}-{now-1h}>",
            "<b-{now/d{}}>",
            "<b-{now/d{yyyy}>",
            "<b-{}>",
            "<b-{now/d}}>",
            "<b-{now\\/d}>",
            "<b-{now/d{yy{y}y}}>",
            "<b-{now/d{HH:mm}}>",
            "<{now/d{'remote:'}}b>",
            "<{2026.11.23||/d{':failures'|+12:00}}>",
            "<b-{now+1d-1d+1d-1d+1d-1d+1d-1d+1d/d}>",
        ] {
            check_refused(expression, Reason::Now, "index");
        }
    }

    #[test]
    fn too_many_dates() {
        let names = |count: usize| {
            (0..count).map(|day| format!("<b-{{now-{day}d/d}}>")).collect::<Vec<_>>().join(",")
        };
        assert_eq!(judge_target(&names(64)).unwrap().len(), 64);
        check_refused(&names(65), Reason::Now, "index");
        let again = format!("{0},{0}", names(64));
        assert_eq!(judge_target(&again).unwrap().len(), 64);
    }

    #[test]
    fn leaves_it() {
        for expression in [
            "remote:logs",
            "*:logs",
            "a,remote:b",
            "logs::failures",
            "logs::data",
            "<remote:logs-{now/d}>",
            "{a:b}",
            "<a{,remote:b",
            "<a-{now/d}>:b",
            "-remote:*",
            "a,:b",
            "*:*,-b",
            "<a\\{-{now/d}>::data",
            "<a\\{::data>",
            "<a\\\\\\{:b>",
            "--<{a:b}>",
        ] {
            check_refused(expression, Reason::RemoteIndex, "");
        }
    }
}
