//! The body of a token request: RFC 6749 section 3.2 and appendix B.

use std::collections::BTreeMap;

use reqwest::Method;

use crate::support::{Answer, Backend, TestApp, on_sqlite};

on_sqlite![
    te2_a_body_that_is_not_a_form_is_refused_with_json,
    te2_an_empty_body_gets_an_answer_that_says_what_is_missing,
    te3_the_content_type_may_have_a_charset,
    te4_a_repeated_parameter_is_refused,
    te5_a_parameter_without_a_value_is_absent,
    te8_a_body_that_is_not_form_encoded_utf8_is_refused_and_changes_nothing,
    a_body_over_64_kib_is_refused_and_the_answer_arrives,
    parameters_in_the_url_are_not_accepted,
];

const BODY: &str = "grant_type=client_credentials";

async fn te2_a_body_that_is_not_a_form_is_refused_with_json(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    for content_type in
        ["application/json", "multipart/form-data; boundary=x", "text/plain", "application/x-www-form-urlencoded2", "", ";", "x"]
    {
        let request = app.request(Method::POST, "/oauth/token").header("content-type", content_type).body(BODY);
        Answer::to(request.basic_auth(&client.id, Some(&client.secret))).await.refused(400, "invalid_request");
    }
    let request = app.request(Method::POST, "/oauth/token").body(BODY);
    Answer::to(request.basic_auth(&client.id, Some(&client.secret))).await.refused(400, "invalid_request");
    let request = app.token_request(BODY).header("content-type", "application/json");
    Answer::to(request.basic_auth(&client.id, Some(&client.secret))).await.refused(400, "invalid_request");
}

async fn te2_an_empty_body_gets_an_answer_that_says_what_is_missing(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let empty = "The body is empty. Send the parameters in it, as application/x-www-form-urlencoded.";
    let no_form = "The Content-Type must be application/x-www-form-urlencoded.";
    let form = "application/x-www-form-urlencoded";
    for path in ["/oauth/token", "/oauth/revoke", "/oauth/introspect"] {
        let parameter = if path == "/oauth/token" { "grant_type" } else { "token" };
        let missing = format!("The parameter {parameter} is missing.");
        for (content_type, body, description) in
            [(None, "", empty), (Some("application/json"), "", no_form), (None, "token=x", no_form), (Some(form), "", missing.as_str())]
        {
            let mut request = app.request(Method::POST, path).body(body).basic_auth(&client.id, Some(&client.secret));
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let answer = Answer::to(request).await;
            answer.refused(400, "invalid_request");
            assert_eq!(answer.json()["error_description"], description, "{path} {content_type:?} {body:?}");
        }
    }
}

async fn te3_the_content_type_may_have_a_charset(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    for content_type in [
        "application/x-www-form-urlencoded; charset=UTF-8",
        "Application/X-WWW-Form-Urlencoded",
        "application/x-www-form-urlencoded ;charset=utf-8",
    ] {
        let request = app.request(Method::POST, "/oauth/token").header("content-type", content_type).body(BODY);
        Answer::to(request.basic_auth(&client.id, Some(&client.secret))).await.granted();
    }
}

async fn te4_a_repeated_parameter_is_refused(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let secret = client.secret.as_str();
    let known = BTreeMap::from([
        ("grant_type", "client_credentials"),
        ("scope", "orders:read"),
        ("resource", "https://orders.example"),
        ("client_id", "billing"),
        ("client_secret", secret),
        ("username", "alice"),
        ("password", "long enough a password"),
        ("refresh_token", "x"),
        ("foo", "bar"),
    ]);
    let all = known.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    Answer::to(app.token_request(&all)).await.granted();
    for (name, value) in &known {
        // With the plain name and an encoded one; with the same value, another, and none.
        for again in [
            format!("{name}={value}"),
            format!("{name}=other"),
            format!("{name}="),
            format!("%{:02x}{}={value}", name.as_bytes()[0], &name[1..]),
        ] {
            let code = if *name == "resource" { "invalid_target" } else { "invalid_request" };
            Answer::to(app.token_request(&format!("{all}&{again}"))).await.refused(400, code);
        }
    }
}

async fn te5_a_parameter_without_a_value_is_absent(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let body = app.token(&client, &format!("{BODY}&scope=&resource=&client_secret=&client_id=&password=")).await.granted();
    assert_eq!(body["scope"], "orders:read orders:write");
    app.token(&client, &format!("{BODY}&scope")).await.granted();
    app.token(&client, "grant_type=").await.refused(400, "invalid_request");
    Answer::to(app.token_request(&format!("{BODY}&client_id=billing&client_secret="))).await.refused(401, "invalid_client");
}

async fn te8_a_body_that_is_not_form_encoded_utf8_is_refused_and_changes_nothing(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let before = app.database.contents().await;
    for broken in ["%zz", "%", "%F", "%FF%FE", "%00", "%C0%AF", "%E0%80%AF", "%ED%A0%80", "%F8%88%80%80%80", "a%"] {
        for name in ["grant_type", "scope", "resource", "client_id", "client_secret", "username", "password", "refresh_token", "foo"] {
            let rest = if name == "grant_type" { "" } else { "grant_type=client_credentials&" };
            app.token(&client, &format!("{rest}{name}={broken}")).await.refused(400, "invalid_request");
        }
        app.token(&client, &format!("{BODY}&{broken}=1")).await.refused(400, "invalid_request");
        app.token(&client, &format!("{BODY}&{broken}")).await.refused(400, "invalid_request");
    }
    let raw = app.token_request("").body(b"grant_type=client_credentials&scope=\xff\xfe".to_vec());
    Answer::to(raw.basic_auth(&client.id, Some(&client.secret))).await.refused(400, "invalid_request");
    assert_eq!(app.database.contents().await, before);
    assert_eq!(app.meters.client_reads.get(), 1, "the only database access is that of the credentials in the header, once");
}

async fn a_body_over_64_kib_is_refused_and_the_answer_arrives(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let padding = 64 * 1024 - BODY.len() - "&x=".len();
    app.token(&client, &format!("{BODY}&x={}", "x".repeat(padding))).await.granted();
    app.token(&client, &format!("{BODY}&x={}", "x".repeat(padding + 1))).await.refused(413, "invalid_request");
    let many: String = (0..101).map(|n| format!("&p{n}=1")).collect();
    app.token(&client, &format!("{BODY}{many}")).await.refused(400, "invalid_request");
}

async fn parameters_in_the_url_are_not_accepted(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    for query in [format!("client_id=billing&client_secret={}", client.secret), "scope=orders:read".to_owned()] {
        let request = app.request(Method::POST, &format!("/oauth/token?{query}"));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(BODY);
        Answer::to(request).await.refused(400, "invalid_request");
    }
}
