//! What can happen to the cluster, each with the counters and versions that a real engine moves for it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::ids::fresh_id;
use super::model::{Cluster, Copy, Index, Latest, Shard};

/// What a write answers.
pub(crate) struct Written {
    pub(crate) version: u64,
    pub(crate) seq_no: i64,
    pub(crate) primary_term: u64,
    pub(crate) existed: bool,
    pub(crate) copies: usize,
}

impl Cluster {
    /// A new index; its copies are spread over the nodes, and those that no node is left for stay unassigned.
    pub(crate) fn create_index(&mut self, name: &str, shards: usize, copies: usize) -> &mut Index {
        assert!(!self.indices.contains_key(name), "the index {name} exists");
        let nodes = self.nodes.len();
        let copy = |shard: usize, number: usize| {
            Copy::new((number < nodes).then(|| (shard + number) % nodes), number == 0)
        };
        let shard = |shard: usize| Shard {
            primary_term: 1,
            history_uuid: fresh_id(),
            latest: BTreeMap::new(),
            copies: (0..copies).map(|number| copy(shard, number)).collect(),
        };
        let uuid = fresh_id();
        let settings = [
            ("index.creation_date", "1795304383669".into()),
            ("index.number_of_replicas", (copies - 1).to_string()),
            ("index.number_of_shards", shards.to_string()),
            ("index.provided_name", name.into()),
            ("index.uuid", uuid.clone()),
            ("index.version.created", self.flavour.index_version().into()),
        ];
        let mut index = Index {
            name: name.into(),
            uuid,
            open: true,
            version: 3,
            mapping_version: 1,
            settings_version: 1,
            aliases_version: 1,
            settings: settings.into_iter().map(|(key, value): (&str, String)| (key.into(), value)).collect(),
            mappings: Value::Object(Map::new()),
            aliases: BTreeMap::new(),
            search_idle: false,
            shards: (0..shards).map(shard).collect(),
        };
        let extra = match self.flavour {
            super::Flavour::Es7 => None,
            super::Flavour::Es8 => {
                Some(("index.routing.allocation.include._tier_preference", "data_content"))
            }
            super::Flavour::Os2 => Some(("index.replication.type", "DOCUMENT")),
        };
        index.settings.extend(extra.map(|(key, value)| (key.into(), value.into())));
        self.publish();
        self.indices.entry(name.into()).or_insert(index)
    }

    /// Deletes an index.
    pub(crate) fn delete_index(&mut self, name: &str) {
        let uuid = self.get(name).uuid.clone();
        self.indices.remove(name);
        self.graveyard.push([name.into(), uuid]);
        self.publish();
    }

    /// Indexes a document (creating the index if need be), or deletes one if there is no source. No search sees it
    /// before a refresh.
    pub(crate) fn write(&mut self, index: &str, id: &str, source: Option<&Value>) -> Written {
        if !self.indices.contains_key(index) {
            self.create_index(index, 1, 1);
        }
        if let Some(Value::Object(fields)) = source {
            self.map_dynamically(index, fields);
        }
        let index = self.get_mut(index);
        let number = index.shard_of(id);
        let shard = &mut index.shards[number];
        let seq_no = 1 + shard.copies.iter().map(|copy| copy.max_seq_no).max().unwrap();
        let before = shard.latest.get(id);
        let existed = before.is_some_and(|latest| latest.source.is_some());
        let version = 1 + before.map_or(0, |latest| latest.version);
        shard.latest.insert(id.into(), Latest { version, seq_no, source: source.cloned() });
        let mut copies = 0;
        for copy in shard.copies.iter_mut().filter(|copy| copy.node.is_some()) {
            copy.pending.push((id.into(), source.cloned()));
            copy.max_seq_no = seq_no;
            copy.local_checkpoint = seq_no;
            copies += 1;
        }
        Written { version, seq_no, primary_term: shard.primary_term, existed, copies }
    }

