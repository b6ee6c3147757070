//! Search templates: the engine is asked what a template renders to, and that is judged and keyed as the search that it
//! is. What a text and its parameters render to does not change, so it is asked once.
//!
//! Entries are not shared with `_search`: who may search need not be allowed to use templates, and OpenSearch answers
//! in another shape.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{Method, StatusCode, Uri};

use super::fill::{Arrived, bare_head};
use super::plans::Known;
use super::{Live, Proxy};
use crate::cache::{Bounded, shows_a_cache};
use crate::control::Control;
use crate::elastic::api::{Api, Route};
use crate::elastic::template;
use crate::key::fields::{Field, Fields};
use crate::outcome::{Reason, Refusal};
use crate::plan::is_json;
use crate::upstream::Collected;

/// What templates render to, by the digest of the request.
pub(super) type Renderings = Bounded<[u8; 32], Bytes>;

/// Renderings of at most so many bytes.
pub(super) fn renderings(bytes: u64) -> Renderings {
    const MAP: usize = 300;
    Bounded::weighed(bytes, |_: &[u8; 32], text: &Bytes| u32::try_from(MAP + text.len()).unwrap_or(u32::MAX))
}

impl Proxy {
    /// Classify and key any of the reads; of a template, what it renders to.
    pub(crate) async fn understand_read(
        &self,
        live: &Live,
        head: &Parts,
        route: &Route<'_>,
        body: &Bytes,
        control: &Control,
    ) -> Result<Arc<Known>, Refusal> {
        if route.api != Api::SearchTemplate {
            return self.understand(live, head, route, body, control);
        }
        let ruling = live.policy.ruling(route.index.as_deref().unwrap_or("_all"), route.api);
        // what is not cached whatever it renders to is not rendered
        let body = match live.policy.enabled && ruling.cache && !control.no_store {
            true => Box::pin(self.rendered(live, head, body, control)).await?,
            false => body.clone(),
        };
        self.understand(live, head, route, &body, control)
    }

    /// The search that a template renders to.
    async fn rendered(
        &self,
        live: &Live,
        head: &Parts,
        body: &Bytes,
        control: &Control,
    ) -> Result<Bytes, Refusal> {
        if head.headers.contains_key(CONTENT_ENCODING) {
            return Err(Refusal::at(Reason::ContentType, CONTENT_ENCODING.as_str()));
        }
        // another type is another text of the same bytes
        let kind = head.headers.get(CONTENT_TYPE).filter(|kind| kind.to_str().is_ok_and(is_json));
        let kind = kind.ok_or_else(|| Refusal::at(Reason::ContentType, CONTENT_TYPE.as_str()))?;
        template::judge(body)?;
        let key = {
            let engine = self.engine.load();
            let mut fields = Fields::new("escache 1 rendering");
            fields.put(Field::Engine, engine.cluster_uuid.as_bytes());
            let version = engine.engine.map(|engine| engine.to_string()).unwrap_or_default();
            fields.put(Field::Version, version.as_bytes());
            fields.put(Field::HeaderValue, kind.as_bytes());
            fields.put(Field::Body, body);
            fields.finish()
        };
        if let Some(known) = self.renderings.get(&key) {
            return Ok(known);
        }
        let refusal = |reason| Refusal::at(reason, "_render/template");
        if control.only_if_cached {
            return Err(refusal(Reason::Status));
        }
        let Some(_permit) = self.fills.permit().await else { return Err(refusal(Reason::MissesLimit)) };
        // with the client's own credentials: who may not use templates learns nothing by it
        let mut asking = bare_head(head);
        asking.method = Method::POST;
        asking.uri = Uri::from_static(template::RENDER);
        let arrived = self.fetch(asking, body.clone(), None).await;
        let Ok(Arrived { head: answer, body, .. }) = arrived else { return Err(refusal(Reason::Status)) };
        if answer.status != StatusCode::OK {
            return Err(refusal(Reason::Status));
        }
        if shows_a_cache(&answer.headers) {
            return Err(refusal(Reason::CacheUnderneath));
        }
        let Collected::Whole(answer) = body else { return Err(refusal(Reason::BodyTooLarge)) };
        let text = template::rendered(&answer).ok_or_else(|| refusal(Reason::NotJson))?;
        if text.len() > live.policy.max_key_body {
            return Err(refusal(Reason::BodyTooLarge));
        }
        let text = Bytes::copy_from_slice(text);
        self.renderings.insert(key, text.clone());
        Ok(text)
    }
}
