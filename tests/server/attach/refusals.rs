//! Requests that are not sent on: of web pages, to other hosts, with credentials of their own.

use std::net::SocketAddr;

use reqwest::{Method, header};

use super::{Api, World, problem};
use crate::support::{Backend, on_sqlite};

on_sqlite![
    gd4_a_request_that_a_web_page_caused_is_refused,
    gd4_a_request_that_names_a_foreign_host_is_refused,
    gd4_pages_and_foreign_hosts_are_refused_over_http2_too,
    gd4_an_authorization_of_the_app_is_refused_or_replaced_and_never_mixed,
    gd4_what_cannot_be_forwarded_is_refused,
];

async fn gd4_a_request_that_a_web_page_caused_is_refused(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let attach = world.attach(&api.origin).await;
    let own_origin = attach.url.clone();
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", &own_origin),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
    ] {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let request = world.http.request(method, &attach.url).header(name, value);
            let (status, problem) = problem(request).await;
            assert_eq!((status, problem["reason"].as_str()), (403, Some("page_refused")), "{name}: {value}");
        }
    }
    // A form that a page posts has the type of one of three, and needs no permission to be sent.
    let form = world.http.post(&attach.url).header("origin", "https://evil.example").header("content-type", "text/plain").body("a=1");
    assert_eq!(problem(form).await.0, 403);
    let socket =
        world.get(&attach.url).header("origin", "https://evil.example").header("upgrade", "websocket").header("connection", "upgrade");
    assert_eq!(problem(socket).await.0, 403, "browsers let every page open a WebSocket to every host");
    assert_eq!(api.seen().len(), 0);

    // Node's fetch sends this.
    let of_a_program = world.get(&attach.url).header("sec-fetch-mode", "cors").send().await.unwrap();
    assert_eq!((of_a_program.status().as_u16(), api.seen().len()), (200, 1));
    let refused = "sealwright_attach_requests_total{route=\"1\",outcome=\"page_refused\"}";
    assert_eq!(attach.metric(&world, refused).await, Some(23));
}

async fn gd4_a_request_that_names_a_foreign_host_is_refused(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let attach = world.attach(&api.origin).await;
    let foreign = ["evil.example", "evil.example:9100", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1"];
    // Where a browser sends no `Sec-Fetch-Site`: it does not count these as loopback, but the system does.
    let untrusted = ["[::ffff:127.0.0.1]:9100", "[::ffff:7f00:1]", "0.0.0.0:9100"];
    for host in foreign.into_iter().chain(untrusted) {
        let (status, problem) = problem(world.get(&attach.url).header(header::HOST, host)).await;
        assert_eq!((status, problem["reason"].as_str()), (421, Some("host_refused")), "{host}");
    }
    assert_eq!(api.seen().len(), 0);
    for host in ["localhost", "localhost:9100", "127.0.0.1", "orders.localhost:9100"] {
        assert_eq!(world.get(&attach.url).header(header::HOST, host).send().await.unwrap().status(), 200, "{host}");
        assert_eq!(api.only().header("host"), api.origin.strip_prefix("http://"), "the API sees its own name");
    }
}

async fn gd4_pages_and_foreign_hosts_are_refused_over_http2_too(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let attach = world.attach(&api.origin).await;
    // As after DNS rebinding: the name of a foreign site leads to this machine. In HTTP/2, it is in `:authority`.
    let addr: SocketAddr = attach.listens[0].parse().unwrap();
    let http2 = reqwest::Client::builder().http2_prior_knowledge().no_proxy().resolve("evil.example", addr).build().unwrap();
    let (status, rebound) = problem(http2.get(format!("http://evil.example:{}/orders", addr.port()))).await;
    assert_eq!((status, rebound["reason"].as_str()), (421, Some("host_refused")));
    for (name, value) in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "same-origin")] {
        let (status, page) = problem(http2.post(&attach.url).header(name, value).body("a=1")).await;
        assert_eq!((status, page["reason"].as_str()), (403, Some("page_refused")), "{name}: {value}");
    }
    assert_eq!(api.seen().len(), 0);
    let answer = http2.get(&attach.url).send().await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16(), api.seen().len()), (reqwest::Version::HTTP_2, 200, 1));
}

async fn gd4_an_authorization_of_the_app_is_refused_or_replaced_and_never_mixed(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let refuses = world.attach(&api.origin).await;
    let replaces = world.attach_with(&[("to", &api.origin), ("authorization", "replace")]).await;
    for value in ["Bearer of-a-user", "Basic YTpi", ""] {
        let (status, problem) = problem(world.get(&refuses.url).header(header::AUTHORIZATION, value)).await;
        assert_eq!((status, problem["reason"].as_str(), problem["party"].as_str()), (400, Some("authorization_present"), Some("app")));
        assert_eq!(api.seen().len(), 0);
        let twice = world.get(&replaces.url).header(header::AUTHORIZATION, value).header(header::AUTHORIZATION, "Bearer another");
        assert_eq!(twice.send().await.unwrap().status(), 200);
        assert!(api.only().token().starts_with("eyJ"));
    }
    // What a proxy would read is not for the API.
    let answer = world.get(&refuses.url).header(header::PROXY_AUTHORIZATION, "Basic YTpi").send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    assert_eq!(api.only().header("proxy-authorization"), None);
    // The token cannot be removed on the way.
    let (status, _) = problem(world.get(&refuses.url).header(header::CONNECTION, "authorization")).await;
    assert_eq!((status, api.seen().len()), (400, 0));
}

async fn gd4_what_cannot_be_forwarded_is_refused(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let attach = world.attach(&format!("/orders={}", api.origin)).await;
    let (status, problem_of_trace) = problem(world.http.request(Method::TRACE, format!("{}/orders", attach.url))).await;
    assert_eq!((status, problem_of_trace["reason"].as_str()), (400, Some("request_refused")), "it would show the token to the app");
    let (status, no_route) = problem(world.get(format!("{}/stock", attach.url)).header("x-request-id", "of-the-app")).await;
    assert_eq!((status, no_route["reason"].as_str(), no_route["request_id"].as_str()), (404, Some("no_route"), Some("of-the-app")));
    assert_eq!(api.seen().len(), 0);
}
