//! Client authentication by a JWT that the client signs with a key of its own, `private_key_jwt`: RFC 7523 section 2.2, and its audience by
//! draft-ietf-oauth-rfc7523bis.

use std::{collections::BTreeMap, time::Duration};

use sealwright::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::{
    revocation::join_all,
    support::{
        Answer, AppKey, Backend, Process, TestApp, TestDatabase, assertion_claims, by_assertion, claims_of, command_on, hostile_assertions,
        merged, on_both_databases, on_sqlite, without,
    },
};

on_both_databases![
    pk1_a_client_gets_a_token_by_an_assertion_of_each_algorithm_and_each_assertion_once,
    pk1_of_one_assertion_sent_many_times_at_once_to_two_nodes_one_is_accepted,
    pk1_the_memory_of_used_assertions_is_deleted_when_none_would_be_accepted_any_more,
    pk2_a_client_replaces_its_key_while_both_are_valid,
    the_last_use_of_a_key_is_recorded,
];

on_sqlite![
    pk1_every_other_assertion_is_refused_in_one_way_and_the_log_has_the_reason,
    pk1_an_assertion_beside_other_credentials_or_of_another_type_is_refused,
    pk1_an_assertion_authenticates_at_introspection_and_revocation,
    pk1_a_client_that_may_not_use_its_key_is_refused,
    pk1_an_assertion_is_accepted_while_clocks_differ_by_a_minute,
    pk1_used_assertions_that_cannot_be_remembered_are_not_accepted,
];

const ISSUER: &str = "https://auth.example";
const BODY: &str = "grant_type=client_credentials";

async fn start(backend: Backend) -> TestApp {
    TestApp::start_with(TestDatabase::create(backend).await, &[("issuer", ISSUER)]).await.with_orders()
}

fn claims(app: &TestApp, client: &str, jti: &str) -> Value {
    assertion_claims(client, ISSUER, app.now().seconds(), jti)
}

async fn by(app: &TestApp, assertion: &str) -> Answer {
    Answer::to(app.token_request(&format!("{BODY}&{}", by_assertion(assertion)))).await
}

async fn pk1_a_client_gets_a_token_by_an_assertion_of_each_algorithm_and_each_assertion_once(backend: Backend) {
    let app = start(backend).await;
    for (number, algorithm) in ["RS256", "PS256", "ES256", "Ed25519"].into_iter().enumerate() {
        let (key, client) = (AppKey::new(algorithm), format!("app{number}"));
        app.database.client_with_key(&client, key.public(), |_| ());
        let claims = claims(&app, &client, "1");
        let assertion = key.assertion(&claims);
        let granted = by(&app, &assertion).await;
        assert_eq!(granted.claims()["client_id"], client.as_str());
        by(&app, &assertion).await.refused(401, "invalid_client");
        // Another signature over the same `jti` is the same assertion.
        by(&app, &key.anonymous_assertion(&claims)).await.refused(401, "invalid_client");
    }
    // A `jti` is unique within a client.
    let key = AppKey::new("ES256");
    app.database.client_with_key("other", key.public(), |_| ());
    by(&app, &key.assertion(&claims(&app, "other", "1"))).await.granted();
    // No client is found by its key alone, whatever else the request names.
    let assertion = key.assertion(&claims(&app, "other", "2"));
    let named = |id: &str| Answer::to(app.token_request(&format!("{BODY}&client_id={id}&{}", by_assertion(&assertion))));
    named("app2").await.refused(401, "invalid_client");
    named("other").await.granted();
    // Under its older name.
    let ed25519 = AppKey::new("Ed25519");
    app.database.client_with_key("older", ed25519.public(), |_| ());
    by(&app, &ed25519.signed(&json!({ "alg": "EdDSA", "kid": ed25519.kid() }), &claims(&app, "older", "1"))).await.granted();
    let typed = json!({ "alg": "Ed25519", "typ": "client-authentication+jwt" });
    by(&app, &ed25519.signed(&typed, &claims(&app, "older", "2"))).await.granted();
    let fraction = json!({ "exp": app.now().seconds() as f64 + 30.5 });
    by(&app, &ed25519.assertion(&merged(claims(&app, "older", "3"), fraction))).await.granted();
}

