//! The verdict: may this request be answered from the cache, or which named reason forbids it.
//!
//! An allow-list: a word that the tables of `language` and `parameters` do not know means a bypass.
//! `docs/cacheability.md` shows the tables.

use crate::elastic::api::{Api, Engine};
use crate::elastic::json::Json;
use crate::elastic::params::Params;
use crate::outcome::{Reason, Refusal};

pub mod analyzers;

mod boosts;

mod grammar;

mod language;

mod parameters;

mod target;

mod dates;

mod walk;

mod docs;

#[cfg(test)]
mod tests;

pub use boosts::boosted;
pub use dates::{RoundedNow, valid_until};
pub use docs::render;
pub use target::judge_target;

/// A read as a client sent it, parsed.
#[derive(Debug)]
pub struct Question<'q, 'a> {
    /// The endpoint.
    pub api: Api,
    /// The engine that will be asked, if it is known.
    pub engine: Option<Engine>,
    /// The URL parameters, those of the index options included.
    pub params: &'q Params<'q>,
    /// The body (or `source` parameter). Objects whose order is proven to be free are marked so.
    pub body: Option<&'q mut Json<'a>>,
    /// Whether a rounded `now` is let through, so that the answer is valid for some time (see [`valid_until`]).
    pub rounded_now: bool,
}

/// What an answer rests on, so that it holds as long as that does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Basis {
    /// What the shards show to searches, and the metadata of the target.
    #[default]
    Readers,
    /// The metadata of the target alone.
    Metadata,
    /// Whatever the cluster state has.
    State,
    /// What the shards show to searches, and whatever the cluster state has.
    ReadersAndState,
}

/// Under which terms a question may be answered from the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Whether the search returns hits (`size` other than 0), so that Elasticsearch's own policy would not cache it.
    pub hits: bool,
    /// The rounded `now`s of the request, each once: with any of them the answer holds [until](valid_until) a moment.
    pub now: Vec<RoundedNow>,
    /// Whether an analyzer is named beside what may be a date, by a name that an index may give to one of its own.
    pub analyzed: bool,
    /// What the answer rests on.
    pub basis: Basis,
    /// Indices that are named outside the target's expression, and that must be among those of the target.
    pub boosted: Vec<String>,
}

impl Terms {
    /// Bytes that this value holds beyond its own size, about.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        let names = self.boosted.iter().map(|name| std::mem::size_of::<String>() + name.len());
        self.now.len() * (std::mem::size_of::<RoundedNow>() + dates::MOST_SHIFTS * 8) + names.sum::<usize>()
    }
}

/// Judges a question by the allow-list.
///
/// # Errors
/// The first refusal, with its place.
pub fn judge(question: Question<'_, '_>) -> Result<Terms, Refusal> {
    let form = match question.api {
        api if api.searches() => &language::search::SEARCH,
        Api::Count | Api::ValidateQuery | Api::Explain => &language::reads::QUERY_ALONE,
        Api::FieldCaps => &language::reads::FIELD_CAPS,
        Api::TermsEnum => &language::reads::TERMS_ENUM,
        // a search that timed out or lost a shard is evaluated like any other, and nothing in the answer tells
        Api::RankEval => return Err(Reason::PartialityUnknown.into()),
        // whether a shard is missing stands in a layer of the tile
        Api::VectorTile => return Err(Reason::AnswerType.into()),
        api if api.is_read() => &language::reads::NOTHING,
        _ => return Err(Reason::Api.into()),
    };
    let engine = question.engine.map(column).transpose()?;
    parameters::judge(question.api, engine, question.params)?;
    // what a template says stands instead of what the URL says
    let mut size = question.params.get("size").filter(|_| question.api != Api::SearchTemplate).map(is_zero);
    let mut walk = walk::Walk::new(engine, question.rounded_now);
    let mut filtered = false;
    if let Some(body) = question.body {
        walk.body(form, body)?;
        filtered = has(body, "index_filter");
        size = size.or_else(|| size_of(body));
    }
    let hits = question.api == Api::Explain || question.api.searches() && size != Some(true);
    let basis = match question.api {
        Api::FieldCaps if !filtered => Basis::Metadata,
        api if !api.takes_body() => Basis::State,
        _ => Basis::Readers,
    };
    let analyzed = walk.names_analyzers || question.params.get("analyzer").is_some();
    Ok(Terms { hits, now: walk.now, analyzed, basis, boosted: Vec::new() })
}

/// The column of an engine in the tables.
fn column(engine: Engine) -> Result<grammar::Engines, Refusal> {
    grammar::Engines::of(engine).ok_or_else(|| Refusal::at(Reason::NotYet, engine.to_string()))
}

/// Judges a query that stands alone, such as the filter of an alias. A rounded `now` is refused, too, and so is an
/// analyzer beside what may be a date: its index is not known here.
///
/// # Errors
/// The first refusal, with its place within the query.
pub fn judge_query(engine: Option<Engine>, query: &mut Json<'_>) -> Result<(), Refusal> {
    let engine = engine.and_then(grammar::Engines::of);
    let mut walk = walk::Walk::new(engine, false);
    walk.body(&language::queries::QUERY_FORM, query)?;
    if walk.names_analyzers { Err(Refusal::at(Reason::Now, "analyzer")) } else { Ok(()) }
}

/// Whether the body asks for no hits; `None` where it does not say.
fn size_of(body: &Json<'_>) -> Option<bool> {
    let Json::Object(object) = body else { return None };
    match object.members.iter().find(|(name, _)| name == "size") {
        Some((_, Json::Number(text))) => Some(is_zero(text)),
        Some((_, Json::String(text))) => Some(is_zero(text)),
        _ => None,
    }
}

fn has(body: &Json<'_>, member: &str) -> bool {
    matches!(body, Json::Object(object) if object.members.iter().any(|(name, _)| name == member))
}

fn is_zero(text: &str) -> bool {
    text.parse() == Ok(0.0)
}
