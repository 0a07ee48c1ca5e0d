//! Metrics and the fetchers of the JWKS, for operators: on a separate listener, never on the public one.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{
    commands::view::FetchersView,
    config::Config,
    http,
    keys::{JwksFetchers, KeyRing},
    meters::{Key, Meters},
    parts::Parts,
    process::{self, Service},
    registry::Registry,
    revocation::{Publisher, Revocations},
    store::Store,
};
use crate::clock::{SharedClock, Timestamp};

/// The listener for metrics and health checks.
pub(super) fn service(config: &Config, parts: &Parts, addr: SocketAddr) -> Service {
    let router = Management::new(parts).router().merge(http::health_routes(Arc::clone(&parts.app)));
    process::management(router, addr, config.management.hosts.clone())
}

/// The sources of the metrics that are sampled at each scrape.
#[derive(Debug, Clone)]
struct Management {
    clock: SharedClock,
    started: Timestamp,
    meters: Arc<Meters>,
    keys: KeyRing,
    fetchers: Arc<JwksFetchers>,
    registry: Registry,
    revocations: Revocations,
    publisher: Publisher,
    store: Store,
    /// Serializes scrapes: values sampled for one must not be added twice.
    scraping: Arc<Mutex<()>>,
}

impl Management {
    fn new(parts: &Parts) -> Self {
        Self {
            clock: Arc::clone(&parts.clock),
            started: parts.opened,
            meters: Arc::clone(&parts.meters),
            keys: parts.keys.clone(),
            fetchers: Arc::clone(&parts.app.fetchers),
            registry: parts.registry.clone(),
            revocations: parts.revocations.clone(),
            publisher: parts.publisher.clone(),
            store: parts.store.clone(),
            scraping: Arc::default(),
        }
    }

    fn router(self) -> Router {
        Router::new().route("/metrics", get(metrics)).route("/jwks-fetchers", get(jwks_fetchers)).with_state(self)
    }

    /// Samples the metrics that are not updated as things happen.
    fn sample(&self) {
        let now = self.clock.now();
        let sampled = &self.meters.sampled;
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        sampled.signing_waiting.set(whole(self.keys.waiting()));
        sampled.hashing_waiting.set(whole(self.registry.hashes_waiting()));
        let (open, idle) = self.store.connections();
        sampled.database_connections.set(whole(open));
        sampled.database_idle.set(whole(idle));
        sampled.clock_set_back.set(self.clock.steady().since(now).as_secs_f64());
        sampled.epoch_age.set(self.registry.age().as_secs_f64());
        sampled.key_age.clear();
        for (kid, state, age) in self.keys.ages(now) {
            sampled.key_age.get_or_create(&Key { kid, state }).set(age.as_secs_f64());
        }
        sampled.keys_quarantined.set(whole(self.keys.quarantined()));
        let (revoked, lists) = self.revocations.counts();
        sampled.status_lists.set(whole(lists));
        sampled.status_lists_held.set(whole(self.publisher.held()));
        sampled.positions_revoked.set(i64::try_from(revoked).unwrap_or(i64::MAX));
        sampled.process.sample(self.started);
    }
}

/// `GET /metrics`.
async fn metrics(State(management): State<Management>) -> Response {
    let encoded = {
        let _turn = management.scraping.lock().unwrap_or_else(PoisonError::into_inner);
        management.sample();
        management.meters.encode()
    };
    process::metrics_answer(encoded)
}

/// `GET /jwks-fetchers`: the sources that have fetched the JWKS from this node.
async fn jwks_fetchers(State(Management { fetchers, keys, clock, .. }): State<Management>) -> Response {
    let view = FetchersView::new(&fetchers, &keys, clock.steady(), clock.now());
    match serde_json::to_string(&view) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], json).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
