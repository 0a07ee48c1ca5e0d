//! The authorization server: wires the rooms together and runs them.

pub mod config;
mod epoch_watch;
mod housekeeping;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod keys;
mod meters;
pub(crate) mod model;
pub(crate) mod registry;
pub(crate) mod revocation;
pub(crate) mod secret;
pub(crate) mod store;
pub(crate) mod telemetry;
mod workers;

use std::{
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use tokio::{net::TcpListener, task::JoinSet};

pub use config::Config;
pub use meters::{Counter, Meters};

use crate::{
    clock::SharedClock,
    protocol::{Issuer, ServerMetadata},
};
use epoch_watch::EpochWatch;
use housekeeping::Housekeeping;
use issuer::TokenIssuer;
use keys::{KeyRing, MacKey, SealingKeys};
use registry::Registry;
use revocation::Logins;
use store::{Opening, Store};

/// How long the database may take to be closed; what it has answered is on its disk in any case.
const CLOSE_TIME_LIMIT: Duration = Duration::from_secs(5);

/// A server that is ready to run: its database is open, its keys are in memory, its port is bound.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    issuer: Issuer,
    router: Router,
    store: Store,
    registry: Registry,
    watch: EpochWatch,
    housekeeping: Housekeeping,
    drain: Duration,
    meters: Arc<Meters>,
}

/// Why a server did not start. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] pub(crate) StartError);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Database(#[from] store::OpenError),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error("the threads that hash passwords could not be started: {0}")]
    Threads(io::Error),
    #[error("{addr} cannot be listened on: {source}; is a server running already? --listen takes another address")]
    Listen { addr: SocketAddr, source: io::Error },
}

impl Error {
    /// Whether another process has the port.
    pub(crate) fn is_address_in_use(&self) -> bool {
        matches!(&self.0, StartError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}

impl Server {
    /// Opens everything, founding the database, the sealing key and the first signing key where they are missing.
    ///
    /// The port is bound last: a server that cannot serve never listens.
    ///
    /// # Errors
    ///
    /// When the database, the sealing key or the port cannot be used. Nothing has been rewritten then.
    pub async fn build(config: Config, clock: SharedClock) -> Result<Self, Error> {
        Ok(Self::open(config, clock).await?)
    }

    async fn open(config: Config, clock: SharedClock) -> Result<Self, StartError> {
        let meters = Arc::new(Meters::default());
        let store = Store::open(&config.store, Opening::Found).await?;
        let sealing = SealingKeys::found(&config.keys, &store).await?;
        let refresh_tokens = MacKey::open(Logins::KEY, &sealing, &store).await?;
        // The epochs first: what is read after them is at least as new as they say.
        let now = clock.now();
        let epochs = store.read_epochs().await?;
        let keys = KeyRing::open(config.keys, sealing, store.clone(), now).await?;
        let opened = Registry::open(config.registry, store.clone(), Arc::clone(&meters), &clock, epochs.registry, now);
        let registry = opened.map_err(StartError::Threads)?;
        let logins = Logins::new(config.logins, store.clone(), refresh_tokens, Arc::clone(&clock));
        let watch = EpochWatch::new(Arc::clone(&clock), store.clone(), keys.clone(), registry.clone(), Arc::clone(&meters), epochs);

        let housekeeping = Housekeeping::new(Arc::clone(&clock), store.clone(), registry.clone());
        let failed = |source| StartError::Listen { addr: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let issuer = config.issuer.unwrap_or_else(|| loopback_issuer(local_addr));
        let metadata = ServerMetadata::new(issuer.clone(), config.tokens.served().collect());
        let tokens = TokenIssuer {
            policy: config.tokens,
            issuer: issuer.clone(),
            registry: registry.clone(),
            logins,
            keys: keys.clone(),
            meters: Arc::clone(&meters),
        };
        let app = http::App::new(clock, registry.clone(), tokens, keys, &metadata);
        let router = http::router(app, &issuer);
        Ok(Self { listener, local_addr, issuer, router, store, registry, watch, housekeeping, drain: config.drain, meters })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// In whose name it issues.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// What it counts.
    #[must_use]
    pub fn meters(&self) -> Arc<Meters> {
        Arc::clone(&self.meters)
    }

    /// Serves until `shutdown` comes, then lets the requests under way finish.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        // Dropped with this future, they end with the server.
        let mut beside = JoinSet::new();
        beside.spawn(self.watch.run());
        beside.spawn(self.housekeeping.run());
        tracing::info!(issuer = self.issuer.as_str(), listen = %self.local_addr, "serving");
        http::serve(self.listener, self.router, shutdown, self.drain).await;
        // What they hold is let go before the database is closed.
        beside.shutdown().await;
        let closed = tokio::time::timeout(CLOSE_TIME_LIMIT, async {
            self.registry.stamp_last_use().await;
            self.store.close().await;
        });
        if closed.await.is_err() {
            tracing::warn!("the database could not be closed in time");
        }
        tracing::info!("stopped");
    }
}

/// The issuer of a server that was given none: it can be reached from this machine alone.
fn loopback_issuer(addr: SocketAddr) -> Issuer {
    let text = match addr {
        SocketAddr::V4(v4) if *v4.ip() == Ipv4Addr::LOCALHOST => format!("http://localhost:{}", addr.port()),
        _ => format!("http://{addr}"),
    };
    // Port 80 is left out of a URL in its normal form.
    let text = text.strip_suffix(":80").unwrap_or(&text);
    text.parse().expect("a loopback address makes a lawful issuer")
}
