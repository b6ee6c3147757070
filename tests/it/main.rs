//! One integration binary.

#[allow(dead_code, reason = "each test uses what it needs of it")]
#[path = "../support/mod.rs"]
mod support;

mod nodes;
