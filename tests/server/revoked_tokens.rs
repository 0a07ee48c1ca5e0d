//! What revokes tokens: seen at once by introspection on every node, and within two seconds in the published status list.

use std::{collections::HashSet, time::Duration};

use sealwright::server::commands::{ClientChange, LoginsOf, UserChange};
use serde_json::Value;

use crate::support::{
    Answer, Backend, Credential, List, ORDERS, TestApp, TestDatabase, at_orders, on_both_databases, on_sqlite, position, sealwright,
};

on_both_databases![
    sl2_ad5_each_event_that_revokes_tokens_is_seen_at_once_by_every_node_and_soon_in_the_list,
    sl2_a_login_that_the_server_ends_takes_its_access_tokens_along,
    sl2_a_client_goes_on_with_fresh_tokens_after_its_tokens_were_revoked,
    sl2_a_login_goes_on_with_fresh_tokens_after_a_permission_was_withdrawn,
    tokens_revoked_one_by_one_take_along_no_sibling_on_one_node_and_the_span_grows,
    hd12_after_restored_no_earlier_token_is_valid_and_new_ones_are,
    in6_a_client_made_again_under_the_same_name_does_not_revive_tokens,
];

on_sqlite![
    tokens_of_a_client_have_different_positions_until_its_span_is_exhausted,
    without_status_lists_tokens_name_no_position,
    a_node_with_a_stale_view_issues_tokens_that_are_revoked_already,
    a_revocation_is_dropped_when_the_last_token_that_it_concerns_has_expired,
];

/// An API that introspects tokens.
fn api(app: &TestApp) -> Credential {
    app.database.client_with("api", |new| {
        new.introspects = [ORDERS.parse().unwrap()].into();
    })
}

/// The status of a token in the list that this node publishes. 0 is valid.
async fn listed(app: &TestApp, token: &str) -> u8 {
    let (uri, index) = position(token);
    u8::from(List::get(app, &uri).await.set.contains(&index))
}

/// A name, whether it ends the tokens of the client `shop` and those of `alice`, and how it happens.
type Event = (&'static str, bool, bool, fn(&TestDatabase));

const EVENTS: [Event; 11] = [
    ("the client is disabled", true, true, |database| database.disable_client("shop")),
    ("the client is deleted", true, true, |database| database.delete_client("shop")),
    ("a permission of the client is withdrawn", true, true, |database| {
        database.update_client("shop", ClientChange { allow: at_orders("orders:read"), ..ClientChange::default() });
    }),
    ("a grant type of the client is withdrawn", true, false, |database| {
        let remove_grants = ["client_credentials".parse().unwrap()].into();
        database.update_client("shop", ClientChange { remove_grants, ..ClientChange::default() });
    }),
    ("the password grant is withdrawn", true, true, |database| {
        let remove_grants = ["password".parse().unwrap()].into();
        database.update_client("shop", ClientChange { remove_grants, ..ClientChange::default() });
    }),
    ("the user is disabled", false, true, |database| database.disable_user("alice")),
    ("the user is deleted", false, true, |database| database.delete_user("alice")),
    ("the password is set", false, true, |database| database.set_password("alice", "another plum at the gate").unwrap()),
    ("a permission of the user is withdrawn", false, true, |database| {
        database.update_user("alice", UserChange { allow: at_orders("orders:read"), ..UserChange::default() });
    }),
    ("the logins are ended", false, true, |database| database.end_logins(LoginsOf::User("alice".parse().unwrap()))),
    ("the client's tokens are revoked", true, false, |database| {
        sealwright(database, &["client", "revoke-tokens", "shop", "--yes"]).succeeded();
    }),
];

async fn sl2_ad5_each_event_that_revokes_tokens_is_seen_at_once_by_every_node_and_soon_in_the_list(backend: Backend) {
    for (event, of_client, of_user, happen) in EVENTS {
        let issuer = [("issuer", "https://issuer.example")];
        let app = TestApp::start_with(TestDatabase::create(backend).await, &issuer).await.with_orders();
        let (shop, api, other) = (app.app_for_users("shop"), api(&app), app.client("other"));
        app.user("alice");
        let second = app.second_node_with(&issuer).await;
        let [own, others] = [app.plain_token(&shop).await.access_token(), app.plain_token(&other).await.access_token()];
        let users = app.sign_in(&shop).await.access_token();
        app.settle().await;
        second.settle().await;
        for node in [&app, &second] {
            for token in [&own, &users, &others] {
                assert!(node.is_active(&api, token).await, "before {event}");
                assert_eq!(listed(node, token).await, 0, "before {event}");
            }
        }
        happen(&app.database);
        for node in [&app, &second] {
            let active = [node.is_active(&api, &own).await, node.is_active(&api, &users).await, node.is_active(&api, &others).await];
            assert_eq!(active, [!of_client, !of_user, true], "{event}");
        }
        for node in [&app, &second] {
            node.settle().await;
            node.pass(Duration::from_secs(1)).await;
            let status = [listed(node, &own).await, listed(node, &users).await, listed(node, &others).await];
            assert_eq!(status, [u8::from(of_client), u8::from(of_user), 0], "{event}");
        }
    }
}

async fn sl2_a_login_that_the_server_ends_takes_its_access_tokens_along(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("logins_per_user", "2")]).await.with_orders();
    let (shop, api) = (app.app_for_users("shop"), api(&app));
    app.user("alice");
    let displaced = app.sign_in(&shop).await;
    app.pass(Duration::from_secs(1)).await;
    let replayed = app.sign_in(&shop).await;
    let refreshed = app.refresh(&shop, &replayed.refresh_token()).await;
    app.pass(Duration::from_secs(31)).await;
    // One login more than the user may have, and a used refresh token that comes back.
    let other = app.sign_in(&shop).await.access_token();
    app.refresh(&shop, &replayed.refresh_token()).await.refused(400, "invalid_grant");
    let ended = [&displaced, &replayed, &refreshed].map(Answer::access_token);
    for token in &ended {
        assert!(!app.is_active(&api, token).await);
    }
    assert!(app.is_active(&api, &other).await);
    app.publish().await;
    for token in &ended {
        assert_eq!(listed(&app, token).await, 1);
    }
    assert_eq!(listed(&app, &other).await, 0);
}

