//! The positions of tokens in status lists: no node gives a fresh one to a right that was withdrawn, and spans and lists are used well.

use std::{collections::HashSet, time::Duration};

use sealwright::server::commands::{ClientChange, LoginsOf, UserChange};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{
    status_lists::List,
    support::{Answer, Backend, Credential, SIGN_IN, TestApp, TestDatabase, at_orders, claims_of, lifetime, on_both_databases},
};

on_both_databases![
    a_node_that_has_not_noticed_a_withdrawal_issues_nothing_to_the_client,
    a_node_that_has_not_noticed_a_withdrawal_from_the_client_issues_nothing_for_its_users,
    a_withdrawal_from_a_user_during_refreshes_and_sign_ins_leaves_no_valid_token_with_the_right,
    a_client_made_again_gets_fresh_positions_from_a_node_that_still_knows_the_earlier_one,
    a_span_is_replaced_when_half_of_it_is_set_at_one_time,
    a_span_is_replaced_while_nodes_still_show_revocations_that_have_ended,
    rv6_a_token_at_the_position_of_a_revoked_one_is_revoked_until_its_own_end,
    clients_that_begin_at_once_all_get_a_span,
    a_node_learns_of_a_wider_span_within_five_minutes_even_if_it_sees_no_reason,
    a_list_is_followed_by_another_when_all_places_that_are_tried_are_taken,
    a_damaged_row_of_the_newest_list_does_not_stop_sign_ins,
    a_token_whose_span_is_missing_is_not_reported_as_revoked,
    a_revocation_by_an_operator_whose_clock_is_behind_lasts_as_long_as_any_other,
    a_heartbeat_of_a_clock_that_was_far_ahead_does_not_make_revocations_last_for_as_long,
];

const BOTH: &str = "orders:read orders:write";

/// The position of a token: its list and its index.
fn position(token: &str) -> (String, u64) {
    let claims = claims_of(token);
    let Value::Object(place) = &claims["status"]["status_list"] else { panic!("no position: {claims}") };
    (place["uri"].as_str().unwrap().to_owned(), place["idx"].as_u64().unwrap())
}

fn read_only(app: &TestApp, client: &str) {
    app.database.update_client(client, ClientChange { allow: at_orders("orders:read"), ..ClientChange::default() });
}

/// Has a node read a client, without a token.
async fn know(app: &TestApp, client: &Credential) {
    assert_eq!(app.revoke(client, "token=unknown").await.status, 200);
}

/// Sends a token request, and does not wait for the answer.
fn send(app: &TestApp, client: &Credential, body: &str) -> JoinHandle<Answer> {
    tokio::spawn(Answer::to(app.token_request(body).basic_auth(&client.id, Some(&client.secret))))
}

async fn widths(app: &TestApp) -> Vec<String> {
    app.database.texts("SELECT CAST(width AS TEXT) FROM status_spans ORDER BY width").await
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

/// Gets tokens and revokes them.
async fn revoke_some(app: &TestApp, client: &Credential, count: u32) {
    for _ in 0..count {
        let token = app.plain_token(client).await.access_token();
        assert_eq!(app.revoke(client, &format!("token={token}")).await.status, 200);
    }
    app.settle().await;
}

async fn a_span_is_replaced_when_half_of_it_is_set_at_one_time(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("status_span", "16")]).await.with_orders();
    let client = app.client("serverless");
    for _ in 0..3 {
        revoke_some(&app, &client, 7).await;
        // Their revocations end with their ten minutes, the longest leeway and the skew, and are deleted ten minutes later.
        for _ in 0..30 {
            app.pass(Duration::from_secs(60)).await;
        }
    }
    assert_eq!(widths(&app).await, ["16"]);
    revoke_some(&app, &client, 7).await;
    assert_eq!(widths(&app).await, ["16"]);
    revoke_some(&app, &client, 1).await;
    assert_eq!(widths(&app).await, ["16", "64"]);
    revoke_some(&app, &client, 1).await;
    assert_eq!(app.database.texts("SELECT CAST(set_bits AS TEXT) FROM status_spans ORDER BY width").await, ["8", "1"]);
}

async fn a_span_is_replaced_while_nodes_still_show_revocations_that_have_ended(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("status_span", "16")]).await.with_orders();
    let client = app.client("serverless");
    revoke_some(&app, &client, 7).await;
    // They end after seventeen minutes.
    for _ in 0..18 {
        app.pass(Duration::from_secs(60)).await;
    }
    revoke_some(&app, &client, 1).await;
    assert_eq!(widths(&app).await, ["16", "64"]);
}

