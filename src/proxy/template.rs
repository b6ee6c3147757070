//! Search templates: the engine is asked what a template renders to, and that is judged and keyed as the search that it
//! is. What a text and its parameters render to does not change, so it is asked once.
//!
//! A stored template is in the cluster state, where nothing tells of a change but the state's version. So it is rendered
//! anew in each state, an answer rests on that state too, and the node that renders or searches must have been in just
//! this state until it had answered: another one may have got the next template before the master shows the next state.
//!
//! Entries are not shared with `_search`: who may search need not be allowed to use templates, and OpenSearch answers
//! in another shape.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri};
use tokio::time::Instant;

use super::fill::{Arrived, bare_head};
use super::plans::Planned;
use super::{EngineInfo, Live, Proxy};
use crate::cache::{Bounded, shows_a_cache};
use crate::cacheability::{self, Basis};
use crate::control::Control;
use crate::elastic::api::{Api, Route};
use crate::elastic::params::Params;
use crate::elastic::target::Target;
use crate::elastic::template::{self, Kind};
use crate::generation::StateVersion;
use crate::key::fields::{Field, Fields};
use crate::outcome::{Reason, Refusal};
use crate::plan::{Plan, is_json};
use crate::policy::Ruling;
use crate::rounds::Needed;
use crate::upstream::{Collected, Excess};

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
        arrival: Instant,
    ) -> Result<Arc<Planned>, Refusal> {
        if route.api != Api::SearchTemplate {
            return self.understand(live, head, route, body, control);
        }
        // boxed: other reads need no room for it
        Box::pin(self.understand_template(live, head, route, body, control, arrival)).await
    }

    async fn understand_template(
        &self,
        live: &Live,
        head: &Parts,
        route: &Route<'_>,
        body: &Bytes,
        control: &Control,
        arrival: Instant,
    ) -> Result<Arc<Planned>, Refusal> {
        let ruling = live.policy.ruling(route.index.as_deref().unwrap_or("_all"), route.api);
        // what is not cached whatever it renders to is not rendered
        if !live.policy.enabled || !ruling.cache || control.no_store {
            return self.understand(live, head, route, body, control);
        }
        let (head, body) = self.plain(head, body, live.policy.max_key_body)?;
        let stored = match template::judge(&body)? {
            Kind::Inline => None,
            Kind::Stored => Some(self.state_of(live, &head, route, &ruling, control, arrival).await?),
        };
        let text = self.rendered(live, &head, &body, stored.as_ref(), control).await?;
        let plan = self.understand(live, &head, route, &text, control)?;
        let Some(state) = stored else { return Ok(plan) };
        let mut plan = Plan::clone(&plan);
        plan.key = plan.key.of_stored(blake3::hash(&body).as_bytes());
        plan.terms.basis = Basis::ReadersAndState;
        plan.within = Some(state.digest());
        Ok(Arc::new(Planned::from(plan)))
    }

    /// The cluster state in which a stored template is rendered: as new as the rules want the reading of the target.
    async fn state_of(
        &self,
        live: &Live,
        head: &Parts,
        route: &Route<'_>,
        ruling: &Ruling,
        control: &Control,
        arrival: Instant,
    ) -> Result<StateVersion, Refusal> {
        if self.unwatched() {
            return Err(Reason::StoredTemplate.into());
        }
        let params = Params::parse(head.uri.query().unwrap_or_default())?;
        let target = Target::new(route.index.as_deref(), &params);
        if let Some(expression) = route.index.as_deref() {
            cacheability::judge_target(expression)?;
        }
        let bound = control.bound(ruling.max_staleness, live.policy.max_stale);
        let needed = Needed::within(bound, arrival).marked(self.watcher.last_mark());
        let reading = self.watcher.reading_in_time(&target, needed).await;
        Ok(reading.found?.metadata().version().clone())
    }

    /// The search that a template renders to; a stored one in this cluster state.
    async fn rendered(
        &self,
        live: &Live,
        head: &Parts,
        body: &Bytes,
        stored: Option<&StateVersion>,
        control: &Control,
    ) -> Result<Bytes, Refusal> {
        // another type is another text of the same bytes
        let kind = head.headers.get(CONTENT_TYPE).filter(|kind| kind.to_str().is_ok_and(is_json));
        let kind = kind.ok_or_else(|| Refusal::at(Reason::ContentType, CONTENT_TYPE.as_str()))?;
        let key = rendering_key(&self.engine.load(), kind, body, stored);
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
        let arrived = self.fetch(asking, body.clone(), stored).await;
        let Ok(Arrived { giver, head: answer, body }) = arrived else { return Err(refusal(Reason::Status)) };
        if answer.status != StatusCode::OK {
            return Err(refusal(Reason::Status));
        }
        if shows_a_cache(&answer.headers) {
            return Err(refusal(Reason::CacheUnderneath));
        }
        let answer = match body {
            Collected::Whole(answer) => answer,
            Collected::TooLong(_, Excess::Limit) => return Err(refusal(Reason::BodyTooLarge)),
            Collected::TooLong(_, Excess::Memory) => return Err(refusal(Reason::MemoryLimit)),
        };
        let text = template::rendered(&answer).ok_or_else(|| refusal(Reason::NotJson))?;
        if text.len() > live.policy.max_key_body {
            return Err(refusal(Reason::BodyTooLarge));
        }
        // what a node renders that is in another state may be another template
        if let Some(state) = stored
            && !(giver.applied && self.upstream.is_still_in(giver, state).await)
        {
            return Err(refusal(Reason::HostLagging));
        }
        let text = Bytes::copy_from_slice(text);
        self.renderings.insert(key, text.clone());
        Ok(text)
    }
}

/// What is rendered, by which engine; a stored template in this cluster state.
fn rendering_key(
    engine: &EngineInfo,
    kind: &HeaderValue,
    body: &[u8],
    stored: Option<&StateVersion>,
) -> [u8; 32] {
    let mut fields = Fields::new("escache 1 rendering");
    fields.put(Field::Engine, engine.cluster_uuid.as_bytes());
    let version = engine.engine.map(|engine| engine.to_string()).unwrap_or_default();
    fields.put(Field::Version, version.as_bytes());
    fields.put(Field::HeaderValue, kind.as_bytes());
    if let Some(StateVersion { cluster_uuid, version, state_uuid }) = stored {
        fields.put(Field::Engine, cluster_uuid.as_bytes());
        fields.put(Field::State, &version.to_le_bytes());
        fields.put(Field::State, state_uuid.as_bytes());
    }
    fields.put(Field::Body, body);
    fields.finish()
}