async fn pk1_of_one_assertion_sent_many_times_at_once_to_two_nodes_one_is_accepted(backend: Backend) {
    let app = start(backend).await;
    let second = app.second_node_with(&[("issuer", ISSUER), ("failed_attempts_burst", "1000")]).await;
    let key = AppKey::new("ES256");
    app.database.client_with_key("billing", key.public(), |_| ());
    for round in 0..3 {
        let assertions: Vec<_> = (0..20).map(|number| key.assertion(&claims(&app, "billing", &format!("{round}-{number}")))).collect();
        let sent: Vec<_> = (0..4).flat_map(|copy| assertions.iter().map(move |assertion| (assertion, copy))).collect();
        let answers = join_all(sent.iter().map(|(assertion, copy)| by(if copy % 2 == 0 { &app } else { &second }, assertion))).await;
        let mut accepted: BTreeMap<&str, usize> = assertions.iter().map(|assertion| (assertion.as_str(), 0)).collect();
        for ((assertion, _), Answer { status, .. }) in sent.iter().zip(answers) {
            // A replay is a failed attempt, and those are limited.
            assert!([200, 401, 429].contains(&status), "{status}");
            *accepted.entry(assertion).or_default() += usize::from(status == 200);
        }
        assert!(accepted.values().all(|count| *count == 1), "{:?}", accepted.values());
    }
    let remembered = app.database.texts("SELECT CAST(COUNT(*) AS TEXT) FROM used_assertions").await;
    assert_eq!(remembered, ["60"]);
}

async fn pk1_the_memory_of_used_assertions_is_deleted_when_none_would_be_accepted_any_more(backend: Backend) {
    let app = start(backend).await;
    let key = AppKey::new("ES256");
    app.database.client_with_key("billing", key.public(), |_| ());
    let short = key.assertion(&claims(&app, "billing", "short"));
    let long = key.assertion(&merged(claims(&app, "billing", "long"), json!({ "exp": app.now().seconds() + 3600 })));
    by(&app, &short).await.granted();
    by(&app, &long).await.granted();
    let count = async || app.database.texts("SELECT CAST(COUNT(*) AS TEXT) FROM used_assertions").await.remove(0);
    assert_eq!(count().await, "2");
    // Until it expires, the leeway, and twice the difference between clocks.
    for (minutes, left) in [(3, "2"), (4, "1"), (56, "1"), (6, "0")] {
        for _ in 0..minutes {
            app.pass(Duration::from_secs(60)).await;
        }
        by(&app, &short).await.refused(401, "invalid_client");
        by(&app, &long).await.refused(401, "invalid_client");
        assert_eq!(count().await, left, "{minutes}");
    }
}

