//! What is known to have happened, and what an answer may show because of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use super::history::{History, Span, Window, Word};

/// Documents of an index. The first one is never deleted.
pub(crate) const DOCS: usize = 12;

/// One document: its counter, `None` while it is not there.
pub(crate) struct Doc {
    pub(crate) history: History<Option<u64>>,
    /// The last change that was acknowledged.
    pub(crate) written: usize,
}

/// One index from its creation to its deletion.
pub(crate) struct Life {
    pub(crate) id: u64,
    pub(crate) index: String,
    /// Which name of [`NAMES`] leads to it.
    pub(crate) group: usize,
    /// The shard of each document.
    pub(crate) shards: Vec<u64>,
    docs: Vec<Mutex<Doc>>,
    /// Which field the alias field `which` stands for.
    pub(crate) path: Mutex<History<u64>>,
    /// Whether queries without a field search `left`, where all documents match.
    pub(crate) left: Mutex<History<bool>>,
}

impl Life {
    pub(crate) fn new(id: u64, index: &str, group: usize, shards: Vec<u64>) -> Arc<Life> {
        let doc = || Mutex::new(Doc { history: History::new(None), written: 0 });
        Arc::new(Life {
            id,
            index: index.to_owned(),
            group,
            shards,
            docs: (0..DOCS).map(|_| doc()).collect(),
            path: Mutex::new(History::new(1)),
            left: Mutex::new(History::new(true)),
        })
    }

    pub(crate) fn doc(&self, doc: usize) -> MutexGuard<'_, Doc> {
        lock(&self.docs[doc])
    }

    /// The last acknowledged change of each document.
    pub(crate) fn written(&self) -> Vec<usize> {
        (0..DOCS).map(|doc| self.doc(doc).written).collect()
    }

    /// All searches see these changes, or later ones.
    pub(crate) fn settle(&self, written: &[usize], word: Word) {
        for (doc, step) in written.iter().enumerate() {
            self.doc(doc).history.settle(*step, word);
        }
    }

    /// How many shards it has.
    pub(crate) fn size(&self) -> u64 {
        self.shards.iter().max().map_or(0, |last| last + 1)
    }

    /// A copy is about to come that may show what others no longer do.
    pub(crate) fn forget(&self) {
        (0..DOCS).for_each(|doc| self.doc(doc).history.forget());
    }

    /// Whether there is an instant for each shard, within the window, at which its documents were as `seen` says. A
    /// search reads a shard at one instant, but two shards at two.
    fn may_show(&self, seen: &[(usize, Option<u64>)], window: Window) -> Result<(), String> {
        let mut instants: BTreeMap<u64, Vec<Span>> = BTreeMap::new();
        for (doc, value) in seen {
            let guard = self.doc(*doc);
            let spans = guard.history.seen(window).filter(|(_, v, _)| *v == value);
            let spans: Vec<Span> = spans.map(|(.., span)| span).collect();
            if spans.is_empty() {
                let possible: Vec<_> = guard.history.possible(window).collect();
                let tale = guard.history.tale(window);
                return Err(format!("{}/{doc} is {value:?}, possible are {possible:?}; {tale}", self.index));
            }
            let left = instants.entry(self.shards[*doc]).or_insert_with(|| vec![window.span]);
            *left = left.iter().flat_map(|a| spans.iter().filter_map(|b| common(*a, *b))).collect();
            if left.is_empty() {
                return Err(format!("{}: no instant at which {seen:?} was all there", self.index));
            }
        }
        Ok(())
    }
}

fn common(a: Span, b: Span) -> Option<Span> {
    let both = (a.0.max(b.0), a.1.min(b.1));
    (both.0 <= both.1).then_some(both)
}

/// What a name leads to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) lives: Vec<u64>,
    /// The alias has a filter that leaves out odd documents.
    pub(crate) even: bool,
}

impl View {
    pub(crate) fn of(lives: &[u64]) -> Option<View> {
        Some(View { lives: lives.to_vec(), even: false })
    }
}

/// An index that is deleted and created again, one that is closed and opened, an alias that is swapped between two
/// indices, an alias that is rolled over.
pub(crate) const NAMES: [&str; 4] = ["churn-again", "churn-shut", "churn-now", "churn-roll"];
pub(crate) const AGAIN: usize = 0;
pub(crate) const SHUT: usize = 1;
pub(crate) const NOW: usize = 2;
pub(crate) const ROLL: usize = 3;

/// What was counted.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) answers: AtomicU64,
    pub(crate) hits: AtomicU64,
    pub(crate) illegal: AtomicU64,
    /// Those of them that came from the cache.
    pub(crate) illegal_hits: AtomicU64,
    /// Answers that the engine gave directly, and those of them that were illegal: then the oracle is wrong.
    pub(crate) direct: AtomicU64,
    pub(crate) direct_illegal: AtomicU64,
    /// Not whole, and not from the cache.
    pub(crate) partial: AtomicU64,
    /// Errors for which there was a reason.
    pub(crate) errors: AtomicU64,
    /// Errors for which there was none.
    pub(crate) unexplained: AtomicU64,
    /// Calls of the engine, not through escache, whose answers did not come in time: whether it did what it was told is
    /// not known.
    pub(crate) lost: AtomicU64,
    /// Changes that an engine said it could not make, and may have made.
    pub(crate) refused: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) kills: AtomicU64,
    pub(crate) rollovers: AtomicU64,
    pub(crate) swaps: AtomicU64,
    pub(crate) recreations: AtomicU64,
    pub(crate) closings: AtomicU64,
    pub(crate) mappings: AtomicU64,
    pub(crate) settings: AtomicU64,
    pub(crate) others: AtomicU64,
}