async fn sl2_a_client_goes_on_with_fresh_tokens_after_its_tokens_were_revoked(backend: Backend) {
    let issuer = [("issuer", "https://issuer.example")];
    let app = TestApp::start_with(TestDatabase::create(backend).await, &issuer).await.with_orders();
    let (client, api) = (app.client("billing"), api(&app));
    let second = app.second_node_with(&issuer).await;
    let mut tokens = Vec::new();
    for node in [&app, &second, &app] {
        tokens.push(node.plain_token(&client).await.access_token());
    }
    sealwright(&app.database, &["client", "revoke-tokens", "billing", "--yes"]).succeeded();
    for node in [&app, &second] {
        node.settle().await;
        for token in &tokens {
            assert!(!node.is_active(&api, token).await);
        }
        let fresh = node.plain_token(&client).await.access_token();
        assert!(node.is_active(&api, &fresh).await);
        assert_ne!(position(&fresh), position(&tokens[0]));
    }
}

async fn sl2_a_login_goes_on_with_fresh_tokens_after_a_permission_was_withdrawn(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let api = api(&app);
    let signed_in = app.sign_in(&shop).await;
    app.database.update_user("alice", UserChange { allow: at_orders("orders:read"), ..UserChange::default() });
    assert!(!app.is_active(&api, &signed_in.access_token()).await);
    let refreshed = app.refresh(&shop, &signed_in.refresh_token()).await;
    assert_eq!(refreshed.granted()["scope"], "orders:read");
    let [before, after] = [position(&signed_in.access_token()), position(&refreshed.access_token())];
    assert_ne!(before, after);
    assert!(app.is_active(&api, &refreshed.access_token()).await);
    // From then on, the login keeps its position.
    let again = app.refresh(&shop, &refreshed.refresh_token()).await;
    assert_eq!(position(&again.access_token()), after);
}

async fn tokens_revoked_one_by_one_take_along_no_sibling_on_one_node_and_the_span_grows(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("status_span", "16")]).await.with_orders();
    let (client, api) = (app.client("serverless"), api(&app));
    let mut kept = vec![];
    let mut revoked = vec![];
    for round in 0..60 {
        let token = app.plain_token(&client).await.access_token();
        if round % 20 == 0 {
            kept.push(token);
        } else {
            assert_eq!(app.revoke(&client, &format!("token={token}")).await.status, 200);
            assert!(!app.is_active(&api, &token).await, "{round}");
            revoked.push(token);
        }
        app.settle().await;
    }
    for token in &kept {
        assert!(app.is_active(&api, token).await, "a token that was not revoked");
        assert_eq!(listed(&app, token).await, 0);
    }
    for token in &revoked {
        assert!(!app.is_active(&api, token).await, "a token that was revoked");
        assert_eq!(listed(&app, token).await, 1);
    }
    let widths = app.database.texts("SELECT CAST(width AS TEXT) FROM status_spans ORDER BY status_spans.width").await;
    assert_eq!(widths, ["16", "64", "256"]);
}

