//! This program as a process: its listeners, its task, and how it stops.

use std::{cmp::Reverse, future::Future, net::SocketAddr, sync::Arc};

use axum::Router;

use super::{
    Error,
    config::Config,
    error::StartError,
    front::{Front, front},
    listen::ListenAt,
    management::{self, Management},
    meters::Meters,
    open::OpenAt,
    sending::Destination,
    tokens::{Keeper, Tokens},
};
use crate::{
    clock::SharedClock,
    proxy::{self, Forwarder, Options, Origin, Protocol},
    server::{
        edge::{MemoryBudget, Stopping},
        process::{BoundPorts, End, Hosts, Listeners, Port, Service, Tasks},
    },
};

/// The listener that this program has besides those of its routes.
static PORTS: [Port<Config, Management>; 1] =
    [Port { setting: MANAGEMENT, address: |config| config.management.listen, service: management::service }];
const MANAGEMENT: &str = "management-listen";

/// The client as a process that is ready to run: its sockets are open. It may have no token yet, so it starts while the issuer is down.
#[derive(Debug)]
pub struct Attach {
    listeners: Listeners,
    tasks: Tasks,
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
        let forwarders = forwarders(&config).await?;
        let (meters, stopping) = (Arc::new(Meters::default()), Stopping::default());
        let destination = |(route, (source, forwarder))| Arc::new(Destination { route, forwarder, source, meters: Arc::clone(&meters) });
        let destinations: Vec<_> = (1..).zip(sources.into_iter().zip(forwarders)).map(destination).collect();
        let management =
            Management { meters: Arc::clone(&meters), tokens: tokens.clone(), stopping: stopping.clone(), started: clock.steady() };
        let mut listeners = ports.listen(&config, &management)?;
        let mut listens = Vec::new();
        for (at, routes) in config.routes.by_listener(&config.listen) {
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
            listeners = listeners.and(socket, service(&config, front));
        }
        let issuer = config.client.issuer().to_string();
        Ok(Self { listeners, tasks: Tasks::default().with(Keeper { tokens, clock }), listens, issuer })
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

    /// The names of its background tasks. Between its rounds, each sleeps on the clock under its name, so that a test that moves a
    /// [`ManualClock`](crate::clock::ManualClock) can wait until all of them have done their work.
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
        let listen = self.listens().collect::<Vec<_>>().join(", ");
        // Dropped with this future, so the task ends with the process.
        let mut tasks = self.tasks.start();
        tracing::info!(issuer = self.issuer, listen, metrics, "serving");
        let signal = self.listeners.serve(&mut tasks, shutdown).await;
        tasks.shutdown().await;
        tracing::info!(signal, "stopped");
    }
}

/// A forwarder for each route. Routes to the same origin share one, and its connections.
async fn forwarders(config: &Config) -> Result<Vec<Forwarder>, StartError> {
    let (routes, limits, concurrent) = (config.routes.clone(), config.time_limits, config.connections);
    let build = move || {
        let mut built: Vec<(Origin, Forwarder)> = Vec::new();
        let forwarder = |origin: &Origin| {
            if let Some((_, forwarder)) = built.iter().find(|(known, _)| known == origin) {
                return Ok(forwarder.clone());
            }
            // The origin sees its own name, not that of this listener.
            let options = Options { protocol: Protocol::Negotiated, concurrent, ..Options::default() };
            let forwarder = Forwarder::new(origin.clone(), limits, options)?;
            built.push((origin.clone(), forwarder.clone()));
            Ok(forwarder)
        };
        routes.iter().map(|route| &route.origin).map(forwarder).collect::<Result<Vec<_>, proxy::BuildError>>()
    };
    // It reads the system's trust roots.
    Ok(tokio::task::spawn_blocking(build).await??)
}

/// The listener of some routes.
fn service(config: &Config, front_of_routes: Front) -> Service {
    let limits = config.connection_limits().affordable();
    let Front { meters, stopping, .. } = &front_of_routes;
    let (connections, stopping) = (meters.connections.clone(), stopping.clone());
    connections.most.set(i64::try_from(limits.total).unwrap_or(i64::MAX));
    Service {
        router: Router::new().fallback(front).with_state(Arc::new(front_of_routes)),
        tls: None,
        limits,
        proxies: Arc::default(),
        meters: connections,
        // Bodies are forwarded as they arrive.
        budget: MemoryBudget::new(0, Default::default()),
        end: End::Drained(stopping, config.drain),
    }
}
