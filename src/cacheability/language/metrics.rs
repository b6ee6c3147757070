//! Aggregations that compute values.

use crate::cacheability::grammar::{ES89, Form, Kind, OS, Rest, Word, word};

use super::buckets::{FIELD, FORMAT, SCRIPT};
use super::hits::{HITS, SORT};
use super::queries::QUERY;
use super::{SCALARS, form};

/// avg, max, min, stats, sum, value_count, and the like.
pub(super) static METRIC: Form =
    form("a plain metric", "AvgAggregationBuilder and the like", &[FIELD, SCRIPT, FORMAT]);

/// geo_centroid and its like: no format.
pub(super) static GEO_CENTROID: Form =
    form("a plain metric of places", "GeoCentroidAggregationBuilder", &[FIELD, SCRIPT]);

pub(super) static CARDINALITY: Form = form(
    "cardinality",
    "CardinalityAggregationBuilder",
    &[
        FIELD,
        SCRIPT,
        &[
            word("precision_threshold", Kind::Scalar),
            word("rehash", Kind::Scalar),
            word("execution_hint", Kind::Scalar).on(ES89.and(OS)),
        ],
    ],
);

pub(super) static EXTENDED_STATS: Form = form(
    "extended_stats",
    "ExtendedStatsAggregationBuilder",
    &[FIELD, SCRIPT, FORMAT, &[word("sigma", Kind::Scalar)]],
);

pub(super) static GEO_BOUNDS: Form =
    form("geo_bounds", "GeoBoundsAggregationBuilder", &[FIELD, &[word("wrap_longitude", Kind::Scalar)]]);

pub(super) static MEDIAN_ABSOLUTE_DEVIATION: Form = form(
    "median_absolute_deviation",
    "MedianAbsoluteDeviationAggregationBuilder",
    &[
        FIELD,
        SCRIPT,
        FORMAT,
        &[word("compression", Kind::Scalar), word("execution_hint", Kind::Scalar).on(ES89)],
    ],
);

static PERCENTILES_BASE: &[Word] = &[
    word("keyed", Kind::Scalar),
    word("tdigest", Kind::Options(&TDIGEST)),
    word("hdr", Kind::Options(&HDR)),
];

pub(super) static PERCENTILES: Form = form(
    "percentiles",
    "PercentilesAggregationBuilder",
    &[FIELD, SCRIPT, FORMAT, PERCENTILES_BASE, &[word("percents", SCALARS)]],
);

pub(super) static PERCENTILE_RANKS: Form = form(
    "percentile_ranks",
    "PercentileRanksAggregationBuilder",
    &[FIELD, SCRIPT, FORMAT, PERCENTILES_BASE, &[word("values", SCALARS)]],
);

static TDIGEST: Form = form(
    "tdigest",
    "PercentilesConfig.TDigest",
    &[&[word("compression", Kind::Scalar), word("execution_hint", Kind::Scalar).on(ES89)]],
);

static HDR: Form =
    form("hdr", "PercentilesConfig.Hdr", &[&[word("number_of_significant_value_digits", Kind::Scalar)]]);

pub(super) static BOXPLOT: Form = form(
    "boxplot",
    "BoxplotAggregationBuilder",
    &[
        FIELD,
        SCRIPT,
        FORMAT,
        &[word("compression", Kind::Scalar), word("execution_hint", Kind::Scalar).on(ES89)],
    ],
);

pub(super) static STRING_STATS: Form = form(
    "string_stats",
    "StringStatsAggregationBuilder",
    &[FIELD, SCRIPT, FORMAT, &[word("show_distribution", Kind::Scalar)]],
);

pub(super) static RATE: Form = form(
    "rate",
    "RateAggregationBuilder",
    &[FIELD, SCRIPT, FORMAT, &[word("unit", Kind::Scalar), word("mode", Kind::Scalar)]],
);

/// A field with what is missing in it (`MultiValuesSourceFieldConfig`).
const SOURCE: Kind = Kind::Options(&SOURCE_FORM);

static SOURCE_WORDS: &[Word] =
    &[word("field", Kind::Scalar), word("missing", Kind::Date), word("script", Kind::Script)];

static SOURCE_FORM: Form = form("a source of values", "MultiValuesSourceFieldConfig", &[SOURCE_WORDS]);

pub(super) static WEIGHTED_AVG: Form = form(
    "weighted_avg",
    "WeightedAvgAggregationBuilder",
    &[&[
        word("value", SOURCE),
        word("weight", SOURCE),
        word("format", Kind::Scalar),
        word("value_type", Kind::Scalar),
    ]],
);

const FILTERED_SOURCE: Kind = Kind::Options(&FILTERED_SOURCE_FORM);

static FILTERED_SOURCE_FORM: Form = form(
    "a filtered source of values",
    "MultiValuesSourceFieldConfig",
    &[SOURCE_WORDS, &[word("filter", QUERY)]],
);

pub(super) static T_TEST: Form = form(
    "t_test",
    "TTestAggregationBuilder",
    &[&[
        word("a", FILTERED_SOURCE),
        word("b", FILTERED_SOURCE),
        word("type", Kind::Scalar),
        word("tails", Kind::Scalar),
        word("format", Kind::Scalar),
        word("value_type", Kind::Scalar),
    ]],
);

pub(super) static GEO_LINE: Form = form(
    "geo_line",
    "GeoLineAggregationBuilder",
    &[&[
        word("point", SOURCE),
        word("sort", SOURCE),
        word("include_sort", Kind::Scalar),
        word("sort_order", Kind::Scalar),
        word("size", Kind::Scalar),
    ]],
);

pub(super) static TOP_METRICS: Form = form(
    "top_metrics",
    "TopMetricsAggregationBuilder",
    &[&[
        word("metrics", Kind::Either(&[Kind::List(&SOURCE), SOURCE])),
        word("sort", SORT),
        word("size", Kind::Scalar),
    ]],
);

pub(super) static TOP_HITS: Form = form("top_hits", "TopHitsAggregationBuilder", &[HITS]);

pub(super) static MATRIX_STATS: Form = form(
    "matrix_stats",
    "MatrixStatsParser",
    &[&[
        word("fields", SCALARS),
        word("mode", Kind::Scalar),
        word("missing", Kind::Options(&MISSING_BY_FIELD)),
        word("format", Kind::Scalar),
        word("value_type", Kind::Scalar),
    ]],
);

static MISSING_BY_FIELD: Form =
    form("missing of matrix_stats", "ArrayValuesSourceParser", &[]).rest(Rest::Names(Kind::Date)).kept();
