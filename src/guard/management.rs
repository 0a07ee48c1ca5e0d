//! Metrics and health of a guard, for operators: on a separate listener.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, extract::State, response::Response, routing::get};

use super::{config::Config, front::App, parts::Parts};
use crate::{
    clock::Timestamp,
    server::process::{self, Service},
    verifier::KeyAvailability,
};

/// The listener for metrics and health checks.
pub(super) fn service(config: &Config, parts: &Parts, addr: SocketAddr) -> Service {
    let management = Management { app: Arc::clone(&parts.app), started: parts.started, scraping: Arc::default() };
    let routes = Router::new().route("/metrics", get(metrics)).route("/health/ready", get(ready)).with_state(management);
    process::management(routes.route("/health/live", get(process::live)), addr, config.management.hosts.clone())
}

#[derive(Debug, Clone)]
struct Management {
    app: Arc<App>,
    started: Timestamp,
    /// Serializes scrapes: values sampled for one must not be added twice.
    scraping: Arc<Mutex<()>>,
}

/// `GET /metrics`.
async fn metrics(State(management): State<Management>) -> Response {
    let encoded = {
        let _turn = management.scraping.lock().unwrap_or_else(PoisonError::into_inner);
        management.app.meters.encode(management.started)
    };
    process::metrics_answer(encoded)
}

/// `GET /health/ready`: tokens of every issuer can be checked. Otherwise 503 with the reasons.
async fn ready(State(Management { app, .. }): State<Management>) -> Response {
    let mut reasons = Vec::new();
    if app.stopping.has_begun() {
        reasons.push("the guard is stopping".to_owned());
    }
    for issuer in app.gate.verifier().status().issuers {
        if issuer.keys == KeyAvailability::Missing {
            let why = issuer.last_error.map(|(why, _)| format!(": {why}")).unwrap_or_default();
            reasons.push(format!("the keys of {} are not available{why}", issuer.issuer));
        }
    }
    process::readiness(&reasons)
}
