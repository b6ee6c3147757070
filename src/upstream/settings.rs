//! Where the engine is, and how it is asked: what the configuration says of it.

use std::fmt;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

use super::names::Names;
use super::tls::Tls;
use crate::error::ProxyError;

/// Where the engine is and how it is asked.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Base addresses such as `http://localhost:9200`, all of one cluster. Each name is all of its addresses.
    pub hosts: Vec<Host>,
    /// The credentials of escache itself, for readings and start-up questions. Never used for a client's request.
    pub credentials: Option<Credentials>,
    /// How `https` hosts are spoken to; without it none of them is trusted.
    pub tls: Option<Tls>,
    /// Time to connect: looking the name up, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Time from the end of a request to the head of its answer.
    pub response_timeout: Duration,
    /// Idle connections kept per host.
    pub max_idle_per_host: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// How often the cluster is asked for its nodes (`upstream.discovery`), besides the hosts; never, if `None`.
    pub discovery: Option<Duration>,
    /// How names are looked up.
    pub names: Names,
}

/// One address of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    scheme: Scheme,
    pub(super) authority: Authority,
    pub(super) host_header: HeaderValue,
    prefix: String,
}

impl Host {
    /// Reads `http://host:port[/prefix]`, or the same with `https`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Host, String> {
        let uri: Uri = text.parse().map_err(|e| format!("[{text}] is not a URL: {e}"))?;
        let scheme = match uri.scheme() {
            Some(scheme) if [Scheme::HTTP, Scheme::HTTPS].contains(scheme) => scheme.clone(),
            Some(other) => {
                return Err(format!("[{text}]: the scheme {other} is not supported, only http and https"));
            }
            None => return Err(format!("[{text}] must begin with http:// or https://")),
        };
        let authority = uri.authority().cloned().ok_or_else(|| format!("[{text}] names no host"))?;
        if authority.as_str().contains('@') {
            return Err("credentials do not belong into a URL; use upstream.credentials".to_owned());
        }
        if uri.query().is_some() {
            return Err(format!("[{text}] must not have a query string"));
        }
        let host_header = HeaderValue::try_from(authority.as_str()).map_err(|e| e.to_string())?;
        Ok(Host { scheme, authority, host_header, prefix: uri.path().trim_end_matches('/').to_owned() })
    }

    /// The address of what is at this path of it.
    pub(super) fn uri(&self, path: PathAndQuery) -> Result<Uri, ProxyError> {
        let path = match &*self.prefix {
            "" => path,
            prefix => format!("{prefix}{path}").try_into().map_err(|_| ProxyError::Internal)?,
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).map_err(|_| ProxyError::Internal)
    }

    /// Whether connections to this scheme and authority lead there.
    pub(super) fn is_at(&self, address: &Uri) -> bool {
        address.scheme() == Some(&self.scheme) && address.authority() == Some(&self.authority)
    }

    /// Whether it is spoken to by TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Whether its requests have a path before their own.
    #[must_use]
    pub fn has_path(&self) -> bool {
        !self.prefix.is_empty()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

/// The value of an `Authorization` header. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(pub(super) HeaderValue);

impl Credentials {
    /// Credentials from the text of an `Authorization` header.
    ///
    /// # Errors
    /// The text has characters that a header cannot hold.
    pub fn new(authorization: &str) -> Result<Credentials, String> {
        let mut value = HeaderValue::try_from(authorization)
            .map_err(|_| "credentials that no header can hold".to_owned())?;
        value.set_sensitive(true);
        Ok(Credentials(value))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_strictly() {
        assert_eq!(Host::parse("http://localhost:9200/").unwrap().to_string(), "http://localhost:9200");
        assert_eq!(Host::parse("http://[::1]:9200/es").unwrap().to_string(), "http://[::1]:9200/es");
        assert_eq!(Host::parse("https://es.example:9243").unwrap().to_string(), "https://es.example:9243");
        for bad in ["localhost:9200", "wss://x", "http://u:p@x", "http://x?y", "ftp://x", ""] {
            assert!(Host::parse(bad).is_err(), "{bad}");
        }
        assert!(!Host::parse("http://u:secret@x").unwrap_err().contains("secret"));
    }

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(format!("{:?}", Credentials::new("Basic c2VjcmV0").unwrap()), "[redacted]");
    }
}
