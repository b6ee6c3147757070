//! Settings as used: valid by construction, in the types of the modules that use them.

use std::fs;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use tracing::Level;

use super::kinds::{Address, Discovery, Secret};
use super::table::Values;
use super::units::{ByteSize, Wait};
use crate::access::AccessSettings;
use crate::key::headers::HeaderRules;
use crate::otlp::OtlpSettings;
use crate::policy::{Compression, Policy, Share};
use crate::proxy::{AheadSettings, ProxySettings};
use crate::scope::ScopeSettings;
use crate::server::{ClientAuthentication, Limits, TlsSettings};
use crate::surface::admin::{Controls, Token};
use crate::telemetry::Format;
use crate::upstream::{
    Credentials, Host, Names, Tls, TlsSettings as UpstreamTlsSettings, UpstreamSettings, Verification,
};
use crate::watcher::WatcherSettings;

/// All that is configured.
#[derive(Debug)]
pub struct Settings {
    /// `listen`
    pub listen: Address,
    /// `admin.listen`
    pub admin_listen: Address,
    /// `drain.timeout`
    pub drain_timeout: Duration,
    /// `http.ssl.*`; `None` speaks no TLS.
    pub tls: Option<TlsSettings>,
    /// `admin.token`
    pub admin_token: Option<Token>,
    /// `admin.allowed_hosts`, in lower case
    pub admin_allowed_hosts: Vec<String>,
    /// `admin.show_queries`
    pub admin_show_queries: bool,
    /// `log.access`, `log.access_slow`
    pub access: AccessSettings,
    /// What clients may take of the data listener.
    pub limits: Limits,
    /// What the way of a request needs.
    pub proxy: ProxySettings,
    /// `tracing.*`
    pub tracing: OtlpSettings,
    /// `log.level`
    pub log_level: Level,
    /// `log.format`
    pub log_format: Format,
}

/// What a body of either kind can hold at most: lengths of entries are counted in 32 bits.
const LARGEST: ByteSize = ByteSize(1 << 30);

impl Settings {
    /// What an operator can do at the admin listener; a reload is added by who can.
    #[must_use]
    pub fn controls(&self) -> Controls {
        Controls {
            token: self.admin_token,
            allowed_hosts: self.admin_allowed_hosts.clone(),
            show_queries: self.admin_show_queries,
            reload: None,
        }
    }

