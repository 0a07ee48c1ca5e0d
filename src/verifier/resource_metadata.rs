//! The metadata of an API: RFC 9728.

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

/// A service that returns the API's metadata (RFC 9728 section 2): its name, the issuers whose tokens it accepts, and its scopes.
/// Serve it at `/.well-known/oauth-protected-resource`, and add it after the layer, because it is for clients that have no token yet.
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
    /// Its path, for an API whose name has no path. For `https://host/orders`, append `/orders` (section 3.1).
    pub const ROUTE: &'static str = "/.well-known/oauth-protected-resource";

    /// The metadata of the API for which `verifier` checks tokens. Of several audiences ([`Verifier::any_of`]), the first is its name. Scripts of
    /// every origin may read it, because it is public.
    pub fn new<S: Into<String>>(verifier: &Verifier, scopes: impl IntoIterator<Item = S>) -> Self {
        let issuers: Vec<&str> = verifier.issuers().map(|(issuer, _)| issuer).collect();
        let resource = verifier.issuers().next().map(|(_, audience)| audience);
        let scopes: Vec<String> = scopes.into_iter().map(Into::into).collect();
        let mut document = json!({ "resource": resource, "authorization_servers": issuers, "bearer_methods_supported": ["header"] });
        // Section 3.2: empty arrays are left out.
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
            // It is public, and scripts of any origin may need it.
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        ready(Ok(response))
    }
}
