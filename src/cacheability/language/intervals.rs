//! The intervals query.

use crate::cacheability::grammar::{ES89, Form, Kind, OS, Rest, Word, refuse, word};
use crate::outcome::Reason;

use super::form;
use super::queries::BASE;

pub(super) static INTERVALS: Form =
    form("intervals", "IntervalQueryBuilder", &[BASE]).rest(Rest::Name(Kind::Options(&FIELD)));

static FIELD: Form = form("the field of intervals", "IntervalQueryBuilder", &[BASE]).rest(Rest::One(SOURCES));

static SOURCE: Form =
    form("an interval source", "IntervalsSourceProvider.fromXContent", &[]).rest(Rest::One(SOURCES));

const SOURCE_LIST: Kind = Kind::List(&Kind::Nested(|| &SOURCE));
const FILTER: Kind = Kind::Nested(|| &FILTER_FORM);

static SOURCES: &[Word] = &[
    word("match", Kind::Options(&MATCH)),
    word("any_of", Kind::Options(&ANY_OF)),
    word("all_of", Kind::Options(&ALL_OF)),
    word("prefix", Kind::Options(&PREFIX)),
    word("wildcard", Kind::Options(&WILDCARD)),
    word("fuzzy", Kind::Options(&FUZZY)),
    word("regexp", Kind::Options(&REGEXP)).on(ES89.and(OS)),
    word("range", Kind::Options(&RANGE)).on(ES89),
];

static MATCH: Form = form(
    "match of intervals",
    "IntervalsSourceProvider.Match",
    &[&[
        word("query", Kind::Scalar),
        word("max_gaps", Kind::Scalar),
        word("ordered", Kind::Scalar).sets(&["mode"]),
        word("mode", Kind::Scalar).sets(&["mode"]).on(OS),
        word("analyzer", Kind::Analyzer),
        word("filter", FILTER),
        word("use_field", Kind::Scalar),
    ]],
);

static ANY_OF: Form = form(
    "any_of of intervals",
    "IntervalsSourceProvider.Disjunction",
    &[&[word("intervals", SOURCE_LIST), word("filter", FILTER)]],
);

static ALL_OF: Form = form(
    "all_of of intervals",
    "IntervalsSourceProvider.Combine",
    &[&[
        word("intervals", SOURCE_LIST),
        word("max_gaps", Kind::Scalar),
        word("ordered", Kind::Scalar).sets(&["mode"]),
        word("mode", Kind::Scalar).sets(&["mode"]).on(OS),
        word("filter", FILTER),
    ]],
);

static PREFIX: Form = form(
    "prefix of intervals",
    "IntervalsSourceProvider.Prefix",
    &[&[word("prefix", Kind::Scalar), word("analyzer", Kind::Analyzer), word("use_field", Kind::Scalar)]],
);

static WILDCARD: Form = form(
    "wildcard of intervals",
    "IntervalsSourceProvider.Wildcard",
    &[&[
        word("pattern", Kind::Scalar),
        word("analyzer", Kind::Analyzer),
        word("use_field", Kind::Scalar),
        word("max_expansions", Kind::Scalar).on(OS),
    ]],
);

static FUZZY: Form = form(
    "fuzzy of intervals",
    "IntervalsSourceProvider.Fuzzy",
    &[&[
        word("term", Kind::Scalar),
        word("prefix_length", Kind::Scalar),
        word("transpositions", Kind::Scalar),
        word("fuzziness", Kind::Scalar),
        word("analyzer", Kind::Analyzer),
        word("use_field", Kind::Scalar),
    ]],
);

static REGEXP: Form = form(
    "regexp of intervals",
    "IntervalsSourceProvider.Regexp",
    &[&[
        word("pattern", Kind::Scalar),
        word("analyzer", Kind::Analyzer).on(ES89),
        word("use_field", Kind::Scalar),
        word("flags", Kind::Scalar).sets(&["flags"]).on(OS),
        word("flags_value", Kind::Scalar).sets(&["flags"]).on(OS),
        word("max_expansions", Kind::Scalar).on(OS),
        word("case_insensitive", Kind::Scalar).on(OS),
    ]],
);

static RANGE: Form = form(
    "range of intervals",
    "IntervalsSourceProvider.Range",
    &[&[
        word("gte", Kind::Scalar),
        word("gt", Kind::Scalar),
        word("lte", Kind::Scalar),
        word("lt", Kind::Scalar),
        word("analyzer", Kind::Analyzer),
        word("use_field", Kind::Scalar),
    ]],
);

static FILTER_FORM: Form =
    form("filter of intervals", "IntervalsSourceProvider.IntervalFilter", &[]).rest(Rest::One(FILTERS));

static FILTERS: &[Word] = &[
    word("after", Kind::Options(&SOURCE)),
    word("before", Kind::Options(&SOURCE)),
    word("contained_by", Kind::Options(&SOURCE)),
    word("containing", Kind::Options(&SOURCE)),
    word("not_contained_by", Kind::Options(&SOURCE)),
    word("not_containing", Kind::Options(&SOURCE)),
    word("not_overlapping", Kind::Options(&SOURCE)),
    word("overlapping", Kind::Options(&SOURCE)),
    refuse("script", Reason::Script, "there are no expressions for it"),
];
