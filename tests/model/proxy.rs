//! The proxy: requests, shared readings, the look-up, flights, the store, purges; and what makes an answer legal.

mod forget;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use escache::cache::Epoch;
use escache::generation::{Layer, Tag};
use stateright::{Model, Property};

use crate::engine::{Budget, Engine, Event, Floor, Part, Shape, Shown};
use crate::shipped::{self, Heard, Known, Left, Progress, Stored};

/// What is taken out of the algorithm, or out of the tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Without {
    #[default]
    Nothing,
    /// R1: an entry is tagged with the latest reading when its answer comes.
    R1,
    /// R2: any reading serves, whenever it started.
    R2,
    /// R3: one copy of all is compared.
    R3,
    /// R4: a miss is answered without waking the shard.
    R4,
    /// R4: the same, but it waits where an uncached search would.
    Wake,
    /// R5: equal requests share a flight whatever their readings found.
    R5,
    /// R6: fills are not marked `no-cache`, and what shows a cache is stored.
    R6,
    /// R7: no purge epoch.
    R7,
    /// R8: a reading counts from when it ended.
    R8,
    SeqNo,
    /// `local_checkpoint` alone.
    Checkpoint,
    Merges,
    Refresh,
    /// `refresh.total` alone.
    Total,
    Metadata,
    /// The second look at the version of the state.
    Sandwich,
    /// Marks of what passes through.
    Mark,
    /// How long what was asked for during a write may live.
    LongestLife,
    /// A miss that does not wait for a reading leads, and joins nobody.
    Lead,
    /// Sums over all copies instead of the vector.
    Vector,
    /// Entries are served in whatever cluster state.
    Confirm,
    /// What has been asked before an answer came confirms it.
    Landed,
    /// What the master shows when an answer has just come confirms it.
    Publication,
    /// Equal requests share a flight in whatever cluster state.
    Moment,
}

/// What a model is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) shape: Shape,
    pub(crate) budget: Budget,
    pub(crate) without: Without,
    /// Readings of one target may overlap.
    pub(crate) overlap: bool,
    /// A miss may be sent without a reading of its own, under the latest one.
    pub(crate) early: bool,
    /// A cache between us and the engine, with a bound: one that heeds `no-cache`, or one that does not.
    pub(crate) inner: Option<Inner>,
    /// `freshness.max_staleness` is without end: only marks call for a reading, and what a client was told through us.
    pub(crate) bounded: bool,
    /// Only what clients were told is promised.
    pub(crate) told_only: bool,
    /// Indices join and leave, so entries have to be confirmed. Where none does, they are taken to be: it is seen in no
    /// answer.
    pub(crate) confirms: bool,
    pub(crate) seen: Arc<Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inner {
    Heeds,
    Heedless,
}

/// What has happened, over all paths: that a proof is not empty.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) hits: AtomicU64,
    pub(crate) followers: AtomicU64,
    pub(crate) superseded: AtomicU64,
    pub(crate) waits: AtomicU64,
    pub(crate) invalid: AtomicU64,
    pub(crate) unstored: AtomicU64,
    pub(crate) early: AtomicU64,
    /// Hits in another cluster state than that of the entry's tag.
    pub(crate) elsewhere: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Moments, as ranks: only their order is kept.
type Moment = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    engine: Engine,
    left: Budget,
    requests: Vec<Request>,
    /// The watcher's knowledge of the target.
    known: Option<Left>,
    latest: Option<(Moment, Known)>,
    rounds: Vec<Round>,
    flights: Vec<Flight>,
    entry: Option<Stored>,
    raises: u8,
    reload: Reload,
    mark: Option<Moment>,
    /// What clients were told through us, with a bound.
    told: Option<Floor>,
    /// What an inner cache holds.
    inner: Option<Vec<Part>>,
    /// What the last answer broke.
    wrong: Wrong,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Wrong {
    illegal: bool,
    asleep: bool,
    untold: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    arrived: Moment,
    step: Step,
    floor: Floor,
    /// By shard: what an uncached search could have answered since the arrival.
    legal: Vec<Vec<(Part, bool)>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Arrived,
    WaitsForNext,
    WaitsFor(Moment),
    Knows(Moment, Known),
    Aboard(FlightKey),
}

type FlightKey = (Option<Tag>, Epoch);

/// A reading under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round {
    started: Moment,
    known: Option<Left>,
    heard: Vec<Heard>,
    counters: Vec<Option<Shown>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Flight {
    key: FlightKey,
    /// `None` once nobody will ask for what it brings.
    generation: Option<Known>,
    parts: Vec<Leg>,
    underneath: bool,
    /// A copy that it has searched fell asleep: `index.search.idle.after` has passed since.
    past: bool,
}

