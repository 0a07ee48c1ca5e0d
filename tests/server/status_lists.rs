//! The published status lists: draft-ietf-oauth-status-list.

use std::{collections::BTreeSet, time::Duration};

use reqwest::Method;
use serde_json::Value;

use crate::support::{Answer, Backend, Credential, List, SIGN_IN, TestApp, TestDatabase, on_both_databases, on_sqlite, position};

on_both_databases![
    sl1_a_list_shows_the_positions_of_revoked_tokens_and_no_others,
    sl1_nodes_with_the_same_revocations_give_the_same_etag,
    sl1_a_node_that_cannot_read_its_database_does_not_say_that_nothing_has_changed,
    sl1_a_node_that_cannot_read_its_database_says_how_old_its_lists_are,
];

on_sqlite![
    sl1_a_list_that_has_not_changed_is_not_sent_again,
    sl1_the_metadata_leads_to_all_lists,
    sl3_a_list_that_does_not_exist_is_not_found,
    sl3_a_list_that_was_signed_just_before_its_end_is_not_found,
    without_status_lists_no_token_names_one_and_known_lists_are_still_served,
];

const SECOND: Duration = Duration::from_secs(1);

/// The list and the position that a token of the user names, and the refresh token.
async fn sign_in(app: &TestApp, client: &Credential) -> ((String, u64), String) {
    let answer = app.sign_in(client).await;
    (position(&answer.access_token()), answer.refresh_token())
}

async fn sl1_a_list_shows_the_positions_of_revoked_tokens_and_no_others(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    app.settle().await;
    let ((uri, first), _) = sign_in(&app, &client).await;
    let ((_, second), refresh_token) = sign_in(&app, &client).await;
    let ((_, third), _) = sign_in(&app, &client).await;
    assert_eq!(BTreeSet::from([first, second, third]).len(), 3);

    app.publish().await;
    let before = List::get(&app, &uri).await;
    assert_eq!(before.set, BTreeSet::new());
    assert_eq!(app.revoke(&client, &format!("token={refresh_token}")).await.status, 200);
    assert_eq!(List::get(&app, &uri).await.answer.body, before.answer.body, "it is served from memory until the next one is signed");
    app.publish().await;
    let after = List::get(&app, &uri).await;
    assert_eq!(after.set, BTreeSet::from([second]));

    assert_eq!(after.claims["sub"], uri);
    assert_eq!(after.claims["ttl"], 10);
    assert!((app.now().seconds() - 2..=app.now().seconds()).contains(&after.iat()), "when its view was confirmed: {}", after.claims);
    assert_eq!(after.claims["exp"], after.iat() + 3600);
    assert!(before.epoch() < after.epoch(), "the order of lists whose clocks differ");
    assert_eq!(after.answer.header("cache-control"), Some("public, max-age=1"));
    assert_ne!(before.etag(), after.etag());

    // The tokens of a client have a span of their own.
    let own = app.plain_token(&client).await;
    let (uri, position) = position(&own.access_token());
    app.database.disable_client(&client.id);
    app.publish().await;
    let span = List::get(&app, &uri).await.set;
    assert!(span.len() == 256 && span.contains(&position), "{span:?}");
}

async fn sl1_nodes_with_the_same_revocations_give_the_same_etag(backend: Backend) {
    let settings = [("issuer", "https://issuer.example")];
    let first = TestApp::start_with(TestDatabase::create(backend).await, &settings).await.with_orders();
    let client = first.app_for_users("shop");
    first.user("alice");
    let second = first.second_node_with(&settings).await;
    let ((uri, position), refresh_token) = sign_in(&first, &client).await;
    let path = first.list_path(&uri);
    // The second node has not noticed the new list yet.
    let made = List::get(&second, &uri).await;
    assert_eq!(made.set, BTreeSet::new());

    assert_eq!(first.revoke(&client, &format!("token={refresh_token}")).await.status, 200);
    second.pass(7 * SECOND).await;
    first.publish().await;
    second.publish().await;
    let lists = [List::get(&first, &uri).await, List::get(&second, &uri).await];
    assert_eq!((&lists[0].set, &lists[1].set), (&BTreeSet::from([position]), &BTreeSet::from([position])));
    assert_ne!(lists[0].iat(), lists[1].iat(), "their clocks differ");
    assert_eq!(lists[0].etag(), lists[1].etag());
    assert_eq!(lists[0].epoch(), lists[1].epoch());
    assert_eq!(second.get_again(path, lists[0].etag()).await.status, 304);
    assert_ne!(made.etag(), lists[1].etag());
}

