//! The authorization server: its rooms, its listeners and its tasks.

mod act;
pub(crate) mod caller_text;
mod client_key;
#[doc(hidden)]
pub mod commands;
pub mod config;
pub(crate) mod custody;
mod document;
pub(crate) mod edge;
mod error;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod logins;
mod management;
pub(crate) mod meters;
pub(crate) mod model;
pub(crate) mod own_token;
mod parts;
pub(crate) mod passwords;
pub(crate) mod process;
mod public;
pub(crate) mod registry;
pub(crate) mod restore;
pub(crate) mod revocation;
pub(crate) mod secret;
pub(crate) mod settings;
pub(crate) mod store;
mod tasks;
pub(crate) mod telemetry;
mod workers;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

pub use config::Config;
pub use error::Error;
pub use meters::{Guess, Meters, TokenRequest};
pub use process::Reload;

use crate::{clock::SharedClock, protocol::Issuer};
use act::Act;
use edge::Tls;
use error::StartError;
use parts::Parts;
use process::{BoundPorts, CertificateWatch, Listeners, Port, Tasks};
use tasks::{EpochWatch, Housekeeping, KeyRotation, SealingWatch, StatusPublisher, Withdrawals};

/// Every listener.
static PORTS: [Port<Config, Parts>; 2] = [
    Port { setting: PUBLIC, address: |config| Some(config.http.listener.listen), service: public::service },
    Port { setting: MANAGEMENT, address: |config| config.management.listen, service: management::service },
];
const PUBLIC: &str = "listen";
const MANAGEMENT: &str = "management-listen";

/// Time limit for closing the database. Completed writes are on disk in any case.
const CLOSE_TIME_LIMIT: Duration = Duration::from_secs(5);

/// A server that is ready to run: its database is open, its keys are in memory, its port is bound.
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    tasks: Tasks,
    parts: Parts,
    reload: Reload,
    local_addr: SocketAddr,
}

impl Server {
    /// Builds a server. Creates the database, the sealing key and the first signing key if they are missing.
    ///
    /// It binds the port first, so that a start beside a running server creates nothing, and listens on it last, so that a server that cannot
    /// serve accepts no connection.
    ///
    /// # Errors
    ///
    /// If the database, the sealing key or the port cannot be used. Nothing has been overwritten then.
    pub async fn build(config: Config, clock: SharedClock) -> Result<Self, Error> {
        Ok(Self::open(config, clock).await?)
    }

    async fn open(config: Config, clock: SharedClock) -> Result<Self, StartError> {
        let tls = config.http.listener.tls.clone().map(Tls::open).transpose()?;
        let ports = BoundPorts::bind(&PORTS, &config)?;
        let local_addr = ports.addr(PUBLIC).unwrap_or(config.http.listener.listen);
        let (parts, last_seen) = Parts::open(&config, clock, tls, local_addr).await?;
        let listeners = ports.listen(&config, &parts)?;
        let certificate = parts
            .tls
            .clone()
            .map(|tls| CertificateWatch::new(tls, Arc::clone(&parts.clock), parts.meters.connections.clone(), parts.issuer.host()));
        let reload = certificate.as_ref().map(CertificateWatch::reload).unwrap_or_default();
        let heartbeat = last_seen.heartbeat;
        let sealing = SealingWatch::new(&parts, format!("{} at {local_addr}", Act::of_server(parts.opened).actor));
        let tasks = Tasks::default()
            .with(EpochWatch::new(&parts, last_seen))
            .with(Housekeeping::new(&parts, heartbeat))
            .with(KeyRotation::new(&parts, heartbeat))
            .with(sealing)
            .with(StatusPublisher::new(&parts))
            .with(Withdrawals::new(&parts))
            .with_any(certificate);
        Ok(Self { listeners, tasks, parts, reload, local_addr })
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

    /// Its issuer identifier.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.parts.issuer
    }

    /// Whether it has no resource, so that no client can get a token. `false` if the database cannot be read.
    pub(crate) async fn is_unused(&self) -> bool {
        matches!(self.parts.store.has_resources().await, Ok(false))
    }

    /// Its metrics.
    #[must_use]
    pub fn meters(&self) -> Arc<Meters> {
        Arc::clone(&self.parts.meters)
    }

    /// A handle that makes this server reload its certificate.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// The names of its background tasks. Between its rounds, each sleeps on the clock of the server under its name, so that a test that
    /// moves a [`ManualClock`](crate::clock::ManualClock) can wait until all of them have done their work.
    pub fn tasks(&self) -> impl Iterator<Item = &'static str> {
        self.tasks.names()
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
        let (issuer, tls) = (self.parts.issuer.as_str(), self.parts.tls.is_some());
        // Dropped with this future, so the tasks end with the server.
        let mut tasks = self.tasks.start();
        tracing::info!(issuer, listen = %self.local_addr, tls, metrics, "serving");
        let signal = self.listeners.serve(&mut tasks, shutdown).await;
        // The tasks release their connections before the database is closed.
        tasks.shutdown().await;
        let closed = tokio::time::timeout(CLOSE_TIME_LIMIT, async {
            self.parts.registry.stamp_last_use().await;
            // It counts as stopped after a while in any case.
            let _ = self.parts.store.forget_server(&self.parts.server_id).await;
            self.parts.store.close().await;
        });
        if closed.await.is_err() {
            tracing::warn!("the database could not be closed in time");
        }
        tracing::info!(signal, "stopped");
    }
}
