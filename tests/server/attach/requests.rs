//! What the app sends, what the API gets, and which origins get a token.

use axum::{
    Router,
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::{any, get},
};
use sealwright::{server::commands::ClientChange, verifier::Verifier};
use tokio::net::TcpStream;

use super::{Api, Pieces, World, api_with, echo, raw, upgrades};
use crate::support::{Backend, ORDERS, claims_of, on_sqlite};

on_sqlite![
    gd4_what_the_app_sends_arrives_with_a_token_and_the_name_of_the_origin,
    gd4_an_api_with_a_verifier_accepts_what_comes_through,
    gd4_each_route_has_the_token_of_its_own_resource_and_the_tokens_never_mix,
    gd4_a_path_belongs_to_the_longest_prefix_which_is_removed,
    gd4_an_origin_that_is_not_listed_gets_neither_a_token_nor_a_request,
    gd4_a_redirect_is_given_to_the_app_and_followed_by_no_one,
    gd4_an_answer_without_an_end_arrives_piece_by_piece,
    gd4_a_websocket_begins_with_a_token_and_carries_bytes_both_ways,
    gd4_a_request_under_way_is_answered_before_the_process_ends,
];

async fn gd4_what_the_app_sends_arrives_with_a_token_and_the_name_of_the_origin(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let attach = world.attach(&api.origin).await;
    let answer = world.get(format!("{}/orders/1?page=2&x=%2f", attach.url)).header("x-own", "1").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["x-of-api"].to_str().unwrap()), (200, "1"));
    assert!(answer.headers().contains_key("x-request-id"));
    assert_eq!(answer.text().await.unwrap(), "fine");
    let seen = api.only();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/orders/1?page=2&x=%2f"), "the path as the app wrote it");
    assert_eq!(seen.header("host"), api.origin.strip_prefix("http://"));
    assert_eq!((seen.header("x-own"), claims_of(&seen.token())["sub"].as_str()), (Some("1"), Some("shop")));
    assert!(seen.header("x-request-id").is_some());

    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let request = world.http.request(method.parse().unwrap(), format!("{}/orders", attach.url)).body("tea");
        assert_eq!(request.send().await.unwrap().status(), 200);
        let seen = api.only();
        assert_eq!((seen.method.as_str(), seen.body.as_str()), (method, "tea"));
        seen.token();
    }
    assert_eq!(world.relay.token_requests(), 1, "one token serves all requests");
}

async fn gd4_an_api_with_a_verifier_accepts_what_comes_through(backend: Backend) {
    let world = World::begin(backend).await;
    let clock = std::sync::Arc::new(world.clock.clone());
    let verifier = Verifier::for_issuer(&world.relay.url).audience(ORDERS).require_scope("orders:read").clock(clock).build().unwrap();
    let origin = api_with(Router::new().route("/orders", get(async || "orders")).layer(verifier.layer())).await;
    let to = format!("/a={origin} scope=orders:read /b={origin} scope=orders:write");
    let attach = world.attach_with(&[("to", &to), ("resource", ORDERS)]).await;
    let status = async |path: &str| world.get(format!("{}{path}", attach.url)).send().await.unwrap().status().as_u16();
    assert_eq!(status("/a/orders").await, 200);
    assert_eq!(status("/b/orders").await, 403, "the token of this route does not have the scope, which is for the app to learn");
    assert_eq!(world.get(format!("{origin}/orders")).send().await.unwrap().status(), 401, "without the process, there is no token");
}

const STOCK: &str = "https://stock.example";

/// Registers a resource, and lets a client use it.
async fn may_use(world: &World, client: &str, resource: &str, scope: &str) {
    world.app.database.resource(resource, scope, None);
    let allow = [(resource.parse().unwrap(), scope.parse().unwrap())].into();
    world.app.database.update_client(client, ClientChange { allow, ..ClientChange::default() });
    world.app.settle().await;
}

