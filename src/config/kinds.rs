//! The kinds of single values.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;

use http::HeaderName;
use tracing::Level;

use super::value::{Scalar, Unfit};
use crate::cache::Eviction;
use crate::policy::{Compression, ReadingDearer, Share};
use crate::scope::Way;
use crate::server::ClientAuthentication;
use crate::telemetry::Format;
use crate::upstream::{Host, Verification};
use crate::watcher::TagSource;

/// Where nodes are found besides the hosts of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discovery {
    /// Nowhere.
    None,
    /// By asking the cluster.
    Nodes,
}

/// `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address, IPv6 without brackets.
    pub host: String,
    /// 0 lets the system choose.
    pub port: u16,
}

impl Address {
    /// The first address that the name stands for.
    ///
    /// # Errors
    /// The name stands for none, or cannot be looked up.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let found = (self.host.as_str(), self.port).to_socket_addrs()?.next();
        found.ok_or_else(|| io::Error::other(format!("[{}] has no address", self.host)))
    }
}

impl Scalar for Address {
    const WHAT: &'static str = "an address: host:port, such as 127.0.0.1:9280 or [::1]:9280";

    fn parse(text: &str) -> Result<Address, Unfit> {
        let (host, port) = text.rsplit_once(':').ok_or(Unfit::Plainly)?;
        let port = number(port)?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let fits = match bracketed {
            Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            }
        };
        let host = bracketed.unwrap_or(host).to_owned();
        if fits { Ok(Address { host, port }) } else { Err(Unfit::Plainly) }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Scalar for Host {
    const WHAT: &'static str = "a URL such as http://localhost:9200 or https://localhost:9200";

    fn parse(text: &str) -> Result<Host, Unfit> {
        if text.contains('@') {
            return Err(Unfit::Because(
                "credentials do not belong in a URL; use upstream.credentials".to_owned(),
            ));
        }
        Host::parse(text).map_err(Unfit::Because)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A collector of spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Collector(pub(super) Host);

impl Scalar for Collector {
    const WHAT: &'static str = "a URL such as http://localhost:4318";

    fn parse(text: &str) -> Result<Collector, Unfit> {
        if text.contains('@') {
            return Err(Unfit::Because(
                "credentials do not belong in a URL; use OTEL_EXPORTER_OTLP_HEADERS".to_owned(),
            ));
        }
        Host::parse(text).map(Collector).map_err(Unfit::Because)
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

impl Scalar for usize {
    const WHAT: &'static str = "a whole number";

    fn parse(text: &str) -> Result<usize, Unfit> {
        number(text)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Scalar for NonZeroUsize {
    const WHAT: &'static str = "a whole number from 1";

    fn parse(text: &str) -> Result<NonZeroUsize, Unfit> {
        NonZeroUsize::new(number(text)?).ok_or(Unfit::Plainly)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Scalar for Share {
    const WHAT: &'static str = "a share from 0 to 1, such as 0.01";

    fn parse(text: &str) -> Result<Share, Unfit> {
        let digits = text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let share = text.parse().ok().filter(|_| digits).and_then(Share::new);
        share.ok_or(Unfit::Plainly)
    }

    fn show(&self) -> String {
        self.get().to_string()
    }
}

impl Scalar for String {
    const WHAT: &'static str = "a text";
    const NONE: &'static str = "";

    fn parse(text: &str) -> Result<String, Unfit> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

/// The name of a host, without port: lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostName(pub(super) String);

impl Scalar for HostName {
    const WHAT: &'static str = "the name of a host without port, such as escache or escache.monitoring.svc";

    fn parse(text: &str) -> Result<HostName, Unfit> {
        let is_name = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        match text.split('.').all(is_name) {
            true => Ok(HostName(text.to_ascii_lowercase())),
            false => Err(Unfit::Plainly),
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// Which share of requests has a line in the log; `None` is off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct AccessShare(pub(super) Option<Share>);

impl Scalar for AccessShare {
    const WHAT: &'static str = "off, all, or a share from 0 to 1, such as 0.01";

    fn parse(text: &str) -> Result<AccessShare, Unfit> {
        match text {
            "off" => Ok(AccessShare(None)),
            "all" => Ok(AccessShare(Some(Share::ALL))),
            share => <Share as Scalar>::parse(share).map(Some).map(AccessShare).map_err(|_| Unfit::Plainly),
        }
    }

    fn show(&self) -> String {
        match self.0 {
            None => "off".to_owned(),
            Some(Share::ALL) => "all".to_owned(),
            Some(share) => Scalar::show(&share),
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Scalar for Secret {
    const WHAT: &'static str = "a secret text";
    const NONE: &'static str = "";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Secret, Unfit> {
        Ok(Secret(text.to_owned()))
    }

    fn show(&self) -> String {
        "********".to_owned()
    }
}

impl Scalar for HeaderName {
    const WHAT: &'static str = "the name of a header";

    fn parse(text: &str) -> Result<HeaderName, Unfit> {
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| Unfit::Plainly)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A kind that has a word for each of its values.
macro_rules! words {
    ($type:ty, $what:literal, $($word:literal => $value:path),+) => {
        impl Scalar for $type {
            const WHAT: &'static str = $what;

            fn parse(text: &str) -> Result<$type, Unfit> {
                match text {
                    $($word => Ok($value),)+
                    _ => Err(Unfit::Plainly),
                }
            }

            fn show(&self) -> String {
                let words = [$(($word, $value)),+];
                words.iter().find(|(_, value)| value == self).map_or("", |(word, _)| word).to_owned()
            }
        }
    };
}

words!(
    Compression,
    "auto, true or false",
    "auto" => Compression::Auto,
    "true" => Compression::On,
    "false" => Compression::Off
);
words!(Format, "text or json", "text" => Format::Text, "json" => Format::Json);
words!(
    ReadingDearer,
    "forward or wait",
    "forward" => ReadingDearer::Forward,
    "wait" => ReadingDearer::Wait
);
words!(TagSource, "counters or segments", "counters" => TagSource::Counters, "segments" => TagSource::Segments);
words!(
    Way,
    "auto, security_index, privileges or none",
    "auto" => Way::Auto,
    "security_index" => Way::SecurityIndex,
    "privileges" => Way::Privileges,
    "none" => Way::None
);
words!(
    ClientAuthentication,
    "none, optional or required",
    "none" => ClientAuthentication::None,
    "optional" => ClientAuthentication::Optional,
    "required" => ClientAuthentication::Required
);
words!(Eviction, "lru or tiny_lfu", "lru" => Eviction::Lru, "tiny_lfu" => Eviction::TinyLfu);
words!(
    Level,
    "error, warn, info, debug or trace",
    "error" => Level::ERROR,
    "warn" => Level::WARN,
    "info" => Level::INFO,
    "debug" => Level::DEBUG,
    "trace" => Level::TRACE
);

words!(Discovery, "none or nodes", "none" => Discovery::None, "nodes" => Discovery::Nodes);
words!(
    Verification,
    "full, certificate or none",
    "full" => Verification::Full,
    "certificate" => Verification::Certificate,
    "none" => Verification::None
);

impl Scalar for bool {
    const WHAT: &'static str = "true or false";

    fn parse(text: &str) -> Result<bool, Unfit> {
        text.parse().map_err(|_| Unfit::Plainly)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Unfit> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().map_err(|_| Unfit::Plainly) } else { Err(Unfit::Plainly) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Scalar>(text: &str, expected: Option<&str>) {
        assert_eq!(T::parse(text).ok().map(|value| value.show()).as_deref(), expected, "{text}");
    }

    #[test]
    fn addresses() {
        for text in
            ["127.0.0.1:9280", "0.0.0.0:0", "localhost:80", "es-cache.local:65535", "[::1]:9280", "[::]:1"]
        {
            check::<Address>(text, Some(text));
        }
        for text in
            ["", ":9280", "9280", "localhost", "localhost:", "localhost:65536", "::1:9280", "[::1]", "[x]:1"]
        {
            check::<Address>(text, None);
        }
        for text in ["http://localhost:9280", "localhost:+1", "a b:1", "localhost:9280/"] {
            check::<Address>(text, None);
        }
    }

    #[test]
    fn addresses_are_resolved() {
        let resolve = |text| Address::parse(text).ok().unwrap().resolve().unwrap();
        assert_eq!(resolve("127.0.0.1:1").to_string(), "127.0.0.1:1");
        assert_eq!(resolve("[::1]:2").to_string(), "[::1]:2");
        assert!(resolve("localhost:3").ip().is_loopback());
    }

    #[test]
    fn words_and_numbers() {
        check::<bool>("true", Some("true"));
        check::<bool>("True", None);
        check::<bool>("yes", None);
        check::<usize>("0", Some("0"));
        check::<usize>("-1", None);
        check::<usize>("1_000", None);
        check::<NonZeroUsize>("0", None);
        check::<Level>("warn", Some("warn"));
        check::<Level>("warning", None);
        check::<Eviction>("tiny_lfu", Some("tiny_lfu"));
        for (text, shown) in [("0", "0"), ("0.01", "0.01"), ("1", "1"), ("1.0", "1"), ("0.", "0")] {
            check::<Share>(text, Some(shown));
        }
        for text in ["1.1", "-0", "-0.5", "1%", "NaN", "inf", "1e-2", ".5", "", "0.0.1", "+1", " 1"] {
            check::<Share>(text, None);
        }
        check::<Format>("json", Some("json"));
        for (text, shown) in [("off", "off"), ("all", "all"), ("1", "all"), ("0", "0"), ("0.01", "0.01")] {
            check::<AccessShare>(text, Some(shown));
        }
        for text in ["on", "2", "1%", "-1"] {
            check::<AccessShare>(text, None);
        }
        for (text, shown) in [("escache", "escache"), ("Es-Cache.svc", "es-cache.svc")] {
            check::<HostName>(text, Some(shown));
        }
        for text in ["escache:9281", "*", "*.svc", "a..b", "http://a", "a b", "[::1]"] {
            check::<HostName>(text, None);
        }
    }

    #[test]
    fn hosts() {
        check::<Host>("http://localhost:9200", Some("http://localhost:9200"));
        check::<Host>("http://es/prefix/", Some("http://es/prefix"));
        check::<Host>("localhost:9200", None);
        check::<Host>("http://user:password@localhost:9200", None);
    }

    #[test]
    fn secrets_are_not_shown() {
        check::<Secret>("hush", Some("********"));
        assert_eq!(format!("{:?}", Secret("hush".to_owned())), "[redacted]");
    }
}
