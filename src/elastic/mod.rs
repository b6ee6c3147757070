//! What escache knows of the engines' HTTP interface: routes, index expressions, parameters, JSON, errors, answers.

pub mod api;
pub mod json;
pub mod params;
