//! Where the token is sent, and what happens when an API refuses it.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use sealwright::{
    client::{BuildError, Client, Error, Party, Secret},
    verifier::Verifier,
};
use tower::{Layer, ServiceExt};

use super::World;
use crate::support::{Backend, ORDERS, on_sqlite};

on_sqlite![
    a_request_carries_a_token_that_the_api_accepts,
    no_other_origin_ever_sees_the_token,
    a_redirect_to_another_origin_loses_the_token,
    a_request_that_gets_401_for_its_token_is_retried_once_with_another,
    a_write_is_not_repeated_after_a_401_without_a_reason,
    a_request_that_another_token_cannot_fix_is_not_retried,
    an_issuer_that_is_down_leaves_the_answer_of_the_api_as_it_is,
    the_layer_attaches_the_token_to_requests_of_a_tonic_client,
    a_token_that_is_refused_through_the_layer_is_replaced,
];

/// The `Authorization` and the body of a request.
type Request = (Option<String>, String);

/// An API with prepared answers, which records its requests.
#[derive(Clone, Default)]
struct Api {
    /// The next answers; 200 when there is none left.
    next: Arc<Mutex<Vec<Response>>>,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Api {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(Self::answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        origin
    }

    async fn answer(State(api): State<Self>, _: Uri, headers: HeaderMap, body: String) -> Response {
        let authorization = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        api.seen.lock().unwrap().push((authorization, body));
        api.next.lock().unwrap().pop().unwrap_or_else(|| "fine".into_response())
    }

    fn answers(&self, answers: impl IntoIterator<Item = Response>) {
        let mut answers: Vec<Response> = answers.into_iter().collect();
        answers.reverse();
        *self.next.lock().unwrap() = answers;
    }

    /// The requests since the last call.
    fn seen(&self) -> Vec<Request> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The number of requests, and of different tokens.
    fn counts(&self) -> (usize, usize) {
        let seen = self.seen();
        let tokens: std::collections::HashSet<_> = seen.iter().filter_map(|(token, _)| token.clone()).collect();
        (seen.len(), tokens.len())
    }
}

fn unauthorized(challenge: Option<&str>) -> Response {
    let mut response = StatusCode::UNAUTHORIZED.into_response();
    if let Some(challenge) = challenge {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
    }
    response
}

fn redirect(to: &str) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to.to_owned())]).into_response()
}

async fn client_of(world: &World, origin: &str) -> Client {
    world.shop().attach_to([origin]).build().unwrap()
}

async fn a_request_carries_a_token_that_the_api_accepts(backend: Backend) {
    let world = World::begin(backend).await;
    let clock = Arc::new(world.clock.clone());
    let verifier = Verifier::for_issuer(&world.relay.url).audience(ORDERS).clock(clock).build().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let orders = Router::new().route("/orders", axum::routing::any(|body: String| async move { body })).layer(verifier.layer());
    tokio::spawn(async move { axum::serve(listener, orders).await });
    let api = client_of(&world, &origin).await;
    let url = format!("{origin}/orders");
    for request in [api.get(&url), api.post(&url), api.put(&url), api.patch(&url), api.delete(&url)] {
        let answer = request.query(&[("page", "2")]).header("x-test", "1").body("tea").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "tea"));
    }
    let json =
        api.post(&url).json(&serde_json::json!({ "item": "tea" })).map(|request| request.header("x-more", "1")).send().await.unwrap();
    assert_eq!(json.text().await.unwrap(), r#"{"item":"tea"}"#);
    let form = api.post(&url).form(&[("item", "tea")]).send().await.unwrap();
    assert_eq!(form.text().await.unwrap(), "item=tea");
    assert_eq!(world.relay.token_requests(), 1);

    let unreachable = api.get("http://127.0.0.1:1/orders").send().await;
    assert!(unreachable.is_err_and(|error| error.party() == Party::Api));
}

async fn no_other_origin_ever_sees_the_token(backend: Backend) {
    let world = World::begin(backend).await;
    let (ours, other) = (Api::default(), Api::default());
    let (origin, elsewhere) = (ours.start().await, other.start().await);
    let api = client_of(&world, &origin).await;
    let same_port_other_name = origin.replace("127.0.0.1", "localhost");
    for url in [&elsewhere, &same_port_other_name] {
        assert_eq!(api.get(url).send().await.unwrap().status(), 200);
    }
    assert_eq!((other.seen(), ours.seen()), (vec![(None, String::new())], vec![(None, String::new())]));
    assert_eq!(world.relay.token_requests(), 0, "none was fetched for them");
    // An Authorization header that the caller sets is kept.
    api.get(&origin).header("authorization", "Basic YTpi").send().await.unwrap();
    assert_eq!(ours.seen()[0].0.as_deref(), Some("Basic YTpi"));
    assert!(matches!(world.shop().build(), Err(BuildError::NoOrigin)));
    for invalid in ["http://orders.example", "https://orders.example/v1", "orders.example", "*"] {
        let refused = world.shop().attach_to([invalid]).build().unwrap_err();
        assert!(matches!(&refused, BuildError::Origin(text) if text == invalid), "{refused}");
    }
    let with_password = world.shop().attach_to(["https://user:hunter2@orders.example"]).build().unwrap_err();
    assert!(matches!(&with_password, BuildError::Origin(_)) && !with_password.to_string().contains("hunter2"), "{with_password}");
    let never_sent = api.get("no url").send().await.unwrap_err();
    assert_eq!(never_sent.party(), Party::App, "{never_sent}");
}

