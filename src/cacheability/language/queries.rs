//! Queries: compound, term-level, joining, span, and those that ask elsewhere.

use crate::cacheability::grammar::{
    ES, ES7, ES8, ES89, Form, Kind, Need, OLD, OS, OS3, Rest, Word, refuse, word,
};
use crate::outcome::Reason;

use super::full_text::{
    COMBINED_FIELDS, COMMON, MATCH, MATCH_BOOL_PREFIX, MATCH_PHRASE, MATCH_PHRASE_PREFIX, MORE_LIKE_THIS,
    MULTI_MATCH, QUERY_STRING, SIMPLE_QUERY_STRING,
};
use super::geo::{GEO_BOUNDING_BOX, GEO_DISTANCE, GEO_GRID, GEO_POLYGON, GEO_SHAPE, SHAPE, XY_SHAPE};
use super::intervals::INTERVALS;
use super::joins::{HAS_CHILD, HAS_PARENT, NESTED, PARENT_ID};
use super::scores::{FUNCTION_SCORE, SCRIPT_SCORE};
use super::spans::{
    SPAN_FIELD_MASKING, SPAN_FIRST, SPAN_GAP, SPAN_MULTI, SPAN_NEAR, SPAN_NOT, SPAN_OR, SPAN_PAIR, SPAN_TERM,
};
use super::terms::{
    DISTANCE_FEATURE, EXISTS, FUZZY, IDS, PREFIX, RANGE, RANK_FEATURE, REGEXP, TERM, TERMS, TERMS_SET, TYPE,
    WILDCARD,
};
use super::{SCALARS, form};

/// A query.
pub(super) const QUERY: Kind = Kind::Nested(|| &QUERY_FORM);
/// One query, or several in an array.
pub(super) const QUERIES: Kind = Kind::Either(&[QUERY, Kind::List(&QUERY)]);

/// What every query may have.
pub(super) static BASE: &[Word] = &[word("boost", Kind::Scalar), word("_name", Kind::Scalar)];

/// Where a query may stand.
pub(crate) static QUERY_FORM: Form =
    form("query", "AbstractQueryBuilder.parseInnerQueryBuilder", &[]).rest(Rest::One(WORDS));

static WORDS: &[Word] = &[
    // -- compound
    word("bool", Kind::Options(&BOOL)),
    word("boosting", Kind::Options(&BOOSTING)),
    word("constant_score", Kind::Options(&CONSTANT_SCORE)),
    word("dis_max", Kind::Options(&DIS_MAX)),
    word("function_score", Kind::Options(&FUNCTION_SCORE)),
    word("match_all", Kind::Options(&PLAIN)),
    word("match_none", Kind::Options(&PLAIN)),
    word("pinned", Kind::Options(&PINNED)).on(ES),
    word("script_score", Kind::Options(&SCRIPT_SCORE)),
    // -- full text
    word("combined_fields", Kind::Options(&COMBINED_FIELDS)).on(ES.and(OS3)),
    word("common", Kind::Options(&COMMON)).on(OLD),
    word("intervals", Kind::Options(&INTERVALS)),
    word("match", Kind::Options(&MATCH)),
    word("match_bool_prefix", Kind::Options(&MATCH_BOOL_PREFIX)),
    word("match_phrase", Kind::Options(&MATCH_PHRASE)),
    word("match_phrase_prefix", Kind::Options(&MATCH_PHRASE_PREFIX)),
    word("more_like_this", Kind::Options(&MORE_LIKE_THIS)),
    word("multi_match", Kind::Options(&MULTI_MATCH)),
    word("query_string", Kind::Options(&QUERY_STRING)),
    word("simple_query_string", Kind::Options(&SIMPLE_QUERY_STRING)),
    // -- terms
    word("distance_feature", Kind::Options(&DISTANCE_FEATURE)),
    word("exists", Kind::Options(&EXISTS)),
    word("fuzzy", Kind::Options(&FUZZY)),
    word("ids", Kind::Options(&IDS)),
    word("prefix", Kind::Options(&PREFIX)),
    word("range", Kind::Options(&RANGE)),
    word("rank_feature", Kind::Options(&RANK_FEATURE)),
    word("regexp", Kind::Options(&REGEXP)),
    word("term", Kind::Options(&TERM)),
    word("terms", Kind::Options(&TERMS)),
    word("terms_set", Kind::Options(&TERMS_SET)),
    word("type", Kind::Options(&TYPE)).on(ES7),
    word("wildcard", Kind::Options(&WILDCARD)),
    // -- joins
    word("has_child", Kind::Options(&HAS_CHILD)),
    word("has_parent", Kind::Options(&HAS_PARENT)),
    word("nested", Kind::Options(&NESTED)),
    word("parent_id", Kind::Options(&PARENT_ID)),
    // -- spans
    word("field_masking_span", Kind::Options(&SPAN_FIELD_MASKING)),
    word("span_containing", Kind::Options(&SPAN_PAIR)),
    word("span_field_masking", Kind::Options(&SPAN_FIELD_MASKING)),
    word("span_first", Kind::Options(&SPAN_FIRST)),
    word("span_gap", Kind::Options(&SPAN_GAP)),
    word("span_multi", Kind::Options(&SPAN_MULTI)),
    word("span_near", Kind::Options(&SPAN_NEAR)),
    word("span_not", Kind::Options(&SPAN_NOT)),
    word("span_or", Kind::Options(&SPAN_OR)),
    word("span_term", Kind::Options(&SPAN_TERM)),
    word("span_within", Kind::Options(&SPAN_PAIR)),
    // -- places
    word("geo_bounding_box", Kind::Options(&GEO_BOUNDING_BOX)),
    word("geo_distance", Kind::Options(&GEO_DISTANCE)),
    word("geo_grid", Kind::Options(&GEO_GRID)).on(ES89),
    word("geo_polygon", Kind::Options(&GEO_POLYGON)),
    word("geo_shape", Kind::Options(&GEO_SHAPE)),
    word("shape", Kind::Options(&SHAPE)).on(ES),
    word("xy_shape", Kind::Options(&XY_SHAPE)).on(OS),
    // -- vectors and inference
    word("sparse_vector", Kind::Options(&SPARSE_VECTOR)).on(ES89),
    word("weighted_tokens", Kind::Options(&WEIGHTED_TOKENS)).on(ES89),
    refuse("hybrid", Reason::SearchPipeline, "a search pipeline combines its scores").on(OS),
    refuse("knn", Reason::Approximate, "a nearest-neighbour search is approximate").on(ES89.and(OS)),
    refuse("neural", Reason::Lookup, "a model elsewhere makes the vector").on(OS),
    refuse("neural_sparse", Reason::Lookup, "a model elsewhere makes the tokens").on(OS),
    refuse("semantic", Reason::Lookup, "an inference service makes the vector").on(ES89),
    refuse("text_expansion", Reason::Lookup, "an inference service makes the tokens").on(ES89),
    // -- elsewhere
    refuse("agentic", Reason::Lookup, "a model elsewhere writes the query").on(OS3),
    refuse(
        "percolate",
        Reason::Lookup,
        "stored queries may look at the clock, the document may be elsewhere",
    ),
    refuse("rule", Reason::Lookup, "the rules are in another index").on(ES89),
    refuse("rule_query", Reason::Lookup, "the rules are in another index").on(ES8),
    refuse("script", Reason::Script, "a script may read the clock or chance"),
    refuse("template", Reason::SearchPipeline, "a search pipeline fills in the template").on(OS),
    refuse("wrapper", Reason::NotYet, "the query is hidden in base64"),
];

