//! What a reading costs escache beside the engine's answers: read the counters, put the generation together, compare.

use std::fmt::Write as _;
use std::sync::Arc;

use divan::{Bencher, counter::BytesCount};
use escache::elastic::params::Params;
use escache::elastic::target::Target;
use escache::generation::{Counters, Generation, Metadata};

fn main() {
    divan::main();
}

/// How many indices a target has.
const INDICES: [usize; 3] = [1, 30, 200];

fn each(indices: usize, one: impl Fn(usize) -> String) -> String {
    let mut all = String::new();
    for index in 0..indices {
        let _ = write!(all, "{}\"logs-{index}\":{}", if index > 0 { "," } else { "" }, one(index));
    }
    all
}

fn counters(indices: usize) -> String {
    let of = |index: usize| {
        format!(
            r#"{{"uuid":"uuid-of-{index}","shards":{{"0":[{{"routing":{{"state":"STARTED","primary":true,"node":"n1","relocating_node":null}},"refresh":{{"total":5,"external_total":4}},"merges":{{"current":0,"total":1}},"seq_no":{{"max_seq_no":9,"local_checkpoint":9}}}}]}}}}"#
        )
    };
    let all = each(indices, of);
    format!(r#"{{"_shards":{{"total":{indices},"successful":{indices},"failed":0}},"indices":{{{all}}}}}"#)
}

fn metadata(indices: usize) -> Arc<Metadata> {
    let settings = each(indices, |index| {
        format!(
            r#"{{"state":"open","mapping_version":1,"settings_version":1,"aliases_version":1,"aliases":[],"settings":{{"index":{{"uuid":"uuid-of-{index}","number_of_shards":"1","refresh_interval":"1s"}}}}}}"#
        )
    });
    let state = format!(
        r#"{{"cluster_uuid":"c","version":1,"state_uuid":"s","metadata":{{"indices":{{{settings}}}}}}}"#
    );
    Arc::new(
        Metadata::read(&Target::new(None, &Params::default()), state.as_bytes(), Some(b"{}"), b"{}")
            .expect("metadata"),
    )
}

fn generation(indices: usize) -> Generation {
    let counters = Counters::read(counters(indices).as_bytes()).expect("counters");
    Generation::new(&counters, metadata(indices)).expect("a generation")
}

#[divan::bench(args = INDICES)]
fn read_counters(bencher: Bencher<'_, '_>, indices: usize) {
    let answer = counters(indices);
    bencher
        .counter(BytesCount::of_str(&answer))
        .bench(|| Counters::read(divan::black_box(answer.as_bytes())).expect("counters"));
}

#[divan::bench(args = INDICES)]
fn put_together(bencher: Bencher<'_, '_>, indices: usize) {
    let metadata = metadata(indices);
    let counters = Counters::read(counters(indices).as_bytes()).expect("counters");
    bencher.bench(|| Generation::new(divan::black_box(&counters), Arc::clone(&metadata)));
}

#[divan::bench]
fn compare(bencher: Bencher<'_, '_>) {
    let (one, other) = (generation(30), generation(30));
    assert!(one == other && one != generation(200));
    bencher.bench(|| divan::black_box(&one) == divan::black_box(&other));
}
