//! TLS to the engine: whom escache trusts, and who it is.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use escache::upstream::{Credentials, Host, Tls, TlsSettings, Verification};
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use serde_json::json;

use crate::support::authority::Authority;
use crate::support::engine::{Api, Engine, Seen, Twist, engine};
use crate::support::escache::{Escache, verdict};
use crate::support::middleman::Middleman;
use crate::support::patience::ends;

const SEARCH: &str = "/logs/_search";

impl Authority {
    pub(crate) fn file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// The files of a certificate for this name, and its key.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.certificate(name);
        let file = |end: &str| self.path(&format!("{name}.{end}"));
        fs::write(file("pem"), certificate.pem()).unwrap();
        fs::write(file("key"), key.serialize_pem()).unwrap();
        (file("pem"), file("key"))
    }

    /// A server with a certificate for this name, which wants clients to have one of `clients`.
    fn server(&self, name: &str, clients: Option<&Authority>) -> rustls::ServerConfig {
        let (certificate, key) = self.certificate(name);
        let provider = Arc::new(default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.issuer.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }
}

async fn in_front_of(middleman: &Middleman, settings: TlsSettings) -> Escache {
    let tls = Tls::new(&settings).unwrap();
    Escache::start_with(&middleman.tls_url(), |settings| {
        settings.upstream.tls = Some(tls);
    })
    .await
}

/// Whether searches, hits and writes pass with these settings.
async fn passes(engine: &Engine, middleman: &Middleman, settings: TlsSettings) -> bool {
    let escache = in_front_of(middleman, settings).await;
    let before = engine.seen_in_all();
    let first = escache.send("GET", SEARCH, &[], "").await;
    if first.status == 502 {
        assert_eq!(engine.seen_in_all(), before, "nothing of a client's goes to whom nobody trusts");
        return false;
    }
    assert_eq!((first.status, verdict(&first.headers)), (200, ("MISS", "escache; fwd=miss; stored")));
    let second = escache.send("GET", SEARCH, &[], "").await;
    assert_eq!((verdict(&second.headers).0, &second.body), ("HIT", &first.body));
    assert!(escache.send("PUT", "/logs/_doc/9", &[], "{}").await.status < 300);
    true
}

#[tokio::test]
async fn who_is_trusted_is_what_the_settings_say() {
    use Verification::{Certificate, Full, None as Nothing};
    let (ours, theirs) = (Authority::new(), Authority::new());
    let engine = engine();
    for (name, authority, verification, expected) in [
        ("localhost", &ours, Full, true),
        ("localhost", &theirs, Full, false),
        ("es.example", &ours, Full, false),
        ("es.example", &ours, Certificate, true),
        ("es.example", &theirs, Certificate, false),
        ("es.example", &theirs, Nothing, true),
    ] {
        let middleman = Middleman::with_tls(engine.addr(), authority.server(name, None));
        let settings = TlsSettings { verification, authorities: vec![ours.file()], ..TlsSettings::default() };
        assert_eq!(passes(&engine, &middleman, settings).await, expected, "{name} {verification:?}");
    }
    // the system's authorities know nothing of ours
    let middleman = Middleman::with_tls(engine.addr(), ours.server("localhost", None));
    if let Ok(tls) = Tls::new(&TlsSettings::default()) {
        let escache =
            Escache::start_with(&middleman.tls_url(), |settings| settings.upstream.tls = Some(tls)).await;
        assert_eq!(escache.send("GET", SEARCH, &[], "").await.status, 502);
    }
    // and without any settings nobody is trusted
    let escache = Escache::start(&middleman.tls_url()).await;
    assert_eq!(escache.send("GET", SEARCH, &[], "").await.status, 502);
}

#[tokio::test]
async fn another_name_may_be_wanted() {
    let ours = Authority::new();
    let engine = engine();
    let middleman = Middleman::with_tls(engine.addr(), ours.server("es.example", None));
    for (name, expected) in [("es.example", true), ("other.example", false)] {
        let settings = TlsSettings {
            authorities: vec![ours.file()],
            server_name: Some(name.to_owned()),
            ..TlsSettings::default()
        };
        assert_eq!(passes(&engine, &middleman, settings).await, expected, "{name}");
    }
    // the engine is still asked for by the name of its host
    assert!(engine.last(Api::Search).header("host").unwrap().starts_with("localhost:"));
}

#[tokio::test]
async fn an_engine_that_wants_a_certificate_gets_it() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let engine = engine();
    let middleman = Middleman::with_tls(engine.addr(), ours.server("localhost", Some(&ours)));
    for (identity, expected) in
        [(Some(ours.sign("escache")), true), (Some(theirs.sign("escache")), false), (None, false)]
    {
        let settings = TlsSettings { authorities: vec![ours.file()], identity, ..TlsSettings::default() };
        assert_eq!(passes(&engine, &middleman, settings).await, expected);
    }
}

