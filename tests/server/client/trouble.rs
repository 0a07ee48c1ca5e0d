//! Servers that are not issuers, and issuers that fail: each gives a typed error that says who must do what, and shows no secret.

use std::time::Duration;

use sealwright::client::{BuildError, Credentials, Error, Party, Secret, TokenSource};

use super::{World, text};
use crate::support::{Backend, Behaviour, PASSWORD, on_sqlite, wait_until};

on_sqlite![
    a_server_that_is_not_an_issuer_is_reported_as_such,
    a_slow_issuer_times_out,
    an_unavailable_issuer_is_asked_again_after_its_retry_after,
    md3_metadata_that_names_another_issuer_is_refused,
    an_endpoint_that_moved_is_found_by_the_metadata,
    no_debug_output_or_error_shows_a_secret,
];

async fn fails(world: &World, source: &TokenSource) -> Error {
    let error = source.token().await.unwrap_err();
    assert!(error.to_string().len() < 1_000, "{error}");
    assert!(!error.to_string().contains(&world.shop.secret), "{error}");
    error
}

fn html() -> Vec<(&'static str, String)> {
    vec![("content-type", "text/html".to_owned())]
}

fn json() -> Vec<(&'static str, String)> {
    vec![("content-type", "application/json".to_owned())]
}

