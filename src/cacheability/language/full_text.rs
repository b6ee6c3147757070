//! Full-text queries.

use crate::cacheability::grammar::{ES7, ES89, Form, Kind, OLD, Rest, Word, word};
use crate::outcome::Reason;

use super::queries::BASE;
use super::{ONE_OR_MORE, SCALARS, form};

/// What match queries and the like share.
static FUZZY_MATCHING: &[Word] = &[
    word("fuzziness", Kind::Scalar),
    word("prefix_length", Kind::Scalar),
    word("max_expansions", Kind::Scalar),
    word("fuzzy_transpositions", Kind::Scalar),
    word("fuzzy_rewrite", Kind::Scalar),
];

/// Where a shorthand `field: value` stands for `field: {query: value}`.
macro_rules! by_field {
    ($query:literal, $source:literal, $field:ident) => {
        form($query, $source, &[BASE]).rest(Rest::Name(Kind::Either(&[Kind::Date, Kind::Options(&$field)])))
    };
}

pub(super) static MATCH: Form = by_field!("match", "MatchQueryBuilder", MATCH_FIELD);

static MATCH_FIELD: Form = form(
    "the field of match",
    "MatchQueryBuilder",
    &[
        BASE,
        FUZZY_MATCHING,
        &[
            word("query", Kind::Date),
            word("operator", Kind::Scalar),
            word("minimum_should_match", Kind::Scalar),
            word("analyzer", Kind::DateAnalyzer),
            word("lenient", Kind::Scalar),
            word("zero_terms_query", Kind::Scalar),
            word("auto_generate_synonyms_phrase_query", Kind::Scalar),
            word("cutoff_frequency", Kind::Scalar).on(OLD),
        ],
    ],
);

pub(super) static MATCH_BOOL_PREFIX: Form =
    by_field!("match_bool_prefix", "MatchBoolPrefixQueryBuilder", MATCH_BOOL_PREFIX_FIELD);

static MATCH_BOOL_PREFIX_FIELD: Form = form(
    "the field of match_bool_prefix",
    "MatchBoolPrefixQueryBuilder",
    &[
        BASE,
        FUZZY_MATCHING,
        &[
            word("query", Kind::Date),
            word("operator", Kind::Scalar),
            word("minimum_should_match", Kind::Scalar),
            word("analyzer", Kind::DateAnalyzer),
        ],
    ],
);

pub(super) static MATCH_PHRASE: Form =
    by_field!("match_phrase", "MatchPhraseQueryBuilder", MATCH_PHRASE_FIELD);

static MATCH_PHRASE_FIELD: Form = form(
    "the field of match_phrase",
    "MatchPhraseQueryBuilder",
    &[
        BASE,
        &[
            word("query", Kind::Date),
            word("slop", Kind::Scalar),
            word("analyzer", Kind::DateAnalyzer),
            word("zero_terms_query", Kind::Scalar),
        ],
    ],
);

pub(super) static MATCH_PHRASE_PREFIX: Form =
    by_field!("match_phrase_prefix", "MatchPhrasePrefixQueryBuilder", MATCH_PHRASE_PREFIX_FIELD);

static MATCH_PHRASE_PREFIX_FIELD: Form = form(
    "the field of match_phrase_prefix",
    "MatchPhrasePrefixQueryBuilder",
    &[
        BASE,
        &[
            word("query", Kind::Date),
            word("slop", Kind::Scalar),
            word("analyzer", Kind::DateAnalyzer),
            word("zero_terms_query", Kind::Scalar),
            word("max_expansions", Kind::Scalar),
        ],
    ],
);

pub(super) static MULTI_MATCH: Form = form(
    "multi_match",
    "MultiMatchQueryBuilder",
    &[
        BASE,
        FUZZY_MATCHING,
        &[
            word("query", Kind::Date),
            word("fields", ONE_OR_MORE),
            word("type", Kind::Scalar),
            word("operator", Kind::Scalar),
            word("minimum_should_match", Kind::Scalar),
            word("tie_breaker", Kind::Scalar),
            word("slop", Kind::Scalar),
            word("analyzer", Kind::DateAnalyzer),
            word("lenient", Kind::Scalar),
            word("zero_terms_query", Kind::Scalar),
            word("auto_generate_synonyms_phrase_query", Kind::Scalar),
            word("cutoff_frequency", Kind::Scalar).on(OLD),
        ],
    ],
);

