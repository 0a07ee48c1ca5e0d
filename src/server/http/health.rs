//! Whether the process lives, and whether it should get requests.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::App;

/// `GET /health/live`: the process answers. Restarting it is called for when this does not.
pub(super) async fn live() -> Response {
    answer(StatusCode::OK, &json!({ "status": "live" }))
}

/// `GET /health/ready`: it can do its work. Otherwise 503, and the reasons in words.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let now = app.clock.now();
    let mut because = Vec::new();
    if app.stopping.has_begun() {
        because.push("the server is stopping");
    }
    if !app.keys.can_sign(now) {
        because.push("no signing key is active");
    }
    if app.keys.jwks_max_age(app.clock.steady()).is_zero() {
        because.push("the signing keys were last read too long ago");
    }
    if app.registry.is_stale() {
        because.push(if app.registry.is_set_back() {
            "the database is older than it was: run `sealwright restored`"
        } else {
            "the database has been out of reach for too long"
        });
    }
    if let Some(failure) = app.registry.write_failure() {
        because.push(failure);
    }
    if because.is_empty() {
        answer(StatusCode::OK, &json!({ "status": "ready" }))
    } else {
        answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "not ready", "because": because }))
    }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
