//! The layer with real frameworks, over real sockets: axum, hyper and tonic.

use std::net::SocketAddr;

use axum::{Router, routing::get};
use sealwright::verifier::{
    AnyOf, Error, OfClient, OfUser, ResourceMetadata, Token, TokenLayer, scopes,
    testing::{Behavior, InHeader, Issuer},
};
use serde::Deserialize;
use serde_json::json;
use tower::Layer;

use crate::support::{AUDIENCE, seconds, warm};

scopes! {
    pub(crate) Read = "orders:read";
    pub(crate) Write = "orders:write";
}

#[derive(Debug, Deserialize)]
struct Tenant {
    tenant: u32,
}

/// An API as a user would write it.
pub(crate) fn api(layer: TokenLayer) -> Router {
    Router::new()
        .route("/bare", get(|| async { "no extractor" }))
        .route(
            "/any",
            get(|token: Token| async move { token.subject().to_owned() })
                .post(|token: Token, body: String| async move { body + token.subject() }),
        )
        .route("/read", get(|token: Token<Read>| async move { token.client_id().to_owned() }))
        .route("/both", get(|_: Token<(Read, Write)>| async { "both" }))
        .route("/either", get(|_: Token<AnyOf<(Read, Write)>>| async { "either" }))
        .route("/users", get(|_: Token<(OfUser, Read)>| async { "user" }))
        .route("/apps", get(|_: Token<OfClient>| async { "app" }))
        .route(
            "/maybe",
            get(|token: Option<Token>| async move { token.map_or_else(|| "anonymous".to_owned(), |token| token.subject().to_owned()) }),
        )
        .route("/tenant", get(|token: Token<Read, Tenant>| async move { token.custom.tenant.to_string() }))
        .layer(layer)
        .route("/below", get(|| async { "open" }))
        .route("/forgotten", get(|_: Token| async { "never" }))
}

async fn serve(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// Status, challenge, body.
async fn ask(request: reqwest::RequestBuilder) -> (u16, String, String) {
    let answer = request.send().await.unwrap();
    let challenge = answer.headers().get("www-authenticate").map_or("", |value| value.to_str().unwrap()).to_owned();
    (answer.status().as_u16(), challenge, answer.text().await.unwrap())
}

pub(crate) struct Client {
    pub(crate) addr: SocketAddr,
    pub(crate) http: reqwest::Client,
}

impl Client {
    pub(crate) async fn of(app: Router) -> Self {
        Self { addr: serve(app).await, http: reqwest::Client::new() }
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("http://{}{path}", self.addr))
    }

    async fn with(&self, path: &str, token: &str) -> (u16, String, String) {
        ask(self.get(path).bearer_auth(token)).await
    }

    async fn plain(&self, path: &str) -> (u16, String, String) {
        ask(self.get(path)).await
    }
}

