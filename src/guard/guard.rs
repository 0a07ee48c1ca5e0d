//! A guard as a process: its listeners, and how it starts and stops.

use std::{future::Future, net::SocketAddr, sync::Arc};

use axum::Router;

use super::{
    config::Config,
    error::{Error, StartError},
    front, management,
    parts::Parts,
};
use crate::{
    clock::SharedClock,
    server::{
        edge::{MemoryBudget, Tls},
        process::{BoundPorts, CertificateWatch, End, Listeners, Port, Reload, Service, Tasks},
    },
};

/// Every listener.
static PORTS: [Port<Config, Parts>; 2] = [
    Port { setting: CHECKS, address: |config| Some(config.listener.listen), service },
    Port { setting: MANAGEMENT, address: |config| config.management.listen, service: management::service },
];
const CHECKS: &str = "listen";
const MANAGEMENT: &str = "management-listen";

/// A guard that is ready to run: its rules are read, and its ports are bound. It has fetched nothing yet, so it starts while the issuer is
/// down.
#[derive(Debug)]
pub struct Guard {
    listeners: Listeners,
    tasks: Tasks,
    parts: Parts,
    reload: Reload,
    local_addr: SocketAddr,
}

impl Guard {
    /// Builds a guard.
    ///
    /// # Errors
    ///
    /// If the rules, a certificate or a port cannot be used.
    pub async fn build(config: Config, clock: SharedClock) -> Result<Self, Error> {
        // It reads files.
        let built = tokio::task::spawn_blocking(move || Self::open(&config, clock)).await;
        Ok(built.map_err(|error| StartError::Threads(error.into()))??)
    }

    fn open(config: &Config, clock: SharedClock) -> Result<Self, StartError> {
        let tls = config.listener.tls.clone().map(Tls::open).transpose()?;
        let ports = BoundPorts::bind(&PORTS, config)?;
        let local_addr = ports.addr(CHECKS).unwrap_or(config.listener.listen);
        let parts = Parts::open(config, clock, tls)?;
        let listeners = ports.listen(config, &parts)?;
        let certificate = parts.tls.clone().map(|tls| {
            // By which name callers connect is not known.
            CertificateWatch::new(tls, Arc::clone(&parts.clock), parts.app.meters.connections.clone(), None)
        });
        let reload = certificate.as_ref().map(CertificateWatch::reload).unwrap_or_default();
        Ok(Self { listeners, tasks: Tasks::default().with_any(certificate), parts, reload, local_addr })
    }

    /// The address that it listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The address of its metrics, unless they are off.
    #[must_use]
    pub fn management_addr(&self) -> Option<SocketAddr> {
        self.listeners.addr(MANAGEMENT)
    }

    /// A handle that makes this guard reload its certificate.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Serves until `shutdown` completes, then lets requests in progress finish.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        let shutdown = async {
            shutdown.await;
            None
        };
        self.run_until_signal(shutdown).await;
    }

    /// The same, and logs the signal that `shutdown` returns.
    pub(crate) async fn run_until_signal(self, shutdown: impl Future<Output = Option<&'static str>>) {
        let metrics = self.management_addr().map(|addr| format!("http://{addr}/metrics"));
        let (app, tls) = (Arc::clone(&self.parts.app), self.parts.tls.is_some());
        // Dropped with this future, so the tasks end with the guard.
        let mut tasks = self.tasks.start();
        // Begins to fetch the keys, so that the first request does not wait for them.
        let issuers = app.gate.verifier().status().issuers.len();
        tracing::info!(mode = app.mode.name(), listen = %self.local_addr, tls, metrics, issuers, "serving");
        let signal = self.listeners.serve(&mut tasks, shutdown).await;
        tasks.shutdown().await;
        tracing::info!(signal, "stopped");
    }
}

/// The listener for the requests that are decided about. Every path is one of the API: it has no route of its own.
fn service(config: &Config, parts: &Parts, _: SocketAddr) -> Service {
    let (app, listener) = (&parts.app, &config.listener);
    let limits = listener.limits.affordable();
    app.meters.connections.most.set(i64::try_from(limits.total).unwrap_or(i64::MAX));
    Service {
        router: Router::new().fallback(front::serve).with_state(Arc::clone(app)),
        tls: parts.tls.clone(),
        limits,
        proxies: Arc::clone(&app.proxies),
        meters: app.meters.connections.clone(),
        budget: MemoryBudget::new(listener.unauthenticated_memory, app.meters.connections.memory_refused.clone()),
        end: End::Drained(app.stopping.clone(), listener.drain),
    }
}