async fn pk2_a_client_replaces_its_key_while_both_are_valid(backend: Backend) {
    let app = start(backend).await;
    let (old, new) = (AppKey::new("ES256"), AppKey::new("RS256"));
    app.database.client_with_key("billing", old.public(), |new| new.credential_lifetime = Some(Duration::from_secs(3600)));
    by(&app, &old.assertion(&claims(&app, "billing", "1"))).await.granted();
    by(&app, &new.assertion(&claims(&app, "billing", "2"))).await.refused(401, "invalid_client");
    app.database.add_key("billing", new.public(), None);
    app.settle().await;
    for (number, key) in [&old, &new].into_iter().enumerate() {
        by(&app, &key.assertion(&claims(&app, "billing", &format!("a{number}")))).await.granted();
        by(&app, &key.anonymous_assertion(&claims(&app, "billing", &format!("b{number}")))).await.granted();
    }
    // A second key of the same algorithm is found without a `kid`, too.
    let third = AppKey::new("RS256");
    app.database.add_key("billing", third.public(), None);
    app.settle().await;
    by(&app, &third.anonymous_assertion(&claims(&app, "billing", "c"))).await.granted();
    by(&app, &new.anonymous_assertion(&claims(&app, "billing", "d"))).await.granted();

    // Of three, the two newest.
    let fourth = AppKey::new("RS256");
    app.database.add_key("billing", fourth.public(), None);
    app.database.execute(&format!("UPDATE client_keys SET created_at = created_at - 60 WHERE id = '{}'", new.kid())).await;
    app.database.add_key("billing", AppKey::new("ES256").public(), None);
    app.settle().await;
    by(&app, &fourth.anonymous_assertion(&claims(&app, "billing", "e"))).await.granted();
    by(&app, &new.anonymous_assertion(&claims(&app, "billing", "f"))).await.refused(401, "invalid_client");
    by(&app, &new.assertion(&claims(&app, "billing", "g"))).await.granted();

    // Well beyond the hour, because the command uses the system clock.
    app.pass(Duration::from_secs(2 * 3600)).await;
    by(&app, &old.assertion(&claims(&app, "billing", "3"))).await.refused(401, "invalid_client");
    by(&app, &new.assertion(&claims(&app, "billing", "4"))).await.granted();
    app.run(&["client", "drop-key", "billing", &new.kid(), "--yes"]).succeeded();
    app.settle().await;
    by(&app, &new.assertion(&claims(&app, "billing", "5"))).await.refused(401, "invalid_client");
    by(&app, &third.assertion(&claims(&app, "billing", "6"))).await.granted();
}

async fn the_last_use_of_a_key_is_recorded(backend: Backend) {
    let app = start(backend).await;
    let (key, unused) = (AppKey::new("ES256"), AppKey::new("ES256"));
    app.database.client_with_key("billing", key.public(), |_| ());
    app.database.add_key("billing", unused.public(), None);
    by(&app, &key.assertion(&claims(&app, "billing", "1"))).await.granted();
    let used = app.now().seconds();
    let database = app.stop().await;
    let rows = database.texts("SELECT id || ' ' || CAST(last_used_at AS TEXT) FROM client_keys WHERE last_used_at IS NOT NULL").await;
    assert_eq!(rows, [format!("{} {used}", key.kid())]);
}

async fn pk1_every_other_assertion_is_refused_in_one_way_and_the_log_has_the_reason(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let mut command = command_on(&database);
    command.args(["serve", "--listen", "127.0.0.1:0", "--failed-attempts-burst", "1000"]);
    let mut process = Process::spawn(command);
    let addr = process.addr().await;
    let (key, other) = (AppKey::new("ES256"), AppKey::new("ES256"));
    database.orders("orders:read");
    database.client_with_key("billing", key.public(), |_| ());
    database.client_with_key("other", other.public(), |_| ());
    let http = reqwest::Client::new();
    let metadata = http.get(format!("http://{addr}/.well-known/oauth-authorization-server")).send().await.unwrap();
    let issuer = serde_json::from_str::<Value>(&metadata.text().await.unwrap()).unwrap()["issuer"].as_str().unwrap().to_owned();
    let now = SystemClock.now().seconds();
    let mut number = 0;
    let mut claims = || {
        number += 1;
        assertion_claims("billing", &issuer, now, &format!("jti{number}"))
    };
    let ask = async |assertion: &str| {
        // The client is named as well, so that one is found even if the assertion names none.
        let body = format!("{BODY}&client_id=billing&{}", by_assertion(assertion));
        let request = http.post(format!("http://{addr}/oauth/token")).header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, good) = ask(&key.assertion(&claims())).await;
    assert_eq!(status, 200, "{good}");
    let access_token = serde_json::from_str::<Value>(&good).unwrap()["access_token"].as_str().unwrap().to_owned();

    let mut attempts = hostile_assertions(&key, &other, &issuer, now, &mut claims);
    attempts.push(("its typ is neither JWT nor client-authentication+jwt", access_token));
    assert!(attempts.len() >= 40, "{}", attempts.len());
    for (reason, assertion) in &attempts {
        let (status, body) = ask(assertion).await;
        let expected = r#"{"error":"invalid_client","error_description":"The client could not be authenticated."}"#;
        assert_eq!((status, body.as_str()), (401, expected), "{reason}: {assertion}");
    }
    let (status, _) = ask(&key.assertion(&claims())).await;
    assert_eq!(status, 200, "the failures do not count against a good one");

    process.signal("TERM");
    assert!(process.wait().success());
    let lines: Vec<Value> = process.stderr().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let logged: Vec<&str> = lines.iter().filter(|line| line["http.status"] == 401).map(|line| line["cause"].as_str().unwrap()).collect();
    let expected: Vec<String> = attempts.iter().map(|(reason, _)| format!("the assertion is refused: {reason}")).collect();
    for (number, (logged, expected)) in logged.iter().zip(&expected).enumerate() {
        assert_eq!(logged, expected, "attempt {number}");
    }
    assert_eq!(logged.len(), expected.len());
    for (reason, assertion) in &attempts {
        for part in assertion.split('.').filter(|part| part.len() > 40) {
            assert!(!process.stderr().iter().any(|line| line.contains(part)), "{reason}: a part of it is in the log");
        }
    }
}

