//! TLS of the data listener: certificate and key from files, read again when they change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

/// `http.ssl.client_authentication`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// Clients are not asked for a certificate.
    #[default]
    None,
    /// A client may show a certificate; one that is not good ends the handshake.
    Optional,
    /// A client without a good certificate is not let in.
    Required,
}

/// `http.ssl.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate and those between it and a root, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM, not encrypted.
    pub key: PathBuf,
    /// Whose certificates of clients are good, in PEM.
    pub certificate_authorities: Vec<PathBuf>,
    /// Whether clients are asked for one.
    pub client_authentication: ClientAuthentication,
}

/// What the files held, as far as it matters: a hash of it.
pub(super) type Seen = blake3::Hash;

impl TlsSettings {
    /// Reads the files.
    ///
    /// # Errors
    /// A sentence that names the setting and the file.
    pub(super) fn load(&self) -> Result<(Arc<ServerConfig>, Seen), String> {
        let mut seen = blake3::Hasher::new();
        let mut read = |name: &str, path: &Path| -> Result<Vec<u8>, String> {
            let bytes = fs::read(path)
                .map_err(|e| format!("http.ssl.{name}: [{}] cannot be read: {e}", path.display()))?;
            seen.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
            Ok(bytes)
        };
        let wrong = |name: &str, path: &Path, what: &dyn std::fmt::Display| {
            format!("http.ssl.{name}: [{}]: {what}", path.display())
        };
        let pem = read("certificate", &self.certificate)?;
        let chain = certificates(&pem).map_err(|e| wrong("certificate", &self.certificate, &e))?;
        let pem = read("key", &self.key)?;
        let key = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|e| wrong("key", &self.key, &format!("no key in PEM that is not encrypted: {e}")))?;
        let mut roots = RootCertStore::empty();
        for path in &self.certificate_authorities {
            let pem = read("certificate_authorities", path)?;
            let found = certificates(&pem).map_err(|e| wrong("certificate_authorities", path, &e))?;
            for root in found {
                roots.add(root).map_err(|e| wrong("certificate_authorities", path, &e))?;
            }
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = match self.client_authentication {
            ClientAuthentication::None => WebPkiClientVerifier::no_client_auth(),
            wanted => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
                let verifier = match wanted {
                    ClientAuthentication::Optional => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                verifier.build().map_err(|e| format!("http.ssl.certificate_authorities: {e}"))?
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|e| wrong("certificate", &self.certificate, &e))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok((Arc::new(config), seen.finalize()))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("no certificate in PEM".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

/// TLS as it is now.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    settings: TlsSettings,
    seen: Seen,
    pub(super) config: Arc<ServerConfig>,
}

impl Tls {
    pub(super) fn new(settings: TlsSettings) -> Result<Tls, String> {
        let (config, seen) = settings.load()?;
        Ok(Tls { settings, seen, config })
    }

    /// TLS from the same files, if they hold something else now.
    pub(super) fn renewed(&self) -> Result<Option<Tls>, String> {
        let renewed = Tls::new(self.settings.clone())?;
        Ok((renewed.seen != self.seen).then_some(renewed))
    }
}
