//! Which searches save most, and which still cost most: a table of bounded size, by shape.
//!
//! A shape is a search without its literals, so that one row stands for all searches that an application makes in one
//! place. It is found when the engine is asked, which takes much longer; an entry remembers the row, and a hit adds two
//! numbers to it. When all rows are taken, what is new takes the place of the row that weighs least if it weighs as much
//! itself, and otherwise makes that row lighter (after Misra and Gries): what is heavy in the long run stays.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::outcome::{Outcome, Refusal};

/// How many rows there are.
const MOST: usize = 256;

/// Where a search is counted. An old one, whose row has been given to another, counts nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowId {
    row: u32,
    turn: u32,
}

impl RowId {
    /// Nowhere.
    pub const NONE: RowId = RowId { row: u32::MAX, turn: 0 };
}

impl Default for RowId {
    fn default() -> RowId {
        RowId::NONE
    }
}

/// A search, as people are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Described {
    /// The endpoint by its name in rest-api-spec.
    pub api: &'static str,
    /// The index expression.
    pub target: String,
    /// The body and the parameters, without literals.
    pub shape: String,
}

/// One search of a shape, to explain it and, where the operator allows that, to show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The method.
    pub method: String,
    /// Path and query string.
    pub path: String,
    /// Its `Accept` and `Content-Type`, if it had them, by name.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
    /// Whether it came with credentials. They are not kept.
    pub identity: bool,
}

/// All that is known of the searches of a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// To ask for its example.
    pub id: String,
    /// What it looks like.
    pub described: Arc<Described>,
    /// How many were answered from the cache.
    pub hits: u64,
    /// How many the engine was asked.
    pub asked: u64,
    /// What the engine would have taken for the hits.
    pub saved: Duration,
    /// What the engine has taken for the others.
    pub spent: Duration,
    /// What became of the last one that was asked: hit never, miss or bypass.
    pub outcome: Outcome,
    /// Why.
    pub refusal: Option<Refusal>,
}

/// The table.
#[derive(Debug)]
pub struct Searches {
    rows: Box<[Row]>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Row {
    turn: AtomicU32,
    hits: AtomicU64,
    saved: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<Arc<Described>, usize>,
    slow: Vec<Slow>,
}

/// What of a row changes only when the engine is asked. Times in microseconds.
#[derive(Debug)]
struct Slow {
    described: Arc<Described>,
    example: Option<Arc<Example>>,
    asked: u64,
    spent: u64,
    /// What others have taken from its weight.
    worn: u64,
    outcome: Outcome,
    refusal: Option<Refusal>,
}

impl Default for Searches {
    fn default() -> Searches {
        Searches { rows: (0..MOST).map(|_| Row::default()).collect(), table: Mutex::default() }
    }
}

impl Searches {
    /// One more was answered from the cache, for which the engine would have taken this long.
    pub fn hit(&self, id: RowId, cost: Duration) {
        let Some(row) = self.rows.get(id.row as usize) else { return };
        if row.turn.load(Ordering::Relaxed) == id.turn {
            row.hits.fetch_add(1, Ordering::Relaxed);
            row.saved.fetch_add(micros(cost), Ordering::Relaxed);
        }
    }

    /// The engine was asked one more, and took this long. `example` is made if there is none yet.
    pub fn asked(
        &self,
        described: Described,
        took: Duration,
        outcome: Outcome,
        refusal: Option<&Refusal>,
        example: impl FnOnce() -> Option<Example>,
    ) -> RowId {
        let took = micros(took);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match table.known.get(&described) {
            Some(at) => *at,
            None => match self.room(&mut table, described, took, example) {
                Some(at) => at,
                None => return RowId::NONE,
            },
        };
        let slow = &mut table.slow[at];
        slow.asked += 1;
        slow.spent += took;
        (slow.outcome, slow.refusal) = (outcome, refusal.cloned());
        self.id(at)
    }

    /// Every search that has a row.
    #[must_use]
    pub fn each(&self) -> Vec<Told> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = table.slow.iter().enumerate();
        rows.map(|(at, slow)| Told {
            id: format!("{at}-{}", self.id(at).turn),
            described: Arc::clone(&slow.described),
            hits: self.rows[at].hits.load(Ordering::Relaxed),
            asked: slow.asked,
            saved: Duration::from_micros(self.rows[at].saved.load(Ordering::Relaxed)),
            spent: Duration::from_micros(slow.spent),
            outcome: slow.outcome,
            refusal: slow.refusal.clone(),
        })
        .collect()
    }

    /// The example of a row, by the id that it was told with. `None` if there is none, or the row is another's now.
    #[must_use]
    pub fn example(&self, id: &str) -> Option<Arc<Example>> {
        let (at, turn) = id.split_once('-')?;
        let (at, turn): (usize, u32) = (at.parse().ok()?, turn.parse().ok()?);
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let slow = table.slow.get(at).filter(|_| self.id(at).turn == turn)?;
        slow.example.clone()
    }

