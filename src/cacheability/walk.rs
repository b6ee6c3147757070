//! The walk: applies the grammar to a body, once, and marks where the order of members is free.

use std::mem;

use crate::elastic::json::{Json, Object, Order};
use crate::outcome::{Reason, Refusal};

use super::analyzers;
use super::dates::{self, Now, RoundedNow, Zone};
use super::grammar::{Engines, Form, Kind, Rest, Rule, Word};
use super::target;

/// The state of a walk over one question.
pub(super) struct Walk {
    engine: Option<Engines>,
    rounded_now: bool,
    zone: Zone,
    /// Whether the object that is walked over names an analyzer for its text.
    analyzed: bool,
    /// Whether any object names one.
    pub(super) names_analyzers: bool,
    /// The rounded `now`s that were found.
    pub(super) now: Vec<RoundedNow>,
}

/// A refusal while its place is being put together, from the inside out.
#[derive(Debug)]
pub(super) struct Found {
    reason: Reason,
    /// The steps of the path, innermost first.
    path: Vec<String>,
    /// A word of the request language that stands there as a value.
    value: &'static str,
}

type Walked = Result<(), Found>;

impl Walk {
    /// A walk for an engine (`None`: unknown), which may pass rounded `now`s or not.
    pub(super) fn new(engine: Option<Engines>, rounded_now: bool) -> Walk {
        Walk {
            engine,
            rounded_now,
            zone: Zone::UTC,
            analyzed: false,
            names_analyzers: false,
            now: Vec::new(),
        }
    }

    /// Walks over a body.
    pub(super) fn body(&mut self, form: &'static Form, body: &mut Json<'_>) -> Result<(), Refusal> {
        self.value(&Kind::Options(form), body).map_err(Refusal::from)
    }

