//! The data listener: sends each request on its way.

use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Response};
use http_body::Body as _;
use tokio::time::Instant;

use super::request_cache::{self, Numbers};
use crate::access;
use crate::budget::hold;
use crate::elastic::api::{Api, Effect, Route, route};
use crate::elastic::params::Params;
use crate::elastic::target::Target;
use crate::error::ProxyError;
use crate::outcome::{CacheStatus, Reason};
use crate::proxy::{ClientAddress, Proxy};
use crate::respond;
use crate::rounds::Needed;
use crate::spans::ServerSpan;
use crate::upstream::{Body, Collected, Stream, collect_answer, tell_of_client};

/// Answers a request of the data listener.
pub async fn answer(
    proxy: &Arc<Proxy>,
    mut head: Parts,
    body: Stream,
    client: ClientAddress,
) -> Response<Body> {
    let began = Instant::now();
    let span = proxy.spans.begin(&mut head, || proxy.engine.load().engine.map(|engine| engine.distribution));
    let client = tell_of_client(&mut head.headers, client);
    let route = route(&head.method, head.uri.path(), head.uri.query());
    let (api, effect) = (route.api, route.effect);
    let came_back = proxy.upstream.note_loop(&head.headers);
    let (response, status) = match api {
        _ if came_back => (respond::error(&ProxyError::Loop), CacheStatus::bypass(Reason::Loop)),
        // boxed, since all that is around it is moved several times with what it contains
        api if api.is_read() => Box::pin(proxy.search(&head, &route, body, client)).await,
        api if api.is_several() => Box::pin(proxy.msearch(&head, &route, body, client)).await,
        _ => {
            let told = if proxy.access.is_on() { told(&head, &route) } else { access::Request::default() };
            let (response, status) = Box::pin(pass(proxy, head, api, effect, body, client)).await;
            return end(proxy, api, began, span, response, status, || told);
        }
    };
    end(proxy, api, began, span, response, status, || told(&head, &route))
}

/// Everything that is not answered from the cache.
async fn pass(
    proxy: &Arc<Proxy>,
    head: Parts,
    api: Api,
    effect: Effect,
    body: Stream,
    client: ClientAddress,
) -> (Response<Body>, CacheStatus) {
    match api {
        Api::RequestCacheStats | Api::NodesRequestCacheStats => {
            statistics(proxy, head, api, body, client).await
        }
        Api::ClearCache => {
            let target = purges(&route(&head.method, head.uri.path(), head.uri.query()), head.uri.query());
            let Some(target) = target else { return proxy.pass(head, effect, body, client).await };
            let clear = move |proxy: Arc<Proxy>| async move { clear(&proxy, &target).await };
            proxy.pass_and_purge(head, body, client, clear).await
        }
        _ if effect == Effect::Purge => {
            let everything = |proxy: Arc<Proxy>| async move {
                proxy.purge(None);
            };
            proxy.pass_and_purge(head, body, client, everything).await
        }
        _ => proxy.pass(head, effect, body, client).await,
    }
}

/// Counts a request, writes its line, ends its span, and adds what escache says of it.
fn end(
    proxy: &Proxy,
    api: Api,
    began: Instant,
    span: Option<Box<ServerSpan>>,
    response: Response<Body>,
    mut status: CacheStatus,
    told: impl FnOnce() -> access::Request,
) -> Response<Body> {
    let took = began.elapsed();
    // whatever would have kept an answer out of the cache, there is none
    if respond::lacks_answer(&response) {
        status.refusal = Some(Reason::NoAnswer.into());
    }
    proxy.stats.count(api as usize, &status, took);
    let answer = access::Answer {
        api: api.name(),
        status: response.status(),
        bytes: response.body().size_hint().exact().or_else(|| content_length(&response)),
        cache: &status,
        own_failure: respond::is_own_failure(&response),
        took,
    };
    proxy.access.tell(&answer, told);
    if let Some(span) = span {
        span.end(answer.status, &status);
    }
    respond::with_status(response, &status)
}

