//! escache: an exact HTTP caching reverse proxy in front of Elasticsearch and OpenSearch.
//!
//! The modules stand in dependency order: each uses only those above it. `ARCHITECTURE.md` is the map in words.

// -- words
pub mod outcome;

pub mod stats;

pub mod budget;

// -- domain: no network, no clock (time is an argument)
pub mod elastic;

pub mod coding;

pub mod policy;

pub mod cacheability;

pub mod key;

pub mod plan;

pub mod control;

pub mod generation;

pub mod cache;

// -- wire
pub mod error;

pub mod spans;

pub mod upstream;

pub mod respond;

// -- house
pub mod rounds;

pub mod watcher;

pub mod clocks;

pub mod scope;

pub mod access;

pub mod telemetry;

pub mod proxy;

pub mod probe;

pub mod surface;

pub mod server;

pub mod otlp;

pub mod config;

pub mod reload;

pub mod terminal;