    fn value(&mut self, kind: &Kind, json: &mut Json<'_>) -> Walked {
        match (kind, json) {
            (Kind::Date, Json::String(text)) => self.date(text),
            (Kind::Index, Json::String(text)) => index(text),
            (Kind::QueryText, Json::String(text))
                if dates::in_query_text(text) || self.analyzed && dates::in_analyzed_query_text(text) =>
            {
                Err(Found::now())
            }
            (Kind::Analyzer | Kind::DateAnalyzer, Json::String(name)) if analyzers::reloads(name) => {
                Err(Reason::Lookup.into())
            }
            (Kind::DateAnalyzer, Json::String(name)) if !analyzers::is_known(name) => Err(Reason::Now.into()),
            (Kind::Among(names, reason), Json::String(name)) if !names.contains(&name.as_ref()) => {
                Err((*reason).into())
            }
            (Kind::Any, _)
            | (Kind::Off(_), Json::Null | Json::Bool(false))
            | (Kind::Among(..) | Kind::DateAnalyzer, Json::Null | Json::String(_))
            | (
                Kind::Scalar | Kind::Date | Kind::Index | Kind::QueryText | Kind::Analyzer,
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_),
            ) => Ok(()),
            (Kind::Off(_), Json::String(text)) if text == "false" => Ok(()),
            (Kind::Empty(_), Json::Object(object)) if object.members.is_empty() => Ok(()),
            (Kind::Off(reason) | Kind::Empty(reason) | Kind::Refused(reason, _), _) => Err((*reason).into()),
            (Kind::Script, json) => script(json),
            (Kind::List(kind), Json::Array(items)) => {
                for (at, item) in items.iter_mut().enumerate() {
                    self.value(kind, item).map_err(|found| found.under(format!("[{at}]")))?;
                }
                Ok(())
            }
            (Kind::Either(kinds), json) => match kinds.iter().find(|kind| fits(kind, json)) {
                Some(kind) => self.value(kind, json),
                None => Err(Reason::UnknownWord.into()),
            },
            (Kind::Options(form), Json::Object(object)) => self.options(form, object),
            (Kind::Nested(form), Json::Object(object)) => self.options(form(), object),
            _ => Err(Reason::UnknownWord.into()),
        }
    }

    fn date(&mut self, text: &str) -> Walked {
        // an analyzer makes words of the text, and hands each of them to the field
        if self.analyzed && dates::in_analyzed_text(text) {
            return Err(Found::now());
        }
        match dates::read(text, &self.zone) {
            Now::None => index(text),
            Now::Rounded(now) if self.rounded_now => {
                dates::note(&mut self.now, now).then_some(()).ok_or_else(Found::now)
            }
            Now::Rounded(_) | Now::Exact => Err(Found::now()),
        }
    }

    fn options(&mut self, form: &'static Form, object: &mut Object<'_>) -> Walked {
        let outer = time_zone(form, object).map(|zone| mem::replace(&mut self.zone, zone));
        let analyzed = mem::replace(&mut self.analyzed, names_analyzer(form, object));
        self.names_analyzers |= self.analyzed;
        let mut seen = Seen::default();
        for (name, value) in &mut object.members {
            self.member(form, name, value, &mut seen).map_err(|found| found.under(name.clone()))?;
        }
        self.analyzed = analyzed;
        if let Some(outer) = outer {
            self.zone = outer;
        }
        let enough = match form.rest {
            Rest::One(_) | Rest::Name(_) => seen.rest == 1,
            Rest::AtMostOne(_) => seen.rest <= 1,
            Rest::Nothing | Rest::Names(_) | Rest::Indices(_) => true,
        };
        if !enough {
            return Err(Reason::UnknownWord.into());
        }
        for need in form.needs {
            if !object.members.iter().any(|(name, value)| name == need.member && *value != Json::Null) {
                return Err(need.reason.into());
            }
        }
        object.order = form.order;
        Ok(())
    }

    fn member(&mut self, form: &'static Form, name: &str, value: &mut Json<'_>, seen: &mut Seen) -> Walked {
        if let Some(word) = form.words.iter().find_map(|words| self.find(words, name)) {
            return self.word(word, value, seen);
        }
        seen.rest += 1;
        match &form.rest {
            Rest::Nothing => Err(Reason::UnknownWord.into()),
            Rest::One(words) | Rest::AtMostOne(words) => match self.find(words, name) {
                Some(word) => self.word(word, value, seen),
                None => Err(Reason::UnknownWord.into()),
            },
            Rest::Name(kind) | Rest::Names(kind) => self.value(kind, value),
            Rest::Indices(kind) => index(name).and_then(|()| self.value(kind, value)),
        }
    }

    fn word(&mut self, word: &'static Word, value: &mut Json<'_>, seen: &mut Seen) -> Walked {
        if word.sets.iter().any(|what| seen.set.contains(what)) {
            return Err(Reason::DuplicateKey.into());
        }
        seen.set.extend(word.sets);
        match &word.rule {
            Rule::Allowed(kind) => self.value(kind, value),
            Rule::Refused(reason, _) => Err((*reason).into()),
        }
    }

    /// The word as the engine knows it. Where the engine is unknown, a word counts that means the same wherever it
    /// exists: one that has a single line in the table.
    fn find(&self, words: &'static [Word], name: &str) -> Option<&'static Word> {
        let mut named = words.iter().filter(|word| word.name == name);
        match self.engine {
            Some(engine) => named.find(|word| word.engines.has(engine)),
            None => named.next().filter(|_| named.next().is_none()),
        }
    }
}

/// What was met so far in an object.
#[derive(Default)]
struct Seen {
    set: Vec<&'static str>,
    rest: usize,
}

/// Whether the JSON type is one that the kind is written in.
fn fits(kind: &Kind, json: &Json<'_>) -> bool {
    match kind {
        Kind::Scalar
        | Kind::Date
        | Kind::Index
        | Kind::QueryText
        | Kind::Analyzer
        | Kind::DateAnalyzer
        | Kind::Among(..)
        | Kind::Off(_) => !matches!(json, Json::Array(_) | Json::Object(_)),
        Kind::List(_) => matches!(json, Json::Array(_)),
        Kind::Options(_) | Kind::Nested(_) | Kind::Empty(_) | Kind::Refused(..) => {
            matches!(json, Json::Object(_))
        }
        Kind::Any | Kind::Script => true,
        Kind::Either(kinds) => kinds.iter().any(|kind| fits(kind, json)),
    }
}

