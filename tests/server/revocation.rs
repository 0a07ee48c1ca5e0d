//! `POST /oauth/revoke`: RFC 7009.

use std::time::Duration;

use crate::support::{Answer, Backend, TestApp, TestDatabase, on_both_databases, on_database, on_sqlite};

on_both_databases![
    rv1_rv3_a_revoked_refresh_token_is_invalid_for_any_hint,
    rv5_without_a_database_a_revocation_is_not_reported_as_done,
    rv6_a_revoked_access_token_is_inactive_at_once_on_every_node,
    rv2_a_token_that_is_revoked_already_waits_for_no_lock,
    rv6_an_access_token_is_revoked_after_its_exp_while_verifiers_may_accept_it,
    rv7_other_logins_continue,
    rv8_a_revocation_during_refreshes_leaves_no_valid_token,
];

// Writers of SQLite wait in a queue, without a connection.
on_database!(on_postgres, Postgres, revocations_of_one_client_leave_connections_to_other_requests);

on_sqlite![
    rv2_an_unknown_token_counts_as_revoked,
    op10_the_answer_has_a_content_type_and_no_body,
    rv4_a_token_can_be_revoked_only_by_its_own_client,
    rv2_an_expired_or_foreign_access_token_counts_as_revoked,
    rv4_an_access_token_can_be_revoked_only_by_its_own_client,
    an_access_token_without_a_status_cannot_be_revoked,
    the_endpoint_is_as_strict_as_the_token_endpoint,
];

