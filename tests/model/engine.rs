//! The engine: shard copies with their operations, readers, merges and sleep, and the cluster state of the master.

/// Bits: one for each operation.
pub(crate) type Ops = u8;

/// What bounds a model, and what is switched on in its engine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape {
    /// Shards of the index.
    pub(crate) shards: u8,
    /// Copies of each shard.
    pub(crate) copies: u8,
    /// A1: a reader is swapped in before the counter is bumped.
    pub(crate) late_bump: bool,
    /// Operations enter Lucene before the checkpoint moves, and are assigned before that.
    pub(crate) slow_ops: bool,
    /// A3: a shard may fall asleep while an operation is on its way.
    pub(crate) sleep_over_ops: bool,
    /// A2 given up: a shard may fall asleep before the tick after a search.
    pub(crate) sleep_at_once: bool,
    /// A state reaches the nodes one by one, the master last.
    pub(crate) late_master: bool,
    /// `index.refresh_interval` is set: a scheduled refresh is never skipped.
    pub(crate) explicit: bool,
    /// Replicas by segment replication: `external_total` stays 0.
    pub(crate) segment_replication: bool,
}

/// How often what may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) requests: u8,
    pub(crate) ops: u8,
    pub(crate) refreshes: u8,
    pub(crate) sleeps: u8,
    pub(crate) merges: u8,
    pub(crate) mappings: u8,
    pub(crate) unrelated: u8,
    pub(crate) restarts: u8,
    pub(crate) recreations: u8,
    pub(crate) reloads: u8,
    /// Another index joins the target, and leaves it later.
    pub(crate) joins: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wake {
    /// A search came since the last tick.
    Touched,
    Awake,
    Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Copy {
    pub(crate) assigned: u8,
    pub(crate) lucene: Ops,
    pub(crate) done: Ops,
    /// What searches see.
    pub(crate) reader: Ops,
    pub(crate) order: u8,
    /// The order that the next reader has: merges that have ended.
    pub(crate) merged: u8,
    /// Counters.
    pub(crate) refreshes: u8,
    pub(crate) merging: bool,
    pub(crate) merges: u8,
    /// The reader was swapped in, the counter not yet bumped.
    pub(crate) swapped: bool,
    /// `pendingRefreshLocation`: what a search waits for.
    pub(crate) pending: Ops,
    pub(crate) wake: Wake,
    /// Which life of the `IndexShard` object.
    pub(crate) life: u8,
    /// The mapping that the node has applied.
    pub(crate) mapping: u8,
}

impl Copy {
    const NEW: Copy = Copy {
        assigned: 0,
        lucene: 0,
        done: 0,
        reader: 0,
        order: 0,
        merged: 0,
        refreshes: 0,
        merging: false,
        merges: 0,
        swapped: false,
        pending: 0,
        wake: Wake::Awake,
        life: 0,
        mapping: 0,
    };

    /// Whether a search would have to wait for a refresh.
    pub(crate) fn waits(&self) -> bool {
        self.pending & !self.reader != 0
    }

    /// `Engine.refreshNeeded`
    pub(crate) fn unpublished(&self) -> bool {
        self.lucene != self.reader || self.merged != self.order
    }

    fn in_flight(&self) -> bool {
        all(self.assigned) != self.done
    }
}

fn all(count: u8) -> Ops {
    ((1u16 << count) - 1) as Ops
}

/// What a search answers for one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Part {
    pub(crate) index: u8,
    pub(crate) copy: u8,
    pub(crate) ops: Ops,
    pub(crate) order: u8,
    pub(crate) mapping: u8,
    pub(crate) dictionary: u8,
    /// It was asked while another index was part of the target.
    pub(crate) joined: bool,
}

/// What everybody may have been told when a request arrives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Floor {
    index: u8,
    mapping: u8,
    dictionary: u8,
    ops: Vec<Ops>,
}

impl Floor {
    /// Nobody was told anything.
    pub(crate) fn none(shape: &Shape) -> Floor {
        Floor { index: 0, mapping: 0, dictionary: 0, ops: vec![0; usize::from(shape.shards)] }
    }