async fn gd4_each_route_has_the_token_of_its_own_resource_and_the_tokens_never_mix(backend: Backend) {
    const FILES: &str = "https://files.example";
    let world = World::begin(backend).await;
    let warehouse = world.app.client("warehouse");
    may_use(&world, "shop", STOCK, "stock:read").await;
    may_use(&world, "warehouse", FILES, "files:read").await;
    let secret_file = world.secret_file("warehouse", &warehouse.secret);
    let (orders, stock, other) = (Api::start().await, Api::start().await, Api::start().await);
    let to = format!(
        "/orders={} resource={ORDERS} scope=orders:read  127.0.0.1:0={} resource={STOCK}  /other={} resource={FILES} client=warehouse secret-file={secret_file}",
        orders.origin, stock.origin, other.origin
    );
    let attach = world.attach(&to).await;
    let of_stock = format!("http://{}", attach.listens[1]);
    for url in [format!("{}/orders/1", attach.url), format!("{of_stock}/1"), format!("{}/other/1", attach.url)] {
        assert_eq!(world.get(url).send().await.unwrap().status(), 200);
    }
    let claims = |api: &Api| {
        let seen = api.only();
        assert_eq!(seen.target, "/1");
        let claims = claims_of(&seen.token());
        [&claims["aud"], &claims["scope"], &claims["client_id"]].map(|claim| claim.as_str().unwrap().to_owned())
    };
    assert_eq!(claims(&orders), [ORDERS, "orders:read", "shop"]);
    assert_eq!(claims(&stock), [STOCK, "stock:read", "shop"]);
    assert_eq!(claims(&other), [FILES, "files:read", "warehouse"]);
    assert_eq!(world.relay.token_requests(), 3);
}

async fn gd4_a_path_belongs_to_the_longest_prefix_which_is_removed(backend: Backend) {
    const OLD: &str = "https://old.example";
    let world = World::begin(backend).await;
    may_use(&world, "shop", STOCK, "stock:read").await;
    may_use(&world, "shop", OLD, "old:read").await;
    let (all, orders, old) = (Api::start().await, Api::start().await, Api::start().await);
    let to =
        format!("{} resource={STOCK} /orders={} resource={ORDERS} /orders/old={} resource={OLD}", all.origin, orders.origin, old.origin);
    let attach = world.attach(&to).await;
    for (path, api, target) in [
        ("/", &all, "/"),
        ("/orders2/1", &all, "/orders2/1"),
        ("/Orders/1", &all, "/Orders/1"),
        ("/orders", &orders, "/"),
        ("/orders?x=1", &orders, "/?x=1"),
        ("/orders/1", &orders, "/1"),
        ("/orders//1", &orders, "//1"),
        ("/orders/older", &orders, "/older"),
        ("/orders/old/1?x=/orders", &old, "/1?x=/orders"),
    ] {
        // As it is written: a library would change some of these paths.
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = raw(&attach.listens[0], &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        assert_eq!(api.only().target, target, "{path}");
    }
    assert_eq!(all.seen().len() + orders.seen().len() + old.seen().len(), 0);
}

async fn gd4_an_origin_that_is_not_listed_gets_neither_a_token_nor_a_request(backend: Backend) {
    let world = World::begin(backend).await;
    let (listed, other) = (Api::start().await, Api::start().await);
    let attach = world.attach(&format!("/orders={}", listed.origin)).await;
    // As a proxy, for a tunnel, by the name of another host, and by a path.
    let other_host = other.origin.strip_prefix("http://").unwrap();
    for (request, status) in [
        (format!("GET {}/orders HTTP/1.1\r\nHost: {other_host}\r\n", other.origin), 421),
        (format!("GET {}/orders HTTP/1.1\r\nHost: {}\r\n", other.origin, attach.listens[0]), 421),
        (format!("CONNECT {other_host} HTTP/1.1\r\nHost: {other_host}\r\n"), 421),
        (format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n", other.origin), 404),
        (format!("GET /{other_host}/orders HTTP/1.1\r\nHost: localhost\r\n"), 404),
        ("GET /ordersx HTTP/1.1\r\nHost: localhost\r\n".to_owned(), 404),
    ] {
        let answer = raw(&attach.listens[0], &format!("{request}Connection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
    // These reach the listed origin, and only that.
    for path in ["/orders//evil.example/x", "/orders/@evil.example", "/orders/../stock", "/orders/%2e%2e/x", "/orders/;x"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert!(raw(&attach.listens[0], &request).await.starts_with("HTTP/1.1 200 "), "{path}");
        assert_eq!(listed.only().target, path.strip_prefix("/orders").unwrap());
    }
    assert_eq!((other.seen().len(), listed.seen().len()), (0, 0));
}

async fn gd4_a_redirect_is_given_to_the_app_and_followed_by_no_one(backend: Backend) {
    let world = World::begin(backend).await;
    let (api, other) = (Api::start().await, Api::start().await);
    let attach = world.attach(&api.origin).await;
    let elsewhere = format!("{}/stolen", other.origin);
    for status in [301, 302, 303, 307, 308] {
        let redirect = (StatusCode::from_u16(status).unwrap(), [(header::LOCATION, elsewhere.clone())]).into_response();
        api.answers([redirect]);
        let answer = world.http.post(format!("{}/orders", attach.url)).body("tea").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()[header::LOCATION].to_str().unwrap()), (status, elsewhere.as_str()));
        assert!(!answer.headers().contains_key(header::AUTHORIZATION));
        let token = api.only().token();
        assert!(!format!("{:?}", answer.headers()).contains(&token));
    }
    // An app that follows the redirect does so itself, without a token.
    api.answers([(StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, elsewhere)]).into_response()]);
    let follows = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(follows.get(format!("{}/orders", attach.url)).send().await.unwrap().status(), 200);
    assert_eq!(other.only().header("authorization"), None);
}

async fn gd4_an_answer_without_an_end_arrives_piece_by_piece(backend: Backend) {
    let world = World::begin(backend).await;
    let (sender, pieces) = Pieces::new();
    let pieces = std::sync::Arc::new(std::sync::Mutex::new(Some(pieces)));
    let events = move || {
        let pieces = pieces.lock().unwrap().take().unwrap();
        async move { ([(header::CONTENT_TYPE, "text/event-stream")], Body::new(pieces)) }
    };
    let origin = api_with(Router::new().route("/events", get(events))).await;
    let attach = world.attach(&origin).await;
    let mut answer = world.get(format!("{}/events", attach.url)).send().await.unwrap();
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        sender.send(Bytes::from_static(event.as_bytes())).await.unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), event, "it arrives before the next one is sent");
    }
    drop(sender);
    assert_eq!(answer.chunk().await.unwrap(), None);
}