async fn sl1_a_node_that_cannot_read_its_database_does_not_say_that_nothing_has_changed(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let ((uri, _), _) = sign_in(&app, &client).await;
    app.publish().await;
    let list = List::get(&app, &uri).await;
    let path = app.list_path(&uri);
    app.database.execute("ALTER TABLE epochs RENAME TO epochs_gone").await;
    app.database.execute("ALTER TABLE status_lists RENAME TO status_lists_gone").await;
    app.pass(4 * SECOND).await;
    assert_eq!(app.get_again(path, list.etag()).await.status, 304);
    for time in [2 * SECOND, 2000 * SECOND] {
        app.pass(time).await;
        let blind = app.get_again(path, list.etag()).await;
        assert_eq!((blind.status, blind.header("etag")), (200, Some(list.etag())));
        assert_eq!(List::read(&app, blind).await.iat(), list.iat(), "it does not claim to be fresh");
    }
    // Another node may just have made this one.
    let unknown = app.get(&format!("/oauth/status-lists/{}", "A".repeat(22))).await;
    unknown.refused(503, "temporarily_unavailable");
    assert_eq!(unknown.header("retry-after"), Some("1"));

    app.database.execute("ALTER TABLE epochs_gone RENAME TO epochs").await;
    app.database.execute("ALTER TABLE status_lists_gone RENAME TO status_lists").await;
    app.publish().await;
    assert_eq!(app.get_again(path, list.etag()).await.status, 304);
    assert!(List::get(&app, &uri).await.iat() > list.iat());
}

async fn sl1_a_node_that_cannot_read_its_database_says_how_old_its_lists_are(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let ((uri, _), _) = sign_in(&app, &client).await;
    let path = app.list_path(&uri);
    app.pass(SECOND).await;
    let fresh = app.get(path).await;
    assert_eq!((fresh.status, fresh.header("age")), (200, None));
    app.database.execute("ALTER TABLE epochs RENAME TO epochs_gone").await;
    app.pass(60 * SECOND).await;
    // To a verifier that holds the list, and to one that does not.
    for blind in [app.get(path).await, app.get_again(path, fresh.header("etag").unwrap()).await] {
        let age: u64 = blind.header("age").unwrap().parse().unwrap();
        assert!(blind.status == 200 && (60..=61).contains(&age), "{blind:?}");
    }
    app.database.execute("ALTER TABLE epochs_gone RENAME TO epochs").await;
    app.pass(SECOND).await;
    assert_eq!(app.get(path).await.header("age"), None);
}

async fn sl1_a_list_that_has_not_changed_is_not_sent_again(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let ((uri, position), _) = sign_in(&app, &client).await;
    app.publish().await;
    let list = List::get(&app, &uri).await;
    let (path, etag) = (app.list_path(&uri), list.etag());
    assert!(etag.starts_with("W/\"") && etag.ends_with('"'), "the same content can have other signatures: {etag}");
    for known in [etag.to_owned(), etag[2..].to_owned(), format!("\"other\", {etag}"), "*".to_owned()] {
        let answer = app.get_again(path, &known).await;
        assert_eq!((answer.status, answer.body.as_str(), answer.header("etag")), (304, "", Some(etag)), "{known}");
        assert_eq!(answer.header("cache-control"), Some("public, max-age=1"));
    }
    let head = Answer::to(app.request(Method::HEAD, path)).await;
    assert_eq!((head.status, head.body.as_str(), head.header("etag")), (200, "", Some(etag)));
    // Neither a change of other lists nor time alone changes it, and what it cannot do does no harm.
    app.plain_token(&client).await.granted();
    app.pass(2000 * SECOND).await;
    app.publish().await;
    for path in [path.to_owned(), format!("{path}?time=1")] {
        let cwt = app.request(Method::GET, &path).header("if-none-match", etag).header("accept", "application/statuslist+cwt");
        assert_eq!(Answer::to(cwt).await.status, 304);
    }
    assert!(List::get(&app, &uri).await.iat() > list.iat());
    app.set_position(&uri, position).await;
    app.publish().await;
    assert_eq!(app.get_again(path, etag).await.status, 200);
}

