//! The query string of a request, read strictly: what is ambiguous is an error, and then the request bypasses.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::outcome::{Reason, Refusal};

/// The parameters of a query string in the order in which they were written, decoded; names are unique.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Params<'a> {
    /// Reads a raw query string (without the `?`) as Elasticsearch's `RestUtils.decodeQueryString` does, but refuses
    /// what is read differently by different versions: `;`, repeated names, bad escapes.
    ///
    /// # Errors
    /// [`Reason::QueryString`].
    pub fn parse(query: &'a str) -> Result<Params<'a>, Refusal> {
        let mut params = Params::default();
        if query.contains([';', '#']) {
            return Err(Reason::QueryString.into());
        }
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if name.is_empty() || params.get(&name).is_some() {
                return Err(Refusal::at(Reason::QueryString, name));
            }
            params.pairs.push((name, value));
        }
        Ok(params)
    }

    /// The value of a parameter; `""` where it was written without one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_ref())
    }

    /// Name and value of each parameter.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref()))
    }

    /// The same parameters without those of these names.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Params<'a> {
        Params { pairs: self.pairs.iter().filter(|(n, _)| !names.contains(&n.as_ref())).cloned().collect() }
    }

    /// A boolean parameter as the engines read it: present without a value means true.
    ///
    /// # Errors
    /// [`Reason::UnknownParameter`] for any other text.
    pub fn flag(&self, name: &'static str) -> Result<Option<bool>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some("" | "true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Refusal::at(Reason::UnknownParameter, name)),
        }
    }
}

fn decode(text: &str) -> Result<Cow<'_, str>, Refusal> {
    let bad = || Refusal::from(Reason::QueryString);
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let escape = rest.as_bytes().get(at + 1..at + 3).ok_or_else(bad)?;
        if !escape.iter().all(u8::is_ascii_hexdigit) {
            return Err(bad());
        }
        rest = &rest[at + 1..];
    }
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return percent_decode_str(&spaced)
            .decode_utf8()
            .map(|s| Cow::Owned(s.into_owned()))
            .map_err(|_| bad());
    }
    percent_decode_str(text).decode_utf8().map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_plain() {
        let params = Params::parse("q=a%20b+c&pretty&size=0&&x=%C3%A4=").unwrap();
        assert_eq!(
            params.iter().collect::<Vec<_>>(),
            [("q", "a b c"), ("pretty", ""), ("size", "0"), ("x", "ä=")]
        );
        assert_eq!(params.flag("pretty"), Ok(Some(true)));
        assert_eq!(params.flag("absent"), Ok(None));
        assert!(params.flag("q").is_err());
    }

    #[test]
    fn refuses_what_is_ambiguous() {
        for query in ["a=1;b=2", "a=1&a=1", "a=%", "a=%2", "a=%zz", "a=%ff", "=1", "a=1&%61=2", "a#b"] {
            assert_eq!(Params::parse(query).unwrap_err().reason, Reason::QueryString, "{query}");
        }
    }
}