#[tokio::test]
async fn vf15_every_route_under_the_layer_needs_a_token_and_each_handler_its_scope() {
    let issuer = Issuer::start().await.unwrap();
    let client = Client::of(api(warm(&issuer).await.layer())).await;
    let with_scope = |scope: &str| issuer.token(AUDIENCE).scope(scope).sign().unwrap();
    let (read, both, none) = (with_scope("orders:read"), with_scope("orders:read orders:write"), with_scope(""));
    let user = issuer.token(AUDIENCE).user("0197a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b").scope("orders:read").sign().unwrap();
    let ok = |body: &str| (200, String::new(), body.to_owned());
    let lacks = |scope: &str| {
        let words = "Bearer error=\"insufficient_scope\", error_description=\"the token does not have the required scope\"";
        (403, if scope.is_empty() { words.to_owned() } else { format!("{words}, scope=\"{scope}\"") }, String::new())
    };

    for path in ["/bare", "/any", "/read", "/maybe", "/nowhere"] {
        assert_eq!(client.plain(path).await, (401, "Bearer".to_owned(), String::new()), "{path}");
        let (status, challenge, _) = client.with(path, "junk").await;
        assert!(status == 401 && challenge.starts_with("Bearer error=\"invalid_token\", error_description=\""), "{path}: {challenge}");
    }
    assert_eq!(client.with("/bare", &none).await, ok("no extractor"));
    assert_eq!(client.with("/nowhere", &none).await.0, 404);
    assert_eq!(client.with("/any", &none).await, ok("billing"));
    assert_eq!(ask(client.http.post(format!("http://{}/any", client.addr)).bearer_auth(&none).body("for ")).await, ok("for billing"));
    assert_eq!(client.with("/read", &read).await, ok("billing"));
    assert_eq!(client.with("/read", &none).await, lacks("orders:read"));
    assert_eq!(client.with("/both", &both).await, ok("both"));
    assert_eq!(client.with("/both", &read).await, lacks("orders:read orders:write"));
    assert_eq!(client.with("/either", &read).await, ok("either"));
    assert_eq!(client.with("/either", &none).await, lacks("orders:read"), "one is enough, and the challenge names it");
    assert_eq!(client.with("/users", &user).await, ok("user"));
    assert_eq!(client.with("/apps", &none).await, ok("app"));
    let (status, challenge, _) = client.with("/apps", &user).await;
    assert!(status == 403 && challenge.contains("where a user is required") && !challenge.contains("scope=\""), "{challenge}");
    let app_with_scope = client.with("/users", &read).await;
    assert!(
        app_with_scope.0 == 403 && !app_with_scope.1.contains("scope=\""),
        "the challenge does not name a scope that the token has: {}",
        app_with_scope.1
    );
    let tenant = issuer.token(AUDIENCE).scope("orders:read").claim("tenant", 7).sign().unwrap();
    assert_eq!(client.with("/tenant", &tenant).await, ok("7"));
    assert!(client.with("/tenant", &read).await.1.contains("invalid_token"), "a claim that this API needs is missing");

    // Routes added after the layer are open; a handler that takes a token there answers 500, because no layer checked it.
    assert_eq!(client.plain("/below").await, ok("open"));
    assert_eq!(client.with("/forgotten", &read).await.0, 500);
    let (status, _, body) = client.plain("/forgotten").await;
    assert!(status == 500 && body.contains("add the route to the router before `.layer(verifier.layer())`"), "{body}");
}

#[tokio::test]
async fn vf15_a_token_is_read_from_one_authorization_header_and_nowhere_else() {
    let issuer = Issuer::start().await.unwrap();
    let client = Client::of(api(warm(&issuer).await.layer())).await;
    let token = issuer.token(AUDIENCE).sign().unwrap();
    for valid in [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER   {token}")] {
        assert_eq!(ask(client.get("/any").header("authorization", valid)).await.0, 200);
    }
    let twice = client.get("/any").header("authorization", format!("Bearer {token}")).header("authorization", format!("Bearer {token}"));
    let (status, challenge, _) = ask(twice).await;
    assert!(status == 400 && challenge.starts_with("Bearer error=\"invalid_request\""), "{challenge}");
    for unreadable in [
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {token} x"),
        format!("Bearer\t{token}"),
        "Bearer a,b".to_owned(),
        "Bearer ==".to_owned(),
    ] {
        assert_eq!(ask(client.get("/any").header("authorization", &unreadable)).await.0, 400, "{unreadable:?}");
    }
    for other in ["Basic YTpi", "Digest x", "Bearertoken", "Bea", ""] {
        assert_eq!(ask(client.get("/any").header("authorization", other)).await, (401, "Bearer".to_owned(), String::new()), "{other:?}");
    }
    assert_eq!(client.plain(&format!("/any?access_token={token}")).await.0, 401, "not from the URL");
    let form = client.http.post(format!("http://{}/any", client.addr)).form(&[("access_token", &token)]);
    assert_eq!(ask(form).await.0, 401, "nor from the body");
}

