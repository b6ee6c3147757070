//! Arbitrary JSON trees for property tests, and arbitrary spellings of one tree.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::Json;

/// A JSON value that owns its text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl From<&Json<'_>> for Tree {
    fn from(json: &Json<'_>) -> Tree {
        match json {
            Json::Null => Tree::Null,
            Json::Bool(value) => Tree::Bool(*value),
            Json::Number(text) => Tree::Number((*text).to_owned()),
            Json::String(text) => Tree::String(text.clone().into_owned()),
            Json::Array(items) => Tree::Array(items.iter().map(Tree::from).collect()),
            Json::Object(object) => {
                Tree::Object(object.members.iter().map(|(n, v)| (n.clone().into_owned(), v.into())).collect())
            }
        }
    }
}

/// A tree with a taste for what goes wrong: few names, characters that need escapes, numbers that nearly meet.
pub(crate) fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::Bool),
        number().prop_map(Tree::Number),
        text().prop_map(Tree::String),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Tree::Array),
            btree_map(text(), inner.clone(), 0..6).prop_map(|m| Tree::Object(m.into_iter().collect())),
            btree_map("[a-z]{1,2}", inner, 0..24).prop_map(|m| Tree::Object(m.into_iter().collect())),
        ]
    })
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,24})",
        "-?(0|[1-9][0-9]{0,4})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
        prop::sample::select(vec![
            "18446744073709551616",
            "18446744073709551617",
            "0.1",
            "0.10",
            "1e0",
            "-0"
        ])
        .prop_map(str::to_owned),
    ]
}

fn text() -> impl Strategy<Value = String> {
    let char = prop_oneof![
        4 => prop::char::range('a', 'c'),
        2 => prop::sample::select(vec!['"', '\\', '/', '\0', '\n', '\t', '\u{8}', '\u{c}', '\r', '\u{1f}', '\u{7f}']),
        1 => prop::sample::select(vec!['ä', '\u{2028}', '\u{feff}', '\u{d7ff}', '\u{e000}', '\u{ffff}', '😀', '\u{10ffff}']),
        1 => any::<char>(),
    ];
    vec(char, 0..6).prop_map(|chars| chars.into_iter().collect())
}

impl Tree {
    /// One of the many spellings of this tree: white space and escapes as `dice` says.
    pub(crate) fn spell(&self, dice: &mut Dice) -> String {
        let mut out = dice.space();
        self.spell_into(dice, &mut out);
        out + &dice.space()
    }

    fn spell_into(&self, dice: &mut Dice, out: &mut String) {
        match self {
            Tree::Null => out.push_str("null"),
            Tree::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Tree::Number(text) => out.push_str(text),
            Tree::String(text) => spell_text(text, dice, out),
            Tree::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    *out += &item.spell(dice);
                }
                *out += &(dice.space() + "]");
            }
            Tree::Object(members) => {
                out.push('{');
                for (i, (name, value)) in members.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    *out += &dice.space();
                    spell_text(name, dice, out);
                    *out += &(dice.space() + ":");
                    *out += &value.spell(dice);
                }
                *out += &(dice.space() + "}");
            }
        }
    }

    /// The same tree with the members of all objects in another order.
    pub(crate) fn shuffled(mut self, dice: &mut Dice) -> Tree {
        match &mut self {
            Tree::Array(items) => {
                items.iter_mut().for_each(|item| *item = std::mem::replace(item, Tree::Null).shuffled(dice));
            }
            Tree::Object(members) => {
                for (_, value) in members.iter_mut() {
                    *value = std::mem::replace(value, Tree::Null).shuffled(dice);
                }
                for i in (1..members.len()).rev() {
                    members.swap(i, dice.roll(i + 1));
                }
            }
            _ => {}
        }
        self
    }
}

fn spell_text(text: &str, dice: &mut Dice, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        let must = matches!(c, '"' | '\\' | '\0'..='\x1f');
        let short = "\"\\/\u{8}\u{c}\n\r\t".chars().position(|s| s == c).map(|i| &"\"\\/bfnrt"[i..=i]);
        match (short, dice.roll(4)) {
            (_, 0..=2) if !must => out.push(c),
            (Some(short), 0 | 3) => *out += &format!("\\{short}"),
            (_, roll) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    *out += &if roll % 2 == 0 { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") };
                }
            }
        }
    }
    out.push('"');
}

/// A small stream of chance, so that a spelling follows from its seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn space(&mut self) -> String {
        ["", "", "", " ", "\n", "\t", "\r\n", "  "][self.roll(8)].to_owned()
    }
}
