//! The doors of multi searches: what shows that the engine would take one that is answered from the store alone.

use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

use super::items::{Item, Judged};
use crate::cache::{Audience, Epoch, Stamp};
use crate::elastic::api::Api;
use crate::elastic::msearch::Form;
use crate::elastic::params::Params;
use crate::key::identity::Identity;
use crate::key::{CacheKey, Inputs};
use crate::proxy::serve::Hit;
use crate::proxy::{ClientCertificate, Live, Proxy, View};

/// That the engine takes multi searches from who asks, in this representation. Who may search need not be allowed to
/// (OpenSearch has a permission of its own, and `rest.action.multi.allow_explicit_index` forbids header lines to name
/// indices), so without such a proof one search is asked although all are in the store.
#[derive(Debug)]
pub struct Door {
    /// Whether a header line named indices.
    pub(super) explicit: bool,
    /// The nodes, with the settings that they were started with.
    pub(super) nodes: [u8; 32],
    /// The permissions of who asked.
    pub(super) audience: Audience,
    pub(super) asked: Stamp,
    pub(super) epoch: Epoch,
    /// The headers of the answer.
    pub(super) headers: HeaderMap,
    /// How it writes an item.
    pub(super) form: Form,
}

impl Proxy {
    /// What the doors of a request are known by: who asks, and in which representation.
    pub(super) fn door_key(&self, live: &Live, api: Api, head: &Parts) -> CacheKey {
        let key = CacheKey::of(&Inputs {
            engine: &self.engine.load().cluster_uuid,
            api: api.name(),
            target: None,
            detail: None,
            params: &Params::default(),
            headers: &head.headers,
            rules: &live.headers,
            identity: &Identity::of(&head.headers, &live.headers),
            body: None,
        });
        let certificate = head.extensions.get::<ClientCertificate>();
        certificate.map_or(key, |certificate| key.of_certificate(&certificate.0))
    }

    /// The doors that let any of these searches through.
    pub(super) fn doors_of(&self, door: CacheKey, items: &[Item<'_>]) -> Vec<Arc<Door>> {
        let views = || items.iter().filter_map(|item| item.judged.as_ref().ok()).map(|known| &known.view);
        let doors = [true, false].into_iter().filter_map(|explicit| self.doors.get(&(door, explicit)));
        doors.filter(|door| views().any(|view| self.opens(door, false, view))).collect()
    }

    /// Which hit has to be asked all the same, because nothing else shows that the engine would take the request.
    pub(super) fn knock(
        &self,
        items: &[Item<'_>],
        hits: &[Option<Hit>],
        doors: &[Arc<Door>],
    ) -> Option<usize> {
        let asked = || items.iter().zip(hits).filter(|(_, hit)| hit.is_none()).map(|(item, _)| item);
        // one that bypasses has a header line that perhaps is not understood: it shows nothing
        let shown = asked().any(|item| item.judged.is_ok());
        let shown_explicit = asked().any(|item| item.judged.is_ok() && item.explicit);
        let is_shut = |item: &Item<'_>| {
            let by_this_request = if item.explicit { shown_explicit } else { shown };
            let Ok(Judged { view, .. }) = &item.judged else { return false };
            !by_this_request && !doors.iter().any(|door| self.opens(door, item.explicit, view))
        };
        let shut = |explicit| {
            let mut pairs = items.iter().zip(hits);
            pairs.position(|(item, hit)| hit.is_some() && item.explicit == explicit && is_shut(item))
        };
        shut(true).or_else(|| shut(false))
    }

    fn opens(&self, door: &Door, explicit: bool, view: &View) -> bool {
        (door.explicit || !explicit)
            && door.nodes == view.generation.metadata().nodes()
            && door.audience == view.audience
            && door.epoch == self.store.epoch()
            && view.lifetime.0.is_none_or(|limit| door.asked.age(self.watcher.now()) <= limit)
    }
}
