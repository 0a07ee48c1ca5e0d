//! Signing keys are replaced without a verifier noticing.

use std::time::Duration;

use sealwright::{protocol::Algorithm, server::commands::ResourceChange};

use crate::support::{Backend, ORDERS, TestApp, header_of, kids, on_both_databases, on_sqlite, signing};

on_both_databases![
    jk2_the_next_key_is_published_for_a_day_before_it_signs,
    jk3_an_old_key_is_published_until_its_last_token_has_expired_and_its_row_is_deleted_a_week_later,
    two_nodes_that_rotate_at_the_same_time_create_one_key,
    ky1_a_node_that_sees_a_key_of_the_future_does_not_start_and_changes_nothing,
    ky1_a_node_whose_clock_is_a_day_behind_does_not_start_beside_one_that_is_alive,
    ky1_a_clock_that_was_ahead_once_refuses_no_start,
    ky1_a_node_whose_clock_was_set_changes_no_key_and_says_so,
    ky2_tokens_are_not_signed_with_another_algorithm_while_a_key_is_lost,
    ky2_a_key_that_was_revoked_with_a_time_in_the_future_signs_no_more,
    ky3_a_node_that_cannot_read_the_keys_lets_verifiers_cache_them_for_a_minute,
];

on_sqlite![ky2_damage_to_the_only_key_is_healed_by_the_next_start];

const DAY: Duration = Duration::from_secs(24 * 3600);
const SECOND: Duration = Duration::from_secs(1);

/// Lets time pass until the rotation has looked at the keys and the node has read the result.
async fn look(app: &TestApp) {
    app.pass(5 * SECOND).await;
    app.settle().await;
}

async fn metric(app: &TestApp, name: &str) -> String {
    let metrics = app.metrics().await;
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap().to_owned()
}

async fn jk2_the_next_key_is_published_for_a_day_before_it_signs(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let first = kids(&app).await;
    app.pass(29 * DAY - 10 * SECOND).await;
    look(&app).await;
    assert_eq!(kids(&app).await, first);
    look(&app).await;
    let both = kids(&app).await;
    assert!(both.len() == 2 && both.contains(&first[0]), "{both:?}");
    assert_eq!(app.get("/.well-known/jwks.json").await.header("cache-control"), Some("public, max-age=3600"));

    app.pass(DAY - 10 * SECOND).await;
    assert_eq!(signing(&app, &client).await, first[0], "it signs until its successor does");
    app.pass(10 * SECOND).await;
    assert_eq!(signing(&app, &client).await, both[0], "the newest is first");
    assert_ne!(first[0], both[0]);
    let listed = app.run_json(&["key", "list"]);
    let states: Vec<_> = listed.as_array().unwrap().iter().map(|key| key["alg"].as_str().unwrap()).collect();
    assert_eq!(states, ["RS256", "RS256"]);
}

async fn jk3_an_old_key_is_published_until_its_last_token_has_expired_and_its_row_is_deleted_a_week_later(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.pass(29 * DAY).await;
    look(&app).await;
    let both = kids(&app).await;
    app.pass(DAY).await;
    // The longest lifetime of a token, the longest leeway, and twice the skew.
    app.pass(DAY + 300 * SECOND + 110 * SECOND).await;
    assert_eq!(kids(&app).await, both);
    app.pass(15 * SECOND).await;
    assert_eq!(kids(&app).await, both[..1]);
    let rows = async || app.database.texts("SELECT kid FROM signing_keys").await.len();
    app.pass(7 * DAY - 60 * SECOND).await;
    look(&app).await;
    assert_eq!(rows().await, 2);
    app.pass(60 * SECOND).await;
    look(&app).await;
    assert_eq!(rows().await, 1);
    assert_eq!(app.database.texts("SELECT target FROM changes WHERE action = 'key.delete'").await, both[1..]);
}

async fn two_nodes_that_rotate_at_the_same_time_create_one_key(backend: Backend) {
    let app = TestApp::start(backend).await;
    let second = app.second_node().await;
    app.clock.advance(29 * DAY);
    second.clock.advance(29 * DAY);
    for node in [&app, &second] {
        node.settle().await;
    }
    for node in [&app, &second] {
        look(node).await;
    }
    let keys = kids(&app).await;
    assert_eq!(keys.len(), 2);
    assert_eq!(kids(&second).await, keys);
}

async fn ky1_a_node_that_sees_a_key_of_the_future_does_not_start_and_changes_nothing(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let before = kids(&app).await;
    let why = app.second_node_refused(Duration::from_secs(90 * 60)).await;
    assert!(why.contains("a signing key was published at") && why.contains("set this clock"), "{why}");
    look(&app).await;
    assert_eq!(kids(&app).await, before);
    assert_eq!(app.database.texts("SELECT kid FROM signing_keys").await, before);
    assert_eq!(signing(&app, &client).await, before[0]);
    app.second_node_behind(Duration::from_secs(110)).await;
}

async fn ky1_a_node_whose_clock_is_a_day_behind_does_not_start_beside_one_that_is_alive(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    app.pass(10 * DAY).await;
    let before = kids(&app).await;
    let why = app.second_node_refused(DAY).await;
    assert!(why.contains("another server is alive") && why.contains("set the clock that is wrong"), "{why}");
    look(&app).await;
    assert_eq!((kids(&app).await, signing(&app, &client).await), (before.clone(), before[0].clone()));
    assert_eq!(app.database.texts("SELECT kid FROM signing_keys").await, before);
}

