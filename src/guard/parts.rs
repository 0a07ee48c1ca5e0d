//! The parts of a guard, which its listeners share.

use std::sync::Arc;

use super::{
    config::{Config, ModePolicy},
    error::StartError,
    front::{App, Mode},
    gate::Gate,
    meters::Meters,
    rules::RuleFile,
    upstream::Upstream,
};
use crate::{
    clock::{SharedClock, Timestamp},
    server::edge::{Stopping, Tls},
    verifier::Verifier,
};

#[derive(Debug)]
pub(super) struct Parts {
    pub(super) app: Arc<App>,
    pub(super) clock: SharedClock,
    /// By the steady clock.
    pub(super) started: Timestamp,
    /// `None` if this guard serves plain HTTP.
    pub(super) tls: Option<Tls>,
}

impl Parts {
    /// Reads the rules and certificates. Blocks meanwhile, and fetches nothing.
    pub(super) fn open(config: &Config, clock: SharedClock, tls: Option<Tls>) -> Result<Self, StartError> {
        let RuleFile { issuers, rules } = RuleFile::read(&config.rules)?;
        if issuers.is_empty() {
            return Err(StartError::NoIssuer);
        }
        let verifiers = issuers.iter().map(|issuer| {
            let builder = issuer.verifier().clock(Arc::clone(&clock));
            match &config.name {
                Some(name) => builder.name(name).build(),
                None => builder.build(),
            }
        });
        let verifier = Verifier::any_of(verifiers.collect::<Result<Vec<_>, _>>()?)?;
        let mode = match config.mode.clone() {
            ModePolicy::Gateway(gateway) => Mode::Gateway(gateway),
            ModePolicy::Upstream(upstream) => {
                Mode::Upstream(Upstream::open(upstream, config.headers.reserved(), tls.is_some(), Arc::clone(&clock))?)
            }
        };
        let app = Arc::new(App {
            meters: Meters::new(verifier.clone()),
            gate: Gate::new(rules, verifier),
            mode,
            headers: config.headers.clone(),
            resource_metadata: config.resource_metadata.as_deref().map(Arc::from),
            proxies: Arc::new(config.listener.proxies.clone()),
            stopping: Stopping::default(),
        });
        let started = clock.steady();
        Ok(Self { app, clock, started, tls })
    }
}
