//! The counters of every shard copy, out of `/{target}/_stats/refresh,merge?level=shards`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::changes::{Part, small};
use crate::outcome::Reason;

/// The `filter_path` that keeps an answer to what [`Counters`] reads.
pub const COUNTERS_FILTER: &str = concat!(
    "_shards,indices.*.uuid,indices.*.shards.*.routing,",
    "indices.*.shards.*.refresh.total,indices.*.shards.*.refresh.external_total,",
    "indices.*.shards.*.merges.total,indices.*.shards.*.merges.current,",
    "indices.*.shards.*.seq_no.max_seq_no,indices.*.shards.*.seq_no.local_checkpoint"
);

/// The `filter_path` that keeps an answer of `_segments` to what [`segments`] reads.
pub const SEGMENTS_FILTER: &str = concat!(
    "_shards,indices.*.shards.*.routing,indices.*.shards.*.segments.*.num_docs,",
    "indices.*.shards.*.segments.*.deleted_docs,indices.*.shards.*.segments.*.search"
);

/// The digest of the segments that searches see, out of `/{target}/_segments` (`freshness.tag: segments`): it is read
/// from the external reader itself, so it closes the moment between a new reader and its counter (A1).
///
/// # Errors
/// [`Reason::GenerationUnknown`] if a shard failed to answer, or the answer is not understood.
pub fn segments(body: &[u8]) -> Result<[u8; 32], Reason> {
    let mut answer: Value = serde_json::from_slice(body).map_err(|_| Reason::GenerationUnknown)?;
    if answer["_shards"]["failed"] != 0 {
        return Err(Reason::GenerationUnknown);
    }
    let indices = answer["indices"].as_object_mut().into_iter().flat_map(Map::values_mut);
    for copies in indices.filter_map(|index| members(index, "shards")).flat_map(Map::values_mut) {
        for copy in copies.as_array_mut().into_iter().flatten() {
            if let Some(segments) = members(copy, "segments") {
                segments.retain(|_, segment| segment["search"] == true);
            }
        }
    }
    Ok(super::digest_unordered(&answer["indices"]))
}

/// The members of an object in an object; `[]` would panic where the parent is none.
fn members<'v>(parent: &'v mut Value, name: &str) -> Option<&'v mut Map<String, Value>> {
    parent.get_mut(name)?.as_object_mut()
}

/// The counters of all shard copies of a target.
#[derive(Debug, Deserialize)]
pub struct Counters {
    #[serde(rename = "_shards")]
    shards: Broadcast,
    #[serde(default)]
    indices: BTreeMap<String, Index>,
    #[serde(skip)]
    segments: Option<[u8; 32]>,
}

#[derive(Debug, Deserialize)]
struct Broadcast {
    failed: u64,
}

#[derive(Debug, Deserialize)]
struct Index {
    uuid: String,
    #[serde(default)]
    shards: BTreeMap<String, Vec<Copy>>,
}

/// One copy of a shard. Every field is part of the tag (docs/exactness.md): `external_total` alone stays 0 on replicas
/// with segment replication, `total` and `external_total` alone do not see what waits on an idle shard, and merges
/// change the order of ties.
#[derive(Debug, Deserialize)]
struct Copy {
    routing: Routing,
    refresh: Refresh,
    merges: Merges,
    seq_no: SeqNo,
}

#[derive(Debug, Deserialize)]
struct Routing {
    state: String,
    primary: bool,
    node: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Refresh {
    total: u64,
    external_total: u64,
}

#[derive(Debug, Deserialize)]
struct Merges {
    current: u64,
    total: u64,
}

#[derive(Debug, Deserialize)]
struct SeqNo {
    max_seq_no: i64,
    local_checkpoint: i64,
}

impl Counters {
    /// Reads the answer of `_stats`.
    ///
    /// # Errors
    /// [`Reason::GenerationUnknown`] if a counter is missing or a shard failed to answer.
    pub fn read(body: &[u8]) -> Result<Counters, Reason> {
        let counters: Counters = serde_json::from_slice(body).map_err(|_| Reason::GenerationUnknown)?;
        if counters.shards.failed > 0 { Err(Reason::GenerationUnknown) } else { Ok(counters) }
    }

    /// The same with what [`segments`] made of the views themselves.
    #[must_use]
    pub fn with_segments(self, segments: [u8; 32]) -> Counters {
        Counters { segments: Some(segments), ..self }
    }

    /// The indices that they are of, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.indices.keys().map(String::as_str)
    }

