//! `explain`: what escache would do with a request, and why. The search is not sent; a template is rendered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::advice::advice_for;
use crate::cache::{Decision, decide};
use crate::control::Control;
use crate::elastic::api::{Route, route};
use crate::key::headers::HeaderRole;
use crate::key::identity::Identity;
use crate::outcome::{Reason, Refusal};
use crate::proxy::{Live, Proxy, Searches, plain};
use crate::rounds::Needed;
use crate::scope::Found as Scoped;

/// A request to be explained, as `POST /explain` takes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explained {
    /// The method; GET if it is not given.
    #[serde(default)]
    method: Option<String>,
    /// Path and query as a client would send them.
    #[serde(default)]
    path: Option<String>,
    /// Instead of all others: the id of a search that `/overview` tells of.
    #[serde(default)]
    search: Option<String>,
    /// Headers.
    #[serde(default)]
    headers: serde_json::Map<String, Value>,
    /// The body: text, or JSON.
    #[serde(default)]
    body: Value,
}

/// Explains a request.
///
/// # Errors
/// A sentence about what cannot be understood in the question.
pub async fn explain(proxy: &Arc<Proxy>, question: Explained) -> Result<Value, String> {
    let arrival = Instant::now();
    let (question, unproven) = known(proxy, question)?;
    let method: Method =
        question.method.as_deref().unwrap_or("GET").parse().map_err(|_| "method: no such method")?;
    let body: Bytes = match question.body {
        Value::Null => Bytes::new(),
        Value::String(text) => text.into(),
        json => json.to_string().into(),
    };
    let headers = headers(question.headers, !body.is_empty())?;
    let path = question.path.ok_or("path: is missing")?;
    let request = Request::builder().method(method).uri(path.as_str()).body(());
    let (mut head, ()) = request.map_err(|_| "path: not a path that can be requested")?.into_parts();
    head.headers = headers;

    let live = proxy.live.load_full();
    let route = route(&head.method, head.uri.path(), head.uri.query());
    let mut told = if route.api.is_several() && body.len() <= live.policy.max_key_body {
        explain_items(proxy, &live, &head, &route, &body, arrival).await
    } else {
        explain_one(proxy, &live, &head, &route, &body, arrival).await
    };
    if unproven {
        told["note"] =
            "it came with credentials, which are not kept: this is explained for nobody in particular".into();
    }
    Ok(told)
}

/// The question itself, or the example of a search that is told of; and whether that came with credentials.
fn known(proxy: &Proxy, question: Explained) -> Result<(Explained, bool), String> {
    let Some(id) = &question.search else { return Ok((question, false)) };
    let gone = || format!("search: none is known as [{id}] any more");
    let example = proxy.stats.searches.example(id).ok_or_else(gone)?;
    let known = Explained {
        method: Some(example.method.clone()),
        path: Some(example.path.clone()),
        search: None,
        headers: example
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
            .collect(),
        body: if example.body.is_empty() { Value::Null } else { example.body.clone().into() },
    };
    Ok((known, example.identity))
}

/// Explains each search of a multi search.
async fn explain_items(
    proxy: &Arc<Proxy>,
    live: &Live,
    head: &Parts,
    route: &Route<'_>,
    body: &Bytes,
    arrival: Instant,
) -> Value {
    let mut out = json!({"api": route.api.name(), "index": route.index});
    match explain_each(proxy, live, head, route, body, arrival).await {
        Ok(items) => out["items"] = items.into(),
        Err(refusal) => refuse(&mut out, &refusal),
    }
    out
}

async fn explain_each(
    proxy: &Arc<Proxy>,
    live: &Live,
    head: &Parts,
    route: &Route<'_>,
    body: &Bytes,
    arrival: Instant,
) -> Result<Vec<Value>, Refusal> {
    let (head, body) = &plain(head, body, live.policy.max_key_body)?;
    let mut searches = Searches::of(head, route, body)?;
    let mut items = Vec::new();
    while let Some((_, search)) = searches.next() {
        items.push(match search {
            Ok(search) => explain_one(proxy, live, search.head, &search.route, &search.body, arrival).await,
            Err(refusal) => {
                let mut item = json!({});
                refuse(&mut item, &refusal);
                item
            }
        });
    }
    Ok(items)
}

/// Explains a request that is no multi search.
async fn explain_one(
    proxy: &Arc<Proxy>,
    live: &Live,
    head: &Parts,
    route: &Route<'_>,
    body: &Bytes,
    arrival: Instant,
) -> Value {
    let of_role = |role: HeaderRole| -> Vec<&str> {
        head.headers.keys().filter(|name| live.headers.role(name) == role).map(HeaderName::as_str).collect()
    };
    let mut out = json!({
        "api": route.api.name(),
        "index": route.index,
        "headers_in_key": of_role(HeaderRole::Keyed),
        "identity_headers": of_role(HeaderRole::Identity),
    });
    if let Err(refusal) = decide_one(proxy, live, head, route, body, arrival, &mut out).await {
        refuse(&mut out, &refusal);
    }
    out
}

