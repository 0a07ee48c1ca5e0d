//! The verifier against the running server.

use std::{collections::BTreeMap, process::Stdio, sync::Arc, time::Duration};

use sealwright::{
    clock::ManualClock,
    verifier::{Error, Verifier, testing},
};
use serde_json::Value;

use crate::{
    key_requests,
    support::{Answer, Backend, ORDERS, TestApp, claims_of, command, header_of, kids, on_both_databases, on_sqlite, wait_until},
};

on_both_databases![
    rv6_sl2_a_revoked_token_is_refused_within_12_s_and_no_other,
    ky3_a_key_that_one_node_withdraws_while_another_is_blind_is_dropped_within_12_s,
];

on_sqlite![
    an_api_that_knows_only_the_url_of_the_issuer_checks_its_tokens,
    the_issuer_for_tests_answers_in_the_same_form_as_the_server,
    every_check_is_printed_in_order_with_the_expected_value,
];

async fn an_api_that_knows_only_the_url_of_the_issuer_checks_its_tokens(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let token = app.plain_token(&client).await.granted()["access_token"].as_str().unwrap().to_owned();
    let clock = Arc::new(app.clock.clone());
    let verifier = Verifier::for_issuer(&app.issuer).audience(ORDERS).clock(clock.clone()).build().unwrap();
    let claims = verifier.verify(&token).await.unwrap();
    assert_eq!((claims.issuer(), claims.subject()), (app.issuer.as_str(), "billing"));

    // The server stops; its tokens stay valid.
    drop(app.stop().await);
    assert!(verifier.verify(&token).await.is_ok() && verifier.clone().verify_cached(&token).is_ok());
    clock.advance(Duration::from_secs(630));
    assert_eq!(verifier.verify(&token).await.unwrap_err().code(), "expired");
}

/// A verifier of the server's tokens, with a clock of its own. As the server is moved first, it has published what there is to fetch.
fn with_own_clock(app: &TestApp) -> (Verifier, ManualClock) {
    let clock = ManualClock::at(app.now());
    let verifier = Verifier::for_issuer(&app.issuer).audience(ORDERS).clock(Arc::new(clock.clone())).build().unwrap();
    (verifier, clock)
}

/// Lets the eight seconds pass within which a verifier fetches each list again, and confirms the keys. The server publishes within two, and a cache
/// may delay it by as much: this is what is left of twelve.
async fn pass_eight_seconds(verifier: &Verifier, clock: &ManualClock) {
    let before = verifier.status().issuers.remove(0);
    clock.advance(Duration::from_secs(8));
    wait_until(|| {
        let now = verifier.status().issuers.remove(0);
        let lists = now.status_list_fetches >= before.status_list_fetches + before.status_lists.len() as u64;
        let idle = !now.fetching && now.status_lists.iter().all(|list| !list.fetching);
        lists && now.fetches > before.fetches && idle
    })
    .await;
}

async fn rv6_sl2_a_revoked_token_is_refused_within_12_s_and_no_other(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let (verifier, clock) = with_own_clock(&app);
    let own = [app.plain_token(&shop).await.access_token(), app.plain_token(&shop).await.access_token()];
    let signed_in = [app.sign_in(&shop).await, app.sign_in(&shop).await];
    let of_user = [signed_in[0].access_token(), signed_in[1].access_token()];
    for token in own.iter().chain(&of_user) {
        assert!(verifier.verify(token).await.is_ok());
    }

    // One token of the app, and a sign-out.
    for revoked in [&own[0], &signed_in[0].refresh_token()] {
        assert_eq!(app.revoke(&shop, &format!("token={revoked}")).await.status, 200);
    }
    app.publish().await;
    pass_eight_seconds(&verifier, &clock).await;
    for tokens in [&own, &of_user] {
        assert_eq!(verifier.verify_cached(&tokens[0]).unwrap_err(), Error::Revoked);
        assert!(verifier.verify_cached(&tokens[1]).is_ok());
    }

    app.database.disable_client("shop");
    app.publish().await;
    pass_eight_seconds(&verifier, &clock).await;
    for token in own.iter().chain(&of_user) {
        assert_eq!(verifier.verify_cached(token).unwrap_err(), Error::Revoked);
    }
    assert_eq!((verifier.status().issuers[0].status_list_failures, verifier.status().issuers[0].failures), (0, 0));
}

