//! Whether spans are exported, where to and how: escache's own settings, and what they leave open by the variables of
//! OpenTelemetry's specification.

use std::time::Duration;

use crate::policy::Share;
use crate::upstream::Host;

/// Whether and how spans are exported, as far as escache's own settings say.
#[derive(Clone, Debug, Default)]
pub struct OtlpSettings {
    /// `tracing.otlp.endpoint`
    pub endpoint: Option<Host>,
    /// `tracing.sample`: of which share of the traces that begin here; a client's decision is followed.
    pub sample: Option<Share>,
    /// `tracing.service_name`
    pub service_name: Option<String>,
}

/// No queue is longer, in spans, whatever is asked for.
const MOST_QUEUED: usize = 1 << 16;

/// What is decided of the export.
#[derive(Debug, PartialEq)]
pub(super) struct Setup {
    pub(super) url: String,
    pub(super) tls: bool,
    pub(super) service_name: Option<String>,
    /// How many spans wait at most, how many are sent together, and how long one waits for others.
    pub(super) queue: usize,
    pub(super) batch: usize,
    pub(super) delay: Duration,
}

/// Why nothing is exported.
#[derive(Debug, PartialEq)]
pub(super) enum Off {
    /// Nobody wants it.
    Unwanted,
    /// It was asked for by the environment in a way that cannot be done.
    Unable(String),
}

impl Setup {
    pub(super) fn new(settings: &OtlpSettings, env: impl Fn(&str) -> Option<String>) -> Result<Setup, Off> {
        // a variable without a value is as good as none (OpenTelemetry's specification)
        let env =
            |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        if env("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(Off::Unwanted);
        }
        let (url, tls) = match &settings.endpoint {
            Some(host) => (traces_at(host), host.is_https()),
            None => endpoint(&env)?,
        };
        let number = |name, default: usize| {
            env(name).and_then(|value| value.parse().ok()).filter(|n| *n > 0).unwrap_or(default)
        };
        let queue = number("OTEL_BSP_MAX_QUEUE_SIZE", 2048).min(MOST_QUEUED);
        let named = env("OTEL_SERVICE_NAME").is_some()
            || env("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.contains("service.name="));
        let service_name = settings.service_name.clone();
        Ok(Setup {
            url,
            tls,
            service_name: service_name.or_else(|| (!named).then(|| "escache".to_owned())),
            queue,
            batch: number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512).min(queue),
            delay: Duration::from_millis(number("OTEL_BSP_SCHEDULE_DELAY", 5000) as u64),
        })
    }
}

/// The endpoint that the environment names, and whether it is spoken to by TLS.
fn endpoint(env: &impl Fn(&str) -> Option<String>) -> Result<(String, bool), Off> {
    if env("OTEL_TRACES_EXPORTER").is_some_and(|value| value != "otlp") {
        return Err(Off::Unwanted);
    }
    let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, env(name)?)));
    let exact = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let (name, url) = first([exact, "OTEL_EXPORTER_OTLP_ENDPOINT"]).ok_or(Off::Unwanted)?;
    let protocol = first(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
    if let Some((name, protocol)) = protocol.filter(|(_, protocol)| protocol != "http/protobuf") {
        let why = format!("{name}: [{protocol}] is not supported, only http/protobuf");
        return Err(Off::Unable(why));
    }
    let host = Host::parse(&url).map_err(|why| Off::Unable(format!("{name}: {why}")))?;
    Ok((if name == exact { url } else { traces_at(&host) }, host.is_https()))
}

/// The path that OTLP has for traces, unless the address ends with it.
fn traces_at(host: &Host) -> String {
    let base = host.to_string();
    if base.ends_with("/v1/traces") { base } else { format!("{base}/v1/traces") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    fn setup(endpoint: Option<&str>, env: &[(&str, &str)]) -> Result<Setup, Off> {
        let endpoint = endpoint.map(|url| Host::parse(url).unwrap());
        let settings = OtlpSettings { endpoint, ..OtlpSettings::default() };
        Setup::new(&settings, |name| {
            env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn url(endpoint: Option<&str>, env: &[(&str, &str)]) -> Option<String> {
        setup(endpoint, env).ok().map(|setup| setup.url)
    }

    #[test]
    fn where_spans_go() {
        assert_eq!(setup(None, &[]), Err(Off::Unwanted));
        assert_eq!(setup(None, &[(BASE.0, "")]), Err(Off::Unwanted));
        let traces = "http://collector:4318/v1/traces";
        assert_eq!(url(Some("http://collector:4318"), &[]).as_deref(), Some(traces));
        assert_eq!(url(Some("http://collector:4318/v1/traces/"), &[]).as_deref(), Some(traces));
        assert_eq!(url(Some("https://c/otlp"), &[]).as_deref(), Some("https://c/otlp/v1/traces"));
        assert_eq!(url(None, &[BASE]).as_deref(), Some(traces));
        // the more specific one is taken as it is
        let exact = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other:4318/");
        assert_eq!(url(None, &[BASE, exact]).as_deref(), Some("http://other:4318/"));
        // escache's own setting comes first
        assert_eq!(url(Some("http://collector:4318"), &[exact]).as_deref(), Some(traces));
    }

    #[test]
    fn the_environment_can_switch_it_off() {
        for off in [
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
        ] {
            assert_eq!(setup(None, &[BASE, off]), Err(Off::Unwanted), "{off:?}");
        }
        assert!(
            setup(None, &[BASE, ("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_SDK_DISABLED", "false")]).is_ok()
        );
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317"),
        ] {
            let found = setup(None, &[BASE, (name, value)]);
            let Err(Off::Unable(why)) = found else { panic!("{name}: {found:?}") };
            assert!(why.starts_with(name), "{why}");
        }
        assert!(setup(Some("http://c"), &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).is_ok());
    }

    #[test]
    fn how_much_waits_and_for_whom() {
        let found = setup(None, &[BASE]).unwrap();
        assert_eq!((found.queue, found.batch, found.delay), (2048, 512, Duration::from_secs(5)));
        assert_eq!(found.service_name.as_deref(), Some("escache"));
        let found = setup(
            None,
            &[
                BASE,
                ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
                ("OTEL_BSP_SCHEDULE_DELAY", "0"),
                ("OTEL_SERVICE_NAME", "search-cache"),
            ],
        )
        .unwrap();
        // the SDK reads the name
        assert_eq!((found.queue, found.batch, found.service_name), (100, 100, None));
        assert_eq!(found.delay, Duration::from_secs(5));
        let found = setup(None, &[BASE, ("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=x")]).unwrap();
        assert_eq!(found.service_name, None);
    }
}
