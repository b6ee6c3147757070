//! Validate: what identifies the state of the target and of who asks, read as newly as the rules want it.

use std::time::Duration;

use http::request::Parts;
use tokio::time::Instant;

use super::plans::Planned;
use super::{Live, Proxy};
use crate::cache::{Audience, Epoch, Lifetime};
use crate::cacheability::Basis;
use crate::control::Control;
use crate::generation::{Generation, Reading};
use crate::outcome::{Reason, Refusal};
use crate::plan::Plan;
use crate::policy::{Policy, ReadingDearer, Ruling};
use crate::rounds::Needed;
use crate::scope::{Confirm, Found as Scoped};

/// What is known about the target when a request is decided.
pub(crate) struct View {
    /// What identifies its searchable state.
    pub(crate) generation: Generation,
    /// When the reading started; `None` with `freshness.ttl_only`.
    pub(crate) started: Option<Instant>,
    /// How long entries may live for this request.
    pub(crate) lifetime: Lifetime,
    /// Whose permissions are part of the generation, to ask once more after the search.
    pub(crate) bearer: Option<Confirm>,
    /// Whether a part of it is not proven, and time alone ends entries: `freshness.ttl_only`, `auth.entry_ttl`.
    pub(crate) by_time: bool,
    /// The purge epoch before an entry was looked up.
    pub(crate) epoch: Epoch,
    /// Who may have the answer when nothing can be asked.
    pub(crate) audience: Audience,
    /// What the reading usually costs a request, where it was made for this one.
    pub(crate) reading_cost: Option<Duration>,
}

/// What came of looking at what is known.
#[expect(clippy::large_enum_variant, reason = "a hit is to cost no allocation for it")]
enum Checked {
    Done(Result<View, Refusal>),
    Asks(Asking),
}

/// What a reading is asked for.
struct Asking {
    epoch: Epoch,
    arrival: Instant,
    mark: Option<Instant>,
    /// Whether its cost is compared with that of the search.
    weighed: bool,
}

impl Asking {
    fn needed(&self, live: &Live, control: &Control, ruling: &Ruling) -> Needed {
        let bound = control.bound(ruling.max_staleness, live.policy.max_stale);
        Needed::within(bound, self.arrival).marked(self.mark)
    }
}

/// How often a request reads at most, to have what the rules want.
const MOST_READINGS: usize = 4;

impl Proxy {
    /// Validate: what is the target's generation, and may it be cached at all? What waits is boxed: with a bound the
    /// reading is mostly at hand, and then nothing has to make room for the way to the engine.
    pub(crate) async fn validate(
        &self,
        live: &Live,
        plan: &Planned,
        control: &Control,
        head: &Parts,
        arrival: Instant,
    ) -> Result<View, Refusal> {
        match self.validate_at_hand(live, plan, control, arrival) {
            Checked::Done(view) => view,
            Checked::Asks(asking) => {
                Box::pin(self.validate_by_asking(live, plan, control, head, asking)).await
            }
        }
    }

    /// Validate with what is known; or what has to be asked for.
    fn validate_at_hand(&self, live: &Live, plan: &Planned, control: &Control, arrival: Instant) -> Checked {
        let policy = &live.policy;
        let epoch = self.store.epoch();
        if let Some(ttl) = policy.ttl_only {
            return Checked::Done(view_by_time(policy, plan, control, ttl, epoch));
        }
        // marks that are set from here on are later than the request
        let asking = Asking { epoch, arrival, mark: self.watcher.last_mark(), weighed: false };
        // with a bound one reading serves many, whatever it costs
        let weighed = policy.reading_dearer == ReadingDearer::Forward
            && asking.needed(live, control, &plan.ruling).is_strict();
        if weighed && !control.only_if_cached && self.dear.forwards(&plan.key, arrival) {
            return Checked::Done(Err(Reason::ReadingDearer.into()));
        }
        match self.at_hand_by_rules(live, plan, &|ruling| asking.needed(live, control, ruling)) {
            Some(read) => Checked::Done(view_by_reading(policy, plan, read, epoch, weighed)),
            None => Checked::Asks(Asking { weighed, ..asking }),
        }
    }

