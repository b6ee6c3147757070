//! What the pretend cluster is: nodes, indices, shards and their copies with what a search sees of each.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ids::fresh_id;
use super::security::Users;

/// Which engine is pretended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Elasticsearch 7.17.29.
    Es7,
    /// Elasticsearch 8.19.8.
    Es8,
    /// OpenSearch 2.19.4.
    Os2,
}

impl Flavour {
    /// Elasticsearch of any version.
    pub(crate) fn is_elasticsearch(self) -> bool {
        self != Self::Os2
    }

    /// The version in `GET /`.
    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::Es7 => "7.17.29",
            Self::Es8 => "8.19.8",
            Self::Os2 => "2.19.4",
        }
    }

    /// The version in an index's settings.
    pub(crate) fn index_version(self) -> &'static str {
        match self {
            Self::Es7 => "7172999",
            Self::Es8 => "8536000",
            Self::Os2 => "136408227",
        }
    }
}

/// The whole state. Its fields are open to tests that need what no mutator offers; call `publish` after a change of
/// what the cluster state shows.
pub(crate) struct Cluster {
    pub(crate) flavour: Flavour,
    pub(crate) name: String,
    pub(crate) uuid: String,
    /// The cluster state's version, as the elected master has it.
    pub(crate) version: u64,
    pub(crate) state_uuid: String,
    /// By how much `_cluster/state/version?local=true` lags behind.
    pub(crate) local_behind: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) indices: BTreeMap<String, Index>,
    pub(crate) persistent: BTreeMap<String, String>,
    pub(crate) transient: BTreeMap<String, String>,
    /// `[name, uuid]` of what was deleted.
    pub(crate) graveyard: Vec<[String; 2]>,
    pub(crate) users: Users,
    /// The stored templates.
    pub(crate) scripts: BTreeMap<String, String>,
    /// What date-math expressions mean now.
    pub(crate) date_math: BTreeMap<String, String>,
    /// Which copy of each shard answers the next search (modulo the copies). It goes up by one with each search.
    pub(crate) turn: usize,
    /// If the copy that answers stays the same.
    pub(crate) pinned: bool,
    /// The last `took`; each answer has another one.
    pub(crate) took: u64,
}

/// A node. Its id outlives a restart, its ephemeral id does not.
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) ephemeral_id: String,
    pub(crate) name: String,
}

/// An index with its metadata and its shards.
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) uuid: String,
    pub(crate) open: bool,
    pub(crate) version: u64,
    pub(crate) mapping_version: u64,
    pub(crate) settings_version: u64,
    pub(crate) aliases_version: u64,
    /// Flat, with the `index.` in front.
    pub(crate) settings: BTreeMap<String, String>,
    /// As `GET _mapping` shows it: `{"properties": {...}}`.
    pub(crate) mappings: Value,
    /// Each alias with its properties: `{}` or `{"filter": {...}}`.
    pub(crate) aliases: BTreeMap<String, Value>,
    /// If the shards idle: a search refreshes what is pending on the copy that it comes to.
    pub(crate) search_idle: bool,
    pub(crate) shards: Vec<Shard>,
}

/// A shard: the truth that its copies follow.
pub(crate) struct Shard {
    pub(crate) primary_term: u64,
    pub(crate) history_uuid: String,
    /// Each document's version and sequence number, refreshed or not.
    pub(crate) latest: BTreeMap<String, Latest>,
    pub(crate) copies: Vec<Copy>,
}

/// The newest version of a document.
pub(crate) struct Latest {
    pub(crate) version: u64,
    pub(crate) seq_no: i64,
    /// Absent if it was deleted.
    pub(crate) source: Option<Value>,
}

/// A copy of a shard: its counters, and what a search on it sees.
pub(crate) struct Copy {
    /// Which node has it; unassigned if none.
    pub(crate) node: Option<usize>,
    pub(crate) primary: bool,
    pub(crate) allocation_id: String,
    pub(crate) commit_id: String,
    pub(crate) counters: Counters,
    pub(crate) max_seq_no: i64,
    pub(crate) local_checkpoint: i64,
    /// What searches see, in the order in which they see it.
    pub(crate) visible: Vec<(String, Value)>,
    /// What the next refresh makes visible: a document, or that it is gone.
    pub(crate) pending: Vec<(String, Option<Value>)>,
    /// If a merge ended whose segments the next refresh opens (ties come in another order then).
    pub(crate) merge_pending: bool,
}

