//! What somebody most likely meant.

/// The name in `names` that somebody most likely meant by `written`. In a variable a dot is written as `_`, and an option
/// has dashes: they are alike here.
pub(super) fn nearest<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let flat = |name: &str| name.to_lowercase().replace(['.', '-'], "_");
    let (wanted, has_group) = (flat(written), written.contains('.'));
    let like = |name: &str| strsim::normalized_damerau_levenshtein(&wanted, &flat(name));
    let likeness = |name: &str| {
        // `cache.size`: the end of a name
        let ends = name.match_indices('.').map(|(at, _)| 0.9 * like(&name[at + 1..]));
        let best = ends.fold(like(name), f64::max);
        let last = flat(name.rsplit('.').next().unwrap_or_default());
        // one word, such as `size`, says too little where nothing tells that it is the last
        let telling = last.contains('_') || has_group;
        if telling && wanted.ends_with(&format!("_{last}")) {
            best.max(0.6) // in another group
        } else {
            best
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
                "admin.token",
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
            ("MAX_STALENESS", Some("freshness.max_staleness")),
            ("MAX_STALENES", Some("freshness.max_staleness")),
            ("CACHE_MAX_STALENESS", Some("freshness.max_staleness")),
            ("cache.max_staleness", Some("freshness.max_staleness")),
            ("CACHE_SIZE", Some("indices.requests.cache.size")),
            ("UPSTREAM_HOST", Some("upstream.hosts")),
            ("TOKEN", Some("admin.token")),
            ("HIT", Some("cache.hits")),
            ("FROB", None),
            ("SOME_OTHER_PROGRAMS_SIZE", None),
            ("frobnicate", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, names()), expected, "{written}");
        }
    }
}
