//! Which words of the request language a request says, by the tables of `docs/cacheability.md`, and which words cannot be
//! shown (`unshown.yml`). A name that its user chose, such as a field `rank`, is no word.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::Value;

/// A word in its place: the heading of its form, and its name.
pub(super) type Place = (String, String);

/// The form that the page has for URL parameters.
const PARAMETERS: &str = "URL parameters";

/// The forms of bodies.
const ROOTS: [&str; 4] = [
    "the body of _search",
    "the body of _count, _explain and _validate/query",
    "the body of _field_caps",
    "the body of _terms_enum",
];

/// The tables of the page.
pub(super) struct Page {
    /// By their anchors.
    forms: HashMap<String, Form>,
    /// The column of the engine.
    column: usize,
}

#[derive(Default)]
struct Form {
    heading: String,
    words: Vec<Word>,
    /// The forms of members with names of the user's choice.
    rest: Vec<Link>,
}

struct Word {
    name: String,
    /// `+`, `-` or nothing, for each engine.
    marks: Vec<String>,
    links: Vec<Link>,
}

/// A form that may stand as a value.
#[derive(PartialEq)]
struct Link {
    anchor: String,
    /// As an item of a list.
    listed: bool,
}

impl Page {
    /// The page as an engine's column reads.
    pub(super) fn new(column: usize) -> Page {
        let mut page = Page { forms: HashMap::new(), column };
        let mut at = String::new();
        for line in include_str!("../../../docs/cacheability.md").lines() {
            if let Some(heading) = line.strip_prefix('#') {
                let heading = heading.trim_start_matches('#').trim();
                at = anchor(heading);
                let form = Form { heading: heading.to_owned(), ..Form::default() };
                let known = page.forms.insert(at.clone(), form);
                assert!(known.is_none(), "two forms have the anchor {at}");
                continue;
            }
            let Some(form) = page.forms.get_mut(&at) else { continue };
            if line.starts_with("Members with") || line.starts_with("One member with") {
                form.rest = links(line.split_once(": ").unwrap().1);
            }
            let Some((name, cells)) = line.strip_prefix("| `").and_then(|row| row.split_once('`')) else {
                continue;
            };
            let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
            // a parameter has a cell for its endpoints
            let first = if form.heading == PARAMETERS { 2 } else { 1 };
            let Some(marks) = cells.get(first..first + 5) else { continue };
            form.words.push(Word {
                name: name.to_owned(),
                marks: marks.iter().map(|mark| (*mark).to_owned()).collect(),
                links: cells.get(first + 5).map_or_else(Vec::new, |value| links(value)),
            });
        }
        page
    }

    /// All words with a mark, in their places.
    pub(super) fn marked(&self, mark: &str) -> BTreeSet<Place> {
        let words =
            self.reachable().into_iter().flat_map(|form| form.words.iter().map(move |word| (form, word)));
        words.filter(|(_, word)| self.mark(word) == mark).map(|(form, word)| place(form, word)).collect()
    }

    /// The forms that a request to this engine can have.
    fn reachable(&self) -> Vec<&Form> {
        let mut seen = BTreeSet::new();
        let mut next: Vec<String> = ROOTS.into_iter().chain([PARAMETERS]).map(anchor).collect();
        while let Some(anchor) = next.pop() {
            let form = &self.forms[&anchor];
            if seen.insert(anchor) {
                let allowed = form.words.iter().filter(|word| self.mark(word) == "+");
                let links = form.rest.iter().chain(allowed.flat_map(|word| &word.links));
                next.extend(links.map(|link| link.anchor.clone()));
            }
        }
        seen.iter().map(|anchor| &self.forms[anchor]).collect()
    }

    /// The words with a mark that a request says.
    pub(super) fn said(&self, mark: &str, path: &str, text: &str) -> BTreeSet<Place> {
        let mut said = BTreeSet::new();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        for name in query.split('&').map(|pair| pair.split('=').next().unwrap_or_default()) {
            let form = &self.forms[&anchor(PARAMETERS)];
            let words = form.words.iter().filter(|word| word.name == name && self.mark(word) == mark);
            said.extend(words.map(|word| place(form, word)));
        }
        let (root, several) = match path.rsplit('/').find(|part| part.starts_with('_')).unwrap_or_default() {
            "_search" => (ROOTS[0], false),
            "_msearch" => (ROOTS[0], true),
            "_count" | "_explain" | "_validate" => (ROOTS[1], false),
            "_field_caps" => (ROOTS[2], false),
            "_terms_enum" => (ROOTS[3], false),
            _ => return said,
        };
        let bodies: Vec<&str> = if several { text.lines().skip(1).step_by(2).collect() } else { vec![text] };
        for body in bodies {
            if let Ok(body) = serde_json::from_str::<Value>(body) {
                self.walk(mark, &anchor(root), &body, &mut said);
            }
        }
        said
    }

