//! `_search` and `_count`: real enough to tell one view of the documents from another.

use serde_json::{Map, Value, json};

use super::answer::{Answer, Payload};
use super::api::Params;
use super::model::{Cluster, Copy, Flavour};
use super::resolve::{Options, Target, resolve};
use super::route::Call;

/// A document that a search found.
struct Hit {
    index: String,
    id: String,
    source: Value,
}

/// What a search over the shards gave.
#[derive(Default)]
struct Found {
    hits: Vec<Hit>,
    shards: usize,
    answered: usize,
}

/// `_search`: match_all, term, terms, ids and bool; `from` and `size`; each aggregation gives the number of hits
/// under `value`. Hits come in the order of the shards, a shard's in the order of its view; `sort` is not looked at.
pub(crate) fn search(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let body = call.body()?;
    let number = |name: &str, default: u64| {
        let sent = call.params.get(name).and_then(|text| text.parse().ok());
        sent.or_else(|| body.get(name).and_then(Value::as_u64)).unwrap_or(default)
    };
    let (from, size) = (number("from", 0) as usize, number("size", 10) as usize);
    let found = find(cluster, call, &body, size == 0)?;
    let total = found.hits.len();
    let hits: Vec<Value> =
        found.hits.into_iter().skip(from).take(size).map(|hit| render(hit, cluster.flavour)).collect();
    let max_score = if total == 0 && size > 0 {
        json!(0.0)
    } else if hits.is_empty() {
        Value::Null
    } else {
        json!(1.0)
    };
    cluster.took += 1;
    let mut answer = Map::new();
    if call.params.get("scroll").is_some() {
        answer.insert("_scroll_id".into(), super::ids::fresh_id().into());
    }
    answer.insert("took".into(), cluster.took.into());
    answer.insert("timed_out".into(), false.into());
    answer.insert("_shards".into(), shards(found.shards, found.answered));
    let shown_total = if call.params.flag("rest_total_hits_as_int", false) {
        json!(total)
    } else {
        json!({ "value": total, "relation": "eq" })
    };
    answer.insert("hits".into(), json!({ "total": shown_total, "max_score": max_score, "hits": hits }));
    if let Some(aggs) = body.get("aggs").or_else(|| body.get("aggregations")).and_then(Value::as_object) {
        let typed = |name: &String| {
            if call.params.flag("typed_keys", false) { format!("pretended#{name}") } else { name.clone() }
        };
        let values = aggs.keys().map(|name| (typed(name), json!({ "value": total }))).collect();
        answer.insert("aggregations".into(), Value::Object(values));
    }
    Ok(Answer::ok(Value::Object(answer)))
}

/// A search within the answer of an asynchronous one. It has come to its end unless it is waited for no time at all; then,
/// or if it is to be kept, it has an id.
pub(crate) fn asynchronous(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let (mut place, mut params) = (call.place.clone(), call.params.clone());
    let of_opensearch = place.detail == "state";
    if of_opensearch {
        place.expression = params.get("index").unwrap_or_default().to_owned();
    }
    let running = params.get("wait_for_completion_timeout") == Some("0ms");
    let kept = running || params.get("keep_on_completion").is_some_and(|keep| keep != "false");
    params.set("keep_on_completion", "");
    let found = search(cluster, &Call { place, params, ..*call })?;
    let Payload::Json(found) = found.payload else { return Ok(found) };
    let mut answer = Map::new();
    if kept {
        answer.insert("id".into(), super::ids::fresh_id().into());
    }
    if of_opensearch {
        answer.insert("state".into(), if running { "RUNNING" } else { "SUCCEEDED" }.into());
    } else {
        answer.insert("is_partial".into(), running.into());
        answer.insert("is_running".into(), running.into());
    }
    answer.insert("start_time_in_millis".into(), cluster.took.into());
    answer.insert("expiration_time_in_millis".into(), (cluster.took + 432_000_000).into());
    answer.insert("response".into(), found);
    Ok(Answer::ok(Value::Object(answer)))
}

/// What a header line may say beside the index.
const HEADER_WORDS: [&str; 9] = [
    "allow_no_indices",
    "allow_partial_search_results",
    "ccs_minimize_roundtrips",
    "expand_wildcards",
    "ignore_unavailable",
    "preference",
    "request_cache",
    "routing",
    "search_type",
];

/// `_msearch`: all is parsed first, and what does not parse is an error for all; then each search has a status of its
/// own.
pub(crate) fn several(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let requests = requests(cluster.flavour, call)?;
    if requests.is_empty() {
        return Err(nothing_to_do());
    }
    let calls: Vec<_> = requests.iter().map(|request| request.call("POST")).collect();
    for call in &calls {
        Query::new(call.body()?.get("query"))?;
    }
    let mut responses = Vec::new();
    for call in &calls {
        let answer = search(cluster, call).unwrap_or_else(|failure| failure);
        if let Payload::Json(mut response) = answer.payload {
            response["status"] = answer.status.into();
            responses.push(response);
        }
    }
    cluster.took += 1;
    Ok(Answer::ok(json!({ "took": cluster.took, "responses": responses })))
}

