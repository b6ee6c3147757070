//! What people and tools see: the data listener with the engines' own statistics, and the admin listener.

pub mod data;

mod request_cache;

pub mod explain;

mod metrics;

pub mod warm;

pub mod admin;
