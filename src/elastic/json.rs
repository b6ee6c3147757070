//! A JSON tree that loses nothing that tells two requests apart.
//!
//! `serde_json::Value` is not used for requests: it merges numbers beyond 2^64 and duplicate members
//! (see `docs/` and the collision tests). Here number text is kept, duplicate members are an error, strings are
//! decoded, and every object remembers whether the order of its members means something.

use std::borrow::Cow;

use crate::outcome::{Reason, Refusal};

/// How deep arrays and objects may be nested.
pub const MAX_DEPTH: usize = 128;

/// Reads one JSON text as RFC 8259 has it, and nothing that an engine's lenient parser would take beyond that: no byte
/// order mark, comments, `NaN`, single quotes or names without quotes, and nothing but white space behind the value.
///
/// # Errors
/// [`Reason::NotJson`], [`Reason::DuplicateKey`] (names are compared after their escapes were decoded) or
/// [`Reason::TooDeep`], with the place as a byte offset.
pub fn parse(text: &[u8]) -> Result<Json<'_>, Refusal> {
    let text = std::str::from_utf8(text).map_err(|e| refuse(Reason::NotJson, e.valid_up_to()))?;
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.not_json()),
    }
}

/// A JSON value borrowed from the text of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// The text of a number, as written.
    Number(&'a str),
    /// A string with its escapes decoded.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object.
    Object(Object<'a>),
}

/// The members of an object, in the order in which they were written; names are unique.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<'a> {
    /// Name and value of each member.
    pub members: Vec<(Cow<'a, str>, Json<'a>)>,
    /// Whether that order means something. The parser says [`Order::Kept`]; only
    /// [`cacheability`](crate::cacheability), where it knows the object, says [`Order::Free`].
    pub order: Order,
}

/// Whether two objects that differ in the order of their members alone are the same question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The order is significant, or not known to be insignificant: it stays in the key.
    Kept,
    /// The order is known to be insignificant: members are sorted in the key.
    Free,
}

/// How many bytes stand before the first that a JSON string cannot have as it is: a quote, a backslash, a control
/// character. Eight at a time: strings are most of a body.
pub(crate) fn plain_length(text: &[u8]) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // the lowest bit that is set belongs to a byte below `limit`; higher ones may be set by a borrow
        let below = |word: u64, limit: u64| word.wrapping_sub(EACH * limit) & !word & (EACH * 0x80);
        let quote = below(word ^ (EACH * u64::from(b'"')), 1);
        let backslash = below(word ^ (EACH * u64::from(b'\\')), 1);
        let found = quote | backslash | below(word, 0x20);
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let plain = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len());
    text.len() - rest.len() + plain
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    /// A value inside `depth` arrays and objects.
    fn value(&mut self, depth: usize) -> Result<Json<'a>, Refusal> {
        match self.peek() {
            Some(b'{' | b'[') if depth == MAX_DEPTH => Err(refuse(Reason::TooDeep, self.at)),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(self.not_json()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, Refusal> {
        let start = self.at;
        self.at += 1;
        let mut members = Vec::new();
        if !self.take(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(self.not_json());
                }
                let name = self.string()?;
                self.expect(b':')?;
                members.push((name, self.value(depth)?));
                if self.take(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        if has_duplicate(&members) {
            return Err(refuse(Reason::DuplicateKey, start));
        }
        Ok(Json::Object(Object { members, order: Order::Kept }))
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, Refusal> {
        self.at += 1;
        let mut items = Vec::new();
        if !self.take(b']') {
            loop {
                items.push(self.value(depth)?);
                if self.take(b']') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        Ok(Json::Array(items))
    }

    /// A string whose opening quote is next. Borrowed from the text unless it holds an escape.
    fn string(&mut self) -> Result<Cow<'a, str>, Refusal> {
        self.at += 1;
        let mut decoded = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = plain_length(rest.as_bytes());
            self.at += plain;
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    if decoded.is_empty() {
                        return Ok(Cow::Borrowed(&rest[..plain]));
                    }
                    decoded.push_str(&rest[..plain]);
                    return Ok(Cow::Owned(decoded));
                }
                Some(b'\\') => {
                    decoded.push_str(&rest[..plain]);
                    self.at += 1;
                    decoded.push(self.escape()?);
                }
                _ => return Err(self.not_json()),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, Refusal> {
        let byte = self.byte().ok_or_else(|| self.not_json())?;
        let char = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(self.not_json()),
        };
        self.at += 1;
        Ok(char)
    }

    /// `u` and four digits, or a pair of surrogates. A surrogate without its mate is no character.
    fn unicode_escape(&mut self) -> Result<char, Refusal> {
        let start = self.at;
        let code = match self.four_digits()? {
            high @ 0xd800..=0xdbff if self.text[self.at..].starts_with("\\u") => {
                self.at += 1;
                let low = self.four_digits()?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return Err(refuse(Reason::NotJson, start));
                }
                0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(|| refuse(Reason::NotJson, start))
    }

    fn four_digits(&mut self) -> Result<u32, Refusal> {
        let digits = self.text.as_bytes().get(self.at + 1..self.at + 5).ok_or_else(|| self.not_json())?;
        let mut code = 0;
        for &digit in digits {
            code = code * 16 + char::from(digit).to_digit(16).ok_or_else(|| self.not_json())?;
        }
        self.at += 5;
        Ok(code)
    }

    /// A number as written: its text is its identity, so that no two different numbers meet.
    fn number(&mut self) -> Result<&'a str, Refusal> {
        let start = self.at;
        self.skip(b'-');
        if !self.skip(b'0') {
            self.digits()?;
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _ = self.skip(b'+') || self.skip(b'-');
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Refusal> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.not_json()) } else { Ok(()) }
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, Refusal> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.not_json());
        }
        self.at += word.len();
        Ok(value)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Refusal> {
        if self.take(byte) { Ok(()) } else { Err(self.not_json()) }
    }

    /// Passes white space, then `byte` if it is next.
    fn take(&mut self, byte: u8) -> bool {
        self.peek();
        self.skip(byte)
    }

    /// Passes `byte` if it is next.
    fn skip(&mut self, byte: u8) -> bool {
        let next = self.byte() == Some(byte);
        self.at += usize::from(next);
        next
    }

    /// Passes white space and looks at what follows.
    fn peek(&mut self) -> Option<u8> {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.byte()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn not_json(&self) -> Refusal {
        refuse(Reason::NotJson, self.at)
    }
}

/// Compares each name with each other one in small objects, and sorts in large ones, so that an object of a million
/// members costs no more than a million members should.
fn has_duplicate(members: &[(Cow<'_, str>, Json<'_>)]) -> bool {
    if members.len() <= 16 {
        return members.iter().enumerate().any(|(i, (name, _))| members[..i].iter().any(|(n, _)| n == name));
    }
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

fn refuse(reason: Reason, byte: usize) -> Refusal {
    Refusal::at(reason, format!("byte {byte}"))
}

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;