static PLAIN: Form = form("match_all, match_none", "MatchAllQueryBuilder, MatchNoneQueryBuilder", &[BASE]);

static BOOL: Form = form(
    "bool",
    "BoolQueryBuilder",
    &[
        BASE,
        &[
            word("must", QUERIES),
            word("filter", QUERIES),
            word("should", QUERIES),
            word("must_not", QUERIES).sets(&["must_not"]),
            word("mustNot", QUERIES).sets(&["must_not"]),
            word("minimum_should_match", Kind::Scalar),
            word("adjust_pure_negative", Kind::Scalar),
        ],
    ],
);

static BOOSTING: Form = form(
    "boosting",
    "BoostingQueryBuilder",
    &[BASE, &[word("positive", QUERY), word("negative", QUERY), word("negative_boost", Kind::Scalar)]],
);

static CONSTANT_SCORE: Form =
    form("constant_score", "ConstantScoreQueryBuilder", &[BASE, &[word("filter", QUERY)]]);

static DIS_MAX: Form = form(
    "dis_max",
    "DisMaxQueryBuilder",
    &[BASE, &[word("queries", QUERIES), word("tie_breaker", Kind::Scalar)]],
);

static PINNED: Form = form(
    "pinned",
    "PinnedQueryBuilder",
    &[
        BASE,
        &[
            word("ids", SCALARS),
            word("docs", Kind::List(&Kind::Options(&PINNED_DOCUMENT))),
            word("organic", QUERY),
        ],
    ],
);

static PINNED_DOCUMENT: Form = form(
    "a document of pinned",
    "PinnedQueryBuilder.Item",
    &[&[word("_index", Kind::Index), word("_id", Kind::Scalar)]],
);

static SPARSE_VECTOR: Form = form(
    "sparse_vector",
    "SparseVectorQueryBuilder",
    &[
        BASE,
        &[
            word("field", Kind::Scalar),
            word("query_vector", Kind::Any),
            word("prune", Kind::Scalar),
            word("pruning_config", Kind::Options(&PRUNING)),
            refuse("inference_id", Reason::Lookup, "an inference service makes the tokens"),
            refuse("query", Reason::Lookup, "an inference service makes the tokens"),
        ],
    ],
)
.needs(&[Need {
    member: "query_vector",
    reason: Reason::Lookup,
    why: "the default inference endpoint makes the tokens",
}]);

static WEIGHTED_TOKENS: Form = form("weighted_tokens", "WeightedTokensQueryBuilder", &[BASE])
    .rest(Rest::Name(Kind::Options(&WEIGHTED_TOKENS_FIELD)));

static WEIGHTED_TOKENS_FIELD: Form = form(
    "the field of weighted_tokens",
    "WeightedTokensQueryBuilder",
    &[BASE, &[word("tokens", Kind::Any), word("pruning_config", Kind::Options(&PRUNING))]],
);

static PRUNING: Form = form(
    "pruning_config",
    "TokenPruningConfig",
    &[&[
        word("tokens_freq_ratio_threshold", Kind::Scalar),
        word("tokens_weight_threshold", Kind::Scalar),
        word("only_score_pruned_tokens", Kind::Scalar),
    ]],
);
