//! The positions of tokens in status lists: no node gives a fresh one to a right that was withdrawn, and what they cost.

use std::time::Duration;

use sealwright::server::commands::{ClientChange, LoginsOf, UserChange};
use tokio::task::JoinHandle;

use crate::support::{Answer, Backend, Credential, SIGN_IN, TestApp, TestDatabase, at_orders, on_both_databases, on_sqlite, position};

on_both_databases![
    a_node_that_has_not_noticed_a_withdrawal_issues_nothing_to_the_client,
    a_node_that_has_not_noticed_a_withdrawal_from_the_client_issues_nothing_for_its_users,
    a_withdrawal_from_a_user_during_refreshes_and_sign_ins_leaves_no_valid_token_with_the_right,
    a_client_made_again_gets_fresh_positions_from_a_node_that_still_knows_the_earlier_one,
    a_damaged_row_of_the_newest_list_does_not_stop_sign_ins,
    sl5_a_client_has_one_row_a_login_none_but_its_own_and_a_token_none,
    a_revocation_by_an_operator_whose_clock_is_behind_lasts_as_long_as_any_other,
    a_heartbeat_of_a_clock_that_was_far_ahead_does_not_make_revocations_last_for_as_long,
];

on_sqlite![a_login_gets_another_position_if_the_first_that_was_chosen_is_taken_meanwhile];

const BOTH: &str = "orders:read orders:write";

fn read_only(app: &TestApp, client: &str) {
    app.database.update_client(client, ClientChange { allow: at_orders("orders:read"), ..ClientChange::default() });
}

/// Has a node read a client, without a token.
async fn know(app: &TestApp, client: &Credential) {
    assert_eq!(app.revoke(client, "token=unknown").await.status, 200);
}

/// Sends a token request, and does not wait for the answer.
pub(crate) fn send(app: &TestApp, client: &Credential, body: &str) -> JoinHandle<Answer> {
    tokio::spawn(Answer::to(app.token_request(body).basic_auth(&client.id, Some(&client.secret))))
}

async fn a_node_that_has_not_noticed_a_withdrawal_issues_nothing_to_the_client(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let second = app.second_node().await;
    know(&second, &client).await;
    read_only(&app, "billing");
    // Its clock stands still: it has not looked yet. There is no span.
    second.plain_token(&client).await.refused(503, "temporarily_unavailable");
    app.settle().await;
    let fresh = app.plain_token(&client).await;
    assert_eq!(fresh.granted()["scope"], "orders:read");
    // Now there is one.
    second.plain_token(&client).await.refused(503, "temporarily_unavailable");
    second.settle().await;
    let other = second.plain_token(&client).await;
    assert_eq!(other.granted()["scope"], "orders:read");
    assert_eq!(app.database.texts("SELECT CAST(COUNT(*) AS TEXT) FROM status_spans").await, ["1"]);
}

async fn a_node_that_has_not_noticed_a_withdrawal_from_the_client_issues_nothing_for_its_users(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let second = app.second_node().await;
    let first = app.sign_in(&shop).await.refresh_token();
    know(&second, &shop).await;
    read_only(&app, "shop");
    second.refresh(&shop, &first).await.refused(503, "temporarily_unavailable");
    app.settle().await;
    let refreshed = app.refresh(&shop, &first).await;
    assert_eq!(refreshed.granted()["scope"], "orders:read");
    // The login has a position again. Neither its current token, nor its previous one, nor a password gets another right there.
    for token in [&refreshed.refresh_token(), &first] {
        second.refresh(&shop, token).await.refused(503, "temporarily_unavailable");
    }
    second.sign_in(&shop).await.refused(503, "temporarily_unavailable");
    second.settle().await;
    for answer in [second.refresh(&shop, &refreshed.refresh_token()).await, second.sign_in(&shop).await] {
        assert_eq!(answer.granted()["scope"], "orders:read");
    }
    assert_eq!(app.database.texts("SELECT id FROM logins WHERE ended_at IS NOT NULL").await, Vec::<String>::new());
}