    /// Puts together what was read, if it goes together.
    pub(super) fn new(values: Values, memory: Option<u64>) -> Result<Settings, Vec<String>> {
        let mut problems = Vec::new();
        if values.listen == values.admin_listen && values.listen.port != 0 {
            problems.push("admin.listen: must not be the address of listen".to_owned());
        }
        let hosts = &values.upstream_hosts;
        if hosts.is_empty() {
            problems.push("upstream.hosts: must have at least one host".to_owned());
        }
        for (i, host) in hosts.iter().enumerate() {
            if hosts[..i].contains(host) {
                problems.push(format!("upstream.hosts: [{host}] is there twice"));
            }
        }
        if values.upstream_discovery == Discovery::Nodes && hosts.iter().any(Host::has_path) {
            problems.push(
                "upstream.discovery: must be none where a host has a path, since nodes have none".to_owned(),
            );
        }
        for (name, size) in [
            ("cache.max_entry_size", values.cache_max_entry_size),
            ("limits.max_key_body", values.limits_max_key_body),
            ("http.max_header_size", values.http_max_header_size),
        ] {
            if size.0 > LARGEST.0 {
                problems.push(format!("{name}: must be at most 1gb"));
            }
        }
        if values.shadow_sample != Share::NONE && values.freshness_ttl_only.is_some() {
            problems.push(
                "shadow.sample: must be 0 with freshness.ttl_only, which does not watch for changes"
                    .to_owned(),
            );
        }
        // who asks for a bound must not be left with a guess, whichever was written last
        let bounded = values.rules.0.iter().any(|rule| rule.max_staleness.is_some());
        let bound = "no bound can be kept with freshness.ttl_only, which does not watch for changes; leave one of them out";
        if values.freshness_ttl_only.is_some() && !values.freshness_max_staleness.is_zero() {
            problems.push(format!("freshness.max_staleness: {bound}"));
        }
        if values.freshness_ttl_only.is_some() && bounded {
            problems.push(format!("rules: max_staleness: {bound}"));
        }
        // what a URI can hold, and a table of headers
        if values.http_max_initial_line_length.0 > 64 << 10 {
            problems.push("http.max_initial_line_length: must be at most 64kb".to_owned());
        }
        if values.http_max_header_count.get() > 10_000 {
            problems.push("http.max_header_count: must be at most 10000".to_owned());
        }
        let mut take = |result: Result<_, String>| result.map_err(|problem| problems.push(problem)).ok();
        let headers = take(headers(&values));
        let credentials = credentials(&values).map_err(|problem| problems.push(problem)).ok();
        let tls = tls(&values).map_err(|problem| problems.push(problem)).ok();
        let token = token(&values).map_err(|problem| problems.push(problem)).ok();
        let upstream_tls = upstream_tls(&values).map_err(|problem| problems.push(problem)).ok();
        let ahead = ahead(&values).map_err(|problem| problems.push(problem)).ok();
        match (headers, credentials, tls, token, upstream_tls) {
            (Some(headers), Some(credentials), Some(tls), Some(admin_token), Some(upstream_tls))
                if problems.is_empty() =>
            {
                let mut settings = together(values, memory, headers, credentials, upstream_tls);
                settings.proxy.ahead.authorization = ahead.flatten();
                Ok(Settings { tls, admin_token, ..settings })
            }
            _ => Err(problems),
        }
    }
}

fn together(
    values: Values,
    memory: Option<u64>,
    headers: HeaderRules,
    credentials: Option<Credentials>,
    upstream_tls: Option<Tls>,
) -> Settings {
    let limits = limits(&values);
    let time = |wait: Option<Wait>| wait.map(|wait| wait.0);
    Settings {
        listen: values.listen,
        admin_listen: values.admin_listen,
        drain_timeout: values.drain_timeout,
        tls: None,
        admin_token: None,
        admin_allowed_hosts: values.admin_allowed_hosts.into_iter().map(|name| name.0).collect(),
        admin_show_queries: values.admin_show_queries,
        access: AccessSettings { share: values.log_access.0, slow: values.log_access_slow.0 },
        limits,
        proxy: ProxySettings {
            max_stale_memory: values.limits_max_stale_memory.0,
            max_buffered: values.limits_max_buffered.0,
            max_concurrent_misses: values.limits_max_concurrent_misses.get(),
            ahead: AheadSettings {
                rate: u32::try_from(values.warm_rate.get()).unwrap_or(u32::MAX),
                most: values.warm_max_refreshed.get(),
                authorization: None,
            },
            upstream: UpstreamSettings {
                hosts: values.upstream_hosts,
                credentials,
                tls: upstream_tls,
                connect_timeout: values.upstream_connect_timeout.0,
                response_timeout: values.upstream_response_timeout.0,
                max_idle_per_host: values.upstream_max_idle_per_host,
                idle_timeout: values.upstream_idle_timeout.0,
                discovery: (values.upstream_discovery == Discovery::Nodes)
                    .then_some(values.upstream_discovery_interval.0),
                names: Names::default(),
            },
            capacity: values.cache_size.bytes(memory),
            eviction: values.cache_eviction,
            policy: Policy {
                enabled: values.cache_enabled,
                hits: values.cache_hits,
                max_entry_size: size(values.cache_max_entry_size),
                max_key_body: size(values.limits_max_key_body),
                max_staleness: values.freshness_max_staleness,
                max_stale: values.freshness_max_stale,
                ttl_only: time(values.freshness_ttl_only),
                reading_dearer: values.freshness_reading_dearer,
                expire: time(values.cache_expire),
                entry_ttl: time(values.auth_entry_ttl),
                stale_if_error: time(values.stale_if_error),
                rules: values.rules.0,
                shadow_sample: values.shadow_sample,
                refresh_ahead: time(values.refresh_ahead),
                compression: match values.http_compression {
                    Compression::Auto => values.ssl_certificate.is_none(),
                    Compression::On => true,
                    Compression::Off => false,
                },
            },
            headers,
            scope: ScopeSettings {
                way: values.auth_proof,
                gap: values.auth_enforcement_gap,
                static_roles: values.auth_static_roles,
                index: values.auth_security_index,
                max_identities: values.limits_max_identities.get() as u64,
                max_concurrent: values.freshness_max_concurrent_readings.get(),
                timeout: values.freshness_reading_timeout.0,
            },
            watcher: WatcherSettings {
                tag: values.freshness_tag,
                metadata_settling: values.freshness_metadata_settling,
                max_concurrent: values.freshness_max_concurrent_readings.get(),
                timeout: values.freshness_reading_timeout.0,
                max_bytes: values.limits_max_target_memory.0,
                wall: SystemTime::now,
            },
        },
        tracing: OtlpSettings {
            endpoint: values.tracing_endpoint.map(|collector| collector.0),
            sample: values.tracing_sample,
            service_name: values.tracing_service_name,
        },
        log_level: values.log_level,
        log_format: values.log_format,
    }
}

