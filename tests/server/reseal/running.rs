//! What apps and users notice of a new sealing key.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{key_file, kids_in, kids_of_texts, one, reseal};
use crate::support::{Answer, Backend, Process, SIGN_IN, TestApp, TestDatabase, furnish, header_of, on_both_databases, sealwright};

on_both_databases![
    the_sealing_key_is_replaced_while_a_server_runs_and_tokens_and_logins_stay_valid,
    a_compromised_sealing_key_is_replaced_together_with_all_signing_keys_and_mac_keys,
];

/// Gets tokens until it is dropped, all of which must be granted.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    granted: Arc<AtomicU64>,
    running: tokio::task::JoinHandle<()>,
}

impl Load {
    pub(super) fn on(addr: std::net::SocketAddr, secret: &str) -> Self {
        let (stop, granted) = (Arc::new(AtomicBool::default()), Arc::new(AtomicU64::default()));
        let (stopped, count, secret) = (Arc::clone(&stop), Arc::clone(&granted), secret.to_owned());
        let running = tokio::spawn(async move {
            let http = reqwest::Client::new();
            while !stopped.load(Relaxed) {
                let request = http.post(format!("http://{addr}/oauth/token")).basic_auth("shop", Some(&secret));
                let request = request.header("content-type", "application/x-www-form-urlencoded").body("grant_type=client_credentials");
                Answer::to(request).await.granted();
                count.fetch_add(1, Relaxed);
            }
        });
        Self { stop, granted, running }
    }

    /// Ends it and requires that tokens were granted, and none was refused.
    pub(super) async fn end(self) {
        self.stop.store(true, Relaxed);
        self.running.await.unwrap();
        assert!(self.granted.load(Relaxed) > 0);
    }
}

pub(super) async fn form(addr: std::net::SocketAddr, secret: &str, body: &str) -> Answer {
    let request = reqwest::Client::new().post(format!("http://{addr}/oauth/token")).basic_auth("shop", Some(secret));
    Answer::to(request.header("content-type", "application/x-www-form-urlencoded").body(body.to_owned())).await
}

pub(super) async fn refreshed(addr: std::net::SocketAddr, secret: &str, token: &str) -> Answer {
    form(addr, secret, &format!("grant_type=refresh_token&refresh_token={token}")).await
}

pub(super) async fn jwks(addr: std::net::SocketAddr) -> String {
    reqwest::get(format!("http://{addr}/.well-known/jwks.json")).await.unwrap().text().await.unwrap()
}

async fn the_sealing_key_is_replaced_while_a_server_runs_and_tokens_and_logins_stay_valid(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let mut server = Process::serve(&database);
    let addr = server.addr().await;
    let secret = furnish(&database);
    let refresh = form(addr, &secret, &format!("grant_type=password&{SIGN_IN}")).await.refresh_token();
    let (before, published) = (kids_in(key_file(&database)), jwks(addr).await);
    let load = Load::on(addr, &secret);

    let done = reseal(&database, &[]).json();
    let new = done["sealing_key"].as_str().unwrap();
    assert_eq!((done["state"].as_str(), done["unopened"].as_array().unwrap().len()), (Some("done"), 0), "{done}");
    assert_eq!(kids_in(key_file(&database)), [new]);
    assert_ne!(before, [new]);
    assert_eq!(kids_of_texts(&database).await, one(new));
    let retired = database.keys_dir().join("sealing.key.retired");
    assert_eq!((kids_in(&retired), done["retired_file"].as_str()), (before, retired.to_str()));
    for file in [&retired, &key_file(&database)] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let changes = sealwright(&database, &["change", "list", "--action", "key.reseal", "--json"]).json();
    assert_eq!(changes[0]["target"], new);

    load.end().await;
    let refresh = refreshed(addr, &secret, &refresh).await.refresh_token();
    assert_eq!(jwks(addr).await, published);
    let logged = |word: &str| server.stderr().iter().any(|line| line.contains(word));
    assert!(!logged("damaged") && !logged("ERROR"), "{:?}", server.stderr());
    // Another server, and the same one after a restart, open the database with the new key.
    let mut second = Process::serve(&database);
    let second = second.addr().await;
    assert_eq!(jwks(second).await, published);
    server.signal("TERM");
    assert!(server.wait().success());
    let mut server = Process::serve(&database);
    refreshed(server.addr().await, &secret, &refresh).await.granted();
    sealwright(&database, &["check"]).succeeded();
}

async fn a_compromised_sealing_key_is_replaced_together_with_all_signing_keys_and_mac_keys(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    // The next key is published already.
    app.run(&["key", "rotate", "--yes"]).succeeded();
    app.settle().await;
    let kids = async || {
        let jwks = app.get("/.well-known/jwks.json").await.json();
        jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let known = kids().await;
    assert_eq!(known.len(), 2);
    let refresh = app.sign_in(&client).await.refresh_token();
    let macs = app.database.texts("SELECT sealed FROM mac_keys").await;

    let database = Arc::clone(&app.database);
    let running = tokio::task::spawn_blocking(move || reseal(&database, &["--compromised"]));
    while !running.is_finished() {
        // The clock of the server stays near that of the command.
        tokio::time::sleep(Duration::from_millis(250)).await;
        app.settle().await;
        let answer = app.plain_token(&client).await;
        // No key signs for a moment: the new ones begin when the known ones have left the JWKS.
        if answer.status != 503 {
            answer.granted();
        }
    }
    let done = running.await.unwrap().json();
    app.settle().await;

    let withdrawn: BTreeSet<String> =
        done["signing_keys_withdrawn"].as_array().unwrap().iter().map(|kid| kid.as_str().unwrap().to_owned()).collect();
    assert_eq!((withdrawn, done["logins_ended"].as_u64()), (known.clone(), Some(1)), "{done}");
    let now_known = kids().await;
    assert!(!now_known.is_empty() && now_known.is_disjoint(&known), "{now_known:?}");
    assert!(app.database.texts("SELECT sealed FROM mac_keys").await.iter().all(|mac| !macs.contains(mac)));
    assert_eq!(kids_of_texts(&app.database).await, one(done["sealing_key"].as_str().unwrap()));
    assert_eq!(app.database.texts("SELECT ended_because FROM logins").await, ["key_replaced"]);

    app.refresh(&client, &refresh).await.refused(400, "invalid_grant");
    let signed_in = app.sign_in(&client).await;
    let token = signed_in.granted()["access_token"].as_str().unwrap().to_owned();
    assert!(now_known.contains(header_of(&token)["kid"].as_str().unwrap()));
    app.refresh(&client, &signed_in.refresh_token()).await.granted();
}
