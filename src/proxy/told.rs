//! What people are told of the searches that the engine is asked: which shape they have, what they cost, and why they
//! were not answered from the cache. It is found out where the engine works, and never on the way of a hit.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri};

use super::{ClientCertificate, Live, Proxy};
use crate::elastic::api::route;
use crate::elastic::shape::shape;
use crate::key::headers::HeaderRole;
use crate::outcome::{Outcome, Refusal};
use crate::plan::Plan;
use crate::stats::searches::{Described, Example, RowId};

/// The longest body that is kept as an example, in bytes.
const MOST_EXAMPLE: usize = 4 << 10;

/// A search as it is sent to the engine. Cheap to make.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    method: Method,
    uri: Uri,
    negotiated: Negotiated,
    body: Bytes,
    identity: bool,
}

/// `Accept` and `Content-Type`: in the key of every search, and no secret.
type Negotiated = [Option<HeaderValue>; 2];

fn negotiated(headers: &HeaderMap) -> Negotiated {
    [ACCEPT, CONTENT_TYPE].map(|name| headers.get(name).cloned())
}

/// Whether a request says who asks.
fn has_identity(live: &Live, head: &Parts) -> bool {
    let named = head.headers.keys().any(|name| live.headers.role(name) == HeaderRole::Identity);
    named || head.extensions.get::<ClientCertificate>().is_some()
}

impl Sent {
    /// What there is to tell of this request.
    pub(super) fn of(live: &Live, head: &Parts, body: &Bytes) -> Sent {
        let (identity, negotiated) = (has_identity(live, head), negotiated(&head.headers));
        Sent { method: head.method.clone(), uri: head.uri.clone(), negotiated, body: body.clone(), identity }
    }

    /// A search of a multi search, as the `_search` that it is.
    pub(super) fn of_item(plan: &Plan, headers: &HeaderMap, body: Bytes) -> Sent {
        let path = plan.target.path();
        let uri = format!("/{path}/{}", plan.api.of_items()).parse().unwrap_or_default();
        let negotiated = negotiated(headers);
        Sent { method: Method::POST, uri, negotiated, body, identity: !plan.anonymous }
    }

    /// A search of a multi search that is not understood as far as its target: that of the path stands for it.
    pub(super) fn of_head(live: &Live, head: &Parts, body: Bytes) -> Sent {
        let path = head.uri.path().replace("/_msearch", "/_search");
        let identity = has_identity(live, head);
        let (uri, negotiated) = (path.parse().unwrap_or_default(), [None, None]);
        Sent { method: Method::POST, uri, negotiated, body, identity }
    }

    fn described(&self) -> Described {
        let route = route(&self.method, self.uri.path(), self.uri.query());
        Described {
            api: route.api.name(),
            target: route.index.as_deref().unwrap_or("_all").chars().take(200).collect(),
            shape: shape(self.uri.query(), &self.body),
        }
    }

    fn example(&self) -> Option<Example> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        if self.body.len() + path.len() > MOST_EXAMPLE {
            return None;
        }
        // what is no text, such as a compressed body, explains nothing
        let body = std::str::from_utf8(&self.body).ok()?.to_owned();
        let headers = ["accept", "content-type"].into_iter().zip(&self.negotiated);
        let headers =
            headers.filter_map(|(name, value)| Some((name, value.as_ref()?.to_str().ok()?.to_owned())));
        Some(Example {
            method: self.method.to_string(),
            path: path.to_owned(),
            headers: headers.collect(),
            body,
            identity: self.identity,
        })
    }
}

impl Proxy {
    /// The engine was asked this, and took so long.
    pub(super) fn tell(
        &self,
        sent: &Sent,
        took: Duration,
        outcome: Outcome,
        refusal: Option<&Refusal>,
    ) -> RowId {
        self.stats.engine.add(took);
        self.stats.searches.asked(sent.described(), took, outcome, refusal, || sent.example())
    }

    /// The engine is asked this together with others, and nobody knows what it takes for it alone.
    pub(super) fn tell_refused(&self, sent: &Sent, refusal: &Refusal) {
        let (none, bypass) = (Duration::ZERO, Outcome::Bypass);
        self.stats.searches.asked(sent.described(), none, bypass, Some(refusal), || sent.example());
    }
}
