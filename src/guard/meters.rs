//! The metrics of a guard. Label values never come from callers.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use super::{
    refusal::{Refusal, UPSTREAM_CODES},
    verifier_meters::VerifierMeters,
};
use crate::{
    clock::Timestamp,
    server::meters::{ConnectionMeters, ProcessMeters},
    verifier::{self, Verifier},
};

/// The outcome of a request that was admitted with a token.
pub(super) const ALLOWED: &str = "allowed";
/// The outcome of a request that was admitted without one.
pub(super) const PUBLIC: &str = "public";
/// The caller disconnected before there was an answer.
pub(super) const ABANDONED: &str = "abandoned";

/// Labels of a request: how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// All metrics of a guard.
#[derive(Debug)]
pub(super) struct Meters {
    registry: Registry,
    requests: Family<Outcome, Counter>,
    decision_seconds: Histogram,
    upstream_seconds: Histogram,
    pub(super) connections: ConnectionMeters,
    process: ProcessMeters,
}

/// From a hundredth of a millisecond to two minutes.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 3.0, 16))
}

impl Meters {
    pub(super) fn new(verifier: Verifier) -> Self {
        let mut meters = Self {
            registry: Registry::default(),
            requests: Family::default(),
            decision_seconds: seconds(),
            upstream_seconds: seconds(),
            connections: ConnectionMeters::default(),
            process: ProcessMeters::default(),
        };
        let mut all = Registry::default();
        meters.register(all.sub_registry_with_prefix("sealwright_guard"));
        all.sub_registry_with_prefix("sealwright_verifier").register_collector(Box::new(VerifierMeters(verifier)));
        meters.process.register(all.sub_registry_with_prefix("process"));
        meters.registry = all;
        // Created at zero, so that a rate can be computed when the first of them happens.
        let ours = [ALLOWED, PUBLIC, ABANDONED].into_iter().chain(Refusal::CODES).chain(UPSTREAM_CODES);
        for outcome in ours.chain(verifier::Error::CODES.iter().copied()) {
            drop(meters.requests.get_or_create(&Outcome { outcome }));
        }
        meters
    }

    fn register(&self, registry: &mut Registry) {
        let help = "Requests by outcome: allowed (with a token), public (without one), or the reason why not";
        registry.register("requests", help, self.requests.clone());
        let help = "How long deciding about a request took, with waiting for the issuer if there was any";
        registry.register_with_unit("decision", help, Unit::Seconds, self.decision_seconds.clone());
        let help = "How long the API took to begin its answer";
        registry.register_with_unit("upstream", help, Unit::Seconds, self.upstream_seconds.clone());
        self.connections.register(registry);
        self.process.register_log(registry);
    }

    /// Counts a request that has ended.
    pub(super) fn ended(&self, outcome: &'static str) {
        self.requests.get_or_create(&Outcome { outcome }).inc();
    }

    pub(super) fn decided(&self, took: Duration) {
        self.decision_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn answered(&self, took: Duration) {
        self.upstream_seconds.observe(took.as_secs_f64());
    }

    /// All metrics in the format of Prometheus (OpenMetrics 1.0), of a guard that started at `started`. Calls must not overlap.
    pub(super) fn encode(&self, started: Timestamp) -> Result<String, fmt::Error> {
        self.process.sample(started);
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
