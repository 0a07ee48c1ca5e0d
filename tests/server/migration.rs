//! The step from the version without revocation, while that version runs.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use crate::support::{Backend, Credential, TestApp, TestDatabase, on_both_databases, on_database};

on_both_databases![a_login_of_the_version_before_goes_on_with_tokens_that_can_be_revoked];

// SQLite has one writer at a time.
on_database!(
    on_postgres,
    Postgres,
    a_migration_and_a_sign_in_that_is_in_progress_do_not_wait_for_each_other,
    a_migration_that_waits_for_a_table_does_not_stop_the_requests_that_need_another
);

/// What the migration added, in the reverse order.
const UNDO: [&str; 14] = [
    "DROP TABLE revocations",
    "DROP TABLE withdrawals",
    "DROP TABLE status_spans",
    "DROP TABLE status_lists",
    "DROP INDEX logins_open_by_client",
    "DROP INDEX logins_by_status",
    "ALTER TABLE logins DROP COLUMN rights_since",
    "ALTER TABLE logins DROP COLUMN tokens_end_at",
    "ALTER TABLE logins DROP COLUMN status_index",
    "ALTER TABLE logins DROP COLUMN status_list",
    "ALTER TABLE clients DROP COLUMN tokens_since",
    "ALTER TABLE users DROP COLUMN tokens_since",
    "DELETE FROM epochs WHERE kind = 'withdrawals'",
    "DELETE FROM _sqlx_migrations WHERE version = 10",
];

/// A database of the version before, with the app `shop` and a login of `alice`; the app's secret and the refresh token.
async fn of_the_version_before(backend: Backend) -> (Arc<TestDatabase>, Credential, String) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("status_lists", "false")]).await.with_orders();
    let shop = app.app_for_users("shop");
    app.user("alice");
    let token = app.sign_in(&shop).await.refresh_token();
    let database = app.stop().await;
    for statement in UNDO {
        database.execute(statement).await;
    }
    (database, shop, token)
}

/// Waits until a migration waits for a lock.
async fn until_it_waits(database: &TestDatabase) {
    const LOCK_WAITS: &str =
        "SELECT CAST(COUNT(*) AS TEXT) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while database.texts(LOCK_WAITS).await == ["0"] {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn a_login_of_the_version_before_goes_on_with_tokens_that_can_be_revoked(backend: Backend) {
    let (database, shop, token) = of_the_version_before(backend).await;
    let app = TestApp::start_with(database, &[]).await;
    let api = app.api("orders-api").await;
    let refreshed = app.refresh(&shop, &token).await;
    assert_ne!(refreshed.claims()["status"], Value::Null);
    assert!(app.is_active(&api, &refreshed.access_token()).await);
    app.run(&["client", "update", "shop", "--allow", "https://orders.example=orders:read"]).succeeded();
    assert!(!app.is_active(&api, &refreshed.access_token()).await);
    app.settle().await;
    let refreshed = app.refresh(&shop, &refreshed.refresh_token()).await;
    assert!(app.is_active(&api, &refreshed.access_token()).await);
    app.run(&["user", "disable", "alice"]).succeeded();
    app.refresh(&shop, &refreshed.refresh_token()).await.refused(400, "invalid_grant");
}

async fn a_migration_and_a_sign_in_that_is_in_progress_do_not_wait_for_each_other(backend: Backend) {
    let (database, shop, token) = of_the_version_before(backend).await;
    let mut sign_in = database.lock("UPDATE users SET signed_in_at = 1").await;
    let sign_in = async {
        until_it_waits(&database).await;
        sign_in.execute("UPDATE clients SET disabled_at = NULL").await;
        sign_in.execute("UPDATE logins SET stepped_at = stepped_at").await;
        sign_in.release().await;
    };
    let (app, ()) = tokio::join!(TestApp::start_with(Arc::clone(&database), &[]), sign_in);
    app.refresh(&shop, &token).await.granted();
    let deadlocks = "SELECT CAST(deadlocks AS TEXT) FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(app.database.texts(deadlocks).await, ["0"]);
}

async fn a_migration_that_waits_for_a_table_does_not_stop_the_requests_that_need_another(backend: Backend) {
    let (database, shop, token) = of_the_version_before(backend).await;
    // As a backup does for minutes.
    let reading = database.lock("SELECT id FROM clients").await;
    let users = async {
        until_it_waits(&database).await;
        let users = database.texts("SELECT username FROM users").await;
        reading.release().await;
        users
    };
    let (app, users) = tokio::join!(TestApp::start_with(Arc::clone(&database), &[]), users);
    assert_eq!(users, ["alice"]);
    app.refresh(&shop, &token).await.granted();
}