    /// New fields of a document enter the mapping, which moves the cluster state.
    fn map_dynamically(&mut self, name: &str, fields: &Map<String, Value>) {
        let index = self.get(name);
        let known =
            |field: &str| index.mappings.pointer("/properties").is_some_and(|p| p.get(field).is_some());
        let new: Map<String, Value> = fields
            .iter()
            .filter(|(field, value)| !known(field) && !value.is_null())
            .map(|(field, value)| (field.clone(), serde_json::json!({ "type": type_of(value) })))
            .collect();
        if !new.is_empty() {
            self.put_mapping(name, &serde_json::json!({ "properties": new }));
        }
    }

    /// `POST /{index}/_refresh`.
    pub(crate) fn refresh(&mut self, index: &str) {
        self.get_mut(index).copies_mut().filter(|copy| copy.node.is_some()).for_each(Copy::refresh);
    }

    /// The scheduler's tick: refreshes only copies that have something pending.
    pub(crate) fn tick(&mut self, index: &str) {
        self.get_mut(index).copies_mut().filter(|copy| copy.needs_refresh()).for_each(Copy::refresh);
    }

    /// A merge begins on every copy.
    pub(crate) fn merge_begins(&mut self, index: &str) {
        self.get_mut(index).copies_mut().for_each(|copy| copy.counters.merges_current += 1);
    }

    /// The merge ends. After the next refresh, ties come in another order.
    pub(crate) fn merge_ends(&mut self, index: &str) {
        for copy in self.get_mut(index).copies_mut() {
            copy.counters.merges_current -= 1;
            copy.counters.merges_total += 1;
            copy.merge_pending = true;
        }
    }

    /// Merges into the mapping (its top level and its `properties`).
    pub(crate) fn put_mapping(&mut self, index: &str, mapping: &Value) {
        let index = self.get_mut(index);
        for (key, value) in mapping.as_object().unwrap() {
            let slot = index.mappings.as_object_mut().unwrap().entry(key).or_insert(Value::Null);
            match (slot, value) {
                (Value::Object(old), Value::Object(new)) => old.extend(new.clone()),
                (slot, value) => *slot = value.clone(),
            }
        }
        index.mapping_version += 1;
        index.version += 1;
        self.publish();
    }

    /// Sets dynamic settings, flat or nested, with or without the `index.` in front; null removes one.
    pub(crate) fn put_settings(&mut self, index: &str, settings: &Value) {
        let index = self.get_mut(index);
        let mut flat = BTreeMap::new();
        flatten("", settings, &mut flat);
        for (key, value) in flat {
            let key = if key.starts_with("index.") { key } else { format!("index.{key}") };
            set(&mut index.settings, key, value);
        }
        index.settings_version += 1;
        index.version += 1;
        self.publish();
    }

    /// Adds an alias or changes its filter.
    pub(crate) fn put_alias(&mut self, index: &str, alias: &str, filter: Option<Value>) {
        let properties = filter.map_or_else(Map::new, |filter| Map::from_iter([("filter".into(), filter)]));
        self.change_aliases(index, |aliases| {
            aliases.insert(alias.into(), Value::Object(properties));
        });
    }

    /// Removes an alias.
    pub(crate) fn remove_alias(&mut self, index: &str, alias: &str) {
        self.change_aliases(index, |aliases| {
            aliases.remove(alias);
        });
    }

    fn change_aliases(&mut self, index: &str, change: impl FnOnce(&mut BTreeMap<String, Value>)) {
        let index = self.get_mut(index);
        change(&mut index.aliases);
        index.aliases_version += 1;
        index.version += 1;
        self.publish();
    }

    /// Sets transient or persistent cluster settings, flat or nested; null removes one.
    pub(crate) fn put_cluster_settings(&mut self, persistent: bool, settings: &Value) {
        let mut flat = BTreeMap::new();
        flatten("", settings, &mut flat);
        let target = if persistent { &mut self.persistent } else { &mut self.transient };
        flat.into_iter().for_each(|(key, value)| set(target, key, value));
        self.publish();
    }

