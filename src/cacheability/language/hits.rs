//! What hits show and in which order: sort, source, fields, highlight, collapse, inner hits, rescore.

use crate::cacheability::grammar::{ES, ES8, ES9, ES89, Form, Kind, OLD, OS, Rest, Word, refuse, word};
use crate::outcome::Reason;

use super::geo::POINT;
use super::queries::QUERY;
use super::{ONE_OR_MORE, SCALARS, form};

/// What a search, `inner_hits` and `top_hits` say about their hits.
pub(super) static HITS: &[Word] = &[
    word("from", Kind::Scalar),
    word("size", Kind::Scalar),
    word("sort", SORT),
    word("_source", SOURCE),
    word("fields", FIELDS),
    word("docvalue_fields", FIELDS),
    word("stored_fields", ONE_OR_MORE),
    word("script_fields", Kind::Options(&SCRIPT_FIELDS)),
    word("highlight", Kind::Options(&HIGHLIGHT)),
    word("version", Kind::Scalar),
    word("seq_no_primary_term", Kind::Scalar),
    word("track_scores", Kind::Scalar),
    word("explain", Kind::Off(Reason::Diagnostic)),
];

pub(super) const SORT: Kind =
    Kind::Either(&[Kind::Scalar, Kind::List(&Kind::Either(&[Kind::Scalar, SORT_OBJECT])), SORT_OBJECT]);
const SORT_OBJECT: Kind = Kind::Options(&SORT_FORM);

static SORT_FORM: Form = form(
    "sort",
    "SortBuilder.fromXContent",
    &[&[
        word("_score", Kind::Either(&[Kind::Scalar, Kind::Options(&SCORE_SORT)])),
        word("_geo_distance", Kind::Options(&GEO_DISTANCE_SORT)),
        word("_geoDistance", Kind::Options(&GEO_DISTANCE_SORT)),
        word("_script", Kind::Options(&SCRIPT_SORT)),
    ]],
)
.rest(Rest::Names(Kind::Either(&[Kind::Scalar, Kind::Options(&FIELD_SORT)])))
.kept();

static SCORE_SORT: Form = form("sort by _score", "ScoreSortBuilder", &[&[word("order", Kind::Scalar)]]);

static NESTED_SORT: &[Word] = &[
    word("nested", Kind::Options(&NESTED)),
    word("nested_path", Kind::Scalar).on(OLD),
    word("nested_filter", QUERY).on(OLD),
];

static FIELD_SORT: Form = form(
    "sort by a field",
    "FieldSortBuilder",
    &[
        NESTED_SORT,
        &[
            word("order", Kind::Scalar),
            word("mode", Kind::Scalar),
            word("missing", Kind::Scalar),
            word("unmapped_type", Kind::Scalar),
            word("numeric_type", Kind::Scalar),
            word("format", Kind::Scalar).on(ES),
        ],
    ],
);

static GEO_DISTANCE_SORT: Form = form(
    "sort by _geo_distance",
    "GeoDistanceSortBuilder",
    &[
        NESTED_SORT,
        &[
            word("order", Kind::Scalar),
            word("unit", Kind::Scalar),
            word("distance_type", Kind::Scalar),
            word("validation_method", Kind::Scalar),
            word("mode", Kind::Scalar).sets(&["mode"]),
            word("sort_mode", Kind::Scalar).sets(&["mode"]),
            word("ignore_unmapped", Kind::Scalar),
        ],
    ],
)
.rest(Rest::Name(Kind::Either(&[
    Kind::Scalar,
    Kind::List(&Kind::Either(&[Kind::Scalar, SCALARS, POINT])),
    POINT,
])));

static SCRIPT_SORT: Form = form(
    "sort by _script",
    "ScriptSortBuilder",
    &[
        NESTED_SORT,
        &[
            word("script", Kind::Script),
            word("type", Kind::Scalar),
            word("order", Kind::Scalar),
            word("mode", Kind::Scalar),
        ],
    ],
);

static NESTED: Form = form(
    "nested of sort",
    "NestedSortBuilder",
    &[&[
        word("path", Kind::Scalar),
        word("filter", QUERY),
        word("max_children", Kind::Scalar),
        word("nested", Kind::Options(&NESTED)),
    ]],
);

const SOURCE: Kind = Kind::Either(&[Kind::Scalar, SCALARS, Kind::Options(&SOURCE_FORM)]);

static SOURCE_FORM: Form = form(
    "_source",
    "FetchSourceContext",
    &[&[
        word("includes", ONE_OR_MORE).sets(&["includes"]),
        word("include", ONE_OR_MORE).sets(&["includes"]),
        word("excludes", ONE_OR_MORE).sets(&["excludes"]),
        word("exclude", ONE_OR_MORE).sets(&["excludes"]),
        word("exclude_vectors", Kind::Scalar).on(ES89),
    ]],
);

pub(super) const FIELDS: Kind = Kind::List(&Kind::Either(&[Kind::Scalar, Kind::Options(&FIELD)]));