async fn pk1_an_assertion_beside_other_credentials_or_of_another_type_is_refused(backend: Backend) {
    let app = start(backend).await;
    let key = AppKey::new("ES256");
    let client = app.client("billing");
    app.database.add_key("billing", key.public(), None);
    app.settle().await;
    let assertion = by_assertion(&key.assertion(&claims(&app, "billing", "1")));
    app.token(&client, &format!("{BODY}&{assertion}")).await.refused(400, "invalid_request");
    let both = format!("{BODY}&{assertion}&client_id=billing&client_secret={}", client.secret);
    Answer::to(app.token_request(&both)).await.refused(400, "invalid_request");
    let (kind, text) = assertion.split_once('&').unwrap();
    let saml = kind.replace("jwt-bearer", "saml2-bearer");
    for (parameters, description) in [
        (text.to_owned(), "The client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer."),
        (format!("{saml}&{text}"), "The client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer."),
        (kind.to_owned(), "The parameter client_assertion is missing."),
        (format!("{kind}&client_assertion="), "The parameter client_assertion is missing."),
    ] {
        let answer = Answer::to(app.token_request(&format!("{BODY}&{parameters}"))).await;
        assert_eq!(answer.refused(401, "invalid_client").json()["error_description"], description, "{parameters}");
    }
    // An assertion that names no client, or one that is none.
    for changed in [json!({}), json!({ "sub": "unknown" }), json!({ "sub": "Not An Id" }), json!({ "sub": 7 })] {
        by(&app, &key.assertion(&merged(without(claims(&app, "billing", "2"), "sub"), changed))).await.refused(401, "invalid_client");
    }
    // None of them has used it up.
    Answer::to(app.token_request(&format!("{BODY}&{assertion}"))).await.granted();
    app.plain_token(&client).await.granted();
}

async fn pk1_an_assertion_authenticates_at_introspection_and_revocation(backend: Backend) {
    let app = start(backend).await;
    let (key, api) = (AppKey::new("ES256"), AppKey::new("Ed25519"));
    app.database.client_with_key("billing", key.public(), |_| ());
    app.database.client_with_key("orders-api", api.public(), |new| {
        new.grants.clear();
        new.permissions.clear();
        new.introspects = ["https://orders.example".parse().unwrap()].into();
    });
    app.pass(Duration::from_secs(60)).await;
    let token = by(&app, &key.assertion(&claims(&app, "billing", "1"))).await.access_token();
    assert_eq!(claims_of(&token)["sub"], "billing");
    let ask =
        async |path: &str, assertion: String| Answer::to(app.form(path, &format!("token={token}&{}", by_assertion(&assertion)))).await;
    let introspected = ask("/oauth/introspect", api.assertion(&claims(&app, "orders-api", "1"))).await;
    assert_eq!((introspected.status, introspected.json()["active"].clone()), (200, json!(true)));
    assert_eq!(ask("/oauth/revoke", key.assertion(&claims(&app, "billing", "2"))).await.status, 200);
    ask("/oauth/introspect", api.assertion(&claims(&app, "orders-api", "1"))).await.refused(401, "invalid_client");
    let introspected = ask("/oauth/introspect", api.assertion(&claims(&app, "orders-api", "2"))).await;
    assert_eq!(introspected.json()["active"], json!(false));
}

