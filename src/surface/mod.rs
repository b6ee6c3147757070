//! What people and tools see: the data listener with the engines' own statistics, and the admin listener.

pub mod data;

mod request_cache;

#[doc(hidden)]
pub use request_cache::replaced;

pub mod explain;

mod advice;

mod ratios;

mod metrics;

pub mod overview;

mod page;

pub mod warm;

pub mod admin;
