//! Every word of the tables in its place, on every engine: allowed where it is allowed, refused where it is refused,
//! unknown where it is unknown.

use super::*;
use crate::cacheability::docs::words;
use crate::cacheability::grammar::{Engines, Form, Kind, Rest, Rule, Word};
use crate::cacheability::language::reads::{FIELD_CAPS, QUERY_ALONE, TERMS_ENUM};
use crate::cacheability::language::search::SEARCH;
use crate::cacheability::parameters::{self, PARAMETERS};
use crate::outcome::Reason;

pub(super) const ENGINES: [Engine; 5] = [
    Engine { distribution: Distribution::Elasticsearch, version: (7, 17) },
    Engine { distribution: Distribution::Elasticsearch, version: (8, 19) },
    Engine { distribution: Distribution::Elasticsearch, version: (9, 2) },
    Engine { distribution: Distribution::OpenSearch, version: (2, 19) },
    Engine { distribution: Distribution::OpenSearch, version: (3, 6) },
];

#[test]
fn every_word() {
    for engine in ENGINES {
        for (api, form) in [
            (Api::Search, &SEARCH),
            (Api::Count, &QUERY_ALONE),
            (Api::FieldCaps, &FIELD_CAPS),
            (Api::TermsEnum, &TERMS_ENUM),
        ] {
            let samples = samples(engine, form);
            let refused = samples.iter().filter(|sample| sample.expected.is_some()).count();
            assert!(matches!(api, Api::FieldCaps | Api::TermsEnum) || samples.len() > 500 && refused > 10);
            for Sample { what, body, expected } in samples {
                let verdict = judge_body(api, Some(engine), "", &body, false);
                let reason = verdict.as_ref().err().map(|refusal| refusal.reason);
                assert_eq!(reason, expected, "{what} on {engine:?}: {verdict:?} to {body}");
            }
        }
    }
}

#[test]
fn every_parameter() {
    for engine in ENGINES {
        let column = Engines::of(engine).unwrap();
        for parameter in PARAMETERS {
            let api = parameter.apis[0];
            let verdict = judge_body(api, Some(engine), &format!("{}=x", parameter.name), &json!({}), false);
            let expected = match parameter.rule {
                _ if !parameter.engines.has(column) => Some(Reason::UnknownParameter),
                // "x" is none that is known
                parameters::Rule::Analyzer => Some(Reason::Now),
                parameters::Rule::Only(_, reason, _) => Some(reason),
                _ => None,
            };
            assert_eq!(verdict.err().map(|refusal| refusal.reason), expected, "{}", parameter.name);
        }
    }
}

#[test]
fn words_stand_once_for_an_engine() {
    for engine in ENGINES {
        let column = Engines::of(engine).unwrap();
        let mut visit = Visit { column, seen: Vec::new(), samples: Vec::new() };
        visit.form(&SEARCH, &|value| value);
        for form in visit.seen {
            let mut names: Vec<_> =
                words(form).filter(|word| word.engines.has(column)).map(|word| word.name).collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{}", form.name);
        }
    }
}

/// An analyzer beside a text that may be a date decides whether it is one.
#[test]
fn analyzers_stand_beside_dates_as_such() {
    let mut found = Vec::new();
    for engine in ENGINES {
        let column = Engines::of(engine).unwrap();
        let mut visit = Visit { column, seen: Vec::new(), samples: Vec::new() };
        visit.form(&SEARCH, &|value| value);
        for form in visit.seen {
            let kinds = || {
                words(form).filter_map(|word| match &word.rule {
                    Rule::Allowed(kind) => Some((word.name, kind)),
                    Rule::Refused(..) => None,
                })
            };
            let dates = kinds().any(|(_, kind)| matches!(kind, Kind::Date | Kind::QueryText));
            for (name, kind) in kinds() {
                if ["analyzer", "normalizer", "tokenizer"].iter().any(|part| name.ends_with(part)) {
                    assert_eq!(matches!(kind, Kind::DateAnalyzer), dates, "{name} of {}", form.name);
                    found.push((form.name, name));
                }
            }
        }
    }
    assert!(
        found.contains(&("query_string", "quote_analyzer")) && found.contains(&("multi_match", "analyzer"))
    );
    assert!(found.contains(&("more_like_this", "analyzer")));
}

/// A body with a word in its place, and what must be said to it.
pub(super) struct Sample {
    pub(super) what: &'static str,
    pub(super) body: Value,
    pub(super) expected: Option<Reason>,
}

/// A sample for every word that can be reached.
pub(super) fn samples(engine: Engine, form: &'static Form) -> Vec<Sample> {
    let mut visit = Visit { column: Engines::of(engine).unwrap(), seen: Vec::new(), samples: Vec::new() };
    visit.form(form, &|value| value);
    visit.samples
}

