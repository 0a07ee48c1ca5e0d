//! Speaks HTTP and knows no rule: every route and every layer on this page.

mod client_request;
mod discovery;
mod error;
mod form;
mod front;
mod health;
mod listener;
mod note;
mod revocation;
mod token;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post},
};

use crate::{
    clock::SharedClock,
    protocol::{Issuer, ServerMetadata},
    server::{issuer::TokenIssuer, keys::KeyRing, registry::Registry},
};

pub(crate) use listener::serve;

/// What the handlers reach.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) clock: SharedClock,
    pub(crate) registry: Registry,
    pub(crate) issuer: TokenIssuer,
    pub(crate) keys: KeyRing,
    pub(crate) metadata: Arc<discovery::MetadataDocument>,
}

impl App {
    pub(crate) fn new(clock: SharedClock, registry: Registry, issuer: TokenIssuer, keys: KeyRing, metadata: &ServerMetadata) -> Self {
        let metadata = Arc::new(discovery::MetadataDocument::render(metadata));
        Self { clock, registry, issuer, keys, metadata }
    }
}

/// Every route of the public listener, below the path of `issuer`.
pub(crate) fn router(app: App, issuer: &Issuer) -> Router {
    let below = |route: &str| format!("{}{route}", issuer.path());
    // RFC 8414 section 3.1 puts the well-known part before the issuer's path; some libraries put it behind.
    let inserted = format!("{}{}", ServerMetadata::ROUTE, issuer.path());
    let mut router = Router::new()
        .route(&below(ServerMetadata::TOKEN_ROUTE), post(token::token))
        .route(&below(ServerMetadata::REVOCATION_ROUTE), post(revocation::revoke))
        .route(&below(ServerMetadata::JWKS_ROUTE), get(discovery::jwks))
        .route(&inserted, get(discovery::metadata))
        .route(&below(ServerMetadata::ALIAS_ROUTE), get(discovery::metadata))
        .route(&below("/health/live"), get(health::live))
        .route(&below("/health/ready"), get(health::ready));
    if !issuer.path().is_empty() {
        router = router.route(&below(ServerMetadata::ROUTE), get(discovery::metadata));
    }
    router
        .method_not_allowed_fallback(error::method_not_allowed)
        .fallback(error::not_found)
        .layer(middleware::from_fn(front::front))
        .with_state(app)
}