impl Flight {
    fn is_done(&self) -> bool {
        self.parts.iter().all(|leg| matches!(leg, Leg::Done(_)))
    }
}

/// One shard of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Leg {
    Sent,
    Waits(u8),
    Done(Part),
}

/// A `_reload_search_analyzers` that passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reload {
    None,
    Sent,
    Applied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Engine(Event),
    Arrive,
    /// A request asks for a reading.
    Ask(u8),
    /// Or is sent without one.
    Early(u8),
    BeginReading,
    /// A reading asks its question; the counters of one copy at a time.
    Answer(u8),
    Count(u8, u8),
    LookUp(u8),
    /// A shard of a search runs on a copy.
    Search(u8, u8, u8),
    Release(u8, u8),
    InnerAnswers(u8),
    Land(u8),
    SendReload,
    ApplyReload,
    EndReload,
    /// A `_refresh` of everything passes through and ends.
    Mark,
    /// Who gave the stored answer is asked which state it has applied.
    Confirm,
}

impl Model for Setup {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            engine: Engine::new(&self.shape),
            left: self.budget,
            requests: Vec::new(),
            known: None,
            latest: None,
            rounds: Vec::new(),
            flights: Vec::new(),
            entry: None,
            raises: 0,
            reload: Reload::None,
            mark: None,
            told: None,
            inner: None,
            wrong: Wrong::default(),
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // what nobody will ask about matters to nobody
        if world.wrong != Wrong::default() || (world.left.requests == 0 && world.requests.is_empty()) {
            return;
        }
        // what happens before an answer lands makes more answers legal, and none illegal
        if world.nobody_looks_up() && world.flights.iter().all(Flight::is_done) {
            actions.extend((0..).zip(&world.flights).map(|(number, _)| Action::Land(number)));
            return;
        }
        let mut events = Vec::new();
        world.engine.events(&self.shape, &world.left, &mut events);
        actions.extend(events.into_iter().map(Action::Engine));
        if world.left.requests > 0 {
            actions.push(Action::Arrive);
        }
        for (number, request) in (0..).zip(&world.requests) {
            match request.step {
                Step::Arrived => {
                    actions.push(Action::Ask(number));
                    actions.extend(self.early_key(world).map(|_| Action::Early(number)));
                }
                Step::Knows(..) => actions.push(Action::LookUp(number)),
                _ => {}
            }
        }
        let wanted = world.requests.iter().any(|request| request.step == Step::WaitsForNext);
        if wanted && (world.rounds.is_empty() || (self.overlap && world.rounds.len() < 2)) {
            actions.push(Action::BeginReading);
        }
        for (number, round) in (0..).zip(&world.rounds) {
            match self.progress(round) {
                Progress::Asks(Layer::Counters) => {
                    let unread = (0..).zip(&round.counters).filter(|(_, shown)| shown.is_none());
                    actions.extend(unread.map(|(copy, _)| Action::Count(number, copy)));
                }
                _ => actions.push(Action::Answer(number)),
            }
        }
        for (number, flight) in (0..).zip(&world.flights) {
            for (shard, leg) in (0..).zip(&flight.parts) {
                match leg {
                    Leg::Sent => actions.extend(
                        Engine::of_shard(&self.shape, shard).map(|copy| Action::Search(number, shard, copy)),
                    ),
                    Leg::Waits(copy) if !world.engine.copies[usize::from(*copy)].waits() => {
                        actions.push(Action::Release(number, shard));
                    }
                    _ => {}
                }
            }
            if flight.is_done() {
                actions.push(Action::Land(number));
            }
            let late = match self.inner {
                None => false,
                Some(Inner::Heeds) => self.without == Without::R6 || shipped::inner_may_be_late(),
                Some(Inner::Heedless) => true,
            };
            if late && world.inner.is_some() && flight.parts.iter().all(|leg| *leg == Leg::Sent) {
                actions.push(Action::InnerAnswers(number));
            }
        }
        match world.reload {
            Reload::None if world.left.reloads > 0 => actions.push(Action::SendReload),
            Reload::None => {}
            Reload::Sent => actions.push(Action::ApplyReload),
            Reload::Applied => actions.push(Action::EndReload),
        }
        if self.bounded && world.told.is_none() && world.engine.copies.iter().all(|copy| !copy.unpublished())
        {
            actions.push(Action::Mark);
        }
        if world.entry.as_ref().is_some_and(|stored| stored.landed.is_some()) {
            actions.push(Action::Confirm);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        self.step(&mut next, action);
        for request in &mut next.requests {
            for (shard, legal) in (0..).zip(&mut request.legal) {
                for part in next.engine.possible(&self.shape, shard) {
                    if let Err(place) = legal.binary_search(&part) {
                        legal.insert(place, part);
                    }
                }
            }
        }
        next.forget(self);
        next.rank();
        next.sort();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Setup>> {
        vec![
            Property::always("told", |_, world: &World| !world.wrong.untold),
            Property::always("legal", |setup: &Setup, world: &World| setup.told_only || !world.wrong.illegal),
            Property::always("awake", |setup: &Setup, world: &World| setup.told_only || !world.wrong.asleep),
        ]
    }
}

impl Setup {
    fn progress(&self, round: &Round) -> Progress {
        shipped::reading(self.without, &self.shape, &round.known, &round.heard)
    }

