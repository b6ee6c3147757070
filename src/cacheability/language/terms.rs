//! Queries for terms and ranges.

use crate::cacheability::grammar::{ES7, ES8, ES89, Engines, Form, Kind, OS, Rest, word};
use crate::outcome::Reason;

use super::queries::BASE;
use super::{DATES, ONE_OR_MORE, SCALARS, form};

pub(super) static DISTANCE_FEATURE: Form = form(
    "distance_feature",
    "DistanceFeatureQueryBuilder",
    &[
        BASE,
        &[
            word("field", Kind::Scalar),
            word("origin", Kind::Either(&[Kind::Date, SCALARS, super::geo::POINT])),
            word("pivot", Kind::Scalar),
        ],
    ],
);

pub(super) static EXISTS: Form =
    form("exists", "ExistsQueryBuilder", &[BASE, &[word("field", Kind::Scalar)]]);

pub(super) static FUZZY: Form = form("fuzzy", "FuzzyQueryBuilder", &[BASE])
    .rest(Rest::Name(Kind::Either(&[Kind::Scalar, Kind::Options(&FUZZY_FIELD)])));

static FUZZY_FIELD: Form = form(
    "the field of fuzzy",
    "FuzzyQueryBuilder",
    &[
        BASE,
        &[
            word("value", Kind::Scalar).sets(&["value"]),
            word("term", Kind::Scalar).sets(&["value"]),
            word("fuzziness", Kind::Scalar),
            word("prefix_length", Kind::Scalar),
            word("max_expansions", Kind::Scalar),
            word("transpositions", Kind::Scalar),
            word("rewrite", Kind::Scalar),
        ],
    ],
);

pub(super) static IDS: Form = form(
    "ids",
    "IdsQueryBuilder",
    &[BASE, &[word("values", ONE_OR_MORE), word("type", ONE_OR_MORE).on(ES7)]],
);

pub(super) static PREFIX: Form = form("prefix", "PrefixQueryBuilder", &[BASE])
    .rest(Rest::Name(Kind::Either(&[Kind::Scalar, Kind::Options(&PREFIX_FIELD)])));

static PREFIX_FIELD: Form = form(
    "the field of prefix",
    "PrefixQueryBuilder",
    &[
        BASE,
        &[word("value", Kind::Scalar), word("rewrite", Kind::Scalar), word("case_insensitive", Kind::Scalar)],
    ],
);

pub(super) static RANGE: Form =
    form("range", "RangeQueryBuilder", &[]).rest(Rest::Name(Kind::Options(&RANGE_FIELD)));

const NOT_ES9: Engines = ES7.and(ES8).and(OS);

static RANGE_FIELD: Form = form(
    "the field of range",
    "RangeQueryBuilder",
    &[
        BASE,
        &[
            word("gte", Kind::Date).sets(&["from", "include_lower"]),
            word("gt", Kind::Date).sets(&["from", "include_lower"]),
            word("from", Kind::Date).sets(&["from"]).on(NOT_ES9),
            word("lte", Kind::Date).sets(&["to", "include_upper"]),
            word("lt", Kind::Date).sets(&["to", "include_upper"]),
            word("to", Kind::Date).sets(&["to"]).on(NOT_ES9),
            word("include_lower", Kind::Scalar).sets(&["include_lower"]).on(NOT_ES9),
            word("include_upper", Kind::Scalar).sets(&["include_upper"]).on(NOT_ES9),
            word("format", Kind::Scalar),
            word("time_zone", Kind::Scalar),
            word("relation", Kind::Scalar),
        ],
    ],
);

pub(super) static RANK_FEATURE: Form = form(
    "rank_feature",
    "RankFeatureQueryBuilder",
    &[
        BASE,
        &[
            word("field", Kind::Scalar),
            word("saturation", Kind::Options(&RANK_SATURATION)),
            word("log", Kind::Options(&RANK_LOG)),
            word("sigmoid", Kind::Options(&RANK_SIGMOID)),
            word("linear", Kind::Options(&RANK_LINEAR)),
        ],
    ],
);

static RANK_SATURATION: Form = form(
    "saturation of rank_feature",
    "RankFeatureQueryBuilder.Saturation",
    &[&[word("pivot", Kind::Scalar)]],
);

static RANK_LOG: Form =
    form("log of rank_feature", "RankFeatureQueryBuilder.Log", &[&[word("scaling_factor", Kind::Scalar)]]);

static RANK_SIGMOID: Form = form(
    "sigmoid of rank_feature",
    "RankFeatureQueryBuilder.Sigmoid",
    &[&[word("pivot", Kind::Scalar), word("exponent", Kind::Scalar)]],
);

static RANK_LINEAR: Form = form("linear of rank_feature", "RankFeatureQueryBuilder.Linear", &[]);

pub(super) static REGEXP: Form = form("regexp", "RegexpQueryBuilder", &[BASE])
    .rest(Rest::Name(Kind::Either(&[Kind::Scalar, Kind::Options(&REGEXP_FIELD)])));

static REGEXP_FIELD: Form = form(
    "the field of regexp",
    "RegexpQueryBuilder",
    &[
        BASE,
        &[
            word("value", Kind::Scalar),
            word("flags", Kind::Scalar).sets(&["flags"]),
            word("flags_value", Kind::Scalar).sets(&["flags"]),
            word("max_determinized_states", Kind::Scalar),
            word("rewrite", Kind::Scalar),
            word("case_insensitive", Kind::Scalar),
        ],
    ],
);

pub(super) static TERM: Form = form("term", "TermQueryBuilder", &[BASE])
    .rest(Rest::Name(Kind::Either(&[Kind::Date, Kind::Options(&TERM_FIELD)])));

static TERM_FIELD: Form = form(
    "the field of term",
    "TermQueryBuilder",
    &[
        BASE,
        &[
            word("value", Kind::Date).sets(&["value"]),
            word("term", Kind::Date).sets(&["value"]),
            word("case_insensitive", Kind::Scalar),
        ],
    ],
);

pub(super) static TERMS: Form =
    form("terms", "TermsQueryBuilder", &[BASE, &[word("value_type", Kind::Scalar).on(OS)]]).rest(Rest::Name(
        Kind::Either(&[DATES, Kind::Refused(Reason::Lookup, "terms lookup reads another document")]),
    ));

pub(super) static TERMS_SET: Form =
    form("terms_set", "TermsSetQueryBuilder", &[BASE]).rest(Rest::Name(Kind::Options(&TERMS_SET_FIELD)));

static TERMS_SET_FIELD: Form = form(
    "the field of terms_set",
    "TermsSetQueryBuilder",
    &[
        BASE,
        &[
            word("terms", DATES),
            word("minimum_should_match", Kind::Scalar).on(ES89),
            word("minimum_should_match_field", Kind::Scalar),
            word("minimum_should_match_script", Kind::Script),
        ],
    ],
);

pub(super) static TYPE: Form = form("type", "TypeQueryBuilder", &[BASE, &[word("value", Kind::Scalar)]]);

pub(super) static WILDCARD: Form = form("wildcard", "WildcardQueryBuilder", &[BASE])
    .rest(Rest::Name(Kind::Either(&[Kind::Index, Kind::Options(&WILDCARD_FIELD)])));

static WILDCARD_FIELD: Form = form(
    "the field of wildcard",
    "WildcardQueryBuilder",
    &[
        BASE,
        &[
            word("value", Kind::Index).sets(&["value"]),
            word("wildcard", Kind::Index).sets(&["value"]),
            word("rewrite", Kind::Scalar),
            word("case_insensitive", Kind::Scalar),
        ],
    ],
);