/// Which nodes run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Up {
    /// Rises whenever anything of this changes.
    pub(crate) epoch: u64,
    /// From before it is killed until all its copies are back.
    pub(crate) down: Option<usize>,
    /// Its process has ended, and no other one was started: nobody gets an answer from it.
    pub(crate) dead: bool,
}

/// All that is known.
pub(crate) struct Ledger {
    lives: RwLock<BTreeMap<u64, Arc<Life>>>,
    /// Those that are written to.
    current: RwLock<Vec<Arc<Life>>>,
    /// What each of [`NAMES`] leads to; `None` where a search of it must fail.
    pub(crate) groups: Vec<Mutex<History<Option<View>>>>,
    disturbances: Mutex<Vec<(Instant, Option<Instant>)>>,
    up: Mutex<Up>,
    next: AtomicU64,
    over: AtomicBool,
    pub(crate) counts: Counts,
}

impl Ledger {
    pub(crate) fn new() -> Arc<Ledger> {
        Arc::new(Ledger {
            lives: RwLock::default(),
            current: RwLock::default(),
            groups: NAMES.iter().map(|_| Mutex::new(History::new(None))).collect(),
            disturbances: Mutex::default(),
            up: Mutex::new(Up { epoch: 0, down: None, dead: false }),
            next: AtomicU64::new(1),
            over: AtomicBool::new(false),
            counts: Counts::default(),
        })
    }

    /// A number that was not given before: a life's, or a counter, so that a late write of an old life loses.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn latest(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    pub(crate) fn born(&self, life: &Arc<Life>) {
        self.lives.write().expect("no poison").insert(life.id, Arc::clone(life));
        self.current.write().expect("no poison").push(Arc::clone(life));
    }

    pub(crate) fn dies(&self, id: u64) {
        self.current.write().expect("no poison").retain(|life| life.id != id);
    }

    pub(crate) fn current(&self) -> Vec<Arc<Life>> {
        self.current.read().expect("no poison").clone()
    }

    pub(crate) fn life(&self, id: u64) -> Option<Arc<Life>> {
        self.lives.read().expect("no poison").get(&id).cloned()
    }

    pub(crate) fn over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub(crate) fn up(&self) -> Up {
        *lock(&self.up)
    }

    pub(crate) fn set_down(&self, down: Option<usize>, dead: bool) {
        let mut up = lock(&self.up);
        *up = Up { epoch: up.epoch + 1, down, dead };
    }

    /// From now on until [`Ledger::calm`], errors and partial answers have a reason.
    pub(crate) fn disturb(&self) -> usize {
        let mut all = lock(&self.disturbances);
        all.push((Instant::now(), None));
        all.len() - 1
    }

    pub(crate) fn calm(&self, disturbance: usize) {
        lock(&self.disturbances)[disturbance].1 = Some(Instant::now());
    }

    pub(crate) fn disturbed(&self, span: Span) -> bool {
        let all = lock(&self.disturbances);
        all.iter().any(|(from, until)| *from <= span.1 && until.is_none_or(|until| until >= span.0))
    }

    /// What a name may have led to within a window.
    pub(crate) fn views(&self, group: usize, window: Window) -> Vec<Option<View>> {
        lock(&self.groups[group]).possible(window).cloned().collect()
    }

    /// Whether a search of these names may show these documents (life, document, counter) and no others of `wanted`.
    pub(crate) fn may_show(
        &self,
        groups: &[usize],
        seen: &[(u64, usize, u64)],
        wanted: &[usize],
        window: Window,
    ) -> Result<(), String> {
        let strange = seen.iter().find(|(life, doc, _)| {
            !wanted.contains(doc) || self.life(*life).is_none_or(|life| !groups.contains(&life.group))
        });
        if let Some(strange) = strange {
            return Err(format!("{strange:?} was not asked for"));
        }
        for &group in groups {
            let of_group = |life: &u64| self.life(*life).is_some_and(|life| life.group == group);
            let seen: Vec<_> = seen.iter().filter(|(life, ..)| of_group(life)).copied().collect();
            let mut why = vec![format!("{} cannot be searched", NAMES[group])];
            let views = self.views(group, window);
            let legal = views.iter().flatten().any(|view| match self.fits(view, &seen, wanted, window) {
                Ok(()) => true,
                Err(reason) => {
                    why.push(reason);
                    false
                }
            });
            if !legal {
                return Err(format!("{views:?}: {}", why.pop().unwrap_or_default()));
            }
        }
        Ok(())
    }

    fn fits(
        &self,
        view: &View,
        seen: &[(u64, usize, u64)],
        wanted: &[usize],
        window: Window,
    ) -> Result<(), String> {
        if let Some(other) = seen.iter().find(|(life, ..)| !view.lives.contains(life)) {
            return Err(format!("{other:?} is of another index"));
        }
        if let Some(odd) = seen.iter().find(|(_, doc, _)| view.even && doc % 2 == 1) {
            return Err(format!("{odd:?} does not pass the filter"));
        }
        for id in &view.lives {
            let life = self.life(*id).ok_or("an unknown life")?;
            let docs = wanted.iter().filter(|doc| !view.even || doc.is_multiple_of(2));
            let shown: Vec<_> = docs
                .map(|doc| {
                    let found = seen.iter().find(|(life, d, _)| life == id && d == doc);
                    (*doc, found.map(|(.., n)| *n))
                })
                .collect();
            life.may_show(&shown, window)?;
        }
        Ok(())
    }
}

/// What a test that panicked has left is still what was known.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
