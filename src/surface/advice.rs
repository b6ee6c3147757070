//! What an operator or a developer can change about a reason, in a sentence or two: for the live page and `explain`.

use crate::outcome::{Reason, Refusal};

/// What to change, so that requests are answered from the cache. Nothing where nothing needs to be changed.
#[must_use]
pub(super) fn advice(reason: Reason) -> &'static str {
    use Reason::{
        AliasFilter, AnswerType, Api, Approximate, BodyTooLarge, CacheUnderneath, ClockSkew, ContentType,
        DefaultPipeline, Diagnostic, DuplicateKey, EntryTooLarge, GenerationIncomplete, GenerationMoving,
        GenerationUnknown, Header, Hits, HostLagging, IndexSetting, InferenceField, Lookup, Loop,
        MemoryLimit, MetadataSettling, MissesLimit, NoAnswer, NoStore, NotJson, NotYet, Now, Off, Partial,
        PartialityUnknown, Purged, QueryString, Random, ReadingDearer, ReadingsLimit, ReloadableAnalyzer,
        RemoteIndex, RequestCacheFalse, Rule, RuntimeField, ScopeSettling, ScopeUnknown, Script, SearchIdle,
        SearchPipeline, SourceAndBody, Stateful, Status, StoredTemplate, Target, TerminatedEarly, TimedOut,
        TooDeep, UnknownParameter, UnknownWord, Warnings, Write,
    };
    match reason {
        Api | Write => "Nothing: such requests are passed on, as they should be.",
        BodyTooLarge => "Raise limits.max_key_body, or split the request.",
        NotJson => "Send the body as strict JSON: no comments, single quotes or trailing commas.",
        DuplicateKey => "Write each member of an object once, in one spelling.",
        TooDeep => "Nest the query less deeply.",
        ContentType => "Send the body as application/json.",
        QueryString => "Give each URL parameter once, separated by &, with valid escapes.",
        SourceAndBody => "Send the search in the body or in the parameter source, not in both.",
        UnknownParameter | UnknownWord => {
            "explain shows the word. If it is misspelt, mend it; if it is new in the engine, escache has to learn it."
        }
        Header => {
            "Leave out Range, Upgrade, conditions other than If-None-Match, and signatures of the request."
        }
        Loop => "Let upstream.hosts lead to the engine.",
        Stateful => {
            "Page with search_after and a sort instead of scroll or a point in time, where that will do."
        }
        Now => {
            "Round the time, such as now/m or now/d, or send the bounds as dates; name no analyzer of your own in a query."
        }
        ClockSkew => "Keep the nodes' clocks in step (NTP), or round to a longer unit.",
        Random => "Give random_score a seed and a field, and leave out samplers and rare_terms.",
        Lookup => "Send the terms or the shape in the query itself instead of looking them up.",
        Script => "Replace the script by a field that is computed when documents are indexed.",
        Diagnostic => "Leave out profile, explain and dfs_query_then_fetch outside of tests.",
        RemoteIndex => "Put an escache in front of the remote cluster, or search an index of this one.",
        SearchPipeline => "Search without search_pipeline where it changes nothing.",
        Approximate => "Nothing: an approximate answer may differ each time.",
        StoredTemplate => "Send the template in source, or leave out freshness.ttl_only.",
        NotYet => "Nothing for now: this version of escache leaves it to the engine.",
        RequestCacheFalse => "Leave out request_cache=false.",
        NoStore => "Leave out Cache-Control: no-store.",
        Hits => "Set cache.hits to true, or send request_cache=true with the search.",
        Rule => "Change the rule in rules: that matches the index.",
        Off => "Set cache.enabled to true.",
        IndexSetting => "Set index.requests.cache.enable of the index to true, or send request_cache=true.",
        ScopeUnknown => {
            "Give upstream.credentials what auth.proof needs, or set auth.entry_ttl to the time for which an old \
             permission may still serve."
        }
        ScopeSettling => "Nothing: it passes auth.enforcement_gap after permissions have changed.",
        AliasFilter => "Take now, scripts and lookups out of the alias's filter.",
        RuntimeField => "Index the field instead of computing it by a script.",
        ReloadableAnalyzer => "Use an analyzer whose synonyms or dictionaries are not reloadable.",
        InferenceField => {
            "Search an index without semantic_text fields: what a service infers is not watched."
        }
        DefaultPipeline => "Take index.search.default_pipeline off the index.",
        SearchIdle => "Set index.refresh_interval of the index, or a longer index.search.idle.after.",
        Target => "explain one of the searches of the multi search: it tells the property.",
        GenerationUnknown => {
            "See in explain what the engine answers: 404 is an index that is missing; for 401 and 403 let \
             upstream.credentials read _stats, _cluster/state and _alias (privilege monitor)."
        }
        GenerationIncomplete => {
            "Let upstream.credentials see all indices that clients see; wait for shards that are not started."
        }
        GenerationMoving => {
            "Nothing for a while; if it stays, the metadata of the index changes all the time."
        }
        ReadingsLimit => "Raise freshness.max_concurrent_readings, or set freshness.max_staleness.",
        ReadingDearer => {
            "Set freshness.max_staleness (1s makes one reading a second serve all), or freshness.reading_dearer: wait."
        }
        NoAnswer => "See why the engine cannot be reached, or takes longer than upstream.response_timeout.",
        Status => "See what the engine answers: only whole answers of status 200 are stored.",
        Partial => "See why shards fail or are missing; partial answers are never stored.",
        TimedOut => "Raise the search's timeout, or make it cheaper: what timed out is partial.",
        TerminatedEarly => "Leave out terminate_after, or raise it.",
        PartialityUnknown => "Widen filter_path, so that it lets timed_out and _shards through.",
        EntryTooLarge => "Raise cache.max_entry_size, or ask for fewer hits and fields.",
        CacheUnderneath => "Take the other cache out of the way between escache and the engine.",
        Purged => "Nothing: the cache was cleared while the engine worked.",
        HostLagging => "Nothing for a while; if it stays, a host in upstream.hosts is behind its master.",
        AnswerType => "Ask for JSON without a coding of its own.",
        Warnings => "Mend what the engine warns of in the multi search, or send these searches one by one.",
        MissesLimit => "Raise limits.max_concurrent_misses, if the cluster can bear it.",
        MemoryLimit => "Raise limits.max_buffered, if there is memory for it.",
        MetadataSettling => "Nothing: it passes freshness.metadata_settling after metadata has changed.",
    }
}

