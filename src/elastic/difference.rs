//! Where two answers to one search differ, `took` aside: how, and at which place, never what stands there.

use std::fmt;

use super::json::{self, Json, Object};
use crate::outcome::Refusal;

/// How two answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Their statuses differ.
    Status,
    /// A member that only one of them has.
    Member,
    /// An array has more elements.
    Length,
    /// A number, a text, an array, an object, a truth value or null stands where another of these does.
    Type,
    /// Numbers that differ behind their ninth digit only.
    Rounding,
    /// Another number, text or truth value.
    Value,
}

impl Kind {
    /// The name that the log shows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Status => "status",
            Kind::Member => "member",
            Kind::Length => "length",
            Kind::Type => "type",
            Kind::Rounding => "rounding",
            Kind::Value => "value",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The first difference of two answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// How they differ.
    pub kind: Kind,
    /// Where, as a JSON path such as `$.hits.hits[3]._score`. It ends where names begin that documents make (inside
    /// `_source`, and inside a field of `fields`); buckets with names are shown by their number.
    pub place: String,
}

/// The first difference of two bodies but for the `took` of the whole. Numbers are compared by their text, members by
/// their names: engines write members out of hash maps, and in another order when an answer has been through their own
/// request cache (seen on `meta` of aggregations and on the fields of hits).
///
/// # Errors
/// One of the two is not JSON as [`json::parse`] reads it, so that nobody knows.
pub fn first(one: &[u8], other: &[u8]) -> Result<Option<Difference>, Refusal> {
    let (mut one, mut other) = (json::parse(one)?, json::parse(other)?);
    for body in [&mut one, &mut other] {
        if let Json::Object(object) = body {
            object.members.retain(|(name, _)| name != "took");
        }
    }
    Ok(values(&one, &other, &mut Vec::new()))
}

/// One step of a path.
enum Step<'a> {
    Member(&'a str),
    At(usize),
}

type Path<'a> = Vec<Step<'a>>;

fn values<'a>(one: &'a Json<'_>, other: &'a Json<'_>, path: &mut Path<'a>) -> Option<Difference> {
    let kind = match (one, other) {
        (Json::Null, Json::Null) => return None,
        (Json::Bool(a), Json::Bool(b)) if a == b => return None,
        (Json::String(a), Json::String(b)) if a == b => return None,
        (Json::Number(a), Json::Number(b)) if a == b => return None,
        (Json::Number(a), Json::Number(b)) if are_near(a, b) => Kind::Rounding,
        (Json::Bool(_), Json::Bool(_))
        | (Json::String(_), Json::String(_))
        | (Json::Number(_), Json::Number(_)) => Kind::Value,
        (Json::Array(a), Json::Array(b)) => {
            let mut pairs = a.iter().zip(b).enumerate();
            let inside = pairs.find_map(|(at, (a, b))| step(Step::At(at), a, b, path));
            if inside.is_some() || a.len() == b.len() {
                return inside;
            }
            Kind::Length
        }
        (Json::Object(a), Json::Object(b)) => return objects(a, b, path),
        _ => Kind::Type,
    };
    Some(Difference { kind, place: shown(path) })
}

/// What only one of them has, or what differs by name.
fn objects<'a>(one: &'a Object<'_>, other: &'a Object<'_>, path: &mut Path<'a>) -> Option<Difference> {
    let by_number = matches!(path.last(), Some(Step::Member("buckets")));
    let name = |at, name| if by_number { Step::At(at) } else { Step::Member(name) };
    let names = |object: &'a Object<'_>| object.members.iter().map(|(name, _)| name.as_ref());
    if names(one).eq(names(other)) {
        let mut pairs = one.members.iter().zip(&other.members).enumerate();
        return pairs.find_map(|(at, ((member, a), (_, b)))| step(name(at, member), a, b, path));
    }
    let sorted = |object: &'a Object<'_>| {
        let mut members: Vec<_> = object.members.iter().enumerate().collect();
        members.sort_unstable_by(|(_, (a, _)), (_, (b, _))| a.cmp(b));
        members
    };
    let (one, other) = (sorted(one), sorted(other));
    let mut pairs = one.iter().zip(&other);
    let apart = pairs.position(|((_, (a, _)), (_, (b, _)))| a != b).unwrap_or(one.len().min(other.len()));
    let (a, b) = (one.get(apart), other.get(apart));
    let alone = match (a, b) {
        // the smaller name is not in the other
        (Some((_, (a_name, _))), Some((_, (b_name, _)))) => {
            if a_name < b_name {
                a
            } else {
                b
            }
        }
        _ => a.or(b),
    };
    if let Some((at, (member, _))) = alone {
        path.push(name(*at, member));
        let found = Difference { kind: Kind::Member, place: shown(path) };
        path.pop();
        return Some(found);
    }
    let mut pairs = one.iter().zip(&other);
    pairs.find_map(|((at, (member, a)), (_, (_, b)))| step(name(*at, member), a, b, path))
}

fn step<'a>(
    step: Step<'a>,
    one: &'a Json<'_>,
    other: &'a Json<'_>,
    path: &mut Path<'a>,
) -> Option<Difference> {
    path.push(step);
    let found = values(one, other, path);
    path.pop();
    found
}

fn are_near(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (one.parse::<f64>(), other.parse::<f64>()) else { return false };
    (one - other).abs() <= 1e-9 * one.abs().max(other.abs())
}

/// How many characters of a name, and of a path, are shown.
const MOST_OF_A_NAME: usize = 64;
const MOST_OF_A_PATH: usize = 256;

