//! What an index expression resolves to: names, aliases with their filters, wildcards, exclusions.

use serde_json::{Value, json};

use super::answer::Answer;
use super::api::Params;
use super::filter_path::glob;
use super::model::{Cluster, Index};

/// A concrete index, with the filters of the aliases by which it was named: a document must pass any of them. No
/// filters if it was also named without one.
pub(crate) struct Target {
    pub(crate) index: String,
    pub(crate) filters: Vec<Value>,
}

/// What to do with what is missing or closed.
pub(crate) struct Options {
    ignore_unavailable: bool,
    allow_no_indices: bool,
    wildcards_to_open: bool,
    wildcards_to_closed: bool,
    forbid_closed: bool,
}

impl Options {
    /// The defaults of searches and of `_stats`: wildcards mean open indices, a closed one is an error.
    pub(crate) fn strict(params: &Params) -> Self {
        let wildcards = params.get("expand_wildcards").unwrap_or("open");
        let to = |state: &str| wildcards.split(',').any(|word| word == state || word == "all");
        Self {
            ignore_unavailable: params.flag("ignore_unavailable", false),
            allow_no_indices: params.flag("allow_no_indices", true),
            wildcards_to_open: to("open"),
            wildcards_to_closed: to("closed"),
            forbid_closed: true,
        }
    }

    /// The same, but closed indices are fine: settings, mappings, aliases, open, delete.
    pub(crate) fn metadata(params: &Params) -> Self {
        let to_closed = params.get("expand_wildcards").is_none();
        let strict = Self::strict(params);
        Self { forbid_closed: false, wildcards_to_closed: to_closed || strict.wildcards_to_closed, ..strict }
    }

    /// The defaults of `_cluster/state`: what is missing is left out, without an error.
    pub(crate) fn lenient(params: &Params) -> Self {
        let strict = Self::strict(params);
        Self { ignore_unavailable: params.flag("ignore_unavailable", true), forbid_closed: false, ..strict }
    }
}

/// Resolves an expression to concrete indices, in the order of their names.
pub(crate) fn resolve(cluster: &Cluster, expression: &str, options: &Options) -> Result<Vec<Target>, Answer> {
    let all = ["", "_all", "*"].contains(&expression);
    let mut named: Vec<(String, Option<Value>)> = Vec::new();
    let mut wildcard_seen = false;
    for part in if all { vec!["*"] } else { expression.split(',').collect() } {
        match part.strip_prefix('-') {
            Some(out) if wildcard_seen => named.retain(|(index, _)| !glob(out, index)),
            _ if part.contains('*') => {
                wildcard_seen = true;
                named.extend(wildcard(cluster, part, options));
            }
            _ => named.extend(one(cluster, part, options)?),
        }
    }
    if named.is_empty() && !options.allow_no_indices {
        return Err(not_found(if expression.is_empty() { "_all" } else { expression }));
    }
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let mut targets: Vec<Target> = Vec::new();
    for chunk in named.chunk_by(|a, b| a.0 == b.0) {
        let unfiltered = chunk.iter().any(|(_, filter)| filter.is_none());
        let filters =
            if unfiltered { Vec::new() } else { chunk.iter().filter_map(|(_, f)| f.clone()).collect() };
        targets.push(Target { index: chunk[0].0.clone(), filters });
    }
    Ok(targets)
}

fn wildcard(cluster: &Cluster, pattern: &str, options: &Options) -> Vec<(String, Option<Value>)> {
    let mut named = Vec::new();
    for index in cluster.indices.values() {
        let hidden = index.name.starts_with('.') && !pattern.starts_with('.');
        if hidden || !(if index.open { options.wildcards_to_open } else { options.wildcards_to_closed }) {
            continue;
        }
        if glob(pattern, &index.name) {
            named.push((index.name.clone(), None));
        }
        let aliases = index.aliases.iter().filter(|(alias, _)| glob(pattern, alias));
        named.extend(aliases.map(|(_, properties)| (index.name.clone(), properties.get("filter").cloned())));
    }
    named
}

fn one(cluster: &Cluster, name: &str, options: &Options) -> Result<Vec<(String, Option<Value>)>, Answer> {
    let name = cluster.date_math.get(name).map_or(name, String::as_str);
    let mut found: Vec<(&Index, Option<Value>)> = Vec::new();
    found.extend(cluster.indices.get(name).map(|index| (index, None)));
    for index in cluster.indices.values() {
        found.extend(index.aliases.get(name).map(|properties| (index, properties.get("filter").cloned())));
    }
    if found.is_empty() && !options.ignore_unavailable {
        return Err(not_found(name));
    }
    let mut named = Vec::new();
    for (index, filter) in found {
        if index.open || !options.forbid_closed {
            named.push((index.name.clone(), filter));
        } else if !options.ignore_unavailable {
            let about = json!({ "index_uuid": index.uuid, "index": index.name });
            return Err(Answer::error(400, "index_closed_exception", "closed", &about));
        }
    }
    Ok(named)
}

/// The engines' 404 for an index that is not there.
pub(crate) fn not_found(name: &str) -> Answer {
    let about = json!({
        "resource.type": "index_or_alias", "resource.id": name, "index_uuid": "_na_", "index": name,
    });
    let reason = format!("no such index [{name}]");
    Answer::error(404, "index_not_found_exception", &reason, &about)
}
