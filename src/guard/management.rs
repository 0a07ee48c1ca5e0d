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

/// `GET /health/ready`: tokens of at least one issuer can be checked. Otherwise 503 with the reasons. An issuer without keys is named in either
/// case; if one that is down took every guard out of service, the tokens of the others would be refused, too.
async fn ready(State(Management { app, .. }): State<Management>) -> Response {
    let issuers = app.gate.verifier().status().issuers;
    let count = issuers.len();
    let missing = issuers.into_iter().filter(|issuer| issuer.keys == KeyAvailability::Missing).map(|issuer| {
        let why = issuer.last_error.map(|(why, _)| format!(": {why}")).unwrap_or_default();
        format!("the keys of {} are not available{why}", issuer.issuer)
    });
    let missing: Vec<String> = missing.collect();
    if app.stopping.has_begun() {
        let stopping = std::iter::once("the guard is stopping".to_owned());
        return process::readiness(&stopping.chain(missing).collect::<Vec<_>>());
    }
    if missing.is_empty() || missing.len() == count { process::readiness(&missing) } else { process::partly_ready(&missing) }
}
