//! Calls that change indices, or ask for their metadata.

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::api::Api;
use super::filter_path::glob;
use super::model::{Cluster, Index};
use super::mutate::nested;
use super::resolve::{Options, not_found, resolve};
use super::route::Call;

/// `_refresh`, `_forcemerge` and `_cache/clear`, which answer with the number of shards.
pub(crate) fn broadcast(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let targets = resolve(cluster, &call.place.expression, &Options::strict(&call.params))?;
    let mut total = 0;
    let mut started = 0;
    for target in targets {
        match call.place.api {
            Api::Refresh => cluster.refresh(&target.index),
            Api::Forcemerge => {
                cluster.merge_begins(&target.index);
                cluster.merge_ends(&target.index);
            }
            _ => cluster.get_mut(&target.index).copies_mut().for_each(|copy| copy.counters.cache_bytes = 0),
        }
        total += cluster.get_mut(&target.index).copies_mut().count();
        started += cluster.get_mut(&target.index).copies_mut().filter(|copy| copy.node.is_some()).count();
    }
    Ok(Answer::ok(json!({ "_shards": { "total": total, "successful": started, "failed": 0 } })))
}

/// `/{index}` itself, `_close` and `_open`.
pub(crate) fn index(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let expression = &call.place.expression;
    if call.method == "PUT" {
        return create(cluster, expression, &call.body()?);
    }
    let named = names(cluster, call)?;
    match (call.place.api, call.method) {
        (Api::Index, "GET" | "HEAD") => {
            let all = named.iter().map(|name| (name.clone(), whole(cluster.get(name)))).collect();
            Ok(Answer::ok(Value::Object(all)))
        }
        (Api::Index, "DELETE") => {
            if !cluster.indices.contains_key(expression) && !expression.contains('*') {
                return Err(not_found(expression));
            }
            named.iter().for_each(|name| cluster.delete_index(name));
            Ok(acknowledged())
        }
        (Api::Close, _) => {
            named.iter().for_each(|name| cluster.close(name));
            let closed: Map<String, Value> =
                named.into_iter().map(|name| (name, json!({ "closed": true }))).collect();
            Ok(Answer::ok(json!({ "acknowledged": true, "shards_acknowledged": true, "indices": closed })))
        }
        (Api::Open, _) => {
            named.iter().for_each(|name| cluster.open(name));
            Ok(Answer::ok(json!({ "acknowledged": true, "shards_acknowledged": true })))
        }
        _ => Err(Answer::wrong_method(call.method, &call.request.uri(), "GET, PUT, HEAD, DELETE")),
    }
}

fn create(cluster: &mut Cluster, name: &str, body: &Value) -> Result<Answer, Answer> {
    if let Some(index) = cluster.indices.get(name) {
        let reason = format!("index [{name}/{}] already exists", index.uuid);
        let about = json!({ "index_uuid": index.uuid, "index": name });
        return Err(Answer::error(400, "resource_already_exists_exception", &reason, &about));
    }
    let mut settings = body["settings"].as_object().cloned().unwrap_or_default();
    let mut number = |name: &str, default: u64| {
        let sent = settings.shift_remove(name).or_else(|| settings.shift_remove(&format!("index.{name}")));
        sent.and_then(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok())).unwrap_or(default) as usize
    };
    let (shards, replicas) = (number("number_of_shards", 1), number("number_of_replicas", 1));
    cluster.create_index(name, shards, replicas + 1);
    if !settings.is_empty() {
        cluster.put_settings(name, &Value::Object(settings));
    }
    if body["mappings"].is_object() {
        cluster.put_mapping(name, &body["mappings"]);
    }
    for (alias, properties) in body["aliases"].as_object().into_iter().flatten() {
        cluster.put_alias(name, alias, properties.get("filter").cloned());
    }
    Ok(Answer::ok(json!({ "acknowledged": true, "shards_acknowledged": true, "index": name })))
}

/// `_settings`.
pub(crate) fn settings(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let named = names(cluster, call)?;
    if !call.is_get() {
        let body = call.body()?;
        named.iter().for_each(|name| cluster.put_settings(name, body.get("settings").unwrap_or(&body)));
        return Ok(acknowledged());
    }
    let flat = call.params.flag("flat_settings", false);
    Ok(each(
        cluster,
        named,
        |index| json!({ "settings": if flat { json!(index.settings) } else { nested(&index.settings) } }),
    ))
}

