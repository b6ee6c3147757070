//! The tables for people: `docs/cacheability.md`.

use std::fmt::Write as _;
use std::ptr;

use crate::elastic::json::Order;
use crate::outcome::Reason;

use super::analyzers;
use super::grammar::{ALL, ES7, ES8, ES9, Engines, Form, Kind, OS2, OS3, Rest, Rule, Word};
use super::language::reads::{FIELD_CAPS, QUERY_ALONE, TERMS_ENUM};
use super::language::search::SEARCH;
use super::parameters::{self, PARAMETERS};

const COLUMNS: [(Engines, &str); 5] =
    [(ES7, "ES 7"), (ES8, "ES 8"), (ES9, "ES 9"), (OS2, "OS 2"), (OS3, "OS 3")];

/// Renders the tables as markdown.
#[must_use]
pub fn render() -> String {
    let mut out = INTRODUCTION.to_owned();
    summary(&mut out);
    reasons(&mut out);
    parameters(&mut out);
    out.push_str("\n## The body\n");
    for form in forms(ALL) {
        section(&mut out, form);
    }
    out
}

const INTRODUCTION: &str = "\
# What is cached

<!-- Made from the tables in src/cacheability by `UPDATE=1 cargo test --lib cacheability`. -->

escache answers a search from its cache only if it knows every word of it. This page lists the words: the URL
parameters, then the forms of the body with the words that may stand in each. A word that is not listed, or not for
your engine, is a bypass with `detail=unknown-word` (or `unknown-parameter`): the search is forwarded, nothing is stored.

`+` allowed, `-` refused, blank: the engine does not know the word. Engines: Elasticsearch 7.17, 8, 9 (ES) and
OpenSearch 2, 3 (OS).

";

/// All forms that can be reached from a body on any of the engines, in the order in which they are met.
fn forms(engines: Engines) -> Vec<&'static Form> {
    fn visit(form: &'static Form, engines: Engines, seen: &mut Vec<&'static Form>) {
        if seen.iter().any(|known| ptr::eq(*known, form)) {
            return;
        }
        seen.push(form);
        for word in words(form).filter(|word| word.engines.meets(engines)) {
            if let Rule::Allowed(kind) = &word.rule {
                kinds(kind, engines, seen);
            }
        }
        if let Rest::Name(kind) | Rest::Names(kind) | Rest::Indices(kind) = &form.rest {
            kinds(kind, engines, seen);
        }
    }
    fn kinds(kind: &'static Kind, engines: Engines, seen: &mut Vec<&'static Form>) {
        match kind {
            Kind::Options(form) => visit(form, engines, seen),
            Kind::Nested(form) => visit(form(), engines, seen),
            Kind::List(kind) => kinds(kind, engines, seen),
            Kind::Either(all) => all.iter().for_each(|kind| kinds(kind, engines, seen)),
            _ => {}
        }
    }
    let mut seen = Vec::new();
    visit(&SEARCH, engines, &mut seen);
    visit(&QUERY_ALONE, engines, &mut seen);
    visit(&FIELD_CAPS, engines, &mut seen);
    visit(&TERMS_ENUM, engines, &mut seen);
    seen
}

