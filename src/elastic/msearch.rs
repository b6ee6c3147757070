//! The multi search (`msearch`): a request of several searches, two lines each, and an answer that has theirs in a row.
//!
//! What is read here is read as `RestMultiSearchAction` and `MultiSearchRequest.readMultiLineFormat` read it. The engines
//! parse the whole request before they search: one line that they cannot parse is a 400 for all. What is not understood
//! of the whole is therefore an error here, and the request goes on as it came.

mod lines;

mod header;

mod answer;

pub use answer::{Answer, Form, Piece, assemble, refusal_of, search_of, take_apart};
pub use header::{Common, Header, common, header};
pub use lines::{Lines, MOST_ITEMS, content_type, join, split};
