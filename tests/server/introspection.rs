//! `POST /oauth/introspect`: RFC 7662.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sealwright::server::commands::ClientChange;
use serde_json::{Value, json};

use crate::support::{
    Answer, Backend, Credential, ORDERS, Process, TestApp, TestDatabase, claims_of, furnish, header_of, on_both_databases, on_sqlite,
};

on_both_databases![
    in2_an_active_token_is_answered_with_its_claims,
    in3_rt16_an_expired_foreign_or_malformed_token_is_inactive,
    in3_a_token_whose_key_was_withdrawn_is_inactive_at_once_on_every_node,
    in3_a_token_whose_list_is_gone_is_inactive,
    in6_ad5_pw8_a_disabled_user_or_client_counts_at_once_on_every_node,
    in6_a_token_of_a_deleted_client_or_user_is_inactive_also_when_there_is_another_of_the_same_name,
    in6_a_token_without_a_status_depends_on_its_client_and_its_user,
    in7_without_a_database_no_answer_is_guessed,
];

// Readers of SQLite wait for no lock that a test can hold.
crate::support::on_database!(on_postgres, Postgres, in7_introspections_that_wait_for_the_database_leave_connections_to_other_requests);

on_sqlite![
    in1_only_an_authenticated_post_with_a_token_is_answered,
    in4_a_client_learns_nothing_about_tokens_that_it_does_not_introspect,
    in5_a_wrong_hint_changes_nothing,
    in7_a_node_that_cannot_read_the_keys_does_not_guess_about_an_unknown_one,
    the_log_says_why_a_token_is_inactive,
];

/// A server with an app for users, a user, and an API that introspects.
async fn with_api(backend: Backend) -> (TestApp, Credential, Credential) {
    let (app, shop) = TestApp::for_users(backend).await;
    let api = app.api("orders-api").await;
    (app, shop, api)
}

/// A token with another header and the same claims and signature.
fn with_header(token: &str, header: &Value) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", BASE64_URL_SAFE_NO_PAD.encode(header.to_string()))
}

async fn in1_only_an_authenticated_post_with_a_token_is_answered(backend: Backend) {
    let (app, shop, api) = with_api(backend).await;
    let token = app.plain_token(&shop).await.access_token();
    let body = format!("token={token}");
    let post = || app.form("/oauth/introspect", &body);
    let in_form = |secret: &str| app.form("/oauth/introspect", &format!("{body}&client_id={}&client_secret={secret}", api.id));
    for request in [post(), post().basic_auth(&api.id, Some("wrong")), in_form("wrong"), post().bearer_auth(&token)] {
        let answer = Answer::to(request).await;
        answer.refused(401, "invalid_client");
        assert!(answer.header("www-authenticate").is_some());
    }
    for without in ["", "token=", "token_type_hint=access_token"] {
        app.introspect(&api, without).await.refused(400, "invalid_request");
    }
    app.introspect(&api, &format!("{body}&{body}")).await.refused(400, "invalid_request");
    let in_url = app.form(&format!("/oauth/introspect?{body}"), "").basic_auth(&api.id, Some(&api.secret));
    Answer::to(in_url).await.refused(400, "invalid_request");
    let answer = app.get("/oauth/introspect").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(Answer::to(in_form(&api.secret)).await.granted()["active"], true);
}

async fn in2_an_active_token_is_answered_with_its_claims(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let change = ClientChange { set_fixed_claims: "{\"tier\":1.10}".parse().unwrap(), ..ClientChange::default() };
    app.database.update_client("shop", change);
    let api = app.api("orders-api").await;
    for (issued, username) in [(app.plain_token(&shop).await, None), (app.sign_in(&shop).await, Some("alice"))] {
        let answer = app.introspect(&api, &format!("token={}", issued.access_token())).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        answer.never_stored();
        let said = answer.json();
        for name in ["active", "scope", "client_id", "sub", "aud", "iss", "exp", "iat", "jti", "token_type"] {
            assert!(!said[name].is_null(), "{name}: {said}");
        }
        let mut expected = issued.claims();
        let status = expected.as_object_mut().unwrap().remove("status");
        assert!(status.is_some(), "the answer is more recent than the list that the token names");
        expected["active"] = json!(true);
        expected["token_type"] = json!("Bearer");
        if let Some(username) = username {
            expected["username"] = json!(username);
        }
        assert_eq!(said, expected);
        assert!(answer.body.contains("\"tier\":1.10"), "a value arrives as it was given: {}", answer.body);
    }
}

