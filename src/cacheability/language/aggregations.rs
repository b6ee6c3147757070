//! Aggregations: their names, and what each of them may have.

use crate::cacheability::grammar::{ES, ES8, ES89, Form, Kind, OLD, OS, Rest, Word, refuse, word};
use crate::outcome::Reason;

use super::buckets::{
    ADJACENCY_MATRIX, AUTO_DATE_HISTOGRAM, COMPOSITE, COUNTED_TERMS, DATE_HISTOGRAM, DATE_RANGE, FILTERS,
    GEO_DISTANCE, GEO_GRID, HISTOGRAM, IP_PREFIX, IP_RANGE, JOINED, MISSING, MULTI_TERMS, NESTED, RANGE,
    SIGNIFICANT_TERMS, SIGNIFICANT_TEXT, TERMS, TIME_SERIES, VARIABLE_WIDTH_HISTOGRAM,
};
use super::form;
use super::metrics::{
    BOXPLOT, CARDINALITY, EXTENDED_STATS, GEO_BOUNDS, GEO_CENTROID, GEO_LINE, MATRIX_STATS,
    MEDIAN_ABSOLUTE_DEVIATION, METRIC, PERCENTILE_RANKS, PERCENTILES, RATE, STRING_STATS, T_TEST, TOP_HITS,
    TOP_METRICS, WEIGHTED_AVG,
};
use super::pipelines::{
    BUCKET_METRIC, BUCKET_SCRIPT, BUCKET_SELECTOR, BUCKET_SORT, CUMULATIVE, DERIVATIVE,
    EXTENDED_STATS_BUCKET, MOVING_PERCENTILES, NORMALIZE, PERCENTILES_BUCKET, SERIAL_DIFF,
};
use super::queries::QUERY;

/// Named aggregations. The answer follows the order of their names.
pub(super) const AGGREGATIONS: Kind = Kind::Nested(|| &NAMED);

static NAMED: Form = form("aggs", "AggregatorFactories.parseAggregators", &[])
    .rest(Rest::Names(Kind::Options(&AGGREGATION)))
    .kept();

static AGGREGATION: Form = form(
    "an aggregation",
    "AggregatorFactories.parseAggregators",
    &[&[
        word("aggs", AGGREGATIONS).sets(&["aggregations"]),
        word("aggregations", AGGREGATIONS).sets(&["aggregations"]),
        word("meta", Kind::Any),
    ]],
)
.rest(Rest::One(WORDS));

static NOTHING: Form = form("global", "GlobalAggregationBuilder", &[]);

