//! Aggregations over the results of others.

use crate::cacheability::grammar::{Form, Kind, Rest, Word, word};

use super::hits::SORT;
use super::{SCALARS, form};

/// The path to one other aggregation, or to several by name.
const PATHS: Kind = Kind::Either(&[Kind::Scalar, SCALARS, Kind::Options(&PATHS_FORM)]);

static PATHS_FORM: Form = form("buckets_path", "BucketHelpers, AbstractPipelineAggregationBuilder", &[])
    .rest(Rest::Names(Kind::Scalar))
    .kept();

static PLAIN: &[Word] = &[word("buckets_path", PATHS), word("format", Kind::Scalar)];

static BASE: &[Word] =
    &[word("buckets_path", PATHS), word("gap_policy", Kind::Scalar), word("format", Kind::Scalar)];

pub(super) static BUCKET_METRIC: Form =
    form("avg_bucket, max_bucket, min_bucket, stats_bucket, sum_bucket", "BucketMetricsParser", &[BASE]);

pub(super) static EXTENDED_STATS_BUCKET: Form =
    form("extended_stats_bucket", "ExtendedStatsBucketParser", &[BASE, &[word("sigma", Kind::Scalar)]]);

pub(super) static PERCENTILES_BUCKET: Form = form(
    "percentiles_bucket",
    "PercentilesBucketPipelineAggregationBuilder",
    &[BASE, &[word("percents", SCALARS), word("keyed", Kind::Scalar)]],
);

pub(super) static BUCKET_SCRIPT: Form =
    form("bucket_script", "BucketScriptPipelineAggregationBuilder", &[BASE, &[word("script", Kind::Script)]]);

pub(super) static BUCKET_SELECTOR: Form = form(
    "bucket_selector",
    "BucketSelectorPipelineAggregationBuilder",
    &[&[word("buckets_path", PATHS), word("gap_policy", Kind::Scalar), word("script", Kind::Script)]],
);

pub(super) static BUCKET_SORT: Form = form(
    "bucket_sort",
    "BucketSortPipelineAggregationBuilder",
    &[&[
        word("sort", SORT),
        word("from", Kind::Scalar),
        word("size", Kind::Scalar),
        word("gap_policy", Kind::Scalar),
    ]],
);

pub(super) static CUMULATIVE: Form =
    form("cumulative_sum, cumulative_cardinality", "CumulativeSumPipelineAggregationBuilder", &[PLAIN]);

pub(super) static DERIVATIVE: Form =
    form("derivative", "DerivativePipelineAggregationBuilder", &[BASE, &[word("unit", Kind::Scalar)]]);

pub(super) static SERIAL_DIFF: Form =
    form("serial_diff", "SerialDiffPipelineAggregationBuilder", &[BASE, &[word("lag", Kind::Scalar)]]);

pub(super) static MOVING_PERCENTILES: Form = form(
    "moving_percentiles",
    "MovingPercentilesPipelineAggregationBuilder",
    &[&[word("buckets_path", PATHS), word("window", Kind::Scalar), word("shift", Kind::Scalar)]],
);

pub(super) static NORMALIZE: Form =
    form("normalize", "NormalizePipelineAggregationBuilder", &[PLAIN, &[word("method", Kind::Scalar)]]);