#[tokio::test]
async fn http_and_https_hosts_stand_side_by_side() {
    let ours = Authority::new();
    let one = engine();
    let two = one.another_host();
    let middleman = Middleman::with_tls(two.addr(), ours.server("localhost", None));
    let tls = Tls::new(&TlsSettings { authorities: vec![ours.file()], ..TlsSettings::default() }).unwrap();
    let escache = Escache::start_with(&one.url(), |settings| {
        settings.upstream.hosts.push(Host::parse(&middleman.tls_url()).unwrap());
        settings.upstream.tls = Some(tls);
    })
    .await;
    for number in 0..10 {
        let answer = escache.send("GET", &format!("{SEARCH}?from={number}"), &[], "").await;
        assert_eq!((answer.status, verdict(&answer.headers).1), (200, "escache; fwd=miss; stored"));
    }
    assert!(one.seen(Api::Search) > 2 && two.seen(Api::Search) > 2);
}

/// A node that was found has escache's credentials before it has shown the cluster only if its certificate is for the
/// name that it is called by.
#[tokio::test]
async fn credentials_go_to_nodes_that_were_found_with_verified_names_alone() {
    use Verification::{Certificate, Full, None as Nothing};
    let ours = Authority::new();
    for (verification, expected) in [(Full, true), (Certificate, false), (Nothing, false)] {
        let seed = engine();
        let node = seed.another_host();
        let bare = |request: &Seen| request.header("authorization").is_none();
        node.on_any().when(bare).always(Twist::error(401, "security_exception", "who are you"));
        let [at_seed, at_node] =
            [&seed, &node].map(|host| Middleman::with_tls(host.addr(), ours.server("localhost", None)));
        let port = at_node.tls_url().rsplit(':').next().unwrap().to_owned();
        let published =
            json!({"nodes": {"a": {"http": {"publish_address": format!("localhost/127.0.0.1:{port}")}}}});
        for host in [&seed, &node] {
            let nodes = Twist::Status(200, published.to_string().into());
            host.on_any().when(|request| request.path == "/_nodes/http").always(nodes);
        }
        let settings = TlsSettings { verification, authorities: vec![ours.file()], ..TlsSettings::default() };
        let tls = Tls::new(&settings).unwrap();
        let escache = Escache::start_with(&at_seed.tls_url(), |settings| {
            settings.upstream.tls = Some(tls);
            settings.upstream.discovery = Some(Duration::ZERO);
            settings.upstream.credentials = Some(Credentials::new("Basic b3VyczpvdXJz").unwrap());
        })
        .await;
        let hosts = escache.stats().await["hosts"].clone();
        let shown = hosts.as_array().unwrap().iter().find(|host| host["host"] == at_node.tls_url());
        assert_eq!(shown.unwrap()["used"], expected, "{verification:?}: {hosts}");
        let met = node.all_requests();
        assert!(!met.is_empty() && met.iter().any(|request| !bare(request)) == expected, "{met:?}");
    }
}

/// Somebody who accepts and never says a word: the limit of a connection is one for its handshake too.
#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let limit = Duration::from_millis(300);
    let escache = Escache::start_with(&url, |settings| settings.upstream.connect_timeout = limit).await;
    assert_eq!(ends("a search", escache.send("GET", SEARCH, &[], "")).await.status, 502);
}

#[test]
fn what_cannot_be_used_is_said_by_the_name_of_its_setting() {
    let ours = Authority::new();
    let (certificate, key) = ours.sign("escache");
    let (_, other) = ours.sign("other");
    let empty = ours.path("empty.pem");
    fs::write(&empty, "").unwrap();
    let absent = ours.path("absent.pem");
    let check = |settings: TlsSettings, begin: &str| {
        let authorities = match settings.authorities.is_empty() {
            true => vec![ours.file()],
            false => settings.authorities.clone(),
        };
        let error = Tls::new(&TlsSettings { authorities, ..settings }).unwrap_err();
        assert!(error.starts_with(begin), "{error}");
    };
    let identity = |a: &PathBuf, b: &PathBuf| Some((a.clone(), b.clone()));
    let with = |identity| TlsSettings { identity, ..TlsSettings::default() };
    check(with(identity(&absent, &key)), "upstream.ssl.certificate: [");
    check(with(identity(&key, &key)), "upstream.ssl.certificate: [");
    check(with(identity(&certificate, &certificate)), "upstream.ssl.key: [");
    check(with(identity(&certificate, &other)), "upstream.ssl.certificate: ");
    let trusting = |file: &PathBuf| TlsSettings { authorities: vec![file.clone()], ..TlsSettings::default() };
    check(trusting(&absent), "upstream.ssl.certificate_authorities: [");
    check(trusting(&empty), "upstream.ssl.certificate_authorities: [");
    let named = TlsSettings { server_name: Some("no name".to_owned()), ..TlsSettings::default() };
    check(named, "upstream.ssl.server_name: [");
}
