//! The spans of clients: the positions from which their tokens get theirs.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use sealwright::server::commands::ClientChange;

use crate::{
    positions::send,
    support::{Backend, Credential, List, TestApp, TestDatabase, lifetime, on_both_databases, on_sqlite, position},
};

on_both_databases![
    a_span_is_replaced_when_half_of_it_is_set_at_one_time,
    a_span_is_replaced_while_nodes_still_show_revocations_that_have_ended,
    rv6_a_token_at_the_position_of_a_revoked_one_is_revoked_until_its_own_end,
    clients_that_begin_at_once_all_get_a_span,
    a_node_learns_of_a_wider_span_within_five_minutes_even_if_it_sees_no_reason,
    a_position_is_not_used_again_for_some_minutes_after_its_revocation_was_dropped,
    a_client_that_has_sixteen_spans_loses_the_oldest_when_it_gets_another,
    a_list_is_followed_by_another_when_all_places_that_are_tried_are_taken,
    a_token_whose_span_is_missing_is_revoked_nevertheless,
    a_node_that_reads_a_client_takes_its_current_span_and_none_that_has_ended,
    a_damaged_span_harms_only_the_tokens_that_its_client_gets_for_itself,
];

on_sqlite![the_positions_of_as_many_clients_are_cached_as_clients_are];

async fn widths(app: &TestApp) -> Vec<String> {
    app.database.texts("SELECT CAST(width AS TEXT) FROM status_spans ORDER BY status_spans.width").await
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

async fn a_position_is_not_used_again_for_some_minutes_after_its_revocation_was_dropped(backend: Backend) {
    const MINUTE: Duration = Duration::from_secs(60);
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("status_span", "16")]).await.with_orders();
    let client = app.client("serverless");
    let mut revoked = HashSet::new();
    for _ in 0..7 {
        let token = app.plain_token(&client).await.access_token();
        assert_eq!(app.revoke(&client, &format!("token={token}")).await.status, 200);
        revoked.insert(position(&token));
    }
    app.settle().await;
    let shown = async |count: u32| app.metrics().await.lines().any(|line| line == format!("sealwright_positions_revoked {count}"));
    assert!(shown(7).await);
    let mut minutes = 0;
    while !shown(0).await {
        minutes += 1;
        assert!(minutes < 30, "they are never dropped");
        app.pass(MINUTE).await;
    }
    for _ in 0..18 {
        let fresh = position(&app.plain_token(&client).await.access_token());
        assert!(!revoked.contains(&fresh), "a verifier may still have a list in which it is set");
    }
    for _ in 0..5 {
        app.pass(MINUTE).await;
    }
    let mut fresh = HashSet::new();
    for _ in 0..16 {
        fresh.insert(position(&app.plain_token(&client).await.access_token()));
    }
    assert!(fresh.is_superset(&revoked));
}

async fn a_client_that_has_sixteen_spans_loses_the_oldest_when_it_gets_another(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("status_span", "16")]).await.with_orders();
    let (client, api) = (app.client("serverless"), app.api("orders-api").await);
    let oldest = app.plain_token(&client).await.access_token();
    revoke_some(&app, &client, 8).await;
    let second = app.plain_token(&client).await.access_token();
    assert_eq!(widths(&app).await, ["16", "64"]);
    // As if it had had fourteen others of the first width in between.
    let others = "WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 14)
        INSERT INTO status_spans (list_id, start, width, client_id, set_bits, created_at, ends_at)
        SELECT list_id, (start + 16 * i) % 1048576, width, client_id, 0, created_at + i, ends_at FROM status_spans, numbers WHERE width = 16";
    app.database.execute(others).await;
    revoke_some(&app, &client, 31).await;
    assert!(app.is_active(&api, &oldest).await);
    revoke_some(&app, &client, 1).await;
    assert_eq!(widths(&app).await.len(), 17);
    assert!(!app.is_active(&api, &oldest).await);
    assert!(app.is_active(&api, &second).await);
    assert!(app.is_active(&api, &app.plain_token(&client).await.access_token()).await);
    let of_span = "SELECT CAST(r.expires_at - s.ends_at AS TEXT) FROM revocations r JOIN status_spans s
        ON s.list_id = r.list_id AND s.start = r.start AND s.width = r.width AND s.revoked_at IS NOT NULL";
    assert_eq!(app.database.texts(of_span).await, ["0"], "one, until its last token has expired");
    let again = app.revoke(&client, &format!("token={oldest}")).await;
    assert_eq!(again.status, 200);
}

async fn the_positions_of_as_many_clients_are_cached_as_clients_are(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("cached_clients", "1")]).await.with_orders();
    // Those that are too many are dropped some at a time.
    let clients: Vec<Credential> = (0..70).map(|number| app.client(&format!("c{number}"))).collect();
    for round in 0..2 {
        for client in &clients {
            app.plain_token(client).await.granted();
        }
        if round == 0 {
            app.database.execute("DELETE FROM status_spans").await;
        }
    }
    let read_again = app.database.texts("SELECT client_id FROM status_spans").await.len();
    assert!(read_again > 30, "{read_again}");
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

async fn a_token_whose_span_is_missing_is_revoked_nevertheless(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let api = app.api("orders-api").await;
    let [token, other] = [app.plain_token(&client).await.access_token(), app.plain_token(&client).await.access_token()];
    // As after a failover to a replica that did not have it yet.
    app.database.execute("DELETE FROM status_spans").await;
    assert!(app.is_active(&api, &token).await, "its list exists, and its position is not set");
    for _ in 0..2 {
        assert_eq!(app.revoke(&client, &format!("token={token}")).await.status, 200);
        assert!(!app.is_active(&api, &token).await && app.is_active(&api, &other).await);
    }
    let (uri, place) = position(&token);
    app.publish().await;
    assert_eq!(List::get(&app, &uri).await.set, BTreeSet::from([place]));
    assert_eq!(app.database.texts("SELECT CAST(COUNT(*) AS TEXT) FROM revocations").await, ["1"]);
}

async fn a_node_that_reads_a_client_takes_its_current_span_and_none_that_has_ended(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    app.plain_token(&client).await.granted();
    for spans in [1, 2] {
        let node = app.second_node().await;
        let (_, index) = position(&node.plain_token(&client).await.access_token());
        let count = app.database.texts("SELECT CAST(COUNT(*) AS TEXT) FROM status_spans").await;
        assert_eq!(count, [spans.to_string()]);
        let current = app.database.texts("SELECT CAST(start AS TEXT) FROM status_spans WHERE ends_at IS NULL").await;
        let [start] = &current[..] else { panic!("{current:?}") };
        assert_eq!(index / 256 * 256, start.parse::<u64>().unwrap());
        app.database.execute("UPDATE status_spans SET ends_at = created_at + 90000").await;
    }
}

async fn a_damaged_span_harms_only_the_tokens_that_its_client_gets_for_itself(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    app.plain_token(&shop).await.granted();
    app.database.execute("UPDATE status_spans SET width = -1").await;
    let node = app.second_node().await;
    node.plain_token(&shop).await.refused(500, "server_error");
    node.sign_in(&shop).await.granted();
    app.run(&["client", "show", "shop"]).succeeded();
}