    pub(crate) fn holds(&self, shard: usize, part: &Part) -> bool {
        part.index > self.index
            || (part.index == self.index
                && part.mapping >= self.mapping
                && part.dictionary >= self.dictionary
                && self.ops[shard] & !part.ops == 0)
    }
}

/// The counters of one copy as `_stats` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Shown {
    pub(crate) index: u8,
    pub(crate) total: u8,
    pub(crate) external: u8,
    pub(crate) merging: u8,
    pub(crate) merges: u8,
    pub(crate) max_seq_no: i8,
    pub(crate) checkpoint: i8,
    /// `indexing.index_total`
    pub(crate) indexed: u8,
    /// Those of another index are beside them.
    pub(crate) joined: bool,
}

/// The metadata as `_cluster/state` of the master shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) version: u8,
    pub(crate) index: u8,
    pub(crate) mapping: u8,
    pub(crate) lives: Vec<u8>,
    /// Another index is part of the target.
    pub(crate) joined: bool,
}

/// Everything that happens in the engine by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// An operation gets its number.
    Assign(u8),
    /// It enters Lucene.
    Index(u8, u8),
    /// The local checkpoint moves.
    Complete(u8, u8),
    /// The scheduler's look at one copy: refreshes it, or notes what is pending.
    Tick(u8),
    /// A refresh that was asked for.
    Refresh(u8),
    /// The counter follows the reader.
    Bump(u8),
    FallAsleep(u8),
    BeginMerge(u8),
    EndMerge(u8),
    PutMapping,
    ApplyMapping(u8),
    MasterApplies,
    Unrelated,
    Restart(u8),
    Recreate,
    /// Another index joins the target, and leaves it: an alias, or a name that matches.
    Join,
    Leave,
    /// The master applies what nodes search by.
    MasterFollows,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Engine {
    pub(crate) copies: Vec<Copy>,
    pub(crate) state: State,
    publishing: bool,
    /// Whether the nodes that search go by a target that another index is part of. Those that count may be others.
    joined: bool,
    /// Analyzers' dictionaries: nothing shows a reload.
    pub(crate) dictionary: u8,
    pub(crate) dictionary_told: u8,
}

impl Engine {
    pub(crate) fn new(shape: &Shape) -> Engine {
        let count = usize::from(shape.shards * shape.copies);
        Engine {
            copies: vec![Copy::NEW; count],
            state: State { lives: vec![0; count], ..State::default() },
            publishing: false,
            joined: false,
            dictionary: 0,
            dictionary_told: 0,
        }
    }

    /// The copies of a shard, the primary first.
    pub(crate) fn of_shard(shape: &Shape, shard: u8) -> std::ops::Range<u8> {
        shard * shape.copies..(shard + 1) * shape.copies
    }

    pub(crate) fn part(&self, copy: u8) -> Part {
        let at = &self.copies[usize::from(copy)];
        Part {
            index: self.state.index,
            copy,
            ops: at.reader,
            order: at.order,
            mapping: at.mapping,
            dictionary: self.dictionary,
            joined: self.joined,
        }
    }

    /// What an uncached search could answer now for a shard: every copy's view, but for those that would make it wait;
    /// and whether the copy is awake, or has nothing to publish.
    pub(crate) fn possible(&self, shape: &Shape, shard: u8) -> Vec<(Part, bool)> {
        let mut parts = Vec::new();
        for copy in Engine::of_shard(shape, shard) {
            let at = &self.copies[usize::from(copy)];
            if at.waits() {
                continue;
            }
            let awake = at.wake != Wake::Idle || !at.unpublished();
            // a reload reaches the nodes at unknown moments, until its author is told
            for dictionary in self.dictionary_told..=self.dictionary {
                let part = Part { dictionary, ..self.part(copy) };
                parts.push((part, awake));
                if self.is_ahead() {
                    parts.push((Part { joined: self.state.joined, ..part }, awake));
                }
            }
        }
        parts
    }

    /// Whether nodes search by a state that the master does not show yet.
    pub(crate) fn is_ahead(&self) -> bool {
        self.joined != self.state.joined
    }

