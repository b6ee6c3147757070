//! The table of all settings: name, kind, default and help. File, environment, flags, `escache check` and
//! `config/escache.yml` are made from it.

use std::num::NonZeroUsize;
use std::time::Duration;

use http::HeaderName;
use tracing::Level;

use super::kinds::{AccessShare, Address, Collector, Discovery, HostName, Secret};
use super::rules::Rules;
use super::units::{ByteSize, MemorySize, Wait};
use super::value::{Shape, Value, Written};
use crate::cache::Eviction;
use crate::policy::{Compression, ReadingDearer, Share};
use crate::scope::Way;
use crate::server::ClientAuthentication;
use crate::telemetry::Format;
use crate::upstream::{Host, Verification};
use crate::watcher::TagSource;

/// One row of the table.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    /// Of which part of escache it is.
    pub(super) section: &'static str,
    /// One sentence, or a few.
    pub(super) help: &'static str,
    /// As it could be written; empty for nothing.
    pub(super) default: &'static str,
    pub(super) shape: Shape,
    /// Its flag on the command line, if it has one.
    pub(super) flag: Option<&'static str>,
    /// Reads a value and shows what was understood, or says what is wrong.
    pub(super) understand: fn(&Written) -> Result<String, String>,
}

macro_rules! settings {
    ($($section:literal {
        $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $name:literal, $default:literal $(, $flag:literal)?;)+
    })+) => {
        /// The value of each setting, read by itself.
        #[derive(Debug)]
        pub(super) struct Values {
            $($($(#[doc = $doc])+ pub(super) $field: $type,)+)+
        }

        /// All settings.
        pub(super) const TABLE: &[Setting] = &[$($(Setting {
            name: $name,
            section: $section,
            help: concat!($($doc,)+).trim_ascii(),
            default: $default,
            shape: <$type as Value>::SHAPE,
            flag: [$(Some($flag),)? None][0],
            understand: |written| <$type as Value>::read(written).map(|value| value.show()),
        },)+)+];

        impl Values {
            /// Reads one value for each row of the table, in its order.
            pub(super) fn read<'w>(mut written: impl FnMut(&'static Setting) -> &'w Written) -> Result<Values, String> {
                let mut rows = TABLE.iter();
                let mut next = || rows.next().map(&mut written).ok_or("the table ended early");
                Ok(Values { $($($field: <$type as Value>::read(next()?)?,)+)+ })
            }
        }
    };
}

