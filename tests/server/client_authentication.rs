//! Client authentication: RFC 6749 sections 2.3 and 5.2.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::header::HeaderMap;

use crate::support::{Answer, Backend, Credential, TestApp, on_both_databases, on_sqlite};

on_both_databases![
    ca7_a_client_without_a_secret_gets_nothing,
    several_secrets_are_valid_at_once_until_each_expires_or_is_dropped,
    the_last_use_of_a_secret_is_recorded,
];

on_sqlite![
    ca1_the_client_id_and_the_secret_in_basic_are_form_encoded,
    ca2_two_methods_or_two_client_ids_in_one_request_are_refused,
    ca3_a_client_that_is_restricted_to_one_method_is_refused_with_the_other,
    ca4_a_wrong_or_missing_secret_gets_a_challenge,
    ca4_a_request_without_credentials_gets_an_answer_that_says_what_is_missing,
    ca5_an_unknown_client_a_wrong_secret_and_a_disabled_client_get_the_same_answer_for_the_same_work,
    ca12_the_basic_header_is_read_strictly,
];

const BODY: &str = "grant_type=client_credentials";

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn with_header(app: &TestApp, value: impl AsRef<[u8]>) -> Answer {
    Answer::to(app.token_request(BODY).header("authorization", value.as_ref())).await
}

async fn ca1_the_client_id_and_the_secret_in_basic_are_form_encoded(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing.eu-1_a");
    let encoded = Credential { id: percent_encoded(&client.id), secret: percent_encoded(&client.secret) };
    app.plain_token(&encoded).await.granted();
    Answer::to(app.token_request(&format!("{BODY}&client_id={}&client_secret={}", encoded.id, encoded.secret))).await.granted();

    // A secret with characters that no secret contains is decoded, and is wrong, not malformed.
    for odd in ["a:b%c+d e ü", "%", "+", "sw_"] {
        let odd = Credential { id: client.id.clone(), secret: percent_encoded(odd) };
        app.plain_token(&odd).await.refused(401, "invalid_client");
    }
    // A secret with a colon that is not encoded: everything after the first colon is the secret.
    app.plain_token(&Credential { secret: "a:b:c".to_owned(), ..client }).await.refused(401, "invalid_client");
}

async fn ca2_two_methods_or_two_client_ids_in_one_request_are_refused(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    app.token(&client, &format!("{BODY}&client_id=billing&client_secret={}", client.secret)).await.refused(400, "invalid_request");
    app.token(&client, &format!("{BODY}&client_secret={}", client.secret)).await.refused(400, "invalid_request");
    app.token(&client, &format!("{BODY}&client_id=other")).await.refused(400, "invalid_request");
    app.token(&client, &format!("{BODY}&client_id=billing")).await.granted();
    let twice = app.token_request(BODY).basic_auth("billing", Some(&client.secret)).basic_auth("billing", Some(&client.secret));
    Answer::to(twice).await.refused(400, "invalid_request");
}

async fn ca3_a_client_that_is_restricted_to_one_method_is_refused_with_the_other(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let registered = |id: &str, method: &str| app.database.client_with(id, |new| new.auth_methods = [method.parse().unwrap()].into());
    let (basic, post, both) = (registered("b", "client_secret_basic"), registered("p", "client_secret_post"), app.client("both"));
    let by_header = |client: Credential| async {
        let client = client;
        app.plain_token(&client).await
    };
    let by_body =
        |client: &Credential| Answer::to(app.token_request(&format!("{BODY}&client_id={}&client_secret={}", client.id, client.secret)));
    by_header(basic.clone()).await.granted();
    by_body(&basic).await.refused(401, "invalid_client");
    by_header(post.clone()).await.refused(401, "invalid_client");
    by_body(&post).await.granted();
    by_header(both.clone()).await.granted();
    by_body(&both).await.granted();
}

async fn ca4_a_wrong_or_missing_secret_gets_a_challenge(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let wrong = Credential { secret: client.secret.replace(&client.secret[30..34], "AAAA"), ..client };
    let answers = [
        app.plain_token(&wrong).await,
        Answer::to(app.token_request(&format!("{BODY}&client_id=billing&client_secret={}", wrong.secret))).await,
        Answer::to(app.token_request(&format!("{BODY}&client_id=billing"))).await,
        Answer::to(app.token_request(BODY)).await,
    ];
    for answer in answers {
        answer.refused(401, "invalid_client");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Basic realm="), "{answer:?}");
    }
}

/// The answer depends on the request alone: it is the same whether or not the server has a client, and no attempt is counted.
async fn ca4_a_request_without_credentials_gets_an_answer_that_says_what_is_missing(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let none = "The request has no client credentials. Send id and secret as HTTP Basic, or as client_id and client_secret in the body, or \
         a client_assertion.";
    let ask = async |more: &str| Answer::to(app.token_request(&format!("{BODY}{more}"))).await;
    for attempt in 0..30 {
        if attempt == 10 {
            app.client("billing");
            app.settle().await;
        }
        for (more, description) in [
            ("", none),
            ("&client_id=&client_secret=", none),
            ("&client_secret=wrong", "The parameter client_id is missing."),
            ("&client_id=&client_secret=wrong", "The parameter client_id is missing."),
        ] {
            let answer = ask(more).await;
            answer.refused(401, "invalid_client");
            assert_eq!(answer.json()["error_description"], description, "{more}");
            assert!(answer.header("www-authenticate").unwrap().starts_with("Basic realm="), "{answer:?}");
        }
    }
    // A request that names a client gets the one answer of all failures.
    for id in ["billing", "unknown"] {
        let answer = ask(&format!("&client_id={id}")).await;
        assert_eq!(answer.refused(401, "invalid_client").json()["error_description"], "The client could not be authenticated.", "{id}");
    }
}