async fn gd4_a_websocket_begins_with_a_token_and_carries_bytes_both_ways(backend: Backend) {
    let world = World::begin(backend).await;
    let origin = api_with(Router::new().route("/socket", any(echo))).await;
    let attach = world.attach(&format!("/live={origin}")).await;
    upgrades(&attach.listens[0], "/live/socket").await;
}

async fn gd4_a_request_under_way_is_answered_before_the_process_ends(backend: Backend) {
    let world = World::begin(backend).await;
    let (arrived, go_on) = (std::sync::Arc::new(tokio::sync::Notify::new()), std::sync::Arc::new(tokio::sync::Notify::new()));
    let slow = {
        let (arrived, go_on) = (arrived.clone(), go_on.clone());
        move || {
            let (arrived, go_on) = (arrived.clone(), go_on.clone());
            async move {
                arrived.notify_one();
                go_on.notified().await;
                "done"
            }
        }
    };
    let origin = api_with(Router::new().route("/slow", get(slow))).await;
    // However slow this machine is.
    let mut attach = world.attach_with(&[("to", &origin), ("drain_timeout", "5m")]).await;
    let request = tokio::spawn(world.get(format!("{}/slow", attach.url)).send());
    arrived.notified().await;
    drop(attach.stop.take());
    // The listener is closed, once the process has noticed.
    while TcpStream::connect(&attach.listens[0]).await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    go_on.notify_one();
    let answer = request.await.unwrap().unwrap();
    assert_eq!(answer.text().await.unwrap(), "done");
    attach.running.await.unwrap();
}