#[tokio::test]
async fn vf7_vf16_every_hostile_token_is_refused_through_the_layer_by_one_well_formed_line() {
    let issuer = Issuer::start().await.unwrap();
    for key in issuer.useless_keys().unwrap() {
        issuer.publish(key);
    }
    let client = Client::of(api(warm(&issuer).await.layer())).await;
    issuer.clock().advance(seconds(10));
    let mut refused = 0;
    for hostile in issuer.hostile_tokens(AUDIENCE, "orders:read").unwrap() {
        let value = reqwest::header::HeaderValue::from_str(&format!("Bearer {}", hostile.token));
        assert_eq!(value.is_err(), hostile.in_header == InHeader::Impossible, "{}", hostile.name);
        let Some(value) = value.ok().filter(|_| hostile.in_header == InHeader::Unchanged) else { continue };
        let (status, challenge, body) = ask(client.get("/bare").header("authorization", value)).await;
        assert!(matches!(status, 400 | 401), "{}: {status}", hostile.name);
        assert!(challenge.starts_with("Bearer error=\"") && challenge.matches('"').count() % 2 == 0, "{}: {challenge}", hostile.name);
        assert!(challenge.bytes().all(|b| (b' '..=b'~').contains(&b)) && body.is_empty(), "{}", hostile.name);
        refused += 1;
    }
    assert!(refused > 150, "{refused}");
    for hostile in issuer.tokens_without_scope(AUDIENCE, "orders:read").unwrap() {
        assert_eq!(client.with("/read", &hostile.token).await.0, 403, "{}", hostile.name);
    }
    assert_eq!(issuer.other_requests(), 0);
}

#[tokio::test]
async fn without_keys_the_answer_is_503_with_retry_after_and_no_challenge() {
    let issuer = Issuer::start().await.unwrap();
    issuer.answer_keys(Behavior::Status(503));
    let verifier = issuer.verifier(AUDIENCE).build().unwrap();
    let client = Client::of(api(verifier.layer())).await;
    let token = issuer.token(AUDIENCE).sign().unwrap();
    let answer = client.get("/any").bearer_auth(&token).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers().get("www-authenticate")), (503, None));
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    issuer.come_back();
    issuer.clock().advance(seconds(wait));
    assert_eq!(client.with("/any", &token).await.0, 200, "the layer waits for the keys that it needs");
    assert_eq!(verifier.status().accepted, 1);
}

#[tokio::test]
async fn callers_without_a_token_reach_optional_routes_and_challenges_name_the_metadata() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    let url = format!("{AUDIENCE}/.well-known/oauth-protected-resource");
    let metadata = ResourceMetadata::new(&verifier, ["orders:read"]);
    let app = api(verifier.layer().allow_anonymous().resource_metadata(&url)).route_service(ResourceMetadata::ROUTE, metadata);
    let client = Client::of(app).await;
    assert_eq!(client.plain("/maybe").await.2, "anonymous");
    assert_eq!(client.with("/maybe", &issuer.token(AUDIENCE).sign().unwrap()).await.2, "billing");
    assert_eq!(client.with("/maybe", "junk").await.0, 401, "an invalid token does not count as an absent one");
    assert_eq!(client.plain("/any").await, (401, format!("Bearer resource_metadata=\"{url}\""), String::new()));
    let none = issuer.token(AUDIENCE).sign().unwrap();
    for (path, token) in [("/any", "junk"), ("/read", none.as_str())] {
        assert!(client.with(path, token).await.1.ends_with(&format!(", resource_metadata=\"{url}\"")));
    }
    let described: serde_json::Value = serde_json::from_str(&client.plain(ResourceMetadata::ROUTE).await.2).unwrap();
    let wanted = json!({
        "resource": AUDIENCE, "authorization_servers": [issuer.url()], "bearer_methods_supported": ["header"], "scopes_supported": ["orders:read"],
    });
    assert_eq!(described, wanted);
}

#[tokio::test]
async fn the_layer_works_with_a_plain_hyper_service() {
    use http_body_util::Full;
    use hyper::{Request, Response, body::Bytes};

    let issuer = Issuer::start().await.unwrap();
    let service =
        warm(&issuer).await.layer().require::<Read>().layer(tower::service_fn(|request: Request<hyper::body::Incoming>| async move {
            let token = Token::<Read>::of(request.extensions()).unwrap();
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(token.subject().to_owned()))))
        }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(service.clone());
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    let client = Client { addr, http: reqwest::Client::new() };
    assert_eq!(client.plain("/").await.0, 401);
    assert_eq!(client.with("/", &issuer.token(AUDIENCE).scope("orders:write").sign().unwrap()).await.0, 403);
    assert_eq!(client.with("/", &issuer.token(AUDIENCE).scope("orders:read").sign().unwrap()).await.2, "billing");
    assert_eq!(Token::<Read>::of(&http::Extensions::new()).unwrap_err(), Error::NotLayered);
}
