//! Classify and key: a request is parsed, judged and keyed, or found in the second map.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;

use super::plans::Planned;
use super::{ClientCertificate, EngineInfo, Live, Proxy};
use crate::control::Control;
use crate::elastic::api::Route;
use crate::key::raw::Sent;
use crate::outcome::{Reason, Refusal};
use crate::plan::{Asked, Context, Plan, plan};

impl Proxy {
    /// Classify and key: the request alone, without what is stored or known of the target. From the second map, if the
    /// request repeats one byte for byte.
    pub(crate) fn understand(
        &self,
        live: &Live,
        head: &Parts,
        route: &Route<'_>,
        body: &Bytes,
        control: &Control,
    ) -> Result<Arc<Planned>, Refusal> {
        if control.no_store {
            return Err(Reason::NoStore.into());
        }
        let engine = self.engine.load();
        let sent = Sent {
            engine: engine.engine,
            cluster: &engine.cluster_uuid,
            certificate: head.extensions.get().map(|ClientCertificate(certificate)| certificate),
            method: &head.method,
            uri: &head.uri,
            headers: &head.headers,
            rules: &live.headers,
            body,
        };
        live.plans.of(&sent, || plan_for(live, &engine, head, route, body))
    }

    /// With a rounded `now`, a question is another one after the next boundary, and has another key.
    pub(crate) async fn at_this_time(&self, plan: Arc<Planned>) -> Result<Arc<Planned>, Refusal> {
        if !plan.terms.now.is_empty()
            && let Some(moment) = Box::pin(self.clocks.span()).await?.until(&plan.terms)?
        {
            let (key, until) = (plan.key.until(moment), Some(moment));
            return Ok(Arc::new(Planned::from(Plan { key, until, ..Plan::clone(&plan) })));
        }
        Ok(plan)
    }
}

/// What is understood of a request by a configuration.
fn plan_for(
    live: &Live,
    engine: &EngineInfo,
    head: &Parts,
    route: &Route<'_>,
    body: &Bytes,
) -> Result<Plan, Refusal> {
    let asked = Asked { route, query: head.uri.query(), headers: &head.headers, body };
    let context = Context {
        engine: engine.engine,
        cluster: &engine.cluster_uuid,
        policy: &live.policy,
        headers: &live.headers,
    };
    let mut plan = plan(&asked, &context)?;
    if let Some(ClientCertificate(certificate)) = head.extensions.get() {
        plan.key = plan.key.of_certificate(certificate);
    }
    Ok(plan)
}