async fn ky3_a_key_that_one_node_withdraws_while_another_is_blind_is_dropped_within_12_s(backend: Backend) {
    const KEYS: &str = "/.well-known/jwks.json";
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let blind = app.second_node_with(&[("issuer", &app.issuer)]).await;
    let token = app.plain_token(&client).await.access_token();
    app.publish().await;
    let (verifier, clock) = with_own_clock(&app);
    assert!(verifier.verify(&token).await.is_ok());
    // While tokens are looked up, the keys are confirmed as often as the list is fetched, by a conditional request.
    for _ in 0..3 {
        pass_eight_seconds(&verifier, &clock).await;
    }
    let unchanged = format!("sealwright_http_requests_total{{route=\"{KEYS}\",status=\"304\"}} 3");
    let metrics = app.metrics().await;
    assert!(metrics.lines().any(|line| line == unchanged), "{metrics}");

    // The database is away from one node: it is there again before the clock of the other one moves, and this node does not look any more.
    app.database.execute("ALTER TABLE epochs RENAME TO epochs_gone").await;
    blind.pass(Duration::from_secs(61)).await;
    app.database.execute("ALTER TABLE epochs_gone RENAME TO epochs").await;
    let withdrawn = kids(&app).await.remove(0);
    // As `sealwright key rotate --now --compromised` does.
    key_requests::replace(&app, &withdrawn).unwrap();
    app.settle().await;
    key_requests::revoke(&app, &withdrawn);
    app.settle().await;
    let next = kids(&app).await.remove(0);
    key_requests::activate(&app, &next);
    app.settle().await;
    app.publish().await;
    assert_eq!((kids(&app).await, kids(&blind).await), (vec![next], vec![withdrawn]));
    assert_eq!(blind.get(KEYS).await.header("cache-control"), Some("public, max-age=60"));

    pass_eight_seconds(&verifier, &clock).await;
    assert_eq!(verifier.verify_cached(&token).unwrap_err(), Error::UnknownKey);
    let fresh = app.plain_token(&client).await.access_token();
    assert!(verifier.verify(&fresh).await.is_ok());
    assert_eq!((verifier.status().issuers[0].status_list_failures, verifier.status().issuers[0].failures), (0, 0));
}

/// The names of the members of an object, and the type of each.
fn form(object: &Value) -> BTreeMap<String, &'static str> {
    let kind = |value: &Value| match value {
        Value::String(_) => "text",
        Value::Number(number) if number.is_u64() => "whole number",
        _ => "something else",
    };
    object.as_object().unwrap().iter().map(|(name, value)| (name.clone(), kind(value))).collect()
}

async fn the_issuer_for_tests_answers_in_the_same_form_as_the_server(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let for_tests = testing::Issuer::start().await.unwrap();
    let real = |answer: Answer| answer.granted()["access_token"].as_str().unwrap().to_owned();
    let sub = "0197a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b";
    let builder = for_tests.token(ORDERS).client("shop").scope("orders:read").revocable();
    for (real, other) in [
        (real(app.plain_token(&shop).await), builder.sign().unwrap()),
        (real(app.sign_in(&shop).await), builder.clone().user(sub).sign().unwrap()),
    ] {
        assert_eq!(form(&header_of(&real)), form(&header_of(&other)));
        assert_eq!(form(&claims_of(&real)), form(&claims_of(&other)));
        let fixed = |token: &str| (header_of(token)["alg"].clone(), header_of(token)["typ"].clone(), claims_of(token)["aud"].clone());
        assert_eq!(fixed(&real), fixed(&other));
        let lifetime = |token: &str| claims_of(token)["exp"].as_i64().unwrap() - claims_of(token)["iat"].as_i64().unwrap();
        assert_eq!(lifetime(&real), lifetime(&other));
        for text in ["jti", "sub"] {
            let length = |token: &str| claims_of(token)[text].as_str().unwrap().len();
            assert_eq!(length(&real), length(&other), "{text}");
        }
    }

    for path in ["/.well-known/oauth-authorization-server", "/.well-known/jwks.json"] {
        let ours = app.get(path).await;
        let theirs = reqwest::get(format!("{}{path}", for_tests.url())).await.unwrap();
        assert_eq!(ours.headers["content-type"], theirs.headers()["content-type"]);
        let headers = theirs.headers().clone();
        let theirs: Value = serde_json::from_str(&theirs.text().await.unwrap()).unwrap();
        if path.ends_with("jwks.json") {
            assert_eq!(form(&ours.json()["keys"][0]), form(&theirs["keys"][0]));
            assert!(ours.headers.contains_key("etag") && headers.contains_key("etag"));
            let max_age = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().starts_with("public, max-age=");
            assert!(max_age(&ours.headers["cache-control"]) && max_age(&headers["cache-control"]));
        } else {
            let jwks_path = |document: &Value, issuer: &str| document["jwks_uri"].as_str().unwrap().replace(issuer, "");
            assert_eq!(jwks_path(&ours.json(), &app.issuer), jwks_path(&theirs, for_tests.url()));
            assert_eq!(theirs["issuer"], for_tests.url());
        }
    }
}

