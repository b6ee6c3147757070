use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::cache::Eviction;
use crate::elastic::api::Api;

fn config(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Config, String> {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    let sources = Sources {
        file: Some(("escache.yml".to_owned(), file.to_owned())),
        environment: environment.iter().map(owned).collect(),
        flags: flags.iter().map(|(name, value)| (*name, Written::One((*value).to_owned()))).collect(),
        memory: Some(16 << 30),
    };
    Config::read(&sources).map_err(|error| error.to_string())
}

fn settings(file: &str) -> Settings {
    config(file, &[], &[]).unwrap().settings
}

fn error(file: &str) -> String {
    config(file, &[], &[]).unwrap_err()
}

#[test]
fn nothing_written_is_the_default() {
    for file in ["", "# nothing\n", "---\n", "cache:\nlisten:\n  # more\nadmin.listen: ~\n"] {
        let settings = settings(file);
        assert_eq!(settings.listen.to_string(), "127.0.0.1:9280");
        assert_eq!(settings.proxy.upstream.hosts[0].to_string(), "http://localhost:9200");
        assert_eq!(settings.proxy.upstream.credentials, None);
        assert_eq!(settings.proxy.capacity, (16 << 30) / 50);
        assert_eq!(settings.proxy.eviction, Eviction::Lru);
        assert_eq!(settings.proxy.policy.max_staleness, Duration::ZERO);
        assert_eq!(settings.proxy.policy.ttl_only, None);
        assert!(
            settings.proxy.policy.enabled
                && settings.proxy.policy.hits
                && settings.proxy.policy.rules.is_empty()
        );
    }
}

/// What [`Policy`](crate::policy::Policy) takes for the default is what the table says.
#[test]
fn the_default_policy_is_that_of_the_table() {
    let (ours, theirs) = (settings("").proxy.policy, crate::policy::Policy::default());
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
}

#[test]
fn the_default_limits_are_those_of_the_table() {
    assert_eq!(settings("").limits, crate::server::Limits::default());
}

#[test]
fn tls_and_token_have_to_make_sense() {
    let (pair, ca) = ("http.ssl: {certificate: c, key: k}\n", "http.ssl.certificate_authorities: [a]\n");
    for (file, expected) in [
        ("http.ssl.certificate: c\n", "needs http.ssl.key"),
        ("http.ssl.key: k\n", "needs http.ssl.certificate"),
        (ca, "needs http.ssl.certificate"),
        (&[pair, ca].concat(), "needs http.ssl.client_authentication"),
        (
            &[pair, "http.ssl.client_authentication: required\n"].concat(),
            "needs http.ssl.certificate_authorities",
        ),
        ("http.ssl.client_authentication: optional\n", "needs http.ssl.certificate"),
        ("http.max_initial_line_length: 65kb\n", "at most 64kb"),
        ("admin: {token: hush, token_file: /x}\n", "must not stand beside admin.token_file"),
    ] {
        let error = error(file);
        assert!(error.contains(expected) && !error.contains("hush"), "{file}: {error}");
    }
    assert!(settings(pair).tls.is_some() && settings("").tls.is_none());
    assert!(settings("admin.token: hush\n").admin_token == Some(crate::surface::admin::Token::new("hush")));
}

#[test]
fn dotted_and_nested_names_are_one() {
    let files = [
        "indices.requests.cache.size: 512mb\nindices.requests.cache.expire: 1h\ncache.hits: false\n",
        "indices:\n  requests:\n    cache:\n      size: 512mb\n      expire: 1h\ncache: {hits: false}\n",
        "indices.requests:\n  cache.size: 512mb\nindices:\n  requests.cache:\n    expire: 60m\ncache:\n  hits: false\n",
    ];
    for file in files {
        let settings = settings(file);
        assert_eq!(settings.proxy.capacity, 512 << 20, "{file}");
        assert_eq!(settings.proxy.policy.expire, Some(Duration::from_secs(3600)), "{file}");
        assert!(!settings.proxy.policy.hits, "{file}");
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let (file, environment, flag) =
        ("listen: a:1", [("ESCACHE_LISTEN", "b:2"), ("ESCACHE_CACHE_HITS", "")], [("listen", "c:3")]);
    let listen = |config: Result<Config, String>| config.unwrap().settings.listen.to_string();
    assert_eq!(listen(config(file, &[], &[])), "a:1");
    assert_eq!(listen(config(file, &environment, &[])), "b:2");
    assert_eq!(listen(config(file, &environment, &flag)), "c:3");
    assert_eq!(listen(config("", &[], &flag)), "c:3");
}

#[test]
fn a_wrong_value_is_an_error_also_where_it_is_overridden() {
    let error = config("listen: a", &[("ESCACHE_LISTEN", "b")], &[("listen", "c:3")]).unwrap_err();
    let lines: Vec<&str> = error.lines().map(|line| line.split(']').next().unwrap()).collect();
    assert_eq!(lines, ["escache.yml:1: listen: [a", "environment variable ESCACHE_LISTEN: listen: [b"]);
}

#[test]
fn lists_have_three_spellings() {
    for file in [
        "upstream.hosts: [http://a, http://b]",
        "upstream.hosts:\n- http://a\n- 'http://b'",
        "upstream.hosts: http://a, http://b",
    ] {
        let hosts: Vec<String> =
            settings(file).proxy.upstream.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["http://a", "http://b"], "{file}");
    }
    let from_environment = config("", &[("ESCACHE_UPSTREAM_HOSTS", "http://a,http://b")], &[]).unwrap();
    assert_eq!(from_environment.settings.proxy.upstream.hosts.len(), 2);
}

#[test]
fn rules_come_from_file_and_environment() {
    let rules = settings("rules:\n- index: [logs-*, b]\n  api: count\n  max_staleness: 5s\n- cache: false\n")
        .proxy
        .policy
        .rules;
    assert_eq!(rules[0].indices, ["logs-*", "b"]);
    assert_eq!((rules[0].api, rules[0].max_staleness), (Some(Api::Count), Some(Duration::from_secs(5))));
    assert_eq!((rules[1].cache, rules[1].api), (Some(false), None));
    let config = config("", &[("ESCACHE_RULES", "[{index: logs-*, hits: false}]")], &[]).unwrap();
    assert_eq!(config.settings.proxy.policy.rules[0].hits, Some(false));
}

#[test]
fn unknown_variables_are_refused_but_for_those_of_kubernetes() {
    let error =
        config("", &[("ESCACHE_UPSTREAM_HOST", "x"), ("ESCACHE_FROB", "1"), ("HOME", "/")], &[]).unwrap_err();
    assert_eq!(
        error,
        "unknown environment variable [ESCACHE_UPSTREAM_HOST], did you mean [ESCACHE_UPSTREAM_HOSTS]?\n\
         unknown environment variable [ESCACHE_FROB]; config/escache.yml lists all"
    );
    for (written, meant) in [
        ("ESCACHE_MAX_STALENESS", "ESCACHE_FRESHNESS_MAX_STALENESS"),
        ("ESCACHE_MAX_STALENES", "ESCACHE_FRESHNESS_MAX_STALENESS"),
        ("ESCACHE_CACHE_MAX_STALENESS", "ESCACHE_FRESHNESS_MAX_STALENESS"),
        ("ESCACHE_SHOW_QUERIES", "ESCACHE_ADMIN_SHOW_QUERIES"),
        // as the flags are called
        ("ESCACHE_TTL_ONLY", "ESCACHE_FRESHNESS_TTL_ONLY"),
        ("ESCACHE_CACHE_SIZE", "ESCACHE_INDICES_REQUESTS_CACHE_SIZE"),
        ("ESCACHE_UPSTREAM", "ESCACHE_UPSTREAM_HOSTS"),
        ("ESCACHE_ADMIN", "ESCACHE_ADMIN_LISTEN"),
    ] {
        let error = config("", &[(written, "1s")], &[]).unwrap_err();
        assert_eq!(error, format!("unknown environment variable [{written}], did you mean [{meant}]?"));
    }
    let kubernetes = [
        ("ESCACHE_SERVICE_HOST", "10.0.0.1"),
        ("ESCACHE_SERVICE_PORT_HTTP", "9280"),
        ("ESCACHE_PORT", "tcp://10.0.0.1:9280"),
        ("ESCACHE_PORT_9280_TCP_ADDR", "10.0.0.1"),
        ("ESCACHE_ADMIN_PORT_9281_TCP", "tcp://10.0.0.1:9281"),
        ("ESCACHE_CONFIG", "escache.yml"),
    ];
    assert!(config("", &kubernetes, &[]).is_ok());
}

#[test]
fn tls() {
    let refused = |file: &str| config(file, &[], &[]).unwrap_err();
    let https = "upstream.hosts: https://es:9200\n";
    let none = format!("{https}upstream.ssl.verification_mode: none\n");
    assert!(config(&none, &[], &[]).unwrap().settings.proxy.upstream.tls.is_some());
    assert!(config("", &[], &[]).unwrap().settings.proxy.upstream.tls.is_none());
    for (file, wanted) in [
        (
            "upstream.ssl.verification_mode: none\n".to_owned(),
            "no host in upstream.hosts begins with https://",
        ),
        ("upstream.ssl.server_name: es\n".to_owned(), "no host in upstream.hosts begins with https://"),
        (format!("{none}upstream.ssl.certificate: /a.pem\n"), "needs upstream.ssl.key"),
        (format!("{none}upstream.ssl.key: /a.pem\n"), "needs upstream.ssl.certificate"),
        (format!("{https}upstream.ssl.certificate_authorities: [/no/such.pem]\n"), "[/no/such.pem]"),
        (format!("{https}upstream.ssl.verification_mode: off\n"), "full, certificate or none"),
    ] {
        let error = refused(&file);
        assert!(error.contains("upstream.ssl") && error.contains(wanted), "{file}{error}");
    }
}

#[test]
fn credentials() {
    let header = |file: &str| config(file, &[], &[]).map(|config| config.settings.proxy.upstream.credentials);
    let expected = |text: &str| Ok(Some(crate::upstream::Credentials::new(text).unwrap()));
    assert_eq!(header("upstream.credentials: {username: u, password: 0123}"), expected("Basic dTowMTIz"));
    assert_eq!(header("upstream.credentials.api_key: aWQ6a2V5"), expected("ApiKey aWQ6a2V5"));
    assert_eq!(header("upstream.credentials.api_key: id:key"), expected("ApiKey aWQ6a2V5"));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    fs::write(&path, "0123\n").unwrap();
    let file = format!("upstream.credentials:\n  username: u\n  password_file: {}\n", path.display());
    assert_eq!(header(&file), expected("Basic dTowMTIz"));
    fs::write(&path, "\n").unwrap();
    assert!(header(&file).unwrap_err().ends_with("is empty"));
}

#[test]
fn no_secret_is_ever_shown() {
    let file = "upstream.credentials:\n  username: u\n  password: hush\n";
    let config = config(file, &[("ESCACHE_UPSTREAM_CREDENTIALS_PASSWORD", "hush")], &[]).unwrap();
    let shown = format!("{}{:?}", config.report(), config.settings);
    assert!(!shown.contains("hush") && shown.contains("********"), "{shown}");
    let error = error("upstream.credentials.password: [hush]\nlisten: x\n");
    assert!(!error.contains("hush"), "{error}");
    assert!(!self::error("upstream.hosts: http://u:hush@localhost").contains("hush"));
}

#[test]
fn the_report_says_where_each_value_comes_from() {
    let report = config("\nlog:\n  level: warn\n", &[("ESCACHE_LISTEN", "a:1")], &[("admin.listen", "b:2")])
        .unwrap()
        .report();
    for line in [
        "listen: a:1 # environment variable ESCACHE_LISTEN",
        "admin.listen: b:2 # flag --admin",
        "log.level: warn # escache.yml:3",
        "indices.requests.cache.size: 2% # default, 327mb here",
    ] {
        let squeezed = |l: &str| l.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(report.lines().any(|l| squeezed(l) == squeezed(line)), "{line}\n{report}");
    }
    // what it prints is a configuration again
    let again = config(&report, &[], &[]).unwrap();
    assert_eq!(again.settings.log_level, tracing::Level::WARN);
}

#[test]
fn the_example_file_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/escache.yml");
    same_as_file(&path, &template());
    assert!(settings(&template()).proxy.policy.rules.is_empty());
    let uncommented: String = template()
        .lines()
        .filter_map(|l| l.strip_prefix('#'))
        .filter(|l| !l.starts_with(' ') || l.starts_with("  "))
        .map(|l| format!("{l}\n"))
        .collect();
    let settings = settings(&uncommented);
    assert_eq!(settings.proxy.policy.rules.len(), 2);
    assert_eq!(settings.proxy.policy.max_entry_size, 8 << 20);
}

/// A typo is a fixture: a file, and beside it what escache says of it.
#[test]
fn typos() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config");
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yml"));
    assert!(files.len() > 10);
    for path in files {
        let said = error(&fs::read_to_string(&path).unwrap());
        same_as_file(&path.with_extension("txt"), &format!("{said}\n"));
    }
}

/// `UPDATE=1` writes the file instead.
fn same_as_file(path: &Path, text: &str) {
    if std::env::var_os("UPDATE").is_some_and(|update| update == "1") {
        fs::write(path, text).unwrap();
    }
    let file = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(file, text, "{}: UPDATE=1 cargo test writes it anew", path.display());
}
