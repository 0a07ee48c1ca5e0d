//! Answers that refuse the token: one more request with another token, if the body can be sent again.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::Request, http::header, response::IntoResponse, routing::any};
use http_body_util::BodyExt;

use super::{Api, INVALID_TOKEN, Pieces, World, api_with, unauthorized};
use crate::support::{Backend, on_sqlite};

on_sqlite![
    gd4_a_401_that_blames_the_token_is_retried_exactly_once_with_another,
    gd4_a_401_that_blames_something_else_is_not_retried,
    gd4_a_401_soon_after_the_token_was_fetched_is_not_retried,
    gd4_a_large_body_is_not_sent_twice_and_later_requests_have_another_token,
    gd4_a_body_that_has_not_arrived_yet_is_sent_to_its_end_by_the_second_request,
    gd4_while_the_issuer_is_away_the_app_gets_the_401_of_the_api,
];

/// The time after which the issuer may be asked for another token.
const COOLED_DOWN: u64 = 11;

async fn gd4_a_401_that_blames_the_token_is_retried_exactly_once_with_another(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let attach = world.attach(&api.origin).await;
    let url = format!("{}/orders", attach.url);
    for (challenge, body) in [(Some(INVALID_TOKEN), "tea"), (Some("Bearer realm=\"orders\""), ""), (None, "sugar")] {
        world.get(&url).send().await.unwrap();
        let first = api.only().token();
        world.pass(COOLED_DOWN).await;
        api.answers([unauthorized(challenge)]);
        let answer = world.http.post(&url).header("x-own", "1").body(body).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "fine"), "{challenge:?}");
        let seen = api.seen();
        let tokens: Vec<String> = seen.iter().map(super::Seen::token).collect();
        assert_eq!(tokens.len(), 2, "{seen:?}");
        assert!(tokens[0] == first && tokens[1] != first, "the second has another token");
        for one in &seen {
            assert_eq!((one.method.as_str(), one.body.as_str(), one.header("x-own")), ("POST", body, Some("1")));
        }
    }
    // An API that refuses every token gets each request twice at most, and the app its answer.
    world.pass(COOLED_DOWN).await;
    api.answers((0..10).map(|_| unauthorized(Some(INVALID_TOKEN))));
    let answer = world.http.post(&url).body("tea").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), api.seen().len()), (401, 2));
    assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], INVALID_TOKEN);
    let counted = |outcome: &str| format!("sealwright_attach_refused_tokens_total{{route=\"1\",outcome=\"{outcome}\"}}");
    assert_eq!(attach.metric(&world, &counted("repeated")).await, Some(3));
    assert_eq!(attach.metric(&world, &counted("refused_again")).await, Some(1));
}

async fn gd4_a_401_that_blames_something_else_is_not_retried(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let attach = world.attach(&api.origin).await;
    world.get(&attach.url).send().await.unwrap();
    world.pass(COOLED_DOWN).await;
    api.seen();
    let asked = world.relay.token_requests();
    for challenge in ["Bearer error=\"insufficient_scope\"", "Bearer error=\"invalid_request\""] {
        api.answers([unauthorized(Some(challenge))]);
        assert_eq!(world.get(&attach.url).send().await.unwrap().status(), 401);
        api.only();
    }
    assert_eq!(world.relay.token_requests(), asked, "the token is a good one");
}

async fn gd4_a_401_soon_after_the_token_was_fetched_is_not_retried(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let attach = world.attach(&api.origin).await;
    for _ in 0..5 {
        api.answers([unauthorized(Some(INVALID_TOKEN))]);
        assert_eq!(world.get(&attach.url).send().await.unwrap().status(), 401);
        api.only();
    }
    assert_eq!(world.relay.token_requests(), 1, "an API that refuses every token causes no flood of token requests");
    let name = "sealwright_attach_refused_tokens_total{route=\"1\",outcome=\"no_other_token\"}";
    assert_eq!(attach.metric(&world, name).await, Some(5));
}

async fn gd4_a_large_body_is_not_sent_twice_and_later_requests_have_another_token(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let attach = world.attach(&api.origin).await;
    world.get(&attach.url).send().await.unwrap();
    let first = api.only().token();
    world.pass(COOLED_DOWN).await;
    let large = "x".repeat(200 * 1024);
    api.answers([unauthorized(Some(INVALID_TOKEN))]);
    let answer = world.http.post(&attach.url).body(large.clone()).send().await.unwrap();
    assert_eq!(answer.status(), 401, "it is passed on");
    let seen = api.only();
    assert!(seen.body == large && seen.token() == first);
    world.asked(2).await;
    world.other_token(&attach, &api, &first).await;
    assert_eq!(world.http.post(&attach.url).body(large).send().await.unwrap().status(), 200);
}

async fn gd4_a_body_that_has_not_arrived_yet_is_sent_to_its_end_by_the_second_request(backend: Backend) {
    let world = World::begin(backend).await;
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let api = {
        let seen = seen.clone();
        // Refuses the first token that it sees, and answers before the body has arrived.
        move |request: Request| {
            let seen = seen.clone();
            async move {
                let token = request.headers()[header::AUTHORIZATION].to_str().unwrap().to_owned();
                let first = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(token.clone());
                    seen[0].clone()
                };
                if token == first {
                    return unauthorized(Some(INVALID_TOKEN));
                }
                request.into_body().collect().await.unwrap().to_bytes().into_response()
            }
        }
    };
    let origin = api_with(Router::new().route("/upload", any(api))).await;
    let attach = world.attach(&origin).await;
    world.asked(1).await;
    world.settles().await;
    world.pass(COOLED_DOWN).await;
    let (sender, pieces) = Pieces::new();
    sender.send(Bytes::from_static(b"sugar ")).await.unwrap();
    let request = world.http.post(format!("{}/upload", attach.url)).body(reqwest::Body::wrap(pieces));
    let answer = tokio::spawn(request.send());
    crate::support::wait_until(|| seen.lock().unwrap().len() == 2).await;
    sender.send(Bytes::from_static(b"and tea")).await.unwrap();
    drop(sender);
    let answer = answer.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "sugar and tea"));
}

async fn gd4_while_the_issuer_is_away_the_app_gets_the_401_of_the_api(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let attach = world.attach(&api.origin).await;
    world.get(&attach.url).send().await.unwrap();
    world.pass(COOLED_DOWN).await;
    world.relay.goes_down();
    api.answers([unauthorized(Some(INVALID_TOKEN))]);
    assert_eq!(world.get(&attach.url).send().await.unwrap().status(), 401, "not 503: the API answered");
    assert_eq!(world.get(&attach.url).send().await.unwrap().status(), 200, "the token stays in use");
}
