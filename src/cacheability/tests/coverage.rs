//! Every word of the tables in its place, on every engine: allowed where it is allowed, refused where it is refused,
//! unknown where it is unknown.

use super::*;
use crate::cacheability::grammar::{Engines, Form, Kind, Rest, Rule, Word};
use crate::cacheability::language::search::{COUNT, SEARCH};
use crate::cacheability::parameters::{self, PARAMETERS};
use crate::outcome::Reason;

const ENGINES: [Engine; 5] = [
    Engine { distribution: Distribution::Elasticsearch, version: (7, 17) },
    Engine { distribution: Distribution::Elasticsearch, version: (8, 19) },
    Engine { distribution: Distribution::Elasticsearch, version: (9, 2) },
    Engine { distribution: Distribution::OpenSearch, version: (2, 19) },
    Engine { distribution: Distribution::OpenSearch, version: (3, 6) },
];

#[test]
fn every_word_of_a_search() {
    for engine in ENGINES {
        let words = Visit::new(engine, Api::Search).all(&SEARCH).count;
        println!("{engine:?}: {words:?}");
        assert!(words.allowed > 1000 && words.refused > 15);
    }
}

#[test]
fn every_word_of_a_count() {
    for engine in ENGINES {
        Visit::new(engine, Api::Count).all(&COUNT);
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
        for form in Visit::new(engine, Api::Search).all(&SEARCH).seen {
            let mut names: Vec<_> =
                words(form).filter(|word| word.engines.has(column)).map(|word| word.name).collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{}", form.name);
        }
    }
}

/// Goes through all forms that can be reached, and tries each word in its place.
struct Visit {
    ask: Ask,
    seen: Vec<&'static Form>,
    count: Count,
}

#[derive(Debug, Default)]
struct Count {
    allowed: usize,
    refused: usize,
    unknown: usize,
}

/// Who is asked, and what.
#[derive(Clone, Copy)]
struct Ask {
    engine: Engine,
    column: Engines,
    api: Api,
}

/// Puts a value into the place of a form in a body.
type Place<'p> = &'p dyn Fn(Value) -> Value;

impl Visit {
    fn new(engine: Engine, api: Api) -> Visit {
        let ask = Ask { engine, column: Engines::of(engine).unwrap(), api };
        Visit { ask, seen: Vec::new(), count: Count::default() }
    }

    fn all(mut self, form: &'static Form) -> Visit {
        self.form(form, &|value| value);
        self
    }

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
            self.ask.judge(&inner(self.ask.sample(kind)), refused(kind), form.name);
            self.kind(kind, &inner);
        }
    }

    fn word(&mut self, form: &'static Form, word: &'static Word, place: Place<'_>) {
        let ask = self.ask;
        let inner = |value: Value| {
            let mut object = with_needs(form, json!({}));
            if form.words.iter().copied().flatten().any(|fixed| std::ptr::eq(fixed, word)) {
                ask.add_rest(form, &mut object);
            }
            object[word.name] = value;
            place(object)
        };
        let (value, expected) = match &word.rule {
            Rule::Allowed(kind) => (ask.sample(kind), refused(kind)),
            Rule::Refused(reason, _) => (json!({}), Some(*reason)),
        };
        if word.engines.has(ask.column) {
            ask.judge(&inner(value), expected, word.name);
            match expected {
                None => self.count.allowed += 1,
                Some(_) => self.count.refused += 1,
            }
            if let Rule::Allowed(kind) = &word.rule {
                self.kind(kind, &inner);
            }
            return;
        }
        let elsewhere = words(form).any(|other| other.name == word.name && other.engines.has(ask.column));
        if !elsewhere && matches!(form.rest, Rest::Nothing | Rest::One(_) | Rest::AtMostOne(_)) {
            ask.judge(&inner(value), Some(Reason::UnknownWord), word.name);
            self.count.unknown += 1;
        }
    }

    fn kind(&mut self, kind: &'static Kind, place: Place<'_>) {
        match kind {
            Kind::Options(form) => self.form(form, place),
            Kind::Nested(form) => self.form(form(), place),
            Kind::List(kind) => self.kind(kind, &|value| place(json!([value]))),
            Kind::Either(kinds) => {
                for kind in *kinds {
                    self.ask.judge(&place(self.ask.sample(kind)), refused(kind), "an alternative");
                    self.kind(kind, place);
                }
            }
            _ => {}
        }
    }
}

impl Ask {
    /// A small value of a kind.
    fn sample(self, kind: &'static Kind) -> Value {
        match kind {
            Kind::Scalar | Kind::Date | Kind::Index | Kind::QueryText => json!("x"),
            Kind::Off(_) => json!(false),
            Kind::Empty(_) => json!({}),
            Kind::Refused(..) => json!({"x": 1}),
            Kind::Script => json!({"source": "1", "lang": "expression"}),
            Kind::Any => json!({"any": [1, {"thing": null}]}),
            Kind::List(kind) => json!([self.sample(kind)]),
            Kind::Either(kinds) => self.sample(&kinds[0]),
            Kind::Options(form) => self.smallest(form),
            Kind::Nested(form) => self.smallest(form()),
        }
    }

    fn smallest(self, form: &'static Form) -> Value {
        let mut object = with_needs(form, json!({}));
        self.add_rest(form, &mut object);
        object
    }

    /// Adds what an object must have beside the words with fixed names.
    fn add_rest(self, form: &'static Form, object: &mut Value) {
        match &form.rest {
            Rest::One(words) => {
                let first = words.iter().find(|word| word.engines.has(self.column)).unwrap();
                let Rule::Allowed(kind) = &first.rule else { unreachable!("the first word is allowed") };
                object[first.name] = self.sample(kind);
            }
            Rest::Name(kind) => object["my_name"] = self.sample(kind),
            _ => {}
        }
    }

    #[track_caller]
    fn judge(self, body: &Value, expected: Option<Reason>, what: &str) {
        let verdict = judge_body(self.api, Some(self.engine), "", body, false);
        let reason = verdict.as_ref().err().map(|refusal| refusal.reason);
        assert_eq!(reason, expected, "{what} on {:?}: {verdict:?} to {body}", self.engine);
    }
}

fn words(form: &'static Form) -> impl Iterator<Item = &'static Word> {
    let rest: &[Word] = match form.rest {
        Rest::One(words) | Rest::AtMostOne(words) => words,
        _ => &[],
    };
    form.words.iter().copied().flatten().chain(rest)
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
