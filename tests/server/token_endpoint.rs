//! `POST /oauth/token`: methods, answers and errors (RFC 6749 sections 3.2, 5.1 and 5.2).

use reqwest::Method;
use serde_json::Value;

use crate::support::{Answer, Backend, Credential, TestApp, claims_of, on_sqlite};

on_sqlite![
    at3_audience_is_a_synonym_of_resource_at_a_refresh,
    te1_only_post_gets_a_token,
    te6_an_unknown_parameter_is_ignored,
    te7_a_missing_grant_type_is_invalid_and_an_unknown_one_unsupported,
    te9_te13_a_success_states_the_granted_scope,
    te10_no_answer_may_be_cached,
    te11_an_error_repeats_nothing_of_the_request,
    te11_a_scope_token_is_named_if_it_is_plain_and_whether_or_not_it_exists,
    te12_invalid_client_is_401_and_every_other_refusal_is_400,
    te14_a_scope_follows_the_grammar_and_is_case_sensitive,
    an_unknown_path_is_answered_with_json,
];

async fn te1_only_post_gets_a_token(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let query = format!("/oauth/token?grant_type=client_credentials&client_id=billing&client_secret={}", client.secret);
    for method in ["GET", "PUT", "HEAD", "TRACE", "DELETE", "OPTIONS", "PATCH"] {
        for path in ["/oauth/token", &query] {
            let request = app.request(Method::from_bytes(method.as_bytes()).unwrap(), path);
            let answer = Answer::to(request.basic_auth(&client.id, Some(&client.secret)).header("x-canary", "echoed")).await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method} {answer:?}");
            assert!(!answer.body.contains("access_token") && !answer.body.contains("echoed"), "{method} {answer:?}");
            answer.never_stored();
            if method != "HEAD" {
                answer.refused(405, "invalid_request");
            }
        }
    }
    assert_eq!(app.meters.tokens_issued.get(), 0);
}

async fn te6_an_unknown_parameter_is_ignored(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    // RFC 6749 section 3.2; some of these mean something to other grants.
    let unknown = "foo=bar&code=x&redirect_uri=https%3A%2F%2Fa.example&username=alice&refresh_token=x&assertion=x&grant_typ=password";
    let answers = [
        app.token(&client, "grant_type=client_credentials").await,
        app.token(&client, &format!("grant_type=client_credentials&{unknown}")).await,
    ];
    let [plain, with_unknown] = answers.map(|answer| {
        let mut granted = answer.granted();
        let mut claims = claims_of(granted["access_token"].as_str().unwrap());
        for of_one_token in ["jti", "status"] {
            claims.as_object_mut().unwrap().remove(of_one_token).unwrap();
        }
        granted["access_token"] = claims;
        granted
    });
    assert_eq!(with_unknown, plain);
}

async fn te7_a_missing_grant_type_is_invalid_and_an_unknown_one_unsupported(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    app.token(&client, "scope=orders:read").await.refused(400, "invalid_request");
    let junk = "x".repeat(1024);
    for strange in ["authorization_code", "PASSWORD", "Client_Credentials", "client_credentials ", &junk] {
        let answer = app.token(&client, &format!("grant_type={strange}")).await;
        answer.refused(400, "unsupported_grant_type");
    }
}

async fn te9_te13_a_success_states_the_granted_scope(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    for (asked, granted) in [
        ("", "orders:read orders:write"),
        ("&scope=orders:read", "orders:read"),
        ("&scope=orders:write+orders:read", "orders:read orders:write"),
    ] {
        let answer = app.token(&client, &format!("grant_type=client_credentials{asked}")).await;
        let body = answer.granted();
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(body["token_type"], "Bearer");
        assert_eq!(body["expires_in"].as_u64(), Some(600));
        assert_eq!(body["scope"], granted);
        assert_eq!(answer.claims()["scope"], granted);
        assert_eq!(body["access_token"].as_str().unwrap().split('.').count(), 3);
    }
}

async fn te10_no_answer_may_be_cached(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let wrong = Credential { secret: "wrong".to_owned(), ..client.clone() };
    app.plain_token(&client).await.never_stored();
    app.token(&client, "").await.refused(400, "invalid_request");
    app.plain_token(&wrong).await.refused(401, "invalid_client");

    let fresh = app.client("fresh");
    app.database.execute("ALTER TABLE clients RENAME TO clients_gone").await;
    app.plain_token(&fresh).await.refused(503, "temporarily_unavailable");
}

