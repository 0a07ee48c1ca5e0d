//! A small API that only trusted apps and signed-in users may call.
//!
//! ```sh
//! ORDERS_ISSUER=http://localhost:8080 ORDERS_AUDIENCE=https://orders.example ORDERS_LISTEN=127.0.0.1:9000 \
//!     cargo run --example orders_api
//! curl -H "Authorization: Bearer $TOKEN" -d '{"item":"tea"}' -H 'Content-Type: application/json' http://127.0.0.1:9000/orders
//! ```
//!
//! `GET /orders` needs the scope `orders:read`, `POST /orders` needs `orders:write`, and `GET /orders/{id}` also that the order is the
//! caller's own, or that the caller is a user with the role `support`. Tokens are checked here with the cached keys of the issuer, without a request to it.

use std::{
    env,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use sealwright::verifier::{Claims, ResourceMetadata, Token, Verifier, scopes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{net::TcpListener, signal};

scopes! {
    /// May see their own orders.
    OrdersRead = "orders:read";
    /// May order.
    OrdersWrite = "orders:write";
}

#[derive(Debug, Clone, Serialize)]
struct Order {
    id: usize,
    item: String,
    /// The subject of the token that ordered it: a user's id or an app's.
    owner: String,
}

#[derive(Debug, Deserialize)]
struct NewOrder {
    item: String,
}

#[derive(Debug, Clone, Default)]
struct Orders(Arc<Mutex<Vec<Order>>>);

async fn list(State(orders): State<Orders>, caller: Token<OrdersRead>) -> Json<Vec<Order>> {
    let orders = orders.0.lock().unwrap_or_else(PoisonError::into_inner);
    Json(orders.iter().filter(|order| order.owner == caller.subject()).cloned().collect())
}

async fn create(State(orders): State<Orders>, caller: Token<OrdersWrite>, Json(new): Json<NewOrder>) -> (StatusCode, Json<Order>) {
    let mut orders = orders.0.lock().unwrap_or_else(PoisonError::into_inner);
    let order = Order { id: orders.len() + 1, item: new.item, owner: caller.subject().to_owned() };
    orders.push(order.clone());
    (StatusCode::CREATED, Json(order))
}

async fn show(State(orders): State<Orders>, caller: Token<OrdersRead>, Path(id): Path<usize>) -> Result<Json<Order>, StatusCode> {
    let orders = orders.0.lock().unwrap_or_else(PoisonError::into_inner);
    let order = orders.iter().find(|order| order.id == id).ok_or(StatusCode::NOT_FOUND)?;
    // The scope says that the caller may read orders. The API itself decides whose: by ownership, or by the claim `roles`.
    if order.owner == caller.subject() || is_support(&caller) { Ok(Json(order.clone())) } else { Err(StatusCode::FORBIDDEN) }
}

/// Whether the caller may read everyone's orders. The claim `roles` is there if this API asks for it: `resource update --claim roles`.
fn is_support(caller: &Claims) -> bool {
    let roles: Vec<String> = caller.get("roles").ok().flatten().unwrap_or_default();
    roles.iter().any(|role| role == "support")
}

/// Whether the API can check tokens, for a load balancer.
async fn ready(State(verifier): State<Verifier>) -> StatusCode {
    if verifier.status().is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Adds a JSON body that explains the status to answers without a body.
async fn explain(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || response.headers().contains_key(header::CONTENT_TYPE) {
        return response;
    }
    let hint = match status {
        StatusCode::UNAUTHORIZED => "send a token of this API's issuer: Authorization: Bearer ...",
        StatusCode::FORBIDDEN => "this token does not allow it",
        StatusCode::SERVICE_UNAVAILABLE => "try again after a while; the token may well be good",
        _ => status.canonical_reason().unwrap_or_default(),
    };
    let (parts, _) = response.into_parts();
    (parts.status, parts.headers, Json(json!({ "status": status.as_u16(), "hint": hint }))).into_response()
}

fn api(verifier: &Verifier, audience: &str) -> Router {
    let metadata = ResourceMetadata::new(verifier, ["orders:read", "orders:write"]);
    let guarded = Router::new()
        .route("/orders", get(list).post(create))
        .route("/orders/{id}", get(show))
        .with_state(Orders::default())
        // Every route above requires a valid token, even one whose handler does not ask for it.
        .layer(verifier.layer().resource_metadata(&format!("{audience}{}", ResourceMetadata::ROUTE)));
    guarded
        .route("/health/ready", get(ready).with_state(verifier.clone()))
        .route_service(ResourceMetadata::ROUTE, metadata)
        .layer(middleware::map_response(explain))
}

async fn stop_signal() {
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate()).expect("signals can be waited for");
    tokio::select! {
        _ = signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str| env::var(name).map_err(|_| format!("set {name}"));
    let audience = setting("ORDERS_AUDIENCE")?;
    // Nothing is fetched yet, so the API starts while the issuer is down.
    let verifier = Verifier::for_issuer(setting("ORDERS_ISSUER")?).audience(&audience).build()?;
    let listener = TcpListener::bind(setting("ORDERS_LISTEN")?).await?;
    println!("orders at http://{}/orders", listener.local_addr()?);
    axum::serve(listener, api(&verifier, &audience)).with_graceful_shutdown(stop_signal()).await?;
    Ok(())
}