    /// Which state the nodes have applied that search.
    pub(crate) fn nodes_version(&self) -> u8 {
        self.state.version + u8::from(self.is_ahead())
    }

    /// Nobody will look at counters and versions again.
    pub(crate) fn show_nothing(&mut self) {
        for copy in &mut self.copies {
            (copy.refreshes, copy.merges, copy.life) = (0, 0, 0);
        }
        self.state.version = 0;
        self.state.lives.fill(0);
    }

    fn follow(&mut self) {
        self.state.joined = self.joined;
        self.state.version += 1;
    }

    pub(crate) fn floor(&self, shape: &Shape) -> Floor {
        let seen = |copy: &Copy| if copy.swapped { 0 } else { copy.reader };
        Floor {
            index: self.state.index,
            mapping: self.state.mapping,
            dictionary: self.dictionary_told,
            ops: (0..shape.shards)
                .map(|shard| {
                    Engine::of_shard(shape, shard)
                        .map(|copy| seen(&self.copies[usize::from(copy)]))
                        .fold(Ops::MAX, |a, b| a & b)
                })
                .collect(),
        }
    }

    pub(crate) fn shown(&self, shape: &Shape, copy: u8) -> Shown {
        let at = &self.copies[usize::from(copy)];
        let silent = shape.segment_replication && !copy.is_multiple_of(shape.copies);
        Shown {
            index: self.state.index,
            total: at.refreshes,
            external: if silent { 0 } else { at.refreshes },
            merging: u8::from(at.merging),
            merges: at.merges,
            max_seq_no: at.assigned as i8 - 1,
            checkpoint: at.done.trailing_ones() as i8 - 1,
            indexed: at.done.count_ones() as u8,
            joined: self.state.joined,
        }
    }

    pub(crate) fn events(&self, shape: &Shape, budget: &Budget, events: &mut Vec<Event>) {
        for copy in 0..self.copies.len() as u8 {
            let at = &self.copies[usize::from(copy)];
            let primary = &self.copies[usize::from(copy - copy % shape.copies)];
            let replica = copy % shape.copies != 0;
            if if replica {
                primary.lucene & !all(at.assigned) & (1 << at.assigned) != 0
            } else {
                budget.ops > 0
            } {
                events.push(Event::Assign(copy));
            }
            for op in 0..at.assigned {
                if at.lucene & (1 << op) == 0 {
                    events.push(Event::Index(copy, op));
                } else if at.done & (1 << op) == 0 {
                    events.push(Event::Complete(copy, op));
                }
            }
            if at.swapped {
                events.push(Event::Bump(copy));
                continue;
            }
            let pends = at.wake == Wake::Idle && at.pending != at.lucene;
            if at.wake == Wake::Touched || (at.unpublished() && (at.wake != Wake::Idle || pends)) {
                events.push(Event::Tick(copy));
            }
            if budget.refreshes > 0 && at.unpublished() {
                events.push(Event::Refresh(copy));
            }
            let may_sleep = at.wake == Wake::Awake || (shape.sleep_at_once && at.wake == Wake::Touched);
            if budget.sleeps > 0 && may_sleep && (shape.sleep_over_ops || !at.in_flight()) {
                events.push(Event::FallAsleep(copy));
            }
            if at.merging {
                events.push(Event::EndMerge(copy));
            } else if budget.merges > 0 {
                events.push(Event::BeginMerge(copy));
            }
            if self.publishing && at.mapping == self.state.mapping {
                events.push(Event::ApplyMapping(copy));
            }
            if budget.restarts > 0 && !self.publishing && !at.in_flight() {
                events.push(Event::Restart(copy));
            }
        }
        if self.publishing {
            if self.copies.iter().all(|copy| copy.mapping > self.state.mapping) {
                events.push(Event::MasterApplies);
            }
            return;
        }
        if budget.mappings > 0 {
            events.push(Event::PutMapping);
        }
        if budget.unrelated > 0 {
            events.push(Event::Unrelated);
        }
        if self.is_ahead() {
            events.push(Event::MasterFollows);
        } else if self.joined {
            events.push(Event::Leave);
        } else if budget.joins > 0 {
            events.push(Event::Join);
        }
        if budget.recreations > 0 && self.copies.iter().all(|copy| !copy.in_flight()) {
            events.push(Event::Recreate);
        }
    }