    fn step(&self, world: &mut World, action: Action) {
        match action {
            Action::Engine(event) => {
                // a search that waits on a copy that goes away fails; others may
                if let Event::Restart(_) | Event::Recreate = event {
                    let failed: Vec<FlightKey> = world
                        .flights
                        .iter()
                        .filter(|flight| flight.parts.iter().any(|leg| matches!(leg, Leg::Waits(_))))
                        .map(|flight| flight.key)
                        .collect();
                    world.flights.retain(|flight| !failed.contains(&flight.key));
                    world.requests.retain(
                        |request| !matches!(&request.step, Step::Aboard(key) if failed.contains(key)),
                    );
                }
                if let Event::FallAsleep(copy) = event {
                    for flight in &mut world.flights {
                        flight.past |= flight.parts.iter().any(|leg| match leg {
                            Leg::Sent => false,
                            Leg::Waits(searched) => *searched == copy,
                            Leg::Done(part) => part.copy == copy,
                        });
                    }
                    if let Some(stored) = &mut world.entry {
                        stored.past |= stored.parts.iter().any(|part| part.copy == copy);
                    }
                }
                world.engine.happen(&self.shape, &mut world.left, event);
                // the time that this may take has not passed before
                if let (Event::MasterFollows, Some(stored)) = (event, &mut world.entry)
                    && self.without != Without::Publication
                {
                    stored.landed = stored.landed.map(|_| NOW);
                }
            }
            Action::Arrive => {
                world.left.requests -= 1;
                world.requests.push(Request {
                    arrived: NOW,
                    step: Step::Arrived,
                    floor: match &world.told {
                        Some(told) => told.clone(),
                        None if self.bounded => Floor::none(&self.shape),
                        None => world.engine.floor(&self.shape),
                    },
                    legal: vec![Vec::new(); usize::from(self.shape.shards)],
                });
            }
            Action::Ask(number) => {
                let arrived = world.requests[usize::from(number)].arrived;
                let needed = if self.without == Without::R2 || self.bounded { 0 } else { arrived };
                world.requests[usize::from(number)].step = self.share(world, needed);
            }
            Action::Early(number) => {
                let Some(key) = self.early_key(world) else { return };
                count(&self.seen.early);
                self.board(world, number, key);
            }
            Action::BeginReading => {
                for request in &mut world.requests {
                    if request.step == Step::WaitsForNext {
                        request.step = Step::WaitsFor(NOW);
                    }
                }
                world.rounds.push(Round {
                    started: NOW,
                    known: world.known.clone(),
                    heard: Vec::new(),
                    counters: vec![None; world.engine.copies.len()],
                });
            }
            Action::Count(number, copy) => {
                let shown = world.engine.shown(&self.shape, copy);
                let round = &mut world.rounds[usize::from(number)];
                round.counters[usize::from(copy)] = Some(shown);
                if round.counters.iter().all(Option::is_some) {
                    let counters = round.counters.iter_mut().filter_map(Option::take).collect();
                    self.hear(world, number, Heard::Counters(counters));
                }
            }
            Action::Answer(number) => {
                let round = &world.rounds[usize::from(number)];
                let heard = match self.progress(round) {
                    Progress::Asks(Layer::Version) => {
                        let version = match (self.without, &round.known) {
                            (Without::Sandwich, Some((state, _))) => state.version,
                            _ => world.engine.state.version,
                        };
                        Heard::Version(version)
                    }
                    _ => Heard::Metadata(world.engine.state.clone()),
                };
                self.hear(world, number, heard);
            }
            Action::LookUp(number) => self.look_up(world, number),
            Action::Search(number, shard, copy) => {
                let at = &mut world.engine.copies[usize::from(copy)];
                if !matches!(self.without, Without::R4 | Without::Wake) {
                    at.wake = crate::engine::Wake::Touched;
                }
                let leg = if at.waits() && self.without != Without::R4 {
                    count(&self.seen.waits);
                    Leg::Waits(copy)
                } else {
                    Leg::Done(world.engine.part(copy))
                };
                world.flights[usize::from(number)].parts[usize::from(shard)] = leg;
            }
            Action::Release(number, shard) => {
                let leg = &mut world.flights[usize::from(number)].parts[usize::from(shard)];
                if let Leg::Waits(copy) = *leg {
                    *leg = Leg::Done(world.engine.part(copy));
                }
            }
            Action::InnerAnswers(number) => {
                let parts = world.inner.iter().flatten().copied().map(Leg::Done).collect();
                let flight = &mut world.flights[usize::from(number)];
                (flight.parts, flight.underneath) = (parts, true);
            }
            Action::Land(number) => self.land(world, number),
            Action::SendReload => {
                world.left.reloads -= 1;
                world.reload = Reload::Sent;
                world.raises += u8::from(self.without != Without::R7);
            }
            Action::ApplyReload => {
                world.reload = Reload::Applied;
                world.engine.dictionary += 1;
            }
            Action::EndReload => {
                world.reload = Reload::None;
                world.raises += u8::from(self.without != Without::R7);
                world.entry = None;
                world.engine.dictionary_told = world.engine.dictionary;
            }
            Action::Mark => {
                world.mark = (self.without != Without::Mark).then_some(NOW);
                world.told = Some(world.engine.floor(&self.shape));
            }
            Action::Confirm => {
                let version = match self.without {
                    Without::Publication => world.engine.state.version,
                    _ => world.engine.nodes_version(),
                };
                if let Some(stored) = &mut world.entry {
                    shipped::confirm_by_giver(stored, shipped::state(version));
                }
            }
        }
    }

