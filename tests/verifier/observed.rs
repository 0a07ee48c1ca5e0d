//! What an operator sees of a verifier in its counters. Its spans and log lines are in `tests/logged.rs`.

use axum::{Router, body::Body, http::Request, routing::get};
use sealwright::verifier::{Anything, Status, Token, Verifier, testing::Issuer};
use serde::Deserialize;
use tower::ServiceExt;

use crate::{
    layer::{Read, Write},
    support::{AUDIENCE, warm},
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

/// A claim of the API's own that a handler needs.
#[derive(Debug, Deserialize)]
struct Tenant {
    #[expect(dead_code, reason = "that it is there is enough")]
    tenant: String,
}

/// How many tokens were accepted, and how many refused, by reason.
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
    // A request that needs no token is not refused.
    assert_eq!(ask(&api, "/maybe", None).await, 200);
    assert_eq!(ask(&api, "/maybe", Some(&token)).await, 200);
    let (accepted, refused) = counted(&verifier.status());
    assert_eq!((accepted - before, refused), (4, vec![("malformed", 1), ("insufficient_scope", 2), ("no_token", 1)]));
    let text = verifier.status().prometheus();
    assert!(text.contains("{result=\"insufficient_scope\"} 2\n") && text.contains("{result=\"no_token\"} 1\n"), "{text}");
}

#[tokio::test]
async fn a_refusal_by_a_handler_behind_the_layer_is_counted_whatever_it_is_for() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    let api = Router::new()
        .route("/tenant", get(|_: Token<Anything, Tenant>| async {}))
        .route("/perhaps", get(|_: Option<Token<Anything, Tenant>>| async {}))
        .route("/read", get(|_: Token<Read>| async {}))
        .layer(verifier.layer().allow_anonymous());
    let before = verifier.status().accepted;
    let without = issuer.token(AUDIENCE).sign().unwrap();
    let of_another_type = issuer.token(AUDIENCE).claim("tenant", 7).sign().unwrap();
    let with = issuer.token(AUDIENCE).claim("tenant", "example").sign().unwrap();
    for (path, token, status) in [
        ("/tenant", Some(&with), 200),
        ("/tenant", Some(&without), 401),
        ("/perhaps", Some(&of_another_type), 401),
        ("/perhaps", None, 200),
        ("/read", Some(&with), 403),
        // The layer admits it, and the handler does not.
        ("/tenant", None, 401),
    ] {
        assert_eq!(ask(&api, path, token.map(String::as_str)).await, status, "{path} {token:?}");
    }
    let (accepted, refused) = counted(&verifier.status());
    assert_eq!((accepted - before, refused), (4, vec![("bad_claim", 2), ("insufficient_scope", 1), ("no_token", 1)]));
}
