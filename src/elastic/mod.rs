//! What escache knows of the engines' HTTP interface: routes, index expressions, parameters, JSON, errors, answers.

pub mod json;

pub mod difference;

pub mod shape;

pub mod params;

mod effect;

pub mod api;

pub mod target;

pub mod answer;

pub mod msearch;

pub mod template;

pub mod filter_path;

pub mod error;