    /// Whether every shard of an index has a started copy here.
    pub(super) fn has_started(&self, name: &str, uuid: &str, shards: usize) -> bool {
        let Some(index) = self.indices.get(name) else { return false };
        let started = |copies: &Vec<Copy>| {
            copies.iter().any(|c| matches!(c.routing.state.as_str(), "STARTED" | "RELOCATING"))
        };
        index.uuid == uuid && index.shards.len() >= shards && index.shards.values().all(started)
    }

    /// Whether a copy of one of these indices has numbered an operation that is not known to be written (A3): such an
    /// operation becomes searchable while nothing in the tag moves, if it stalls between the two.
    pub(super) fn is_writing(&self, index: &str) -> bool {
        let copies = self.indices.get(index).into_iter().flat_map(|index| index.shards.values()).flatten();
        copies.into_iter().any(|copy| copy.seq_no.max_seq_no != copy.seq_no.local_checkpoint)
    }

    /// What people may want to know of one index: sums, where the digest has each number.
    pub(super) fn part(&self, name: &str, may_idle: bool) -> Part {
        let Some(index) = self.indices.get(name) else { return Part::default() };
        let mut part = Part::default();
        let mut lives = Vec::new();
        for (shard, copies) in &index.shards {
            for copy in copies {
                lives.push((shard, &copy.routing.state, &copy.routing.node, copy.routing.primary));
                part.refreshes =
                    part.refreshes.wrapping_add(copy.refresh.total).wrapping_add(copy.refresh.external_total);
                if may_idle {
                    part.merges =
                        part.merges.wrapping_add(copy.merges.total).wrapping_add(copy.merges.current);
                    part.writes = part
                        .writes
                        .wrapping_add_signed(copy.seq_no.max_seq_no)
                        .wrapping_add_signed(copy.seq_no.local_checkpoint);
                }
            }
        }
        lives.sort_unstable();
        part.shards = small((&index.uuid, lives));
        part
    }

    /// The digest of all copies, in an order of its own: the engine's order follows its nodes' answers. Where shards of
    /// an index cannot be idle, what waits on them becomes visible by a refresh alone, and is left out: so answers
    /// live from one refresh to the next under constant ingest.
    pub(super) fn digest(&self, may_idle: impl Fn(&str) -> bool) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.segments.unwrap_or_default());
        for (name, index) in &self.indices {
            field(&mut hasher, name.as_bytes());
            field(&mut hasher, index.uuid.as_bytes());
            let waiting = may_idle(name);
            for (shard, copies) in &index.shards {
                field(&mut hasher, shard.as_bytes());
                let mut digests: Vec<_> = copies.iter().map(|copy| copy.digest(waiting)).collect();
                digests.sort_unstable();
                hasher.update(&(digests.len() as u64).to_le_bytes());
                for digest in digests {
                    hasher.update(&digest);
                }
            }
            hasher.update(b"/");
        }
        *hasher.finalize().as_bytes()
    }
}

impl Copy {
    fn digest(&self, waiting: bool) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        field(&mut hasher, self.routing.state.as_bytes());
        field(&mut hasher, self.routing.node.as_deref().unwrap_or_default().as_bytes());
        hasher.update(&[u8::from(self.routing.primary)]);
        for counter in [self.refresh.total, self.refresh.external_total] {
            hasher.update(&counter.to_le_bytes());
        }
        if !waiting {
            return *hasher.update(b"-").finalize().as_bytes();
        }
        for counter in [self.merges.total, self.merges.current] {
            hasher.update(&counter.to_le_bytes());
        }
        for number in [self.seq_no.max_seq_no, self.seq_no.local_checkpoint] {
            hasher.update(&number.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

fn field(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPY: &str = r#"{"routing":{"state":"STARTED","primary":true,"node":"n1","relocating_node":null},
        "refresh":{"total":5,"external_total":4},"merges":{"current":0,"total":1},
        "seq_no":{"max_seq_no":9,"local_checkpoint":9}}"#;

    fn stats(copies: &str) -> String {
        format!(
            r#"{{"_shards":{{"total":1,"successful":1,"failed":0}},
                "indices":{{"logs":{{"uuid":"u","shards":{{"0":[{copies}]}}}}}}}}"#
        )
    }