/// TLS is on where there is a certificate.
fn tls(values: &Values) -> Result<Option<TlsSettings>, String> {
    const AT: &str = "http.ssl";
    let authorities = &values.ssl_certificate_authorities;
    let (certificate, key) = match (&values.ssl_certificate, &values.ssl_key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => return Err(format!("{AT}.certificate: needs {AT}.key")),
        (None, Some(_)) => return Err(format!("{AT}.key: needs {AT}.certificate")),
        (None, None) if values.ssl_client_authentication != ClientAuthentication::None => {
            return Err(format!("{AT}.client_authentication: needs {AT}.certificate"));
        }
        (None, None) if !authorities.is_empty() => {
            return Err(format!("{AT}.certificate_authorities: needs {AT}.certificate"));
        }
        (None, None) => return Ok(None),
    };
    match (values.ssl_client_authentication, authorities.is_empty()) {
        (ClientAuthentication::None, false) => {
            Err(format!("{AT}.certificate_authorities: needs {AT}.client_authentication"))
        }
        (ClientAuthentication::Optional | ClientAuthentication::Required, true) => {
            Err(format!("{AT}.client_authentication: needs {AT}.certificate_authorities"))
        }
        (client_authentication, _) => Ok(Some(TlsSettings {
            certificate: certificate.into(),
            key: key.into(),
            certificate_authorities: authorities.iter().map(Into::into).collect(),
            client_authentication,
        })),
    }
}

fn token(values: &Values) -> Result<Option<Token>, String> {
    let token = secret("admin.token", values.admin_token.as_ref(), values.admin_token_file.as_deref())?;
    Ok(token.map(|token| Token::new(&token)))
}

fn limits(values: &Values) -> Limits {
    Limits {
        max_connections: values.limits_max_connections.get(),
        max_connections_per_address: values.limits_max_connections_per_address.get(),
        max_line: size(values.http_max_initial_line_length),
        max_header_size: size(values.http_max_header_size),
        max_header_count: values.http_max_header_count.get(),
        header_timeout: values.http_header_timeout.0,
        body_timeout: values.http_body_timeout.0,
        write_timeout: values.http_write_timeout.0,
        request_timeout: values.http_request_timeout.0,
        idle_timeout: values.http_idle_timeout.0,
        max_concurrent_streams: u32::try_from(values.http2_max_concurrent_streams.get()).unwrap_or(u32::MAX),
        unencrypted_http2: values.http2_unencrypted,
    }
}

fn size(size: ByteSize) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

