//! Faults of the server, as callers see them.

use std::time::Duration;

use crate::support::{Backend, Process, TestApp, TestDatabase, command_on, kids, on_both_databases};

on_both_databases![
    ad9_a_fault_of_the_server_shows_the_caller_a_request_id_and_nothing_else,
    without_a_database_cached_clients_are_served_for_ten_seconds_and_keys_without_a_limit,
    a_damaged_key_row_is_skipped_and_a_new_key_signs,
    a_key_row_whose_public_key_is_damaged_is_skipped_and_a_new_key_signs,
    write_access_to_the_database_is_not_enough_to_publish_a_key,
    a_client_stays_disabled_when_the_database_was_set_back,
    a_slow_write_of_last_use_delays_no_change,
    two_key_rows_whose_sealed_texts_were_swapped_do_not_open,
];

async fn ad9_a_fault_of_the_server_shows_the_caller_a_request_id_and_nothing_else(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let (damaged, fresh) = (app.client("damaged"), app.client("fresh"));
    app.database.execute("UPDATE clients SET grants = 'no_such_grant' WHERE id = 'damaged'").await;
    let broken = app.plain_token(&damaged).await;
    broken.refused(500, "server_error");
    app.database.execute("ALTER TABLE clients RENAME TO clients_gone").await;
    let unavailable = app.plain_token(&fresh).await;
    unavailable.refused(503, "temporarily_unavailable");
    for answer in [&broken, &unavailable] {
        let id = answer.header("x-request-id").unwrap();
        assert!(answer.json()["error_description"].as_str().unwrap().contains(id), "{answer:?}");
        let shown = format!("{}{:?}", answer.body, answer.headers).to_lowercase();
        let folder = app.database.folder().display().to_string();
        for hidden in [
            "select",
            "clients",
            "sqlite",
            "sqlx",
            "postgres",
            "no_such_grant",
            env!("CARGO_PKG_VERSION"),
            "sealwright.db",
            "panic",
            "rust",
            "hyper",
            &folder,
        ] {
            assert!(!shown.contains(&hidden.to_lowercase()), "{hidden} is in {shown}");
        }
    }
}

async fn without_a_database_cached_clients_are_served_for_ten_seconds_and_keys_without_a_limit(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let (known, unknown) = (app.client("known"), app.client("unknown"));
    app.settle().await;
    app.plain_token(&known).await.granted();
    app.database.execute("ALTER TABLE epochs RENAME TO epochs_gone").await;
    app.database.execute("ALTER TABLE clients RENAME TO clients_gone").await;

    app.clock.advance(Duration::from_secs(10));
    app.plain_token(&known).await.granted();
    app.plain_token(&unknown).await.refused(503, "temporarily_unavailable");
    app.clock.advance(Duration::from_secs(1));
    let answer = app.plain_token(&known).await;
    answer.refused(503, "temporarily_unavailable");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(app.get("/.well-known/jwks.json").await.status, 200);
    assert_eq!(app.get("/.well-known/oauth-authorization-server").await.status, 200);

    app.database.execute("ALTER TABLE clients_gone RENAME TO clients").await;
    app.database.execute("ALTER TABLE epochs_gone RENAME TO epochs").await;
    app.settle().await;
    app.plain_token(&known).await.granted();
    app.plain_token(&unknown).await.granted();
}

async fn a_damaged_key_row_is_skipped_and_a_new_key_signs(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let first = app.get("/.well-known/jwks.json").await.json()["keys"][0]["kid"].as_str().unwrap().to_owned();
    let database = app.stop().await;
    // One character of the ciphertext is changed: the canary opens, and this key does not.
    let sealed = database.texts("SELECT sealed FROM signing_keys").await.remove(0);
    let at = sealed.len() / 2;
    let other = if &sealed[at..=at] == "A" { "B" } else { "A" };
    database.execute(&format!("UPDATE signing_keys SET sealed = '{}{other}{}'", &sealed[..at], &sealed[at + 1..])).await;

    let app = TestApp::start_with(database, &[]).await;
    app.pass(Duration::from_secs(30)).await;
    let token = app.plain_token(&client).await.granted();
    let kid = crate::support::header_of(token["access_token"].as_str().unwrap())["kid"].as_str().unwrap().to_owned();
    assert_ne!(kid, first);
    assert_eq!(kids(&app).await, [kid], "a key that does not open is not published");
    let check = app.run(&["check"]);
    assert!(!check.status.success() && check.stdout.contains("1 of 2 are damaged"), "{check:?}");
}