    /// Closes an index.
    pub(crate) fn close(&mut self, name: &str) {
        let index = self.get_mut(name);
        index.open = false;
        index.settings.insert("index.verified_before_close".into(), "true".into());
        self.closing_changed(name);
    }

    /// Opens an index: its counters start again, its primary terms rise; allocation ids and sequence numbers stay.
    pub(crate) fn open(&mut self, name: &str) {
        let index = self.get_mut(name);
        index.open = true;
        index.settings.remove("index.verified_before_close");
        index.copies_mut().for_each(Copy::reopen);
        self.closing_changed(name);
    }

    fn closing_changed(&mut self, index: &str) {
        let index = self.get_mut(index);
        index.settings_version += 1;
        index.version += 1;
        index.shards.iter_mut().for_each(|shard| shard.primary_term += 1);
        self.publish();
    }

    /// Restarts a node: a new ephemeral id, its copies' counters start again, primary terms rise, and its replicas get
    /// new allocation ids. Whatever was pending is visible after it.
    pub(crate) fn restart_node(&mut self, node: usize) {
        self.nodes[node].ephemeral_id = fresh_id();
        for shard in self.indices.values_mut().flat_map(|index| &mut index.shards) {
            let mut primary_restarted = false;
            for copy in shard.copies.iter_mut().filter(|copy| copy.node == Some(node)) {
                copy.reopen();
                if copy.primary {
                    primary_restarted = true;
                } else {
                    copy.allocation_id = fresh_id();
                }
            }
            shard.primary_term += u64::from(primary_restarted);
        }
        self.publish();
    }

    /// Every copy of a shard is lost: searches answer in part, and show no failure.
    pub(crate) fn drop_shard(&mut self, index: &str, shard: usize) {
        self.get_mut(index).shards[shard].copies.iter_mut().for_each(|copy| copy.node = None);
        self.publish();
    }

    /// Lost copies are back, on new shard objects.
    pub(crate) fn restore_shard(&mut self, index: &str, shard: usize) {
        let nodes = self.nodes.len();
        let shard = &mut self.get_mut(index).shards[shard];
        for (number, copy) in shard.copies.iter_mut().enumerate().filter(|(_, copy)| copy.node.is_none()) {
            copy.node = (number < nodes).then_some(number);
            copy.reopen();
        }
        shard.primary_term += 1;
        self.publish();
    }

    /// Moves a copy to another node: a new shard object with a new allocation id.
    pub(crate) fn relocate(&mut self, index: &str, shard: usize, copy: usize, node: usize) {
        let copy = &mut self.get_mut(index).shards[shard].copies[copy];
        copy.node = Some(node);
        copy.allocation_id = fresh_id();
        copy.reopen();
        self.publish();
    }
}

/// Takes nested settings apart; leaves become text, as the engines keep them.
pub(crate) fn flatten(prefix: &str, value: &Value, flat: &mut BTreeMap<String, Option<String>>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&path, value, flat);
            }
        }
        Value::Null => drop(flat.insert(prefix.into(), None)),
        Value::String(text) => drop(flat.insert(prefix.into(), Some(text.clone()))),
        other => drop(flat.insert(prefix.into(), Some(other.to_string()))),
    }
}

/// Puts flat settings together again, the way they are shown without `flat_settings`.
pub(crate) fn nested(flat: &BTreeMap<String, String>) -> Value {
    let mut tree = Value::Object(Map::new());
    for (key, text) in flat {
        let mut place = &mut tree;
        for part in key.split('.') {
            place = place.as_object_mut().unwrap().entry(part).or_insert_with(|| Value::Object(Map::new()));
        }
        *place = Value::String(text.clone());
    }
    tree
}

fn set(settings: &mut BTreeMap<String, String>, key: String, value: Option<String>) {
    match value {
        Some(value) => drop(settings.insert(key, value)),
        None => drop(settings.remove(&key)),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "long",
        Value::Object(_) => "object",
        _ => "keyword",
    }
}
