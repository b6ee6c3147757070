//! The one integration binary: every test that needs a network, a pretend engine or a real node.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panicking, and tell figures")]

mod ahead;

mod asynchronous;

mod bounds;

mod churn;

mod clocks;

mod codings;

mod config_files;

mod copies;

mod drills;

mod doubt;

mod dropped;

mod early;

mod engine_self;

mod engine_shapes;

mod flights;

mod freshness;

mod fuzz;

mod hostile;

mod hosts;

mod http2;

mod hygiene;

mod ingest;

mod keys;

mod life;

mod limits;

mod log;

mod loops;

mod map;

mod msearch;

mod msearch_real;

mod network;

mod nodes;

mod packages;

mod page;

mod parity;

mod readings;

mod ready;

mod reads;

mod real;

mod review;

mod scope;

mod secured;

mod shadow;

mod silence;

mod stale;

mod support;

mod surfaces;

mod telling;

mod templates;

mod terminal;

mod tls;

mod together;

mod traces;

mod transparency;

mod trouble;

mod upstream_tls;
