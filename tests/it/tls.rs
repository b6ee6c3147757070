//! TLS of the data listener, with certificates that are made here.

use std::sync::Arc;

use bytes::Bytes;
use escache::server::{ClientAuthentication, TlsSettings};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::authority::Authority;
use crate::support::engine::Engine;
use crate::support::escache::{two, verdict};
use crate::support::http::Client;
use crate::support::patience::until;
use crate::support::program::Program;
use crate::support::wire::{Wire, address};

/// A certificate with its key, in PEM.
type Pair = (String, String);

impl Authority {
    fn issue(&self, name: &str) -> Pair {
        let (certificate, key) = self.certificate(name);
        (certificate.pem(), key.serialize_pem())
    }

    fn write(&self, (certificate, key): &Pair) {
        std::fs::write(self.path("cert.pem"), certificate).unwrap();
        std::fs::write(self.path("key.pem"), key).unwrap();
    }

    fn settings(&self, client_authentication: ClientAuthentication) -> TlsSettings {
        let none = client_authentication == ClientAuthentication::None;
        TlsSettings {
            certificate: self.path("cert.pem"),
            key: self.path("key.pem"),
            certificate_authorities: if none { Vec::new() } else { vec![self.path("ca.pem")] },
            client_authentication,
        }
    }

    /// What a client sees: the protocol, the status, the headers and body, or that it is not let in.
    async fn ask(&self, url: &str, alpn: &[&str], shown: Option<&Pair>) -> Result<Seen, String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.issuer.pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match shown {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => config
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(address(url)).await.unwrap();
        let name = ServerName::try_from("search.example").unwrap();
        let stream =
            TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|e| e.to_string())?;
        let tls = stream.get_ref().1;
        let certificate = tls.peer_certificates().unwrap()[0].to_vec();
        let agreed = String::from_utf8(tls.alpn_protocol().unwrap_or_default().to_vec()).unwrap();
        let http2 = agreed == "h2";
        let request =
            http::Request::post(if http2 { "https://search.example/logs/_search" } else { "/logs/_search" })
                .header("content-type", "application/json");
        let request = if http2 { request } else { request.header("host", "search.example") };
        let request = request.body(Full::new(Bytes::from_static(b"{}"))).unwrap();
        let answer = if http2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|e| e.to_string())?;
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        let (head, body) = answer.map_err(|e| e.to_string())?.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let status = verdict(&head.headers).0.to_owned();
        Ok(Seen { agreed, certificate, verdict: status, body: serde_json::from_slice(&body).unwrap() })
    }
}

#[derive(Debug)]
struct Seen {
    agreed: String,
    certificate: Vec<u8>,
    verdict: String,
    body: Value,
}