async fn in3_rt16_an_expired_foreign_or_malformed_token_is_inactive(backend: Backend) {
    let (app, shop, api) = with_api(backend).await;
    let (elsewhere, their_shop) = TestApp::for_users(backend).await;
    let signed_in = app.sign_in(&shop).await;
    let (token, refresh) = (signed_in.access_token(), signed_in.refresh_token());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let mut claims = claims_of(&token);
    claims["scope"] = json!("orders:admin");
    let mut other_key = header_of(&token);
    other_key["kid"] = json!("GeV_PRqDFZ2MsYYNjS4j-4Kewg6zQEbv2pbE-k9RMOc");
    let foreign = elsewhere.plain_token(&their_shop).await.access_token();
    for invalid in [
        foreign.as_str(),
        // With our kid over their signature.
        &with_header(&foreign, &header_of(&token)),
        &with_header(&token, &other_key),
        &with_header(&token, &json!({ "alg": "none", "typ": "at+jwt" })),
        &format!("{}.", with_header(signed, &json!({ "alg": "none", "typ": "at+jwt" }))),
        &with_header(&token, &json!({ "alg": "HS256", "typ": "at+jwt", "kid": other_key["kid"] })),
        &format!("{header}.{}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string())),
        &format!("{signed}."),
        signed,
        &format!("{token}.x"),
        &refresh,
        &refresh[4..],
        "junk",
        "a.b.c",
        "..",
        "%20",
        "%C3%BC",
        &"x".repeat(20_000),
        &format!("{}.{}.{}", "x".repeat(2000), "x".repeat(2000), "x".repeat(342)),
    ] {
        assert!(!app.is_active(&api, invalid).await, "{invalid}");
    }
    // An access token is not a refresh token either.
    app.refresh(&shop, &token).await.refused(400, "invalid_grant");
    app.pass(Duration::from_secs(599)).await;
    assert!(app.is_active(&api, &token).await);
    app.pass(Duration::from_secs(1)).await;
    assert!(!app.is_active(&api, &token).await, "at the second that exp names");
}

async fn in3_a_token_whose_key_was_withdrawn_is_inactive_at_once_on_every_node(backend: Backend) {
    let (app, shop, api) = with_api(backend).await;
    let second = app.second_node_with(&[("issuer", &app.issuer)]).await;
    let token = app.plain_token(&shop).await.access_token();
    assert!(app.is_active(&api, &token).await && second.is_active(&api, &token).await);
    app.database.execute("UPDATE signing_keys SET revoked_at = 1").await;
    assert!(!app.is_active(&api, &token).await && !second.is_active(&api, &token).await);
}

async fn in3_a_token_whose_list_is_gone_is_inactive(backend: Backend) {
    let (app, shop, api) = with_api(backend).await;
    let (own, of_user) = (app.plain_token(&shop).await.access_token(), app.sign_in(&shop).await.access_token());
    assert!(app.is_active(&api, &own).await && app.is_active(&api, &of_user).await);
    // As after a restore of the database.
    app.database.execute("DELETE FROM status_lists").await;
    assert!(!app.is_active(&api, &own).await && !app.is_active(&api, &of_user).await);
}

async fn in4_a_client_learns_nothing_about_tokens_that_it_does_not_introspect(backend: Backend) {
    const STOCK: &str = "https://stock.example";
    let (app, shop) = TestApp::for_users(backend).await;
    app.database.resource(STOCK, "stock:read", None);
    let of_stock = app.database.client_with("stock-api", |new| new.introspects = [STOCK.parse().unwrap()].into());
    let api = app.api("orders-api").await;
    let token = app.plain_token(&shop).await.access_token();
    assert!(app.is_active(&api, &token).await);
    let with_format = |client: &Credential, format: &str| {
        let request = app.form("/oauth/introspect", &format!("token={token}")).basic_auth(&client.id, Some(&client.secret));
        Answer::to(request.header("accept", format))
    };
    // The client of the token has no more right to it than others.
    for other in [&of_stock, &shop] {
        for format in ["application/json", "application/token-introspection+jwt", "*/*", "text/html"] {
            let answer = with_format(other, format).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"active":false}"#), "{format}");
        }
        assert!(!app.is_active(other, "junk").await);
    }
    let orders = || [ORDERS.parse().unwrap()].into();
    app.database.update_client("shop", ClientChange { add_introspects: orders(), ..ClientChange::default() });
    app.database.update_client("orders-api", ClientChange { remove_introspects: orders(), ..ClientChange::default() });
    app.settle().await;
    assert!(app.is_active(&shop, &token).await && !app.is_active(&api, &token).await);
}

async fn in5_a_wrong_hint_changes_nothing(backend: Backend) {
    let (app, shop, api) = with_api(backend).await;
    let signed_in = app.sign_in(&shop).await;
    for hint in ["access_token", "refresh_token", "junk", ""] {
        assert!(app.is_active(&api, &format!("{}&token_type_hint={hint}", signed_in.access_token())).await, "{hint}");
        assert!(!app.is_active(&api, &format!("{}&token_type_hint={hint}", signed_in.refresh_token())).await, "{hint}");
    }
}