/// There is no search among those that were asked for.
pub(crate) fn nothing_to_do() -> Answer {
    let reason = "Validation Failed: 1: no requests added;";
    Answer::error(400, "action_request_validation_exception", reason, &json!({}))
}

/// One of several requests.
pub(crate) struct One {
    place: super::api::Place,
    params: Params,
    pub(crate) request: super::observe::Seen,
}

impl One {
    pub(crate) fn call(&self, method: &'static str) -> Call<'_> {
        let (place, params) = (self.place.clone(), self.params.clone());
        Call { method, place, params, request: &self.request }
    }
}

/// The requests that stand in lines, two for each.
pub(crate) fn requests(flavour: Flavour, call: &Call<'_>) -> Result<Vec<One>, Answer> {
    let whole = &call.request.body;
    let Some(all) = whole.strip_suffix(b"\n") else {
        return Err(Answer::illegal("The msearch request must be terminated by a newline [\n]"));
    };
    let mut lines: Vec<&[u8]> = all.split(|byte| *byte == b'\n').collect();
    // later versions read it as a header line
    if flavour != Flavour::Es8 && lines.first().is_some_and(|line| line.is_empty()) {
        lines.remove(0);
    }
    let mut requests = Vec::new();
    for [header, body] in lines.as_chunks::<2>().0 {
        let mut request = call.request.clone();
        request.body = whole.slice_ref(body);
        let (mut place, mut params) = (call.place.clone(), call.params.clone());
        if !header.is_empty() {
            let header: Value = serde_json::from_slice(header).map_err(|error| {
                Answer::error(400, "json_parse_exception", &error.to_string(), &json!({}))
            })?;
            for (name, value) in header.as_object().ok_or_else(|| Answer::illegal("not an object"))? {
                let list =
                    value.as_array().map(|list| list.iter().filter_map(Value::as_str).collect::<Vec<_>>());
                let text = list.map_or_else(
                    || value.as_str().map_or_else(|| value.to_string(), str::to_owned),
                    |list| list.join(","),
                );
                match name.as_str() {
                    "index" => place.expression = text,
                    name if HEADER_WORDS.contains(&name) => params.set(name, &text),
                    _ => {
                        let reason = format!("key [{name}] is not supported in the metadata section");
                        return Err(Answer::illegal(&reason));
                    }
                }
            }
        }
        requests.push(One { place, params, request });
    }
    Ok(requests)
}

/// `_terms_enum`: the values of a field that begin with a text, from those copies that are next. A shard without one is
/// left out.
pub(crate) fn terms(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let body = call.body()?;
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    let found = find(cluster, call, &json!({}), false)?;
    let values = found.hits.iter().filter_map(|hit| hit.source[text("field")].as_str());
    let mut terms: Vec<&str> = values.filter(|value| value.starts_with(text("string"))).collect();
    terms.sort_unstable();
    terms.dedup();
    terms.truncate(body["size"].as_u64().unwrap_or(10) as usize);
    let shards = json!({ "total": found.answered, "successful": found.answered, "failed": 0 });
    Ok(Answer::ok(json!({ "_shards": shards, "terms": terms, "complete": true })))
}

/// `_count`.
pub(crate) fn count(cluster: &mut Cluster, call: &Call<'_>) -> Result<Answer, Answer> {
    let found = find(cluster, call, &call.body()?, false)?;
    Ok(Answer::ok(json!({ "count": found.hits.len(), "_shards": shards(found.shards, found.answered) })))
}

fn find(cluster: &mut Cluster, call: &Call<'_>, body: &Value, cached: bool) -> Result<Found, Answer> {
    let targets = resolve(cluster, &call.place.expression, &Options::strict(&call.params))?;
    let mut query = Query::new(body.get("query"))?;
    query.must.extend(from_uri(&call.params));
    query.must.extend(cluster.users.filter(call.request).cloned());
    query.check()?;
    let turn = cluster.turn;
    cluster.turn += usize::from(!cluster.pinned);
    let mut found = Found::default();
    for Target { index, filters } in targets {
        let index = cluster.get_mut(&index);
        let (name, idle) = (index.name.clone(), index.search_idle);
        for shard in &mut index.shards {
            found.shards += 1;
            let mut started: Vec<&mut Copy> =
                shard.copies.iter_mut().filter(|copy| copy.node.is_some()).collect();
            if started.is_empty() {
                continue;
            }
            let chosen = turn % started.len();
            let copy = started.swap_remove(chosen);
            if idle && copy.needs_refresh() {
                copy.refresh();
            }
            copy.counters.cache_misses += u64::from(cached);
            copy.counters.cache_bytes += 592 * u64::from(cached);
            found.answered += 1;
            for (id, source) in &copy.visible {
                let alias = filters.is_empty() || filters.iter().any(|filter| matches(filter, id, source));
                if alias && query.must.iter().all(|query| matches(query, id, source)) {
                    found.hits.push(Hit { index: name.clone(), id: id.clone(), source: source.clone() });
                }
            }
        }
    }
    if found.answered == 0 && found.shards > 0 {
        let reason = "all shards failed";
        return Err(Answer::error(
            503,
            "search_phase_execution_exception",
            reason,
            &json!({ "phase": "query" }),
        ));
    }
    Ok(found)
}

/// The query with all that must hold beside it.
struct Query {
    must: Vec<Value>,
}

impl Query {
    fn new(query: Option<&Value>) -> Result<Self, Answer> {
        let query = Self { must: query.cloned().into_iter().collect() };
        query.check()?;
        Ok(query)
    }

