//! A request that may be cached, understood: parsed, judged and given its key. A pure function of its text.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, RANGE, UPGRADE};

use crate::cacheability::{self, Question, Terms};
use crate::coding::{self, NotInflated};
use crate::elastic::answer::Evidence;
use crate::elastic::api::{Api, Engine, Route};
use crate::elastic::filter_path::{self, Widening};
use crate::elastic::json::{self, Json};
use crate::elastic::params::Params;
use crate::elastic::target::Target;
use crate::key::headers::{HeaderRules, has_signed_head};
use crate::key::identity::Identity;
use crate::key::{CacheKey, Inputs};
use crate::outcome::{Reason, Refusal};
use crate::policy::{Policy, Ruling};

/// A request as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Where it goes.
    pub route: &'a Route<'a>,
    /// The raw query string.
    pub query: Option<&'a str>,
    /// The headers as the client sent them.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

/// What a plan depends on beside the request.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The engine, if it is known.
    pub engine: Option<Engine>,
    /// Its cluster uuid, if it is known.
    pub cluster: &'a str,
    /// What the operator decided.
    pub policy: &'a Policy,
    /// What headers mean.
    pub headers: &'a HeaderRules,
}

/// What to do with a request that may be cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The endpoint.
    pub api: Api,
    /// The key.
    pub key: CacheKey,
    /// The target.
    pub target: Target,
    /// Under which terms the answer holds.
    pub terms: Terms,
    /// `request_cache`, if the request says it.
    pub request_cache: Option<bool>,
    /// Whether nobody is named by the request.
    pub anonymous: bool,
    /// How the fill's answer is cut.
    pub widening: Widening,
    /// The query string of the fill, where it differs from the request's.
    pub fill_query: Option<String>,
    /// What the operator's rules say.
    pub ruling: Ruling,
    /// Until when the rounded `now` of the terms holds, in milliseconds since 1970; known when the clocks are.
    pub until: Option<i64>,
    /// What stands for the cluster state in which its stored template was rendered; `None` if it has none.
    pub within: Option<u64>,
}

impl Plan {
    /// Bytes that this value holds beyond its own size, about.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        let query = self.fill_query.as_ref().map_or(0, String::len);
        self.target.heap_size() + query + self.terms.heap_size()
    }
}

/// Understands a request.
///
/// # Errors
/// The reason why it is not answered from the cache, whatever is stored.
pub fn plan(asked: &Asked<'_>, context: &Context<'_>) -> Result<Plan, Refusal> {
    if !context.policy.enabled {
        return Err(Refusal::at(Reason::Off, "cache.enabled"));
    }
    if asked.headers.contains_key(CONTENT_ENCODING) {
        let (headers, body) = decoded(asked, context.policy.max_key_body)?;
        return plan_decoded(&Asked { headers: &headers, body: &body, ..*asked }, context);
    }
    plan_decoded(asked, context)
}

/// The same request as if its client had not compressed the body: the engines read both alike.
fn decoded(asked: &Asked<'_>, limit: usize) -> Result<(HeaderMap, Bytes), Refusal> {
    let body = inflated(asked.headers, asked.body, limit)?;
    let mut headers = asked.headers.clone();
    headers.remove(CONTENT_ENCODING);
    Ok((headers, body))
}

/// What a client has compressed: no more than `limit` bytes.
pub(crate) fn inflated(headers: &HeaderMap, body: &[u8], limit: usize) -> Result<Bytes, Refusal> {
    let odd = || Refusal::at(Reason::ContentType, CONTENT_ENCODING.as_str());
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    if !codings.next().is_some_and(coding::is_gzip) || codings.next().is_some() {
        return Err(odd());
    }
    coding::gunzip(body, limit).map_err(|reason| match reason {
        NotInflated::TooLong => Reason::BodyTooLarge.into(),
        NotInflated::Odd => odd(),
    })
}