fn headers(values: &Values) -> Result<HeaderRules, String> {
    let rules = HeaderRules::new(&values.key_ignore_headers, &values.key_identity_headers);
    rules.map_err(|error| format!("key.ignore_headers: {error}"))
}

/// `None` where no host wants it.
fn upstream_tls(values: &Values) -> Result<Option<Tls>, String> {
    let identity = match (&values.upstream_ssl_certificate, &values.upstream_ssl_key) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (None, None) => None,
        (Some(_), None) => return Err("upstream.ssl.certificate: needs upstream.ssl.key".to_owned()),
        (None, Some(_)) => return Err("upstream.ssl.key: needs upstream.ssl.certificate".to_owned()),
    };
    let settings = UpstreamTlsSettings {
        verification: values.upstream_ssl_verification_mode,
        authorities: values.upstream_ssl_certificate_authorities.iter().map(Into::into).collect(),
        identity,
        server_name: values.upstream_ssl_server_name.clone(),
    };
    if values.upstream_hosts.iter().any(Host::is_https) {
        return Tls::new(&settings).map(Some);
    }
    let unused = settings.verification != Verification::Full
        || !settings.authorities.is_empty()
        || settings.identity.is_some()
        || settings.server_name.is_some();
    // who writes these means to be protected, and is not
    if unused {
        return Err("upstream.ssl: no host in upstream.hosts begins with https://".to_owned());
    }
    Ok(None)
}

fn credentials(values: &Values) -> Result<Option<Credentials>, String> {
    const AT: &str = "upstream.credentials";
    let password = secret(
        "upstream.credentials.password",
        values.upstream_password.as_ref(),
        values.upstream_password_file.as_deref(),
    )?;
    let api_key = secret(
        "upstream.credentials.api_key",
        values.upstream_api_key.as_ref(),
        values.upstream_api_key_file.as_deref(),
    )?;
    let header = match (&values.upstream_username, password, api_key) {
        (None, None, None) => return Ok(None),
        (None, Some(_), _) => return Err(format!("{AT}.password: needs {AT}.username")),
        (Some(_), None, None) => {
            return Err(format!("{AT}.username: needs {AT}.password or {AT}.password_file"));
        }
        (Some(_), _, Some(_)) => return Err(format!("{AT}.api_key: must not stand beside {AT}.username")),
        (Some(user), ..) if user.contains(':') => {
            return Err(format!("{AT}.username: must not contain a colon"));
        }
        (Some(user), Some(password), None) => {
            format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
        }
        (None, None, Some(key)) if key.contains(':') => format!("ApiKey {}", BASE64_STANDARD.encode(key)),
        (None, None, Some(key)) => format!("ApiKey {key}"),
    };
    Credentials::new(&header).map(Some).map_err(|reason| format!("{AT}: {reason}"))
}

/// As whom searches are asked ahead.
fn ahead(values: &Values) -> Result<Option<HeaderValue>, String> {
    let text = secret("warm.authorization", None, values.warm_authorization_file.as_deref())?;
    let value = text.map(|text| HeaderValue::try_from(text).map(sensitive)).transpose();
    value.map_err(|_| "warm.authorization_file: holds what cannot be the value of a header".to_owned())
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// A secret as it stands there, or in a file of which the last line ending does not count.
fn secret(name: &str, plain: Option<&Secret>, file: Option<&str>) -> Result<Option<String>, String> {
    match (plain, file) {
        (Some(_), Some(_)) => Err(format!("{name}: must not stand beside {name}_file")),
        (Some(Secret(text)), None) => Ok(Some(text.clone())),
        (None, Some(path)) => {
            let text = fs::read_to_string(path)
                .map_err(|error| format!("{name}_file: [{path}] cannot be read: {error}"))?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.is_empty() {
                Err(format!("{name}_file: [{path}] is empty"))
            } else {
                Ok(Some(text.to_owned()))
            }
        }
        (None, None) => Ok(None),
    }
}