static FIELD: Form = form(
    "an item of fields, docvalue_fields",
    "FieldAndFormat",
    &[&[
        word("field", Kind::Scalar),
        word("format", Kind::Scalar),
        word("include_unmapped", Kind::Scalar).on(ES),
    ]],
);

static SCRIPT_FIELDS: Form = form("script_fields", "SearchSourceBuilder.ScriptField", &[])
    .rest(Rest::Names(Kind::Options(&SCRIPT_FIELD)))
    .kept();

static SCRIPT_FIELD: Form = form(
    "a field of script_fields",
    "SearchSourceBuilder.ScriptField",
    &[&[word("script", Kind::Script), word("ignore_failure", Kind::Scalar)]],
);

/// What `highlight` and each of its fields may say.
static HIGHLIGHTER: &[Word] = &[
    word("type", Kind::Among(&["unified", "plain", "fvh"], Reason::Lookup)),
    word("pre_tags", ONE_OR_MORE).sets(&["pre_tags"]),
    word("post_tags", ONE_OR_MORE).sets(&["post_tags"]),
    word("order", Kind::Scalar),
    word("highlight_filter", Kind::Scalar),
    word("highlight_query", QUERY),
    word("fragment_size", Kind::Scalar),
    word("number_of_fragments", Kind::Scalar),
    word("require_field_match", Kind::Scalar),
    word("boundary_scanner", Kind::Scalar),
    word("boundary_scanner_locale", Kind::Scalar),
    word("boundary_max_scan", Kind::Scalar),
    word("boundary_chars", Kind::Scalar),
    word("fragmenter", Kind::Scalar),
    word("no_match_size", Kind::Scalar),
    word("force_source", Kind::Scalar).on(OLD.and(ES8)),
    word("phrase_limit", Kind::Scalar),
    word("max_analyzed_offset", Kind::Scalar).on(ES),
    word("max_analyzer_offset", Kind::Scalar).on(OS),
    word("options", Kind::Any),
];

static HIGHLIGHT: Form = form(
    "highlight",
    "HighlightBuilder",
    &[
        HIGHLIGHTER,
        &[
            word("fields", HIGHLIGHT_FIELDS),
            word("tags_schema", Kind::Scalar).sets(&["pre_tags", "post_tags"]),
            word("encoder", Kind::Scalar),
        ],
    ],
);

const HIGHLIGHT_FIELDS: Kind = Kind::Either(&[
    Kind::List(&Kind::Options(&HIGHLIGHT_FIELDS_FORM)),
    Kind::Options(&HIGHLIGHT_FIELDS_FORM),
]);

static HIGHLIGHT_FIELDS_FORM: Form = form("fields of highlight", "HighlightBuilder", &[])
    .rest(Rest::Names(Kind::Options(&HIGHLIGHT_FIELD)))
    .kept();

static HIGHLIGHT_FIELD: Form = form(
    "a field of highlight",
    "HighlightBuilder.Field",
    &[HIGHLIGHTER, &[word("fragment_offset", Kind::Scalar), word("matched_fields", ONE_OR_MORE)]],
);

pub(super) static COLLAPSE: Form = form(
    "collapse",
    "CollapseBuilder",
    &[&[
        word("field", Kind::Scalar),
        word("inner_hits", Kind::Either(&[Kind::List(&INNER_HITS), INNER_HITS])),
        word("max_concurrent_group_searches", Kind::Scalar),
    ]],
);

/// The hits beneath a hit.
pub(super) const INNER_HITS: Kind = Kind::Nested(|| &INNER_HITS_FORM);

static INNER_HITS_FORM: Form = form(
    "inner_hits",
    "InnerHitBuilder",
    &[
        HITS,
        &[
            word("name", Kind::Scalar),
            word("ignore_unmapped", Kind::Scalar),
            word("collapse", Kind::Options(&COLLAPSE)),
        ],
    ],
);

/// One rescorer or several.
pub(super) const RESCORE: Kind =
    Kind::Either(&[Kind::List(&Kind::Options(&RESCORE_FORM)), Kind::Options(&RESCORE_FORM)]);

static RESCORE_FORM: Form =
    form("rescore", "RescorerBuilder", &[&[word("window_size", Kind::Scalar)]]).rest(Rest::One(&[
        word("query", Kind::Options(&QUERY_RESCORER)),
        word("script", Kind::Options(&SCRIPT_RESCORER)).on(ES9),
        refuse("learning_to_rank", Reason::Lookup, "a model elsewhere computes the scores").on(ES89),
    ]));

static QUERY_RESCORER: Form = form(
    "query of rescore",
    "QueryRescorerBuilder",
    &[&[
        word("rescore_query", QUERY),
        word("query_weight", Kind::Scalar),
        word("rescore_query_weight", Kind::Scalar),
        word("score_mode", Kind::Scalar),
    ]],
);

static SCRIPT_RESCORER: Form =
    form("script of rescore", "ScriptRescorerBuilder", &[&[word("script", Kind::Script)]]);
