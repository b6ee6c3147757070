//! From a request to its answer: which endpoint evaluates it.

use serde_json::{Value, json};

use super::answer::{Answer, Payload};
use super::api::{Api, Params, Place, place};
use super::ids::base64;
use super::model::{Cluster, Flavour};
use super::observe::Seen;
use super::{admin, cluster_state, documents, search, stats, template};

/// What an endpoint gets to see of a request.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) place: Place,
    pub(crate) params: Params,
    pub(crate) request: &'a Seen,
}

impl Call<'_> {
    /// If it asks, and changes nothing.
    pub(crate) fn is_get(&self) -> bool {
        matches!(self.method, "GET" | "HEAD")
    }

    /// The body as JSON; `{}` if there is none.
    pub(crate) fn body(&self) -> Result<Value, Answer> {
        let body = &self.request.body;
        if body.is_empty() {
            return Ok(json!({}));
        }
        serde_json::from_slice(body)
            .map_err(|error| Answer::error(400, "json_parse_exception", &error.to_string(), &json!({})))
    }
}

/// The answer to a request, from the state as it is now.
pub(crate) fn evaluate(cluster: &mut Cluster, request: &Seen) -> Answer {
    let params = Params::parse(request.query.as_deref().unwrap_or(""));
    let call = Call { method: &request.method, place: place(&request.path), params, request };
    if let Some(allowed) = allowed(call.place.api)
        && !allowed.split(", ").any(|method| method == call.method)
    {
        return Answer::wrong_method(call.method, &request.uri(), allowed);
    }
    match cluster.users.refuses(request) {
        Some(refusal) if !matches!(call.place.api, Api::Echo | Api::Big) => refusal,
        _ => answer(cluster, &call).unwrap_or_else(|failure| failure),
    }
}

fn answer(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    match call.place.api {
        Api::Root => Ok(root(cluster)),
        Api::Search => search::search(cluster, call),
        Api::AsyncSearch => search::asynchronous(cluster, call),
        Api::Msearch => search::several(cluster, call),
        Api::SearchTemplate => template::search(cluster, call),
        Api::MsearchTemplate => template::several(cluster, call),
        Api::Render => template::render(cluster, call),
        Api::TermsEnum if cluster.flavour.is_elasticsearch() => search::terms(cluster, call),
        Api::Count => search::count(cluster, call),
        Api::Stats => stats::stats(cluster, call),
        Api::NodesStats => Ok(stats::nodes(cluster, call)),
        Api::Version => Ok(cluster_state::version(cluster, call)),
        Api::State => cluster_state::state(cluster, call),
        Api::ClusterSettings => admin::cluster_settings(cluster, call),
        Api::Alias => admin::alias(cluster, call),
        Api::Settings => admin::settings(cluster, call),
        Api::Mapping => admin::mapping(cluster, call),
        Api::CacheClear | Api::Refresh | Api::Forcemerge => admin::broadcast(cluster, call),
        Api::Index | Api::Close | Api::Open => admin::index(cluster, call),
        Api::Doc => documents::document(cluster, call),
        Api::Bulk => {
            cluster.took += 1;
            Ok(Answer::ok(json!({ "took": cluster.took, "errors": false, "items": [] })))
        }
        Api::Authenticate | Api::Privileges
            if call.request.path.starts_with("/_plugins/") == cluster.flavour.is_elasticsearch() =>
        {
            Ok(Answer::no_handler(call.method, &call.request.uri()))
        }
        Api::Authenticate | Api::Privileges => Ok(cluster.users.describe(call)),
        Api::Big => Ok(big(call)),
        Api::Echo => Ok(echo(call)),
        Api::TermsEnum | Api::Other => Ok(Answer::no_handler(call.method, &call.request.uri())),
    }
}

/// The methods of endpoints that name them when another one is used.
fn allowed(api: Api) -> Option<&'static str> {
    match api {
        Api::Search
        | Api::Msearch
        | Api::SearchTemplate
        | Api::MsearchTemplate
        | Api::Render
        | Api::TermsEnum
        | Api::Count => Some("POST, GET"),
        Api::AsyncSearch | Api::CacheClear | Api::Close | Api::Open | Api::Forcemerge => Some("POST"),
        Api::Refresh => Some("GET, POST"),
        Api::Stats | Api::NodesStats | Api::Version | Api::State => Some("GET"),
        Api::Bulk => Some("PUT, POST"),
        _ => None,
    }
}

fn root(cluster: &Cluster) -> Answer {
    let mut version = json!({
        "number": cluster.flavour.number(),
        "build_flavor": "default",
        "build_type": "tar",
        "build_hash": "pretended",
        "build_date": "2025-06-19T01:37:57.847711500Z",
        "build_snapshot": false,
        "lucene_version": if cluster.flavour == Flavour::Es7 { "8.11.3" } else { "9.12.1" },
        "minimum_wire_compatibility_version": "6.8.0",
        "minimum_index_compatibility_version": "6.0.0-beta1",
    });
    let mut tagline = "You Know, for Search";
    if !cluster.flavour.is_elasticsearch() {
        version.as_object_mut().unwrap().shift_remove("build_flavor");
        version["distribution"] = "opensearch".into();
        tagline = "The OpenSearch Project: https://opensearch.org/";
    }
    Answer::ok(json!({
        "name": cluster.nodes[0].name,
        "cluster_name": cluster.name,
        "cluster_uuid": cluster.uuid,
        "version": version,
        "tagline": tagline,
    }))
}

fn big(call: &Call<'_>) -> Answer {
    let bytes = call.params.get("bytes").and_then(|text| text.parse().ok()).unwrap_or(0);
    let payload = Payload::Zeros { bytes, chunked: call.params.flag("chunked", false) };
    Answer { status: 200, headers: Vec::new(), payload }.with("content-type", "application/octet-stream")
}

fn echo(call: &Call<'_>) -> Answer {
    let request = call.request;
    let mut echo = json!({
        "method": request.method,
        "uri": request.uri(),
        "path": request.path,
        "query": request.query,
        "version": request.version,
        "headers": request.headers,
        "body_bytes": request.body.len(),
        "body_base64": base64(&request.body),
    });
    if let Ok(json) = serde_json::from_slice::<Value>(&request.body) {
        echo["body"] = json;
    }
    Answer::ok(echo)
}