    /// Group commit: the latest reading, the one under way, or the next.
    fn share(&self, world: &World, needed: Moment) -> Step {
        if let Some((started, found)) = &world.latest
            && shipped::serves(*started, needed, world.mark)
        {
            return Step::Knows(*started, found.clone());
        }
        match world.rounds.last() {
            Some(round) if shipped::serves(round.started, needed, world.mark) => {
                Step::WaitsFor(round.started)
            }
            _ => Step::WaitsForNext,
        }
    }

    fn hear(&self, world: &mut World, number: u8, heard: Heard) {
        let round = &mut world.rounds[usize::from(number)];
        round.heard.push(heard);
        let Progress::Ended(found) = self.progress(round) else { return };
        let round = world.rounds.remove(usize::from(number));
        let started = if self.without == Without::R8 { NOW } else { round.started };
        world.known = found.as_ref().and_then(|_| {
            let state = round.heard.iter().rev().find_map(|heard| match heard {
                Heard::Metadata(state) => Some(state.clone()),
                _ => None,
            });
            let shown = round.heard.iter().rev().find_map(|heard| match heard {
                Heard::Counters(shown) => Some(shown.clone()),
                _ => None,
            });
            Some((state.or(round.known.map(|(state, _)| state))?, shown?))
        });
        world.latest = found.clone().map(|found| (started, found));
        let waits = |request: &Request| request.step == Step::WaitsFor(round.started);
        match found {
            Some(found) => {
                for request in world.requests.iter_mut().filter(|request| waits(request)) {
                    request.step = Step::Knows(started, found.clone());
                }
            }
            // they are forwarded
            None => {
                count(&self.seen.invalid);
                world.requests.retain(|request| !waits(request));
            }
        }
    }

    fn look_up(&self, world: &mut World, number: u8) {
        let Step::Knows(started, found) = world.requests[usize::from(number)].step.clone() else { return };
        if let Some(stored) = &mut world.entry {
            if shipped::may_serve(stored, &found, started, self.without) {
                count(&self.seen.hits);
                if !shipped::is_of_state(stored, &found) {
                    count(&self.seen.elsewhere);
                }
                // while a publication lasts, less time has passed than it may take
                if !world.engine.is_ahead() || self.without == Without::Publication {
                    shipped::confirm(stored, found.state(), started);
                }
                let parts = stored.parts.clone();
                let request = world.requests.remove(usize::from(number));
                world.wrong = self.judge(&request, &parts);
                return;
            }
            count(&self.seen.superseded);
        }
        let key = self.flight_key(world, &found);
        self.board(world, number, (key, found));
    }

