//! Old rows are deleted as fast as they come, and live ones are not.

use std::time::Duration;

use crate::support::{Backend, TestApp, TestDatabase, on_both_databases};

on_both_databases![
    a_backlog_of_thirty_thousand_old_rows_is_gone_within_minutes_and_live_rows_stay,
    rows_that_grow_old_while_the_server_runs_are_deleted,
    revocations_of_single_tokens_go_when_the_whole_span_is_revoked_and_their_positions_stay_set,
    a_status_list_goes_once_it_was_replaced_and_nothing_is_in_it,
    rows_that_cannot_be_deleted_do_not_stop_those_of_other_kinds,
    hd11_by_a_clock_that_was_set_forward_nothing_is_deleted_for_an_hour,
];

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

async fn count(database: &TestDatabase, from: &str) -> u64 {
    database.texts(&format!("SELECT CAST(COUNT(*) AS TEXT) FROM {from}")).await[0].parse().unwrap()
}

/// Inserts logins with ids that begin with `name`, which had these ends; `ended` is a time or NULL.
async fn logins(database: &TestDatabase, name: &str, number: u32, ended: &str, idle_end: i64, absolute_end: i64) {
    let sql = format!(
        "WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {number})
         INSERT INTO logins (id, sub, client_id, audience, scope, generation, created_at, stepped_at, idle_ends_at, absolute_ends_at, ended_at)
         SELECT '{name}' || i, 'sub', 'shop', 'https://orders.example', 'orders:read', 1, 1, 1, {idle_end}, {absolute_end}, {ended} FROM numbers"
    );
    database.execute(&sql).await;
}

/// Inserts revocations in the list `list`, which end at this time.
async fn revocations(database: &TestDatabase, list: &str, number: u32, end: i64) {
    let sql = format!(
        "WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {number})
         INSERT INTO revocations (epoch, list_id, start, width, revoked_at, expires_at) SELECT 1, '{list}', i, 1, 1, {end} FROM numbers"
    );
    database.execute(&sql).await;
}

async fn span(database: &TestDatabase, list: &str, start: i64, end: &str) {
    let sql = format!(
        "INSERT INTO status_spans (list_id, start, width, client_id, set_bits, created_at, ends_at)
         VALUES ('{list}', {start}, 256, 'client{start}', 0, 1, {end})"
    );
    database.execute(&sql).await;
}

/// A list of spans of 256 positions whose id begins with `name`, and its id.
async fn list(database: &TestDatabase, name: &str, created_at: i64) -> String {
    let id = format!("{name:A<22}");
    database.execute(&format!("INSERT INTO status_lists (id, width, created_at) VALUES ('{id}', 256, {created_at})")).await;
    id
}

/// A database that a server has used, and the time.
async fn used(backend: Backend) -> (std::sync::Arc<TestDatabase>, i64) {
    let app = TestApp::start(backend).await;
    app.settle().await;
    let now = app.now().seconds();
    (app.stop().await, now)
}

async fn a_backlog_of_thirty_thousand_old_rows_is_gone_within_minutes_and_live_rows_stay(backend: Backend) {
    let (database, now) = used(backend).await;
    let (long_ago, later) = (now - 8 * DAY, now + DAY);
    logins(&database, "ended", 10_000, &long_ago.to_string(), later, later).await;
    logins(&database, "idle", 10_000, "NULL", long_ago, later).await;
    logins(&database, "expired", 10_000, "NULL", later, long_ago).await;
    let week = now - 7 * DAY + HOUR;
    logins(&database, "live ended", 5, &week.to_string(), later, later).await;
    logins(&database, "live idle", 5, "NULL", week, later).await;
    logins(&database, "live", 5, "NULL", later, later).await;
    let lists = [list(&database, "one", now).await, list(&database, "two", now).await];
    revocations(&database, &lists[0], 30_000, now - 20 * MINUTE).await;
    revocations(&database, &lists[1], 5, now + 2 * DAY).await;
    for start in 0..3 {
        span(&database, &lists[0], start * 256, &(now - 20 * MINUTE).to_string()).await;
    }
    span(&database, &lists[1], 0, &(now + 2 * DAY).to_string()).await;
    span(&database, &lists[1], 256, "NULL").await;
    let epochs = "SELECT kind || n FROM epochs WHERE kind IN ('registry', 'keys', 'revocations') ORDER BY kind";
    let before = database.texts(epochs).await;

    let app = TestApp::start_with(database, &[]).await;
    // Even if each round deletes a single batch.
    const ROUNDS: u32 = 45;
    for round in 0.. {
        let old = count(&app.database, "logins WHERE id NOT LIKE 'live%'").await
            + count(&app.database, &format!("revocations WHERE expires_at < {now}")).await;
        if old == 0 {
            break;
        }
        assert!(round < ROUNDS, "{old} are left after {round} rounds");
        app.pass(Duration::from_secs(10)).await;
    }
    assert_eq!(count(&app.database, "logins").await, 15);
    assert_eq!(count(&app.database, "revocations").await, 5);
    assert_eq!(count(&app.database, "status_spans").await, 2);
    assert_eq!(app.database.texts(epochs).await, before, "no node reads anything again");
}

