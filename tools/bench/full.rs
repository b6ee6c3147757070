//! What a cache takes that is full of answers of 1 KiB.

use super::Options;
use super::report::Report;
use crate::Failure;
use crate::memory::filled;

const ANSWER: usize = 1024;
/// MiB.
const SIZES: [u64; 2] = [64, 256];
/// Answers of other sizes that come and go afterwards, for each MiB: all has gone some times then.
const CHURN: u64 = 1_500;

pub(super) async fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    eprintln!("measuring: memory");
    let some = filled(&options.escache, 100_000, ANSWER, 512, 0).await?;
    let taken = (some.rss.saturating_sub(some.empty) * 1024) as f64;
    let each = taken / some.entries as f64 - ANSWER as f64;
    report.say("### Memory, answers of 1 KiB\n");
    report.say(&format!(
        "{} entries in a cache that is not full: {each:.0} bytes an entry beyond the answer in RSS, {:.0} as counted.",
        some.entries,
        some.bytes as f64 / some.entries as f64 - ANSWER as f64
    ));
    report.at_most("memory: bytes an entry beyond the answer", Some(each), 600.0, "");
    for size in SIZES {
        // half as many again as there is room for, were there no overhead
        let full = filled(&options.escache, size * 1536, ANSWER, size, size * CHURN).await?;
        let (rss, limit) = (full.rss as f64 / 1024.0, 1.3 * size as f64 + 40.0);
        report.say(&format!(
            "A cache of {size} MiB, full: RSS {rss:.0} MiB; {} entries of {} MiB as counted.",
            full.entries,
            full.bytes >> 20
        ));
        let what = format!("memory: RSS with a full cache of {size} MiB");
        report.at_most(&what, Some(rss), limit, " MiB");
        let churned = full.churned.map(|rss| rss as f64 / 1024.0);
        report.at_most(
            &format!("{what}, after {} answers of other sizes", size * CHURN),
            churned,
            limit,
            " MiB",
        );
    }
    report.say("");
    Ok(())
}
