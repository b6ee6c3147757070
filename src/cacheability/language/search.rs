//! The body of a search.

use crate::cacheability::grammar::{ES, ES89, Form, Kind, OS, Rest, refuse, word};
use crate::outcome::Reason;

use super::aggregations::AGGREGATIONS;
use super::hits::{COLLAPSE, HITS, RESCORE, SORT};
use super::queries::{QUERIES, QUERY};
use super::suggest::SUGGEST;
use super::{SCALARS, form};

/// The body of a search.
pub(crate) static SEARCH: Form = form(
    "the body of _search",
    "SearchSourceBuilder.parseXContent",
    &[
        HITS,
        &[
            word("query", QUERY),
            word("post_filter", QUERY),
            word("aggs", AGGREGATIONS).sets(&["aggregations"]),
            word("aggregations", AGGREGATIONS).sets(&["aggregations"]),
            word("suggest", Kind::Options(&SUGGEST)),
            word("rescore", RESCORE),
            word("collapse", Kind::Options(&COLLAPSE)),
            word("search_after", SCALARS),
            word("track_total_hits", Kind::Scalar),
            word("min_score", Kind::Scalar),
            word(
                "indices_boost",
                Kind::Either(&[Kind::List(&Kind::Options(&BOOSTS)), Kind::Options(&BOOSTS)]),
            ),
            word("include_named_queries_score", Kind::Scalar).on(OS),
            word("timeout", Kind::Scalar),
            word("terminate_after", Kind::Scalar),
            word("stats", SCALARS),
            word("profile", Kind::Off(Reason::Diagnostic)),
            word("retriever", Kind::Options(&RETRIEVER)).on(ES89),
            word("runtime_mappings", Kind::Empty(Reason::Script)).on(ES),
            word("derived", Kind::Empty(Reason::Script)).on(OS),
            word("ext", Kind::Empty(Reason::NotYet)),
            word("verbose_pipeline", Kind::Off(Reason::SearchPipeline)).on(OS),
            refuse("knn", Reason::Approximate, "a nearest-neighbour search is approximate").on(ES89),
            refuse("pit", Reason::Stateful, "a point in time is state on the engine"),
            refuse("rank", Reason::NotYet, "an old form of retriever").on(ES89),
            refuse(
                "search_pipeline",
                Reason::SearchPipeline,
                "a pipeline may change the request and the answer",
            )
            .on(OS),
            refuse("slice", Reason::Stateful, "slices belong to scrolls and points in time"),
            refuse("sub_searches", Reason::NotYet, "an old form of retriever").on(ES89),
        ],
    ],
);

static BOOSTS: Form =
    form("indices_boost", "SearchSourceBuilder.IndexBoost", &[]).rest(Rest::Indices(Kind::Scalar)).kept();

static RETRIEVER: Form = form("retriever", "RetrieverBuilder", &[]).rest(Rest::One(&[
    word("standard", Kind::Options(&STANDARD_RETRIEVER)),
    refuse("diversify", Reason::NotYet, "a compound retriever").on(ES89),
    refuse("knn", Reason::Approximate, "a nearest-neighbour search is approximate"),
    refuse("linear", Reason::NotYet, "a compound retriever"),
    refuse("pinned", Reason::NotYet, "a compound retriever"),
    refuse("random_reranker", Reason::Random, "it ranks by chance"),
    refuse("rescorer", Reason::NotYet, "a compound retriever"),
    refuse("rrf", Reason::NotYet, "a compound retriever"),
    refuse("rule", Reason::Lookup, "the rules are in another index"),
    refuse("text_similarity_reranker", Reason::Lookup, "a model elsewhere ranks the hits"),
]));

static STANDARD_RETRIEVER: Form = form(
    "standard of retriever",
    "StandardRetrieverBuilder",
    &[&[
        word("query", QUERY),
        word("filter", QUERIES),
        word("search_after", SCALARS),
        word("terminate_after", Kind::Scalar),
        word("sort", SORT),
        word("min_score", Kind::Scalar),
        word("collapse", Kind::Options(&COLLAPSE)),
        word("_name", Kind::Scalar),
    ]],
);
