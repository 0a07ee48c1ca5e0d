//! `sealwright health`.

use std::time::Duration;

use axum::{Router, http::StatusCode};
use tokio::net::TcpListener;

use crate::support::{Backend, Finished, Process, TestApp, TestDatabase, command, finish, on_sqlite, write_private};

on_sqlite![op15_health_succeeds_while_the_server_is_ready_and_otherwise_names_the_reason];

fn health(app: &TestApp, arguments: &[&str]) -> Finished {
    app.run(&[&["health"], arguments].concat())
}

async fn op15_health_succeeds_while_the_server_is_ready_and_otherwise_names_the_reason(backend: Backend) {
    let app = TestApp::start(backend).await;
    let listen = app.addr.to_string();
    assert_eq!(health(&app, &["--listen", &listen]).succeeded().stdout, "ready\n");
    assert_eq!(health(&app, &["--url", &app.issuer, "--json"]).json()["status"], "ready");

    assert_eq!(health(&app, &["--listen", &listen, "--live"]).succeeded().stdout, "live\n");

    app.settle().await;
    app.database.execute("ALTER TABLE epochs RENAME TO gone").await;
    app.clock.advance(Duration::from_secs(11));
    health(&app, &["--listen", &listen]).failed_saying(&["not ready", "the database has been unreachable for too long"]);
    assert_eq!(health(&app, &["--url", &app.issuer, "--live"]).succeeded().stdout, "live\n");
    let json = health(&app, &["--url", &app.issuer, "--json"]);
    assert!(!json.status.success() && json.stdout.contains("\"reasons\""), "{json:?}");
    let url = app.issuer.clone();
    let database = app.stop().await;
    crate::support::sealwright(&database, &["health", "--listen", &listen]).failed_saying(&[&listen, "did not report"]);
    crate::support::sealwright(&database, &["health", "--url", &url]).failed_saying(&["did not report"]);
    crate::support::sealwright(&database, &["health", "--listen", "127.0.0.1:0"]).failed_saying(&["--url"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn op15_health_asks_the_configured_server_over_tls_below_its_path_and_on_a_wildcard_address() {
    // The certificate does not name the loopback address, and no root that signed it is trusted.
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["auth.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let database = TestDatabase::create(Backend::Sqlite).await;
    let (cert, place) = (database.folder().join("tls.pem"), database.folder().join("tls.key"));
    write_private(&cert, &certificate.pem());
    write_private(&place, &key.serialize_pem());
    let settings = ["--issuer", "https://auth.example/issuer", "--tls-cert", "tls.pem", "--tls-key", "tls.key"];
    let mut serve = command(database.folder());
    serve.args(["serve", "--listen", "0.0.0.0:0"]).args(settings);
    let mut server = Process::spawn(serve);
    let port = server.addr().await.port();
    let ask = |arguments: &[&str]| {
        let mut command = command(database.folder());
        command.arg("health").args(arguments).env("https_proxy", "http://127.0.0.1:1");
        finish(command)
    };
    let listen = format!("0.0.0.0:{port}");
    ask(&[&["--listen", &listen], &settings[..]].concat()).succeeded();
    // For a given URL, the certificate is verified.
    ask(&["--url", &format!("https://127.0.0.1:{port}/issuer")]).failed_saying(&["did not report"]);
    let other_path = ["--listen", &listen, "--issuer", "https://auth.example", "--tls-cert", "tls.pem", "--tls-key", "tls.key"];
    ask(&other_path).failed_saying(&["404", "not that of a sealwright server"]);
}

/// The URL of a server that gives every request this answer.
async fn answering(status: StatusCode, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(move || async move { (status, body) });
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn op15_a_server_is_ready_if_both_the_status_and_the_body_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let health = |url: &str, more: &[&str]| {
        let mut command = command(folder.path());
        command.args(["health", "--url", url]).args(more);
        finish(command)
    };
    let (ready, live) = (r#"{"status":"ready"}"#, r#"{"status":"live"}"#);
    health(&answering(StatusCode::OK, ready).await, &[]).succeeded();
    health(&answering(StatusCode::OK, live).await, &["--live"]).succeeded();
    for (status, body, more) in [
        (StatusCode::SERVICE_UNAVAILABLE, ready, &[][..]),
        (StatusCode::INTERNAL_SERVER_ERROR, ready, &[]),
        (StatusCode::ACCEPTED, ready, &[]),
        (StatusCode::OK, r#"{"status":"not ready"}"#, &[]),
        (StatusCode::OK, live, &[]),
        (StatusCode::OK, ready, &["--live"]),
        (StatusCode::SERVICE_UNAVAILABLE, live, &["--live"]),
    ] {
        health(&answering(status, body).await, more).failed_saying(&[status.as_str(), "not that of a sealwright server"]);
    }
}