/// The words that may stand in a form.
pub(super) fn words(form: &'static Form) -> impl Iterator<Item = &'static Word> {
    let rest: &[Word] = match form.rest {
        Rest::One(words) | Rest::AtMostOne(words) => words,
        _ => &[],
    };
    form.words.iter().copied().flatten().chain(rest)
}

fn summary(out: &mut String) {
    heading(out, &["", "words of the body allowed", "refused", "parameters allowed", "refused"]);
    for (engine, column) in COLUMNS {
        let count = |refused: bool| {
            let all = forms(engine).into_iter().flat_map(words);
            all.filter(|word| word.engines.has(engine) && is_refused(&word.rule) == refused).count()
        };
        let parameters = |refused: bool| {
            let known = PARAMETERS.iter().filter(|parameter| parameter.engines.has(engine));
            known.filter(|known| matches!(known.rule, parameters::Rule::Only(..)) == refused).count()
        };
        let (words, parameters) = ((count(false), count(true)), (parameters(false), parameters(true)));
        line(
            out,
            format_args!("| {column} | {} | {} | {} | {} |", words.0, words.1, parameters.0, parameters.1),
        );
    }
}

fn reasons(out: &mut String) {
    out.push_str("\n## The reasons\n\n");
    heading(out, &["detail", "meaning"]);
    for reason in [
        Reason::UnknownWord,
        Reason::UnknownParameter,
        Reason::DuplicateKey,
        Reason::Now,
        Reason::Random,
        Reason::Script,
        Reason::Lookup,
        Reason::Approximate,
        Reason::Stateful,
        Reason::Diagnostic,
        Reason::SearchPipeline,
        Reason::RemoteIndex,
        Reason::StoredTemplate,
        Reason::NotYet,
    ] {
        line(out, format_args!("| `{}` | {} |", reason.name(), reason.help()));
    }
    out.push_str(
        "\nDates: in the values marked *date*, a text that starts with `now` and reads as date maths is the clock. \
         Rounded (`now/d`), it is cached until its next boundary; in a time zone with a name (`Europe/Berlin`), whose \
         rules the engine alone knows, for a quarter of an hour at most, as its clocks may change then. Beside a text \
         that may be a date, an analyzer may make the word `now` of another one: so only analyzers are allowed whose \
         words are known, and the text is refused if one of its words begins with `now`, in small letters or not. \
         More than 64 different rounded `now`s in a body or an index expression are refused, and more than 8 shifts before a \
         rounding. Index names in date maths hold as long if the rounding is written (`<logs-{now/d}>`, not \
         `<logs-{now}>`), and are refused in a query; a list of indices with such a name must begin with `<`, else it \
         passes through. Indices on other clusters (`cluster:index`) and selectors (`index::failures`) are refused.\n",
    );
}

fn parameters(out: &mut String) {
    out.push_str("\n## URL parameters\n\n");
    out.push_str("An asynchronous search has those of a search, too.\n\n");
    for (name, apis) in parameters::sets() {
        line(out, format_args!("- *{name}*: {apis}"));
    }
    out.push('\n');
    let mut columns = vec!["parameter", "of"];
    columns.extend(COLUMNS.map(|(_, column)| column));
    columns.push("value");
    heading(out, &columns);
    for parameter in PARAMETERS {
        let apis = parameters::name_of(parameter.apis);
        let (refused, value) = match parameter.rule {
            parameters::Rule::Allowed => (false, "any".to_owned()),
            parameters::Rule::QueryText => (false, "query text without `now`".to_owned()),
            parameters::Rule::Analyzer => (false, value(&Kind::DateAnalyzer)),
            parameters::Rule::Only(&[], reason, why) => (true, format!("`{reason}`: {why}")),
            parameters::Rule::Only(values, reason, why) => {
                (false, format!("`{}`, else `{reason}`: {why}", values.join("`, `")))
            }
        };
        let marks = marks(parameter.engines, refused);
        line(out, format_args!("| `{}` | {apis} | {marks} | {value} |", parameter.name));
    }
}

fn section(out: &mut String, form: &'static Form) {
    line(out, format_args!("\n### {}\n\nRead by {}.", form.name, form.source));
    let rest = match &form.rest {
        Rest::Nothing => String::new(),
        Rest::One(_) => "Exactly one of the words that are marked 1.".to_owned(),
        Rest::AtMostOne(_) => "At most one of the words that are marked 1.".to_owned(),
        Rest::Name(kind) => {
            format!("One member with a name of your choice, such as a field: {}.", value(kind))
        }
        Rest::Names(kind) => format!("Members with names of your choice: {}.", value(kind)),
        Rest::Indices(kind) => format!("Members with the names of indices: {}.", value(kind)),
    };
    if !rest.is_empty() {
        line(out, format_args!("{rest}"));
    }
    for need in form.needs {
        line(out, format_args!("Without `{}`: `{}`, {}.", need.member, need.reason, need.why));
    }
    if form.order == Order::Kept {
        out.push_str("The order of the members is part of the question.\n");
    }
    if words(form).next().is_none() {
        return;
    }
    let mut columns = vec!["word"];
    columns.extend(COLUMNS.map(|(_, column)| column));
    columns.push("value");
    out.push('\n');
    heading(out, &columns);
    let fixed = form.words.iter().copied().flatten().count();
    for (at, word) in words(form).enumerate() {
        let one = if at < fixed { "" } else { " (1)" };
        let text = match &word.rule {
            Rule::Allowed(kind) => value(kind),
            Rule::Refused(reason, why) => format!("`{reason}`: {why}"),
        };
        let alone = match word.sets {
            [] => String::new(),
            sets => format!(" (one alone sets {})", sets.join(", ")),
        };
        let marks = marks(word.engines, is_refused(&word.rule));
        line(out, format_args!("| `{}`{one} | {marks} | {text}{alone} |", word.name));
    }
}

fn is_refused(rule: &Rule) -> bool {
    matches!(rule, Rule::Refused(..) | Rule::Allowed(Kind::Refused(..)))
}

/// The cells for the five engines.
fn marks(engines: Engines, refused: bool) -> String {
    let mark = |engine| match (engines.has(engine), refused) {
        (false, _) => " ",
        (true, true) => "-",
        (true, false) => "+",
    };
    COLUMNS.map(|(engine, _)| mark(engine)).join(" | ")
}

/// A kind of value in words.
fn value(kind: &Kind) -> String {
    match kind {
        Kind::Scalar => "value".to_owned(),
        Kind::Date => "*date*".to_owned(),
        Kind::Index => "value, may name an index".to_owned(),
        Kind::QueryText => "query text without `now`".to_owned(),
        Kind::Analyzer => format!("analyzer that does not reload its dictionary, else `{}`", Reason::Lookup),
        Kind::DateAnalyzer => {
            format!(
                "{} (`{}` if it reloads its dictionary)",
                value(&Kind::Among(analyzers::KNOWN, Reason::Now)),
                Reason::Lookup
            )
        }
        Kind::Among(names, reason) => {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("{}, else `{reason}`", names.join(", "))
        }
        Kind::Off(reason) => format!("`false`, else `{reason}`"),
        Kind::Empty(reason) => format!("`{{}}`, else `{reason}`"),
        Kind::Script => format!("script in `expression`, else `{}`", Reason::Script),
        Kind::Any => "anything".to_owned(),
        Kind::List(kind) => format!("list of {}", value(kind)),
        Kind::Either(kinds) => kinds.iter().map(value).collect::<Vec<_>>().join(" or "),
        Kind::Options(form) => link(form),
        Kind::Nested(form) => link(form()),
        Kind::Refused(reason, why) => format!("`{reason}` ({why})"),
    }
}

/// A link to the section of a form, by the rule in which GitHub names headings.
fn link(form: &Form) -> String {
    let anchor: String = form
        .name
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
            _ => None,
        })
        .collect();
    format!("[{}](#{anchor})", form.name)
}

fn heading(out: &mut String, columns: &[&str]) {
    line(out, format_args!("| {} |\n|{}", columns.join(" | "), " --- |".repeat(columns.len())));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}
