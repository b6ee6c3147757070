//! Queries that join documents.

use crate::cacheability::grammar::{Form, Kind, word};

use super::form;
use super::hits::INNER_HITS;
use super::queries::{BASE, QUERY};

pub(super) static HAS_CHILD: Form = form(
    "has_child",
    "HasChildQueryBuilder",
    &[
        BASE,
        &[
            word("type", Kind::Scalar),
            word("query", QUERY),
            word("score_mode", Kind::Scalar),
            word("min_children", Kind::Scalar),
            word("max_children", Kind::Scalar),
            word("ignore_unmapped", Kind::Scalar),
            word("inner_hits", INNER_HITS),
        ],
    ],
);

pub(super) static HAS_PARENT: Form = form(
    "has_parent",
    "HasParentQueryBuilder",
    &[
        BASE,
        &[
            word("parent_type", Kind::Scalar),
            word("query", QUERY),
            word("score", Kind::Scalar),
            word("ignore_unmapped", Kind::Scalar),
            word("inner_hits", INNER_HITS),
        ],
    ],
);

pub(super) static NESTED: Form = form(
    "nested",
    "NestedQueryBuilder",
    &[
        BASE,
        &[
            word("path", Kind::Scalar),
            word("query", QUERY),
            word("score_mode", Kind::Scalar),
            word("ignore_unmapped", Kind::Scalar),
            word("inner_hits", INNER_HITS),
        ],
    ],
);

pub(super) static PARENT_ID: Form = form(
    "parent_id",
    "ParentIdQueryBuilder",
    &[BASE, &[word("type", Kind::Scalar), word("id", Kind::Scalar), word("ignore_unmapped", Kind::Scalar)]],
);