settings! {
    "Listeners" {
        /// Where clients connect.
        listen: Address = "listen", "127.0.0.1:9280", "--listen";
        /// Where the live page, metrics and health checks are; keep it away from clients.
        admin_listen: Address = "admin.listen", "127.0.0.1:9281", "--admin";
        /// A secret that the admin listener then wants for everything but /live and /ready.
        admin_token: Option<Secret> = "admin.token", "";
        /// A file that holds that secret, instead of the secret itself.
        admin_token_file: Option<String> = "admin.token_file", "";
        /// Names other than localhost by which the admin listener may be asked, without port: those that containers and services have for it. Any other name is refused, since a web page could have made it up (DNS rebinding).
        admin_allowed_hosts: Vec<HostName> = "admin.allowed_hosts", "";
        /// Whether the live page shows the texts of searches. If not, it shows their shape: names of fields and aggregations, without values.
        admin_show_queries: bool = "admin.show_queries", "false";
        /// How long requests under way may take to end when escache is told to stop.
        drain_timeout: Duration = "drain.timeout", "10s";
    }
    "HTTP of the listeners" {
        /// The longest request line. Elasticsearch's own limit is 4kb.
        http_max_initial_line_length: ByteSize = "http.max_initial_line_length", "16kb";
        /// The largest header of a request, all names and values together. Elasticsearch's own limit is 16kb.
        http_max_header_size: ByteSize = "http.max_header_size", "32kb";
        /// How many fields the header of a request may have.
        http_max_header_count: NonZeroUsize = "http.max_header_count", "100";
        /// How long a client may take for the head of a request, and for the first byte or the TLS handshake of a new connection.
        http_header_timeout: Wait = "http.header_timeout", "60s";
        /// How long a client may pause in the body of a request; a body that is read to look for its answer must be whole by then.
        http_body_timeout: Wait = "http.body_timeout", "60s";
        /// How long a client may take nothing of an answer that is ready for it.
        http_write_timeout: Wait = "http.write_timeout", "60s";
        /// How long a request may take in all, from its head to the end of its answer, whatever still moves; then it is 504, or the answer is cut off.
        http_request_timeout: Wait = "http.request_timeout", "30m";
        /// How long a connection is kept without a request. Make it longer than the pools and balancers of your clients do.
        http_idle_timeout: Wait = "http.idle_timeout", "15m";
        /// Whether clients that accept gzip get it from the cache: true, false, or auto, which is true where there is no TLS (what is compressed and then encrypted can tell of its content by its length). An eighth of indices.requests.cache.size is then for compressed forms.
        http_compression: Compression = "http.compression", "auto";
        /// A file in PEM with the certificate of the data listener and those between it and a root; it turns TLS on. It is read again when it changes.
        ssl_certificate: Option<String> = "http.ssl.certificate", "";
        /// A file in PEM with the key of that certificate, not encrypted.
        ssl_key: Option<String> = "http.ssl.key", "";
        /// Files in PEM with the authorities whose certificates of clients are good.
        ssl_certificate_authorities: Vec<String> = "http.ssl.certificate_authorities", "";
        /// Whether clients are asked for a certificate: none, optional or required. Who shows different ones never shares answers.
        ssl_client_authentication: ClientAuthentication = "http.ssl.client_authentication", "none";
        /// Whether HTTP/2 is spoken without TLS, to clients that begin with it (prior knowledge).
        http2_unencrypted: bool = "http.http2.unencrypted", "false";
        /// How many requests a client may have under way on one connection of HTTP/2.
        http2_max_concurrent_streams: NonZeroUsize = "http.http2.max_concurrent_streams", "128";
    }
    "Engine" {
        /// The nodes of one Elasticsearch or OpenSearch cluster, http:// or https://; requests go to the least busy of them.
        upstream_hosts: Vec<Host> = "upstream.hosts", "http://localhost:9200", "--upstream";
        /// Whether the cluster is asked for its nodes, and requests go to those that take searches, at the addresses that they publish: none or nodes. Not behind NAT or a balancer, where those addresses lead nowhere.
        upstream_discovery: Discovery = "upstream.discovery", "none";
        /// How often it is asked.
        upstream_discovery_interval: Wait = "upstream.discovery_interval", "30s";
        /// The user as whom escache itself reads statistics and metadata. Requests of clients keep their own credentials.
        upstream_username: Option<String> = "upstream.credentials.username", "";
        /// The password of that user.
        upstream_password: Option<Secret> = "upstream.credentials.password", "";
        /// A file that holds the password of that user, instead of the password itself.
        upstream_password_file: Option<String> = "upstream.credentials.password_file", "";
        /// An API key instead of a user: the encoded form, or id:api_key.
        upstream_api_key: Option<Secret> = "upstream.credentials.api_key", "";
        /// A file that holds the API key, instead of the key itself.
        upstream_api_key_file: Option<String> = "upstream.credentials.api_key_file", "";
        /// What of a node's certificate is checked: full (who has signed it, and that it is for the name of the host), certificate (who has signed it), or none (nothing: for tests only, since anybody on the way can then read and change everything).
        upstream_ssl_verification_mode: Verification = "upstream.ssl.verification_mode", "full";
        /// PEM files with the certificates of the authorities that are trusted; if there is none, those that the system trusts.
        upstream_ssl_certificate_authorities: Vec<String> = "upstream.ssl.certificate_authorities", "";
        /// A PEM file with a certificate that escache shows to nodes that want one, with its chain.
        upstream_ssl_certificate: Option<String> = "upstream.ssl.certificate", "";
        /// A PEM file with the key of that certificate, without a passphrase.
        upstream_ssl_key: Option<String> = "upstream.ssl.key", "";
        /// The name that the certificates of nodes must be for, where it is not the one in upstream.hosts.
        upstream_ssl_server_name: Option<String> = "upstream.ssl.server_name", "";
        /// How long a connection to a node may take to open, TLS included.
        upstream_connect_timeout: Wait = "upstream.connect_timeout", "5s";
        /// How long a node may take to begin its answer.
        upstream_response_timeout: Wait = "upstream.response_timeout", "60s";
        /// How many idle connections to one node are kept.
        upstream_max_idle_per_host: usize = "upstream.pool.max_idle_per_host", "256";
        /// How long an idle connection is kept; make it shorter than the node's side keeps it.
        upstream_idle_timeout: Wait = "upstream.pool.idle_timeout", "60s";
    }
    "Cache" {
        /// Whether anything is cached; false forwards everything.
        cache_enabled: bool = "cache.enabled", "true";
        /// How much memory answers may take: a size such as 512mb, or a share of the memory of the machine or container (at least 64mb, at most half of the memory).
        cache_size: MemorySize = "indices.requests.cache.size", "2%", "--cache-size";
        /// How long an answer is kept at most, though nothing changed.
        cache_expire: Option<Wait> = "indices.requests.cache.expire", "none";
        /// The largest answer that is kept.
        cache_max_entry_size: ByteSize = "cache.max_entry_size", "8mb";
        /// Whether searches that return hits are cached; if false, only those with size 0, as Elasticsearch's own request cache does. A request with request_cache=true is cached either way.
        cache_hits: bool = "cache.hits", "true";
        /// Which answer goes when there is no room: lru (the least recently used), or tiny_lfu (by frequency too; a new answer must first prove itself).
        cache_eviction: Eviction = "cache.eviction", "lru";
    }
    "Freshness" {
        /// For how long an answer that nothing shows to be current any more is served, marked as stale, where the engine is unreachable or answers 502, 503, 504 or 429; none answers with the error. Counted from when the answer was last shown to be current.
        stale_if_error: Option<Wait> = "stale_if_error", "none";
        /// How old an answer may be. 0s is exact: before each hit escache asks the engine whether anything changed, once for all who wait. With 1s it asks at most once a second.
        freshness_max_staleness: Duration = "freshness.max_staleness", "0s", "--max-staleness";
        /// What tells that a shard has a new view. counters reads the refresh counters; segments reads the views themselves as well, which closes the instant between a new view and its counter and costs one more call for each reading.
        freshness_tag: TagSource = "freshness.tag", "counters";
        /// For how long after a change of a target's metadata (mapping, aliases, settings, where its shards are) its answers are not cached. A node that has missed the change goes by the old metadata until it has caught up or is out of the cluster; 2m outlasts cluster.publish.timeout and cluster.follower_lag.timeout together. 0s takes for granted that none misses one.
        freshness_metadata_settling: Duration = "freshness.metadata_settling", "0s";
        /// How much older an answer a request may allow with Cache-Control: max-stale.
        freshness_max_stale: Duration = "freshness.max_stale", "0s";
        /// Never ask whether anything changed, and serve answers for this long. Only for clusters that have no _stats (serverless); answers are stale for up to this time, so it cannot be set beside max_staleness.
        freshness_ttl_only: Option<Wait> = "freshness.ttl_only", "none", "--ttl-only";
        /// How many questions whether anything changed may be under way at once; requests beyond that are forwarded.
        freshness_max_concurrent_readings: NonZeroUsize = "freshness.max_concurrent_readings", "64";
        /// How long such a question may take; then the request is forwarded.
        freshness_reading_timeout: Wait = "freshness.reading_timeout", "2s";
        /// What becomes of a search that costs the engine much less than the question whether anything changed (with max_staleness 0s; both are measured): forward sends it on, wait asks all the same and answers from the cache.
        freshness_reading_dearer: ReadingDearer = "freshness.reading_dearer", "forward";
    }
    "Identity and key" {
        /// What proves that the permissions behind a request with credentials are unchanged: security_index (its counters, which upstream.credentials must be allowed to read), privileges (what Elasticsearch says of them, asked with the client's own credentials), auto (what the engine has), or none.
        auth_proof: Way = "auth.proof", "auto";
        /// How long all nodes take at most to enforce a change of permissions after the security index shows it; for this long after a change, requests with credentials are not cached.
        auth_enforcement_gap: Duration = "auth.enforcement_gap", "5s";
        /// Say true if no document level security depends on the time (now), on other documents (terms lookup), or on attributes kept in a directory. Wanted on OpenSearch unless upstream.credentials may read the roles, and on Elasticsearch with auth.proof: security_index.
        auth_static_roles: bool = "auth.static_roles", "false";
        /// The index where the engine keeps users and roles, if it is not at its usual place.
        auth_security_index: Option<String> = "auth.security_index", "";
        /// How long an answer to a request with credentials is kept where there is no way to prove that the permissions of its user are unchanged; none does not cache it. It never stands in for a proof that fails or says no.
        auth_entry_ttl: Option<Wait> = "auth.entry_ttl", "none";
        /// Request headers that do not change answers, besides those that escache knows. Any header not known splits the cache; headers that say who asks cannot be ignored.
        key_ignore_headers: Vec<HeaderName> = "key.ignore_headers", "";
        /// Request headers of your own gateway that say who asks, besides those that escache knows.
        key_identity_headers: Vec<HeaderName> = "key.identity_headers", "";
    }
    "Rules" {
        /// What to cache by index and endpoint; the first rule that matches decides. Each has index (patterns with *), api (search, count, field_caps and the other reads of docs/cacheability.md), and what it sets: cache, ttl, max_staleness, hits.
        rules: Rules = "rules", "";
    }
    "Warm-up" {
        /// How often the searches that are asked most are looked after: those whose answer is no longer current are asked again before a user waits for them. none does not. Only searches without credentials, or with those of warm.authorization_file.
        refresh_ahead: Option<Wait> = "refresh_ahead", "none";
        /// How many searches that is done for: those that were asked most in the last two minutes.
        warm_max_refreshed: NonZeroUsize = "warm.max_refreshed", "100";
        /// How many searches in a second refresh_ahead and escache warm send to the engine at most.
        warm_rate: NonZeroUsize = "warm.rate", "20";
        /// A file that holds the value of the Authorization header with which they ask, such as Basic or ApiKey with what follows it; without one they ask without credentials. Read at start.
        warm_authorization_file: Option<String> = "warm.authorization_file", "";
    }
    "Limits" {
        /// The largest request body that is read to look for its answer; larger ones are forwarded.
        limits_max_key_body: ByteSize = "limits.max_key_body", "1mb";
        /// How much memory requests and answers may take that are held whole, besides what is stored: bodies while they come, answers while they are read. What finds no room streams, and is not cached.
        limits_max_buffered: ByteSize = "limits.max_buffered", "256mb";
        /// How many searches may be under way at once that fill the cache, or could be answered from it at another moment; as many more wait, and beyond that the answer is 429.
        limits_max_concurrent_misses: NonZeroUsize = "limits.max_concurrent_misses", "1024";
        /// How much memory superseded answers may take that are kept for stale_if_error, besides indices.requests.cache.size.
        limits_max_stale_memory: ByteSize = "limits.max_stale_memory", "64mb";
        /// How many connections of clients there may be; who comes then is told 503.
        limits_max_connections: NonZeroUsize = "limits.max_connections", "20000";
        /// How many of them may come from one address (of IPv6: one /64); who comes then is told 429.
        limits_max_connections_per_address: NonZeroUsize = "limits.max_connections_per_address", "10000";
        /// How many identities are known at once; the least used is forgotten.
        limits_max_identities: NonZeroUsize = "limits.max_identities", "10000";
        /// How much memory the index expressions that are watched for changes may take; the least used is forgotten.
        limits_max_target_memory: ByteSize = "limits.max_target_memory", "64mb";
    }
    "Shadow" {
        /// Of which share of hits the engine is asked the same search too, after the hit was answered, to compare the two: 0 is none, 0.01 one in a hundred, 1 all. An answer that differs although nothing changed is logged, counted (shadow_different) and no longer served.
        shadow_sample: Share = "shadow.sample", "0";
    }
    "Traces" {
        /// The collector that spans are exported to by OTLP over HTTP (protobuf), such as http://localhost:4318; /v1/traces is added. none leaves it to OTEL_EXPORTER_OTLP_ENDPOINT, and without that exports nothing.
        tracing_endpoint: Option<Collector> = "tracing.otlp.endpoint", "none";
        /// Of which share of the traces that begin here spans are made, from 0 to 1; of a trace that began before, the client has decided. none leaves it to OTEL_TRACES_SAMPLER, and without that is 1.
        tracing_sample: Option<Share> = "tracing.sample", "none";
        /// The name of this service in traces. Without one it is that of OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES, or escache.
        tracing_service_name: Option<String> = "tracing.service_name", "";
    }
    "Log" {
        /// What is logged: error, warn, info, debug or trace.
        log_level: Level = "log.level", "info";
        /// text for people, json for machines.
        log_format: Format = "log.format", "text";
        /// Which requests have a line in the log: errors, slow ones and this share of the others, such as 0.01; all, or off for no line at all. A line is written before the answer goes out, which costs some microseconds.
        log_access: AccessShare = "log.access", "0";
        /// From which time on a request is slow, and has a line.
        log_access_slow: Wait = "log.access_slow", "1s";
    }
}

