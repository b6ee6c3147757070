//! Aggregations that make buckets.

use crate::cacheability::grammar::{ES7, ES89, Form, Kind, OLD, OS, Rest, Word, refuse, word};
use crate::outcome::Reason;

use super::geo::POINT_KIND;
use super::queries::QUERY;
use super::{DATES, SCALARS, form};

/// What aggregations over the values of a field share (`ValuesSourceAggregationBuilder.declareFields`).
pub(super) static FIELD: &[Word] = &[
    word("field", Kind::Scalar),
    word("missing", Kind::Date),
    word("value_type", Kind::Scalar).sets(&["value_type"]),
    word("valueType", Kind::Scalar).sets(&["value_type"]),
];

/// For those whose values a script may compute.
pub(super) static SCRIPT: &[Word] = &[word("script", Kind::Script)];

/// For those whose results have a format.
pub(super) static FORMAT: &[Word] = &[word("format", Kind::Scalar)];

static TIME_ZONE: &[Word] = &[word("time_zone", Kind::Scalar)];

/// `{"_count": "desc"}`, or several of these in an array.
const ORDER: Kind = Kind::Either(&[Kind::List(&Kind::Options(&ORDER_FORM)), Kind::Options(&ORDER_FORM)]);

static ORDER_FORM: Form = form("order", "InternalOrder.Parser", &[]).rest(Rest::Name(Kind::Scalar));

const DATE_BOUNDS: Kind = Kind::Options(&DATE_BOUNDS_FORM);

static DATE_BOUNDS_FORM: Form = form(
    "extended_bounds, hard_bounds",
    "LongBounds, DoubleBounds",
    &[&[word("min", Kind::Date), word("max", Kind::Date)]],
);

static HISTOGRAM_BASE: &[Word] = &[
    word("offset", Kind::Scalar),
    word("order", ORDER),
    word("keyed", Kind::Scalar),
    word("min_doc_count", Kind::Scalar),
    word("extended_bounds", DATE_BOUNDS),
    word("hard_bounds", DATE_BOUNDS),
];

pub(super) static HISTOGRAM: Form = form(
    "histogram",
    "HistogramAggregationBuilder",
    &[FIELD, SCRIPT, FORMAT, HISTOGRAM_BASE, &[word("interval", Kind::Scalar)]],
);

static DATE_INTERVAL: &[Word] = &[
    word("calendar_interval", Kind::Scalar).sets(&["interval"]),
    word("fixed_interval", Kind::Scalar).sets(&["interval"]),
    word("interval", Kind::Scalar).sets(&["interval"]).on(OLD),
];

pub(super) static DATE_HISTOGRAM: Form = form(
    "date_histogram",
    "DateHistogramAggregationBuilder",
    &[FIELD, SCRIPT, FORMAT, TIME_ZONE, DATE_INTERVAL, HISTOGRAM_BASE],
);

pub(super) static AUTO_DATE_HISTOGRAM: Form = form(
    "auto_date_histogram",
    "AutoDateHistogramAggregationBuilder",
    &[
        FIELD,
        SCRIPT,
        FORMAT,
        TIME_ZONE,
        &[word("buckets", Kind::Scalar), word("minimum_interval", Kind::Scalar)],
    ],
);

pub(super) static VARIABLE_WIDTH_HISTOGRAM: Form = form(
    "variable_width_histogram",
    "VariableWidthHistogramAggregationBuilder",
    &[
        FIELD,
        SCRIPT,
        FORMAT,
        TIME_ZONE,
        &[
            word("buckets", Kind::Scalar),
            word("shard_size", Kind::Scalar),
            word("initial_buffer", Kind::Scalar),
        ],
    ],
);

const RANGES: Kind = Kind::List(&Kind::Options(&RANGE_ITEM));

static RANGE_ITEM: Form = form(
    "an item of ranges",
    "RangeAggregator.Range",
    &[&[word("key", Kind::Scalar), word("from", Kind::Date), word("to", Kind::Date)]],
);

pub(super) static RANGE: Form = form(
    "range as an aggregation",
    "RangeAggregationBuilder",
    &[FIELD, SCRIPT, FORMAT, &[word("ranges", RANGES), word("keyed", Kind::Scalar)]],
);

pub(super) static DATE_RANGE: Form = form(
    "date_range",
    "DateRangeAggregationBuilder",
    &[FIELD, SCRIPT, FORMAT, TIME_ZONE, &[word("ranges", RANGES), word("keyed", Kind::Scalar)]],
);

pub(super) static IP_RANGE: Form = form(
    "ip_range",
    "IpRangeAggregationBuilder",
    &[FIELD, &[word("ranges", Kind::List(&Kind::Options(&IP_RANGE_ITEM))), word("keyed", Kind::Scalar)]],
);