/// Refuses an index name that names the clock.
fn index(text: &str) -> Walked {
    if target::has_date_maths(text) { Err(Found::now()) } else { Ok(()) }
}

/// Whether an object names an analyzer that makes dates of the text beside it.
fn names_analyzer(form: &Form, object: &Object<'_>) -> bool {
    let is_one = |word: &&Word| matches!(word.rule, Rule::Allowed(Kind::DateAnalyzer));
    let words = || form.words.iter().copied().flatten().filter(is_one);
    let named = |name: &str| words().any(|word| word.name == name);
    object.members.iter().any(|(name, value)| *value != Json::Null && named(name))
}

/// The time zone that an object gives to the dates in it; `None` where it does not say.
fn time_zone(form: &Form, object: &Object<'_>) -> Option<Zone> {
    let (_, written) = object.members.iter().find(|(name, _)| name == "time_zone")?;
    form.words.iter().copied().flatten().find(|word| word.name == "time_zone")?;
    Some(match written {
        Json::Null => Zone::UTC,
        Json::String(text) => Zone::read(text),
        _ => Zone::Unknown,
    })
}

/// Scripts are refused but for `{"source": .., "lang": "expression"}` (`Script.parse`).
fn script(json: &mut Json<'_>) -> Walked {
    let Json::Object(object) = json else { return Err(Reason::Script.into()) };
    let text = |name: &str| match object.members.iter().find(|(n, _)| n == name) {
        Some((_, Json::String(text))) => Some(text.as_ref()),
        _ => None,
    };
    if text("lang") != Some("expression") || text("source").is_none() {
        return Err(Reason::Script.into());
    }
    for (name, value) in &object.members {
        let known = match (name.as_ref(), value) {
            ("lang" | "source", _) | ("params", Json::Object(_)) => true,
            ("options", Json::Object(options)) => options.members.is_empty(),
            _ => false,
        };
        if !known {
            return Err(Found::from(Reason::Script).under(name.clone()));
        }
    }
    object.order = Order::Free;
    Ok(())
}

impl Found {
    fn now() -> Found {
        Found { reason: Reason::Now, path: Vec::new(), value: "now" }
    }

    /// The same, one step further out.
    pub(super) fn under(mut self, step: impl Into<String>) -> Found {
        self.path.push(step.into());
        self
    }
}

impl From<Reason> for Found {
    fn from(reason: Reason) -> Found {
        Found { reason, path: Vec::new(), value: "" }
    }
}

impl From<Found> for Refusal {
    fn from(found: Found) -> Refusal {
        let mut place = String::new();
        for step in found.path.iter().rev() {
            if !place.is_empty() && !step.starts_with('[') {
                place.push('.');
            }
            place.push_str(step);
        }
        let mut place = fit_for_a_header(&place);
        if !found.value.is_empty() {
            place.push_str(": ");
            place.push_str(found.value);
        }
        Refusal::at(found.reason, place)
    }
}

/// The longest place that is shown whole.
const LONGEST_PLACE: usize = 190;

/// Printable ASCII of bounded length. From a long place the middle is cut, since its ends tell most.
pub(super) fn fit_for_a_header(place: &str) -> String {
    let mut shown = String::with_capacity(place.len());
    for c in place.chars().take(16 * LONGEST_PLACE) {
        match c {
            ' '..='~' => shown.push(c),
            _ => shown.extend(c.escape_unicode()),
        }
    }
    if shown.len() <= LONGEST_PLACE {
        return shown;
    }
    let half = (LONGEST_PLACE - 3) / 2;
    format!("{}...{}", &shown[..half], &shown[shown.len() - half..])
}
