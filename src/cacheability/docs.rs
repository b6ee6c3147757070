//! The tables for people.

/// Renders the tables as markdown.
#[must_use]
pub fn render() -> String {
    String::new()
}