static IP_RANGE_ITEM: Form = form(
    "an item of the ranges of ip_range",
    "IpRangeAggregationBuilder.Range",
    &[&[
        word("key", Kind::Scalar),
        word("from", Kind::Scalar),
        word("to", Kind::Scalar),
        word("mask", Kind::Scalar),
    ]],
);

pub(super) static IP_PREFIX: Form = form(
    "ip_prefix",
    "IpPrefixAggregationBuilder",
    &[
        FIELD,
        &[
            word("prefix_length", Kind::Scalar),
            word("is_ipv6", Kind::Scalar),
            word("append_prefix_length", Kind::Scalar),
            word("min_doc_count", Kind::Scalar),
            word("keyed", Kind::Scalar),
        ],
    ],
);

pub(super) static GEO_DISTANCE: Form = form(
    "geo_distance as an aggregation",
    "GeoDistanceAggregationBuilder",
    &[
        FIELD,
        SCRIPT,
        &[
            word("origin", POINT_KIND).sets(&["origin"]),
            word("center", POINT_KIND).sets(&["origin"]),
            word("point", POINT_KIND).sets(&["origin"]),
            word("por", POINT_KIND).sets(&["origin"]),
            word("unit", Kind::Scalar),
            word("distance_type", Kind::Scalar),
            word("ranges", RANGES),
            word("keyed", Kind::Scalar),
        ],
    ],
);

pub(super) static GEO_GRID: Form = form(
    "geohash_grid, geotile_grid, geohex_grid",
    "GeoGridAggregationBuilder",
    &[
        FIELD,
        &[
            word("precision", Kind::Scalar),
            word("size", Kind::Scalar),
            word("shard_size", Kind::Scalar),
            word("bounds", super::geo::BOX),
        ],
    ],
);

pub(super) static FILTERS: Form = form(
    "filters",
    "FiltersAggregationBuilder",
    &[&[
        word("filters", Kind::Either(&[Kind::List(&QUERY), Kind::Options(&NAMED_FILTERS)])),
        word("other_bucket", Kind::Scalar),
        word("other_bucket_key", Kind::Scalar),
        word("keyed", Kind::Scalar).on(ES89),
    ]],
);

static NAMED_FILTERS: Form =
    form("named filters", "FiltersAggregator.KeyedFilter", &[]).rest(Rest::Names(QUERY)).kept();

pub(super) static ADJACENCY_MATRIX: Form = form(
    "adjacency_matrix",
    "AdjacencyMatrixAggregationBuilder",
    &[&[
        word("filters", Kind::Options(&NAMED_FILTERS)),
        word("separator", Kind::Scalar),
        word("show_only_intersecting", Kind::Scalar).on(OS),
    ]],
);

pub(super) static MISSING: Form = form("missing", "MissingAggregationBuilder", &[FIELD, SCRIPT, FORMAT]);

pub(super) static NESTED: Form = form(
    "nested, reverse_nested",
    "NestedAggregationBuilder, ReverseNestedAggregationBuilder",
    &[&[word("path", Kind::Scalar)]],
);

pub(super) static JOINED: Form = form(
    "children, parent",
    "ChildrenAggregationBuilder, ParentAggregationBuilder",
    &[&[word("type", Kind::Scalar)]],
);

pub(super) static TIME_SERIES: Form = form(
    "time_series",
    "TimeSeriesAggregationBuilder",
    &[&[word("keyed", Kind::Scalar), word("size", Kind::Scalar)]],
);

static TERMS_SIZES: &[Word] = &[
    word("size", Kind::Scalar),
    word("shard_size", Kind::Scalar),
    word("min_doc_count", Kind::Scalar),
    word("shard_min_doc_count", Kind::Scalar),
];

static TERMS_BASE: &[Word] = &[
    word("order", ORDER),
    word("show_term_doc_count_error", Kind::Scalar),
    word("collect_mode", Kind::Scalar),
];

static TERMS_CHOICE: &[Word] =
    &[word("include", CHOICE), word("exclude", CHOICE), word("execution_hint", Kind::Scalar)];

const CHOICE: Kind = Kind::Either(&[Kind::Date, DATES, Kind::Options(&PARTITION)]);

static PARTITION: Form = form(
    "include of terms, by partition",
    "IncludeExclude",
    &[&[word("partition", Kind::Scalar), word("num_partitions", Kind::Scalar)]],
);

pub(super) static TERMS: Form = form(
    "terms as an aggregation",
    "TermsAggregationBuilder",
    &[FIELD, SCRIPT, FORMAT, TERMS_SIZES, TERMS_BASE, TERMS_CHOICE],
);

