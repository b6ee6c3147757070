//! How much is answered from the cache, in two figures that have the same names wherever they are shown.
//!
//! *Hit ratio*: hits of hits and misses, that is of the searches that could have been answered from the cache. These are
//! the engines' `hit_count` and `miss_count` (`_stats/request_cache`): each search of a multi search counts, who waited for
//! the answer of another has a hit, and who was asked ahead a miss.
//!
//! *Share of all searches*: requests that were answered from the cache, of all that are searches or other reads that
//! can be, those that bypass included. A multi search is one, and a hit only if each of its searches was.

use serde_json::{Value, json};

use crate::elastic::api::Api;
use crate::outcome::Outcome;
use crate::stats::Stats;

/// What may be answered from the cache, unlike what is only passed on.
pub(super) fn reads() -> impl Iterator<Item = Api> {
    Api::ALL.into_iter().filter(|api| api.is_read() || api.is_several())
}

/// Both, and the numbers of the first; `null` before there is anything to be a share of.
pub(super) fn json(stats: &Stats) -> Value {
    let total = stats.total();
    let by_outcome = |outcome| reads().map(|api| stats.requests(api as usize, outcome)).sum::<u64>();
    let searches: u64 = Outcome::ALL.into_iter().map(by_outcome).sum();
    json!({
        "hit_count": total.hits,
        "miss_count": total.misses,
        "hit_ratio": share(total.hits, total.hits + total.misses),
        "share_of_all_searches": share(by_outcome(Outcome::Hit), searches),
    })
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