/// Walks the street up to the store, and writes down what is found; or why the request goes no further.
async fn decide_one(
    proxy: &Arc<Proxy>,
    live: &Live,
    head: &Parts,
    route: &Route<'_>,
    body: &Bytes,
    arrival: Instant,
    out: &mut Value,
) -> Result<(), Refusal> {
    if !route.api.is_read() {
        return Err(route.effect.reason().into());
    }
    if body.len() > live.policy.max_key_body {
        return Err(Reason::BodyTooLarge.into());
    }
    out["scope"] = scope(proxy, live, head, arrival).await;
    let control = Control::of(&head.headers);
    let plan = proxy.understand_read(live, head, route, body, &control, arrival).await?;
    let plan = proxy.at_this_time(plan).await?;
    if let Some(until) = plan.until {
        out["holds_until_ms"] = until.into();
    }
    out["key"] = plan.key.to_string().into();
    out["target"] = plan.target.to_string().into();
    out["rule"] = plan.ruling.rule.map_or(Value::Null, Value::from);
    let view = proxy.validate(live, &plan, &control, head, arrival).await?;
    out["verdict"] = "cacheable".into();
    out["indices"] =
        view.generation.metadata().names().iter().map(AsRef::as_ref).collect::<Vec<&str>>().into();
    out["generation"] = view.generation.tag().to_string().into();
    if let Some(started) = view.started {
        out["reading_age_ms"] = millis(started.elapsed()).into();
    }
    let entry = proxy.store.get(&plan.key);
    out["stored"] = entry.is_some().into();
    if let Some(entry) = entry {
        out["entry"] = json!({
            "state": match decide(&entry, proxy.proof(&view), view.lifetime, proxy.watcher.now()) {
                Decision::Serve { .. } => "current",
                Decision::Superseded => "superseded",
                Decision::Expired => "expired",
            },
            "generation": entry.tag().to_string(),
            "age_ms": millis(entry.asked().age(proxy.watcher.now())),
            "bytes": entry.body().len(),
            "engine_time_ms": millis(entry.cost()),
        });
    }
    Ok(())
}

/// What proves that who asks may still see what it may see, or why nothing does; whatever the verdict is.
async fn scope(proxy: &Proxy, live: &Live, head: &Parts, arrival: Instant) -> Value {
    let anonymous = Identity::of(&head.headers, &live.headers).is_anonymous();
    let no = |state: &str, refusal: &Refusal| {
        json!({
            "state": state,
            "reason": refusal.reason.name(),
            "place": refusal.place,
            "help": refusal.reason.help(),
        })
    };
    if proxy.unwatched() {
        return no("unproven", &Refusal::at(Reason::ScopeUnknown, "freshness.ttl_only"));
    }
    let found = proxy.scope.of(&live.headers, anonymous, &head.headers, Needed::since(arrival));
    let mut scope = match tokio::time::timeout(proxy.watcher.patience(), found).await {
        Err(_) => no("unknown", &Refusal::at(Reason::ScopeUnknown, "timeout")),
        Ok(Err(refusal)) => no("unknown", &refusal),
        Ok(Ok(Scoped::Unproven(refusal))) => no("unproven", &refusal),
        Ok(Ok(Scoped::Free)) => json!({"state": "free"}),
        Ok(Ok(Scoped::Proven(proven))) => {
            json!({"state": "proven", "age_ms": millis(proven.started.elapsed())})
        }
    };
    scope["by"] = proxy.scope.proven_by().into();
    if let Some(ttl) = live.policy.entry_ttl {
        scope["entry_ttl_ms"] = millis(ttl).into();
    }
    scope
}

fn refuse(out: &mut Value, refusal: &Refusal) {
    out["verdict"] = "bypass".into();
    out["reason"] = refusal.reason.name().into();
    out["place"] = refusal.place.as_str().into();
    out["help"] = refusal.reason.help().into();
    out["advice"] = advice_for(refusal).into();
}

fn headers(given: serde_json::Map<String, Value>, has_body: bool) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let values = match value {
            Value::Array(list) => list,
            one => vec![one],
        };
        let name = HeaderName::try_from(name.as_str())
            .map_err(|_| format!("headers: no header is called [{name}]"))?;
        for value in values {
            let text = value.as_str().ok_or_else(|| format!("headers.{name}: must be text"))?;
            let value =
                HeaderValue::try_from(text).map_err(|_| format!("headers.{name}: not a header's value"))?;
            headers.append(name.clone(), value);
        }
    }
    if has_body {
        headers.entry(http::header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    }
    Ok(headers)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
