//! The request language as tables: what may stand in a search, and what it means for the cache.

use super::grammar::{Form, Kind};

pub(super) mod search;

pub(super) mod reads;

pub(super) mod hits;

pub(super) mod suggest;

pub(super) mod queries;

pub(super) mod terms;

pub(super) mod full_text;

pub(super) mod joins;

pub(super) mod spans;

pub(super) mod scores;

pub(super) mod intervals;

pub(super) mod geo;

pub(super) mod aggregations;

pub(super) mod buckets;

pub(super) mod metrics;

pub(super) mod pipelines;

const SCALARS: Kind = Kind::List(&Kind::Scalar);
const ONE_OR_MORE: Kind = Kind::Either(&[Kind::Scalar, SCALARS]);
const DATES: Kind = Kind::List(&Kind::Date);

/// A form whose members with fixed names are all there is.
const fn form(
    name: &'static str,
    source: &'static str,
    words: &'static [&'static [super::grammar::Word]],
) -> Form {
    Form::new(name, source, words)
}
