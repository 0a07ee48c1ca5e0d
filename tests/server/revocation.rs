//! `POST /oauth/revoke`: RFC 7009.

use std::time::Duration;

use crate::support::{Answer, Backend, TestApp, on_both_databases, on_sqlite};

on_both_databases![
    rv1_rv3_a_revoked_refresh_token_is_invalid_for_any_hint,
    rv5_without_a_database_a_revocation_is_not_reported_as_done,
    rv7_other_logins_continue,
    rv8_a_revocation_during_refreshes_leaves_no_valid_token,
];

on_sqlite![
    rv2_an_unknown_token_counts_as_revoked,
    op10_the_answer_has_a_content_type_and_no_body,
    rv4_a_token_can_be_revoked_only_by_its_own_client,
    revoking_an_access_token_is_refused_with_the_reason,
    the_endpoint_is_as_strict_as_the_token_endpoint,
];

async fn rv1_rv3_a_revoked_refresh_token_is_invalid_for_any_hint(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    for hint in ["", "&token_type_hint=refresh_token", "&token_type_hint=access_token", "&token_type_hint=junk"] {
        let token = app.sign_in(&client).await.refresh_token();
        let answer = app.revoke(&client, &format!("token={token}{hint}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{hint}");
        answer.never_stored();
        app.refresh(&client, &token).await.refused(400, "invalid_grant");
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

async fn rv5_without_a_database_a_revocation_is_not_reported_as_done(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let token = app.sign_in(&client).await.refresh_token();
    app.database.execute("ALTER TABLE logins RENAME TO logins_gone").await;
    let answer = app.revoke(&client, &format!("token={token}")).await;
    answer.refused(503, "temporarily_unavailable");
    assert!(answer.header("retry-after").is_some());
    app.database.execute("ALTER TABLE logins_gone RENAME TO logins").await;
    app.refresh(&client, &token).await.granted();
}

async fn rv7_other_logins_continue(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let other_client = app.app_for_users("other");
    app.user("bob");
    let password = crate::support::PASSWORD.replace(' ', "+");
    let revoked = app.sign_in(&client).await.refresh_token();
    let same_user = app.sign_in(&client).await.refresh_token();
    let by_other = app.sign_in(&other_client).await.refresh_token();
    let of_bob = app.token(&client, &format!("grant_type=password&username=bob&password={password}")).await.refresh_token();
    assert_eq!(app.revoke(&client, &format!("token={revoked}")).await.status, 200);
    app.refresh(&client, &revoked).await.refused(400, "invalid_grant");
    for (client, token) in [(&client, same_user), (&other_client, by_other), (&client, of_bob)] {
        app.refresh(client, &token).await.granted();
    }
}

async fn rv8_a_revocation_during_refreshes_leaves_no_valid_token(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    for _ in 0..5 {
        let token = app.sign_in(&client).await.refresh_token();
        let refreshes = (0..20).map(|_| app.refresh(&client, &token));
        let body = format!("token={token}");
        let (answers, revoked) = tokio::join!(join_all(refreshes), app.revoke(&client, &body));
        assert_eq!(revoked.status, 200);
        for answer in answers {
            if answer.status == 200 {
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

async fn revoking_an_access_token_is_refused_with_the_reason(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let token = app.plain_token(&client).await.granted()["access_token"].as_str().unwrap().to_owned();
    for hint in ["", "&token_type_hint=access_token"] {
        app.revoke(&client, &format!("token={token}{hint}")).await.refused(400, "unsupported_token_type");
    }
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