    pub(crate) fn happen(&mut self, shape: &Shape, budget: &mut Budget, event: Event) {
        match event {
            Event::Assign(copy) => {
                if copy % shape.copies == 0 {
                    budget.ops -= 1;
                }
                let at = &mut self.copies[usize::from(copy)];
                at.assigned += 1;
                if !shape.slow_ops {
                    at.lucene = all(at.assigned);
                    at.done = at.lucene;
                }
            }
            Event::Index(copy, op) => self.copies[usize::from(copy)].lucene |= 1 << op,
            Event::Complete(copy, op) => self.copies[usize::from(copy)].done |= 1 << op,
            Event::Tick(copy) => {
                let at = &mut self.copies[usize::from(copy)];
                if at.wake == Wake::Idle {
                    at.pending = at.lucene;
                    return;
                }
                at.wake = Wake::Awake;
                if at.unpublished() {
                    refresh(shape, at);
                }
            }
            Event::Refresh(copy) => {
                budget.refreshes -= 1;
                refresh(shape, &mut self.copies[usize::from(copy)]);
            }
            Event::Bump(copy) => {
                let at = &mut self.copies[usize::from(copy)];
                at.swapped = false;
                at.refreshes += 1;
            }
            Event::FallAsleep(copy) => {
                budget.sleeps -= 1;
                self.copies[usize::from(copy)].wake = Wake::Idle;
            }
            Event::BeginMerge(copy) => {
                budget.merges -= 1;
                self.copies[usize::from(copy)].merging = true;
            }
            Event::EndMerge(copy) => {
                let at = &mut self.copies[usize::from(copy)];
                at.merging = false;
                at.merges += 1;
                at.merged += 1;
            }
            Event::PutMapping => {
                budget.mappings -= 1;
                if shape.late_master {
                    self.publishing = true;
                } else {
                    self.copies.iter_mut().for_each(|copy| copy.mapping += 1);
                    self.state.mapping += 1;
                    self.state.version += 1;
                }
            }
            Event::ApplyMapping(copy) => self.copies[usize::from(copy)].mapping += 1,
            Event::MasterApplies => {
                self.publishing = false;
                self.state.mapping += 1;
                self.state.version += 1;
            }
            Event::Unrelated => {
                budget.unrelated -= 1;
                self.state.version += 1;
            }
            Event::Restart(copy) => {
                budget.restarts -= 1;
                let at = &mut self.copies[usize::from(copy)];
                *at = Copy {
                    assigned: at.assigned,
                    lucene: at.lucene,
                    done: at.done,
                    reader: at.lucene,
                    order: at.merged,
                    merged: at.merged,
                    life: at.life + 1,
                    mapping: at.mapping,
                    ..Copy::NEW
                };
                self.state.lives[usize::from(copy)] = at.life;
                self.state.version += 1;
            }
            Event::Recreate => {
                budget.recreations -= 1;
                for (at, life) in self.copies.iter_mut().zip(&mut self.state.lives) {
                    *life += 1;
                    *at = Copy { life: *life, mapping: at.mapping, ..Copy::NEW };
                }
                self.state.index += 1;
                self.state.version += 1;
            }
            Event::Join => {
                budget.joins -= 1;
                self.joined = true;
                if !shape.late_master {
                    self.follow();
                }
            }
            Event::Leave => {
                self.joined = false;
                if !shape.late_master {
                    self.follow();
                }
            }
            Event::MasterFollows => self.follow(),
        }
    }
}

fn refresh(shape: &Shape, at: &mut Copy) {
    at.reader = at.lucene;
    at.order = at.merged;
    if shape.late_bump {
        at.swapped = true;
    } else {
        at.refreshes += 1;
    }
    if !at.waits() {
        at.pending = 0;
    }
}
