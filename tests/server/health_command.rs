//! `sealwright health`.

use std::time::Duration;

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