async fn ca5_an_unknown_client_a_wrong_secret_and_a_disabled_client_get_the_same_answer_for_the_same_work(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let (client, disabled, other) = (app.client("billing"), app.client("disabled"), app.client("other"));
    app.database.disable_client("disabled");
    app.database.client_with("bare", |new| new.permissions.clear());
    let with = |id: &str, secret: &str| Credential { id: id.to_owned(), secret: secret.to_owned() };
    let attempts = [
        with("unknown", &client.secret),
        with("not a valid id", &client.secret),
        with("billing", "wrong"),
        with("billing", ""),
        with("billing", &other.secret),
        with("bare", &client.secret),
        disabled,
    ];
    let mut seen = Vec::new();
    for attempt in &attempts {
        let before = app.meters.secret_digests.get();
        let answer = app.plain_token(attempt).await;
        assert_eq!(app.meters.secret_digests.get() - before, 1, "{attempt:?}");
        answer.refused(401, "invalid_client");
        let mut headers: HeaderMap = answer.headers.clone();
        // These differ between any two answers.
        headers.remove("date").unwrap();
        headers.remove("x-request-id").unwrap();
        seen.push((answer.status, headers, answer.body));
    }
    for other in &seen[1..] {
        assert_eq!(*other, seen[0]);
    }
    // An unknown client is cached like a known one: the second time, neither is read from the database.
    let reads = app.meters.client_reads.get();
    for attempt in &attempts {
        app.plain_token(attempt).await.refused(401, "invalid_client");
    }
    assert_eq!(app.meters.client_reads.get(), reads);
}

async fn ca7_a_client_without_a_secret_gets_nothing(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    app.database.drop_secret(&client);
    Answer::to(app.token_request(&format!("{BODY}&client_id=billing"))).await.refused(401, "invalid_client");
    Answer::to(app.token_request(&format!("{BODY}&client_id=billing&client_secret="))).await.refused(401, "invalid_client");
    app.plain_token(&Credential { secret: String::new(), ..client.clone() }).await.refused(401, "invalid_client");
    app.plain_token(&client).await.refused(401, "invalid_client");
}

async fn ca12_the_basic_header_is_read_strictly(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let encoded = BASE64_STANDARD.encode(format!("billing:{}", client.secret));
    for scheme in ["Basic", "basic", "BASIC", "bAsIc"] {
        with_header(&app, format!("{scheme} {encoded}")).await.granted();
    }
    let no_colon = BASE64_STANDARD.encode("billing");
    let not_encoded = BASE64_STANDARD.encode("billing:%zz");
    let not_utf8 = BASE64_STANDARD.encode(b"billing:\xff");
    let nul = BASE64_STANDARD.encode(b"billing:\0");
    for value in [
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic YQ",
        "Bearer x",
        "",
        &format!("Basic {no_colon}"),
        &format!("Basic {not_encoded}"),
        &format!("Basic {not_utf8}"),
        &format!("Basic {nul}"),
        &encoded,
    ] {
        with_header(&app, value).await.refused(401, "invalid_client");
    }
    with_header(&app, b"Basic \xff\xff").await.refused(401, "invalid_client");
    let huge = with_header(&app, format!("Basic {}", "A".repeat(100_000))).await;
    assert_eq!(huge.status, 431, "{huge:?}");
    app.plain_token(&client).await.granted();
}

async fn several_secrets_are_valid_at_once_until_each_expires_or_is_dropped(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let first = app.client("billing");
    let second = app.database.add_secret(&first, Some(Duration::from_secs(3600)));
    app.plain_token(&first).await.granted();
    app.plain_token(&second).await.granted();

    // Well beyond the hour, because the command uses the system clock, which is slightly ahead of the server's.
    app.pass(Duration::from_secs(2 * 3600)).await;
    app.plain_token(&first).await.granted();
    app.plain_token(&second).await.refused(401, "invalid_client");

    app.database.drop_secret(&first);
    app.settle().await;
    app.plain_token(&first).await.refused(401, "invalid_client");
}

async fn the_last_use_of_a_secret_is_recorded(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let last_use = "SELECT COALESCE(CAST(last_used_at AS TEXT), 'never') FROM client_secrets";
    assert_eq!(app.database.texts(last_use).await, ["never"]);
    app.plain_token(&client).await.granted();
    let used = app.now().seconds();
    let epochs = app.database.contents().await;
    // A use that is not stored yet is stored when the server stops.
    let database = app.stop().await;
    assert_eq!(database.texts(last_use).await, [used.to_string()]);
    assert_eq!(database.contents().await, epochs, "a stamp raises no epoch");
}
