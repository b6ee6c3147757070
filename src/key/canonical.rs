//! The canonical text of a body: one text for all spellings of a question, and no text for two questions.

use std::borrow::Cow;

use crate::elastic::json::{Json, Order, plain_length};

/// Appends the canonical text of `json` to `out`.
///
/// It is JSON again: no white space, strings with the fewest escapes, number text as written, the members of
/// [`Order::Free`] objects sorted by name. So two trees with one canonical text differ in the order of free members
/// at most.
pub fn write(json: &Json<'_>, out: &mut Vec<u8>) {
    match json {
        Json::Null => out.extend_from_slice(b"null"),
        Json::Bool(true) => out.extend_from_slice(b"true"),
        Json::Bool(false) => out.extend_from_slice(b"false"),
        Json::Number(text) => out.extend_from_slice(text.as_bytes()),
        Json::String(text) => write_string(text, out),
        Json::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Json::Object(object) => {
            let sorted = object.order == Order::Kept || object.members.is_sorted_by(|(a, _), (b, _)| a <= b);
            if sorted {
                write_members(object.members.iter(), out);
            } else {
                let mut members: Vec<_> = object.members.iter().collect();
                members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
                write_members(members.into_iter(), out);
            }
        }
    }
}

fn write_members<'m, 'a: 'm>(members: impl Iterator<Item = &'m (Cow<'a, str>, Json<'a>)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (name, value)) in members.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        write(value, out);
    }
    out.push(b'}');
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let at = plain_length(rest);
        out.extend_from_slice(&rest[..at]);
        if at == rest.len() {
            break;
        }
        match rest[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => {
                let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit & 15)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::elastic::json::arbitrary::{Dice, Tree, tree};
    use crate::elastic::json::parse;

    /// The canonical text of `text`, with the objects for which `free` says so marked.
    fn canonical_with(text: &str, free: &mut dyn FnMut() -> bool) -> String {
        let mut json = parse(text.as_bytes()).unwrap();
        mark(&mut json, free);
        let mut out = Vec::new();
        write(&json, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn canonical(text: &str, order: Order) -> String {
        canonical_with(text, &mut || order == Order::Free)
    }

    fn mark(json: &mut Json<'_>, free: &mut dyn FnMut() -> bool) {
        match json {
            Json::Array(items) => items.iter_mut().for_each(|item| mark(item, free)),
            Json::Object(object) => {
                object.order = if free() { Order::Free } else { Order::Kept };
                object.members.iter_mut().for_each(|(_, value)| mark(value, free));
            }
            _ => {}
        }
    }

    fn sorted(tree: Tree) -> Tree {
        match tree {
            Tree::Array(items) => Tree::Array(items.into_iter().map(sorted).collect()),
            Tree::Object(members) => {
                let mut members: Vec<_> = members.into_iter().map(|(n, v)| (n, sorted(v))).collect();
                members.sort_by(|a, b| a.0.cmp(&b.0));
                Tree::Object(members)
            }
            leaf => leaf,
        }
    }

    #[test]
    fn has_one_form() {
        let text = "{ \"b\" : [ 1.0 , \"\\u0061\\/\\n\\\"\" ] ,\n\"a\":{\"d\":true,\"c\":null}}";
        assert_eq!(canonical(text, Order::Free), r#"{"a":{"c":null,"d":true},"b":[1.0,"a/\u000a\""]}"#);
        assert_eq!(canonical(text, Order::Kept), r#"{"b":[1.0,"a/\u000a\""],"a":{"d":true,"c":null}}"#);
    }

    #[test]
    fn sorts_only_where_order_is_free() {
        let mut outer_only = [true, false].into_iter();
        let text = r#"{"sort":{"b":1,"a":1},"query":1}"#;
        let found = canonical_with(text, &mut || outer_only.next().unwrap());
        assert_eq!(found, r#"{"query":1,"sort":{"b":1,"a":1}}"#);
    }

    #[test]
    fn keeps_different_questions_apart() {
        let cases = [
            ("18446744073709551616", "18446744073709551617"),
            ("0.1", "0.10000000000000000001"),
            ("9007199254740993", "9007199254740992"),
            ("1e999", "1e1000"),
            ("1", "\"1\""),
            ("0", "-0"),
            ("null", "\"null\""),
            ("null", "[]"),
            ("[]", "{}"),
            ("[1,2]", "[2,1]"),
            ("[[1],2]", "[[1,2]]"),
            ("[\"a\",\"b\"]", "[\"a,b\"]"),
            (r#"["a\",\"b"]"#, r#"["a","b"]"#),
            (r#""\\n""#, r#""\n""#),
            (r#""\\u0000""#, r#""\u0000""#),
            ("\"é\"", "\"e\u{301}\""),
            (r#"{"a":1,"b":2}"#, r#"{"a":2,"b":1}"#),
            (r#"{"a":{"b":1}}"#, r#"{"a":{},"b":1}"#),
            (r#"{"a\":1,\"b":2}"#, r#"{"a":1,"b":2}"#),
        ];
        for (one, other) in cases {
            for order in [Order::Free, Order::Kept] {
                assert_ne!(canonical(one, order), canonical(other, order), "{one} {other}");
            }
        }
        let (one, other) = (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#);
        assert_ne!(canonical(one, Order::Kept), canonical(other, Order::Kept));
        assert_eq!(canonical(one, Order::Free), canonical(other, Order::Free));
    }

    proptest! {
        #[test]
        fn is_idempotent(tree in tree(), seed: u64) {
            let text = tree.spell(&mut Dice(seed));
            for order in [Order::Free, Order::Kept] {
                let once = canonical(&text, order);
                prop_assert_eq!(&canonical(&once, order), &once);
                prop_assert_eq!(&canonical(&once, Order::Kept), &once);
            }
        }

        #[test]
        fn is_blind_to_spelling(tree in tree(), seeds: [u64; 3]) {
            let (mut one, mut other) = (Dice(seeds[0]), Dice(seeds[1]));
            let (text, again) = (tree.spell(&mut one), tree.spell(&mut other));
            prop_assert_eq!(canonical(&text, Order::Kept), canonical(&again, Order::Kept));
            let shuffled = tree.shuffled(&mut Dice(seeds[2])).spell(&mut other);
            prop_assert_eq!(canonical(&text, Order::Free), canonical(&shuffled, Order::Free));
        }

        /// The tree can be read back from its canonical text. So different trees have different texts.
        #[test]
        fn loses_nothing(tree in tree(), seed: u64) {
            let mut dice = Dice(seed);
            let text = tree.spell(&mut dice);
            let kept = canonical(&text, Order::Kept);
            prop_assert_eq!(Tree::from(&parse(kept.as_bytes()).unwrap()), tree.clone());
            let free = canonical(&text, Order::Free);
            prop_assert_eq!(Tree::from(&parse(free.as_bytes()).unwrap()), sorted(tree));
        }

        #[test]
        fn sees_the_order_of_kept_objects(tree in tree(), seeds: [u64; 2]) {
            let shuffled = tree.clone().shuffled(&mut Dice(seeds[0]));
            let (one, other) = (tree.spell(&mut Dice(seeds[1])), shuffled.spell(&mut Dice(seeds[1])));
            prop_assert_eq!(canonical(&one, Order::Kept) == canonical(&other, Order::Kept), tree == shuffled);
        }
    }
}