async fn in6_ad5_pw8_a_disabled_user_or_client_counts_at_once_on_every_node(backend: Backend) {
    let (app, shop, api) = with_api(backend).await;
    let second = app.second_node_with(&[("issuer", &app.issuer)]).await;
    let on_both_nodes = async |token: &str, active: bool| {
        for node in [&app, &second] {
            assert_eq!(node.is_active(&api, token).await, active);
        }
    };
    let own = app.plain_token(&shop).await.access_token();
    let signed_in = app.sign_in(&shop).await;
    let (of_user, refresh) = (signed_in.access_token(), signed_in.refresh_token());
    on_both_nodes(&own, true).await;
    on_both_nodes(&of_user, true).await;

    // No node waits for its next look at the epochs.
    app.database.disable_user("alice");
    on_both_nodes(&of_user, false).await;
    on_both_nodes(&own, true).await;
    for node in [&app, &second] {
        node.sign_in(&shop).await.refused(400, "invalid_grant");
        node.refresh(&shop, &refresh).await.refused(400, "invalid_grant");
    }
    app.database.enable_user("alice");
    on_both_nodes(&of_user, false).await;
    let again = second.sign_in(&shop).await.access_token();
    on_both_nodes(&again, true).await;

    app.database.disable_client("shop");
    on_both_nodes(&own, false).await;
    on_both_nodes(&again, false).await;
    app.database.enable_client("shop");
    on_both_nodes(&own, false).await;
    on_both_nodes(&again, false).await;
    app.settle().await;
    on_both_nodes(&app.plain_token(&shop).await.access_token(), true).await;
}

async fn in6_a_token_of_a_deleted_client_or_user_is_inactive_also_when_there_is_another_of_the_same_name(backend: Backend) {
    let (app, shop, api) = with_api(backend).await;
    let own = app.plain_token(&shop).await.access_token();
    let of_user = app.sign_in(&shop).await.access_token();
    app.database.delete_user("alice");
    assert!(!app.is_active(&api, &of_user).await && app.is_active(&api, &own).await);
    app.user("alice");
    assert!(!app.is_active(&api, &of_user).await);
    app.database.delete_client("shop");
    assert!(!app.is_active(&api, &own).await);
    app.app_for_users("shop");
    assert!(!app.is_active(&api, &own).await);
}

async fn in6_a_token_without_a_status_depends_on_its_client_and_its_user(backend: Backend) {
    let app = TestApp::start_with(TestDatabase::create(backend).await, &[("status_lists", "false")]).await.with_orders();
    let shop = app.app_for_users("shop");
    app.user("alice");
    let api = app.api("orders-api").await;
    let own = app.plain_token(&shop).await.access_token();
    let of_user = app.sign_in(&shop).await.access_token();
    for token in [&own, &of_user] {
        assert!(claims_of(token)["status"].is_null() && app.is_active(&api, token).await);
    }
    app.database.disable_user("alice");
    assert!(!app.is_active(&api, &of_user).await && app.is_active(&api, &own).await);
    app.database.enable_user("alice");
    assert!(app.is_active(&api, &of_user).await);
    app.database.disable_client("shop");
    assert!(!app.is_active(&api, &of_user).await && !app.is_active(&api, &own).await);
    app.database.delete_client("shop");
    assert!(!app.is_active(&api, &own).await);
    app.app_for_users("shop");
    // Commands have the time of this machine, and the server that of its own clock.
    for (later, active) in [(0, true), (1, false)] {
        let created_at = app.now().seconds() + later;
        app.database.execute(&format!("UPDATE clients SET created_at = {created_at} WHERE id = 'shop'")).await;
        assert_eq!(app.is_active(&api, &own).await, active, "a client that was created {later} s after the token was issued");
    }
}

async fn in7_without_a_database_no_answer_is_guessed(backend: Backend) {
    let (app, shop, api) = with_api(backend).await;
    let tokens = [app.plain_token(&shop).await.access_token(), app.sign_in(&shop).await.access_token()];
    assert!(app.is_active(&api, &tokens[0]).await);
    for table in ["clients", "users", "logins", "revocations", "status_lists", "signing_keys"] {
        app.database.execute(&format!("ALTER TABLE {table} RENAME TO {table}_gone")).await;
        for token in &tokens {
            let answer = app.introspect(&api, &format!("token={token}")).await;
            answer.refused(503, "temporarily_unavailable");
            assert!(answer.header("retry-after").is_some(), "{table}");
        }
        assert!(!app.is_active(&api, "junk").await, "this needs no database");
        app.database.execute(&format!("ALTER TABLE {table}_gone RENAME TO {table}")).await;
    }
    for token in &tokens {
        assert!(app.is_active(&api, token).await);
    }
}

