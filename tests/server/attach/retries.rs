//! Answers that refuse the token: one more request with another token, if the request can be repeated.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use axum::{
    Router,
    body::Bytes,
    extract::Request,
    http::{HeaderName, HeaderValue, Method, header},
    response::IntoResponse,
    routing::any,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{Api, INVALID_TOKEN, Pieces, World, api_with, echo, problem, unauthorized, upgrades};
use crate::support::{Backend, on_sqlite};

on_sqlite![
    gd4_an_answer_that_refuses_the_token_is_retried_exactly_once_with_another,
    gd4_a_write_is_not_repeated_after_a_401_without_a_reason,
    gd4_a_401_that_blames_something_else_is_not_retried,
    gd4_a_401_soon_after_the_token_was_fetched_is_not_retried,
    gd4_a_large_body_is_not_sent_twice_and_later_requests_have_another_token,
    gd4_a_body_that_has_not_arrived_whole_is_not_sent_twice,
    gd4_a_second_sending_that_fails_is_reported_and_counted,
    gd4_an_upgrade_that_is_answered_401_is_repeated_with_another_token,
    gd4_while_the_issuer_is_away_the_app_gets_the_401_of_the_api,
];

/// The time after which the issuer may be asked for another token.
const COOLED_DOWN: u64 = 11;

/// A metric of answers that refused the token.
fn refused(outcome: &str) -> String {
    format!("sealwright_attach_refused_tokens_total{{route=\"1\",outcome=\"{outcome}\"}}")
}

async fn gd4_an_answer_that_refuses_the_token_is_retried_exactly_once_with_another(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let attach = world.attach(&api.origin).await;
    let url = format!("{}/orders", attach.url);
    let of_grpc = ([(header::CONTENT_TYPE, "application/grpc"), (HeaderName::from_static("grpc-status"), "16")], "").into_response();
    for (method, answer, body) in [
        (Method::POST, unauthorized(Some(INVALID_TOKEN)), "tea"),
        (Method::POST, of_grpc, "tea"),
        (Method::PUT, unauthorized(Some("Bearer realm=\"orders\"")), "sugar"),
        (Method::GET, unauthorized(None), ""),
    ] {
        world.get(&url).send().await.unwrap();
        let first = api.only().token();
        world.pass(COOLED_DOWN).await;
        api.answers([answer]);
        let answer = world.http.request(method.clone(), &url).header("x-own", "1").body(body).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "fine"), "{method}");
        let seen = api.seen();
        let tokens: Vec<String> = seen.iter().map(super::Seen::token).collect();
        assert_eq!(tokens.len(), 2, "{seen:?}");
        assert!(tokens[0] == first && tokens[1] != first, "the second has another token");
        for one in &seen {
            assert_eq!((&one.method, one.body.as_str(), one.header("x-own")), (&method, body, Some("1")));
        }
    }
    // An API that refuses every token gets each request twice at most, and the app its answer.
    world.pass(COOLED_DOWN).await;
    api.answers((0..10).map(|_| unauthorized(Some(INVALID_TOKEN))));
    let answer = world.http.post(&url).body("tea").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), api.seen().len()), (401, 2));
    assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], INVALID_TOKEN);
    assert_eq!(attach.metric(&world, &refused("repeated")).await, Some(4));
    assert_eq!(attach.metric(&world, &refused("refused_again")).await, Some(1));
}

async fn gd4_a_write_is_not_repeated_after_a_401_without_a_reason(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let attach = world.attach(&api.origin).await;
    world.get(&attach.url).send().await.unwrap();
    let mut last = api.only().token();
    let answers = [None, Some("Bearer realm=\"orders\""), Some("DPoP error=\"invalid_token\"")];
    for (times, challenge) in (2..).zip(answers) {
        world.pass(COOLED_DOWN).await;
        api.answers([unauthorized(challenge)]);
        assert_eq!(world.http.post(&attach.url).body("tea").send().await.unwrap().status(), 401, "{challenge:?}");
        assert_eq!(api.only().token(), last, "it may have had an effect");
        world.asked(times).await;
        last = world.other_token(&attach, &api, &last).await;
    }
    assert_eq!(attach.metric(&world, &refused("not_idempotent")).await, Some(3));
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
    assert_eq!(attach.metric(&world, &refused("no_other_token")).await, Some(5));
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

async fn gd4_a_body_that_has_not_arrived_whole_is_not_sent_twice(backend: Backend) {
    let world = World::begin(backend).await;
    // Answers before the body has arrived.
    let requests: Arc<AtomicUsize> = Arc::default();
    let api = {
        let requests = requests.clone();
        move || {
            requests.fetch_add(1, SeqCst);
            async { unauthorized(Some(INVALID_TOKEN)) }
        }
    };
    let origin = api_with(Router::new().route("/upload", any(api))).await;
    let attach = world.attach(&origin).await;
    world.asked(1).await;
    world.settles().await;
    world.pass(COOLED_DOWN).await;
    let (sender, pieces) = Pieces::new();
    sender.send(Bytes::from_static(b"sugar ")).await.unwrap();
    let answer = world.http.post(format!("{}/upload", attach.url)).body(reqwest::Body::wrap(pieces)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), requests.load(SeqCst)), (401, 1));
    world.asked(2).await;
    assert_eq!(attach.metric(&world, &refused("body_not_kept")).await, Some(1));
    drop(sender);
}

/// The next connection, on which a request whose body is `tea` has arrived.
async fn next_request(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"tea") {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "{}", String::from_utf8_lossy(&received));
    }
    stream
}

async fn gd4_a_second_sending_that_fails_is_reported_and_counted(backend: Backend) {
    let world = World::begin(backend).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let attach = world.attach(&format!("http://{}", listener.local_addr().unwrap())).await;
    let api = tokio::spawn(async move {
        let refusal =
            format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {INVALID_TOKEN}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        next_request(&listener).await.write_all(refusal.as_bytes()).await.unwrap();
        drop(next_request(&listener).await);
    });
    world.asked(1).await;
    world.settles().await;
    world.pass(COOLED_DOWN).await;
    let (status, problem) = problem(world.http.post(&attach.url).body("tea")).await;
    assert_eq!((status, problem["reason"].as_str(), problem["party"].as_str()), (502, Some("origin_unreachable"), Some("api")));
    api.await.unwrap();
    assert_eq!(attach.metric(&world, &refused("failed")).await, Some(1));
}

async fn gd4_an_upgrade_that_is_answered_401_is_repeated_with_another_token(backend: Backend) {
    let world = World::begin(backend).await;
    // Refuses the first token that it sees.
    let first: Arc<Mutex<Option<HeaderValue>>> = Arc::default();
    let api = move |request: Request| {
        let token = request.headers()[header::AUTHORIZATION].clone();
        let refuses = *first.lock().unwrap().get_or_insert_with(|| token.clone()) == token;
        async move { if refuses { unauthorized(Some(INVALID_TOKEN)) } else { echo(request).await } }
    };
    let origin = api_with(Router::new().route("/socket", any(api))).await;
    let attach = world.attach(&origin).await;
    world.asked(1).await;
    world.settles().await;
    world.pass(COOLED_DOWN).await;
    upgrades(&attach.listens[0], "/socket").await;
    assert_eq!(attach.metric(&world, &refused("repeated")).await, Some(1));
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