    /// What a miss that does not wait for a reading is sent under: the latest one, if what is stored is of another, and
    /// nobody asks the same under it already.
    fn early_key(&self, world: &World) -> Option<(FlightKey, Known)> {
        let (_, found) = world.latest.as_ref().filter(|_| self.early)?;
        let key = self.flight_key(world, found);
        let stored = world.entry.as_ref().is_some_and(|stored| shipped::is_under(stored, found));
        let joins = world.flights.iter().any(|flight| flight.key == key) && self.without != Without::Lead;
        (!stored && !joins).then(|| (key, found.clone()))
    }

    fn flight_key(&self, world: &World, found: &Known) -> FlightKey {
        let shared = (self.without != Without::R5).then(|| shipped::moment(found, self.without));
        (shared, shipped::epoch(world.raises))
    }

    fn board(&self, world: &mut World, number: u8, (key, found): (FlightKey, Known)) {
        if let Some(flight) = world.flights.iter().find(|flight| flight.key == key) {
            // who may not board asks for itself
            if flight.past && !shipped::may_board_late(&found, self.without) {
                world.requests.remove(usize::from(number));
                return;
            }
            count(&self.seen.followers);
        } else {
            world.flights.push(Flight {
                key,
                generation: Some(found),
                parts: vec![Leg::Sent; usize::from(self.shape.shards)],
                underneath: false,
                past: false,
            });
        }
        world.requests[usize::from(number)].step = Step::Aboard(key);
    }

    fn land(&self, world: &mut World, number: u8) {
        let flight = world.flights.remove(usize::from(number));
        let parts: Vec<Part> = flight
            .parts
            .iter()
            .filter_map(|leg| if let Leg::Done(part) = leg { Some(*part) } else { None })
            .collect();
        if !flight.underneath && self.inner.is_some() {
            world.inner = Some(parts.clone());
        }
        let tag = match (&world.latest, self.without) {
            (Some((_, latest)), Without::R1) => Some(latest),
            _ => flight.generation.as_ref(),
        };
        let careless = self.without == Without::R6;
        match tag.and_then(|tag| shipped::entry(&parts, tag, flight.underneath, careless)) {
            Some(stored) if shipped::admits(world.raises, flight.key.1, &stored) => {
                let landed = if self.without == Without::Landed { 0 } else { NOW };
                let landed = (self.confirms && self.without != Without::Confirm).then_some(landed);
                world.entry = Some(Stored { past: flight.past, landed, ..stored });
            }
            _ => count(&self.seen.unstored),
        }
        let (landed, waiting) = std::mem::take(&mut world.requests)
            .into_iter()
            .partition(|request| request.step == Step::Aboard(flight.key));
        world.requests = waiting;
        // what a heedless cache underneath answers is not ours to judge
        if flight.underneath && self.inner == Some(Inner::Heedless) {
            return;
        }
        let landed: Vec<Request> = landed;
        for request in landed {
            let wrong = self.judge(&request, &parts);
            world.wrong.illegal |= wrong.illegal;
            world.wrong.asleep |= wrong.asleep;
            world.wrong.untold |= wrong.untold;
        }
    }

    fn judge(&self, request: &Request, parts: &[Part]) -> Wrong {
        let mut wrong = Wrong::default();
        for (shard, part) in parts.iter().enumerate() {
            let legal = &request.legal[shard];
            let awake = legal.binary_search(&(*part, true)).is_ok();
            wrong.illegal |= !awake && legal.binary_search(&(*part, false)).is_err();
            wrong.asleep |= !awake;
            wrong.untold |= !request.floor.holds(shard, part);
        }
        wrong
    }
}

/// A moment that nothing is compared with any more.
const FORGOTTEN: Moment = 0;

/// Later than every moment that is kept.
const NOW: Moment = Moment::MAX;

impl World {
    /// Keeps the order of moments, and nothing else of them.
    fn rank(&mut self) {
        let mut moments: Vec<&mut Moment> = Vec::new();
        for request in &mut self.requests {
            match &mut request.step {
                Step::Arrived => moments.push(&mut request.arrived),
                Step::WaitsFor(started) | Step::Knows(started, _) => moments.push(started),
                _ => {}
            }
        }
        moments.retain(|moment| **moment != FORGOTTEN);
        moments.extend(self.latest.iter_mut().map(|(started, _)| started));
        moments.extend(self.rounds.iter_mut().map(|round| &mut round.started));
        moments.extend(self.mark.iter_mut());
        moments.extend(self.entry.iter_mut().filter_map(|stored| stored.landed.as_mut()));
        let mut order: Vec<Moment> = moments.iter().map(|moment| **moment).collect();
        order.sort_unstable();
        order.dedup();
        for moment in moments {
            // 0 is before all
            *moment = 1 + order.binary_search(moment).unwrap_or_default() as Moment;
        }
    }
}