async fn rv1_rv3_a_revoked_refresh_token_is_invalid_for_any_hint(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let api = app.api("orders-api").await;
    for hint in ["", "&token_type_hint=refresh_token", "&token_type_hint=access_token", "&token_type_hint=junk"] {
        let signed_in = app.sign_in(&client).await;
        let refreshed = app.refresh(&client, &signed_in.refresh_token()).await;
        let token = refreshed.refresh_token();
        let answer = app.revoke(&client, &format!("token={token}{hint}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{hint}");
        answer.never_stored();
        app.refresh(&client, &token).await.refused(400, "invalid_grant");
        // The access tokens of the login too.
        for issued in [signed_in, refreshed] {
            assert!(!app.is_active(&api, &issued.access_token()).await, "{hint}");
        }
        let own = app.plain_token(&client).await.access_token();
        assert!(app.is_active(&api, &own).await);
        let answer = app.revoke(&client, &format!("token={own}{hint}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{hint}");
        assert!(!app.is_active(&api, &own).await, "{hint}");
    }
    // A used token ends its login too: its holder asks for the sign-out.
    let first = app.sign_in(&client).await.refresh_token();
    let second = app.refresh(&client, &first).await.refresh_token();
    assert_eq!(app.revoke(&client, &format!("token={first}")).await.status, 200);
    app.refresh(&client, &second).await.refused(400, "invalid_grant");
    let reasons = app.database.texts("SELECT DISTINCT ended_because FROM logins").await;
    assert_eq!(reasons, ["revoked"]);
}

async fn rv2_an_unknown_token_counts_as_revoked(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let token = app.sign_in(&client).await.refresh_token();
    assert_eq!(app.revoke(&client, &format!("token={token}")).await.status, 200);
    let unknown = format!("{}A", &token[..token.len() - 1]);
    for token in [token.as_str(), &unknown, "junk", "a.b.c", "%20", "..", &"x".repeat(10_000)] {
        let answer = app.revoke(&client, &format!("token={token}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{token}");
    }
}

async fn rv2_an_expired_or_foreign_access_token_counts_as_revoked(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let (elsewhere, their_client) = TestApp::for_users(backend).await;
    let foreign = elsewhere.plain_token(&their_client).await.access_token();
    let expired = app.plain_token(&client).await.access_token();
    // No verifier accepts it any more, whatever its leeway and its clock.
    app.pass(Duration::from_secs(600 + 420)).await;
    let altered = format!("{}A", &app.plain_token(&client).await.access_token());
    for token in [foreign, expired, altered] {
        for hint in ["", "&token_type_hint=access_token"] {
            let answer = app.revoke(&client, &format!("token={token}{hint}")).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{token}");
        }
    }
    assert_eq!(app.database.texts("SELECT list_id FROM revocations").await, Vec::<String>::new());
}

async fn op10_the_answer_has_a_content_type_and_no_body(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let token = app.sign_in(&client).await.refresh_token();
    for token in [token.as_str(), &token, "unknown"] {
        let answer = app.revoke(&client, &format!("token={token}")).await;
        assert_eq!((answer.status, answer.header("content-type"), answer.body.as_str()), (200, Some("application/json"), ""));
    }
    // Other answers that a library may read have one too.
    for (method, path) in
        [("GET", "/nowhere"), ("GET", "/oauth/revoke"), ("PUT", "/oauth/token"), ("POST", "/oauth/revoke"), ("GET", "/docs/x")]
    {
        let answer = Answer::to(app.request(method.parse().unwrap(), path)).await;
        assert!(answer.status >= 400 && answer.header("content-type") == Some("application/json"), "{method} {path}: {answer:?}");
    }
}

async fn rv4_a_token_can_be_revoked_only_by_its_own_client(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let other = app.app_for_users("other");
    let token = app.sign_in(&client).await.refresh_token();
    let body = format!("token={token}");
    for request in [app.form("/oauth/revoke", &body), app.form("/oauth/revoke", &format!("{body}&client_id=shop&client_secret=wrong"))] {
        let answer = Answer::to(request).await;
        answer.refused(401, "invalid_client");
        assert!(answer.header("www-authenticate").is_some());
    }
    app.revoke(&other, &body).await.refused(400, "invalid_grant");
    app.refresh(&client, &token).await.granted();
}

async fn rv4_an_access_token_can_be_revoked_only_by_its_own_client(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let other = app.app_for_users("other");
    let api = app.api("orders-api").await;
    for token in [app.plain_token(&client).await.access_token(), app.sign_in(&client).await.access_token()] {
        let body = format!("token={token}");
        for request in [app.form("/oauth/revoke", &body), app.form("/oauth/revoke", &format!("{body}&client_id=shop&client_secret=wrong"))]
        {
            Answer::to(request).await.refused(401, "invalid_client");
        }
        // To introspect tokens gives no right to revoke them.
        for stranger in [&other, &api] {
            app.revoke(stranger, &body).await.refused(400, "invalid_grant");
        }
        assert!(app.is_active(&api, &token).await);
    }
}

async fn rv5_without_a_database_a_revocation_is_not_reported_as_done(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let api = app.api("orders-api").await;
    let signed_in = app.sign_in(&client).await;
    let (token, of_user) = (signed_in.refresh_token(), signed_in.access_token());
    let own = app.plain_token(&client).await.access_token();
    for (table, revoked) in [("logins", &token), ("logins", &of_user), ("revocations", &of_user), ("revocations", &own)] {
        app.database.execute(&format!("ALTER TABLE {table} RENAME TO {table}_gone")).await;
        let answer = app.revoke(&client, &format!("token={revoked}")).await;
        answer.refused(503, "temporarily_unavailable");
        assert!(answer.header("retry-after").is_some());
        app.database.execute(&format!("ALTER TABLE {table}_gone RENAME TO {table}")).await;
    }
    assert!(app.is_active(&api, &own).await && app.is_active(&api, &of_user).await);
    app.refresh(&client, &token).await.granted();
}

async fn rv6_a_revoked_access_token_is_inactive_at_once_on_every_node(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let api = app.api("orders-api").await;
    let second = app.second_node_with(&[("issuer", &app.issuer)]).await;
    let nodes = [&app, &second];
    let (revoked, other) = (app.plain_token(&client).await.access_token(), app.plain_token(&client).await.access_token());
    // A token that is revoked already counts as revoked.
    for node in [&app, &app, &second] {
        assert_eq!(node.revoke(&client, &format!("token={revoked}")).await.status, 200);
    }
    for node in nodes {
        assert!(!node.is_active(&api, &revoked).await && node.is_active(&api, &other).await);
    }
    let rows = app.database.texts("SELECT CAST(COUNT(*) AS TEXT) FROM revocations").await;
    assert_eq!(rows, ["1"], "one row per revocation, however often it is asked for");

    // A login has one position for all of its tokens: it ends.
    let (signed_in, other_login) = (app.sign_in(&client).await, app.sign_in(&client).await);
    let refreshed = app.refresh(&client, &signed_in.refresh_token()).await;
    assert_eq!(second.revoke(&client, &format!("token={}", signed_in.access_token())).await.status, 200);
    for node in nodes {
        for issued in [&signed_in, &refreshed] {
            assert!(!node.is_active(&api, &issued.access_token()).await);
        }
        assert!(node.is_active(&api, &other_login.access_token()).await && node.is_active(&api, &other).await);
        node.refresh(&client, &refreshed.refresh_token()).await.refused(400, "invalid_grant");
    }
    app.refresh(&client, &other_login.refresh_token()).await.granted();
    assert_eq!(app.database.texts("SELECT ended_because FROM logins WHERE ended_at IS NOT NULL").await, ["revoked"]);
}

async fn rv2_a_token_that_is_revoked_already_waits_for_no_lock(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let token = app.plain_token(&client).await.access_token();
    assert_eq!(app.revoke(&client, &format!("token={token}")).await.status, 200);
    let held = app.database.lock("UPDATE clients SET id = id").await;
    assert_eq!(app.revoke(&client, &format!("token={token}")).await.status, 200);
    held.release().await;
}

async fn revocations_of_one_client_leave_connections_to_other_requests(backend: Backend) {
    const LOCK_WAITS: &str =
        "SELECT CAST(COUNT(*) AS TEXT) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("database_connections", "4")]).await.with_orders();
    let (flood, other) = (app.client("flood"), app.client("other"));
    let mut tokens = Vec::new();
    for _ in 0..8 {
        tokens.push(app.plain_token(&flood).await.access_token());
    }
    let held = app.database.lock("UPDATE clients SET id = id WHERE id = 'flood'").await;
    let revocations: Vec<_> = tokens
        .iter()
        .map(|token| {
            let request = app.form("/oauth/revoke", &format!("token={token}"));
            tokio::spawn(Answer::to(request.basic_auth(&flood.id, Some(&flood.secret))))
        })
        .collect();
    let lock_waits = async || app.database.texts(LOCK_WAITS).await.remove(0).parse::<usize>().unwrap();
    while lock_waits().await < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // This client and its span are read from the database.
    app.plain_token(&other).await.granted();
    // A text that is not a token of this issuer needs neither a turn nor the database.
    for garbage in ["garbage", &format!("{}A", tokens[0])] {
        assert_eq!(app.revoke(&flood, &format!("token={garbage}")).await.status, 200);
    }
    // All but two wait for a turn, in vain.
    while revocations.iter().filter(|revocation| !revocation.is_finished()).count() > 2 {
        assert!(lock_waits().await <= 2, "half of the connections");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    held.release().await;
    for revocation in revocations {
        let answer = revocation.await.unwrap();
        assert!([200, 503].contains(&answer.status), "{answer:?}");
    }
}

async fn rv6_an_access_token_is_revoked_after_its_exp_while_verifiers_may_accept_it(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let api = app.api("orders-api").await;
    let (own, signed_in) = (app.plain_token(&client).await, app.sign_in(&client).await);
    app.pass(Duration::from_secs(600 + 419)).await;
    for token in [own.access_token(), signed_in.access_token()] {
        assert!(!app.is_active(&api, &token).await, "introspection has no leeway");
        // Another client learns as little as before its exp.
        app.revoke(&api, &format!("token={token}")).await.refused(400, "invalid_grant");
        let answer = app.revoke(&client, &format!("token={token}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
    let until = own.claims()["exp"].as_i64().unwrap() + 420;
    assert_eq!(
        app.database.texts(&format!("SELECT list_id FROM revocations WHERE width = 1 AND expires_at = {until}")).await.len(),
        1,
        "the client's own, until no verifier accepts it"
    );
    assert_eq!(app.database.texts("SELECT list_id FROM revocations").await.len(), 2);
    app.refresh(&client, &signed_in.refresh_token()).await.refused(400, "invalid_grant");

    // Verifiers go by the time of day. Introspection, which does not, no longer knows.
    let again = app.plain_token(&client).await.access_token();
    app.clock.set_forward(Duration::from_secs(3600));
    app.clock.set_back(Duration::from_secs(3600));
    app.settle().await;
    app.introspect(&api, &format!("token={again}")).await.refused(503, "temporarily_unavailable");
    assert_eq!(app.revoke(&client, &format!("token={again}")).await.status, 200);
    assert_eq!(app.database.texts("SELECT list_id FROM revocations").await.len(), 3);
}

async fn rv7_other_logins_continue(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let other_client = app.app_for_users("other");
    app.user("bob");
    let password = crate::support::PASSWORD.replace(' ', "+");
    let api = app.api("orders-api").await;
    let own = [app.plain_token(&client).await.access_token(), app.plain_token(&other_client).await.access_token()];
    let revoked = app.sign_in(&client).await.refresh_token();
    let same_user = app.sign_in(&client).await.refresh_token();
    let by_other = app.sign_in(&other_client).await.refresh_token();
    let of_bob = app.token(&client, &format!("grant_type=password&username=bob&password={password}")).await.refresh_token();
    assert_eq!(app.revoke(&client, &format!("token={revoked}")).await.status, 200);
    app.refresh(&client, &revoked).await.refused(400, "invalid_grant");
    for (client, token) in [(&client, same_user), (&other_client, by_other), (&client, of_bob)] {
        let refreshed = app.refresh(client, &token).await.access_token();
        assert!(app.is_active(&api, &refreshed).await);
    }
    for token in own {
        assert!(app.is_active(&api, &token).await);
    }
}

async fn rv8_a_revocation_during_refreshes_leaves_no_valid_token(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let api = app.api("orders-api").await;
    for round in 0..6 {
        let signed_in = app.sign_in(&client).await;
        let token = signed_in.refresh_token();
        let refreshes = (0..20).map(|_| app.refresh(&client, &token));
        // By either of its tokens.
        let body = format!("token={}", if round % 2 == 0 { token.clone() } else { signed_in.access_token() });
        let (answers, revoked) = tokio::join!(join_all(refreshes), app.revoke(&client, &body));
        assert_eq!(revoked.status, 200);
        for answer in answers {
            if answer.status == 200 {
                assert!(!app.is_active(&api, &answer.access_token()).await);
                app.refresh(&client, &answer.refresh_token()).await.refused(400, "invalid_grant");
            } else {
                answer.refused(400, "invalid_grant");
            }
        }
        app.refresh(&client, &token).await.refused(400, "invalid_grant");
    }
}

/// Runs all of them concurrently.
pub(crate) async fn join_all(requests: impl Iterator<Item = impl Future<Output = Answer>>) -> Vec<Answer> {
    let mut requests: Vec<_> = requests.map(Box::pin).collect();
    let mut answers: Vec<Option<Answer>> = requests.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (request, answer) in requests.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let std::task::Poll::Ready(ready) = request.as_mut().poll(context)
            {
                *answer = Some(ready);
            }
        }
        if answers.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

async fn an_access_token_without_a_status_cannot_be_revoked(backend: Backend) {
    let app = TestApp::start_with(TestDatabase::create(backend).await, &[("status_lists", "false")]).await.with_orders();
    let client = app.app_for_users("shop");
    app.user("alice");
    let signed_in = app.sign_in(&client).await;
    for token in [app.plain_token(&client).await.access_token(), signed_in.access_token()] {
        for hint in ["", "&token_type_hint=access_token"] {
            let answer = app.revoke(&client, &format!("token={token}{hint}")).await;
            let words = answer.refused(400, "unsupported_token_type").json()["error_description"].to_string();
            assert!(words.contains("status lists were off") && words.contains("refresh token"), "{words}");
        }
    }
    app.refresh(&client, &signed_in.refresh_token()).await.granted();
}

async fn the_endpoint_is_as_strict_as_the_token_endpoint(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let token = app.sign_in(&client).await.refresh_token();
    for body in ["", "token=", "token_type_hint=refresh_token"] {
        app.revoke(&client, body).await.refused(400, "invalid_request");
    }
    app.revoke(&client, &format!("token={token}&token={token}")).await.refused(400, "invalid_request");
    app.revoke(&client, &format!("token={token}&x=%zz")).await.refused(400, "invalid_request");
    let in_url = app.form(&format!("/oauth/revoke?token={token}"), "").basic_auth(&client.id, Some(&client.secret));
    Answer::to(in_url).await.refused(400, "invalid_request");
    let answer = app.get("/oauth/revoke").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    app.pass(Duration::from_secs(1)).await;
    app.refresh(&client, &token).await.granted();
    drop::<TestApp>(app);
}
