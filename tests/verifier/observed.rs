//! What operators see of a verifier: counters and spans, and never a token.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request},
    routing::get,
};
use sealwright::verifier::{Status, Token, Verifier, testing::Issuer};
use serde_json::{Value, json};
use tower::ServiceExt;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::{
    layer::{Read, Write},
    support::{AUDIENCE, KEY, OTHER_KEY, builder, rsa_jwk, set, warm, with},
};

fn api(verifier: &Verifier) -> Router {
    Router::new()
        .route("/read", get(|_: Token<Read>| async {}))
        .route("/write", get(|_: Token<Write>| async {}))
        .layer(verifier.layer())
        .merge(Router::new().route("/maybe", get(|_: Option<Token>| async {})).layer(verifier.layer().allow_anonymous()))
        .merge(Router::new().route("/writers", get(|| async {})).layer(verifier.layer().require::<Read>().require::<Write>()))
}

async fn ask(api: &Router, path: &str, token: Option<&str>) -> u16 {
    let mut request = Request::builder().uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    api.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
}

/// The number of tokens accepted, and refused by reason.
fn counted(status: &Status) -> (u64, Vec<(&'static str, u64)>) {
    (status.accepted, status.refused.iter().copied().filter(|(_, count)| *count > 0).collect())
}

#[tokio::test]
async fn each_token_is_counted_once_and_again_when_it_does_not_meet_a_requirement() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    let (before, api) = (verifier.status().accepted, api(&verifier));
    let token = issuer.token(AUDIENCE).scope("orders:read").sign().unwrap();
    assert_eq!(ask(&api, "/read", Some(&token)).await, 200);
    assert_eq!(ask(&api, "/write", Some(&token)).await, 403);
    assert_eq!(ask(&api, "/writers", Some(&token)).await, 403, "each requirement counts");
    assert_eq!(ask(&api, "/read", Some("junk")).await, 401);
    assert_eq!(ask(&api, "/read", None).await, 401);
    // A caller of a route that needs no token is not refused.
    assert_eq!(ask(&api, "/maybe", None).await, 200);
    assert_eq!(ask(&api, "/maybe", Some(&token)).await, 200);
    let (accepted, refused) = counted(&verifier.status());
    assert_eq!((accepted - before, refused), (4, vec![("malformed", 1), ("insufficient_scope", 2), ("no_token", 1)]));
    let text = verifier.status().prometheus();
    assert!(text.contains("{result=\"insufficient_scope\"} 2\n") && text.contains("{result=\"no_token\"} 1\n"), "{text}");
}

#[tokio::test]
async fn spans_name_the_outcome_of_each_token_and_never_show_it() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(Arc::new(log.reopen().unwrap()))
        .finish();
    // With one subscriber in the process, tracing asks the first thread at a span whether the span is wanted, and that thread may
    // belong to another test. With two subscribers, it asks both.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);

    let issuer = Issuer::start().await.unwrap();
    let verifier = issuer.verifier(AUDIENCE).build().unwrap();
    let api = api(&verifier);
    let app = issuer.token(AUDIENCE).scope("orders:read").sign().unwrap();
    let user = issuer.token(AUDIENCE).user("0197a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b").scope("orders:read").sign().unwrap();
    // The first waits for the keys.
    assert_eq!(ask(&api, "/read", Some(&app)).await, 200);
    assert_eq!(ask(&api, "/read", Some(&user)).await, 200);
    assert_eq!(ask(&api, "/read", None).await, 401);
    let hostile = issuer.hostile_tokens(AUDIENCE, "orders:read").unwrap();
    // White space around a token is removed, and the token is valid.
    for it in hostile.iter().filter(|it| it.token.trim() == it.token) {
        if let Ok(value) = format!("Bearer {}", it.token).parse::<HeaderValue>() {
            let request = Request::builder().uri("/read").header("authorization", value).body(Body::empty()).unwrap();
            assert_ne!(api.clone().oneshot(request).await.unwrap().status(), 200, "{}", it.name);
        }
    }
    assert_eq!(verifier.verify("x.y.z").await.unwrap_err().code(), "malformed");

    let text = std::fs::read_to_string(log.path()).unwrap();
    let spans: Vec<Value> = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["span"].clone()).collect();
    let named = |name: &str| spans.iter().filter(|span| span["name"] == name).collect::<Vec<_>>();
    assert_eq!(named("fetch_keys").iter().filter(|span| span["outcome"] == "fetched").count(), 1, "{text}");
    assert!(named("fetch_keys").iter().all(|span| span["issuer"] == issuer.url()), "{text}");
    let tokens = named("verify_token");
    assert_eq!(
        (&tokens[0]["outcome"], &tokens[0]["client.id"], &tokens[0]["user.id"]),
        (&"accepted".into(), &"billing".into(), &Value::Null)
    );
    assert_eq!(tokens[1]["user.id"], "0197a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b");
    assert_eq!(tokens[2]["outcome"], "no_token");
    assert!(tokens.iter().all(|span| span["outcome"].is_string()), "{text}");
    for reason in ["algorithm_not_allowed", "bad_signature", "expired", "wrong_audience", "wrong_type", "unknown_key"] {
        assert!(tokens.iter().any(|span| span["outcome"] == reason), "{reason}");
    }
    let shown = [&app, &user].into_iter().chain(hostile.iter().map(|it| &it.token));
    for part in shown.flat_map(|token| token.split('.')).filter(|part| part.len() > 20) {
        assert!(!text.contains(part), "a part of a token is in the log: {part}");
    }
}

#[test]
fn hd13_the_log_names_the_refused_key_of_a_set_and_the_reason() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt().json().with_writer(Arc::new(log.reopen().unwrap())).finish();
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let leaked = with(rsa_jwk(&OTHER_KEY, "leaked"), &json!({ "d": "AQAB" }));
    builder().keys(set(&[rsa_jwk(&KEY, "one"), leaked])).build().unwrap();
    let text = std::fs::read_to_string(log.path()).unwrap();
    assert!(text.contains("WARN") && text.contains("leaked") && text.contains("private member"), "{text}");
    assert!(!text.contains("AQAB"), "the value of the private member is not shown: {text}");
}