async fn a_redirect_to_another_origin_loses_the_token(backend: Backend) {
    let world = World::begin(backend).await;
    let (ours, other) = (Api::default(), Api::default());
    let (origin, elsewhere) = (ours.start().await, other.start().await);
    let api = client_of(&world, &origin).await;
    ours.answers([redirect(&elsewhere)]);
    assert_eq!(api.post(&origin).body("tea").send().await.unwrap().status(), 200);
    assert!(ours.seen()[0].0.is_some());
    assert_eq!(other.seen(), [(None, "tea".to_owned())]);

    // To the other origin and back: the token stays removed.
    ours.answers([redirect(&elsewhere), unauthorized(None)]);
    other.answers([redirect(&origin)]);
    assert_eq!(api.get(&origin).send().await.unwrap().status(), 401);
    let tokens: Vec<bool> = ours.seen().iter().map(|(token, _)| token.is_some()).collect();
    assert_eq!((tokens, other.seen()), (vec![true, false], vec![(None, String::new())]));

    // Both origins may receive the token: a redirect removes it anyway.
    let both = world.shop().attach_to([&origin, &elsewhere]).build().unwrap();
    ours.answers([redirect(&elsewhere)]);
    both.get(&origin).send().await.unwrap();
    assert_eq!(other.seen(), [(None, String::new())]);

    // A redirect within the origin keeps it.
    ours.seen();
    ours.answers([redirect(&format!("{origin}/elsewhere"))]);
    api.get(&origin).send().await.unwrap();
    assert_eq!(ours.counts(), (2, 1));
    // The same host with another scheme is another origin.
    ours.answers([redirect(&origin.replace("http:", "https:"))]);
    assert!(matches!(api.get(&origin).send().await, Err(Error::Api(_))));
    // A redirect loop.
    ours.answers((0..20).map(|_| redirect(&origin)));
    assert!(matches!(api.get(&origin).send().await, Err(Error::Api(_))));
}

async fn a_request_that_gets_401_for_its_token_is_retried_once_with_another(backend: Backend) {
    let world = World::begin(backend).await;
    let orders = Api::default();
    let origin = orders.start().await;
    let api = client_of(&world, &origin).await;
    api.get(&origin).send().await.unwrap();
    orders.seen();
    let invalid = "Bearer error=\"invalid_token\", error_description=\"over\"";
    for (method, challenge) in
        [(Method::PUT, None), (Method::DELETE, Some("Bearer")), (Method::POST, Some(invalid)), (Method::PATCH, Some(invalid))]
    {
        world.pass(10).await;
        orders.answers([unauthorized(challenge)]);
        let answer = api.request(method, &origin).body("tea").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "fine"), "{challenge:?}");
        let seen = orders.seen();
        assert!(seen.len() == 2 && seen[0].0 != seen[1].0 && seen.iter().all(|(_, body)| body == "tea"), "{challenge:?}");
    }
    // Fifty at once: all use one other token.
    world.pass(10).await;
    let fetched = world.relay.token_requests();
    orders.answers((0..50).map(|_| unauthorized(None)));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let request = api.get(&origin);
        callers.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    callers.join_all().await;
    assert_eq!(world.relay.token_requests() - fetched, 1);
    assert_eq!(orders.counts().1, 2);
}

async fn a_write_is_not_repeated_after_a_401_without_a_reason(backend: Backend) {
    let world = World::begin(backend).await;
    let orders = Api::default();
    let origin = orders.start().await;
    let api = client_of(&world, &origin).await;
    api.get(&origin).send().await.unwrap();
    let mut last = orders.seen().remove(0).0;
    for challenge in [None, Some("Bearer realm=\"orders\""), Some("DPoP error=\"invalid_token\"")] {
        world.pass(10).await;
        orders.answers([unauthorized(challenge)]);
        assert_eq!(api.post(&origin).body("tea").send().await.unwrap().status(), 401, "{challenge:?}");
        assert_eq!(orders.seen(), [(last.clone(), "tea".to_owned())], "it may have had an effect");
        api.post(&origin).body("tea").send().await.unwrap();
        let next = orders.seen().remove(0).0;
        assert_ne!(next, last, "the next request has another token");
        last = next;
    }
}

