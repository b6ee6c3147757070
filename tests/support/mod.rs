//! What tests stand on: real engines ([`node`]) and a plain HTTP client ([`http`]).

pub(crate) mod http;

pub(crate) mod node;
