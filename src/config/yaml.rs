//! A YAML text in the style of `elasticsearch.yml` -> the names and values that stand in it. Nested and dotted names
//! are one: `cache: {hits: true}` is `cache.hits: true`.
//!
//! What a name is decides how its value is read, so that a password `0123` stays what was written.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

use super::value::{Shape, Written, WrittenRule};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Value(Shape),
    Group,
    Unknown,
}

/// A name with its value, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) line: u64,
    /// `None` where the name is unknown.
    pub(super) written: Option<Written>,
}

/// Why a text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) line: Option<u64>,
    pub(super) message: String,
}

/// Reads all entries. A name without a value (`cache.hits:`) is none.
pub(super) fn entries(text: &str, place: &dyn Fn(&str) -> Place) -> Result<Vec<Pair>, Unreadable> {
    let mut reader = Reader { place, entries: Vec::new(), at: String::new() };
    let result = read(text, Group { prefix: "", reader: &mut reader });
    result.map_err(|mut unreadable| {
        if !reader.at.is_empty() {
            unreadable.message = format!("{}: {}", reader.at, unreadable.message);
        }
        unreadable
    })?;
    Ok(reader.entries)
}

/// Reads a list of rules, such as `[{index: logs-*, cache: false}]`.
pub(super) fn rules(text: &str) -> Result<Vec<WrittenRule>, Unreadable> {
    match read(text, Shape::Rules)? {
        Some(Written::Rules(rules)) => Ok(rules),
        _ => Ok(Vec::new()),
    }
}

fn read<'t, S: DeserializeSeed<'t>>(text: &'t str, seed: S) -> Result<S::Value, Unreadable> {
    let options =
        serde_saphyr::options! { with_snippet: false, duplicate_keys: DuplicateKeyPolicy::PassThrough };
    let read = |deserializer: serde_saphyr::Deserializer<'t, '_>| seed.deserialize(deserializer);
    serde_saphyr::with_deserializer_from_str_with_options(text, options, read).map_err(|error| {
        let line = error.location().map(|location| location.line());
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        let message = match message {
            "expected string scalar" => "one value is expected here, not a list or a group",
            "expected sequence start" => "a list is expected here",
            "expected mapping start" => "names with values are expected here, as in \"name: value\"",
            m if m.starts_with("invalid type: map") => {
                "a value or a list of values is expected here, not a group"
            }
            m if m.starts_with("multiple YAML documents") => "only one YAML document is expected",
            message => message,
        };
        Unreadable { line, message: message.to_owned() }
    })
}

struct Reader<'p> {
    place: &'p dyn Fn(&str) -> Place,
    entries: Vec<Pair>,
    /// The name whose value is being read.
    at: String,
}

/// The names below a prefix.
struct Group<'r, 'p> {
    prefix: &'r str,
    reader: &'r mut Reader<'p>,
}

impl<'de> DeserializeSeed<'de> for Group<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Group<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names with values")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let name = format!("{}{}", self.prefix, key.value);
            let line = key.referenced.line();
            self.reader.at.clone_from(&name);
            let written = match (self.reader.place)(&name) {
                Place::Value(shape) => match map.next_value_seed(shape)? {
                    Some(written) => Some(written),
                    None => continue,
                },
                Place::Group => {
                    map.next_value_seed(Group { prefix: &format!("{name}."), reader: self.reader })?;
                    continue;
                }
                Place::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                    None
                }
            };
            self.reader.entries.push(Pair { name, line, written });
        }
        self.reader.at.clear();
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Shape {
    type Value = Option<Written>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Written>, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Shape {
    type Value = Option<Written>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_none<E>(self) -> Result<Option<Written>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Written>, D::Error> {
        match self {
            Shape::One => deserializer.deserialize_string(Text).map(|text| Some(Written::One(text))),
            Shape::Many => deserializer.deserialize_any(OneOrMany).map(Some),
            Shape::Rules => deserializer.deserialize_seq(RuleList).map(Some),
        }
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list of values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Written, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = seq.next_element::<String>()? {
            texts.push(text);
        }
        Ok(Written::Many(texts))
    }

    fn visit_str<E>(self, text: &str) -> Result<Written, E> {
        Ok(Written::One(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Written, E> {
        Ok(Written::One(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Written, E> {
        Ok(Written::One(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Written, E> {
        Ok(Written::One(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Written, E> {
        Ok(Written::One(value.to_string()))
    }
}

struct RuleList;

impl<'de> Visitor<'de> for RuleList {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rules")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Written, A::Error> {
        let mut rules = Vec::new();
        while let Some(rule) = seq.next_element_seed(OneRule)? {
            rules.push(rule);
        }
        Ok(Written::Rules(rules))
    }
}

struct OneRule;

impl<'de> DeserializeSeed<'de> for OneRule {
    type Value = WrittenRule;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<WrittenRule, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneRule {
    type Value = WrittenRule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rule")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WrittenRule, A::Error> {
        let mut fields = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if let Some(written) = map.next_value_seed(Shape::Many)? {
                fields.push((name, written));
            }
        }
        Ok(WrittenRule { fields })
    }
}
