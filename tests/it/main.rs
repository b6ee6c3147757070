//! The one integration binary: every test that needs a network, a pretend engine or a real node.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panicking, and tell figures")]

mod churn;

mod engine_self;

mod engine_shapes;

mod flights;

mod freshness;

mod fuzz;

mod hosts;

mod ingest;

mod keys;

mod msearch;

mod msearch_real;

mod limits;

mod nodes;

mod packages;

mod parity;

mod real;

mod readings;

mod review;

mod scope;

mod secured;

mod shadow;

mod stale;

mod support;

mod surfaces;

mod transparency;
