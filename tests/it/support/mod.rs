//! What the integration tests share: a pretend engine and a small HTTP client.
#![allow(dead_code, reason = "a tool of the tests need not be used by a test of today")]
#![allow(clippy::unwrap_used, reason = "in a test's support a surprise is a failed test")]

pub(crate) mod authority;

pub(crate) mod browser;

pub(crate) mod collector;

pub(crate) mod engine;

pub(crate) mod escache;

pub(crate) mod http;

pub(crate) mod middleman;

pub(crate) mod node;

pub(crate) mod patience;

pub(crate) mod program;

pub(crate) mod still;

pub(crate) mod wire;
