//! TLS to the engine: whom to trust, and who escache is. HTTP/1.1 is what is spoken over it.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// `upstream.ssl.verification_mode`: what of the engine's certificate is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// That a trusted authority has signed it, and that it is for the name of the host.
    #[default]
    Full,
    /// That a trusted authority has signed it, whatever the name.
    Certificate,
    /// Nothing. For tests: anybody on the way can read and change everything.
    None,
}

/// How TLS is set up, as written.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// What is checked.
    pub verification: Verification,
    /// PEM files of the authorities that are trusted; the system's, if there is none.
    pub authorities: Vec<PathBuf>,
    /// The PEM files of escache's own certificate (with its chain) and its key, if the engine wants one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that certificates must be for, instead of the name of the host.
    pub server_name: Option<String>,
}

/// TLS, ready for use.
#[derive(Clone, Debug)]
pub struct Tls {
    pub(super) config: ClientConfig,
    pub(super) server_name: Option<ServerName<'static>>,
    pub(super) verification: Verification,
}

impl Tls {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// What cannot be read or used, in a sentence that begins with the setting.
    pub fn new(settings: &TlsSettings) -> Result<Tls, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("upstream.ssl: {error}"))?;
        let builder = match settings.verification {
            Verification::Full => builder.with_root_certificates(roots(&settings.authorities)?),
            Verification::Certificate => {
                let roots = Arc::new(roots(&settings.authorities)?);
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                let verifier = verifier.map_err(|error| format!("upstream.ssl: {error}"))?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier)))
            }
            Verification::None => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            }
        };
        let config = match &settings.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("upstream.ssl.certificate", certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                    format!("upstream.ssl.key: [{}] has no key that can be read: {error}", key.display())
                })?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("upstream.ssl.certificate: {error}"))?
            }
        };
        let server_name = settings.server_name.clone().map(|name| {
            ServerName::try_from(name.clone())
                .map_err(|_| format!("upstream.ssl.server_name: [{name}] is neither a name nor an address"))
        });
        Ok(Tls { config, server_name: server_name.transpose()?, verification: settings.verification })
    }
}

/// Without a setting, those that the system trusts.
fn roots(files: &[PathBuf]) -> Result<RootCertStore, String> {
    const AT: &str = "upstream.ssl.certificate_authorities";
    let mut roots = RootCertStore::empty();
    if files.is_empty() {
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if roots.is_empty() {
            let why = system.errors.first().map_or(String::new(), |error| format!(": {error}"));
            return Err(format!("{AT}: this system trusts no authority; name a file{why}"));
        }
    }
    for file in files {
        for certificate in certificates(AT, file)? {
            roots.add(certificate).map_err(|error| format!("{AT}: [{}]: {error}", file.display()))?;
        }
    }
    Ok(roots)
}

fn certificates(setting: &str, file: &PathBuf) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| {
        format!("{setting}: [{}] has no certificate that can be read: {error}", file.display())
    };
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| wrong(&error))?;
    if read.is_empty() { Err(wrong(&"it holds none")) } else { Ok(read) }
}

/// Checks who has signed, and not the name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(certificate, chain, name, ocsp, now) {
            // the name is looked at last: all else was right
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Checks nothing of a certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