    async fn validate_by_asking(
        &self,
        live: &Live,
        plan: &Planned,
        control: &Control,
        head: &Parts,
        asking: Asking,
    ) -> Result<View, Refusal> {
        let needed = |ruling: &Ruling| asking.needed(live, control, ruling);
        let read = self.read_by_rules(live, plan, head, &needed).await?;
        view_by_reading(&live.policy, plan, read, asking.epoch, asking.weighed)
    }

    /// What a request needs to know of its target and of who asks, as new as the rules want it. A rule for one of the
    /// indices that an expression resolves to may be stricter than those for its text, and is known only then.
    async fn read_by_rules(
        &self,
        live: &Live,
        plan: &Planned,
        head: &Parts,
        needed: &impl Fn(&Ruling) -> Needed,
    ) -> Result<Read, Refusal> {
        let mut ruling = plan.ruling;
        // once more for each rule that is stricter than those before; who still has nothing that serves is forwarded
        for _ in 0..MOST_READINGS {
            let since = needed(&ruling);
            let (reading, scope) = match self.at_hand(plan, since) {
                Some(found) => found,
                None => self.read(live, plan, head, since).await,
            };
            let Ok(found) = &reading.found else { return Ok(Read { ruling, reading, scope }) };
            ruling = live.policy.tightened(ruling, found.metadata().names().iter(), plan.api);
            let started = match &scope {
                Ok(Scoped::Proven(proven)) => reading.started.min(proven.started),
                _ => reading.started,
            };
            if needed(&ruling).serves(started) {
                return Ok(Read { ruling, reading, scope });
            }
        }
        Err(Reason::GenerationUnknown.into())
    }

    /// The same, if it is known.
    fn at_hand_by_rules(
        &self,
        live: &Live,
        plan: &Planned,
        needed: &impl Fn(&Ruling) -> Needed,
    ) -> Option<Read> {
        let (reading, scope) = self.at_hand(plan, needed(&plan.ruling))?;
        let names = reading.found.as_ref().ok()?.metadata().names().iter();
        let ruling = live.policy.tightened(plan.ruling, names, plan.api);
        needed(&ruling).serves(reading.started).then_some(Read { ruling, reading, scope })
    }

    /// What a request needs to know, if it is known: with a bound, the target's last reading mostly serves.
    fn at_hand(&self, plan: &Planned, since: Needed) -> Option<(Reading, Result<Scoped, Refusal>)> {
        if since.is_strict() {
            return None;
        }
        let scope = self.scope.at_hand(plan.anonymous)?;
        Some((self.watcher.at_hand(&plan.target, plan.spot(), since)?, Ok(scope)))
    }

    /// What a request needs to know, asked of the engine.
    async fn read(
        &self,
        live: &Live,
        plan: &Planned,
        head: &Parts,
        since: Needed,
    ) -> (Reading, Result<Scoped, Refusal>) {
        // who names nobody to an engine without users has nothing more to ask, and needs no second timer
        if let Some(scope) = self.scope.at_hand(plan.anonymous) {
            return (self.watcher.reading_in_time(&plan.target, since).await, Ok(scope));
        }
        let (reading, scope) = tokio::join!(
            self.watcher.reading_in_time(&plan.target, since),
            self.watcher
                .in_time(&plan.target, self.scope.of(&live.headers, plan.anonymous, &head.headers, since))
        );
        (reading, scope.unwrap_or_else(|| Err(Reason::ScopeUnknown.into())))
    }
}

/// What was read for a request, and what the operator's rules say now that the indices are known.
pub(super) struct Read {
    pub(super) ruling: Ruling,
    pub(super) reading: Reading,
    pub(super) scope: Result<Scoped, Refusal>,
}

