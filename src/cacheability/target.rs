//! The index expression: whether it stays on this cluster.

use crate::outcome::{Reason, Refusal};

/// Refuses index expressions that leave the cluster (`remote:index`) or that select something other than the
/// documents of an index (`index::failures`), as `RemoteClusterAware` and `SelectorResolver` read them.
///
/// Date maths in index names (`<logs-{now/d}>`) is fine: what it resolves to is part of the generation. A `:` within
/// its braces is one of a time of day or a zone.
///
/// # Errors
/// [`Reason::RemoteIndex`], without the expression.
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
    }
    Ok(())
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

    #[test]
    fn stays_on_this_cluster() {
        for expression in [
            "",
            "_all",
            "*",
            "logs-*,-logs-2026*",
            "<logs-{now/d}>",
            "<logs-{now/d{yyyy.MM.dd|+12:00}}>,b",
            "a,<b-{now/d{HH:mm}}>",
            ".ds-logs-x",
            "a{b}c",
            "<x{",
        ] {
            assert_eq!(judge_target(expression), Ok(()), "{expression}");
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
            let refusal = judge_target(expression).unwrap_err();
            assert_eq!((refusal.reason, refusal.place.as_str()), (Reason::RemoteIndex, ""), "{expression}");
        }
    }
}
