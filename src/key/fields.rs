//! Hashing of a list of fields so that no two different lists meet.

use http::{HeaderMap, HeaderName};

/// What a field is. The number goes into the hash, so it stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// The identity of the engine: its cluster uuid.
    Engine = 1,
    /// The endpoint by its name.
    Api = 2,
    /// The index expression as the client wrote it.
    Target = 3,
    /// The name of a URL parameter. Its value follows.
    ParamName = 4,
    /// The value of the parameter before.
    ParamValue = 5,
    /// The name of a header. Its values follow.
    HeaderName = 6,
    /// One value of the header before.
    HeaderValue = 7,
    /// A header that the client declared to be for one hop only, though it is not.
    ConnectionOption = 8,
    /// The digest of the identity.
    Identity = 9,
    /// The canonical body.
    Body = 10,
    /// The key of the question, where something is added to it.
    Key = 11,
    /// Until when a rounded `now` holds.
    Until = 12,
    /// The method, where it counts.
    Method = 13,
    /// The undecoded path.
    Path = 14,
    /// The undecoded query string.
    Query = 15,
    /// The family and version of the engine.
    Version = 16,
    /// What the operator decided about headers.
    Rules = 17,
    /// The certificate that the client showed.
    Certificate = 18,
    /// What the path says beside the endpoint and the index expression.
    Detail = 19,
    /// A digest of the body as it was sent.
    BodyDigest = 20,
    /// A digest of headers that may be secret.
    HeadersDigest = 21,
    /// The cluster state.
    State = 22,
}

/// A blake3 hash over fields, each as its tag, the length of its bytes, and its bytes: ("ab", "c") and ("a", "bc")
/// differ, and so do a field that is empty and one that is not there.
#[derive(Clone, Debug)]
pub struct Fields(blake3::Hasher);

impl Fields {
    /// An empty list. Lists for different purposes never meet; `purpose` is text in the program, not data.
    #[must_use]
    pub fn new(purpose: &'static str) -> Fields {
        Fields(blake3::Hasher::new_derive_key(purpose))
    }

    /// Appends a field.
    pub fn put(&mut self, field: Field, bytes: &[u8]) {
        let mut head = [field as u8; 9];
        head[1..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.update(&head);
        self.0.update(bytes);
    }

    /// Appends the name of a header and each of its values, in the order in which they came.
    pub fn put_header(&mut self, name: &HeaderName, headers: &HeaderMap) {
        self.put(Field::HeaderName, name.as_str().as_bytes());
        for value in headers.get_all(name) {
            self.put(Field::HeaderValue, value.as_bytes());
        }
    }

    /// The hash of the list.
    #[must_use]
    pub fn finish(&self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type List = Vec<(Field, Vec<u8>)>;

    fn hash(list: &List) -> [u8; 32] {
        let mut fields = Fields::new("test");
        for (field, bytes) in list {
            fields.put(*field, bytes);
        }
        fields.finish()
    }

    fn list() -> impl Strategy<Value = List> {
        let field = prop::sample::select(vec![Field::ParamName, Field::ParamValue, Field::Body]);
        prop::collection::vec((field, "[\0-\x05a]{0,3}".prop_map(String::into_bytes)), 0..4)
    }

    #[test]
    fn borders_are_part_of_the_hash() {
        let split =
            |parts: &[&str]| hash(&parts.iter().map(|p| (Field::Body, p.as_bytes().to_vec())).collect());
        let cases =
            [split(&["ab", "c"]), split(&["a", "bc"]), split(&["abc"]), split(&["abc", ""]), split(&[])];
        for (i, one) in cases.iter().enumerate() {
            assert!(cases[..i].iter().all(|other| other != one), "{i}");
        }
        assert_ne!(Fields::new("one").finish(), Fields::new("other").finish());
    }

    proptest! {
        #[test]
        fn equal_only_where_the_lists_are(one in list(), other in list()) {
            prop_assert_eq!(hash(&one) == hash(&other), one == other);
        }
    }
}
