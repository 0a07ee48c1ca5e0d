//! Readiness.

use std::sync::Arc;

use axum::{extract::State, response::Response};

use super::App;
use crate::server::process;

/// `GET /health/ready`: the server can do its work. Otherwise 503 with the reasons.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let now = app.clock.now();
    let mut reasons = Vec::new();
    if app.stopping.has_begun() {
        reasons.push("the server is stopping");
    }
    if !app.keys.can_sign(now) {
        reasons.push("no signing key is active");
    }
    if app.keys.jwks_max_age(app.clock.steady()).is_zero() {
        reasons.push("the signing keys were last read too long ago");
    }
    if app.registry.is_stale() {
        reasons.push(if app.registry.is_set_back() {
            "the database is older than it was: run `sealwright restored`"
        } else {
            "the database has been unreachable for too long"
        });
    }
    if let Some(failure) = app.registry.write_failure() {
        reasons.push(failure);
    }
    process::readiness(&reasons)
}
