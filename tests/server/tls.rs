//! TLS of the server, and listening on remote addresses.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sealwright::clock::{Clock, SystemClock};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::support::{Backend, Process, TestApp, TestDatabase, command, command_on, finish, on_sqlite, wait_until, write_private};

on_sqlite![tls_is_served_with_both_versions_of_http_and_plain_http_is_not];

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(SystemClock.now().seconds().unsigned_abs())
}

/// A root, and a certificate for `localhost` in files.
struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { root, folder: TempDir::new().unwrap() };
        authority.issue();
        authority
    }

    /// Replaces the certificate and its key by new ones.
    fn issue(&self) {
        self.issue_until(now() + Duration::from_secs(90 * 24 * 3600));
    }

    /// The same, with this expiry.
    fn issue_until(&self, end: SystemTime) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = end.into();
        let certificate = params.signed_by(&key, &self.root).unwrap();
        std::fs::write(self.certificate(), certificate.pem()).unwrap();
        write_private(self.key(), &key.serialize_pem());
    }

    fn certificate(&self) -> String {
        self.path("tls.pem")
    }

    fn key(&self) -> String {
        self.path("tls.key")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A client that trusts only this root.
    fn client(&self) -> reqwest::ClientBuilder {
        let root = reqwest::Certificate::from_pem(self.root.pem().as_bytes()).unwrap();
        reqwest::Client::builder().tls_certs_only([root]).pool_max_idle_per_host(0)
    }

    async fn serve(&self, backend: Backend) -> TestApp {
        let settings = [("tls_cert", self.certificate()), ("tls_key", self.key())];
        let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
        TestApp::start_with(TestDatabase::create(backend).await, &settings).await
    }
}