async fn rows_that_grow_old_while_the_server_runs_are_deleted(backend: Backend) {
    let app = TestApp::start(backend).await;
    let list = list(&app.database, "one", app.now().seconds()).await;
    revocations(&app.database, &list, 3, app.now().seconds() + 5 * MINUTE).await;
    span(&app.database, &list, 0, &(app.now().seconds() + 5 * MINUTE).to_string()).await;
    app.pass(Duration::from_secs(14 * 60 + 50)).await;
    app.pass(Duration::from_secs(10)).await;
    assert_eq!(
        (count(&app.database, "revocations").await, count(&app.database, "status_spans").await),
        (3, 1),
        "ten minutes after their end"
    );
    for _ in 0..7 {
        app.pass(Duration::from_secs(10)).await;
    }
    assert_eq!((count(&app.database, "revocations").await, count(&app.database, "status_spans").await), (0, 0));
}

async fn revocations_of_single_tokens_go_when_the_whole_span_is_revoked_and_their_positions_stay_set(backend: Backend) {
    const WIDEST: i64 = 65_536;
    let (database, now) = used(backend).await;
    let (end, revoked_at) = (now + DAY, now - 2 * MINUTE);
    let lists = [list(&database, "one", now).await, list(&database, "two", now).await];
    for list in &lists {
        revocations(&database, list, 3000, end).await;
    }
    for (list, client, revoked_at) in [(&lists[0], "one", revoked_at.to_string()), (&lists[1], "two", "NULL".to_owned())] {
        let span = format!(
            "INSERT INTO status_spans (list_id, start, width, client_id, set_bits, created_at, revoked_at, ends_at)
             VALUES ('{list}', 0, {WIDEST}, '{client}', 3000, 1, {revoked_at}, {end})"
        );
        database.execute(&span).await;
    }
    let whole = format!("INSERT INTO revocations VALUES (1, '{}', 0, {WIDEST}, {revoked_at}, {end})", lists[0]);
    database.execute(&whole).await;
    let app = TestApp::start_with(database, &[]).await;
    for _ in 0..10 {
        app.pass(Duration::from_secs(10)).await;
    }
    let left = app.database.texts("SELECT CAST(COUNT(*) AS TEXT) FROM revocations GROUP BY list_id ORDER BY list_id").await;
    assert_eq!(left, ["1", "3000"]);
    for app in [app.second_node().await, app] {
        let shown = format!("sealwright_positions_revoked {}", WIDEST + 3000);
        let metrics = app.metrics().await;
        assert!(metrics.lines().any(|line| line == shown), "{metrics}");
    }
}

async fn a_status_list_goes_once_it_was_replaced_and_nothing_is_in_it(backend: Backend) {
    let (database, now) = used(backend).await;
    let old = now - 30 * HOUR;
    let [empty, used_by_span, used_by_login, revoked] = [
        list(&database, "a", old).await,
        list(&database, "b", old).await,
        list(&database, "c", old).await,
        list(&database, "d", old).await,
    ];
    let replaced = list(&database, "e", now - 26 * HOUR).await;
    let newest = list(&database, "f", now - 24 * HOUR).await;
    span(&database, &used_by_span, 0, "NULL").await;
    logins(&database, "live", 1, "NULL", now + DAY, now + DAY).await;
    database.execute(&format!("UPDATE logins SET status_list = '{used_by_login}', status_index = 7")).await;
    revocations(&database, &revoked, 1, now + DAY).await;
    let app = TestApp::start_with(database, &[]).await;
    for _ in 0..7 {
        app.pass(Duration::from_secs(10)).await;
    }
    let left = app.database.texts("SELECT id FROM status_lists WHERE width = 256 ORDER BY id").await;
    assert_eq!(left, [used_by_span.as_str(), &used_by_login, &revoked, &replaced, &newest], "and not {empty}");
    // The list after it is as old then.
    app.pass(Duration::from_secs(90 * 60)).await;
    app.pass(Duration::from_secs(10)).await;
    let left = app.database.texts("SELECT id FROM status_lists WHERE width = 256 ORDER BY id").await;
    assert_eq!(left, [used_by_span.as_str(), &used_by_login, &revoked, &newest]);
}

async fn rows_that_cannot_be_deleted_do_not_stop_those_of_other_kinds(backend: Backend) {
    let (database, now) = used(backend).await;
    let list = list(&database, "one", now).await;
    revocations(&database, &list, 3, now - HOUR).await;
    span(&database, &list, 0, &(now - HOUR).to_string()).await;
    database.execute("ALTER TABLE logins RENAME TO logins_gone").await;
    let app = TestApp::start_with(database, &[]).await;
    for _ in 0..7 {
        app.pass(Duration::from_secs(10)).await;
    }
    assert_eq!((count(&app.database, "revocations").await, count(&app.database, "status_spans").await), (0, 0));
}

async fn hd11_by_a_clock_that_was_set_forward_nothing_is_deleted_for_an_hour(backend: Backend) {
    let app = TestApp::start(backend).await;
    let list = list(&app.database, "one", app.now().seconds()).await;
    revocations(&app.database, &list, 3, app.now().seconds() + DAY).await;
    app.pass(Duration::from_secs(10)).await;
    app.clock.set_forward(Duration::from_secs(2 * 24 * 3600));
    for _ in 0..58 {
        app.pass(Duration::from_secs(60)).await;
    }
    assert_eq!(count(&app.database, "revocations").await, 3);
    for _ in 0..4 {
        app.pass(Duration::from_secs(60)).await;
    }
    assert_eq!(count(&app.database, "revocations").await, 0);
}
