//! The bodies of the reads that are no searches.

use crate::cacheability::grammar::{ES, ES89, Form, Kind, OS, Word, refuse, word};
use crate::outcome::Reason;

use super::queries::QUERY;
use super::{SCALARS, form};

/// The body of a count, of the validation of a query, and of the explanation of a document's score.
pub(crate) static QUERY_ALONE: Form = form(
    "the body of _count, _explain and _validate/query",
    "RestActions.getQueryContent",
    &[&[word("query", QUERY)]],
);

/// The body of field capabilities.
pub(crate) static FIELD_CAPS: Form = form(
    "the body of _field_caps",
    "RestFieldCapabilitiesAction",
    &[&[
        word("index_filter", QUERY).on(ES),
        // indices that fail are left out of the answer without a word, as those are that the filter leaves out
        refuse("index_filter", Reason::PartialityUnknown, "which indices failed is not shown").on(OS),
        word("fields", SCALARS).on(ES89),
        word("runtime_mappings", Kind::Empty(Reason::Script)).on(ES),
    ]],
);

/// The body of an enumeration of terms. Remote indices and `now` in the filter are refused as everywhere.
pub(crate) static TERMS_ENUM: Form = form(
    "the body of _terms_enum",
    "TermsEnumAction",
    &[&[
        word("field", Kind::Scalar).on(ES),
        word("string", Kind::Scalar).on(ES),
        word("search_after", Kind::Scalar).on(ES),
        word("size", Kind::Scalar).on(ES),
        word("case_insensitive", Kind::Scalar).on(ES),
        // what is stored had come to its end before it
        word("timeout", Kind::Scalar).on(ES),
        word("index_filter", QUERY).on(ES),
    ]],
);

/// Reads that have no body.
pub(crate) static NOTHING: Form = form("no body", "RestGetIndicesAction and the like", NO_WORDS);

const NO_WORDS: &[&[Word]] = &[];
