//! The authorization server: builds its parts and runs them.

mod act;
pub(crate) mod caller_text;
#[doc(hidden)]
pub mod commands;
pub mod config;
pub(crate) mod custody;
mod document;
pub(crate) mod edge;
mod epoch_watch;
mod housekeeping;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod logins;
mod management;
mod meters;
pub(crate) mod model;
pub(crate) mod passwords;
pub(crate) mod registry;
pub(crate) mod restore;
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
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};

pub use config::Config;
pub use meters::{Guess, Meters, TokenRequest};

use crate::{
    clock::SharedClock,
    protocol::{Issuer, ServerMetadata},
};
use document::Document;
use edge::{Bound, ConnectionLimits, Drain, Listener, MemoryBudget, Stopping, Tls, TlsError, TrustedProxies};
use epoch_watch::{EpochWatch, Watched};
use housekeeping::Housekeeping;
use http::{ApiDocs, App, Hosts};
use issuer::TokenIssuer;
use keys::{KeyRing, MacKey, SealingKeys};
use logins::Logins;
use management::Management;
use registry::Registry;
use restore::{RecordFile, Witness};
use store::{Opening, Store};

/// Time limit for closing the database. Completed writes are on disk in any case.
const CLOSE_TIME_LIMIT: Duration = Duration::from_secs(5);

/// Connection limits of the management listener: for a few scrapers, health checks and operators.
const MANAGEMENT_LIMITS: ConnectionLimits =
    ConnectionLimits { total: 64, per_source: 64, idle: Duration::from_secs(75), age: Duration::from_secs(3600) };

/// A server that is ready to run: its database is open, its keys are in memory, its port is bound.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    local_addr: SocketAddr,
    issuer: Issuer,
    app: Arc<App>,
    /// The listener for metrics, unless it is off.
    management: Option<(Listener, Router)>,
    management_addr: Option<SocketAddr>,
    clock: SharedClock,
    store: Store,
    registry: Registry,
    watch: EpochWatch,
    housekeeping: Housekeeping,
    drain: Drain,
    meters: Arc<Meters>,
    reload: Reload,
    /// The host names of a demo, whose page shows secrets.
    demo_hosts: Option<Hosts>,
}

/// A handle that makes a server reload its certificate.
#[derive(Debug, Clone, Default)]
pub struct Reload(Arc<Notify>);

impl Reload {
    /// Requests a reload. The log reports the outcome.
    pub fn ask(&self) {
        self.0.notify_one();
    }
}

