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
    let mut braces = 0_u32;
    for part in expression.split(',') {
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
