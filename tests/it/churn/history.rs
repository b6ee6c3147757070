//! The values that something had, and which of them an answer may show.

use std::fmt::Debug;
use std::time::Instant;

/// How many steps are shown of what was not legal.
const TOLD: usize = 6;

/// A time, both ends included.
pub(crate) type Span = (Instant, Instant);

/// From before a request was sent to after the last byte of its answer, and by whose word it is judged how old that may be.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) span: Span,
    pub(crate) word: Word,
}

/// Who says that a change is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Word {
    /// The engine, by an acknowledgement. A node that its master has dropped without its knowing has not been asked for it,
    /// and goes on answering by what it has, until it has joined again.
    Engine,
    /// And no node that runs can show an older one.
    AllNodes,
}

/// The values that something had, one after the other. A value may be seen from the moment its change was *begun* until
/// a later one is *sure*: nobody may be shown an older one any more.
pub(crate) struct History<T>(Vec<Step<T>>);

#[derive(Debug)]
struct Step<T> {
    value: T,
    begun: Instant,
    /// By each [`Word`].
    sure: [Option<Instant>; 2],
}

impl<T> Step<T> {
    fn sure(&self, word: Word) -> Option<Instant> {
        self.sure[word as usize]
    }
}

impl<T> History<T> {
    /// Something that has had this value for as long as it was there to be seen.
    pub(crate) fn new(value: T) -> Self {
        let now = Instant::now();
        Self(vec![Step { value, begun: now, sure: [Some(now); 2] }])
    }

    /// To be called before the change is sent. Returns its number.
    pub(crate) fn begin(&mut self, value: T) -> usize {
        self.0.push(Step { value, begun: Instant::now(), sure: [None; 2] });
        self.0.len() - 1
    }

    /// To be called after somebody was told that this change, or a later one, is visible to all.
    pub(crate) fn settle(&mut self, step: usize, word: Word) {
        for said in [Word::Engine, Word::AllNodes].into_iter().filter(|said| *said <= word) {
            self.0[step].sure[said as usize].get_or_insert_with(Instant::now);
        }
    }

    /// From now on, any of its values may be seen, until a change is sure again.
    pub(super) fn forget(&mut self) {
        self.0.iter_mut().for_each(|step| step.sure = [None; 2]);
    }

    /// What it was made to be last.
    pub(crate) fn last(&self) -> &T {
        &self.0[self.0.len() - 1].value
    }

    /// When, within a window, each value may have been seen, the latest value first.
    pub(super) fn seen(&self, Window { span, word }: Window) -> impl Iterator<Item = (usize, &T, Span)> {
        let mut until = span.1;
        let mut all_later_are_sure = false;
        let steps = self.0.iter().enumerate().rev();
        let steps = steps.map_while(move |(number, step)| {
            if all_later_are_sure {
                return None;
            }
            let seen = (step.begun.max(span.0), until);
            if let Some(sure) = step.sure(word) {
                until = until.min(sure);
                all_later_are_sure = sure <= span.0;
            }
            Some((number, &step.value, seen))
        });
        steps.filter(|(_, _, (from, until))| from <= until)
    }

    /// The values that may have been seen in a window.
    pub(crate) fn possible(&self, window: Window) -> impl Iterator<Item = &T> {
        self.seen(window).map(|(_, value, _)| value)
    }

    /// Its last steps, for a person: when each began and was sure, in seconds from the beginning of the window.
    pub(super) fn tale(&self, window: Window) -> String
    where
        T: Debug,
    {
        let from = window.span.0;
        let when = |at: Instant| match at.checked_duration_since(from) {
            Some(after) => format!("{:+.2}", after.as_secs_f64()),
            None => format!("{:+.2}", -from.duration_since(at).as_secs_f64()),
        };
        let sure = |step: &Step<T>| step.sure.map(|at| at.map_or("-".to_owned(), when)).join("/");
        let last = self.0.iter().skip(self.0.len().saturating_sub(TOLD));
        let steps: Vec<_> =
            last.map(|step| format!("{:?} {} {}", step.value, when(step.begun), sure(step))).collect();
        format!("by {:?}; begun and sure by the engine/by all nodes: {}", window.word, steps.join(", "))
    }

    /// The first change after which this value may have been seen in a window.
    pub(crate) fn first(&self, wanted: &T, window: Window) -> Option<usize>
    where
        T: PartialEq,
    {
        self.seen(window).filter(|(_, value, _)| *value == wanted).map(|(number, ..)| number).last()
    }
}
