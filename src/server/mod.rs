//! The authorization server: wires the rooms together and runs them.

pub(crate) mod caller_text;
pub mod config;
mod document;
mod epoch_watch;
mod housekeeping;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod keys;
mod management;
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
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinSet,
};

pub use config::Config;
pub use meters::{Guess, Meters, TokenRequest};

use crate::{
    clock::SharedClock,
    protocol::{Issuer, ServerMetadata},
};
use document::Document;
use epoch_watch::EpochWatch;
use housekeeping::Housekeeping;
use http::{ApiDocs, App, ConnectionLimits, Drain, Listener, Stopping, Tls, TlsError, TrustedProxies};
use issuer::TokenIssuer;
use keys::{KeyRing, MacKey, SealingKeys};
use management::Management;
use registry::Registry;
use revocation::Logins;
use store::{Opening, Store};

/// How long the database may take to be closed; what it has answered is on its disk in any case.
const CLOSE_TIME_LIMIT: Duration = Duration::from_secs(5);

/// Connections of the management listener: a few scrapers and a curious operator.
const MANAGEMENT_LIMITS: ConnectionLimits = ConnectionLimits { total: 64, per_source: 64 };

/// A server that is ready to run: its database is open, its keys are in memory, its port is bound.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    local_addr: SocketAddr,
    issuer: Issuer,
    app: App,
    /// Where metrics are served, if anywhere.
    management: Option<(Listener, Router)>,
    management_addr: Option<SocketAddr>,
    clock: SharedClock,
    store: Store,
    registry: Registry,
    watch: EpochWatch,
    housekeeping: Housekeeping,
    drain: Drain,
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
    #[error("{addr} cannot be listened on: {source}; is a server running already? --{setting} takes another address")]
    Listen { addr: SocketAddr, setting: &'static str, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
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
        let store = Store::open(&config.store, Opening::Found, Arc::clone(&clock)).await?;
        let sealing = SealingKeys::found(&config.keys, &store).await?;
        let refresh_tokens = MacKey::open(Logins::KEY, &sealing, &store).await?;
        let sources = MacKey::open(Registry::SOURCE_KEY, &sealing, &store).await?;
        // The epochs first: what is read after them is at least as new as they say.
        let now = clock.steady();
        let epochs = store.read_epochs().await?;
        let keys = KeyRing::open(config.keys, sealing, store.clone(), meters.signing.clone(), now).await?;
        let opened = Registry::open(config.registry, store.clone(), Arc::clone(&meters), sources, &clock, epochs.registry, now);
        let registry = opened.map_err(StartError::Threads)?;
        let logins = Logins::new(config.logins, store.clone(), refresh_tokens, Arc::clone(&clock));
        let watch = EpochWatch::new(Arc::clone(&clock), store.clone(), keys.clone(), registry.clone(), Arc::clone(&meters), epochs);

        let housekeeping = Housekeeping::new(Arc::clone(&clock), store.clone(), registry.clone());
        let tls = config.http.tls.map(Tls::open).transpose()?;
        let limits = affordable(config.http.limits);
        meters.connections_max.set(i64::try_from(limits.total).unwrap_or(i64::MAX));
        let (socket, local_addr) = bind(config.http.listen, "listen")?;
        let management = match config.management_listen {
            Some(addr) => Some(bind(addr, "management-listen")?),
            None => None,
        };
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
        let app = App {
            clock: Arc::clone(&clock),
            registry: registry.clone(),
            issuer: tokens,
            keys,
            metadata: Document::new(serde_json::json!(metadata).to_string()),
            api_docs: ApiDocs::render(&config.http.api_docs, &issuer).map(Arc::new),
            proxies: Arc::clone(&proxies),
            meters: Arc::clone(&meters),
            stopping: Stopping::default(),
        };
        let management_addr = management.as_ref().map(|(_, addr)| *addr);
        let management = management.map(|(socket, _)| {
            let (limits, proxies) = (MANAGEMENT_LIMITS, Arc::<TrustedProxies>::default());
            (Listener { socket, tls: None, limits, proxies, meters: Arc::default() }, metered.router())
        });
        Ok(Self {
            listener: Listener { socket, tls, limits, proxies, meters: Arc::clone(&meters) },
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
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where it serves its metrics, if anywhere.
    #[must_use]
    pub const fn management_addr(&self) -> Option<SocketAddr> {
        self.management_addr
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
        if let Some(tls) = self.listener.tls.clone() {
            beside.spawn(tls.follow_files(Arc::clone(&self.clock)));
        }
        if let Some((listener, router)) = self.management {
            // It has no end of its own: how a server stops can be watched.
            let drain = Drain { delay: Duration::ZERO, linger: Duration::ZERO, limit: Duration::ZERO };
            beside.spawn(listener.serve(router, std::future::pending(), Stopping::default(), drain));
        }
        let metrics = self.management_addr.map(|addr| format!("http://{addr}/metrics"));
        let tls = self.listener.tls.is_some();
        tracing::info!(issuer = self.issuer.as_str(), listen = %self.local_addr, tls, metrics, "serving");
        let (stopping, router) = (self.app.stopping.clone(), http::router(self.app, &self.issuer));
        self.listener.serve(router, shutdown, stopping, self.drain).await;
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

/// As many connections as the process may have file descriptors for, less those that it needs itself.
fn affordable(limits: ConnectionLimits) -> ConnectionLimits {
    /// The database's connections and files, the log, the listeners, and what libraries open for a moment.
    const OWN: usize = 256;
    let Some(descriptors) = descriptor_limit() else { return limits };
    let total = limits.total.min(descriptors.saturating_sub(OWN).max(descriptors / 2)).max(1);
    if total == limits.total {
        return limits;
    }
    tracing::warn!(descriptors, wanted = limits.total, connections = total, "fewer connections than wanted: raise the limit of open files");
    ConnectionLimits { total, per_source: limits.per_source.min(total.div_ceil(2)) }
}

/// How many files this process may have open, after asking for as many as it may ask for.
#[cfg(unix)]
fn descriptor_limit() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    // What cannot be raised stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok())
}

#[cfg(not(unix))]
fn descriptor_limit() -> Option<usize> {
    None
}

/// With a longer queue than the runtime's 128: whoever finds it full is silently kept waiting for a second.
fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    const QUEUE: u32 = 4096;
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port that is free but for connections that ended a moment ago is free. (Elsewhere the option means something else.)
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(QUEUE)
}

fn bind(addr: SocketAddr, setting: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { addr, setting, source };
    let socket = listen(addr).map_err(failed)?;
    let addr = socket.local_addr().map_err(failed)?;
    Ok((socket, addr))
}

/// The issuer of a server that was given none: it can be reached from this machine alone.
fn loopback_issuer(addr: SocketAddr, tls: bool) -> Issuer {
    let (scheme, usual_port) = if tls { ("https", ":443") } else { ("http", ":80") };
    let text = match addr {
        SocketAddr::V4(v4) if *v4.ip() == Ipv4Addr::LOCALHOST => format!("{scheme}://localhost:{}", addr.port()),
        _ => format!("{scheme}://{addr}"),
    };
    // The scheme's own port is left out of a URL in its normal form.
    let text = text.strip_suffix(usual_port).unwrap_or(&text);
    text.parse().expect("a loopback address makes a lawful issuer")
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request, routing::get};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::{clock::SystemClock, server::config::Sources};

    #[tokio::test]
    async fn a_panic_in_a_handler_is_one_500_with_a_request_id_and_the_rest_goes_on() {
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
                    panic!("meant to")
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
            assert!(status == 500 && body.contains("server_error") && body.contains(&id) && !body.contains("meant"), "{body}");
            let form = "grant_type=client_credentials&client_id=unknown&client_secret=x";
            let post = Request::post("/oauth/token").header("content-type", "application/x-www-form-urlencoded");
            assert_eq!(ask(post.body(Body::from(form)).unwrap()).await.0, 401, "the rest goes on");
        }
    }
}
