//! This program as a process: its listeners, and how it stops.

use std::{cmp::Reverse, future::Future, net::SocketAddr, sync::Arc};

use axum::Router;
use tokio::task::JoinSet;

use super::{
    Error,
    config::Config,
    error::StartError,
    front::{Front, front},
    listen::ListenAt,
    management::{self, Management},
    meters::Meters,
    open::OpenAt,
    sending::{Destination, Upstream},
    tokens::Tokens,
};
use crate::{
    clock::SharedClock,
    proxy::{self, Forwarder, Options, Origin, Protocol},
    server::{
        edge::{ConnectionLimits, Drain, MemoryBudget, Stopping, TrustedProxies, connections_behind},
        process::{BoundPorts, End, Hosts, Listeners, Port, Service},
    },
};

/// The listener that this program has besides those of its routes.
static PORTS: [Port<Config, Management>; 1] =
    [Port { setting: MANAGEMENT, address: |config| config.management.listen, service: management::service }];
const MANAGEMENT: &str = "management-listen";
/// Where connections come from.
const THIS_MACHINE: &str = "127.0.0.0/8,::1";

/// The client as a process that is ready to run: its sockets are open. It may have no token yet, so it starts while the issuer is down.
#[derive(Debug)]
pub struct Attach {
    listeners: Listeners,
    tokens: Tokens,
    listens: Vec<ListenAt>,
    issuer: String,
}

impl Attach {
    /// Builds the process.
    ///
    /// # Errors
    ///
    /// If it cannot listen, or its settings could not get a token.
    pub async fn build(config: Config, clock: SharedClock) -> Result<Self, Error> {
        Ok(Self::open(config, clock).await?)
    }

    async fn open(config: Config, clock: SharedClock) -> Result<Self, StartError> {
        let ports = BoundPorts::bind(&PORTS, &config)?;
        let (tokens, sources) = Tokens::open(config.routes.iter(), &config.client, &clock)?;
        let upstreams = upstreams(&config).await?;
        let (meters, stopping) = (Arc::new(Meters::default()), Stopping::default());
        let destination = |(route, (source, upstream))| Arc::new(Destination { route, upstream, source, meters: Arc::clone(&meters) });
        let destinations: Vec<_> = (1..).zip(sources.into_iter().zip(upstreams)).map(destination).collect();
        let management =
            Management { meters: Arc::clone(&meters), tokens: tokens.clone(), stopping: stopping.clone(), started: clock.steady() };
        let mut listeners = ports.listen(&config, &management)?;
        let mut listens = Vec::new();
        let places = config.routes.by_listener(&config.listen);
        let limits = config.connection_limits(places.len());
        meters.connections.most.set(i64::try_from(limits.total * places.len()).unwrap_or(i64::MAX));
        for (at, routes) in places {
            let OpenAt { at, socket } = OpenAt::open(at, config.socket_mode).await?;
            let mut front = Front {
                destinations: routes.into_iter().map(|(prefix, index)| (prefix, Arc::clone(&destinations[index]))).collect(),
                hosts: at.ip().map(|ip| Hosts::new(ip, Vec::new(), "")),
                authorization: config.authorization,
                meters: Arc::clone(&meters),
                stopping: stopping.clone(),
            };
            front.destinations.sort_by_key(|(prefix, _)| Reverse(prefix.len()));
            listens.push(at);
            listeners = listeners.and(socket, service(front, limits, config.drain));
        }
        let issuer = config.client.issuer().to_string();
        Ok(Self { listeners, tokens, listens, issuer })
    }

    /// Where it listens: the listener for paths first, then those of routes of their own. Addresses have their real ports.
    pub fn listens(&self) -> impl Iterator<Item = String> {
        self.listens.iter().map(ToString::to_string)
    }

    /// The address of its metrics, unless they are off.
    #[must_use]
    pub fn management_addr(&self) -> Option<SocketAddr> {
        self.listeners.addr(MANAGEMENT)
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
        let listen = self.listens().collect::<Vec<_>>().join(", ");
        self.tokens.fetch();
        tracing::info!(issuer = self.issuer, listen, metrics, "serving");
        // Dropped with this future, so what runs in it ends with the process.
        let mut with_the_process = JoinSet::new();
        let signal = self.listeners.serve(&mut with_the_process, shutdown).await;
        with_the_process.shutdown().await;
        tracing::info!(signal, "stopped");
    }
}

/// The upstream of each route. Routes to the same origin share one, and its connections.
async fn upstreams(config: &Config) -> Result<Vec<Upstream>, StartError> {
    let (routes, limits, concurrent) = (config.routes.clone(), config.time_limits, config.connections);
    let build = move || {
        // The origins share the file descriptors that the listeners leave them.
        let connections = connections_behind() / routes.count_origins().max(1);
        let mut built: Vec<(Origin, Upstream)> = Vec::new();
        let upstream = |origin: &Origin| -> Result<Upstream, proxy::BuildError> {
            if let Some((_, upstream)) = built.iter().find(|(known, _)| known == origin) {
                return Ok(upstream.clone());
            }
            // The origin sees its own name, not that of this listener.
            let options = Options { protocol: Protocol::Negotiated, concurrent, ..Options::default() }.within(connections);
            let concurrent = options.concurrent;
            let upstream = Upstream::new(Forwarder::new(origin.clone(), limits, options)?, concurrent);
            built.push((origin.clone(), upstream.clone()));
            Ok(upstream)
        };
        routes.iter().map(|route| &route.origin).map(upstream).collect::<Result<Vec<_>, _>>()
    };
    // It reads the system's trust roots.
    Ok(tokio::task::spawn_blocking(build).await??)
}

/// A listener.
fn service(front_of_routes: Front, limits: ConnectionLimits, drain: Drain) -> Service {
    let (meters, stopping) = (front_of_routes.meters.connections.clone(), front_of_routes.stopping.clone());
    Service {
        router: Router::new().fallback(front).with_state(Arc::new(front_of_routes)),
        tls: None,
        limits,
        // The limit of a source does not hold for these. Every connection comes from this machine, so it would be a second limit of all.
        proxies: Arc::new(TrustedProxies::parse(THIS_MACHINE).unwrap_or_default()),
        meters,
        // Bodies are forwarded as they arrive, and the requests that have no answer yet are limited.
        budget: MemoryBudget::new(0, Default::default()),
        end: End::Drained(stopping, drain),
    }
}