async fn sl1_the_metadata_leads_to_all_lists(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("issuer", "http://localhost/auth")]).await.with_orders();
    let client = app.app_for_users("shop");
    app.user("alice");
    let all = "/auth/oauth/status-lists";
    assert_eq!(app.get(all).await.json()["status_lists"], Value::Array(Vec::new()));
    let metadata = app.get("/auth/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["status_list_aggregation_endpoint"], "http://localhost/auth/oauth/status-lists");

    let token = async |form: &str| {
        let request = app.form("/auth/oauth/token", form).basic_auth(&client.id, Some(&client.secret));
        position(&Answer::to(request).await.access_token()).0
    };
    let uris = [token(&format!("grant_type=password&{SIGN_IN}")).await, token("grant_type=client_credentials").await];
    app.settle().await;
    let answer = app.get(all).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=1"));
    let listed: BTreeSet<_> =
        answer.json()["status_lists"].as_array().unwrap().iter().map(|uri| uri.as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, uris.clone().into());
    assert_eq!(app.get_again(all, answer.header("etag").unwrap()).await.status, 304);
    for uri in uris {
        assert_eq!(app.get(uri.strip_prefix("http://localhost").unwrap()).await.status, 200, "{uri}");
    }
}

async fn sl3_a_list_that_does_not_exist_is_not_found(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let ((uri, _), _) = sign_in(&app, &client).await;
    app.publish().await;
    List::get(&app, &uri).await;
    let path = app.list_path(&uri);
    let longer = format!("{path}A");
    let unknown = format!("/oauth/status-lists/{}", "A".repeat(22));
    for path in
        [unknown.as_str(), &longer, &path[..path.len() - 1], "/oauth/status-lists/", "/oauth/status-lists/%ff", &format!("{path}/x")]
    {
        app.get(path).await.refused(404, "invalid_request");
    }
    Answer::to(app.request(Method::POST, path)).await.refused(405, "invalid_request");

    // Its last token has expired.
    app.database.execute("DELETE FROM status_lists").await;
    app.database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'revocations'").await;
    app.publish().await;
    app.get(path).await.refused(404, "invalid_request");
    assert_eq!(app.get("/oauth/status-lists").await.json()["status_lists"], Value::Array(Vec::new()));
}

async fn sl3_a_list_that_was_signed_just_before_its_end_is_not_found(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let ((uri, _), _) = sign_in(&app, &client).await;
    app.publish().await;
    // The publisher has looked, and sleeps longer than the epoch watch: that learns of the end first.
    app.pass(Duration::from_millis(300)).await;
    List::get(&app, &uri).await;
    app.database.execute("DELETE FROM status_lists").await;
    app.database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'revocations'").await;
    app.pass(Duration::from_millis(200)).await;
    app.pass(SECOND).await;
    app.get(app.list_path(&uri)).await.refused(404, "invalid_request");
}

async fn without_status_lists_no_token_names_one_and_known_lists_are_still_served(backend: Backend) {
    let issuer = ("issuer", "https://issuer.example");
    let app = TestApp::start_with(TestDatabase::create(backend).await, &[issuer]).await.with_orders();
    let client = app.client("billing");
    let (uri, _) = position(&app.plain_token(&client).await.access_token());
    let path = app.list_path(&uri);
    let app = TestApp::start_with(app.stop().await, &[issuer, ("status_lists", "false")]).await;
    assert_eq!(app.plain_token(&client).await.claims().get("status"), None);
    let metadata = app.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata.get("status_list_aggregation_endpoint"), None);
    // Tokens that name it may not have expired yet.
    assert_eq!(app.get(path).await.status, 200);
}