/// `_mapping`.
pub(crate) fn mapping(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let named = names(cluster, call)?;
    if !call.is_get() {
        let body = call.body()?;
        named.iter().for_each(|name| cluster.put_mapping(name, &body));
        return Ok(acknowledged());
    }
    Ok(each(cluster, named, |index| json!({ "mappings": index.mappings })))
}

/// `_alias`, `_alias/{name}` and `_aliases`.
pub(crate) fn alias(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    if call.method == "POST" && call.place.detail == "_aliases" {
        let body = call.body()?;
        let actions = body["actions"].as_array().into_iter().flatten();
        for (kind, about) in actions.filter_map(|action| action.as_object()?.iter().next()) {
            let (index, alias) =
                (about["index"].as_str().unwrap_or(""), about["alias"].as_str().unwrap_or(""));
            if !cluster.indices.contains_key(index) {
                return Err(not_found(index));
            }
            match kind.as_str() {
                "add" => cluster.put_alias(index, alias, about.get("filter").cloned()),
                _ => cluster.remove_alias(index, alias),
            }
        }
        let newer = cluster.flavour == super::Flavour::Es8;
        return Ok(if newer {
            Answer::ok(json!({ "acknowledged": true, "errors": false }))
        } else {
            acknowledged()
        });
    }
    let named = names(cluster, call)?;
    let wanted = call.place.detail.as_str();
    match call.method {
        "GET" | "HEAD" => {
            let fits = |alias: &str| wanted.is_empty() || wanted.split(',').any(|one| glob(one, alias));
            let shown: Map<String, Value> = named
                .into_iter()
                .map(|name| {
                    let aliases = cluster.get(&name).aliases.iter().filter(|(alias, _)| fits(alias));
                    let aliases: Map<String, Value> = aliases.map(|(k, v)| (k.clone(), v.clone())).collect();
                    (name, aliases)
                })
                .filter(|(_, aliases)| wanted.is_empty() || !aliases.is_empty())
                .map(|(name, aliases)| (name, json!({ "aliases": aliases })))
                .collect();
            if shown.is_empty() && !wanted.is_empty() && !wanted.contains('*') {
                let missing = json!({ "error": format!("alias [{wanted}] missing"), "status": 404 });
                return Ok(Answer::json(404, missing));
            }
            Ok(Answer::ok(Value::Object(shown)))
        }
        "DELETE" => {
            named.iter().for_each(|name| cluster.remove_alias(name, wanted));
            Ok(acknowledged())
        }
        _ => {
            let filter = call.body()?.get("filter").cloned();
            named.iter().for_each(|name| cluster.put_alias(name, wanted, filter.clone()));
            Ok(acknowledged())
        }
    }
}

/// `_cluster/settings`.
pub(crate) fn cluster_settings(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let flat = call.params.flag("flat_settings", false);
    let body = call.body()?;
    let mut shown = Map::new();
    if !call.is_get() {
        shown.insert("acknowledged".into(), true.into());
        for (persistent, kind) in [(true, "persistent"), (false, "transient")] {
            if body[kind].is_object() {
                cluster.put_cluster_settings(persistent, &body[kind]);
            }
        }
    }
    for (kind, settings) in [("persistent", &cluster.persistent), ("transient", &cluster.transient)] {
        shown.insert(kind.into(), if flat { json!(settings) } else { nested(settings) });
    }
    Ok(Answer::ok(Value::Object(shown)))
}

fn names(cluster: &Cluster, call: &Call<'_>) -> Result<Vec<String>, Answer> {
    let targets = resolve(cluster, &call.place.expression, &Options::metadata(&call.params))?;
    Ok(targets.into_iter().map(|target| target.index).collect())
}

fn each(cluster: &Cluster, named: Vec<String>, show: impl Fn(&Index) -> Value) -> Answer {
    let shown = named.into_iter().map(|name| {
        let value = show(cluster.get(&name));
        (name, value)
    });
    Answer::ok(Value::Object(shown.collect()))
}

fn whole(index: &Index) -> Value {
    json!({ "aliases": index.aliases, "mappings": index.mappings, "settings": nested(&index.settings) })
}

fn acknowledged() -> Answer {
    Answer::ok(json!({ "acknowledged": true }))
}