pub(super) static MULTI_TERMS: Form = form(
    "multi_terms",
    "MultiTermsAggregationBuilder",
    &[TERMS_SIZES, TERMS_BASE, &[word("terms", Kind::List(&Kind::Options(&MULTI_TERMS_ITEM)))]],
);

static MULTI_TERMS_ITEM: Form = form(
    "an item of multi_terms",
    "MultiValuesSourceFieldConfig",
    &[FIELD, SCRIPT, FORMAT, TIME_ZONE, TERMS_CHOICE],
);

pub(super) static COUNTED_TERMS: Form = form(
    "counted_terms",
    "CountedTermsAggregationBuilder",
    &[FIELD, SCRIPT, FORMAT, &[word("size", Kind::Scalar)]],
);

pub(super) static SIGNIFICANT_TERMS: Form = form(
    "significant_terms",
    "SignificantTermsAggregationBuilder",
    &[FIELD, SCRIPT, FORMAT, TERMS_SIZES, TERMS_CHOICE, &[word("background_filter", QUERY)]],
)
.rest(Rest::AtMostOne(HEURISTICS));

pub(super) static SIGNIFICANT_TEXT: Form = form(
    "significant_text",
    "SignificantTextAggregationBuilder",
    &[
        TERMS_SIZES,
        &[word("include", CHOICE), word("exclude", CHOICE)],
        &[
            word("field", Kind::Scalar),
            word("source_fields", SCALARS),
            word("filter_duplicate_text", Kind::Scalar),
            word("background_filter", QUERY),
        ],
    ],
)
.rest(Rest::AtMostOne(HEURISTICS));

static HEURISTICS: &[Word] = &[
    word("chi_square", Kind::Options(&HEURISTIC)),
    word("gnd", Kind::Options(&HEURISTIC)),
    word("jlh", Kind::Options(&HEURISTIC)),
    word("mutual_information", Kind::Options(&HEURISTIC)),
    word("percentage", Kind::Options(&HEURISTIC)),
    word("p_value", Kind::Options(&P_VALUE)).on(ES7.and(ES89)),
    refuse("script_heuristic", Reason::Script, "a script may read the clock or chance"),
];

static HEURISTIC: Form = form(
    "a significance heuristic",
    "NXYSignificanceHeuristic",
    &[&[word("background_is_superset", Kind::Scalar), word("include_negatives", Kind::Scalar)]],
);

static P_VALUE: Form = form(
    "p_value",
    "PValueScore",
    &[&[word("background_is_superset", Kind::Scalar), word("normalize_above", Kind::Scalar)]],
);

pub(super) static COMPOSITE: Form = form(
    "composite",
    "CompositeAggregationBuilder",
    &[&[
        word("sources", Kind::List(&Kind::Options(&COMPOSITE_SOURCE))),
        word("size", Kind::Scalar),
        word("after", Kind::Any),
    ]],
);

static COMPOSITE_SOURCE: Form = form("a source of composite", "CompositeValuesSourceParserHelper", &[])
    .rest(Rest::Name(Kind::Options(&COMPOSITE_SOURCE_TYPE)));

static COMPOSITE_SOURCE_TYPE: Form = form("the type of a source", "CompositeValuesSourceParserHelper", &[])
    .rest(Rest::One(&[
        word("terms", Kind::Options(&COMPOSITE_TERMS)),
        word("histogram", Kind::Options(&COMPOSITE_HISTOGRAM)),
        word("date_histogram", Kind::Options(&COMPOSITE_DATE_HISTOGRAM)),
        word("geotile_grid", Kind::Options(&COMPOSITE_GEOTILE_GRID)),
    ]));

static COMPOSITE_VALUES: &[Word] = &[
    word("field", Kind::Scalar),
    word("script", Kind::Script),
    word("value_type", Kind::Scalar),
    word("missing_bucket", Kind::Scalar),
    word("missing_order", Kind::Scalar),
    word("order", Kind::Scalar),
];

static COMPOSITE_TERMS: Form = form("terms of composite", "TermsValuesSourceBuilder", &[COMPOSITE_VALUES]);

static COMPOSITE_HISTOGRAM: Form = form(
    "histogram of composite",
    "HistogramValuesSourceBuilder",
    &[COMPOSITE_VALUES, &[word("interval", Kind::Scalar)]],
);

static COMPOSITE_DATE_HISTOGRAM: Form = form(
    "date_histogram of composite",
    "DateHistogramValuesSourceBuilder",
    &[COMPOSITE_VALUES, FORMAT, TIME_ZONE, DATE_INTERVAL, &[word("offset", Kind::Scalar)]],
);

static COMPOSITE_GEOTILE_GRID: Form = form(
    "geotile_grid of composite",
    "GeoTileGridValuesSourceBuilder",
    &[COMPOSITE_VALUES, &[word("precision", Kind::Scalar), word("bounds", super::geo::BOX)]],
);