    #[test]
    fn every_field_of_a_copy_moves_the_digest() {
        let digest = |copy: &str| Counters::read(stats(copy).as_bytes()).unwrap().digest(|_| true);
        let base = digest(COPY);
        for (from, to) in [
            ("STARTED", "RELOCATING"),
            ("\"primary\":true", "\"primary\":false"),
            ("n1", "n2"),
            ("\"total\":5", "\"total\":6"),
            ("\"external_total\":4", "\"external_total\":5"),
            ("\"current\":0", "\"current\":1"),
            ("\"total\":1", "\"total\":2"),
            ("\"max_seq_no\":9", "\"max_seq_no\":10"),
            ("\"local_checkpoint\":9", "\"local_checkpoint\":8"),
        ] {
            let changed = COPY.replacen(from, to, 1);
            assert_ne!(changed, COPY);
            assert_ne!(digest(&changed), base, "{from} -> {to}");
        }
        let explicit = |copy: &str| Counters::read(stats(copy).as_bytes()).unwrap().digest(|_| false);
        for waiting in [("\"max_seq_no\":9", "\"max_seq_no\":10"), ("\"current\":0", "\"current\":1")] {
            assert_eq!(explicit(&COPY.replacen(waiting.0, waiting.1, 1)), explicit(COPY));
        }
        assert_ne!(explicit(&COPY.replacen("\"total\":5", "\"total\":6", 1)), explicit(COPY));
        let replica = COPY.replace("n1", "n2").replace("true", "false");
        assert_eq!(digest(&format!("{COPY},{replica}")), digest(&format!("{replica},{COPY}")));
        assert_ne!(digest(&format!("{COPY},{replica}")), base);
    }

    #[test]
    fn segments_that_searches_see_are_the_view() {
        let answer = |segments: &str| {
            format!(
                r#"{{"_shards":{{"failed":0}},"indices":{{"logs":{{"shards":{{"0":[
                    {{"routing":{{"node":"n"}},"segments":{{{segments}}}}}]}}}}}}}}"#
            )
        };
        let of = |segments: &str| super::segments(answer(segments).as_bytes()).unwrap();
        let one = r#""_0":{"num_docs":1,"deleted_docs":0,"search":true}"#;
        let internal = r#""_1":{"num_docs":1,"deleted_docs":0,"search":false}"#;
        assert_eq!(of(one), of(&format!("{one},{internal}")));
        assert_ne!(of(one), of(&format!("{one},{}", internal.replace("false", "true"))));
        assert_ne!(of(one), of(&one.replace("\"deleted_docs\":0", "\"deleted_docs\":1")));
        let counters = || Counters::read(stats(COPY).as_bytes()).unwrap();
        assert_ne!(counters().with_segments(of(one)).digest(|_| true), counters().digest(|_| true));
        assert!(segments(br#"{"_shards":{"failed":1}}"#).is_err());
        assert!(segments(b"{}").is_err());
    }

    #[test]
    fn a_missing_counter_is_unknown() {
        assert!(Counters::read(stats(COPY).as_bytes()).is_ok());
        for missing in ["\"external_total\":4", "\"max_seq_no\":9,", "\"current\":0,"] {
            let body = stats(&COPY.replace(missing, "")).replace(",}", "}");
            assert_eq!(Counters::read(body.as_bytes()).unwrap_err(), Reason::GenerationUnknown, "{missing}");
        }
        let failed = stats(COPY).replace("\"failed\":0", "\"failed\":1");
        assert!(Counters::read(failed.as_bytes()).is_err());
    }

    #[test]
    fn an_operation_that_is_numbered_and_not_written_is_seen() {
        let writing = |copies: &str| Counters::read(stats(copies).as_bytes()).unwrap().is_writing("logs");
        let behind = COPY.replace("\"local_checkpoint\":9", "\"local_checkpoint\":8");
        assert!(!writing(COPY));
        assert!(writing(&behind));
        assert!(writing(&format!("{COPY},{behind}")), "on any copy");
        assert!(!Counters::read(stats(&behind).as_bytes()).unwrap().is_writing("other"));
    }

    #[test]
    fn a_shard_without_a_started_copy_is_seen() {
        let counters = Counters::read(stats(COPY).as_bytes()).unwrap();
        assert!(counters.has_started("logs", "u", 1));
        assert!(!counters.has_started("logs", "u", 2));
        assert!(!counters.has_started("logs", "other", 1));
        assert!(!counters.has_started("other", "u", 1));
        let starting = Counters::read(stats(&COPY.replace("STARTED", "INITIALIZING")).as_bytes()).unwrap();
        assert!(!starting.has_started("logs", "u", 1));
    }
}