async fn a_withdrawal_from_a_user_during_refreshes_and_sign_ins_leaves_no_valid_token_with_the_right(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let api = app.api("orders-api").await;
    let allow = |scope: &str| app.database.update_user("alice", UserChange { allow: at_orders(scope), ..UserChange::default() });
    for _ in 0..4 {
        allow(BOTH);
        let token = app.sign_in(&shop).await.refresh_token();
        let refresh = format!("grant_type=refresh_token&refresh_token={token}");
        let mut sent: Vec<_> = (0..12).map(|_| send(&app, &shop, &refresh)).collect();
        sent.extend((0..3).map(|_| send(&app, &shop, &format!("grant_type=password&{SIGN_IN}"))));
        allow("orders:read");
        for answer in sent {
            let answer = answer.await.unwrap();
            if answer.status == 503 {
                continue;
            }
            let withdrawn = answer.granted()["scope"] != "orders:read";
            assert_eq!(app.is_active(&api, &answer.access_token()).await, !withdrawn, "{answer:?}");
        }
        assert_eq!(app.refresh(&shop, &token).await.granted()["scope"], "orders:read");
    }
}

async fn a_client_made_again_gets_fresh_positions_from_a_node_that_still_knows_the_earlier_one(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let earlier = app.client("billing");
    let token = app.plain_token(&earlier).await.access_token();
    app.database.delete_client("billing");
    let again = app.client("billing");
    app.settle().await;
    let fresh = app.plain_token(&again).await.access_token();
    assert_ne!(position(&fresh), position(&token));
    let api = app.api("orders-api").await;
    assert!(app.is_active(&api, &fresh).await);
}

async fn a_login_gets_another_position_if_the_first_that_was_chosen_is_taken_meanwhile(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let token = app.sign_in(&shop).await.refresh_token();
    // The login loses its position.
    read_only(&app, "shop");
    app.settle().await;
    app.database.execute("CREATE TABLE tries (n INTEGER)").await;
    let taken = "CREATE TRIGGER taken BEFORE UPDATE OF status_index ON logins
        WHEN NEW.status_index IS NOT NULL AND NOT EXISTS (SELECT 1 FROM tries)
        BEGIN INSERT INTO tries VALUES (1); SELECT RAISE(IGNORE); END";
    app.database.execute(taken).await;
    let refreshed = app.refresh(&shop, &token).await;
    assert_eq!(refreshed.granted()["scope"], "orders:read");
    assert_eq!(app.database.texts("SELECT CAST(n AS TEXT) FROM tries").await, ["1"]);
    let given = position(&refreshed.access_token()).1;
    assert_eq!(app.database.texts("SELECT CAST(status_index AS TEXT) FROM logins").await, [given.to_string()]);
}

async fn a_damaged_row_of_the_newest_list_does_not_stop_sign_ins(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    app.sign_in(&shop).await.granted();
    app.database.execute("UPDATE status_lists SET id = 'damaged' WHERE width = 1").await;
    let lists: Vec<String> = [app.sign_in(&shop).await, app.sign_in(&shop).await].map(|answer| position(&answer.access_token()).0).into();
    assert_eq!(lists[0], lists[1]);
    assert_eq!(app.database.texts("SELECT CAST(COUNT(*) AS TEXT) FROM status_lists WHERE width = 1").await, ["2"]);
}

async fn sl5_a_client_has_one_row_a_login_none_but_its_own_and_a_token_none(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let clients = ["billing", "stock", "kiosk", "jobs"].map(|id| app.client(id));
    for _ in 0..3 {
        for client in &clients {
            app.plain_token(client).await.granted();
        }
        let mut token = app.sign_in(&shop).await.refresh_token();
        for _ in 0..2 {
            token = app.refresh(&shop, &token).await.refresh_token();
        }
        app.settle().await;
    }
    for (table, rows) in [("status_spans", 4), ("logins", 3), ("status_lists", 2), ("revocations", 0)] {
        let count = app.database.texts(&format!("SELECT CAST(COUNT(*) AS TEXT) FROM {table}")).await;
        assert_eq!(count, [rows.to_string()], "{table}");
    }
}