/// The counters that live as long as the shard object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) refresh_total: u64,
    pub(crate) external_total: u64,
    pub(crate) merges_total: u64,
    pub(crate) merges_current: u64,
    pub(crate) cache_hits: u64,
    pub(crate) cache_misses: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) cache_evictions: u64,
}

impl Cluster {
    /// A cluster with nodes and nothing else.
    pub(crate) fn new(flavour: Flavour, nodes: usize) -> Self {
        let node = |number: usize| Node {
            id: fresh_id(),
            ephemeral_id: fresh_id(),
            name: format!("node-{}", number + 1),
        };
        Self {
            flavour,
            name: "pretend".into(),
            uuid: fresh_id(),
            version: 2,
            state_uuid: fresh_id(),
            local_behind: 0,
            nodes: (0..nodes).map(node).collect(),
            indices: BTreeMap::new(),
            persistent: BTreeMap::new(),
            transient: BTreeMap::new(),
            graveyard: Vec::new(),
            users: Users::default(),
            scripts: BTreeMap::new(),
            date_math: BTreeMap::new(),
            turn: 0,
            pinned: false,
            took: 0,
        }
    }

    /// One more version of the cluster state.
    pub(crate) fn publish(&mut self) {
        self.version += 1;
        self.state_uuid = fresh_id();
    }

    /// The index, or a failed test.
    pub(crate) fn get(&self, index: &str) -> &Index {
        self.indices.get(index).unwrap_or_else(|| panic!("no such index: {index}"))
    }

    /// The index, or a failed test.
    pub(crate) fn get_mut(&mut self, index: &str) -> &mut Index {
        self.indices.get_mut(index).unwrap_or_else(|| panic!("no such index: {index}"))
    }
}

impl Index {
    /// Which shard a document belongs to. Not the engines' own hash: only that it is always the same one.
    pub(crate) fn shard_of(&self, id: &str) -> usize {
        let sum = id.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        sum % self.shards.len()
    }

    /// Every copy of every shard.
    pub(crate) fn copies_mut(&mut self) -> impl Iterator<Item = &mut Copy> {
        self.shards.iter_mut().flat_map(|shard| &mut shard.copies)
    }
}

impl Copy {
    /// A copy as it is after its shard was created or opened on a node: counters start at 2.
    pub(crate) fn new(node: Option<usize>, primary: bool) -> Self {
        Self {
            node,
            primary,
            allocation_id: fresh_id(),
            commit_id: fresh_id(),
            counters: Counters::fresh(),
            max_seq_no: -1,
            local_checkpoint: -1,
            visible: Vec::new(),
            pending: Vec::new(),
            merge_pending: false,
        }
    }

    /// A refresh: what is pending becomes visible. The counters move even if nothing is.
    pub(crate) fn refresh(&mut self) {
        for (id, source) in std::mem::take(&mut self.pending) {
            self.visible.retain(|(old, _)| *old != id);
            self.visible.extend(source.map(|source| (id, source)));
        }
        if std::mem::take(&mut self.merge_pending) && !self.visible.is_empty() {
            self.visible.rotate_left(1);
        }
        self.counters.refresh_total += 1;
        self.counters.external_total += 1;
    }

    /// If a scheduled refresh would have something to do.
    pub(crate) fn needs_refresh(&self) -> bool {
        !self.pending.is_empty() || self.merge_pending
    }

    /// The shard object is made anew from what is on the disk: as after a restart or an open.
    pub(crate) fn reopen(&mut self) {
        self.refresh();
        self.counters = Counters::fresh();
    }
}

impl Counters {
    fn fresh() -> Self {
        Self { refresh_total: 2, external_total: 2, ..Self::default() }
    }
}