async fn tokens_of_a_client_have_different_positions_until_its_span_is_exhausted(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("status_span", "64")]).await.with_orders();
    let client = app.client("billing");
    let mut positions = HashSet::new();
    for _ in 0..64 {
        positions.insert(position(&app.plain_token(&client).await.access_token()));
    }
    assert_eq!(positions.len(), 64);
    // A token costs no row.
    for table in ["status_spans", "status_lists"] {
        assert_eq!(app.database.texts(&format!("SELECT CAST(COUNT(*) AS TEXT) FROM {table}")).await, ["1"], "{table}");
    }
    assert!(positions.contains(&position(&app.plain_token(&client).await.access_token())));
}

async fn without_status_lists_tokens_name_no_position(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("status_lists", "false")]).await.with_orders();
    let shop = app.app_for_users("shop");
    app.user("alice");
    // Without a position, a token that is older than its client is one of an earlier client of that name.
    app.pass(Duration::from_secs(60)).await;
    let signed_in = app.sign_in(&shop).await;
    for answer in [&app.plain_token(&shop).await, &signed_in, &app.refresh(&shop, &signed_in.refresh_token()).await] {
        assert_eq!(answer.claims()["status"], Value::Null);
    }
    // Introspection knows what the login and the client are.
    let api = api(&app);
    let token = app.plain_token(&shop).await.access_token();
    assert!(app.is_active(&api, &token).await);
    app.database.disable_client("shop");
    assert!(!app.is_active(&api, &token).await);
}

async fn a_node_with_a_stale_view_issues_tokens_that_are_revoked_already(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let (client, api) = (app.client("billing"), api(&app));
    // It reads a client again once it has noticed that it was created.
    app.settle().await;
    app.plain_token(&client).await.granted();
    app.settle().await;
    sealwright(&app.database, &["client", "revoke-tokens", "billing", "--yes"]).succeeded();
    // Its clock stands still: it has not looked again.
    let stale = app.plain_token(&client).await.access_token();
    assert_eq!(app.meters.client_reads.get(), 1, "it knows the client as it was");
    assert!(!app.is_active(&api, &stale).await);
    app.settle().await;
    assert_eq!(listed(&app, &stale).await, 1);
    let fresh = app.plain_token(&client).await.access_token();
    assert!(app.is_active(&api, &fresh).await);
}

async fn hd12_after_restored_no_earlier_token_is_valid_and_new_ones_are(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let api = api(&app);
    let (own, signed_in) = (app.plain_token(&shop).await.access_token(), app.sign_in(&shop).await);
    let list = position(&own).0;
    sealwright(&app.database, &["restored"]).succeeded();
    for token in [&own, &signed_in.access_token()] {
        assert!(!app.is_active(&api, token).await);
    }
    app.settle().await;
    // Verifiers refuse a token whose list is gone.
    assert_eq!(app.get(list.strip_prefix(&app.issuer).unwrap()).await.status, 404);
    let fresh = app.plain_token(&shop).await.access_token();
    assert!(app.is_active(&api, &fresh).await);
    assert_eq!(listed(&app, &fresh).await, 0);
    let users = app.sign_in(&shop).await.access_token();
    assert!(app.is_active(&api, &users).await);
}

async fn in6_a_client_made_again_under_the_same_name_does_not_revive_tokens(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let (client, api) = (app.client("billing"), api(&app));
    let token = app.plain_token(&client).await.access_token();
    app.database.delete_client("billing");
    app.settle().await;
    let again = app.client("billing");
    app.settle().await;
    assert!(!app.is_active(&api, &token).await);
    assert_eq!(listed(&app, &token).await, 1);
    let fresh = app.plain_token(&again).await.access_token();
    assert!(app.is_active(&api, &fresh).await);
}

async fn a_revocation_is_dropped_when_the_last_token_that_it_concerns_has_expired(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let token = app.plain_token(&client).await.access_token();
    assert_eq!(app.revoke(&client, &format!("token={token}")).await.status, 200);
    app.settle().await;
    app.pass(Duration::from_secs(1)).await;
    assert_eq!(listed(&app, &token).await, 1);
    // Its ten minutes, the longest leeway and the skew are over.
    for _ in 0..20 {
        app.pass(Duration::from_secs(60)).await;
    }
    app.pass(Duration::from_secs(1)).await;
    assert_eq!(listed(&app, &token).await, 0);
    for _ in 0..20 {
        app.pass(Duration::from_secs(60)).await;
    }
    assert_eq!(app.database.texts("SELECT list_id FROM revocations").await, Vec::<String>::new());
}
