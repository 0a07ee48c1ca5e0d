//! Metrics and the fetchers of the JWKS, for operators: on a separate listener, never on the public one.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
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
    edge::{ConnectionLimits, MemoryBudget, Traffic},
    http::{self, Hosts},
    keys::{JwksFetchers, KeyRing},
    listeners::{End, Service},
    meters::{Key, LogLines, Meters},
    parts::Parts,
    registry::Registry,
    revocation::{Publisher, Revocations},
    store::Store,
    telemetry,
};
use crate::clock::{SharedClock, Timestamp};

/// For a few scrapers, health checks and operators.
const LIMITS: ConnectionLimits = ConnectionLimits {
    total: 64,
    per_source: 64,
    idle: Duration::from_secs(75),
    age: Duration::from_secs(3600),
    traffic: Traffic::Messages,
};

/// The listener for metrics and health checks.
pub(super) fn service(config: &Config, parts: &Parts, addr: SocketAddr) -> Service {
    let hosts = Hosts::new(addr.ip(), config.management_hosts.clone(), "If it should be, add the name to management_hosts.");
    Service {
        router: hosts.guard(Management::new(parts).router().merge(http::health_routes(Arc::clone(&parts.app)))),
        tls: None,
        limits: LIMITS,
        proxies: Arc::default(),
        meters: Arc::default(),
        // It reads no request bodies.
        budget: MemoryBudget::new(0, Default::default()),
        end: End::WithServer,
    }
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
        let dropped = &sampled.log_lines_dropped;
        dropped.inc_by(telemetry::lines_dropped().saturating_sub(dropped.get()));
        for (kind, count) in telemetry::lines_left_out() {
            let left_out = sampled.log_lines_left_out.get_or_create(&LogLines { kind });
            left_out.inc_by(count.saturating_sub(left_out.get()));
        }
        sampled.key_age.clear();
        for (kid, state, age) in self.keys.ages(now) {
            sampled.key_age.get_or_create(&Key { kid, state }).set(age.as_secs_f64());
        }
        sampled.keys_quarantined.set(whole(self.keys.quarantined()));
        let (revoked, lists) = self.revocations.counts();
        sampled.status_lists.set(whole(lists));
        sampled.status_lists_held.set(whole(self.publisher.held()));
        sampled.positions_revoked.set(i64::try_from(revoked).unwrap_or(i64::MAX));
        sampled.process.start_time.set(self.started.seconds() as f64);
        self.sample_process();
    }

    /// Without `/proc`, these metrics stay at zero.
    #[cfg(target_os = "linux")]
    fn sample_process(&self) {
        let gauges = &self.meters.sampled.process;
        let Ok(process) = procfs::process::Process::myself() else { return };
        if let Ok(stat) = process.stat() {
            let ticks = procfs::ticks_per_second() as f64;
            let computed = (stat.utime + stat.stime) as f64 / ticks;
            gauges.cpu_seconds.inc_by((computed - gauges.cpu_seconds.get()).max(0.0));
            gauges.resident_bytes.set(i64::try_from(stat.rss * procfs::page_size()).unwrap_or(i64::MAX));
            gauges.virtual_bytes.set(i64::try_from(stat.vsize).unwrap_or(i64::MAX));
            gauges.threads.set(stat.num_threads);
        }
        if let Ok(count) = process.fd_count() {
            gauges.open_fds.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        if let Ok(limits) = process.limits()
            && let procfs::process::LimitValue::Value(most) = limits.max_open_files.soft_limit
        {
            gauges.max_fds.set(i64::try_from(most).unwrap_or(i64::MAX));
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn sample_process(&self) {}
}

/// `GET /metrics`.
async fn metrics(State(management): State<Management>) -> Response {
    let encoded = {
        let _turn = management.scraping.lock().unwrap_or_else(PoisonError::into_inner);
        management.sample();
        management.meters.encode()
    };
    match encoded {
        Ok(text) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// `GET /jwks-fetchers`: the sources that have fetched the JWKS from this node.
async fn jwks_fetchers(State(Management { fetchers, keys, clock, .. }): State<Management>) -> Response {
    let view = FetchersView::new(&fetchers, &keys, clock.steady(), clock.now());
    match serde_json::to_string(&view) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], json).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