/// Goes through all forms that can be reached.
struct Visit {
    column: Engines,
    seen: Vec<&'static Form>,
    samples: Vec<Sample>,
}

/// Puts a value into the place of a form in a body.
type Place<'p> = &'p dyn Fn(Value) -> Value;

impl Visit {
    fn form(&mut self, form: &'static Form, place: Place<'_>) {
        if self.seen.iter().any(|known| std::ptr::eq(*known, form)) {
            return;
        }
        self.seen.push(form);
        for word in words(form) {
            self.word(form, word, place);
        }
        if let Rest::Name(kind) | Rest::Names(kind) | Rest::Indices(kind) = &form.rest {
            let inner = |value: Value| place(with_needs(form, json!({"my_name": value})));
            self.sample(form.name, inner(value(kind, self.column)), refused(kind));
            self.kind(kind, &inner);
        }
    }

    fn word(&mut self, form: &'static Form, word: &'static Word, place: Place<'_>) {
        let column = self.column;
        let inner = |value: Value| {
            let mut object = with_needs(form, json!({}));
            if form.words.iter().copied().flatten().any(|fixed| std::ptr::eq(fixed, word)) {
                add_rest(form, &mut object, column);
            }
            object[word.name] = value;
            place(object)
        };
        let (value, expected) = match &word.rule {
            Rule::Allowed(kind) => (value(kind, column), refused(kind)),
            Rule::Refused(reason, _) => (json!({}), Some(*reason)),
        };
        if word.engines.has(column) {
            self.sample(word.name, inner(value), expected);
            if let Rule::Allowed(kind) = &word.rule {
                self.kind(kind, &inner);
            }
            return;
        }
        let elsewhere = words(form).any(|other| other.name == word.name && other.engines.has(column));
        if !elsewhere && matches!(form.rest, Rest::Nothing | Rest::One(_) | Rest::AtMostOne(_)) {
            self.sample(word.name, inner(value), Some(Reason::UnknownWord));
        }
    }

    fn kind(&mut self, kind: &'static Kind, place: Place<'_>) {
        match kind {
            Kind::Options(form) => self.form(form, place),
            Kind::Nested(form) => self.form(form(), place),
            Kind::List(kind) => self.kind(kind, &|value| place(json!([value]))),
            Kind::Either(kinds) => {
                for kind in *kinds {
                    self.sample("an alternative", place(value(kind, self.column)), refused(kind));
                    self.kind(kind, place);
                }
            }
            _ => {}
        }
    }

    fn sample(&mut self, what: &'static str, body: Value, expected: Option<Reason>) {
        self.samples.push(Sample { what, body, expected });
    }
}

/// A small value of a kind.
fn value(kind: &'static Kind, column: Engines) -> Value {
    match kind {
        Kind::Scalar | Kind::Date | Kind::Index | Kind::QueryText | Kind::Analyzer => json!("x"),
        Kind::DateAnalyzer => json!("standard"),
        Kind::Among(names, _) => json!(names[0]),
        Kind::Off(_) => json!(false),
        Kind::Empty(_) => json!({}),
        Kind::Refused(..) => json!({"x": 1}),
        Kind::Script => json!({"source": "1", "lang": "expression"}),
        Kind::Any => json!({"any": [1, {"thing": null}]}),
        Kind::List(kind) => json!([value(kind, column)]),
        Kind::Either(kinds) => value(&kinds[0], column),
        Kind::Options(form) => smallest(form, column),
        Kind::Nested(form) => smallest(form(), column),
    }
}

fn smallest(form: &'static Form, column: Engines) -> Value {
    let mut object = with_needs(form, json!({}));
    add_rest(form, &mut object, column);
    object
}

/// Adds what an object must have beside the words with fixed names.
fn add_rest(form: &'static Form, object: &mut Value, column: Engines) {
    match &form.rest {
        Rest::One(words) => {
            let first = words.iter().find(|word| word.engines.has(column)).unwrap();
            let Rule::Allowed(kind) = &first.rule else { unreachable!("the first word is allowed") };
            object[first.name] = value(kind, column);
        }
        Rest::Name(kind) => object["my_name"] = value(kind, column),
        _ => {}
    }
}

fn with_needs(form: &Form, mut object: Value) -> Value {
    for need in form.needs {
        object[need.member] = json!("x");
    }
    object
}

/// The reason if all that the kind takes is refused.
fn refused(kind: &Kind) -> Option<Reason> {
    match kind {
        Kind::Refused(reason, _) => Some(*reason),
        _ => None,
    }
}
