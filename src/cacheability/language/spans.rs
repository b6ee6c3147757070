//! Span queries.

use crate::cacheability::grammar::{Form, Kind, Rest, word};

use super::form;
use super::queries::{BASE, QUERY};

pub(super) static SPAN_FIELD_MASKING: Form = form(
    "field_masking_span",
    "FieldMaskingSpanQueryBuilder",
    &[BASE, &[word("field", Kind::Scalar), word("query", QUERY)]],
);

pub(super) static SPAN_PAIR: Form = form(
    "span_containing, span_within",
    "SpanContainingQueryBuilder, SpanWithinQueryBuilder",
    &[BASE, &[word("big", QUERY), word("little", QUERY)]],
);

pub(super) static SPAN_FIRST: Form =
    form("span_first", "SpanFirstQueryBuilder", &[BASE, &[word("match", QUERY), word("end", Kind::Scalar)]]);

pub(super) static SPAN_GAP: Form =
    form("span_gap", "SpanNearQueryBuilder.SpanGapQueryBuilder", &[]).rest(Rest::Name(Kind::Scalar));

pub(super) static SPAN_MULTI: Form =
    form("span_multi", "SpanMultiTermQueryBuilder", &[BASE, &[word("match", QUERY)]]);

pub(super) static SPAN_NEAR: Form = form(
    "span_near",
    "SpanNearQueryBuilder",
    &[
        BASE,
        &[word("clauses", Kind::List(&QUERY)), word("slop", Kind::Scalar), word("in_order", Kind::Scalar)],
    ],
);

pub(super) static SPAN_NOT: Form = form(
    "span_not",
    "SpanNotQueryBuilder",
    &[
        BASE,
        &[
            word("include", QUERY),
            word("exclude", QUERY),
            word("dist", Kind::Scalar),
            word("pre", Kind::Scalar),
            word("post", Kind::Scalar),
        ],
    ],
);

pub(super) static SPAN_OR: Form =
    form("span_or", "SpanOrQueryBuilder", &[BASE, &[word("clauses", Kind::List(&QUERY))]]);

pub(super) static SPAN_TERM: Form = form("span_term", "SpanTermQueryBuilder", &[BASE])
    .rest(Rest::Name(Kind::Either(&[Kind::Date, Kind::Options(&SPAN_TERM_FIELD)])));

static SPAN_TERM_FIELD: Form = form(
    "the field of span_term",
    "SpanTermQueryBuilder",
    &[BASE, &[word("value", Kind::Date).sets(&["value"]), word("term", Kind::Date).sets(&["value"])]],
);