async fn a_revocation_by_an_operator_whose_clock_is_behind_lasts_as_long_as_any_other(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    for _ in 0..60 {
        app.pass(Duration::from_secs(60)).await;
    }
    app.plain_token(&shop).await.granted();
    app.sign_in(&shop).await.granted();
    let heartbeat = app.database.texts("SELECT CAST(n AS TEXT) FROM epochs WHERE kind = 'heartbeat'").await;
    let heartbeat: i64 = heartbeat[0].parse().unwrap();
    assert!(heartbeat > app.now().seconds() - 300);
    // Commands have the time of this machine, which is an hour earlier than that of the server.
    app.database.disable_client("shop");
    let rows = app.database.texts("SELECT CAST(revoked_at AS TEXT) || ' ' || CAST(expires_at AS TEXT) FROM revocations").await;
    assert_eq!(rows.len(), 2, "of the client, and of the login");
    for row in rows {
        let (revoked_at, expires_at) = row.split_once(' ').unwrap();
        assert!(revoked_at.parse::<i64>().unwrap() >= heartbeat, "{row}");
        assert!(expires_at.parse::<i64>().unwrap() > heartbeat + 24 * 3600, "{row}");
    }
}

async fn a_heartbeat_of_a_clock_that_was_far_ahead_does_not_make_revocations_last_for_as_long(backend: Backend) {
    const DAY: i64 = 24 * 3600;
    let (app, shop) = TestApp::for_users(backend).await;
    app.settle().await;
    app.plain_token(&shop).await.granted();
    app.sign_in(&shop).await.granted();
    let now = app.now().seconds();
    app.database.execute(&format!("UPDATE epochs SET n = {} WHERE kind = 'heartbeat'", now + 365 * DAY)).await;
    app.database.disable_client("shop");
    let ends = app.database.texts("SELECT CAST(expires_at AS TEXT) FROM revocations").await;
    assert_eq!(ends.len(), 2, "of the client, and of the login");
    assert!(ends.iter().all(|end| end.parse::<i64>().unwrap() < now + 3 * DAY), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_revoke_wait_for_each_other_in_one_order_on_postgresql() {
    let settings = [("logins_per_user", "1"), ("status_span", "16")];
    let app = TestApp::start_with(TestDatabase::create(Backend::Postgres).await, &settings).await.with_orders();
    let shop = app.app_for_users("shop");
    app.user("alice");
    for _ in 0..6 {
        let own = app.plain_token(&shop).await.access_token();
        let token = app.sign_in(&shop).await.refresh_token();
        let mut sent: Vec<_> = (0..4).map(|_| send(&app, &shop, &format!("grant_type=password&{SIGN_IN}"))).collect();
        sent.push(send(&app, &shop, &format!("grant_type=refresh_token&refresh_token={token}")));
        let revoke = app.form("/oauth/revoke", &format!("token={own}")).basic_auth(&shop.id, Some(&shop.secret));
        sent.push(tokio::spawn(Answer::to(revoke)));
        for scope in ["orders:read", BOTH] {
            app.database.update_user("alice", UserChange { allow: at_orders(scope), ..UserChange::default() });
            app.database.update_client("shop", ClientChange { allow: at_orders(scope), ..ClientChange::default() });
        }
        app.database.end_logins(LoginsOf::Client("shop".parse().unwrap()));
        for answer in sent {
            let answer = answer.await.unwrap();
            assert!([200, 400, 503].contains(&answer.status), "{answer:?}");
        }
        app.settle().await;
    }
    let deadlocks = "SELECT CAST(deadlocks AS TEXT) FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(app.database.texts(deadlocks).await, ["0"]);
}
