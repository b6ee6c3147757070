use proptest::prelude::*;

use super::arbitrary::{Dice, Tree, tree};
use super::*;

fn check(text: impl AsRef<[u8]>, expected: Result<&str, Reason>) {
    let text = text.as_ref();
    let found = parse(text).map(|json| format!("{json:?}")).map_err(|refusal| refusal.reason);
    assert_eq!(found, expected.map(str::to_owned), "{}", String::from_utf8_lossy(text));
}

#[test]
fn takes_what_the_rfc_takes() {
    check(" null\n", Ok("Null"));
    check("true", Ok("Bool(true)"));
    check("-0.10e+05", Ok(r#"Number("-0.10e+05")"#));
    check("18446744073709551617", Ok(r#"Number("18446744073709551617")"#));
    check("1e999", Ok(r#"Number("1e999")"#));
    check(r#""\u00e4\ud83d\ude00\/""#, Ok(r#"String("ä😀/")"#));
    check("[ ]", Ok("Array([])"));
    check(
        r#"{"b":1,"a":2}"#,
        Ok(r#"Object(Object { members: [("b", Number("1")), ("a", Number("2"))], order: Kept })"#),
    );
}

#[test]
fn refuses_what_the_rfc_does_not_take() {
    let cases = [
        "",
        " ",
        "nul",
        "nulll",
        "True",
        "NaN",
        "Infinity",
        "-",
        "-Infinity",
        "+1",
        "01",
        "-01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x10",
        "1_000",
        "'a'",
        "{a:1}",
        "{'a':1}",
        "{\"a\" 1}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{1:2}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[",
        "]",
        "{",
        "[}",
        "{]",
        "\"",
        "\"a",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u+123\"",
        "\"\n\"",
        "\"\t\"",
        "\"\0\"",
        "1 2",
        "{} {}",
        "{}}",
        "{};",
        "null\0",
        "// a\n1",
        "1 // a",
        "/* a */ 1",
        "# a\n1",
        "\u{feff}1",
        "1\u{a0}",
        "\u{b}1",
        "\u{c}1",
        "undefined",
    ];
    for case in cases {
        check(case, Err(Reason::NotJson));
    }
    for surrogates in
        [r"\ud800", r"\udc00", r"\ud800a", r"\ud800\n", r"\ud800\ud800", r"\udc00\ud800", r"\ud800\u0041"]
    {
        check(format!("\"{surrogates}\""), Err(Reason::NotJson));
    }
    for bytes in [
        &b"\"\xff\""[..],
        b"\"\xed\xa0\x80\"",
        b"\"\xc0\x80\"",
        b"{\0\"\0a\0",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\0}\0",
    ] {
        check(bytes, Err(Reason::NotJson));
    }
}

#[test]
fn refuses_duplicate_members() {
    check(r#"{"a":1,"a":1}"#, Err(Reason::DuplicateKey));
    check(r#"{"a":1,"\u0061":1}"#, Err(Reason::DuplicateKey));
    check(r#"[{"x":{"/":1,"b":2,"\/":1}}]"#, Err(Reason::DuplicateKey));
    assert!(parse(br#"{"a":1,"A":1,"":1," ":1}"#).is_ok());
    for members in [16, 17, 18, 200_000] {
        let mut text: String = (0..members).map(|i| format!("\"{i}\":0,")).collect();
        text = format!("{{{text}\"x\":0}}");
        assert!(parse(text.as_bytes()).is_ok(), "{members}");
        check(text.replace("\"x\"", "\"7\""), Err(Reason::DuplicateKey));
    }
}

#[test]
fn stops_at_the_depth_limit() {
    let nested =
        |open: &str, depth: usize, close: &str| format!("{}0{}", open.repeat(depth), close.repeat(depth));
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let levels = open.matches(['[', '{']).count();
        assert!(parse(nested(open, MAX_DEPTH / levels, close).as_bytes()).is_ok());
        check(nested(open, MAX_DEPTH / levels + 1, close), Err(Reason::TooDeep));
        check(nested(open, 100_000, close), Err(Reason::TooDeep));
    }
}

#[test]
fn says_where() {
    let place = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(place(r#"{"a": tru}"#), "not-json at byte 6");
    assert_eq!(place(r#"[0, {"a":1,"a":2}]"#), "duplicate-key at byte 4");
}

/// Whether serde_json agrees with what was found, leaving out what it is known to do otherwise.
fn agrees_with_serde(text: &[u8]) -> Result<(), TestCaseError> {
    let serde = serde_json::from_slice::<serde_json::Value>(text);
    match (parse(text), serde) {
        (Ok(ours), Ok(theirs)) => prop_assert_eq!(to_serde(&ours), theirs),
        (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("number out of range"), "{}", error),
        (Err(refusal), Ok(_)) => prop_assert_eq!(refusal.reason, Reason::DuplicateKey),
        (Err(_), Err(_)) => {}
    }
    Ok(())
}

fn to_serde(json: &Json<'_>) -> serde_json::Value {
    match json {
        Json::Null => serde_json::Value::Null,
        Json::Bool(value) => (*value).into(),
        Json::Number(text) => serde_json::from_str(text).unwrap(),
        Json::String(text) => text.as_ref().into(),
        Json::Array(items) => items.iter().map(to_serde).collect(),
        Json::Object(object) => object.members.iter().map(|(n, v)| (n.as_ref(), to_serde(v))).collect(),
    }
}

proptest! {
    #[test]
    fn every_spelling_gives_its_tree(tree in tree(), seed: u64) {
        let text = tree.spell(&mut Dice(seed));
        let json = parse(text.as_bytes());
        prop_assert_eq!(json.as_ref().map(Tree::from), Ok(tree), "{}", text);
        agrees_with_serde(text.as_bytes())?;
    }

    #[test]
    fn damaged_text_is_judged_as_serde_judges_it(
        tree in tree(), seed: u64, at: prop::sample::Index, cut in 0usize..3,
        patch in prop_oneof!["[\\[\\]{}:,\"\\\\/ntu0-9eE.+ \t\n-]{0,3}".prop_map(String::into_bytes), any::<[u8; 2]>().prop_map(Vec::from)],
    ) {
        let mut text = tree.spell(&mut Dice(seed)).into_bytes();
        let at = at.index(text.len() + 1);
        let end = (at + cut).min(text.len());
        text.splice(at..end, patch);
        agrees_with_serde(&text)?;
    }

    #[test]
    fn soup_is_judged_as_serde_judges_it(text in "[\\[\\]{}:,\"\\\\/abnrtufls0-9eE.+ \n-]{0,12}") {
        agrees_with_serde(text.as_bytes())?;
    }

    #[test]
    fn strings_are_borrowed_without_escapes(text in "[a-z ä]*") {
        let quoted = format!("\"{text}\"");
        prop_assert!(matches!(parse(quoted.as_bytes()), Ok(Json::String(Cow::Borrowed(_)))));
    }

    #[test]
    fn the_plain_part_of_a_string_ends_where_a_slow_look_finds(
        text in prop::collection::vec(prop_oneof![8 => any::<u8>(), 1 => 0x1eu8..0x24, 1 => 0x5bu8..0x5e], 0..40),
    ) {
        let slow = text.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f)).unwrap_or(text.len());
        prop_assert_eq!(plain_length(&text), slow);
    }
}