async fn every_check_is_printed_in_order_with_the_expected_value(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let answer = app.plain_token(&client).await;
    let token = answer.granted()["access_token"].as_str().unwrap().to_owned();
    let verify = |arguments: &[&str]| {
        let mut command = command(app.database.folder());
        command.args(["token", "verify"]).args(arguments);
        crate::support::finish(command)
    };
    let good = ["--issuer", &app.issuer, "--audience", ORDERS, "--scope", "orders:read"];
    let report = verify(&[&[token.as_str(), "--json"], &good[..]].concat()).json();
    assert_eq!((report["verified"].as_bool(), report["reason"].as_str(), &report["claims"]), (Some(true), None, &claims_of(&token)));
    let names: Vec<_> = report["checks"].as_array().unwrap().iter().map(|check| check["check"].as_str().unwrap()).collect();
    assert_eq!(names, sealwright::verifier::Check::ALL.iter().map(|check| check.name()).collect::<Vec<_>>());
    assert!(report["checks"].as_array().unwrap().iter().all(|check| check["passed"] == true), "{report}");

    let refused = verify(&[&token, "--issuer", &app.issuer, "--audience", "https://stock.example"]);
    let lines: Vec<String> = refused.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(lines.contains(&format!("issuer ok \"{}\"", app.issuer)), "{lines:?}");
    let found = "audience FAILED the token is for another API; \"https://orders.example\", expected \"https://stock.example\"";
    assert!(lines.contains(&found.to_owned()), "{lines:?}");
    assert!(lines.contains(&"expiry -".to_owned()), "later checks are not made: {lines:?}");
    refused.failed_saying(&["the token is for another API", "wrong_audience"]);

    // With a file of keys there is no request; without keys or an issuer, the error names what is missing.
    let file = app.database.folder().join("jwks.json");
    std::fs::write(&file, app.get("/.well-known/jwks.json").await.body).unwrap();
    let offline = ["--issuer", &app.issuer, "--audience", ORDERS, "--jwks", file.to_str().unwrap()];
    verify(&[&[token.as_str()], &offline[..]].concat()).succeeded();
    verify(&[&token, "--issuer", "http://127.0.0.1:1", "--audience", ORDERS]).failed_saying(&["keys_unavailable"]);
    verify(&[&token, "--audience", ORDERS]).failed_saying(&["--issuer"]);
    verify(&[&token, "--issuer", &app.issuer, "--audience", ORDERS, "--scope", "a b"]).failed_saying(&["scope"]);

    // The answer of the token endpoint can be piped in.
    let piped = |input: String| {
        let mut command = command(app.database.folder());
        command.args(["token", "verify", "-", "--json"]).args(good).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        crate::support::Finished::from(child.wait_with_output().unwrap())
    };
    assert_eq!(piped(answer.body.clone()).json()["verified"], true);
    for (hostile, reason) in [("junk", "malformed"), ("\u{1b}[2J.\u{1b}.\u{1b}", "malformed"), ("", "malformed")] {
        let finished = piped(hostile.to_owned());
        assert!(!finished.stdout.contains('\u{1b}') && !finished.stderr.contains('\u{1b}'));
        assert_eq!(serde_json::from_str::<Value>(&finished.stdout).unwrap()["reason"], reason);
    }
}

#[tokio::test]
async fn hd13_token_verify_names_the_refused_key_and_the_reason() {
    let app = TestApp::start(Backend::Sqlite).await.with_orders();
    let client = app.client("billing");
    let token = app.plain_token(&client).await.granted()["access_token"].as_str().unwrap().to_owned();
    let mut set = app.get("/.well-known/jwks.json").await.json();
    let other: Value = serde_json::from_str(&testing::Issuer::start().await.unwrap().jwks()).unwrap();
    set["keys"].as_array_mut().unwrap().push(other["keys"][0].clone());
    set["keys"][0]["d"] = "AQAB".into();
    let file = app.database.folder().join("jwks.json");
    std::fs::write(&file, set.to_string()).unwrap();
    let mut command = command(app.database.folder());
    command.args(["token", "verify", &token, "--issuer", &app.issuer, "--audience", ORDERS, "--jwks", file.to_str().unwrap()]);
    let refused = crate::support::finish(command);
    let why = format!("not used: key 0, kid {}: it has the private member", set["keys"][0]["kid"]);
    assert!(refused.stdout.contains(&why) && !refused.stdout.contains("AQAB"), "{}", refused.stdout);
    refused.failed_saying(&["unknown_key"]);
}