impl Setting {
    /// The variable of the environment: `upstream.hosts` is `ESCACHE_UPSTREAM_HOSTS`.
    pub(super) fn variable(&self) -> String {
        format!("ESCACHE_{}", self.name.to_uppercase().replace('.', "_"))
    }

    /// The default, as if somebody had written it.
    pub(super) fn written_default(&self) -> Written {
        match self.shape {
            Shape::One => Written::One(self.default.to_owned()),
            Shape::Many => {
                Written::Many(self.default.split(',').filter(|d| !d.is_empty()).map(str::to_owned).collect())
            }
            Shape::Rules => Written::Rules(Vec::new()),
        }
    }
}

/// The row of a name.
pub(super) fn setting(name: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sound() {
        for (i, row) in TABLE.iter().enumerate() {
            let name = row.name;
            assert!((row.understand)(&row.written_default()).is_ok(), "the default of {name}");
            assert!(row.help.ends_with('.') && !row.help.contains('\n'), "the help of {name}");
            for other in &TABLE[..i] {
                assert_ne!(row.variable(), other.variable());
                let (short, long) =
                    if name.len() < other.name.len() { (name, other.name) } else { (other.name, name) };
                assert!(!long.starts_with(&format!("{short}.")), "{short} is a setting and a group: {long}");
            }
        }
    }

    #[test]
    fn defaults_are_shown_as_they_are_written() {
        for row in TABLE {
            let shown = (row.understand)(&row.written_default()).unwrap();
            let written =
                if row.shape == Shape::One { row.default.to_owned() } else { format!("[{}]", row.default) };
            assert_eq!(shown, written.replace("60s", "1m"), "{}", row.name);
        }
    }

    #[test]
    fn secrets_have_no_flag() {
        let secret =
            |row: &&Setting| (row.understand)(&Written::One("hush".to_owned())) == Ok("********".to_owned());
        assert_eq!(TABLE.iter().filter(secret).count(), 3);
        assert!(TABLE.iter().filter(secret).all(|row| row.flag.is_none()));
    }
}