async fn rv6_a_token_at_the_position_of_a_revoked_one_is_revoked_until_its_own_end(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("status_span", "16")]).await.with_orders();
    let (client, api) = (app.client("billing"), app.api("orders-api").await);
    let first = app.plain_token(&client).await.access_token();
    app.database.update_client("billing", ClientChange { token_lifetime: Some(lifetime(3600)), ..ClientChange::default() });
    app.settle().await;
    for _ in 0..15 {
        app.plain_token(&client).await.granted();
    }
    let second = app.plain_token(&client).await.access_token();
    assert_eq!(position(&second), position(&first), "the span is exhausted");
    for token in [&first, &second, &second] {
        assert_eq!(app.revoke(&client, &format!("token={token}")).await.status, 200);
    }
    assert_eq!(app.database.texts("SELECT list_id FROM revocations").await.len(), 2, "each has its own end");
    // The first revocation is gone by then.
    for _ in 0..30 {
        app.pass(Duration::from_secs(60)).await;
    }
    assert_eq!(app.database.texts("SELECT list_id FROM revocations").await.len(), 1);
    assert!(!app.is_active(&api, &second).await);
    let (list, index) = position(&second);
    assert!(List::get(&app, &list).await.set.contains(&index));
}

async fn clients_that_begin_at_once_all_get_a_span(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    // A list has sixteen places of this width.
    let app = TestApp::start_with(database, &[("status_span", "65536")]).await.with_orders();
    let clients: Vec<_> = (0..16).map(|number| app.client(&format!("c{number}"))).collect();
    let sent: Vec<_> = clients.iter().map(|client| send(&app, client, "grant_type=client_credentials")).collect();
    let mut places = HashSet::new();
    for answer in sent {
        let (list, index) = position(&answer.await.unwrap().access_token());
        places.insert((list, index / 65_536));
    }
    assert_eq!(places.len(), 16);
}

async fn a_node_learns_of_a_wider_span_within_five_minutes_even_if_it_sees_no_reason(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("status_span", "16")]).await.with_orders();
    let client = app.client("serverless");
    app.plain_token(&client).await.granted();
    app.database.execute("UPDATE status_spans SET ends_at = created_at + 90000").await;
    let list = "SELECT id FROM status_lists";
    app.plain_token(&client).await.granted();
    assert_eq!(widths(&app).await, ["16"], "it is cached");
    for _ in 0..5 {
        app.pass(Duration::from_secs(60)).await;
    }
    let fresh = app.plain_token(&client).await.access_token();
    assert_eq!(widths(&app).await, ["16", "16"]);
    assert!(position(&fresh).0.ends_with(&app.database.texts(list).await[0]));
}

async fn a_list_is_followed_by_another_when_all_places_that_are_tried_are_taken(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    // A list has sixteen places of this width.
    let app = TestApp::start_with(database, &[("status_span", "65536")]).await.with_orders();
    let mut places = HashSet::new();
    for number in 0..20 {
        let (list, index) = position(&app.plain_token(&app.client(&format!("c{number}"))).await.access_token());
        places.insert((list, index / 65_536));
    }
    assert_eq!(places.len(), 20);
    let lists = app.database.texts("SELECT CAST(COUNT(*) AS TEXT) FROM status_spans GROUP BY list_id").await;
    let counts: Vec<u32> = lists.iter().map(|count| count.parse().unwrap()).collect();
    assert!(counts.len() == 2 && counts.iter().any(|count| *count > 8), "more than half of a list is used: {counts:?}");
}

async fn a_damaged_row_of_the_newest_list_does_not_stop_sign_ins(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    app.sign_in(&shop).await.granted();
    app.database.execute("UPDATE status_lists SET id = 'damaged' WHERE width = 1").await;
    let lists: Vec<String> = [app.sign_in(&shop).await, app.sign_in(&shop).await].map(|answer| position(&answer.access_token()).0).into();
    assert_eq!(lists[0], lists[1]);
    assert_eq!(app.database.texts("SELECT CAST(COUNT(*) AS TEXT) FROM status_lists WHERE width = 1").await, ["2"]);
}

async fn a_token_whose_span_is_missing_is_not_reported_as_revoked(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let token = app.plain_token(&client).await.access_token();
    app.database.execute("DELETE FROM status_spans").await;
    app.revoke(&client, &format!("token={token}")).await.refused(500, "server_error");
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
