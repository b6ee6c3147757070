//! `/{index}/_doc/{id}`: one document written, deleted or read.

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::ids::fresh_id;
use super::model::{Cluster, Flavour};
use super::mutate::Written;
use super::resolve::not_found;
use super::route::Call;

/// Reads, writes or deletes one document, by what the method says.
pub(crate) fn document(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let (index, id) = (&concrete(cluster, &call.place.expression), call.place.detail.as_str());
    match call.method {
        "GET" | "HEAD" => read(cluster, index, id),
        "POST" if id.is_empty() => write(cluster, call, index, &fresh_id()),
        "PUT" | "POST" => write(cluster, call, index, id),
        "DELETE" if !cluster.indices.contains_key(index) => Err(not_found(index)),
        "DELETE" => {
            let existed = exists(cluster, index, id);
            let written = cluster.write(index, id, None);
            let result = if existed { "deleted" } else { "not_found" };
            Ok(written_answer(cluster, call, index, id, result, &written))
        }
        _ => Err(Answer::wrong_method(call.method, &call.request.uri(), "GET, PUT, HEAD, DELETE, POST")),
    }
}

/// The index that an alias of one index means.
fn concrete(cluster: &Cluster, name: &str) -> String {
    let behind = cluster.indices.values().find(|index| index.aliases.contains_key(name));
    behind.map_or(name, |index| &index.name).into()
}

fn exists(cluster: &Cluster, index: &str, id: &str) -> bool {
    let index = cluster.get(index);
    index.shards[index.shard_of(id)].latest.get(id).is_some_and(|latest| latest.source.is_some())
}

/// A get is realtime: it sees what no search sees yet.
fn read(cluster: &Cluster, index: &str, id: &str) -> Result<Answer, Answer> {
    let about = cluster.indices.get(index).ok_or_else(|| not_found(index))?;
    let shard = &about.shards[about.shard_of(id)];
    let mut shown = named(cluster, index, id);
    let found = shard.latest.get(id).and_then(|latest| Some((latest, latest.source.as_ref()?)));
    if let Some((latest, source)) = found {
        shown.insert("_version".into(), latest.version.into());
        shown.insert("_seq_no".into(), latest.seq_no.into());
        shown.insert("_primary_term".into(), shard.primary_term.into());
        shown.insert("found".into(), true.into());
        shown.insert("_source".into(), source.clone());
    } else {
        shown.insert("found".into(), false.into());
    }
    Ok(Answer::json(if found.is_some() { 200 } else { 404 }, Value::Object(shown)))
}

fn write(cluster: &mut Cluster, call: &Call<'_>, index: &str, id: &str) -> Result<Answer, Answer> {
    let written = cluster.write(index, id, Some(&call.body()?));
    let result = if written.existed { "updated" } else { "created" };
    Ok(written_answer(cluster, call, index, id, result, &written))
}

fn written_answer(
    cluster: &mut Cluster,
    call: &Call<'_>,
    index: &str,
    id: &str,
    result: &str,
    written: &Written,
) -> Answer {
    let refresh = call.params.get("refresh").is_some_and(|value| value != "false");
    if refresh {
        cluster.refresh(index);
    }
    let mut shown = named(cluster, index, id);
    shown.insert("_version".into(), written.version.into());
    shown.insert("result".into(), result.into());
    if refresh && call.params.get("refresh") != Some("wait_for") {
        shown.insert("forced_refresh".into(), true.into());
    }
    shown.insert(
        "_shards".into(),
        json!({ "total": written.copies, "successful": written.copies, "failed": 0 }),
    );
    shown.insert("_seq_no".into(), written.seq_no.into());
    shown.insert("_primary_term".into(), written.primary_term.into());
    let status = match result {
        "created" => 201,
        "not_found" => 404,
        _ => 200,
    };
    Answer::json(status, Value::Object(shown))
}

fn named(cluster: &Cluster, index: &str, id: &str) -> Map<String, Value> {
    let mut shown = Map::from_iter([("_index".into(), index.into())]);
    if cluster.flavour == Flavour::Es7 {
        shown.insert("_type".into(), "_doc".into());
    }
    shown.insert("_id".into(), id.into());
    shown
}
