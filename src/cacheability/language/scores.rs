//! Queries that compute scores.

use crate::cacheability::grammar::{Form, Kind, Need, Rest, Word, word};
use crate::outcome::Reason;

use super::geo::POINT;
use super::queries::{BASE, QUERY};
use super::{SCALARS, form};

pub(super) static SCRIPT_SCORE: Form = form(
    "script_score",
    "ScriptScoreQueryBuilder",
    &[BASE, &[word("query", QUERY), word("script", Kind::Script), word("min_score", Kind::Scalar)]],
);

pub(super) static FUNCTION_SCORE: Form = form(
    "function_score",
    "FunctionScoreQueryBuilder",
    &[
        BASE,
        &[
            word("query", QUERY),
            word("functions", Kind::List(&Kind::Options(&FILTERED_FUNCTION))),
            word("weight", Kind::Scalar),
            word("score_mode", Kind::Scalar),
            word("boost_mode", Kind::Scalar),
            word("max_boost", Kind::Scalar),
            word("min_score", Kind::Scalar),
        ],
    ],
)
.rest(Rest::AtMostOne(FUNCTIONS));

static FILTERED_FUNCTION: Form = form(
    "an item of functions",
    "FunctionScoreQueryBuilder",
    &[&[word("filter", QUERY), word("weight", Kind::Scalar)]],
)
.rest(Rest::AtMostOne(FUNCTIONS));

static FUNCTIONS: &[Word] = &[
    word("exp", Kind::Options(&DECAY)),
    word("field_value_factor", Kind::Options(&FIELD_VALUE_FACTOR)),
    word("gauss", Kind::Options(&DECAY)),
    word("linear", Kind::Options(&DECAY)),
    word("random_score", Kind::Options(&RANDOM_SCORE)),
    word("script_score", Kind::Options(&SCRIPT_SCORE_FUNCTION)),
];

static DECAY: Form =
    form("exp, gauss, linear", "DecayFunctionParser", &[&[word("multi_value_mode", Kind::Scalar)]])
        .rest(Rest::Name(Kind::Options(&DECAY_FIELD)));

static DECAY_FIELD: Form = form(
    "the field of exp, gauss, linear",
    "DecayFunctionBuilder",
    &[&[
        word("origin", Kind::Either(&[Kind::Date, SCALARS, POINT])),
        word("scale", Kind::Scalar),
        word("offset", Kind::Scalar),
        word("decay", Kind::Scalar),
    ]],
)
.needs(&[Need {
    member: "origin",
    reason: Reason::Now,
    why: "without an origin, a decay over a date begins at the present",
}]);

static FIELD_VALUE_FACTOR: Form = form(
    "field_value_factor",
    "FieldValueFactorFunctionBuilder",
    &[&[
        word("field", Kind::Scalar),
        word("factor", Kind::Scalar),
        word("modifier", Kind::Scalar),
        word("missing", Kind::Scalar),
    ]],
);

static RANDOM_SCORE: Form = form(
    "random_score",
    "RandomScoreFunctionBuilder",
    &[&[word("seed", Kind::Scalar), word("field", Kind::Scalar)]],
)
.needs(&[
    Need { member: "seed", reason: Reason::Random, why: "without a seed the engine draws one" },
    Need {
        member: "field",
        reason: Reason::Random,
        why: "without a field what the seed is mixed with differs",
    },
]);

static SCRIPT_SCORE_FUNCTION: Form =
    form("script_score as a function", "ScriptScoreFunctionBuilder", &[&[word("script", Kind::Script)]]);