static WORDS: &[Word] = &[
    // -- buckets
    word("adjacency_matrix", Kind::Options(&ADJACENCY_MATRIX)),
    word("auto_date_histogram", Kind::Options(&AUTO_DATE_HISTOGRAM)),
    word("children", Kind::Options(&JOINED)),
    word("composite", Kind::Options(&COMPOSITE)),
    word("counted_terms", Kind::Options(&COUNTED_TERMS)).on(ES89),
    word("date_histogram", Kind::Options(&DATE_HISTOGRAM)),
    word("date_range", Kind::Options(&DATE_RANGE)),
    word("filter", QUERY),
    word("filters", Kind::Options(&FILTERS)),
    word("geo_distance", Kind::Options(&GEO_DISTANCE)),
    word("geohash_grid", Kind::Options(&GEO_GRID)),
    word("geohex_grid", Kind::Options(&GEO_GRID)).on(ES89.and(OS)),
    word("geotile_grid", Kind::Options(&GEO_GRID)),
    word("global", Kind::Options(&NOTHING)),
    word("histogram", Kind::Options(&HISTOGRAM)),
    word("ip_prefix", Kind::Options(&IP_PREFIX)).on(ES89),
    word("ip_range", Kind::Options(&IP_RANGE)),
    word("missing", Kind::Options(&MISSING)),
    word("multi_terms", Kind::Options(&MULTI_TERMS)),
    word("nested", Kind::Options(&NESTED)),
    word("parent", Kind::Options(&JOINED)),
    word("range", Kind::Options(&RANGE)),
    word("reverse_nested", Kind::Options(&NESTED)),
    word("significant_terms", Kind::Options(&SIGNIFICANT_TERMS)),
    word("significant_text", Kind::Options(&SIGNIFICANT_TEXT)),
    word("terms", Kind::Options(&TERMS)),
    word("time_series", Kind::Options(&TIME_SERIES)).on(ES89),
    word("variable_width_histogram", Kind::Options(&VARIABLE_WIDTH_HISTOGRAM)),
    refuse("categorize_text", Reason::NotYet, "its categories depend on the order in which texts are read")
        .on(ES),
    refuse("diversified_sampler", Reason::Random, "which documents it takes is not certain"),
    refuse("frequent_item_sets", Reason::NotYet, "what it leaves out is not certain").on(ES89),
    refuse("frequent_items", Reason::NotYet, "what it leaves out is not certain").on(ES8),
    refuse("random_sampler", Reason::Random, "without a seed the engine draws one").on(ES89),
    refuse("rare_terms", Reason::Random, "its filter is seeded by chance"),
    refuse("sampler", Reason::Random, "which documents it takes is not certain"),
    // -- metrics
    word("avg", Kind::Options(&METRIC)),
    word("boxplot", Kind::Options(&BOXPLOT)).on(ES),
    word("cardinality", Kind::Options(&CARDINALITY)),
    word("cartesian_bounds", Kind::Options(&GEO_CENTROID)).on(ES89),
    word("cartesian_centroid", Kind::Options(&GEO_CENTROID)).on(ES89),
    word("extended_stats", Kind::Options(&EXTENDED_STATS)),
    word("geo_bounds", Kind::Options(&GEO_BOUNDS)),
    word("geo_centroid", Kind::Options(&GEO_CENTROID)),
    word("geo_line", Kind::Options(&GEO_LINE)).on(ES),
    word("matrix_stats", Kind::Options(&MATRIX_STATS)),
    word("max", Kind::Options(&METRIC)),
    word("median_absolute_deviation", Kind::Options(&MEDIAN_ABSOLUTE_DEVIATION)),
    word("min", Kind::Options(&METRIC)),
    word("percentile_ranks", Kind::Options(&PERCENTILE_RANKS)),
    word("percentiles", Kind::Options(&PERCENTILES)),
    word("rate", Kind::Options(&RATE)).on(ES),
    refuse("scripted_metric", Reason::Script, "it is made of scripts, and there are no expressions for it"),
    word("stats", Kind::Options(&METRIC)),
    word("string_stats", Kind::Options(&STRING_STATS)).on(ES),
    word("sum", Kind::Options(&METRIC)),
    word("t_test", Kind::Options(&T_TEST)).on(ES),
    word("top_hits", Kind::Options(&TOP_HITS)),
    word("top_metrics", Kind::Options(&TOP_METRICS)).on(ES),
    word("value_count", Kind::Options(&METRIC)),
    word("weighted_avg", Kind::Options(&WEIGHTED_AVG)),
    // -- pipelines
    word("avg_bucket", Kind::Options(&BUCKET_METRIC)),
    word("bucket_script", Kind::Options(&BUCKET_SCRIPT)),
    word("bucket_selector", Kind::Options(&BUCKET_SELECTOR)),
    word("bucket_sort", Kind::Options(&BUCKET_SORT)),
    word("cumulative_cardinality", Kind::Options(&CUMULATIVE)).on(ES),
    word("cumulative_sum", Kind::Options(&CUMULATIVE)),
    word("derivative", Kind::Options(&DERIVATIVE)),
    word("extended_stats_bucket", Kind::Options(&EXTENDED_STATS_BUCKET)),
    word("max_bucket", Kind::Options(&BUCKET_METRIC)),
    word("min_bucket", Kind::Options(&BUCKET_METRIC)),
    refuse("moving_avg", Reason::Random, "it searches its parameters by chance").on(OLD),
    refuse("moving_fn", Reason::Script, "it is a script, and there are no expressions for it"),
    word("moving_percentiles", Kind::Options(&MOVING_PERCENTILES)).on(ES),
    word("normalize", Kind::Options(&NORMALIZE)).on(ES),
    word("percentiles_bucket", Kind::Options(&PERCENTILES_BUCKET)),
    word("serial_diff", Kind::Options(&SERIAL_DIFF)),
    word("stats_bucket", Kind::Options(&BUCKET_METRIC)),
    word("sum_bucket", Kind::Options(&BUCKET_METRIC)),
    refuse("bucket_correlation", Reason::NotYet, "its reader was not read").on(ES),
    refuse("bucket_count_ks_test", Reason::NotYet, "its reader was not read").on(ES),
    refuse("change_point", Reason::NotYet, "its reader was not read").on(ES89),
    refuse("inference", Reason::Lookup, "a model elsewhere makes the values").on(ES),
];