async fn tls_is_served_with_both_versions_of_http_and_plain_http_is_not(backend: Backend) {
    let authority = Authority::new();
    let app = authority.serve(backend).await;
    let url = format!("{}/.well-known/oauth-authorization-server", app.issuer);
    assert_eq!(app.issuer, format!("https://localhost:{}", app.addr.port()));
    for (client, version) in [
        (authority.client().http1_only(), reqwest::Version::HTTP_11),
        (authority.client().http2_prior_knowledge(), reqwest::Version::HTTP_2),
        (authority.client(), reqwest::Version::HTTP_2),
    ] {
        let answer = client.build().unwrap().get(&url).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        let metadata: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(metadata["token_endpoint"], format!("{}/oauth/token", app.issuer));
    }
    assert!(reqwest::get(&url).await.is_err(), "an untrusted root");
    assert!(reqwest::get(url.replace("https", "http")).await.is_err(), "nothing in the clear");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_when_its_files_change_and_an_invalid_one_changes_nothing() {
    let authority = Authority::new();
    let app = authority.serve(Backend::Sqlite).await;
    let first = served(&authority, &app).await;
    let kept = authority.client().pool_max_idle_per_host(1).build().unwrap();
    let url = format!("{}/health/live", app.issuer);
    assert!(kept.get(&url).send().await.unwrap().text().await.is_ok());

    let good = [std::fs::read(authority.certificate()).unwrap(), std::fs::read(authority.key()).unwrap()];
    authority.issue();
    let renewed = std::fs::read(authority.key()).unwrap();
    // The former key with the new certificate, then no key.
    for key in [&good[1][..], b"", b"-----BEGIN PRIVATE KEY-----\n"] {
        std::fs::write(authority.key(), key).unwrap();
        app.pass(Duration::from_secs(10)).await;
        assert_eq!(served(&authority, &app).await, first);
    }
    std::fs::write(authority.key(), renewed).unwrap();
    for _ in 0..50 {
        app.pass(Duration::from_secs(10)).await;
        if served(&authority, &app).await != first {
            break;
        }
    }
    assert_ne!(served(&authority, &app).await, first);
    assert!(kept.get(&url).send().await.is_ok(), "a connection that stands goes on");
}

/// A new connection that offers these protocols (ALPN).
async fn handshake(authority: &Authority, app: &TestApp, protocols: &[&str]) -> TlsStream<TcpStream> {
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.root.pem().as_bytes()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(app.addr).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
}

/// The certificate that the server sends on a new connection.
async fn served(authority: &Authority, app: &TestApp) -> Vec<u8> {
    handshake(authority, app, &[]).await.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_http2_was_chosen_in_the_handshake_http1_is_not_answered() {
    let authority = Authority::new();
    let app = authority.serve(Backend::Sqlite).await;
    for (protocols, is_answered) in [(&["h2"][..], false), (&["h2", "http/1.1"], false), (&["http/1.1"], true), (&[], true)] {
        let mut stream = handshake(&authority, &app, protocols).await;
        stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
        // A reset closes the connection too.
        let _ = closed.expect("the connection is closed");
        assert_eq!(answer.starts_with(b"HTTP/1.1 "), is_answered, "{protocols:?}: {:?}", String::from_utf8_lossy(&answer));
    }
}

/// `serve` with these flags in a new folder; it must refuse to start.
fn serve_refuses(flags: &[&str], words: &[&str]) {
    let folder = TempDir::new().unwrap();
    let mut command = command(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(flags);
    finish(command).failed_saying(words);
}

#[test]
fn a_start_with_an_unusable_certificate_is_refused_and_the_file_is_named() {
    let authority = Authority::new();
    let other = Authority::new();
    let junk = authority.path("junk");
    write_private(&junk, "junk");
    let missing = authority.path("missing");
    let (certificate, key) = (authority.certificate(), authority.key());
    for (certificate, key, words) in [
        (&missing, &key, vec![missing.as_str(), "cannot be read"]),
        (&certificate, &missing, vec![missing.as_str(), "cannot be read"]),
        (&junk, &key, vec![junk.as_str(), "no certificate"]),
        (&certificate, &junk, vec![junk.as_str(), "no private key"]),
        (&certificate, &other.key(), vec!["cannot be used together"]),
    ] {
        serve_refuses(&["--tls-cert", certificate, "--tls-key", key], &words);
    }
    serve_refuses(&["--tls-cert", &certificate], &["tls_cert", "requires tls_key"]);
    serve_refuses(&["--tls-key", &key], &["tls_key", "requires tls_cert"]);
}

#[test]
fn a_remote_address_requires_tls_or_a_proxy_and_an_https_issuer() {
    let everywhere = ["--listen", "0.0.0.0:0"];
    let with = |more: &[&str], words: &[&str]| {
        let folder = TempDir::new().unwrap();
        let mut command = command(folder.path());
        command.arg("check").args(everywhere).args(more);
        let finished = finish(command);
        let said = finished.stdout.clone() + &finished.stderr;
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    };
    with(&[], &["tls_cert and tls_key, or behind_proxy"]);
    with(&["--behind-proxy", "10.0.0.0/8"], &["issuer must be set to an https URL"]);
    with(&["--behind-proxy", "10.0.0.0/8", "--issuer", "http://localhost:1"], &["issuer must be set to an https URL"]);
    with(&["--behind-proxy", "ten", "--issuer", "https://auth.example"], &["behind_proxy", "addresses or networks"]);
    // It continues to the database, which does not exist.
    with(&["--behind-proxy", "10.0.0.0/8", "--issuer", "https://auth.example"], &["all settings are known"]);
    with(&["--tls-cert", "a", "--tls-key", "b", "--issuer", "https://auth.example"], &["all settings are known"]);
    assert!(!Path::new("sealwright.db").exists());
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(flavor = "multi_thread")]
async fn op13_check_reports_the_expiry_and_the_names_of_the_certificate() {
    let authority = Authority::new();
    let app = TestApp::start(Backend::Sqlite).await;
    let (certificate, key) = (authority.certificate(), authority.key());
    let check = |more: &[&str]| {
        let finished = app.run(&[&["check", "--json", "--tls-cert", &certificate, "--tls-key", &key], more].concat());
        let findings: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
        let finding = findings.as_array().unwrap().iter().find(|finding| finding["what"] == "TLS certificate").unwrap().clone();
        let flags = (finished.status.success(), finding["usable"].as_bool().unwrap(), finding["warning"].as_bool().unwrap());
        (flags, finding["detail"].as_str().unwrap().to_owned())
    };
    let holds = |(flags, detail): ((bool, bool, bool), String), wanted: (bool, bool, bool), words: &str| {
        assert!(flags == wanted && detail.contains(words), "{flags:?} {detail}");
    };
    holds(check(&[]), (true, true, false), "is valid until");
    holds(check(&["--issuer", "https://localhost"]), (true, true, false), "is valid until");
    holds(check(&["--issuer", "https://auth.example"]), (true, true, true), "is not valid for auth.example");
    authority.issue_until(now() + 5 * DAY + DAY / 2);
    holds(check(&[]), (true, true, true), "expires in 5 days");
    authority.issue_until(now() - DAY);
    holds(check(&[]), (false, false, false), "expired at");
    std::fs::remove_file(&certificate).unwrap();
    holds(check(&[]), (false, false, false), "cannot be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn op13_the_log_warns_and_a_metric_has_the_expiry() {
    for (end, words) in [(now() - DAY, "clients refuse the TLS certificate"), (now() + 20 * DAY, "the TLS certificate needs attention")] {
        let authority = Authority::new();
        authority.issue_until(end);
        let database = TestDatabase::create(Backend::Sqlite).await;
        let mut command = command_on(&database);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.args(["--tls-cert", &authority.certificate(), "--tls-key", &authority.key()]);
        let mut process = Process::spawn(command);
        process.addr().await;
        wait_until(|| process.stderr().iter().any(|line| line.contains(words))).await;
    }
    let authority = Authority::new();
    let app = authority.serve(Backend::Sqlite).await;
    let file = authority.certificate();
    let end = async || {
        let metrics = app.metrics().await;
        let begin = format!("sealwright_tls_certificate_end_timestamp_seconds{{file=\"{file}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&begin)?.parse::<u64>().ok()).unwrap_or_else(|| panic!("{metrics}"))
    };
    let first = end().await;
    assert!(first.abs_diff((now() + 90 * DAY).duration_since(UNIX_EPOCH).unwrap().as_secs()) < 3600);
    // A server without TLS has no such metric, so it raises no alert.
    assert!(!TestApp::start(Backend::Sqlite).await.metrics().await.contains("tls_certificate_end_timestamp_seconds{"));
}

#[tokio::test(flavor = "multi_thread")]
async fn op14_sighup_loads_a_new_certificate_at_once() {
    let authority = Authority::new();
    let app = authority.serve(Backend::Sqlite).await;
    let first = served(&authority, &app).await;
    authority.issue();
    // The clock stands still, so only the signal causes the reload.
    app.reload.ask();
    for _ in 0..500 {
        if served(&authority, &app).await != first {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the certificate of before is still served");
}
