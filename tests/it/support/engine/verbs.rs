//! What a test can make happen in the cluster, as verbs of the engine. Each is done when it returns.

use serde_json::{Value, json};

use super::Engine;
use super::model::Copy;

impl Engine {
    /// Creates an index with one shard in one copy.
    pub(crate) fn create_index(&self, index: &str) {
        self.cluster().create_index(index, 1, 1);
    }

    /// Creates an index with so many shards in so many copies each.
    pub(crate) fn create_index_with(&self, index: &str, shards: usize, copies: usize) {
        self.cluster().create_index(index, shards, copies);
    }

    /// Deletes an index.
    pub(crate) fn delete_index(&self, index: &str) {
        self.cluster().delete_index(index);
    }

    /// Indexes a document; a search sees it after a refresh. Creates the index and maps new fields.
    #[expect(clippy::needless_pass_by_value, reason = "a test writes json!() in place")]
    pub(crate) fn index(&self, index: &str, id: &str, document: Value) {
        self.cluster().write(index, id, Some(&document));
    }

    /// Deletes a document; a search misses it after a refresh.
    pub(crate) fn delete(&self, index: &str, id: &str) {
        self.cluster().write(index, id, None);
    }

    /// Refreshes all copies. The counters move even if nothing is pending.
    pub(crate) fn refresh(&self, index: &str) {
        self.cluster().refresh(index);
    }

    /// The scheduler's tick: refreshes only the copies that have something pending.
    pub(crate) fn tick(&self, index: &str) {
        self.cluster().tick(index);
    }

    /// Refreshes one copy of a shard (0 is the primary), so that copies differ.
    pub(crate) fn refresh_copy(&self, index: &str, shard: usize, copy: usize) {
        self.cluster().get_mut(index).shards[shard].copies[copy].refresh();
    }

    /// A merge, begun and ended on all copies. Ties come in another order after the next refresh.
    pub(crate) fn merge(&self, index: &str) {
        let mut cluster = self.cluster();
        cluster.merge_begins(index);
        cluster.merge_ends(index);
    }

    /// A merge begins (`merges.current` goes up).
    pub(crate) fn merge_begins(&self, index: &str) {
        self.cluster().merge_begins(index);
    }

    /// A merge that began ends.
    pub(crate) fn merge_ends(&self, index: &str) {
        self.cluster().merge_ends(index);
    }

    /// From now on a search refreshes what is pending on the copy that it comes to, before it looks.
    pub(crate) fn search_idle(&self, index: &str, idle: bool) {
        self.cluster().get_mut(index).search_idle = idle;
    }

    /// From now on all searches go to this copy of each shard (0 is the primary), not to each in turn.
    pub(crate) fn search_copy(&self, copy: usize) {
        let mut cluster = self.cluster();
        (cluster.turn, cluster.pinned) = (copy, true);
    }

    /// An operation got its number and is not yet done: `local_checkpoint` stays behind `max_seq_no`.
    pub(crate) fn begin_operation(&self, index: &str) {
        self.cluster().get_mut(index).copies_mut().for_each(|copy| copy.max_seq_no += 1);
    }

    /// All numbered operations are done.
    pub(crate) fn end_operations(&self, index: &str) {
        self.cluster().get_mut(index).copies_mut().for_each(|copy| copy.local_checkpoint = copy.max_seq_no);
    }

    /// Merges into the mapping: `json!({"properties": {...}})`.
    #[expect(clippy::needless_pass_by_value, reason = "a test writes json!() in place")]
    pub(crate) fn put_mapping(&self, index: &str, mapping: Value) {
        self.cluster().put_mapping(index, &mapping);
    }

    /// Changes index settings; null removes one.
    #[expect(clippy::needless_pass_by_value, reason = "a test writes json!() in place")]
    pub(crate) fn put_settings(&self, index: &str, settings: Value) {
        self.cluster().put_settings(index, &settings);
    }

    /// Adds an alias, or replaces it.
    pub(crate) fn put_alias(&self, index: &str, alias: &str) {
        self.cluster().put_alias(index, alias, None);
    }

    /// Adds an alias with a filter, or replaces it.
    pub(crate) fn put_filtered_alias(&self, index: &str, alias: &str, filter: Value) {
        self.cluster().put_alias(index, alias, Some(filter));
    }

    /// Removes an alias.
    pub(crate) fn remove_alias(&self, index: &str, alias: &str) {
        self.cluster().remove_alias(index, alias);
    }

    /// Sets a transient cluster setting; null removes it.
    #[expect(clippy::needless_pass_by_value, reason = "a test writes json!() in place")]
    pub(crate) fn cluster_setting(&self, name: &str, value: Value) {
        self.cluster().put_cluster_settings(false, &json!({ name: value }));
    }

    /// Closes an index.
    pub(crate) fn close(&self, index: &str) {
        self.cluster().close(index);
    }

    /// Opens an index: counters start again, primary terms rise.
    pub(crate) fn open(&self, index: &str) {
        self.cluster().open(index);
    }

    /// Restarts a node (connections stay: use `stop` and `start_again` for those).
    pub(crate) fn restart_node(&self, node: usize) {
        self.cluster().restart_node(node);
    }

    /// All copies of a shard are lost. Searches answer in part and show no failure.
    pub(crate) fn drop_shard(&self, index: &str, shard: usize) {
        self.cluster().drop_shard(index, shard);
    }

    /// Lost copies of a shard are back.
    pub(crate) fn restore_shard(&self, index: &str, shard: usize) {
        self.cluster().restore_shard(index, shard);
    }

    /// Moves a copy to another node.
    pub(crate) fn relocate(&self, index: &str, shard: usize, copy: usize, node: usize) {
        self.cluster().relocate(index, shard, copy, node);
    }

    /// From now on this date-math expression means this index: `date_math("<logs-{now/d}>", "logs-1")`.
    pub(crate) fn date_math(&self, expression: &str, index: &str) {
        self.cluster().date_math.insert(expression.into(), index.into());
    }

    /// Stores a search template, or replaces it.
    pub(crate) fn put_script(&self, id: &str, source: &str) {
        let mut cluster = self.cluster();
        cluster.scripts.insert(id.into(), source.into());
        cluster.publish();
    }

    /// Something else changed in the cluster state: a snapshot, a lifecycle step.
    pub(crate) fn bump_state(&self) {
        self.cluster().publish();
    }

    /// `_cluster/state/version?local=true` shows a state so many versions old.
    pub(crate) fn lag_local_state(&self, versions: u64) {
        self.cluster().local_behind = versions;
    }

    /// The same URL is another cluster now.
    pub(crate) fn change_cluster_uuid(&self) {
        let mut cluster = self.cluster();
        cluster.uuid = super::ids::fresh_id();
        cluster.publish();
    }

    /// Adds a user with the password `NAME-pw`; others are refused from now on. Returns the `Authorization` header.
    pub(crate) fn add_user(&self, name: &str) -> String {
        self.cluster().add_user(name);
        super::security::basic(name)
    }

    /// Changes which documents a user sees. No counter of any other index than OpenSearch's security index moves.
    pub(crate) fn restrict(&self, name: &str, filter: Option<Value>) {
        self.cluster().restrict(name, filter);
    }

    /// Looks at, or changes, one copy of a shard.
    pub(crate) fn with_copy<T>(
        &self,
        index: &str,
        shard: usize,
        copy: usize,
        look: impl FnOnce(&mut Copy) -> T,
    ) -> T {
        look(&mut self.cluster().get_mut(index).shards[shard].copies[copy])
    }
}
