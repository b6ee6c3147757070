//! What somebody most likely meant.

/// The name in `names` that somebody most likely meant by `written`.
pub(super) fn nearest<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let written = written.to_lowercase().replace('-', "_");
    let likeness = |name: &str| {
        let whole = strsim::normalized_damerau_levenshtein(&written, name);
        if name.ends_with(&format!(".{written}")) {
            0.9 // `cache.size`: the end of a name
        } else if written.rsplit_once('.').is_some_and(|(_, last)| name.ends_with(&format!(".{last}"))) {
            whole.max(0.6) // in another group
        } else {
            whole
        }
    };
    let likely = names.map(|name| (likeness(name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    likely.filter(|(likeness, _)| *likeness >= 0.6).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name() {
        let names = || {
            [
                "listen",
                "upstream.hosts",
                "indices.requests.cache.size",
                "freshness.max_staleness",
                "log.level",
                "cache.hits",
            ]
            .into_iter()
        };
        for (written, expected) in [
            ("upstream.host", Some("upstream.hosts")),
            ("upsteam.hosts", Some("upstream.hosts")),
            ("max_staleness", Some("freshness.max_staleness")),
            ("cache.size", Some("indices.requests.cache.size")),
            ("freshness.max-staleness", Some("freshness.max_staleness")),
            ("log.levle", Some("log.level")),
            ("Listen", Some("listen")),
            ("frobnicate", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, names()), expected, "{written}");
        }
    }
}
