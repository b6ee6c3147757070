//! A JSON text without the white space that means nothing. It is found without parsing: what is left of a text that is
//! no JSON is no JSON either.

use crate::elastic::json::plain_length;

/// Appends `text` without white space beside brackets, colons, commas and strings, and at its ends. Any other white
/// space stands between two words that it keeps apart (`1 2`): a space is left there, so that no text becomes JSON that
/// was none.
///
/// Where the result is JSON, `text` is, and both mean the same: in JSON white space stands only where it is removed, and
/// there it may stand.
pub(super) fn write(text: &[u8], out: &mut Vec<u8>) {
    let (mut copied, mut at) = (0, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = behind_string(text, at),
            b' ' | b'\t' | b'\n' | b'\r' => {
                out.extend_from_slice(&text[copied..at]);
                let before = text[..at].last();
                at += text[at..].iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
                if !is_joint(before) && !is_joint(text.get(at)) {
                    out.push(b' ');
                }
                copied = at;
            }
            _ => at += 1,
        }
    }
    out.extend_from_slice(&text[copied..]);
}

/// Whether a word ends beside this byte, which is not in a string; so it does at both ends of a text.
fn is_joint(byte: Option<&u8>) -> bool {
    matches!(byte, None | Some(b'{' | b'}' | b'[' | b']' | b':' | b',' | b'"'))
}

/// Where the string ends that begins at `at`; behind the text if it does not end.
fn behind_string(text: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    loop {
        at += plain_length(&text[at..]);
        match text.get(at) {
            None => return text.len(),
            Some(b'"') => return at + 1,
            Some(b'\\') => at = (at + 2).min(text.len()),
            Some(_) => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::elastic::json::parse;

    fn compact(text: &str) -> String {
        let mut out = Vec::new();
        write(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_means_nothing_goes() {
        for (text, expected) in [
            ("", ""),
            (" \n\t\r ", ""),
            (" { \"a b\" : [ 1 , 2 ] ,\n\"c\\\" d\" : null }\r\n", r#"{"a b":[1,2],"c\" d":null}"#),
            ("[1 2]", "[1 2]"),
            ("[1 \n  2]", "[1 2]"),
            ("tru e", "tru e"),
            (r#""a" "b""#, r#""a""b""#),
            (r#"{"a" "b"#, r#"{"a""b"#),
            (r#"" \"#, r#"" \"#),
            ("\u{c} ", "\u{c}"),
        ] {
            assert_eq!(compact(text), expected);
        }
    }

    fn soup() -> impl Strategy<Value = String> {
        let parts = [
            "{", "}", "[", "]", ":", ",", " ", "  ", "\n", "\t", "\r", "\"", "\\", "\"a\"", "\" b\"",
            "\"\\\"\"", "1", "2", "-", "true", "tru", "e", "null", ".5", "\u{c}", "\u{a0}", "{\"a\":", "[1,",
            "\u{feff}",
        ];
        prop::collection::vec(prop::sample::select(parts.to_vec()), 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// The law: what is JSON stays the same JSON, and what is none stays none.
        #[test]
        fn nothing_becomes_json_or_other_json(text in soup()) {
            let compacted = compact(&text);
            match (parse(text.as_bytes()), parse(compacted.as_bytes())) {
                (Ok(one), Ok(other)) => prop_assert_eq!(one, other),
                (Err(_), Err(_)) => {}
                (one, other) => prop_assert!(false, "{text:?} {one:?} {compacted:?} {other:?}"),
            }
        }

        /// White space between words is not what tells two spellings apart.
        #[test]
        fn spellings_meet(
            words in prop::collection::vec(prop::sample::select(vec!["{", "}", "[", "]", ":", ",", "\"a \""]), 0..9),
            spaces in prop::collection::vec("[ \\n\\t\\r]{0,2}", 10),
        ) {
            let spelt: String = words.iter().zip(&spaces).flat_map(|(word, space)| [space, *word]).collect();
            prop_assert_eq!(compact(&spelt), words.concat());
        }
    }
}