pub(super) static COMBINED_FIELDS: Form = form(
    "combined_fields",
    "CombinedFieldsQueryBuilder",
    &[
        BASE,
        &[
            word("query", Kind::Date),
            word("fields", SCALARS),
            word("operator", Kind::Scalar),
            word("minimum_should_match", Kind::Scalar),
            word("zero_terms_query", Kind::Scalar).on(ES7.and(ES89)),
            word("auto_generate_synonyms_phrase_query", Kind::Scalar).on(ES7.and(ES89)),
        ],
    ],
);

pub(super) static COMMON: Form = by_field!("common", "CommonTermsQueryBuilder", COMMON_FIELD);

static COMMON_FIELD: Form = form(
    "the field of common",
    "CommonTermsQueryBuilder",
    &[
        BASE,
        &[
            word("query", Kind::Date),
            word("cutoff_frequency", Kind::Scalar),
            word("low_freq_operator", Kind::Scalar),
            word("high_freq_operator", Kind::Scalar),
            word("minimum_should_match", Kind::Either(&[Kind::Scalar, Kind::Options(&COMMON_MINIMUM)])),
            word("analyzer", Kind::DateAnalyzer),
        ],
    ],
);

static COMMON_MINIMUM: Form = form(
    "minimum_should_match of common",
    "CommonTermsQueryBuilder",
    &[&[word("low_freq", Kind::Scalar), word("high_freq", Kind::Scalar)]],
);

/// What the two queries with a syntax in their text share.
static SYNTAX: &[Word] = &[
    word("query", Kind::QueryText),
    word("fields", SCALARS),
    word("default_operator", Kind::Scalar),
    word("analyzer", Kind::DateAnalyzer),
    word("analyze_wildcard", Kind::Scalar),
    word("lenient", Kind::Scalar),
    word("minimum_should_match", Kind::Scalar),
    word("quote_field_suffix", Kind::Scalar),
    word("auto_generate_synonyms_phrase_query", Kind::Scalar),
    word("fuzzy_prefix_length", Kind::Scalar),
    word("fuzzy_max_expansions", Kind::Scalar),
    word("fuzzy_transpositions", Kind::Scalar),
];

pub(super) static QUERY_STRING: Form = form(
    "query_string",
    "QueryStringQueryBuilder",
    &[
        BASE,
        SYNTAX,
        &[
            word("default_field", Kind::Scalar),
            word("quote_analyzer", Kind::DateAnalyzer),
            word("allow_leading_wildcard", Kind::Scalar),
            word("max_determinized_states", Kind::Scalar),
            word("enable_position_increments", Kind::Scalar),
            word("escape", Kind::Scalar),
            word("fuzziness", Kind::Scalar),
            word("fuzzy_rewrite", Kind::Scalar),
            word("phrase_slop", Kind::Scalar),
            word("rewrite", Kind::Scalar),
            word("tie_breaker", Kind::Scalar),
            word("time_zone", Kind::Scalar),
            word("type", Kind::Scalar),
        ],
    ],
);

pub(super) static SIMPLE_QUERY_STRING: Form = form(
    "simple_query_string",
    "SimpleQueryStringBuilder",
    &[
        BASE,
        SYNTAX,
        &[
            word("flags", Kind::Scalar),
            word("type", Kind::Scalar).on(ES89),
            word("all_fields", Kind::Scalar).on(OLD),
            word("locale", Kind::Scalar).on(OLD),
            word("lowercase_expanded_terms", Kind::Scalar).on(OLD),
        ],
    ],
);

const LIKE: Kind =
    Kind::Either(&[Kind::Scalar, Kind::List(&Kind::Either(&[Kind::Scalar, LIKE_DOCUMENT])), LIKE_DOCUMENT]);
const LIKE_DOCUMENT: Kind =
    Kind::Refused(Reason::Lookup, "likeness to a document that is read from elsewhere");

pub(super) static MORE_LIKE_THIS: Form = form(
    "more_like_this",
    "MoreLikeThisQueryBuilder",
    &[
        BASE,
        &[
            word("fields", SCALARS),
            word("like", LIKE),
            word("unlike", LIKE),
            word("max_query_terms", Kind::Scalar),
            word("min_term_freq", Kind::Scalar),
            word("min_doc_freq", Kind::Scalar),
            word("max_doc_freq", Kind::Scalar),
            word("min_word_length", Kind::Scalar),
            word("max_word_length", Kind::Scalar),
            word("stop_words", SCALARS),
            word("analyzer", Kind::Analyzer),
            word("minimum_should_match", Kind::Scalar),
            word("boost_terms", Kind::Scalar),
            word("include", Kind::Scalar),
            word("fail_on_unsupported_field", Kind::Scalar),
        ],
    ],
);