async fn ky1_a_clock_that_was_ahead_once_refuses_no_start(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.database.execute("UPDATE epochs SET n = 4000000000 WHERE kind = 'heartbeat'").await;
    app.start_behind(Duration::ZERO).await.unwrap();
}

async fn ky1_a_node_whose_clock_was_set_changes_no_key_and_says_so(backend: Backend) {
    let app = TestApp::start(backend).await;
    let before = kids(&app).await;
    look(&app).await;
    assert_eq!(metric(&app, "sealwright_key_rotation_paused").await, "0");
    app.clock.set_forward(29 * DAY);
    look(&app).await;
    assert_eq!((kids(&app).await, metric(&app, "sealwright_key_rotation_paused").await), (before.clone(), "1".to_owned()));
    // The clock was wrong. Until it is right on every node, none changes a key.
    app.clock.set_back(29 * DAY);
    look(&app).await;
    assert_eq!((kids(&app).await, metric(&app, "sealwright_key_rotation_paused").await), (before, "1".to_owned()));
}

async fn ky2_tokens_are_not_signed_with_another_algorithm_while_a_key_is_lost(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let algorithm = async |app: &TestApp| {
        let token = app.plain_token(&client).await.granted();
        header_of(token["access_token"].as_str().unwrap())["alg"].as_str().unwrap().to_owned()
    };
    app.database.update_resource(ORDERS, ResourceChange { algorithm: Some(Algorithm::Es256), ..ResourceChange::default() });
    app.settle().await;
    assert_eq!(algorithm(&app).await, "RS256", "until there is a key");
    look(&app).await;
    app.pass(30 * SECOND).await;
    assert_eq!(algorithm(&app).await, "ES256");

    app.database.execute("UPDATE signing_keys SET sealed = 'damaged' WHERE algorithm = 'ES256'").await;
    let app = app.restart().await;
    app.plain_token(&client).await.refused(503, "temporarily_unavailable");
    app.pass(30 * SECOND).await;
    assert_eq!(algorithm(&app).await, "ES256");
}

async fn ky2_a_key_that_was_revoked_with_a_time_in_the_future_signs_no_more(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let first = kids(&app).await;
    app.database.execute("UPDATE signing_keys SET revoked_at = 4000000000").await;
    app.database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'keys'").await;
    app.settle().await;
    assert_eq!(kids(&app).await, [""; 0]);
    look(&app).await;
    app.pass(30 * SECOND).await;
    let second = kids(&app).await;
    assert!(second.len() == 1 && second != first);
    assert_eq!(signing(&app, &client).await, second[0]);
}

async fn ky2_damage_to_the_only_key_is_healed_by_the_next_start(backend: Backend) {
    for damage in
        ["published_at = 'x'", "activates_at = 'x'", "algorithm = 'x'", "algorithm = 'ES256'", "sealed = x'00'", "public_jwk = x'00'"]
    {
        let app = TestApp::start(backend).await.with_orders();
        let client = app.client("billing");
        let first = kids(&app).await;
        app.database.execute(&format!("UPDATE signing_keys SET {damage}")).await;
        app.database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'keys'").await;
        look(&app).await;
        assert_eq!(signing(&app, &client).await, first[0], "{damage}: an open key is kept");
        assert_eq!(metric(&app, "sealwright_signing_keys_quarantined").await, "1", "{damage}");
        let both = kids(&app).await;
        assert!(both.len() == 2 && both[1] == first[0], "{damage}: its successor is published: {both:?}");
        let check = app.run(&["check"]);
        assert!(check.stdout.contains("1 of 2 are damaged"), "{damage}: {check:?}");

        let app = TestApp::start_with(app.stop().await, &[]).await;
        app.pass(30 * SECOND).await;
        assert_eq!(kids(&app).await, both[..1], "{damage}");
        assert_eq!(signing(&app, &client).await, both[0], "{damage}: it signs early");
        let check = app.run(&["check"]);
        assert!(check.stdout.contains("1 of 2 are damaged"), "{damage}: {check:?}");
    }
}

async fn ky3_a_node_that_cannot_read_the_keys_lets_verifiers_cache_them_for_a_minute(backend: Backend) {
    let app = TestApp::start(backend).await;
    let max_age = async || app.get("/.well-known/jwks.json").await.header("cache-control").unwrap().to_owned();
    app.database.execute("ALTER TABLE epochs RENAME TO epochs_gone").await;
    app.pass(60 * SECOND).await;
    assert_eq!(max_age().await, "public, max-age=3600");
    app.pass(SECOND).await;
    assert_eq!(max_age().await, "public, max-age=60");
    // A day of lead, minus two minutes for clocks that differ, minus what has passed.
    app.pass(DAY - 121 * SECOND - 61 * SECOND).await;
    assert_eq!(max_age().await, "public, max-age=1");
    app.database.execute("ALTER TABLE epochs_gone RENAME TO epochs").await;
    app.settle().await;
    assert_eq!(max_age().await, "public, max-age=3600");
}