    fn check(&self) -> Result<(), Answer> {
        self.must.iter().try_for_each(check)
    }
}

/// `q=field:value`, the one form that is understood.
fn from_uri(params: &Params) -> Option<Value> {
    let (field, value) = params.get("q")?.split_once(':')?;
    (field != "*").then(|| json!({ "term": { field: value } }))
}

fn check(query: &Value) -> Result<(), Answer> {
    let name = query.as_object().and_then(|query| query.keys().next()).map_or("", String::as_str);
    match name {
        "match_all" | "match_none" | "term" | "terms" | "ids" | "exists" => Ok(()),
        "bool" => clauses(query).try_for_each(|(_, clause)| check(clause)),
        _ => {
            let reason = format!("unknown query [{name}]");
            let about = json!({
                "line": 1, "col": 18,
                "caused_by": {
                    "type": "named_object_not_found_exception", "reason": format!("[1:18] unknown field [{name}]"),
                },
            });
            let mut failure = Answer::error(400, "parsing_exception", &reason, &about);
            if let Payload::Json(body) = &mut failure.payload {
                body["error"]["root_cause"][0].as_object_mut().unwrap().shift_remove("caused_by");
            }
            Err(failure)
        }
    }
}

/// If a document fits a query that was checked.
fn matches(query: &Value, id: &str, source: &Value) -> bool {
    let (name, inner) = query.as_object().and_then(|query| query.iter().next()).unwrap();
    let field = || inner.as_object().and_then(|fields| fields.iter().next());
    match name.as_str() {
        "match_all" => true,
        "term" => {
            field().is_some_and(|(name, value)| equal(&source[name], value.get("value").unwrap_or(value)))
        }
        "terms" => field().is_some_and(|(name, values)| {
            values.as_array().is_some_and(|values| values.iter().any(|value| equal(&source[name], value)))
        }),
        "ids" => inner["values"].as_array().is_some_and(|ids| ids.iter().any(|value| value == id)),
        "exists" => inner["field"].as_str().is_some_and(|name| !source[name].is_null()),
        "bool" => {
            let fits = |wanted: &[&str]| {
                clauses(query).filter(|(kind, _)| wanted.contains(kind)).collect::<Vec<_>>()
            };
            let should = fits(&["should"]);
            let any = should.is_empty() || should.iter().any(|(_, clause)| matches(clause, id, source));
            any && fits(&["must", "filter"]).iter().all(|(_, clause)| matches(clause, id, source))
                && !fits(&["must_not"]).iter().any(|(_, clause)| matches(clause, id, source))
        }
        _ => false,
    }
}

/// The clauses of a bool query, each with its kind.
fn clauses(query: &Value) -> impl Iterator<Item = (&str, &Value)> {
    query["bool"].as_object().into_iter().flatten().flat_map(|(kind, clauses)| {
        let list = clauses.as_array().map_or(std::slice::from_ref(clauses), Vec::as_slice);
        list.iter().map(move |clause| (kind.as_str(), clause))
    })
}

/// The same value, whether it was sent as text or as a number.
fn equal(have: &Value, want: &Value) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
    !have.is_null() && (have == want || text(have) == text(want))
}

fn render(hit: Hit, flavour: Flavour) -> Value {
    let mut shown = Map::from_iter([("_index".into(), hit.index.into())]);
    if flavour == Flavour::Es7 {
        shown.insert("_type".into(), "_doc".into());
    }
    shown.insert("_id".into(), hit.id.into());
    shown.insert("_score".into(), json!(1.0));
    shown.insert("_source".into(), hit.source);
    Value::Object(shown)
}

fn shards(total: usize, successful: usize) -> Value {
    json!({ "total": total, "successful": successful, "skipped": 0, "failed": 0 })
}
