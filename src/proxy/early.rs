//! A miss need not wait for a reading: any earlier one is a safe tag for a search that is sent after it (R1). At worst
//! its entry is dead on arrival. So where every request waits for a reading of its own, one that can only be a miss is sent at
//! once, if the target probably still has the generation that was read last.
//!
//! It leads a flight, and joins none: who joins must know by a reading that began after its arrival that the flight's
//! generation still holds (R5). Those who join it later know that.

use std::sync::Arc;

use tokio::time::Instant;

use super::validate::{Read, view_by_reading};
use super::{Answered, Landed, Live, Proxy, Understood, View};
use crate::cache::{Entry, Waiter};
use crate::control::Control;
use crate::plan::Plan;

/// A flight that is led without a reading of its own.
pub(super) struct Early {
    view: View,
    waiter: Waiter<Landed>,
}

impl Proxy {
    /// Lead a flight without a reading, if that is safe and pays.
    pub(super) fn lead_early(self: &Arc<Self>, asked: &Understood<'_>) -> Option<Box<Early>> {
        let Understood { live, head, body, control, arrival, plan, .. } = asked;
        let view = self.early_view(live, plan, control, *arrival)?;
        let waiter = self.lead(head, body, plan, &view)?;
        self.watcher.note_early(&plan.target);
        self.stats.plain.early.inc();
        Some(Box::new(Early { view, waiter }))
    }

    /// Answer with how it landed.
    pub(super) async fn miss_early(self: &Arc<Self>, asked: Understood<'_>, led: Box<Early>) -> Answered {
        let Early { view, waiter } = *led;
        let Understood { live, head, client, .. } = asked;
        let landed = match waiter.landed().await {
            Some(landed) => self.land_search(live, head, asked.plan.key, &landed, true).await.map_err(Some),
            // the flight was lost
            None => Err(None),
        };
        let answered = match landed {
            Ok(answer) => answer,
            Err(reason) => self.miss_alone(head, asked.body.clone(), client, &view, reason).await,
        };
        self.end_miss(asked, answered).await
    }

    /// The view that the latest reading gives, if it is only good for a tag.
    fn early_view(&self, live: &Live, plan: &Plan, control: &Control, arrival: Instant) -> Option<View> {
        let policy = &live.policy;
        // with a bound the reading is mostly at hand, and where permissions are proven, that takes longer
        let strict = control.bound(plan.ruling.max_staleness, policy.max_stale).is_zero();
        if !strict
            || control.only_if_cached
            || self.unwatched()
            || self.state_moves()
            || self.dear.forwards(&plan.key, arrival)
        {
            return None;
        }
        let stored = self.store.get(&plan.key);
        // a reading may show that it is a hit
        if stored.as_deref().is_some_and(|entry| !entry.is_over()) {
            return None;
        }
        let scope = Ok(self.scope.at_hand(plan.anonymous)?);
        let reading = self.watcher.latest(&plan.target)?;
        // where answers rest on less than the shards show, reigns say nothing, and nobody waits long
        let generation = reading.found.as_ref().ok()?.clone().resting_on(plan.terms.basis);
        let known = self.unshareable.get(&plan.key) == Some(generation.tag());
        let other = stored.as_deref().map(Entry::tag) != Some(generation.tag());
        if known || !other || !generation.reign()?.probably_lasts(reading.started, arrival) {
            return None;
        }
        let ruling = policy.tightened(plan.ruling, generation.metadata().names().iter(), plan.api);
        let read = Read { ruling, reading, scope };
        view_by_reading(policy, plan, read, self.store.epoch(), false).ok()
    }
}
