//! A JSON tree that loses nothing that tells two requests apart.
//!
//! `serde_json::Value` is not used for requests: it merges numbers beyond 2^64 and duplicate members
//! (see `docs/` and the collision tests). Here number text is kept, duplicate members are an error, strings are
//! decoded, and every object remembers whether the order of its members means something.

use std::borrow::Cow;

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
