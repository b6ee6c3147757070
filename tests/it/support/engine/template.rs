//! Search templates: `{{name}}` stands for a parameter, in a string or for a value; nothing else of mustache is known.

use serde_json::{Value, json};

use super::answer::{Answer, Payload};
use super::model::{Cluster, Flavour};
use super::observe::Seen;
use super::route::Call;
use super::search;

/// What the template of a request renders to: of the request itself, or a stored one.
fn rendered(cluster: &Cluster, body: &Value) -> Result<Value, Answer> {
    let mut text = match (&body["source"], body["id"].as_str()) {
        (Value::String(text), None) => text.clone(),
        (Value::Null, Some(id)) => cluster.scripts.get(id).cloned().ok_or_else(|| {
            let reason = format!("unable to find script [{id}] in cluster state");
            Answer::error(404, "resource_not_found_exception", &reason, &json!({}))
        })?,
        (Value::Null, None) => return Err(Answer::illegal("Malformed search template")),
        (source, _) => source.to_string(),
    };
    for (name, value) in body["params"].as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text = text.replace(&format!("{{{{{name}}}}}"), &value);
    }
    serde_json::from_str(&text)
        .map_err(|error| Answer::error(400, "json_parse_exception", &error.to_string(), &json!({})))
}

/// `_render/template`.
pub(crate) fn render(cluster: &Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    Ok(Answer::ok(json!({ "template_output": rendered(cluster, &call.body()?)? })))
}

/// `_search/template`.
pub(crate) fn search(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let text = rendered(cluster, &call.body()?)?;
    let request = Seen { body: text.to_string().into(), ..call.request.clone() };
    let (place, params) = (call.place.clone(), call.params.clone());
    let mut answer =
        search::search(cluster, &Call { method: call.method, place, params, request: &request })?;
    if let (Flavour::Os2, Payload::Json(found)) = (cluster.flavour, &mut answer.payload) {
        found["status"] = answer.status.into();
    }
    Ok(answer)
}

/// `_msearch/template`: what cannot be rendered is an error of its own, unless nothing is left. Elasticsearch 8 tells the
/// status of each item; the others do not, but for what OpenSearch tells of a search by template anyway.
pub(crate) fn several(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let requests = search::requests(cluster.flavour, call)?;
    let bodies: Vec<Value> = requests.iter().map(|one| one.call("POST").body()).collect::<Result<_, _>>()?;
    if bodies.iter().any(|body| body["source"].is_null() && body["id"].is_null()) {
        return Err(Answer::illegal("Malformed search template"));
    }
    if bodies.iter().all(|body| rendered(cluster, body).is_err()) {
        return Err(search::nothing_to_do());
    }
    let mut responses = Vec::new();
    for one in &requests {
        let answer = search(cluster, &one.call("POST")).unwrap_or_else(|failure| failure);
        let Payload::Json(mut response) = answer.payload else { continue };
        if cluster.flavour == Flavour::Es8 {
            response["status"] = answer.status.into();
        } else if answer.status != 200 {
            response.as_object_mut().unwrap().shift_remove("status");
        }
        responses.push(response);
    }
    cluster.took += 1;
    Ok(Answer::ok(json!({ "took": cluster.took, "responses": responses })))
}