    fn walk(&self, mark: &str, anchor: &str, value: &Value, said: &mut BTreeSet<Place>) {
        let form = &self.forms[anchor];
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.walk(mark, anchor, item, said)),
            Value::Object(members) => {
                for (name, value) in members {
                    let known =
                        form.words.iter().find(|word| word.name == *name && !self.mark(word).is_empty());
                    if let Some(word) = known.filter(|word| self.mark(word) == mark) {
                        said.insert(place(form, word));
                    }
                    let links = known.map_or(&form.rest, |word| &word.links);
                    // a list of what stands alone elsewhere
                    let listed = value.is_array() && links.iter().any(|link| link.listed);
                    let alone = value.is_object() && links.iter().any(|link| !link.listed);
                    let fitting =
                        links.iter().filter(|link| !(listed && !link.listed || alone && link.listed));
                    fitting.for_each(|link| self.walk(mark, &link.anchor, value, said));
                }
            }
            _ => {}
        }
    }

    fn mark<'w>(&self, word: &'w Word) -> &'w str {
        &word.marks[self.column]
    }
}

fn place(form: &Form, word: &Word) -> Place {
    (form.heading.clone(), word.name.clone())
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-')).collect()
}

/// The links of a cell: `list of [query](#query) or [named filters](#named-filters)`.
fn links(cell: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for choice in cell.split(" or ") {
        let Some((_, target)) = choice.split_once("](#") else { continue };
        let anchor = target.split(')').next().unwrap_or_default().to_owned();
        let link = Link { anchor, listed: choice.starts_with("list of") };
        if !links.contains(&link) {
            links.push(link);
        }
    }
    links
}

/// The names of words; those of parameters begin with `?`.
pub(super) fn names(places: &BTreeSet<Place>) -> BTreeSet<String> {
    let name = |(form, word): &Place| if form == PARAMETERS { format!("?{word}") } else { word.clone() };
    places.iter().map(name).collect()
}

/// Words that no scenario can show, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unshown {
    /// Allowed words that are never hits.
    allowed: Vec<Group>,
    /// Refused words that are never seen refused.
    refused: Vec<Group>,
    /// How many requests of the scenarios an engine may answer with an error since it lacks a module.
    pub(super) absent: BTreeMap<String, usize>,
    /// How many places of allowed words are hits, at least.
    pub(super) places: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    why: String,
    engines: Vec<String>,
    words: Vec<String>,
}

/// The list.
pub(super) fn unshown() -> Unshown {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/parity/unshown.yml");
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

impl Unshown {
    /// The words that are listed for an engine as allowed, or as refused.
    pub(super) fn of(&self, refused: bool, engine: &str) -> BTreeSet<String> {
        let mut words = BTreeSet::new();
        for group in if refused { &self.refused } else { &self.allowed } {
            assert!(group.why.len() > 10, "{:?} have no reason", group.words);
            if super::is_for(&group.engines, engine) {
                for word in &group.words {
                    assert!(words.insert(word.clone()), "{word} is listed twice for {engine}");
                }
            }
        }
        words
    }
}

#[test]
fn names_that_a_user_chose_are_no_words() {
    let page = Page::new(0);
    let body = r#"{"query": {"bool": {"filter": [{"term": {"rank": {"value": 1}}}]}},
        "sort": [{"query": {"order": "asc"}}],
        "aggs": {"avg": {"filters": {"filters": {"knn": {"match_all": {}}}}}, "b": {"filters": {"filters": [{"ids": {}}]}}},
        "highlight": {"fields": {"title": {"fragmenter": "simple"}}}, "collapse": {"field": "x"}}"#;
    let said = page.said("+", "/a/_search?size=1&boost=2", body);
    let wanted = [
        "?size",
        "aggs",
        "bool",
        "collapse",
        "field",
        "fields",
        "filter",
        "filters",
        "fragmenter",
        "highlight",
        "ids",
        "match_all",
        "order",
        "query",
        "sort",
        "term",
        "value",
    ];
    assert_eq!(names(&said).into_iter().collect::<Vec<_>>(), wanted);
    let refused =
        page.said("-", "/a/_search?scroll=1m", r#"{"slice": {}, "query": {"script": {}, "knn": {}}}"#);
    assert_eq!(names(&refused).into_iter().collect::<Vec<_>>(), ["?scroll", "script", "slice"]);
    assert!(page.marked("+").len() > 1200 && page.marked("-").len() > 15);
}