async fn in7_introspections_that_wait_for_the_database_leave_connections_to_other_requests(backend: Backend) {
    const LOCK_WAITS: &str =
        "SELECT CAST(COUNT(*) AS TEXT) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("database_connections", "4")]).await.with_orders();
    let shop = app.app_for_users("shop");
    app.user("alice");
    let api = app.api("orders-api").await;
    let signed_in = app.sign_in(&shop).await;
    let token = signed_in.access_token();
    assert!(app.is_active(&api, &token).await);
    // Refreshing needs the database, and not this table.
    let held = app.database.lock("LOCK TABLE status_lists IN ACCESS EXCLUSIVE MODE").await;
    let ask = || {
        let request = app.form("/oauth/introspect", &format!("token={token}")).basic_auth(&api.id, Some(&api.secret));
        tokio::spawn(Answer::to(request))
    };
    let lock_waits = async || app.database.texts(LOCK_WAITS).await.remove(0).parse::<usize>().unwrap();
    let two = [ask(), ask()];
    while lock_waits().await < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // All others wait for a turn, in vain.
    let others = [ask(), ask(), ask(), ask()];
    app.refresh(&shop, &signed_in.refresh_token()).await.granted();
    while others.iter().any(|other| !other.is_finished()) {
        assert!(lock_waits().await <= 2, "half of the connections");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for other in others {
        let answer = other.await.unwrap();
        answer.refused(503, "temporarily_unavailable");
        assert!(answer.header("retry-after").is_some());
    }
    held.release().await;
    for one in two {
        // 503 if this took so long that its time was over.
        assert!([200, 503].contains(&one.await.unwrap().status));
    }
    assert!(app.is_active(&api, &token).await);
}

async fn in7_a_node_that_cannot_read_the_keys_does_not_guess_about_an_unknown_one(backend: Backend) {
    let (app, shop, api) = with_api(backend).await;
    let token = app.plain_token(&shop).await.access_token();
    let mut other_key = header_of(&token);
    other_key["kid"] = json!("GeV_PRqDFZ2MsYYNjS4j-4Kewg6zQEbv2pbE-k9RMOc");
    let unknown = with_header(&token, &other_key);
    assert!(!app.is_active(&api, &unknown).await);
    app.settle().await;
    app.database.execute("ALTER TABLE epochs RENAME TO epochs_gone").await;
    // A key that another node has made may sign by now.
    app.clock.advance(Duration::from_secs(2));
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        let request = app.form(path, &format!("token={unknown}")).basic_auth(&api.id, Some(&api.secret));
        let answer = Answer::to(request).await;
        answer.refused(503, "temporarily_unavailable");
        assert!(answer.header("retry-after").is_some());
    }
    assert!(app.is_active(&api, &token).await, "its key is known, and the database has the rest");
    app.database.execute("ALTER TABLE epochs_gone RENAME TO epochs").await;
    app.settle().await;
    assert!(!app.is_active(&api, &unknown).await);
}

async fn the_log_says_why_a_token_is_inactive(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let mut server = Process::serve(&database);
    let base = format!("http://{}", server.addr().await);
    let secret = furnish(&database);
    let api = database.api("orders-api");
    let http = reqwest::Client::new();
    let ask = async |path: &str, (id, secret): (&str, &str), body: String| {
        let request = http.post(format!("{base}{path}")).basic_auth(id, Some(secret));
        Answer::to(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    };
    let (shop, api) = (("shop", secret.as_str()), (api.id.as_str(), api.secret.as_str()));
    let token = ask("/oauth/token", shop, "grant_type=client_credentials".to_owned()).await.access_token();
    let body = format!("token={token}");
    for (client, active) in [(api, true), (shop, false)] {
        assert_eq!(ask("/oauth/introspect", client, body.clone()).await.granted()["active"], active);
    }
    assert_eq!(ask("/oauth/revoke", shop, body.clone()).await.status, 200);
    assert_eq!(ask("/oauth/introspect", api, body).await.granted()["active"], false);
    server.signal("TERM");
    assert!(server.wait().success());
    let lines: Vec<Value> = server.stderr().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let causes: Vec<_> = lines.iter().filter(|line| line["event"] == "token.introspected").map(|line| line["cause"].clone()).collect();
    assert_eq!(causes.len(), 3, "{causes:?}");
    assert!(causes[0].is_null(), "{causes:?}");
    assert!(causes[1].as_str().unwrap().contains("--add-introspects"), "{causes:?}");
    assert_eq!(causes[2], "inactive: it was revoked");
}
