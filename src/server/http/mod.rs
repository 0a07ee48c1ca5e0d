//! The HTTP interface: every route and every layer is on this page. The rules are in the rooms below.

mod api_docs;
mod body;
mod conditional;
mod cors;
mod error;
mod events;
mod front;
mod health;
mod note;
mod oauth;
mod policy;

use std::sync::Arc;

use axum::{
    Extension, Router, middleware,
    routing::{MethodFilter, MethodRouter, on},
};

use events::Endpoint;
use front::Front;

use crate::{
    clock::SharedClock,
    protocol::{Issuer, ServerMetadata},
    server::{
        document::Document,
        edge::{Stopping, TrustedProxies},
        issuer::TokenIssuer,
        keys::{JwksFetchers, KeyRing},
        meters::Meters,
        process,
        registry::Registry,
        revocation::Publisher,
    },
};

pub(crate) use api_docs::{ApiDocs, Demo};
pub(crate) use policy::Policy;

use oauth::{discovery, introspection, revocation, status_lists, token};

/// The state of the handlers. Each layer of each request holds a reference, so it is shared and not cloned.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) clock: SharedClock,
    pub(crate) registry: Registry,
    pub(crate) issuer: TokenIssuer,
    pub(crate) keys: KeyRing,
    pub(crate) publisher: Publisher,
    pub(crate) fetchers: Arc<JwksFetchers>,
    pub(crate) metadata: Document,
    /// `None` if the API description is turned off.
    pub(crate) api_docs: Option<Arc<ApiDocs>>,
    pub(crate) proxies: Arc<TrustedProxies>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) stopping: Stopping,
}

/// One route of the public listener.
struct Route {
    method: MethodFilter,
    /// Relative to the issuer's path.
    path: &'static str,
    /// `None` if its requests are not security events.
    endpoint: Option<Endpoint>,
    serve: fn(MethodFilter) -> MethodRouter<Arc<App>>,
}

impl Route {
    const fn get(path: &'static str, serve: fn(MethodFilter) -> MethodRouter<Arc<App>>) -> Self {
        Self { method: MethodFilter::GET, path, endpoint: None, serve }
    }

    const fn post(path: &'static str, endpoint: Endpoint, serve: fn(MethodFilter) -> MethodRouter<Arc<App>>) -> Self {
        Self { method: MethodFilter::POST, path, endpoint: Some(endpoint), serve }
    }

    fn handler(&self) -> MethodRouter<Arc<App>> {
        (self.serve)(self.method)
    }
}

/// Every route of the public listener except `API_DOCS_ROUTES`. `openapi.yaml` describes all routes of both lists except those below
/// `/docs/`.
const ROUTES: [Route; 10] = [
    Route::post(ServerMetadata::TOKEN_ROUTE, Endpoint::Token, |method| on(method, token::token)),
    Route::post(ServerMetadata::REVOCATION_ROUTE, Endpoint::Revocation, |method| on(method, revocation::revoke)),
    Route::post(ServerMetadata::INTROSPECTION_ROUTE, Endpoint::Introspection, |method| on(method, introspection::introspect)),
    Route::get(ServerMetadata::STATUS_LISTS_ROUTE, |method| cors::open(on(method, status_lists::all))),
    Route::get("/oauth/status-lists/{id}", |method| cors::open(on(method, status_lists::list))),
    Route::get(ServerMetadata::JWKS_ROUTE, |method| cors::open(on(method, discovery::jwks))),
    Route::get(ServerMetadata::ROUTE, |method| cors::open(on(method, discovery::metadata))),
    Route::get(ServerMetadata::ALIAS_ROUTE, |method| cors::open(on(method, discovery::metadata))),
    Route::get("/health/live", |method| on(method, process::live)),
    Route::get("/health/ready", |method| on(method, health::ready)),
];

/// The routes that exist if the API description is turned on.
const API_DOCS_ROUTES: [Route; 5] = [
    Route::get("/openapi.yaml", |method| cors::open(on(method, api_docs::yaml))),
    Route::get("/openapi.json", |method| cors::open(on(method, api_docs::json))),
    Route::get("/docs", |method| on(method, api_docs::page)),
    Route::get("/docs/", |method| on(method, api_docs::without_slash)),
    Route::get("/docs/{file}", |method| on(method, api_docs::file)),
];

/// The paths at which a route stands.
fn paths_of(route: &Route, issuer_path: &str) -> impl Iterator<Item = String> {
    // RFC 8414 section 3.1 inserts the well-known part before the issuer's path; some libraries append it.
    let inserted = (route.path == ServerMetadata::ROUTE && !issuer_path.is_empty()).then(|| format!("{}{issuer_path}", route.path));
    inserted.into_iter().chain([format!("{issuer_path}{}", route.path)])
}

/// The router of the public listener, with every route below the path of `issuer`.
pub(crate) fn router(app: Arc<App>, issuer: &Issuer) -> Router {
    let below = |route: &str| format!("{}{route}", issuer.path());
    let mount = |router: Router<Arc<App>>, route: &Route| {
        paths_of(route, issuer.path()).fold(router, |router, path| router.route(&path, route.handler()))
    };
    let routes_of = |endpoint| ROUTES.iter().filter(|route| route.endpoint == endpoint).fold(Router::new(), mount);
    let mut router = routes_of(None);
    if let Some(docs) = &app.api_docs {
        for route in &API_DOCS_ROUTES {
            router = router.route(&below(route.path), route.handler().layer(Extension(Arc::clone(docs))));
        }
    }
    let others = behind_the_front(router.fallback(error::not_found), Arc::clone(&app), None);
    let events = Endpoint::ALL.map(|endpoint| behind_the_front(routes_of(Some(endpoint)), Arc::clone(&app), Some(endpoint)));
    events.into_iter().fold(others, Router::merge)
}

/// Only the health routes, for a listener that is not public. Their requests are neither logged nor counted.
pub(crate) fn health_routes(app: Arc<App>) -> Router {
    let routes = ROUTES.iter().filter(|route| route.path.starts_with("/health/"));
    routes.fold(Router::new(), |router, route| router.route(route.path, route.handler())).with_state(app)
}

/// Wraps routes in the layer that every request passes through.
fn behind_the_front(routes: Router<Arc<App>>, app: Arc<App>, endpoint: Option<Endpoint>) -> Router {
    let front = Front { app: Arc::clone(&app), endpoint };
    // The routes whose requests are security events are those of POST.
    let routes = match endpoint {
        Some(_) => routes.method_not_allowed_fallback(error::use_post),
        None => routes.method_not_allowed_fallback(error::use_get),
    };
    routes.layer(middleware::from_fn_with_state(front, front::front)).with_state(app)
}

/// A router with one more route.
#[cfg(test)]
pub(crate) fn with_route(router: Router, path: &str, route: MethodRouter<Arc<App>>, app: Arc<App>) -> Router {
    router.merge(behind_the_front(Router::new().route(path, route), app, None))
}
