//! The metrics of this program. Label values never come from requests.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use super::tokens::Tokens;
use crate::{
    clock::Timestamp,
    server::meters::{ConnectionMeters, ProcessMeters},
};

/// The number of a route in the order of the setting `to`, from 1; `none` for requests that no route is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    /// `answered` by the origin, `abandoned` by the app, or the reason of a failure.
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    route: String,
    /// What became of a request whose token was refused.
    outcome: &'static str,
}

/// All metrics of this process.
#[derive(Debug)]
pub(super) struct Meters {
    registry: Registry,
    pub(super) connections: ConnectionMeters,
    requests: Family<Request, Counter>,
    request_seconds: Family<RouteLabel, Histogram>,
    refused_tokens: Family<Refusal, Counter>,
    token_fetches: Family<RouteLabel, Counter>,
    token_failures: Family<RouteLabel, Counter>,
    token_seconds: Family<RouteLabel, Gauge>,
    process: ProcessMeters,
    /// Serializes scrapes: values sampled for one must not be added twice.
    scraping: Mutex<()>,
}

/// From a quarter of a millisecond to half a minute.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.5, 14))
}

impl Default for Meters {
    fn default() -> Self {
        let mut meters = Self {
            registry: Registry::default(),
            connections: ConnectionMeters::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            refused_tokens: Family::default(),
            token_fetches: Family::default(),
            token_failures: Family::default(),
            token_seconds: Family::default(),
            process: ProcessMeters::default(),
            scraping: Mutex::default(),
        };
        let mut all = Registry::default();
        meters.register(all.sub_registry_with_prefix("sealwright_attach"));
        meters.process.register(all.sub_registry_with_prefix("process"));
        meters.registry = all;
        meters
    }
}

impl Meters {
    fn register(&self, registry: &mut Registry) {
        registry.register("requests", "Requests by route and outcome", self.requests.clone());
        let help = "How long requests took, from their headers to the headers of their answer";
        registry.register_with_unit("request", help, Unit::Seconds, self.request_seconds.clone());
        let help = "Answers that refused the token, by route and by what became of the request: it was sent again, or why it was not";
        registry.register("refused_tokens", help, self.refused_tokens.clone());
        let help = "Attempts to get a token, by the first route that uses it";
        registry.register("token_fetches", help, self.token_fetches.clone());
        registry.register("token_failures", "Attempts that failed", self.token_failures.clone());
        let help = "For how long the token can still be used";
        registry.register_with_unit("token_remaining", help, Unit::Seconds, self.token_seconds.clone());
        self.connections.register(registry);
        self.process.register_log(registry);
    }

    pub(super) fn observe_request(&self, route: Option<usize>, outcome: &'static str, took: Duration) {
        let route = label(route);
        self.request_seconds.get_or_create(&RouteLabel { route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Request { route, outcome }).inc();
    }

    pub(super) fn count_refused_token(&self, route: usize, outcome: &'static str) {
        self.refused_tokens.get_or_create(&Refusal { route: label(Some(route)), outcome }).inc();
    }

    /// All metrics in the format of Prometheus (OpenMetrics 1.0).
    pub(super) fn encode(&self, tokens: &Tokens, started: Timestamp) -> Result<String, fmt::Error> {
        let _turn = self.scraping.lock().unwrap_or_else(PoisonError::into_inner);
        for held in tokens.iter() {
            let (status, route) = (held.source.status(), RouteLabel { route: label(Some(held.route)) });
            let fetches = self.token_fetches.get_or_create(&route).clone();
            fetches.inc_by(status.fetches.saturating_sub(fetches.get()));
            let failures = self.token_failures.get_or_create(&route).clone();
            failures.inc_by(status.failures.saturating_sub(failures.get()));
            let left = status.expires_in.map_or(0, |left| i64::try_from(left.as_secs()).unwrap_or(i64::MAX));
            self.token_seconds.get_or_create(&route).set(left);
        }
        self.process.sample(started);
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn label(route: Option<usize>) -> String {
    route.map_or_else(|| "none".to_owned(), |route| route.to_string())
}