/// The same for one refusal, whose place may tell what the engine has said.
#[must_use]
pub(super) fn advice_for(refusal: &Refusal) -> &'static str {
    let answered = refusal.place.rsplit_once(": ").map_or(&*refusal.place, |(_, answer)| answer);
    match (refusal.reason, answered) {
        (Reason::GenerationUnknown, "404") => {
            "The engine says that the index is missing (404): create it, or mend its name. An engine without this \
             endpoint says so of every index; freshness.ttl_only is for these."
        }
        (Reason::GenerationUnknown, "401" | "403") => {
            "Let upstream.credentials read _stats, _cluster/state and _alias (privilege monitor): the engine has refused \
             what escache asked."
        }
        (Reason::GenerationUnknown, "no connection") => {
            "The engine cannot be reached, or hangs up before it answers: see whether it runs, and whether upstream.hosts is \
             right."
        }
        (Reason::GenerationUnknown, "timeout" | "no answer") => {
            "See why the engine does not answer in time: freshness.reading_timeout is how long it may take."
        }
        (reason, _) => advice(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_advice() {
        let mut seen = std::collections::BTreeMap::new();
        for reason in Reason::ALL {
            let text = advice(*reason);
            assert!(text.ends_with('.') && text.len() > 20, "{reason}: {text:?}");
            if let Some(other) = seen.insert(text, reason.name()) {
                let pairs = [("api", "write"), ("unknown-parameter", "unknown-word")];
                assert!(pairs.contains(&(other, reason.name())), "{other} and {reason} have the same");
            }
        }
    }

    #[test]
    fn settings_that_are_named_exist() {
        let names: Vec<&str> = include_str!("../../config/escache.yml").lines().collect();
        let answered = ["404", "403", "timeout", "no connection"]
            .map(|answer| Refusal::at(Reason::GenerationUnknown, format!("/_stats: {answer}")));
        let texts = Reason::ALL.iter().map(|reason| advice(*reason)).chain(answered.iter().map(advice_for));
        let words = texts.flat_map(|text| text.split(' '));
        let mut found = 0;
        for word in words.map(|word| word.trim_matches([',', '.', ':', '('])) {
            let groups = ["limits.", "freshness.", "cache.", "auth.", "upstream."];
            if groups.iter().any(|group| word.starts_with(group)) {
                found += 1;
                let line = format!("#{word}");
                assert!(names.iter().any(|name| name.starts_with(&line)), "there is no setting {word}");
            }
        }
        assert!(found >= 12, "{found}");
    }
}
