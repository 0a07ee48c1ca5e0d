//! The listeners of a server: which address each has, what it serves, and how it ends.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{
    config::Config,
    edge::{Bound, ConnectionLimits, Drain, Listener, MemoryBudget, Stopping, Tls, TrustedProxies},
    error::StartError,
    meters::ConnectionMeters,
    parts::Parts,
};

/// A listener that a server has, if its settings say so.
#[derive(Debug)]
pub(super) struct Port {
    /// The flag of its address.
    pub(super) setting: &'static str,
    /// Its address; `None` if it is off.
    pub(super) address: fn(&Config) -> Option<SocketAddr>,
    /// What it serves, at the address to which it was bound.
    pub(super) service: fn(&Config, &Parts, SocketAddr) -> Service,
}

/// What a listener serves.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) router: Router,
    pub(super) tls: Option<Tls>,
    pub(super) limits: ConnectionLimits,
    pub(super) proxies: Arc<TrustedProxies>,
    pub(super) meters: ConnectionMeters,
    pub(super) budget: MemoryBudget,
    pub(super) end: End,
}

/// When a listener ends.
#[derive(Debug)]
pub(super) enum End {
    /// When the server is asked to stop, once its requests are answered. The server ends after the last of these listeners.
    Drained(Stopping, Drain),
    /// With the server, so that a stop can be observed.
    WithServer,
}

/// The addresses that are bound, so that no other server can start on them. They accept no connections yet.
#[derive(Debug)]
pub(super) struct BoundPorts(Vec<(&'static Port, Bound)>);

/// The listeners, which accept connections. They are answered once the server runs.
#[derive(Debug)]
pub(super) struct Listeners(Vec<Open>);

#[derive(Debug)]
struct Open {
    setting: &'static str,
    addr: SocketAddr,
    socket: TcpListener,
    service: Service,
}

impl BoundPorts {
    pub(super) fn bind(ports: &'static [Port], config: &Config) -> Result<Self, StartError> {
        let bind = |port: &'static Port| {
            let addr = (port.address)(config)?;
            let bound = Bound::bind(addr).map_err(|source| StartError::Listen { addr, setting: port.setting, source });
            Some(bound.map(|bound| (port, bound)))
        };
        ports.iter().filter_map(bind).collect::<Result<_, _>>().map(Self)
    }

    /// The address of a listener, by its setting.
    pub(super) fn addr(&self, setting: &str) -> Option<SocketAddr> {
        self.0.iter().find(|(port, _)| port.setting == setting).map(|(_, bound)| bound.addr())
    }

    /// Listens on all addresses.
    pub(super) fn listen(self, config: &Config, parts: &Parts) -> Result<Listeners, StartError> {
        let listen = |(port, bound): (&'static Port, Bound)| {
            let (setting, addr) = (port.setting, bound.addr());
            let socket = bound.listen().map_err(|source| StartError::Listen { addr, setting, source })?;
            Ok(Open { setting, addr, socket, service: (port.service)(config, parts, addr) })
        };
        self.0.into_iter().map(listen).collect::<Result<_, _>>().map(Listeners)
    }
}

impl Listeners {
    /// The address of a listener, by its setting.
    pub(super) fn addr(&self, setting: &str) -> Option<SocketAddr> {
        self.0.iter().find(|open| open.setting == setting).map(|open| open.addr)
    }

    /// Serves until `shutdown` completes and the requests under way have been answered. Returns what `shutdown` returned. Listeners that
    /// end with the server run among its `tasks`.
    pub(super) async fn serve<T: Default>(self, tasks: &mut JoinSet<()>, shutdown: impl Future<Output = T>) -> T {
        let stop = watch::Sender::new(false);
        let mut draining = JoinSet::new();
        for Open { socket, service, .. } in self.0 {
            let Service { router, tls, limits, proxies, meters, budget, end } = service;
            let listener = Listener { socket, tls, limits, proxies, meters, budget };
            match end {
                End::Drained(stopping, drain) => {
                    let mut stopped = stop.subscribe();
                    // An error means that the server is being dropped.
                    let shutdown = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
                    draining.spawn(listener.serve(router, shutdown, stopping, drain));
                }
                End::WithServer => {
                    let at_once = Drain { delay: Duration::ZERO, linger: Duration::ZERO, limit: Duration::ZERO };
                    tasks.spawn(listener.serve(router, std::future::pending(), Stopping::default(), at_once));
                }
            }
        }
        let mut outcome = T::default();
        let shutdown = async {
            outcome = shutdown.await;
            stop.send_replace(true);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // A panic of a listener is one of the server.
            _ = draining.join_all() => {}
            () = shutdown => {}
        }
        outcome
    }
}