fn plan_decoded(asked: &Asked<'_>, context: &Context<'_>) -> Result<Plan, Refusal> {
    let policy = context.policy;
    let api = asked.route.api;
    check_headers(asked)?;
    let identity = Identity::of(asked.headers, context.headers);
    let expression = asked.route.index.as_deref();
    let ruling = policy.ruling(expression.unwrap_or("_all"), api);
    if !ruling.cache {
        return Err(Refusal::at(Reason::Rule, format!("rules[{}]", ruling.rule.unwrap_or_default())));
    }

    let params = Params::parse(asked.query.unwrap_or_default())?;
    let request_cache = params.flag("request_cache")?;
    if request_cache == Some(false) {
        return Err(Reason::RequestCacheFalse.into());
    }
    let source = source(asked, &params)?;
    if !source.is_empty() && !api.takes_body() {
        return Err(Refusal::at(Reason::UnknownWord, "body"));
    }
    let mut body = if source.is_empty() { None } else { Some(json::parse(&source)?) };
    // a search without a body and one with an empty one ask the same; others look at `q` only where there is no body
    body.take_if(|body| {
        api == Api::Search && matches!(body, Json::Object(object) if object.members.is_empty())
    });
    // a name that is written with escapes is read by the engine, and was not by the route
    if api == Api::AsynchronousSearch && params.get("index") != expression {
        return Err(Refusal::at(Reason::QueryString, "index"));
    }
    let params = params.without(&["source", "source_content_type"]);
    let question =
        Question { api, engine: context.engine, params: &params, body: body.as_mut(), rounded_now: true };
    let dated = expression.map_or(Ok(Vec::new()), cacheability::judge_target)?;
    let mut terms = cacheability::judge(question)?;
    terms.now.extend(dated);
    if let Some(body) = &body {
        terms.boosted = cacheability::boosted(body, expression, &params);
    }
    if terms.hits && !ruling.hits && request_cache != Some(true) {
        return Err(Reason::Hits.into());
    }
    check_representation(asked.headers, &params)?;
    let (widening, fill_query) = match (params.get("filter_path"), Evidence::of(api)) {
        (None, _) | (Some(_), Evidence::Status) => (Widening::None, None),
        (Some(_), Evidence::Members) => {
            return Err(Refusal::at(Reason::PartialityUnknown, "filter_path"));
        }
        (Some(filter), Evidence::Outline) => match filter_path::widen(filter)? {
            Widening::None => (Widening::None, None),
            Widening::Add => (Widening::Add, Some(widened(asked.query.unwrap_or_default()))),
        },
    };
    let key = CacheKey::of(&Inputs {
        engine: context.cluster,
        api: api.name(),
        target: expression,
        detail: asked.route.detail,
        params: &params,
        headers: asked.headers,
        rules: context.headers,
        identity: &identity,
        body: body.as_ref(),
    });
    let target = Target::new(expression, &params);
    let anonymous = identity.is_anonymous();
    let (until, within) = (None, None);
    Ok(Plan {
        api,
        key,
        target,
        terms,
        request_cache,
        anonymous,
        widening,
        fill_query,
        ruling,
        until,
        within,
    })
}

/// Only JSON is stored, so what will not be JSON need not be asked for in a special way.
fn check_representation(headers: &HeaderMap, params: &Params<'_>) -> Result<(), Refusal> {
    if params.get("format").is_some_and(|format| format != "json") {
        return Err(Refusal::at(Reason::AnswerType, "format"));
    }
    let json = |kind: &str| is_json(kind) || matches!(kind.split(';').next(), Some("*/*" | "application/*"));
    let accepts = headers
        .get_all(ACCEPT)
        .iter()
        .all(|value| value.to_str().is_ok_and(|value| value.split(',').any(|kind| json(kind.trim()))));
    if accepts { Ok(()) } else { Err(Refusal::at(Reason::AnswerType, ACCEPT.as_str())) }
}

fn check_headers(asked: &Asked<'_>) -> Result<(), Refusal> {
    // with the last one a wildcard resolves to system indices, which no reading sees
    for name in [RANGE, UPGRADE, HeaderName::from_static("x-elastic-product-origin")] {
        if asked.headers.contains_key(&name) {
            return Err(Refusal::at(Reason::Header, name.as_str()));
        }
    }
    // a fill asks in other words: for more of the answer, in no coding, from no cache
    if has_signed_head(asked.headers) {
        return Err(Refusal::at(Reason::Header, "signature"));
    }
    let kind = asked.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if asked.body.is_empty() || kind.is_some_and(is_json) {
        Ok(())
    } else {
        Err(Refusal::at(Reason::ContentType, CONTENT_TYPE.as_str()))
    }
}

pub(crate) fn is_json(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence == "application/vnd.elasticsearch+json"
}

/// The text of the question: the body, or the parameter `source`.
fn source<'a>(asked: &Asked<'a>, params: &Params<'_>) -> Result<Cow<'a, [u8]>, Refusal> {
    let Some(source) = params.get("source") else {
        // the engines refuse it where nothing consumes it
        return match params.get("source_content_type") {
            None => Ok(Cow::Borrowed(asked.body)),
            Some(_) => Err(Refusal::at(Reason::UnknownParameter, "source_content_type")),
        };
    };
    if !asked.body.is_empty() {
        return Err(Reason::SourceAndBody.into());
    }
    match params.get("source_content_type") {
        Some(kind) if is_json(kind) => Ok(Cow::Owned(source.as_bytes().to_vec())),
        _ => Err(Refusal::at(Reason::UnknownParameter, "source_content_type")),
    }
}

