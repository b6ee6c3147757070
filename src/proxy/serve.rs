//! Look up, and respond from the store.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

use super::{Answered, Proxy, View};
use crate::cache::{Decision, Entry, Proof, decide};
use crate::key::CacheKey;
use crate::outcome::{CacheStatus, Notes, Outcome};
use crate::plan::Plan;
use crate::respond::{self, Representation};

/// An entry that may be served.
pub(crate) struct Hit {
    pub(super) entry: Arc<Entry>,
    /// The time since the start of the reading that has proven it.
    pub(super) age: Duration,
    /// How long its lifetime still is, if that has an end.
    pub(super) ttl: Option<Duration>,
}

impl Proxy {
    /// Look up: an entry that may be served.
    pub(crate) fn look_up(&self, plan: &Plan, view: &View) -> Option<Hit> {
        let entry = self.store.get(&plan.key)?;
        match decide(&entry, self.proof(view), view.lifetime, self.watcher.now()) {
            Decision::Serve { age, ttl } => {
                self.note_proof(view, &entry);
                if let Some(started) = view.started {
                    entry.confirm(view.generation.state(), started);
                }
                return Some(Hit { entry, age, ttl });
            }
            Decision::Superseded => {
                self.note_unconfirmed(view, &entry);
                self.stats.plain.superseded.inc();
                self.keep_superseded(plan, view, &entry);
            }
            Decision::Expired => self.stats.plain.expired.inc(),
        }
        None
    }

    /// What shows that an entry is current.
    pub(crate) fn proof<'v>(&self, view: &'v View) -> Proof<'v> {
        match view.started {
            Some(started) => Proof::Reading { generation: &view.generation, started },
            None => Proof::Unwatched { mark: self.watcher.last_mark() },
        }
    }

    /// Respond from an entry.
    pub(super) fn serve(&self, head: &Parts, hit: &Hit, shown: Representation, key: CacheKey) -> Answered {
        let Hit { entry, age, ttl } = hit;
        let not_modified = shown.body.is_none();
        let response = respond::entry(entry, shown, &head.headers, Some(*age));
        self.count_hit(entry);
        if not_modified {
            self.stats.plain.not_modified.inc();
        }
        let ttl = ttl.map(|ttl| ttl.as_secs());
        let notes = Notes { key: Some(key.prefix()), age: Some(*age), upstream: None };
        (response, CacheStatus { ttl, unwatched: self.unwatched(), notes, ..CacheStatus::new(Outcome::Hit) })
    }

    /// An entry was served.
    pub(super) fn count_hit(&self, entry: &Entry) {
        entry.indices().hits.inc();
        self.stats.searches.hit(entry.row(), entry.cost());
        self.stats.plain.saved_microseconds.add(u64::try_from(entry.cost().as_micros()).unwrap_or(u64::MAX));
    }
}