async fn te11_an_error_repeats_nothing_of_the_request(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let evil = "%22%5C%0D%0Aevil%C3%BC%F0%9F%98%80";
    let within = |name: &str| format!("grant_type=client_credentials&{name}={evil}");
    let mut answers = Vec::new();
    for name in ["scope", "resource", "client_id", "client_secret"] {
        answers.push(app.token(&client, &within(name)).await);
        answers.push(Answer::to(app.token_request(&within(name))).await);
    }
    answers.push(app.token(&client, &format!("grant_type={evil}")).await);
    answers.push(app.token(&client, &format!("grant_type=client_credentials&{evil}=1&{evil}=2")).await);
    answers.push(Answer::to(app.token_request("grant_type=client_credentials").basic_auth("evil\"\\ü", Some("evil"))).await);
    for answer in answers {
        assert!((400..500).contains(&answer.status), "{answer:?}");
        let body = answer.json();
        let members = body.as_object().unwrap();
        assert!(members.keys().all(|name| ["error", "error_description", "error_uri"].contains(&name.as_str())), "{body}");
        for text in members.values().map(|value| value.as_str().unwrap()) {
            assert!(text.bytes().all(|b| matches!(b, 0x20 | 0x21 | 0x23..=0x5B | 0x5D..=0x7E)), "{text:?}");
            assert!(!text.contains("evil"), "{text:?}");
        }
        assert!(!format!("{:?}", answer.headers).contains("evil"), "{answer:?}");
    }
}

async fn te11_a_scope_token_is_named_if_it_is_plain_and_whether_or_not_it_exists(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    app.database.resource("https://archive.example", "archive:list", None);
    let refresh_token = app.sign_in(&shop).await.refresh_token();
    let asks = [
        ("grant_type=client_credentials".to_owned(), "This client is not allowed the scope token {}."),
        (
            "grant_type=client_credentials&resource=https://orders.example".to_owned(),
            "This client is not allowed the scope token {} at this resource.",
        ),
        (format!("grant_type=refresh_token&refresh_token={refresh_token}"), "The login was not granted the scope token {}."),
    ];
    for (form, named) in &asks {
        let ask = async |scope: &str| {
            let answer = app.token(&shop, &format!("{form}&scope={scope}")).await;
            answer.refused(400, "invalid_scope").json()["error_description"].as_str().unwrap().to_owned()
        };
        // The first is another resource's, and the others are of no resource: only the name differs.
        for token in ["archive:list", "archive:none", "orders:read,orders:write"] {
            assert_eq!(ask(&format!("orders:read+{token}")).await, named.replace("{}", token));
        }
        let secret = shop.secret.replace('_', "%5F");
        for hidden in ["%3Cscript%3E", "a'b", &"x".repeat(65), &shop.secret, &shop.secret[..20], &secret, &refresh_token] {
            let unnamed = ask(hidden).await;
            assert!(unnamed.starts_with("The scope exceeds what"), "{hidden}: {unnamed}");
        }
    }
}

async fn te12_invalid_client_is_401_and_every_other_refusal_is_400(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let idle = app.database.client_with("idle", |new| new.grants.clear());
    let wrong = Credential { secret: "wrong".to_owned(), ..client.clone() };
    app.plain_token(&wrong).await.refused(401, "invalid_client");
    app.token(&client, "").await.refused(400, "invalid_request");
    app.token(&client, "grant_type=implicit").await.refused(400, "unsupported_grant_type");
    app.plain_token(&idle).await.refused(400, "unauthorized_client");
    app.token(&client, "grant_type=client_credentials&scope=other").await.refused(400, "invalid_scope");
    app.token(&client, "grant_type=client_credentials&resource=https://other.example").await.refused(400, "invalid_target");

    // A fault of the database is not reported as a wrong secret or grant.
    let fresh = app.client("fresh");
    app.database.execute("ALTER TABLE clients RENAME TO clients_gone").await;
    let answer = app.plain_token(&fresh).await;
    answer.refused(503, "temporarily_unavailable");
    assert!(answer.header("retry-after").unwrap().parse::<u64>().is_ok());
}

async fn te14_a_scope_follows_the_grammar_and_is_case_sensitive(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    // Ten thousand scope tokens, as short as possible; and ten thousand empty ones.
    let many = (0..10_000).map(|n| format!("{n:x}")).collect::<Vec<_>>().join("+");
    let many_empty = "+".repeat(10_000);
    for scope in [
        "a++b",
        "orders:read++orders:write",
        "+orders:read",
        "%22a",
        "a%5Cb",
        "orders:read%09",
        "a%09b",
        "ORDERS:READ",
        "orders:read+Orders:Write",
        &many,
        &many_empty,
    ] {
        app.token(&client, &format!("grant_type=client_credentials&scope={scope}")).await.refused(400, "invalid_scope");
    }
}

async fn an_unknown_path_is_answered_with_json(backend: Backend) {
    let app = TestApp::start(backend).await;
    for path in ["/", "/oauth", "/oauth/token/", "/.well-known/other", "/%00", "/oauth/../oauth/nothing"] {
        let answer = app.get(path).await;
        answer.refused(404, "invalid_request");
        let names: Vec<Value> = answer.json().as_object().unwrap().keys().map(|name| name.as_str().into()).collect();
        assert_eq!(names, ["error", "error_description"]);
    }
}

async fn at3_audience_is_a_synonym_of_resource_at_a_refresh(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let token = app.sign_in(&client).await.refresh_token();
    let by = |more: &str| format!("grant_type=refresh_token&refresh_token={token}{more}");
    for other in ["&audience=https://stock.example", "&audience=https://stock.example&resource=https://orders.example", "&audience=x"] {
        app.token(&client, &by(other)).await.refused(400, "invalid_target");
    }
    app.token(&client, &by("&audience=https://orders.example")).await.granted();
}
