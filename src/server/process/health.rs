//! Liveness and readiness.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

/// `GET /health/live`: the process answers. If it does not, restart it.
pub(crate) async fn live() -> Response {
    answer(StatusCode::OK, &json!({ "status": "live" }))
}

/// The answer to `GET /health/ready`: the process can do its work. Otherwise 503 with the reasons.
pub(crate) fn readiness(reasons: &[impl Serialize]) -> Response {
    if reasons.is_empty() {
        answer(StatusCode::OK, &json!({ "status": "ready" }))
    } else {
        answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "not ready", "reasons": reasons }))
    }
}

/// The answer of a process that can do a part of its work: it is ready, because another one could not do more. With what is missing.
pub(crate) fn partly_ready(missing: &[impl Serialize]) -> Response {
    answer(StatusCode::OK, &json!({ "status": "ready", "missing": missing }))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