    fn id(&self, at: usize) -> RowId {
        let turn = self.rows[at].turn.load(Ordering::Relaxed);
        RowId { row: u32::try_from(at).unwrap_or(u32::MAX), turn }
    }

    /// A row for a search that has none; or, where all that there are weigh more, none.
    fn room(
        &self,
        table: &mut Table,
        described: Described,
        took: u64,
        example: impl FnOnce() -> Option<Example>,
    ) -> Option<usize> {
        let at = if table.slow.len() < MOST {
            table.slow.len()
        } else {
            let weight = |at: usize| {
                let slow = &table.slow[at];
                let saved = self.rows[at].saved.load(Ordering::Relaxed);
                (saved + slow.spent).saturating_sub(slow.worn)
            };
            let lightest = (0..MOST).min_by_key(|at| weight(*at))?;
            if weight(lightest) > took {
                table.slow[lightest].worn += took;
                return None;
            }
            lightest
        };
        let described = Arc::new(described);
        let slow = Slow {
            described: Arc::clone(&described),
            example: example().map(Arc::new),
            asked: 0,
            spent: 0,
            worn: 0,
            outcome: Outcome::Miss,
            refusal: None,
        };
        let row = &self.rows[at];
        // from here on the entries of the one before count nothing
        row.turn.fetch_add(1, Ordering::Relaxed);
        row.hits.store(0, Ordering::Relaxed);
        row.saved.store(0, Ordering::Relaxed);
        if at == table.slow.len() {
            table.slow.push(slow);
        } else {
            let before = std::mem::replace(&mut table.slow[at], slow);
            table.known.remove(&before.described);
        }
        table.known.insert(described, at);
        Some(at)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Reason;

    fn described(shape: &str) -> Described {
        Described { api: "search", target: "logs".to_owned(), shape: shape.to_owned() }
    }

    fn ask(searches: &Searches, shape: &str, millis: u64) -> RowId {
        let took = Duration::from_millis(millis);
        let example = || {
            let text = |text: &str| text.to_owned();
            let headers = Vec::new();
            Some(Example {
                method: text("GET"),
                path: text("/"),
                headers,
                body: text(shape),
                identity: false,
            })
        };
        searches.asked(described(shape), took, Outcome::Miss, None, example)
    }

    fn told(searches: &Searches, shape: &str) -> Option<Told> {
        searches.each().into_iter().find(|told| told.described.shape == shape)
    }

    #[test]
    fn a_row_adds_up_what_its_searches_save_and_cost() {
        let searches = Searches::default();
        let id = ask(&searches, "a", 5);
        assert_eq!(ask(&searches, "a", 7), id);
        assert_ne!(ask(&searches, "b", 1), id);
        (0..3).for_each(|_| searches.hit(id, Duration::from_millis(4)));
        searches.hit(RowId::NONE, Duration::from_millis(4));
        let row = told(&searches, "a").unwrap();
        assert_eq!((row.hits, row.asked), (3, 2));
        assert_eq!((row.saved, row.spent), (Duration::from_millis(12), Duration::from_millis(12)));
        let refusal = Refusal::at(Reason::Now, "query");
        searches.asked(described("a"), Duration::ZERO, Outcome::Bypass, Some(&refusal), || None);
        let row = told(&searches, "a").unwrap();
        assert_eq!((row.outcome, row.refusal), (Outcome::Bypass, Some(refusal)));
        assert_eq!(searches.example(&row.id).unwrap().body, "a");
        assert_eq!(searches.example("7-7"), None);
    }

    #[test]
    fn what_is_heavy_stays_and_what_is_gone_counts_nothing() {
        let searches = Searches::default();
        let first = ask(&searches, "light", 1);
        for number in 1..MOST {
            ask(&searches, &format!("heavy{number}"), 1_000);
        }
        let old = told(&searches, "light").unwrap().id;
        // heavier than the lightest: takes its row
        let newcomer = ask(&searches, "newcomer", 2);
        assert!(told(&searches, "light").is_none());
        assert_eq!(first.row, newcomer.row);
        searches.hit(first, Duration::from_secs(100));
        let row = told(&searches, "newcomer").unwrap();
        assert_eq!((row.hits, row.saved), (0, Duration::ZERO));
        assert_eq!(searches.example(&old), None);
        // many light ones wear it down, and the heavy ones stay
        let mut rows = (0..10).map(|number| ask(&searches, &format!("once{number}"), 1));
        assert_eq!((rows.next(), rows.next()), (Some(RowId::NONE), Some(newcomer_after(newcomer))));
        rows.for_each(drop);
        assert_eq!(searches.each().len(), MOST);
        assert!((1..MOST).all(|number| told(&searches, &format!("heavy{number}")).is_some()));
    }

    /// The same row, given to the next.
    fn newcomer_after(id: RowId) -> RowId {
        RowId { turn: id.turn + 1, ..id }
    }
}
