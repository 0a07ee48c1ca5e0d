//! Metrics and health, for operators and for what watches this process.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, extract::State, response::Response, routing::get};

use super::{config::Config, meters::Meters, tokens::Tokens};
use crate::{
    clock::Timestamp,
    server::{
        edge::Stopping,
        process::{self, Service},
    },
};

/// What the management listener reports on.
#[derive(Debug, Clone)]
pub(super) struct Management {
    pub(super) meters: Arc<Meters>,
    pub(super) tokens: Tokens,
    pub(super) stopping: Stopping,
    pub(super) started: Timestamp,
}

/// The listener for metrics and health checks.
pub(super) fn service(config: &Config, management: &Management, addr: SocketAddr) -> Service {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(process::live))
        .route("/health/ready", get(ready))
        .with_state(management.clone());
    process::management(router, addr, config.management.hosts.clone())
}

/// `GET /metrics`.
async fn metrics(State(management): State<Management>) -> Response {
    process::metrics_answer(management.meters.encode(&management.tokens, management.started))
}

/// `GET /health/ready`: there is a token for every route. Whether an origin answers is not asked: it is not this process that can fix it.
async fn ready(State(management): State<Management>) -> Response {
    let mut reasons = management.tokens.missing();
    if management.stopping.has_begun() {
        reasons.push("the process is stopping".to_owned());
    }
    process::readiness(&reasons)
}
