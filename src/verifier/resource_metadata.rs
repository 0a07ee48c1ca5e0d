//! How an API describes itself: RFC 9728.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use axum_core::{body::Body, response::Response};
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde_json::json;
use tower_service::Service;

use super::Verifier;

/// A service that answers with the API's own description (RFC 9728 section 2): its name, whose tokens it takes, which scopes there
/// are. Its place is `/.well-known/oauth-protected-resource`, below the layer, since it is for who has no token yet.
///
/// ```
/// # use axum::{Router, routing::get};
/// # use sealwright::verifier::{BuildError, ResourceMetadata, Verifier};
/// # fn app() -> Result<Router, BuildError> {
/// let verifier = Verifier::for_issuer("https://auth.example").audience("https://orders.example").build()?;
/// let metadata = ResourceMetadata::new(&verifier, ["orders:read", "orders:write"]);
/// let app = Router::new()
///     .route("/orders", get(|| async { "orders" }))
///     .layer(verifier.layer().resource_metadata("https://orders.example/.well-known/oauth-protected-resource"))
///     .route_service(ResourceMetadata::ROUTE, metadata);
/// # Ok(app) }
/// # app().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ResourceMetadata {
    body: String,
}

impl ResourceMetadata {
    /// Where it stands, for an API whose name has no path; for `https://host/orders` it is this with `/orders` behind (section 3.1).
    pub const ROUTE: &'static str = "/.well-known/oauth-protected-resource";

    /// The description of the API that `verifier` checks tokens for; of several audiences ([`Verifier::any_of`]) the first is its name. It
    /// answers every origin, since it tells nothing that a caller may not know.
    pub fn new<S: Into<String>>(verifier: &Verifier, scopes: impl IntoIterator<Item = S>) -> Self {
        let issuers: Vec<&str> = verifier.0.issuers.iter().map(|issuer| issuer.expected.issuer.as_str()).collect();
        let resource = verifier.0.issuers.first().map(|issuer| issuer.expected.audience.as_str());
        let scopes: Vec<String> = scopes.into_iter().map(Into::into).collect();
        let mut document = json!({ "resource": resource, "authorization_servers": issuers, "bearer_methods_supported": ["header"] });
        // Section 3.2: what is empty is left out.
        if !scopes.is_empty() {
            document["scopes_supported"] = json!(scopes);
        }
        Self { body: document.to_string() }
    }
}

impl<B> Service<Request<B>> for ResourceMetadata {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut response = Response::new(Body::empty());
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            *response.body_mut() = Body::from(self.body.clone());
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
            // Public, and of use to a script of any origin.
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        ready(Ok(response))
    }
}
