//! The index expression: whether it stays on this cluster.

use crate::outcome::{Reason, Refusal};

/// Refuses index expressions that leave the cluster (`remote:index`) or that select something other than the
/// documents of an index (`index::failures`), as `RemoteClusterAware` and `SelectorResolver` read them.
///
/// Date maths in index names (`<logs-{now/d}>`) is fine: what it resolves to is part of the generation. A `:` within
/// its braces is one of a time of day or a zone. A format that gives the same name again at another time is not: a search
/// that began just before the name changed would be found when it has changed back.
///
/// # Errors
/// [`Reason::RemoteIndex`] and [`Reason::Now`], without the expression.
pub fn judge_target(expression: &str) -> Result<(), Refusal> {
    for part in expression.split(',') {
        let mut braces = 0_u32;
        let date_maths = part.trim_start_matches('-').starts_with('<');
        for c in part.chars() {
            match c {
                '{' if date_maths => braces += 1,
                '}' if date_maths => braces = braces.saturating_sub(1),
                ':' if braces == 0 => return Err(Reason::RemoteIndex.into()),
                _ => {}
            }
        }
        if date_maths && !formats(part).all(never_comes_again) {
            return Err(Refusal::at(Reason::Now, "index"));
        }
    }
    Ok(())
}

/// What date maths gives as formats, without zones: `yyyy.MM` of `<a-{now/M{yyyy.MM|UTC}}>`.
fn formats(part: &str) -> impl Iterator<Item = &str> {
    part.split('}').filter_map(|before| {
        let (_, inner) = before.split_once('{')?.1.rsplit_once('{')?;
        Some(inner.split('|').next().unwrap_or(inner))
    })
}

/// Whether a date's format has its year, and with each unit those that are larger: what others give is not known.
fn never_comes_again(format: &str) -> bool {
    const UNITS: [&str; 6] = ["yuY", "M", "d", "H", "m", "s"];
    let has = |unit: &&str| format.contains(|c| unit.contains(c));
    let known = |c: char| "yuYMdHms-._/ ".contains(c);
    has(&UNITS[0])
        && format.chars().all(known)
        && UNITS.iter().skip_while(|unit| has(unit)).all(|unit| !has(unit))
}

/// Whether an index name may hold date maths with `now`, as `IndexNameExpressionResolver` reads it. In the target
/// that is no harm; within a body (`_index` in a query: `SearchIndexNameMatcher`, in lower case where the query is
/// case-insensitive; `indices_boost`) nobody reads again what it resolves to.
pub(super) fn has_date_maths(name: &str) -> bool {
    name.trim_start_matches('-').starts_with('<') && name.to_ascii_lowercase().contains("now")
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "<b-{now/M{MM_yyyy}}-{now/d}>",
            ".ds-logs-x",
            "a{b}c",
            "<x{",
        ] {
            assert_eq!(judge_target(expression), Ok(()), "{expression}");
        }
    }

    #[test]
    fn names_that_come_again() {
        for expression in [
            "a,<b-{now/d{HH:mm}}>",
            "<b-{now/h{HH}}>",
            "<b-{now/d{e|UTC}}>",
            "<b-{now/d}-{now/d{yyyy.dd}}>",
            "-<b-{now/d{MM.dd}}>",
            "<b-{now/d{strict_date}}>",
            "<b-{now/d{}}>",
        ] {
            check_refused(expression, Reason::Now, "index");
        }
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
        ] {
            check_refused(expression, Reason::RemoteIndex, "");
        }
    }
}
