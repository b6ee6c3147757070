//! Suggesters.

use crate::cacheability::grammar::{Form, Kind, Rest, Word, refuse, word};
use crate::outcome::Reason;

use super::form;

/// Named suggestions, and a text for all of them.
pub(super) static SUGGEST: Form = form("suggest", "SuggestBuilder", &[&[word("text", Kind::Scalar)]])
    .rest(Rest::Names(Kind::Options(&SUGGESTION)))
    .kept();

static SUGGESTION: Form = form(
    "a suggestion",
    "SuggestionBuilder",
    &[&[word("text", Kind::Scalar), word("prefix", Kind::Scalar), word("regex", Kind::Scalar)]],
)
.rest(Rest::One(&[
    word("completion", Kind::Options(&COMPLETION)),
    word("phrase", Kind::Options(&PHRASE)),
    word("term", Kind::Options(&TERM)),
]));

static BASE: &[Word] = &[
    word("field", Kind::Scalar),
    word("analyzer", Kind::Analyzer),
    word("size", Kind::Scalar),
    word("shard_size", Kind::Scalar),
];

/// What `term` and the candidate generators of `phrase` share.
static SPELLING: &[Word] = &[
    word("suggest_mode", Kind::Scalar),
    word("accuracy", Kind::Scalar),
    word("sort", Kind::Scalar),
    word("string_distance", Kind::Scalar),
    word("max_edits", Kind::Scalar),
    word("max_inspections", Kind::Scalar),
    word("max_term_freq", Kind::Scalar),
    word("prefix_length", Kind::Scalar),
    word("min_word_length", Kind::Scalar),
    word("min_doc_freq", Kind::Scalar),
];

static TERM: Form = form("term as a suggester", "TermSuggestionBuilder", &[BASE, SPELLING]);

static PHRASE: Form = form(
    "phrase as a suggester",
    "PhraseSuggestionBuilder",
    &[
        BASE,
        &[
            word("real_word_error_likelihood", Kind::Scalar),
            word("confidence", Kind::Scalar),
            word("separator", Kind::Scalar),
            word("max_errors", Kind::Scalar),
            word("gram_size", Kind::Scalar),
            word("force_unigrams", Kind::Scalar),
            word("token_limit", Kind::Scalar),
            word("direct_generator", Kind::List(&Kind::Options(&GENERATOR))),
            word("highlight", Kind::Options(&HIGHLIGHT)),
            word("smoothing", Kind::Options(&SMOOTHING)),
            refuse("collate", Reason::Script, "a template makes a query of each suggestion"),
        ],
    ],
);

static GENERATOR: Form = form(
    "direct_generator",
    "DirectCandidateGeneratorBuilder",
    &[
        SPELLING,
        &[
            word("field", Kind::Scalar),
            word("size", Kind::Scalar),
            word("pre_filter", Kind::Scalar),
            word("post_filter", Kind::Scalar),
        ],
    ],
);

static HIGHLIGHT: Form = form(
    "highlight of phrase",
    "PhraseSuggestionBuilder",
    &[&[word("pre_tag", Kind::Scalar), word("post_tag", Kind::Scalar)]],
);

static SMOOTHING: Form = form("smoothing", "SmoothingModel", &[]).rest(Rest::One(&[
    word("laplace", Kind::Options(&SMOOTHING_MODEL)),
    // as the documentation calls it; the engines take the other word alone
    word("linear_interpolation", Kind::Options(&SMOOTHING_MODEL)),
    word("linear", Kind::Options(&SMOOTHING_MODEL)),
    word("stupid_backoff", Kind::Options(&SMOOTHING_MODEL)),
]));

static SMOOTHING_MODEL: Form = form(
    "a smoothing model",
    "Laplace, LinearInterpolation, StupidBackoff",
    &[&[
        word("alpha", Kind::Scalar),
        word("discount", Kind::Scalar),
        word("trigram_lambda", Kind::Scalar),
        word("bigram_lambda", Kind::Scalar),
        word("unigram_lambda", Kind::Scalar),
    ]],
);

static COMPLETION: Form = form(
    "completion",
    "CompletionSuggestionBuilder",
    &[
        BASE,
        &[
            word("skip_duplicates", Kind::Scalar),
            word("fuzzy", Kind::Either(&[Kind::Scalar, Kind::Options(&FUZZY)])),
            word("regex", Kind::Options(&REGEX)),
            word("contexts", CONTEXTS).sets(&["contexts"]),
            word("context", CONTEXTS).sets(&["contexts"]),
        ],
    ],
);

static FUZZY: Form = form(
    "fuzzy of completion",
    "FuzzyOptions",
    &[&[
        word("fuzziness", Kind::Scalar),
        word("transpositions", Kind::Scalar),
        word("min_length", Kind::Scalar),
        word("prefix_length", Kind::Scalar),
        word("unicode_aware", Kind::Scalar),
        word("max_determinized_states", Kind::Scalar),
    ]],
);

static REGEX: Form = form(
    "regex of completion",
    "RegexOptions",
    &[&[
        word("flags", Kind::Scalar).sets(&["flags"]),
        word("flags_value", Kind::Scalar).sets(&["flags"]),
        word("max_determinized_states", Kind::Scalar),
    ]],
);

/// Categories and places: data, kept as written.
const CONTEXTS: Kind = Kind::Any;