fn told(head: &Parts, route: &Route<'_>) -> access::Request {
    access::Request::of(&head.headers, route.index.as_deref().map(str::to_owned))
}

fn content_length(response: &Response<Body>) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The target whose entries a `_cache/clear` removes; `None` if it leaves the request cache alone.
/// `request=true` alone clears everything, as does no flag (`IndicesService.clearIndexShardCache`).
fn purges(route: &Route<'_>, query: Option<&str>) -> Option<Target> {
    let params = Params::parse(query.unwrap_or_default()).unwrap_or_default();
    let on = |name| params.flag(name).ok().flatten().unwrap_or(false);
    let other =
        on("query") || on("fielddata") || on("file") || params.get("fields").is_some_and(|f| !f.is_empty());
    (on("request") || !other).then(|| Target::new(route.index.as_deref(), &params))
}

/// Removes the entries of a target's indices; all, where it is not certain which these are (R7).
async fn clear(proxy: &Arc<Proxy>, target: &Target) {
    // what is being fetched now was asked for before the clear was done
    proxy.store.raise_epoch();
    let everything = target.expression.is_empty() || proxy.unwatched();
    let names = if everything {
        None
    } else {
        let reading = proxy.watcher.reading(target, Needed::since(Instant::now())).await;
        reading.found.ok().map(|generation| Arc::clone(generation.metadata().names()))
    };
    let removed = proxy.purge(names.as_deref());
    tracing::info!(target = %target, removed, "cleared");
}

/// The engine's own answer with the proxy's numbers in it. The engine is asked first: it authorises, and shapes.
async fn statistics(
    proxy: &Arc<Proxy>,
    mut head: Parts,
    api: Api,
    body: Stream,
    client: ClientAddress,
) -> (Response<Body>, CacheStatus) {
    let query = head.uri.query().unwrap_or_default().to_owned();
    let (kept, own): (Vec<&str>, Vec<&str>) =
        query.split('&').filter(|p| !p.is_empty()).partition(|pair| !pair.starts_with("escache="));
    let ours = !own.contains(&"escache=false");
    if !own.is_empty() {
        let path = match kept.join("&") {
            rest if rest.is_empty() => head.uri.path().to_owned(),
            rest => format!("{}?{rest}", head.uri.path()),
        };
        if let Ok(path) = PathAndQuery::try_from(path) {
            head.uri = path.into();
        }
    }
    let status = CacheStatus::bypass(Reason::Api);
    if !ours {
        return (proxy.forward(head, Body::Stream(body), client).await, status);
    }
    head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let response = proxy.forward(head, Body::Stream(body), client).await;
    let json =
        response.headers().get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    if !response.status().is_success() || !json || response.headers().contains_key(CONTENT_ENCODING) {
        return (response, status);
    }
    let (mut parts, body) = response.into_parts();
    let body = match body {
        Body::Stream(stream) => match collect_answer(stream, 64 << 20, &proxy.budget).await {
            Ok(Collected::Whole(body)) => body,
            Ok(Collected::TooLong(body, _)) => return (Response::from_parts(parts, body), status),
            Err(error) => return (respond::error(&error.of_answer()), status),
        },
        other => return (Response::from_parts(parts, other), status),
    };
    proxy.store.settle();
    let params = Params::parse(&query).unwrap_or_default();
    let on = |name| params.flag(name).ok().flatten().unwrap_or(false);
    let numbers =
        Numbers { total: proxy.stats.total(), by_index: proxy.stats.by_index(), human: on("human") };
    let replaced = request_cache::replace(&body, &numbers, api, on("pretty"));
    parts.headers.remove(CONTENT_LENGTH);
    let body = match replaced {
        Some(replaced) => {
            let room = proxy.budget.take_anyway(replaced.len());
            hold(replaced.into(), room)
        }
        None => body,
    };
    (Response::from_parts(parts, Body::whole(body)), status)
}