async fn pk1_a_client_that_may_not_use_its_key_is_refused(backend: Backend) {
    let app = start(backend).await;
    let key = AppKey::new("ES256");
    let client = app.client("billing");
    let mut number = 0;
    let mut assertion = |app: &TestApp| {
        number += 1;
        key.assertion(&claims(app, "billing", &number.to_string()))
    };
    by(&app, &assertion(&app)).await.refused(401, "invalid_client");
    app.database.add_key("billing", key.public(), None);
    app.settle().await;
    by(&app, &assertion(&app)).await.granted();
    let by_secret = ["client", "update", "billing", "--auth-method", "client_secret_basic"];
    app.run(&by_secret).succeeded();
    app.settle().await;
    by(&app, &assertion(&app)).await.refused(401, "invalid_client");
    app.plain_token(&client).await.granted();
    app.run(&["client", "update", "billing", "--auth-method", "private_key_jwt"]).succeeded();
    app.settle().await;
    app.plain_token(&client).await.refused(401, "invalid_client");
    by(&app, &assertion(&app)).await.granted();
    app.database.disable_client("billing");
    app.settle().await;
    by(&app, &assertion(&app)).await.refused(401, "invalid_client");
}

async fn pk1_an_assertion_is_accepted_while_clocks_differ_by_a_minute(backend: Backend) {
    let app = start(backend).await;
    let key = AppKey::new("ES256");
    app.database.client_with_key("billing", key.public(), |_| ());
    let now = app.now().seconds();
    let cases = [
        ("its exp", json!({ "exp": now - 59 }), true),
        ("its exp", json!({ "exp": now - 60 }), false),
        ("its exp", json!({ "exp": now + 3660 }), true),
        ("its exp", json!({ "exp": now + 3661 }), false),
        ("its iat", json!({ "iat": now + 60 }), true),
        ("its iat", json!({ "iat": now + 61 }), false),
        ("its nbf", json!({ "nbf": now + 60 }), true),
        ("its nbf", json!({ "nbf": now + 61 }), false),
    ];
    for (number, (what, changed, accepted)) in cases.into_iter().enumerate() {
        let answer = by(&app, &key.assertion(&merged(claims(&app, "billing", &number.to_string()), changed.clone()))).await;
        assert_eq!(answer.status == 200, accepted, "{what}: {changed}");
    }
}

/// Without its memory, the server cannot know whether an assertion is used for the first time.
async fn pk1_used_assertions_that_cannot_be_remembered_are_not_accepted(backend: Backend) {
    let app = start(backend).await;
    let key = AppKey::new("ES256");
    app.database.client_with_key("billing", key.public(), |_| ());
    let used = key.assertion(&claims(&app, "billing", "0"));
    by(&app, &used).await.granted();
    app.database.execute("ALTER TABLE used_assertions RENAME TO elsewhere").await;
    by(&app, &used).await.refused(401, "invalid_client");
    let assertion = key.assertion(&claims(&app, "billing", "1"));
    let answer = by(&app, &assertion).await;
    answer.refused(503, "temporarily_unavailable");
    assert!(answer.header("retry-after").is_some());
    app.database.execute("ALTER TABLE elsewhere RENAME TO used_assertions").await;
    by(&app, &assertion).await.granted();
}