#[tokio::test]
async fn both_protocols_are_offered_and_share_answers() {
    let (engine, escache) = two().await;
    let authority = Authority::new();
    authority.write(&authority.issue("search.example"));
    escache.listeners[0].secure(Some(authority.settings(ClientAuthentication::None))).unwrap();
    for (alpn, agreed, expected) in [
        (&["h2", "http/1.1"][..], "h2", "MISS"),
        (&["http/1.1"], "http/1.1", "HIT"),
        (&[], "", "HIT"),
        (&["h2"], "h2", "HIT"),
    ] {
        let seen = authority.ask(&escache.url, alpn, None).await.unwrap();
        assert_eq!((seen.agreed.as_str(), seen.verdict.as_str()), (agreed, expected), "{alpn:?}");
        assert_eq!(seen.body["hits"]["total"]["value"], 1);
    }
    let search = engine.last(crate::support::engine::Api::Search);
    assert_eq!(search.header("x-forwarded-proto"), Some("https"));
    assert_eq!(search.header("x-forwarded-host"), Some("search.example"));
    // plain HTTP is no TLS: it is hung up on, and no request is made of it
    let mut plain = Wire::to(&escache.url).await;
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!plain.rest().await.contains("HTTP"));
    assert_eq!(escache.proxy.stats.plain.tls_handshakes_failed.get(), 1);
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
    let (_engine, escache) = two().await;
    let (authority, other) = (Authority::new(), Authority::new());
    let (first, second) = (authority.issue("search.example"), authority.issue("search.example"));
    let counted = &escache.proxy.stats.plain;
    let shown = async || authority.ask(&escache.url, &[], None).await.map(|seen| seen.certificate);
    let der = |pair: &Pair| CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap().to_vec();
    authority.write(&first);
    escache.listeners[0].secure(Some(authority.settings(ClientAuthentication::None))).unwrap();
    assert_eq!(shown().await, Ok(der(&first)));
    escache.listeners[0].renew();
    assert_eq!((counted.certificate_renewals.get(), counted.certificate_errors.get()), (0, 0));

    authority.write(&second);
    escache.listeners[0].renew();
    assert_eq!(shown().await, Ok(der(&second)));
    assert_eq!(counted.certificate_renewals.get(), 1);
    // half of a renewal: the key is not that of the certificate
    std::fs::write(authority.path("key.pem"), &other.issue("x").1).unwrap();
    escache.listeners[0].renew();
    std::fs::remove_file(authority.path("key.pem")).unwrap();
    escache.listeners[0].renew();
    assert_eq!(shown().await, Ok(der(&second)));
    assert_eq!((counted.certificate_renewals.get(), counted.certificate_errors.get()), (1, 2));
    let error =
        escache.listeners[0].secure(Some(authority.settings(ClientAuthentication::None))).unwrap_err();
    assert!(error.starts_with("http.ssl.key: ["), "{error}");
    let authority = Authority { dir: authority.dir, ..other };
    authority.write(&(String::new(), first.1));
    let error =
        escache.listeners[0].secure(Some(authority.settings(ClientAuthentication::None))).unwrap_err();
    assert!(error.contains("http.ssl.certificate: [") && error.contains("no certificate"), "{error}");
}

#[tokio::test]
async fn clients_with_different_certificates_share_nothing() {
    let (engine, escache) = two().await;
    let (authority, other) = (Authority::new(), Authority::new());
    authority.write(&authority.issue("search.example"));
    escache.listeners[0].secure(Some(authority.settings(ClientAuthentication::Optional))).unwrap();
    let (one, two, stranger) = (authority.issue("one"), authority.issue("two"), other.issue("one"));
    let ask = async |shown: Option<&Pair>| {
        authority.ask(&escache.url, &["h2"], shown).await.map(|seen| seen.verdict)
    };
    for expected in ["MISS", "HIT"] {
        assert_eq!(ask(Some(&one)).await.unwrap(), expected);
        assert_eq!(ask(Some(&two)).await.unwrap(), expected);
        assert_eq!(ask(None).await.unwrap(), expected);
    }
    assert_eq!(engine.seen(crate::support::engine::Api::Search), 3);
    assert!(ask(Some(&stranger)).await.is_err());

    escache.listeners[0].secure(Some(authority.settings(ClientAuthentication::Required))).unwrap();
    assert!(ask(None).await.is_err());
    assert_eq!(ask(Some(&one)).await.unwrap(), "HIT");
}

/// Who has asked for nothing yet is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_does_not_wait_for_a_handshake() {
    let (engine, authority, client) = (Engine::start(), Authority::new(), Client::new());
    authority.write(&authority.issue("search.example"));
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| authority.path(name).display().to_string());
    let config = format!(
        "http.ssl: {{certificate: {certificate}, key: {key}}}\nhttp.header_timeout: 10m\ndrain.timeout: 10m\n"
    );
    let program = Program::start(&engine.url(), &config);
    let mut silent = Wire::to(&program.url).await;
    let stats = async || client.get(format!("{}/stats", program.admin)).await.json();
    // that of the one who asks is another one
    until("both are connected", async || stats().await["counters"]["connections"].as_u64() >= Some(2)).await;
    program.signal(Signal::TERM);
    assert_eq!(silent.rest().await, "");
    assert_eq!(program.exit_code().await, Some(0));
}
