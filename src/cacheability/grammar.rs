//! What a grammar of the request language is made of: words, the forms in which they stand, the kinds of their values.
//!
//! The tables that use these types are in [`language`](super::language); [`walk`](super::walk) applies them to a
//! request, [`docs`](super::docs) renders them for people.

use crate::elastic::api::{Distribution, Engine};
use crate::elastic::json::Order;
use crate::outcome::Reason;

/// A set of engines: the majors whose sources the tables were read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Engines(u8);

/// Elasticsearch 7 (read at 7.17).
pub(super) const ES7: Engines = Engines(1);
/// Elasticsearch 8 (read at 8.19).
pub(super) const ES8: Engines = Engines(2);
/// Elasticsearch 9 (read at 9.2).
pub(super) const ES9: Engines = Engines(4);
/// OpenSearch 2 (read at 2.19).
pub(super) const OS2: Engines = Engines(8);
/// OpenSearch 3 (read at 3.6).
pub(super) const OS3: Engines = Engines(16);
/// Elasticsearch.
pub(super) const ES: Engines = ES7.and(ES8).and(ES9);
/// OpenSearch.
pub(super) const OS: Engines = OS2.and(OS3);
/// Elasticsearch 8 and 9.
pub(super) const ES89: Engines = ES8.and(ES9);
/// Elasticsearch 7 and what was forked from it.
pub(super) const OLD: Engines = ES7.and(OS);
/// All of them.
pub(super) const ALL: Engines = ES.and(OS);

impl Engines {
    /// Both sets.
    pub(super) const fn and(self, other: Engines) -> Engines {
        Engines(self.0 | other.0)
    }

    /// Whether all of `other` are in this set.
    pub(super) const fn has(self, other: Engines) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in this set.
    pub(super) const fn meets(self, other: Engines) -> bool {
        self.0 & other.0 != 0
    }

    /// The column of an engine; `None` where no table speaks of that version.
    pub(super) fn of(engine: Engine) -> Option<Engines> {
        match (engine.distribution, engine.version.0) {
            (Distribution::Elasticsearch, 7) => Some(ES7),
            (Distribution::Elasticsearch, 8) => Some(ES8),
            (Distribution::Elasticsearch, 9) => Some(ES9),
            (Distribution::OpenSearch, 2) => Some(OS2),
            (Distribution::OpenSearch, 3) => Some(OS3),
            _ => None,
        }
    }
}

/// A word of the request language in one place: the name of a query, an aggregation, an option.
#[derive(Debug)]
pub(super) struct Word {
    /// As it is written in a request.
    pub(super) name: &'static str,
    /// The engines that know it in this place.
    pub(super) engines: Engines,
    /// Allowed with what value, or refused why.
    pub(super) rule: Rule,
    /// What it sets, where another word sets the same: two such words in one object are refused, since then the
    /// engine lets the order of members decide.
    pub(super) sets: &'static [&'static str],
}

/// What a word means for the cache.
#[derive(Debug)]
pub(super) enum Rule {
    /// Allowed, with a value of this kind.
    Allowed(Kind),
    /// Refused, and why in words.
    Refused(Reason, &'static str),
}

/// An allowed word that all engines know.
pub(super) const fn word(name: &'static str, kind: Kind) -> Word {
    Word { name, engines: ALL, rule: Rule::Allowed(kind), sets: &[] }
}

/// A refused word that all engines know.
pub(super) const fn refuse(name: &'static str, reason: Reason, why: &'static str) -> Word {
    Word { name, engines: ALL, rule: Rule::Refused(reason, why), sets: &[] }
}

impl Word {
    /// The word, known to these engines only.
    pub(super) const fn on(self, engines: Engines) -> Word {
        Word { engines, ..self }
    }

    /// The word, which shares with others what it sets.
    pub(super) const fn sets(self, sets: &'static [&'static str]) -> Word {
        Word { sets, ..self }
    }
}

/// What may stand as a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A string, number, boolean or null that says nothing to the cache.
    Scalar,
    /// A scalar that an engine may read as a date, so that `now` is the clock, or as an index name.
    Date,
    /// A scalar that an engine may read as an index name, in which date maths such as `<logs-{now/d}>` may stand.
    Index,
    /// The text of a query in Lucene's syntax, in which `now` may stand for the clock.
    QueryText,
    /// The name of an analyzer, unless it is one that reloads its dictionary.
    Analyzer,
    /// The same beside a text that an engine may read as dates: one whose words are known.
    DateAnalyzer,
    /// One of these words, or null; another one is refused.
    Among(&'static [&'static str], Reason),
    /// A boolean that is allowed where it is false.
    Off(Reason),
    /// An object that is allowed where it is empty.
    Empty(Reason),
    /// A script: allowed in the language `expression`, which has neither clock nor chance.
    Script,
    /// Anything; it stays in the key as it is written.
    Any,
    /// An array of the kind.
    List(&'static Kind),
    /// The first of these whose JSON type fits.
    Either(&'static [Kind]),
    /// An object with options.
    Options(&'static Form),
    /// The same for a form that contains itself (a constant cannot refer to such a table, a function can).
    Nested(fn() -> &'static Form),
    /// An object that is refused, and why.
    Refused(Reason, &'static str),
}

/// The form of an object: which members it may have.
#[derive(Debug)]
pub(super) struct Form {
    /// What it is, for people.
    pub(super) name: &'static str,
    /// The class of the engines that reads it, or the like.
    pub(super) source: &'static str,
    /// The members with fixed names.
    pub(super) words: &'static [&'static [Word]],
    /// The members beside them.
    pub(super) rest: Rest,
    /// Members that must be there, or the object is refused.
    pub(super) needs: &'static [Need],
    /// Whether the order of the members means something. `Free` says that its reader was read, and that each member
    /// goes into a variable of its own.
    pub(super) order: Order,
}

/// Members beside those with fixed names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rest {
    /// None.
    Nothing,
    /// Exactly one of these words, such as the name of a query.
    One(&'static [Word]),
    /// One of these words or none.
    AtMostOne(&'static [Word]),
    /// Exactly one member with a name of the user's choice, such as a field.
    Name(Kind),
    /// Any number of members with names of the user's choice.
    Names(Kind),
    /// Any number of members whose names are index expressions.
    Indices(Kind),
}

/// A member without which an object is refused.
#[derive(Debug)]
pub(super) struct Need {
    /// Its name.
    pub(super) member: &'static str,
    /// Why its absence is a reason.
    pub(super) reason: Reason,
    /// The same in words.
    pub(super) why: &'static str,
}

impl Form {
    /// A form with these members, whose order is free.
    pub(super) const fn new(
        name: &'static str,
        source: &'static str,
        words: &'static [&'static [Word]],
    ) -> Form {
        Form { name, source, words, rest: Rest::Nothing, needs: &[], order: Order::Free }
    }

    /// The form, with further members.
    pub(super) const fn rest(self, rest: Rest) -> Form {
        Form { rest, ..self }
    }

    /// The form, refused without these members.
    pub(super) const fn needs(self, needs: &'static [Need]) -> Form {
        Form { needs, ..self }
    }

    /// The form, with an order of members that means something.
    pub(super) const fn kept(self) -> Form {
        Form { order: Order::Kept, ..self }
    }
}
