//! What no later step looks at is forgotten, so that states which differ in nothing else are explored once. Each thing here is dead
//! where it is dropped: no action, no decision and no promise depends on it from then on.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};

use super::{FORGOTTEN, Setup, Step, Without, World};
use crate::shipped;

fn hash<T: Hash>(value: &T) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}

impl World {
    /// Whether everybody who will ever ask is aboard a flight: what is known and stored serves nobody any more, and no counter
    /// and no version will be shown.
    pub(super) fn nobody_looks_up(&self) -> bool {
        self.left.requests == 0 && self.requests.iter().all(|r| matches!(r.step, Step::Aboard(_)))
    }

    pub(super) fn forget(&mut self, setup: &Setup) {
        for request in &mut self.requests {
            // when it came counts only for which reading it needs, and that is settled when it asks for one
            if request.step != Step::Arrived {
                request.arrived = FORGOTTEN;
            }
            // and when a reading began only for what it confirms
            if let (Step::Knows(started, _), false) = (&mut request.step, setup.confirms) {
                *started = FORGOTTEN;
            }
        }
        // who comes later needs a later reading
        let wanted = |started| {
            let mut asks = self.requests.iter().filter(|request| request.step == Step::Arrived);
            asks.any(|request| shipped::serves(started, request.arrived, self.mark))
        };
        let always = setup.early || setup.bounded || matches!(setup.without, Without::R1 | Without::R2);
        if !always && self.latest.as_ref().is_some_and(|(started, _)| !wanted(*started)) {
            self.latest = None;
        }
        // how long it may live is a matter of its generation
        if let Some(stored) = &mut self.entry {
            stored.past &= stored.generation.lives_briefly();
        }
        if !matches!(setup.without, Without::R1 | Without::R5) {
            for flight in &mut self.flights {
                flight.past &= flight.generation.as_ref().is_some_and(shipped::Known::lives_briefly);
            }
        }
        if self.nobody_looks_up() {
            (self.known, self.latest, self.entry) = (None, None, None);
            self.rounds.clear();
            self.left.unrelated = 0;
            self.engine.show_nothing();
            for flight in &mut self.flights {
                (flight.generation, flight.past) = (None, false);
            }
        }
    }

    /// In which order requests came, and flights began, is told by moments alone. Once nobody looks up, flights need no names.
    pub(super) fn sort(&mut self) {
        if self.nobody_looks_up() {
            let requests = &self.requests;
            self.flights.sort_by_cached_key(|flight| {
                let aboard = requests.iter().filter(|r| r.step == Step::Aboard(flight.key));
                let mut aboard: Vec<u64> = aboard.map(|r| hash(&(&r.floor, &r.legal))).collect();
                aboard.sort_unstable();
                hash(&(&flight.parts, flight.underneath, aboard))
            });
            let names: Vec<_> = self.flights.iter().map(|flight| flight.key).collect();
            for (number, flight) in (0..).zip(&mut self.flights) {
                flight.key = (None, shipped::epoch(number));
            }
            for request in &mut self.requests {
                if let Step::Aboard(key) = &mut request.step
                    && let Some(number) = (0..).zip(&names).find(|(_, name)| *name == key).map(|(n, _)| n)
                {
                    *key = (None, shipped::epoch(number));
                }
            }
        } else {
            self.flights.sort_by_cached_key(hash);
        }
        self.requests.sort_by_cached_key(hash);
    }
}
