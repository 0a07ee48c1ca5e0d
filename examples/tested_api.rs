//! How an API that embeds the verifier is tested: with an issuer in memory that signs real tokens, and a clock that the test moves.
//!
//! `cargo test --example tested_api` runs the tests at the end of this file. Nothing in them is a mock: tokens are signed, keys are
//! fetched over HTTP, and the layer is the one that runs in production. In a package of its own this is `src/main.rs`, with
//!
//! ```toml
//! [dependencies]
//! sealwright = { path = "../sealwright", default-features = false, features = ["verifier"] }
//!
//! [dev-dependencies]
//! sealwright = { path = "../sealwright", default-features = false, features = ["testing"] }
//! tower = { version = "0.5", features = ["util"] }
//! ```

use std::{env, error::Error};

use axum::{Router, extract::Path, http::StatusCode, routing::get};
use sealwright::verifier::{Token, Verifier, scopes};

scopes! {
    OrdersRead = "orders:read";
    OrdersWrite = "orders:write";
}

/// The API takes its verifier from outside: production names the issuer, a test names its own.
fn app(verifier: &Verifier) -> Router {
    Router::new().route("/orders", get(list).post(create)).route("/customers/{sub}/orders", get(list_of)).layer(verifier.layer())
}

async fn list(_: Token<OrdersRead>) -> &'static str {
    "two desks"
}

async fn create(_: Token<OrdersWrite>) -> StatusCode {
    StatusCode::CREATED
}

/// The scope admits to the route, the subject to the order.
async fn list_of(Path(sub): Path<String>, caller: Token<OrdersRead>) -> Result<&'static str, StatusCode> {
    if caller.subject() == sub { Ok("one desk") } else { Err(StatusCode::NOT_FOUND) }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let verifier = Verifier::for_issuer(env::var("ORDERS_ISSUER")?).audience("https://orders.example").build()?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8090").await?;
    Ok(axum::serve(listener, app(&verifier)).await?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{
        body::Body,
        http::{HeaderValue, Request, header},
    };
    use sealwright::verifier::testing::{InHeader, Issuer};
    use tower::ServiceExt;

    use super::*;

    const AUDIENCE: &str = "https://orders.example";

    /// Status and challenge of the answer to a request with this token.
    async fn ask(app: &Router, method: &str, path: &str, token: &str) -> (u16, String) {
        let authorization = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        let request = Request::builder().method(method).uri(path).header(header::AUTHORIZATION, authorization);
        let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let challenge = answer.headers().get(header::WWW_AUTHENTICATE).map_or("", |value| value.to_str().unwrap());
        (answer.status().as_u16(), challenge.to_owned())
    }

    #[tokio::test]
    async fn each_route_requires_its_scope() {
        let issuer = Issuer::start().await.unwrap();
        let app = app(&issuer.verifier(AUDIENCE).build().unwrap());
        let reader = issuer.token(AUDIENCE).scope("orders:read").sign().unwrap();
        let writer = issuer.token(AUDIENCE).scope("orders:write").sign().unwrap();
        assert_eq!(ask(&app, "GET", "/orders", &reader).await.0, 200);
        assert_eq!(ask(&app, "POST", "/orders", &writer).await.0, 201);
        let (status, challenge) = ask(&app, "POST", "/orders", &reader).await;
        assert_eq!(status, 403);
        assert!(challenge.contains("scope=\"orders:write\""), "{challenge}");
        for it in issuer.tokens_without_scope(AUDIENCE, "orders:read").unwrap() {
            assert_eq!(ask(&app, "GET", "/orders", &it.token).await.0, 403, "{}", it.name);
        }
    }

    #[tokio::test]
    async fn a_user_sees_only_their_own_orders() {
        let issuer = Issuer::start().await.unwrap();
        let app = app(&issuer.verifier(AUDIENCE).build().unwrap());
        let alice = issuer.token(AUDIENCE).user("0197a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b").scope("orders:read").sign().unwrap();
        assert_eq!(ask(&app, "GET", "/customers/0197a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b/orders", &alice).await.0, 200);
        assert_eq!(ask(&app, "GET", "/customers/0197a1b2-0000-4e5f-8a9b-0c1d2e3f4a5b/orders", &alice).await.0, 404);
    }

    #[tokio::test]
    async fn hostile_tokens_are_refused_by_every_route() {
        let issuer = Issuer::start().await.unwrap();
        // Unusable keys are published beside the good one.
        for key in issuer.useless_keys().unwrap() {
            issuer.publish(key);
        }
        let app = app(&issuer.verifier(AUDIENCE).build().unwrap());
        for (method, path) in [("GET", "/orders"), ("POST", "/orders"), ("GET", "/customers/billing/orders"), ("GET", "/nowhere")] {
            let hostile = issuer.hostile_tokens(AUDIENCE, "orders:read orders:write").unwrap();
            for it in hostile.into_iter().filter(|it| it.in_header == InHeader::Unchanged) {
                let (status, _) = ask(&app, method, path, &it.token).await;
                // 400: the header does not have the form of a token (RFC 6750 section 3.1).
                assert!(status == 401 || status == 400, "{method} {path} answers {status}: {}", it.name);
            }
        }
        assert_eq!(issuer.other_requests(), 0, "no token caused a request");
    }

    #[tokio::test]
    async fn a_token_expires() {
        let issuer = Issuer::start().await.unwrap();
        let app = app(&issuer.verifier(AUDIENCE).build().unwrap());
        let token = issuer.token(AUDIENCE).scope("orders:read").lifetime(Duration::from_secs(60)).sign().unwrap();
        assert_eq!(ask(&app, "GET", "/orders", &token).await.0, 200);
        // The lifetime, and the leeway of 30 s.
        issuer.clock().advance(Duration::from_secs(91));
        assert_eq!(ask(&app, "GET", "/orders", &token).await.0, 401);
    }

    #[tokio::test]
    async fn an_outage_of_the_issuer_does_not_look_like_a_bad_token() {
        let issuer = Issuer::start().await.unwrap();
        let token = issuer.token(AUDIENCE).scope("orders:read").sign().unwrap();
        issuer.go_down();
        let cold = app(&issuer.verifier(AUDIENCE).build().unwrap());
        assert_eq!(ask(&cold, "GET", "/orders", &token).await.0, 503);
        issuer.come_back();
        let warm = app(&issuer.verifier(AUDIENCE).build().unwrap());
        assert_eq!(ask(&warm, "GET", "/orders", &token).await.0, 200);
        issuer.go_down();
        assert_eq!(ask(&warm, "GET", "/orders", &token).await.0, 200);
    }
}