/// Why a server did not start. Each text says how to fix it.
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
    #[error(transparent)]
    Restore(#[from] restore::Error),
    #[error("the threads that hash passwords could not be started: {0}")]
    Threads(io::Error),
    #[error("cannot listen on {addr}: {source}; is a server running already? Set --{setting} to use another address")]
    Listen { addr: SocketAddr, setting: &'static str, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Error {
    /// Whether another process uses the port.
    pub(crate) fn is_address_in_use(&self) -> bool {
        matches!(&self.0, StartError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
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
        let meters = Arc::new(Meters::default());
        let tls = config.http.tls.map(Tls::open).transpose()?;
        let bound = bind(config.http.listen, "listen")?;
        let management = config.management_listen.map(|addr| bind(addr, "management-listen")).transpose()?;
        let record = restore::require_known(&config.store, &config.keys).await?;
        let record_file = RecordFile::of(&config.keys);
        let store = Store::open(&config.store, Opening::CreateIfMissing).await?;
        let sealing = SealingKeys::open_or_create(&config.keys, &store).await?;
        let refresh_tokens = MacKey::open(Logins::KEY, &sealing, &store).await?;
        let sources = MacKey::open(Registry::SOURCE_KEY, &sealing, &store).await?;
        // Reads the epochs first, so that the data read later is at least as new as they indicate.
        let now = clock.steady();
        let epochs = store.read_epochs().await?;
        let keys = KeyRing::open(&config.keys, sealing.clone(), store.clone(), meters.signing.clone(), now).await?;
        let witness = Witness::open(record_file, record, &store, store.read_epochs().await?, keys.live_kids(now)).await?;
        let opened = Registry::open(config.registry, store.clone(), Arc::clone(&meters), sources, &clock, epochs.registry, now);
        let registry = opened.map_err(StartError::Threads)?;
        let logins = Logins::new(config.logins, store.clone(), refresh_tokens.clone(), Arc::clone(&clock));
        let watched = Watched { keys: keys.clone(), registry: registry.clone(), refresh_tokens, sealing };
        let watch = EpochWatch::new(Arc::clone(&clock), store.clone(), watched, Arc::clone(&meters), epochs, witness);

        let housekeeping = Housekeeping::new(Arc::clone(&clock), store.clone(), registry.clone());
        let limits = config.http.limits.affordable();
        meters.connections_max.set(i64::try_from(limits.total).unwrap_or(i64::MAX));
        let budget = MemoryBudget::new(config.http.unauthenticated_memory, meters.memory_refused.clone());
        let local_addr = bound.addr();
        let issuer = config.issuer.unwrap_or_else(|| loopback_issuer(local_addr, tls.is_some()));
        let metadata = ServerMetadata::new(issuer.clone(), config.tokens.served().collect());
        let tokens = TokenIssuer {
            policy: config.tokens,
            issuer: issuer.clone(),
            registry: registry.clone(),
            logins,
            keys: keys.clone(),
            meters: Arc::clone(&meters),
        };
        let metered = Management {
            clock: Arc::clone(&clock),
            started: now,
            meters: Arc::clone(&meters),
            keys: keys.clone(),
            registry: registry.clone(),
            store: store.clone(),
            scraping: Arc::default(),
        };
        let proxies = Arc::new(config.http.proxies);
        let app = Arc::new(App {
            clock: Arc::clone(&clock),
            registry: registry.clone(),
            issuer: tokens,
            keys,
            metadata: Document::new(serde_json::json!(metadata).to_string()),
            api_docs: ApiDocs::render(&config.http.api_docs, &issuer).map(Arc::new),
            proxies: Arc::clone(&proxies),
            meters: Arc::clone(&meters),
            stopping: Stopping::default(),
        });
        let management_addr = management.as_ref().map(Bound::addr);
        let management_hosts = config.management_hosts;
        let socket = listen(bound, "listen")?;
        let management = match management {
            Some(bound) => Some((bound.addr(), listen(bound, "management-listen")?)),
            None => None,
        };
        let management = management.map(|(addr, socket)| {
            let (limits, proxies) = (MANAGEMENT_LIMITS, Arc::<TrustedProxies>::default());
            let hosts = Hosts::new(addr.ip(), management_hosts, "If it should be, add the name to management_hosts.");
            let router = hosts.guard(metered.router().merge(http::health_routes(Arc::clone(&app))));
            // It reads no request bodies.
            let budget = MemoryBudget::new(0, Default::default());
            (Listener { socket, tls: None, limits, proxies, meters: Arc::default(), budget }, router)
        });
        let demo_hosts = config
            .http
            .api_docs
            .demo
            .as_ref()
            .map(|_| Hosts::new(local_addr.ip(), issuer.host().into_iter().collect(), "Open the address that the demo printed."));
        Ok(Self {
            listener: Listener { socket, tls, limits, proxies, meters: Arc::clone(&meters), budget },
            local_addr,
            app,
            issuer,
            management,
            management_addr,
            clock,
            store,
            registry,
            watch,
            housekeeping,
            drain: config.http.drain,
            meters,
            reload: Reload::default(),
            demo_hosts,
        })
    }

    /// The address that it listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The address of its metrics, unless they are off.
    #[must_use]
    pub const fn management_addr(&self) -> Option<SocketAddr> {
        self.management_addr
    }

    /// Its issuer identifier.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Its metrics.
    #[must_use]
    pub fn meters(&self) -> Arc<Meters> {
        Arc::clone(&self.meters)
    }

    /// A handle that makes this server reload its certificate.
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
        // Dropped with this future, so the tasks end with the server.
        let mut tasks = JoinSet::new();
        tasks.spawn(self.watch.run());
        tasks.spawn(self.housekeeping.run());
        let reload = Arc::clone(&self.reload.0);
        if let Some(tls) = self.listener.tls.clone() {
            tls.measure(&self.meters);
            tasks.spawn(tls.follow_files(Arc::clone(&self.clock), reload, Arc::clone(&self.meters), self.issuer.host()));
        } else {
            tasks.spawn(async move {
                loop {
                    reload.notified().await;
                    tracing::info!("reload: nothing to reload, because this server has no certificate; settings change only at a restart");
                }
            });
        }
        if let Some((listener, router)) = self.management {
            // It serves until the end, so that a stop can be observed.
            let drain = Drain { delay: Duration::ZERO, linger: Duration::ZERO, limit: Duration::ZERO };
            tasks.spawn(listener.serve(router, std::future::pending(), Stopping::default(), drain));
        }
        let metrics = self.management_addr.map(|addr| format!("http://{addr}/metrics"));
        let tls = self.listener.tls.is_some();
        tracing::info!(issuer = self.issuer.as_str(), listen = %self.local_addr, tls, metrics, "serving");
        let (stopping, router) = (self.app.stopping.clone(), http::router(self.app, &self.issuer));
        let router = match self.demo_hosts {
            Some(hosts) => hosts.guard(router),
            None => router,
        };
        let mut signal = None;
        let shutdown = async { signal = shutdown.await };
        self.listener.serve(router, shutdown, stopping, self.drain).await;
        // The tasks release their connections before the database is closed.
        tasks.shutdown().await;
        let closed = tokio::time::timeout(CLOSE_TIME_LIMIT, async {
            self.registry.stamp_last_use().await;
            self.store.close().await;
        });
        if closed.await.is_err() {
            tracing::warn!("the database could not be closed in time");
        }
        tracing::info!(signal, "stopped");
    }
}

fn bind(addr: SocketAddr, setting: &'static str) -> Result<Bound, StartError> {
    Bound::bind(addr).map_err(|source| StartError::Listen { addr, setting, source })
}

fn listen(bound: Bound, setting: &'static str) -> Result<TcpListener, StartError> {
    let addr = bound.addr();
    bound.listen().map_err(|source| StartError::Listen { addr, setting, source })
}

/// The issuer of a server without the setting: it is reachable only from this machine.
fn loopback_issuer(addr: SocketAddr, tls: bool) -> Issuer {
    let (scheme, default_port) = if tls { ("https", ":443") } else { ("http", ":80") };
    let text = match addr {
        SocketAddr::V4(v4) if *v4.ip() == Ipv4Addr::LOCALHOST => format!("{scheme}://localhost:{}", addr.port()),
        _ => format!("{scheme}://{addr}"),
    };
    // The normal form of a URL omits the scheme's default port.
    let text = text.strip_suffix(default_port).unwrap_or(&text);
    text.parse().expect("a loopback address is a valid issuer")
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request, routing::get};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::{clock::SystemClock, server::config::Sources};

    #[tokio::test]
    async fn a_panic_in_a_handler_is_one_500_with_a_request_id_and_other_requests_succeed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let flags = [
            ("listen", "127.0.0.1:0".to_owned()),
            ("management_listen", "off".to_owned()),
            ("database_url", format!("sqlite://{}", path("sealwright.db"))),
            ("database_connections", "1".to_owned()),
            ("keys_dir", path("keys")),
        ];
        let flags = flags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
        let server = Server::build(config, Arc::new(SystemClock)).await.unwrap();
        let panics = Router::new().route(
            "/panics",
            get(async || {
                if true {
                    panic!("intended")
                }
            }),
        );
        let router = http::router(server.app.clone(), server.issuer()).merge(http::behind_the_front(panics, server.app));
        let ask = async |request: Request<Body>| {
            let answer = router.clone().oneshot(request).await.unwrap();
            let (status, id) = (answer.status().as_u16(), answer.headers()["x-request-id"].to_str().unwrap().to_owned());
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, id, String::from_utf8(body.to_vec()).unwrap())
        };
        for _ in 0..3 {
            let (status, id, body) = ask(Request::get("/panics").body(Body::empty()).unwrap()).await;
            assert!(status == 500 && body.contains("server_error") && body.contains(&id) && !body.contains("intended"), "{body}");
            let form = "grant_type=client_credentials&client_id=unknown&client_secret=x";
            let post = Request::post("/oauth/token").header("content-type", "application/x-www-form-urlencoded");
            assert_eq!(ask(post.body(Body::from(form)).unwrap()).await.0, 401, "other requests succeed");
        }
    }
}
