//! `sealwright client add-key` and `drop-key`, and clients that are created with a key.

use std::fs;

use serde_json::json;

use crate::support::{Answer, AppKey, Backend, TestApp, assertion_claims, by_assertion, on_both_databases, on_sqlite};

on_both_databases![
    pk2_a_key_is_added_shown_and_dropped,
    a_client_is_created_with_a_new_key_and_no_secret,
    the_last_credential_of_a_client_is_dropped_only_with_an_option,
];

on_sqlite![pk2_a_file_that_is_not_a_public_key_is_refused, a_private_key_is_written_only_if_its_public_half_is_stored];

const CREATE: [&str; 5] = ["create", "billing", "--grant", "client_credentials", "--allow=https://orders.example=orders:read"];

fn client(words: &[&'static str], more: &[&str]) -> Vec<String> {
    std::iter::once("client").chain(words.iter().copied()).chain(more.iter().copied()).map(str::to_owned).collect()
}

fn run_json(app: &TestApp, arguments: &[String]) -> serde_json::Value {
    app.run_json(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

async fn pk2_a_key_is_added_shown_and_dropped(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.client("billing");
    let (first, second) = (AppKey::new("RS256"), AppKey::new("ES256"));
    let file = |name: &str, text: &str| {
        let path = app.database.folder().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let pem = file("first.pem", &first.public_pem());
    let shown = app.run_json(&["client", "add-key", "billing", &pem, "--alg", "PS256", "--kid", "2026-12", "--expires-in", "30days"]);
    assert_eq!(shown["auth_methods"], json!(["client_secret_basic", "client_secret_post", "private_key_jwt"]));
    let key = &shown["keys"][0];
    assert_eq!((&key["kid"], &key["algorithm"], &key["thumbprint"]), (&json!("2026-12"), &json!("PS256"), &json!(first.kid())));
    assert_eq!((&key["live"], &key["last_used_at"]), (&json!(true), &json!(null)));
    assert!(key["expires_at"].is_string());

    let mut jwk: serde_json::Value = serde_json::from_str(&second.public().to_json()).unwrap();
    jwk["kid"] = json!("-second");
    let jwk = file("second.json", &jwk.to_string());
    app.run(&["client", "add-key", "billing", &jwk]).succeeded();
    app.run(&["client", "add-key", "billing", &jwk, "--kid", "other"]).failed_saying(&["has this key already, as -second for ES256"]);
    // The same key again gets another end.
    let moved = app.run_json(&["client", "add-key", "billing", &jwk, "--expires-in", "10days"]);
    assert_eq!(moved["keys"].as_array().unwrap().len(), 2);
    assert!(moved["keys"][1]["expires_at"].is_string(), "{moved}");
    for (within, found) in [("20days", 1), ("5days", 0)] {
        assert_eq!(app.run_json(&["client", "list", "--expires-within", within]).as_array().unwrap().len(), found, "{within}");
    }
    app.run(&["client", "add-key", "billing", &file("third.pem", &AppKey::new("ES256").public_pem()), "--kid=-second"])
        .failed_saying(&["another key with the id -second", "--kid"]);
    app.run(&["client", "add-key", "unknown", &jwk]).failed_saying(&["there is no client unknown"]);
    let table = app.run(&["client", "show", "billing"]).succeeded().stdout;
    assert!(table.contains("2026-12") && table.contains("PS256") && table.contains("-second") && table.contains("ES256"), "{table}");
    let table = app.run(&["client", "list"]).succeeded().stdout;
    assert!(table.lines().next().unwrap().contains("KEYS"), "{table}");

    app.run(&["client", "drop-key", "billing", "unknown", "--yes"]).failed_saying(&["there is no key unknown of the client billing"]);
    let dropped = app.run(&["client", "drop-key", "billing", "2026-12", "--yes"]).succeeded();
    assert!(dropped.stderr.contains("valid until they expire") && dropped.stderr.contains("have the private key"), "{}", dropped.stderr);
    app.run(&["client", "drop-key", "billing", "--yes", "--", "-second"]).succeeded();
    assert_eq!(app.run_json(&["client", "show", "billing"])["keys"], json!([]));
    let changes = app.database.texts("SELECT action || ' ' || target FROM changes WHERE action LIKE 'client._%_key' ORDER BY n").await;
    let expected = [
        "client.add_key billing 2026-12",
        "client.add_key billing -second",
        "client.add_key billing -second",
        "client.drop_key billing 2026-12",
        "client.drop_key billing -second",
    ];
    assert_eq!(changes, expected);
    for number in 0..8 {
        app.database.add_key("billing", AppKey::new(if number == 0 { "Ed25519" } else { "ES256" }).public(), None);
    }
    app.run(&["client", "add-key", "billing", &pem]).failed_saying(&["has 8 keys, the maximum: drop one first"]);
}

async fn a_client_is_created_with_a_new_key_and_no_secret(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let new_file = |name: &str| app.database.folder().join(name);
    let path = new_file("first.pem");
    let created = run_json(&app, &client(&CREATE, &["--key", path.to_str().unwrap()]));
    assert_eq!((&created["auth_methods"], &created["secrets"]), (&json!(["private_key_jwt"]), &json!([])));
    assert!(created.get("secret").is_none(), "{created}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let mut files = vec![("ES256", path)];
    for algorithm in ["ES256", "RS256", "PS256", "Ed25519"] {
        let path = new_file(algorithm);
        app.run(&["client", "add-key", "billing", path.to_str().unwrap(), "--generate", "--alg", algorithm]).succeeded();
        files.push((algorithm, path));
    }
    app.settle().await;
    let shown = app.run_json(&["client", "show", "billing"]);
    let known: Vec<_> = shown["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect();
    for (number, (algorithm, path)) in files.into_iter().enumerate() {
        let key = AppKey::from_pem(algorithm, &fs::read(&path).unwrap());
        assert!(known.contains(&json!(key.kid())), "{algorithm}: {shown}");
        let assertion = key.assertion(&assertion_claims("billing", &app.issuer, app.now().seconds(), &number.to_string()));
        Answer::to(app.token_request(&format!("grant_type=client_credentials&{}", by_assertion(&assertion)))).await.granted();
    }
    app.run(&["client", "delete", "billing", "--yes"]).succeeded();
    // The app's owner has made the key.
    let key = AppKey::new("ES256");
    let path = app.database.folder().join("public.pem");
    fs::write(&path, key.public_pem()).unwrap();
    let created = run_json(&app, &client(&CREATE, &["--public-key", path.to_str().unwrap(), "--expires-in", "1day"]));
    assert_eq!(created["keys"][0]["kid"], json!(key.kid()));
    assert!(created["keys"][0]["expires_at"].is_string());
    // A secret would be of no use until a method allows it.
    app.run(&["client", "add-secret", "billing"]).failed_saying(&["private_key_jwt alone", "--auth-method METHOD"]);
    let both = ["client", "update", "billing", "--auth-method", "client_secret_basic", "--auth-method", "private_key_jwt"];
    app.run(&both).succeeded();
    let secret = app.run_json(&["client", "add-secret", "billing"])["secret"]["value"].as_str().unwrap().to_owned();
    app.settle().await;
    let by_secret = app.token_request("grant_type=client_credentials").basic_auth("billing", Some(secret));
    Answer::to(by_secret).await.granted();
}

async fn the_last_credential_of_a_client_is_dropped_only_with_an_option(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let secret = app.client("billing").secret[3..19].to_owned();
    let key = AppKey::new("ES256");
    app.database.add_key("billing", key.public(), None);
    app.run(&["client", "drop-secret", "billing", &secret, "--yes"]).succeeded();
    let last = format!("without the key {}, the client billing could not authenticate", key.kid());
    app.run(&["client", "drop-key", "billing", &key.kid(), "--yes"]).failed_saying(&[&last, "client add-key billing", "--last"]);
    assert_eq!(app.run_json(&["client", "show", "billing"])["keys"].as_array().unwrap().len(), 1);
    app.run(&["client", "drop-key", "billing", &key.kid(), "--last", "--yes"]).succeeded();
    // A secret that the methods do not allow is none by which it could authenticate.
    app.database.add_key("billing", key.public(), None);
    app.run(&["client", "add-secret", "billing"]).succeeded();
    app.run(&["client", "update", "billing", "--auth-method", "private_key_jwt"]).succeeded();
    app.run(&["client", "drop-key", "billing", &key.kid(), "--yes"]).failed_saying(&["could not authenticate"]);
    // Neither is a method for which it has nothing.
    app.client("shop");
    let by_key = ["client", "update", "shop", "--auth-method", "private_key_jwt"];
    app.run(&by_key).failed_saying(&["by private_key_jwt alone, the client shop could not authenticate with what it has"]);
    assert_eq!(app.run_json(&["client", "show", "shop"])["auth_methods"], json!(["client_secret_basic", "client_secret_post"]));
}

async fn pk2_a_file_that_is_not_a_public_key_is_refused(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.client("billing");
    let file = |text: &str| {
        let path = app.database.folder().join("key");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let private = app.database.folder().join("private.pem").to_str().unwrap().to_owned();
    app.run(&["client", "add-key", "billing", &private, "--generate"]).succeeded();
    let key = AppKey::new("ES256");
    for (path, why) in [
        (private.clone(), "it is a private key, which the server must not see"),
        (file(""), "it is neither a JWK nor a public key or certificate in PEM"),
        (private.replace("private.pem", "missing"), "cannot be read"),
    ] {
        app.run(&["client", "add-key", "billing", &path]).failed_saying(&[why]);
        app.run(&["client", "create", "new", "--public-key", &path]).failed_saying(&[why]);
    }
    app.run(&["client", "add-key", "billing", &file(&key.public_pem()), "--alg", "RS256"])
        .failed_saying(&["a key of this type is not for RS256"]);
    let both = ["client", "create", "new", "--public-key", &file(&key.public_pem()), "--auth-method", "client_secret_basic"];
    app.run(&both).failed_saying(&["with client_secret_basic alone, the client could not authenticate: its key is for private_key_jwt"]);
    let none = ["client", "create", "new", "--auth-method", "private_key_jwt"];
    app.run(&none).failed_saying(&["its secret is for client_secret_basic and client_secret_post"]);
    assert_eq!(app.run_json(&["client", "list"]).as_array().unwrap().len(), 1);
}

async fn a_private_key_is_written_only_if_its_public_half_is_stored(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.client("billing");
    let path = app.database.folder().join("billing.pem");
    let name = path.to_str().unwrap();
    app.run(&["client", "create", "billing", "--key", name]).failed_saying(&["the client billing already exists"]);
    assert!(!path.exists());
    app.run(&["client", "add-key", "unknown", name, "--generate"]).failed_saying(&["there is no client unknown"]);
    assert!(!path.exists());
    fs::write(&path, "mine").unwrap();
    app.run(&["client", "create", "new", "--key", name]).failed_saying(&[
        "the private key was not written",
        "exists",
        "nothing was changed",
    ]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    assert_eq!(app.run_json(&["client", "list"]).as_array().unwrap().len(), 1);
}