async fn a_request_that_another_token_cannot_fix_is_not_retried(backend: Backend) {
    let world = World::begin(backend).await;
    let orders = Api::default();
    let origin = orders.start().await;
    let api = client_of(&world, &origin).await;
    // A token that was just fetched is not replaced.
    orders.answers([unauthorized(None)]);
    assert_eq!(api.get(&origin).send().await.unwrap().status(), 401);
    assert_eq!(orders.counts(), (1, 1));
    world.pass(10).await;
    for answer in [
        unauthorized(Some("Bearer error=\"insufficient_scope\"")),
        unauthorized(Some("Bearer error=invalid_request")),
        StatusCode::FORBIDDEN.into_response(),
        StatusCode::SERVICE_UNAVAILABLE.into_response(),
    ] {
        orders.answers([answer]);
        api.get(&origin).send().await.unwrap();
        assert_eq!(orders.counts(), (1, 1));
    }
    // A body that can be sent only once.
    orders.answers([unauthorized(None)]);
    let stream = reqwest::Body::wrap(http_body_util::Full::<axum::body::Bytes>::from("tea"));
    assert_eq!(world.relay.token_requests(), 1);
    assert_eq!(api.put(&origin).body(stream).send().await.unwrap().status(), 401);
    assert_eq!((orders.counts(), world.relay.token_requests()), ((1, 1), 2), "the next request has another token");
    world.pass(10).await;
    // An API that refuses every token: two requests at most, and one fetch in 10 s at most.
    orders.answers((0..100).map(|_| unauthorized(None)));
    for _ in 0..20 {
        assert_eq!(api.get(&origin).send().await.unwrap().status(), 401);
    }
    assert_eq!((orders.counts(), world.relay.token_requests()), ((21, 2), 3));
}

async fn an_issuer_that_is_down_leaves_the_answer_of_the_api_as_it_is(backend: Backend) {
    let world = World::begin(backend).await;
    let orders = Api::default();
    let origin = orders.start().await;
    let api = client_of(&world, &origin).await;
    api.get(&origin).send().await.unwrap();
    world.pass(10).await;
    world.relay.goes_down();
    orders.answers([unauthorized(None)]);
    assert_eq!(api.get(&origin).send().await.unwrap().status(), 401, "the API's own answer, not the issuer's outage");
    assert_eq!(api.get(&origin).send().await.unwrap().status(), 200, "the token is still available for other APIs");
}

async fn the_layer_attaches_the_token_to_requests_of_a_tonic_client(backend: Backend) {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    let world = World::begin(backend).await;
    let verifier = Verifier::for_issuer(&world.relay.url).audience(ORDERS).clock(Arc::new(world.clock.clone())).build().unwrap();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().layer(verifier.layer().grpc()).add_service(health);
    tokio::spawn(server.serve_with_incoming(incoming));

    let channel = tonic::transport::Endpoint::from_shared(origin.clone()).unwrap().connect_lazy();
    let check = async |client: &Client, seen_as: &str| {
        let service = client.layer().layer(channel.clone());
        let mut api = HealthClient::with_origin(service, seen_as.parse().unwrap());
        api.check(HealthCheckRequest::default()).await.map(|_| ()).map_err(|status| status.code())
    };
    let client = world.shop().attach_to([&origin]).build().unwrap();
    assert_eq!(check(&client, &origin).await, Ok(()));
    assert_eq!(check(&client, "https://other.example").await, Err(tonic::Code::Unauthenticated), "another origin gets no token");
    let mut relative = HealthClient::new(client.layer().layer(channel.clone()));
    let refused = relative.check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated, "a request without an origin gets no token");

    let wrong = world.with_secret(Secret::value("wrong")).attach_to([&origin]).build().unwrap();
    let mut api = HealthClient::with_origin(wrong.layer().layer(channel.clone()), origin.parse().unwrap());
    let failed = api.check(HealthCheckRequest::default()).await.unwrap_err();
    let mut cause = std::error::Error::source(&failed);
    while let Some(error) = cause.filter(|error| error.downcast_ref::<Error>().is_none()) {
        cause = error.source();
    }
    assert!(matches!(cause.and_then(|error| error.downcast_ref()), Some(Error::WrongSecret)), "{failed:?}");
}

async fn a_token_that_is_refused_through_the_layer_is_replaced(backend: Backend) {
    let world = World::begin(backend).await;
    let client = world.shop().attach_to(["https://orders.example"]).build().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let api = tower::service_fn(move |request: http::Request<()>| {
        record.lock().unwrap().push(request.headers().get(header::AUTHORIZATION).cloned());
        async { http::Response::builder().status(401).body(()) }
    });
    let api = client.layer().layer(api);
    let ask = async || api.clone().oneshot(http::Request::get("https://orders.example/orders").body(()).unwrap()).await.unwrap();
    ask().await;
    world.asked(1).await;
    world.pass(11).await;
    ask().await;
    world.asked(2).await;
    world.quiet(&client.token_source()).await;
    ask().await;
    let seen = seen.lock().unwrap();
    assert!(seen[0].is_some() && seen[0] == seen[1] && seen[1] != seen[2], "{}", seen.len());
}