/// With `freshness.ttl_only` there is nothing to read.
fn view_by_time(
    policy: &Policy,
    plan: &Plan,
    control: &Control,
    ttl: Duration,
    epoch: Epoch,
) -> Result<View, Refusal> {
    let lifetime = Lifetime(policy.expire).and(plan.ruling.ttl);
    let lifetime =
        lifetime.and(Some(ttl)).and(control.no_cache.then_some(Duration::ZERO)).and(control.max_age);
    let (lifetime, audience) = match plan.anonymous {
        true => (lifetime, Audience::Everybody),
        false => (unproven(policy, lifetime, Reason::ScopeUnknown.into())?, Audience::Unproven),
    };
    let generation = Generation::unwatched();
    Ok(View {
        generation,
        started: None,
        lifetime,
        bearer: None,
        by_time: true,
        epoch,
        audience,
        reading_cost: None,
    })
}

/// What follows from what was read: a view, or why there is none.
pub(super) fn view_by_reading(
    policy: &Policy,
    plan: &Plan,
    read: Read,
    epoch: Epoch,
    weighed: bool,
) -> Result<View, Refusal> {
    let Read { ruling, reading, scope } = read;
    if plan.terms.hits && !ruling.hits && plan.request_cache != Some(true) {
        return Err(Reason::Hits.into());
    }
    let lifetime = Lifetime(policy.expire).and(plan.ruling.ttl).and(ruling.ttl);
    let generation = reading.found?.resting_on(plan.terms.basis);
    // what was rendered in another state may be another search in this one
    if plan.within.is_some_and(|state| state != generation.state()) {
        return Err(Reason::GenerationMoving.into());
    }
    let metadata = generation.metadata();
    // what the state shows of an index is the same whatever a search of it depends on
    if let Some(refusal) = metadata.refusal()
        && plan.terms.basis != Basis::State
    {
        return Err(refusal.clone());
    }
    let unknown = |boosted: &String| !metadata.names().iter().any(|name| **name == **boosted);
    // where there are permissions, who asks may not be allowed to know of indices that escache sees
    let open = matches!(scope, Ok(Scoped::Free));
    if plan.terms.boosted.iter().any(|boosted| !open || unknown(boosted)) {
        return Err(Refusal::at(Reason::Lookup, "indices_boost"));
    }
    if let Some(place) = &metadata.property().own_analyzer
        && plan.terms.analyzed
    {
        return Err(Refusal::at(Reason::Now, place.clone()));
    }
    if let Some(index) = &metadata.property().cache_disabled
        && plan.request_cache != Some(true)
    {
        let place = format!("{index}.settings.index.requests.cache.enable");
        return Err(Refusal::at(Reason::IndexSetting, place));
    }
    if let Some(rule) = policy.forbids(metadata.names().iter(), plan.api) {
        return Err(Refusal::at(Reason::Rule, format!("rules[{rule}]")));
    }
    if !reading.settled {
        return Err(Reason::MetadataSettling.into());
    }
    let (started, audience) = (Some(reading.started), Audience::Unproven);
    let reading_cost = reading.usual_cost.filter(|_| weighed);
    let view =
        View { started, lifetime, generation, bearer: None, by_time: false, epoch, audience, reading_cost };
    Ok(match scope? {
        Scoped::Free => View { audience: Audience::Everybody, ..view },
        Scoped::Unproven(refusal) => {
            View { lifetime: unproven(policy, lifetime, refusal)?, by_time: true, ..view }
        }
        Scoped::Proven(proven) => View {
            generation: view.generation.within(&proven.digest),
            started: Some(reading.started.min(proven.started)),
            bearer: Some(proven.bearer),
            audience: Audience::Proven(proven.digest),
            ..view
        },
    })
}

/// How long entries live where nothing proves that permissions are unchanged: `auth.entry_ttl`, or not at all.
fn unproven(policy: &Policy, lifetime: Lifetime, refusal: Refusal) -> Result<Lifetime, Refusal> {
    match policy.entry_ttl {
        Some(ttl) => Ok(lifetime.and(Some(ttl))),
        None => Err(refusal),
    }
}