async fn a_key_row_whose_public_key_is_damaged_is_skipped_and_a_new_key_signs(backend: Backend) {
    let mut app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    for damage in [
        "algorithm = 'ES256'",
        "public_jwk = replace(public_jwk, '\"n\":\"', '\"n\":\"BBBB')",
        "public_jwk = replace(public_jwk, '\"n\":\"', '\"n\":\"!')",
        "public_jwk = replace(public_jwk, 'RS256', 'PS256')",
        "public_jwk = 'nothing'",
    ] {
        let before = kids(&app).await;
        app.database.execute(&format!("UPDATE signing_keys SET {damage}")).await;
        app.database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'keys'").await;
        app.settle().await;
        app.plain_token(&client).await.granted();
        assert_eq!(kids(&app).await, before, "{damage}: a key that is open already signs and is published");
        let database = app.stop().await;
        app = TestApp::start_with(database, &[]).await;
        app.pass(Duration::from_secs(30)).await;
        app.plain_token(&client).await.granted();
        let after = kids(&app).await;
        assert!(after.len() == 1 && after != before, "{damage}: {after:?}");
    }
}

async fn write_access_to_the_database_is_not_enough_to_publish_a_key(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let ours = kids(&app).await;
    let insert = "INSERT INTO signing_keys SELECT 'evil', algorithm, 99, public_jwk, 'junk', published_at, activates_at, NULL, NULL, NULL FROM signing_keys";
    app.database.execute(insert).await;
    app.database.execute("UPDATE signing_keys SET sealed = 'damaged' WHERE kid <> 'evil'").await;
    app.database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'keys'").await;
    app.settle().await;
    assert_eq!(kids(&app).await, ours, "and a key that was open goes on");
    app.plain_token(&client).await.granted();
}

async fn two_key_rows_whose_sealed_texts_were_swapped_do_not_open(backend: Backend) {
    // The other text comes from a second database under the same sealing key.
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let sealing_key = std::fs::read_to_string(app.database.keys_dir().join("sealing.key")).unwrap();
    let other = TestDatabase::create(backend).await;
    let mut lender = command_on(&other);
    lender.args(["serve", "--found-new-issuer", "--listen", "127.0.0.1:0"]).env("SEALWRIGHT_SEALING_KEY", &sealing_key);
    Process::spawn(lender).addr().await;
    let foreign = other.texts("SELECT sealed FROM signing_keys").await.remove(0);
    let kid = app.get("/.well-known/jwks.json").await.json()["keys"][0]["kid"].clone();
    let database = app.stop().await;
    database.execute(&format!("UPDATE signing_keys SET sealed = '{foreign}'")).await;

    let app = TestApp::start_with(database, &[]).await;
    app.pass(Duration::from_secs(30)).await;
    let token = app.plain_token(&client).await.granted();
    assert_ne!(crate::support::header_of(token["access_token"].as_str().unwrap())["kid"], kid);
}

async fn a_client_stays_disabled_when_the_database_was_set_back(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    app.settle().await;
    app.plain_token(&client).await.granted();
    // A backup is restored under the running server: the epoch is set back, and the next change returns it to its former value.
    app.database.execute("UPDATE epochs SET n = n - 1 WHERE kind = 'registry'").await;
    // Cached clients are served for ten seconds.
    app.stops_issuing(&client).await;
    app.database.disable_client("billing");
    app.clock.advance(Duration::from_secs(60));
    app.plain_token(&client).await.refused(503, "temporarily_unavailable");
    app.run(&["restored"]).succeeded();
    app.settle().await;
    app.plain_token(&client).await.refused(401, "invalid_client");
}

async fn a_slow_write_of_last_use_delays_no_change(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let (client, other) = (app.client("billing"), app.client("other"));
    app.settle().await;
    app.plain_token(&client).await.granted();
    // Housekeeping waits for this lock until it times out.
    let held = app.database.lock("UPDATE client_secrets SET last_used_at = 1").await;
    app.clock.advance(Duration::from_secs(10));
    if backend == Backend::Postgres {
        app.database.disable_client("other");
    }
    // Not `pass`, which waits for every task.
    let looks = app.meters.epoch_looks.get();
    crate::support::wait_until(|| {
        app.clock.advance(Duration::from_millis(500));
        app.meters.epoch_looks.get() > looks + 1
    })
    .await;
    if backend == Backend::Postgres {
        app.plain_token(&other).await.refused(401, "invalid_client");
    }
    app.plain_token(&client).await.granted();
    assert!(!app.clock.sleepers().contains(&"housekeeping"), "it still waits for the lock");
    held.release().await;
}