fn shown(path: &Path<'_>) -> String {
    let mut text = "$".to_owned();
    for (i, step) in path.iter().enumerate() {
        match step {
            Step::At(at) => text.push_str(&format!("[{at}]")),
            Step::Member(name) => {
                let plain = |c: char| if c.is_ascii_alphanumeric() || "._-@".contains(c) { c } else { '?' };
                text.push('.');
                text.extend(name.chars().map(plain).take(MOST_OF_A_NAME));
            }
        }
        let of_a_field = i > 0 && matches!(path[i - 1], Step::Member("fields"));
        if of_a_field || matches!(step, Step::Member("_source")) || text.len() >= MOST_OF_A_PATH {
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: &str, other: &str, expected: Option<(Kind, &str)>) {
        for (one, other) in [(one, other), (other, one)] {
            let found = first(one.as_bytes(), other.as_bytes()).unwrap();
            let found = found.as_ref().map(|difference| (difference.kind, difference.place.as_str()));
            assert_eq!(found, expected, "{one} {other}");
        }
    }

    #[test]
    fn equal_but_for_took_and_spelling() {
        check(r#"{"took":1,"hits":{"a":[1,null,true]}}"#, r#"{"took":20,"hits":{"a":[1,null,true]}}"#, None);
        check(r#"{"took":1,"a":"\u00e9"}"#, "{\n  \"a\" : \"é\"\n}", None);
        check(r#"{"a":1,"b":{"c":2,"d":[]},"e":3}"#, r#"{"e":3,"b":{"d":[],"c":2},"a":1}"#, None);
        check(r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, Some((Kind::Value, "$.a[0]")));
        // only that of the whole
        check(r#"{"a":{"took":1}}"#, r#"{"a":{"took":2}}"#, Some((Kind::Value, "$.a.took")));
    }

    #[test]
    fn the_first_difference_is_named_and_placed() {
        for (one, other, kind, place) in [
            (r#"{"hits":{"total":1}}"#, r#"{"hits":{"total":2}}"#, Kind::Value, "$.hits.total"),
            (r#"{"a":[{"b":"x"},{"b":"y"}]}"#, r#"{"a":[{"b":"x"},{"b":"z"}]}"#, Kind::Value, "$.a[1].b"),
            (r#"{"a":[1]}"#, r#"{"a":[1,2]}"#, Kind::Length, "$.a"),
            (r#"{"a":[1]}"#, r#"{"a":[2,2]}"#, Kind::Value, "$.a[0]"),
            (r#"{"a":1,"b":2}"#, r#"{"b":3,"a":1}"#, Kind::Value, "$.b"),
            (r#"{"a":1,"b":2}"#, r#"{"a":1}"#, Kind::Member, "$.b"),
            (r#"{"a":1,"c":2}"#, r#"{"b":1,"c":2}"#, Kind::Member, "$.a"),
            (r#"{"a":null}"#, r#"{"a":0}"#, Kind::Type, "$.a"),
            (r#"{"a":1}"#, r#"{"a":1.0}"#, Kind::Rounding, "$.a"),
            (r#"{"a":0.30000000000000004}"#, r#"{"a":0.3}"#, Kind::Rounding, "$.a"),
            (r#"{"a":0.3000001}"#, r#"{"a":0.3}"#, Kind::Value, "$.a"),
            (r#"{"a":true}"#, r#"{"a":false}"#, Kind::Value, "$.a"),
            ("[1]", "{}", Kind::Type, "$"),
        ] {
            check(one, other, Some((kind, place)));
        }
        // two different numbers of one double are different
        check("18446744073709551616", "18446744073709551617", Some((Kind::Rounding, "$")));
    }

    #[test]
    fn places_show_nothing_of_documents() {
        for (one, other, place) in [
            (
                r#"{"hits":[{"_source":{"m":{"bob@x":1}}}]}"#,
                r#"{"hits":[{"_source":{"m":{"eve@x":1}}}]}"#,
                "$.hits[0]._source",
            ),
            (r#"{"fields":{"f":[{"bob":1}]}}"#, r#"{"fields":{"f":[{"bob":2}]}}"#, "$.fields.f"),
            (r#"{"buckets":{"bob":{"n":1}}}"#, r#"{"buckets":{"bob":{"n":2}}}"#, "$.buckets[0].n"),
            (r#"{"buckets":{"a":1,"bob":1}}"#, r#"{"buckets":{"a":1}}"#, "$.buckets[1]"),
            (r#"{"a\nb ü":1}"#, r#"{"a\nb ü":2}"#, "$.a?b??"),
        ] {
            let found = first(one.as_bytes(), other.as_bytes()).unwrap().unwrap();
            assert_eq!(found.place, place);
        }
        let long = format!("{{\"{}\":1}}", "x".repeat(300));
        let found = first(long.as_bytes(), b"{}").unwrap().unwrap();
        assert_eq!(found.place.len(), 66);
        let deep = |end| format!("{}{end}{}", "{\"abcdefghij\":".repeat(100), "}".repeat(100));
        let found = first(deep("1").as_bytes(), deep("2").as_bytes()).unwrap().unwrap();
        assert!(found.place.len() < 330, "{}", found.place);
    }

    #[test]
    fn what_is_not_json_is_not_judged() {
        for bad in [&b"took: 1"[..], b"{\"a\":1,\"a\":2}", b"", b"\xff"] {
            assert!(first(bad, b"{}").is_err() && first(b"{}", bad).is_err());
        }
    }
}
