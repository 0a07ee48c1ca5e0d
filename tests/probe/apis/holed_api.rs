//! A small API with axum, set up right with `sealwright::verifier`, or with one hole: `holed_api sealwright HOLE`. It prints the port on which it
//! listens.

use std::{env, error::Error, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sealwright::verifier::Verifier;
use serde_json::Value;
use tokio::{net::TcpListener, sync::Mutex};

/// The API and its hole.
struct Api {
    issuer: String,
    verifier: Verifier,
    hole: String,
    http: reqwest::Client,
    first_kid: Mutex<Option<String>>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let hole = env::args().nth(2).unwrap_or_default();
    let issuer = env::var("ISSUER")?;
    let verifier = Verifier::for_issuer(issuer.as_str()).audience(env::var("AUDIENCE")?).build()?;
    let api = Arc::new(Api { issuer, verifier, hole, http: reqwest::Client::new(), first_kid: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    axum::serve(listener, Router::new().fallback(handle).with_state(api)).await?;
    Ok(())
}

async fn handle(State(api): State<Arc<Api>>, request: Parts) -> Response {
    if request.uri.path() != "/orders" {
        return StatusCode::NOT_FOUND.into_response();
    }
    match api.status(&request).await {
        StatusCode::OK => "all orders".into_response(),
        status => {
            let mut response = status.into_response();
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
    }
}

impl Api {
    async fn status(&self, request: &Parts) -> StatusCode {
        // A guard in front sets this header, and this API can be reached without it.
        if self.hole == "behind-guard" && request.headers.contains_key("x-token-subject") {
            return StatusCode::OK;
        }
        let value = request.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some((_, token)) = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
            return StatusCode::UNAUTHORIZED;
        };
        let (head, claims) = (part(token, 0), part(token, 1));
        if self.hole == "unsigned" && head["alg"] == "none" {
            return StatusCode::OK;
        }
        if self.hole == "any-issuers-keys" && self.is_published_by_its_issuer(&head, &claims).await {
            return StatusCode::OK;
        }
        let checked = match self.verifier.verify(token).await {
            Ok(checked) => checked,
            Err(error) => return StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNAUTHORIZED),
        };
        if self.hole == "one-key" && !self.is_first(&head).await {
            return StatusCode::UNAUTHORIZED;
        }
        if checked.has_scope("orders:read") { StatusCode::OK } else { StatusCode::FORBIDDEN }
    }

    /// Whether the issuer that the token names publishes a key of that id. The hole is that anyone can be an issuer.
    async fn is_published_by_its_issuer(&self, head: &Value, claims: &Value) -> bool {
        // The keys of its own issuer it has already.
        let is_other = |issuer: &&str| issuer.starts_with("http") && *issuer != self.issuer;
        let Some(issuer) = claims["iss"].as_str().filter(is_other) else { return false };
        let Ok(answer) = self.http.get(format!("{issuer}/.well-known/jwks.json")).send().await else { return false };
        let text = answer.text().await.unwrap_or_default();
        let set: Value = serde_json::from_str(&text).unwrap_or_default();
        // What is left of the verification does not matter to the test: only a key of the attacker's has this id.
        let publishes = |kid: &str| set["keys"].as_array().is_some_and(|keys| keys.iter().any(|key| key["kid"] == kid));
        head["kid"] == "evil" && publishes("evil")
    }

    async fn is_first(&self, head: &Value) -> bool {
        let kid = head["kid"].as_str().unwrap_or_default();
        self.first_kid.lock().await.get_or_insert_with(|| kid.to_owned()) == kid
    }
}

/// A part of a token; null if it cannot be read.
fn part(token: &str, number: usize) -> Value {
    let part = token.split('.').nth(number).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    part.and_then(|part| serde_json::from_slice(&part).ok()).unwrap_or_default()
}