/// The raw query string with what a fill needs added to `filter_path`.
fn widened(query: &str) -> String {
    let widen = |pair: &str| {
        let is_filter = Params::parse(pair).is_ok_and(|p| p.get("filter_path").is_some());
        if is_filter { format!("{pair},{}", filter_path::NEEDED) } else { pair.to_owned() }
    };
    query.split('&').map(widen).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};

    use super::*;
    use crate::elastic::api::route;

    fn check(request: &str, headers: &[(&'static str, &'static str)], body: &str) -> Result<Plan, Reason> {
        let (method, target) = request.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        let route = route(&method.parse::<Method>().unwrap(), path, query);
        let headers: HeaderMap =
            headers.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
        let asked = Asked { route: &route, query, headers: &headers, body: body.as_bytes() };
        let (policy, rules) = (Policy::default(), HeaderRules::default());
        let context = Context { engine: None, cluster: "c", policy: &policy, headers: &rules };
        plan(&asked, &context).map_err(|refusal| refusal.reason)
    }

    const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

    #[test]
    fn one_question_has_one_key_however_it_is_asked() {
        let body = r#"{"query":{"match_all":{}}}"#;
        let key = check("POST /logs/_search", JSON, body).unwrap().key;
        assert_eq!(check("GET /logs/_search", JSON, body).unwrap().key, key);
        assert_eq!(
            check("POST /logs/_search?request_cache=true", JSON, " {\"query\" : {\"match_all\":{}}}\n")
                .unwrap()
                .key,
            key
        );
        assert_ne!(check("POST /log/_search", JSON, body).unwrap().key, key);
        assert_ne!(check("POST /logs/_count", JSON, body).unwrap().key, key);
        assert_ne!(check("POST /logs/_search?size=1", JSON, body).unwrap().key, key);
    }

    #[test]
    fn a_compressed_body_asks_what_it_contains() {
        let ask = |coding: &'static [&'static str], body: &[u8]| {
            let route = route(&Method::POST, "/logs/_search", None);
            let mut headers: HeaderMap =
                coding.iter().map(|coding| (CONTENT_ENCODING, HeaderValue::from_static(coding))).collect();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let asked = Asked { route: &route, query: None, headers: &headers, body };
            let policy = Policy { max_key_body: 1_000, ..Policy::default() };
            let rules = HeaderRules::default();
            let context = Context { engine: None, cluster: "u", policy: &policy, headers: &rules };
            plan(&asked, &context).map(|plan| plan.key).map_err(|refusal| refusal.reason)
        };
        let body = br#"{"query":{"match_all":{}}}"#;
        let coded = coding::gzip(body);
        assert_eq!(ask(&["gzip"], &coded), ask(&[], body));
        assert!(ask(&["GZIP"], &coded).is_ok());
        assert_ne!(ask(&["gzip"], &coding::gzip(br#"{"query":{"match_none":{}}}"#)), ask(&[], body));
        for codings in
            [&["deflate"][..], &["gzip, gzip"], &["gzip", "gzip"], &["identity"], &["x-gzip"], &[""]]
        {
            assert_eq!(ask(codings, &coded), Err(Reason::ContentType), "{codings:?}");
        }
        assert_eq!(ask(&["gzip"], body), Err(Reason::ContentType));
        assert_eq!(ask(&["gzip"], b""), Err(Reason::ContentType));
        assert_eq!(ask(&["gzip"], &coding::gzip(&[b' '; 1_001])), Err(Reason::BodyTooLarge));
        assert_eq!(ask(&["gzip"], &coding::gzip(b"{")), Err(Reason::NotJson));
    }

    #[test]
    fn an_identity_has_a_key_of_its_own() {
        let anonymous = check("GET /logs/_search", &[], "").unwrap();
        let named = check("GET /logs/_search", &[("authorization", "Basic x")], "").unwrap();
        assert!(anonymous.anonymous && !named.anonymous);
        assert_ne!(anonymous.key, named.key);
    }

    #[test]
    fn source_is_a_body() {
        let source = "GET /logs/_search?source=%7B%7D&source_content_type=application/json";
        assert!(check(source, &[], "").is_ok());
        assert_eq!(check(source, JSON, "{}"), Err(Reason::SourceAndBody));
        assert_eq!(check("GET /logs/_search?source=%7B%7D", &[], ""), Err(Reason::UnknownParameter));
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        assert_eq!(check("POST /logs/_search", &[], "{}"), Err(Reason::ContentType));
        assert_eq!(
            check("POST /logs/_search", &[("content-type", "application/yaml")], "a: 1"),
            Err(Reason::ContentType)
        );
        assert_eq!(
            check(
                "POST /logs/_search",
                &[("content-type", "application/json"), ("content-encoding", "gzip")],
                "{}"
            ),
            Err(Reason::ContentType)
        );
        assert_eq!(check("POST /logs/_search", JSON, "{"), Err(Reason::NotJson));
        assert_eq!(check("GET /logs/_search?request_cache=false", &[], ""), Err(Reason::RequestCacheFalse));
        assert_eq!(check("GET /other:logs/_search", &[], ""), Err(Reason::RemoteIndex));
        assert_eq!(check("GET /logs/_search", &[("range", "bytes=0-1")], ""), Err(Reason::Header));
        let signed = ("authorization", "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=b");
        assert_eq!(check("GET /logs/_search", &[signed], ""), Err(Reason::Header));
    }

    #[test]
    fn a_filter_path_is_widened_for_the_fill() {
        let plan = check("GET /logs/_search?pretty&filter%5Fpath=hits.hits&size=1", &[], "").unwrap();
        assert_eq!(
            plan.fill_query.as_deref(),
            Some("pretty&filter%5Fpath=hits.hits,_shards,timed_out,terminated_early&size=1")
        );
        assert_eq!(check("GET /logs/_search?filter_path=**.total", &[], ""), Err(Reason::PartialityUnknown));
    }
}