async fn a_server_that_is_not_an_issuer_is_reported_as_such(backend: Backend) {
    let world = World::begin(backend).await;
    let redirect = |status| Behaviour::Answers(status, vec![("location", format!("{}/elsewhere", world.relay.url))], Vec::new());
    let large = || b" ".repeat(50_000_000);
    let answer = |body: &str| Behaviour::Answers(200, json(), body.as_bytes().to_vec());
    let answers = [
        redirect(302),
        redirect(307),
        Behaviour::Answers(200, html(), b"<html>Welcome to the hotel</html>".to_vec()),
        Behaviour::Answers(200, json(), large()),
        Behaviour::Answers(400, json(), large()),
        Behaviour::Answers(404, html(), b"nothing here".to_vec()),
        Behaviour::Answers(400, json(), b"{}".to_vec()),
        Behaviour::Answers(401, html(), b"<html>".to_vec()),
        answer(""),
        answer("null"),
        answer(r#"{"access_token":"","token_type":"Bearer","expires_in":600}"#),
        answer(r#"{"access_token":"two words","token_type":"Bearer","expires_in":600}"#),
        answer(r#"{"access_token":"x\r\ny: z","token_type":"Bearer","expires_in":600}"#),
        answer(r#"{"access_token":"x","token_type":"mac","expires_in":600}"#),
        answer(r#"{"access_token":"x","token_type":"Bearer","expires_in":0}"#),
        answer(r#"{"access_token":"x","token_type":"Bearer","expires_in":-1}"#),
        answer(r#"{"token_type":"Bearer","expires_in":600}"#),
        answer(&format!(r#"{{"access_token":"{}","token_type":"Bearer","expires_in":600}}"#, "x".repeat(20_000))),
    ];
    for behaviour in answers {
        let shown = format!("{behaviour:?}").chars().take(100).collect::<String>();
        world.relay.token(behaviour);
        let error = fails(&world, &world.source()).await;
        assert!(matches!(error, Error::NotAnIssuer(_)), "{shown}: {error:?}");
        assert_eq!(error.party(), Party::App, "{shown}");
    }
    world.relay.token(Behaviour::Normal);
    for behaviour in [
        Behaviour::Answers(200, html(), b"<html>".to_vec()),
        Behaviour::Answers(404, html(), Vec::new()),
        Behaviour::Answers(200, json(), large()),
        Behaviour::Answers(200, json(), format!(r#"{{"issuer":"{}"}}"#, world.relay.url).into_bytes()),
        redirect(302),
    ] {
        world.relay.metadata(behaviour);
        let error = fails(&world, &world.source()).await;
        assert!(matches!(error, Error::NotAnIssuer(_)), "{error:?}");
    }
    for endpoint in ["http://auth.example/token", "file:///etc/passwd", "/token", ""] {
        let metadata = format!(r#"{{"issuer":"{}","token_endpoint":"{endpoint}"}}"#, world.relay.url);
        world.relay.metadata(Behaviour::Answers(200, json(), metadata.into_bytes()));
        let error = fails(&world, &world.source()).await;
        assert!(matches!(&error, Error::NotAnIssuer(why) if why.contains("token_endpoint")), "{endpoint}: {error:?}");
    }
    let unreachable = world.shop().issuer("http://127.0.0.1:1").token_source().unwrap();
    assert!(matches!(fails(&world, &unreachable).await, Error::Unreachable { .. }));

    // After any of these, the next valid answer is accepted.
    world.relay.comes_back();
    let source = world.source();
    text(&source).await;
    // Without `expires_in`, a token counts as valid for five minutes.
    world.relay.token(answer(r#"{"access_token":"x","token_type":"bearer"}"#));
    let untold = world.source();
    assert_eq!((text(&untold).await.as_str(), untold.status().expires_in.unwrap().as_secs()), ("x", 270));
    // Without `scope`, the granted scope is the requested one (section 5.1).
    let scoped = world.shop().scopes(["orders:read", "orders:write"]).token_source().unwrap();
    text(&scoped).await;
    assert_eq!((untold.status().scope, scoped.status().scope.as_deref()), (None, Some("orders:read orders:write")));
}

async fn a_slow_issuer_times_out(backend: Backend) {
    let world = World::begin(backend).await;
    for behaviour in [Behaviour::Silent, Behaviour::Stuck] {
        world.relay.token(behaviour);
        let source = world.shop().fetch_timeout(Duration::from_secs(5)).token_source().unwrap();
        let before = world.relay.token_requests();
        let waits = tokio::spawn({
            let source = source.clone();
            async move { source.token().await.unwrap_err() }
        });
        world.asked(before + 1).await;
        // Its task and the caller look at the clock.
        wait_until(|| world.clock.sleepers() == ["caller", "fetch"]).await;
        world.clock.advance(Duration::from_secs(5));
        let error = waits.await.unwrap();
        assert!(matches!(&error, Error::Unreachable { reason, .. } if reason.contains("within 5 s")), "{error:?}");
    }
    for (timeout, refused) in [(0, true), (999, true), (1000, false), (60_000, false), (60_001, true)] {
        let built = world.shop().fetch_timeout(Duration::from_millis(timeout)).token_source();
        assert_eq!(matches!(built, Err(BuildError::FetchTimeout(_))), refused, "{timeout}");
    }
}

async fn an_unavailable_issuer_is_asked_again_after_its_retry_after(backend: Backend) {
    let world = World::begin(backend).await;
    let source = world.source();
    text(&source).await;
    let busy = |status, seconds: &str| Behaviour::Answers(status, vec![("retry-after", seconds.to_owned())], Vec::new());
    world.relay.token(busy(503, "120"));
    let cold = world.source();
    let error = fails(&world, &cold).await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!((error.retry_after().unwrap().as_secs(), error.party()), (120, Party::Issuer));
    let asked = world.relay.token_requests();
    for _ in 0..11 {
        world.pass(10).await;
        assert!(cold.token().await.is_err() && source.token().await.is_ok());
    }
    assert_eq!(world.relay.token_requests(), asked);
    world.relay.token(Behaviour::Normal);
    world.pass(11).await;
    text(&cold).await;

    world.relay.token(busy(429, "99999999"));
    let error = fails(&world, &world.source()).await;
    assert!(matches!(error, Error::Limited { .. }), "{error:?}");
    assert_eq!(error.retry_after().unwrap().as_secs(), 3600, "within reason");
}

async fn md3_metadata_that_names_another_issuer_is_refused(backend: Backend) {
    let world = World::begin(backend).await;
    let real = format!(r#""token_endpoint":"{}/oauth/token""#, world.relay.url);
    for claimed_issuer in
        [format!("{}/", world.relay.url), world.relay.url.to_uppercase(), "https://evil.example".to_owned(), String::new()]
    {
        world.relay.metadata(Behaviour::Answers(200, json(), format!(r#"{{"issuer":"{claimed_issuer}",{real}}}"#).into_bytes()));
        let error = fails(&world, &world.source()).await;
        assert!(matches!(&error, Error::OtherIssuer { claimed } if *claimed == claimed_issuer), "{error:?}");
        assert_eq!(error.party(), Party::App);
    }
    assert_eq!(world.relay.token_requests(), 0, "no secret went there");
    for invalid in ["http://auth.example", "auth.example", "https://auth.example?x", ""] {
        assert!(matches!(world.shop().issuer(invalid).token_source(), Err(BuildError::Issuer(_))), "{invalid}");
    }
    assert!(matches!(Credentials::client("shop", Secret::value("x")).token_source(), Err(BuildError::NoIssuer)));
    assert!(matches!(world.shop().scopes(["two words"]).token_source(), Err(BuildError::Scope(_))));
    assert!(matches!(world.shop().resource("no uri").token_source(), Err(BuildError::Resource(_))));
    for invalid in [String::new(), "a\nb".to_owned(), "x".repeat(256)] {
        let built = world.complete(Credentials::client(invalid, Secret::value("x"))).token_source();
        assert!(matches!(built, Err(BuildError::ClientId)));
    }
}

async fn an_endpoint_that_moved_is_found_by_the_metadata(backend: Backend) {
    let world = World::begin(backend).await;
    let gone = format!(r#"{{"issuer":"{url}","token_endpoint":"{url}/gone"}}"#, url = world.relay.url);
    world.relay.metadata(Behaviour::Answers(200, json(), gone.into_bytes()));
    let source = world.source();
    fails(&world, &source).await;
    world.relay.metadata(Behaviour::Normal);
    world.pass(10).await;
    text(&source).await;
}

async fn no_debug_output_or_error_shows_a_secret(backend: Backend) {
    let world = World::begin(backend).await;
    let users = world.shop().attach_to(["http://127.0.0.1:1"]).users().unwrap();
    let tokens = users.sign_in("alice", Secret::value(PASSWORD)).await.unwrap();
    let alice = users.resume(&tokens);
    let app = world.shop().attach_to(["http://127.0.0.1:1"]).build().unwrap();
    let token = app.token_source().token().await.unwrap();
    let builder = Credentials::password("shop", Secret::value(&world.shop.secret), "alice", Secret::value(PASSWORD));
    let stored: serde_json::Value = serde_json::to_value(&tokens).unwrap();
    let secret: Vec<String> = [stored["refresh_token"].as_str().unwrap(), stored["access_token"].as_str().unwrap(), token.as_str()]
        .into_iter()
        .chain([world.shop.secret.as_str(), PASSWORD])
        .map(str::to_owned)
        .collect();
    let shown = [
        format!("{builder:?} {:?} {users:?} {tokens:?} {alice:?} {app:?} {token:?}", world.shop()),
        format!("{:?} {:?} {:?}", app.status(), alice.token_source(), token.header()),
        format!("{:?}", Secret::value(&world.shop.secret)),
        format!("{:?}", app.get("http://127.0.0.1:1/orders")),
    ];
    for text in &shown {
        assert!(secret.iter().all(|secret| !text.contains(secret)), "{text}");
    }
    assert!(shown[0].contains("shop") && shown[0].contains(&world.relay.url), "the client and the issuer are shown: {}", shown[0]);
    let named = format!("{:?} {:?}", Secret::file("/run/secrets/shop"), Secret::env("SHOP_SECRET"));
    assert_eq!(named, "Secret(file /run/secrets/shop) Secret(variable SHOP_SECRET)");
}
