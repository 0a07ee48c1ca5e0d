//! The listeners of a process: which address each has, what it serves, and how it ends.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{sync::watch, task::JoinSet};

use crate::server::{
    edge::{Bound, ConnectionLimits, Drain, Listener, MemoryBudget, Socket, Stopping, Tls, TrustedProxies},
    meters::ConnectionMeters,
};

/// A listener that a process has, if its settings say so: `C` is its configuration, and `P` its parts.
#[derive(Debug)]
pub(crate) struct Port<C: 'static, P: 'static> {
    /// The flag of its address.
    pub(crate) setting: &'static str,
    /// Its address; `None` if it is off.
    pub(crate) address: fn(&C) -> Option<SocketAddr>,
    /// What it serves, at the address to which it was bound.
    pub(crate) service: fn(&C, &P, SocketAddr) -> Service,
}

/// Why a process cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {source}; is a server running already? Set --{setting} to use another address")]
pub(crate) struct ListenError {
    addr: SocketAddr,
    setting: &'static str,
    source: io::Error,
}

impl ListenError {
    /// Whether another process uses the address.
    pub(crate) fn is_address_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// What a listener serves.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) router: Router,
    pub(crate) tls: Option<Tls>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) proxies: Arc<TrustedProxies>,
    pub(crate) meters: ConnectionMeters,
    pub(crate) budget: MemoryBudget,
    pub(crate) end: End,
}

/// When a listener ends.
#[derive(Debug)]
pub(crate) enum End {
    /// When the process is asked to stop, once its requests are answered. The process ends after the last of these listeners.
    Drained(Stopping, Drain),
    /// With the process, so that a stop can be observed.
    WithProcess,
}

/// The addresses that are bound, so that no other process can start on them. They accept no connections yet.
#[derive(Debug)]
pub(crate) struct BoundPorts<C: 'static, P: 'static>(Vec<(&'static Port<C, P>, Bound)>);

/// The listeners, which accept connections. They are answered once the process runs.
#[derive(Debug)]
pub(crate) struct Listeners(Vec<Open>);

#[derive(Debug)]
struct Open {
    /// Its setting and its address, unless it is one of several with the same setting.
    port: Option<(&'static str, SocketAddr)>,
    socket: Socket,
    service: Service,
}

impl<C: 'static, P: 'static> BoundPorts<C, P> {
    pub(crate) fn bind(ports: &'static [Port<C, P>], config: &C) -> Result<Self, ListenError> {
        let bind = |port: &'static Port<C, P>| {
            let addr = (port.address)(config)?;
            let bound = Bound::bind(addr).map_err(|source| ListenError { addr, setting: port.setting, source });
            Some(bound.map(|bound| (port, bound)))
        };
        ports.iter().filter_map(bind).collect::<Result<_, _>>().map(Self)
    }

    /// The address of a listener, by its setting.
    pub(crate) fn addr(&self, setting: &str) -> Option<SocketAddr> {
        self.0.iter().find(|(port, _)| port.setting == setting).map(|(_, bound)| bound.addr())
    }

    /// Listens on all addresses.
    pub(crate) fn listen(self, config: &C, parts: &P) -> Result<Listeners, ListenError> {
        let listen = |(port, bound): (&'static Port<C, P>, Bound)| {
            let (setting, addr) = (port.setting, bound.addr());
            let socket = bound.listen().map_err(|source| ListenError { addr, setting, source })?;
            Ok(Open { port: Some((setting, addr)), socket: Socket::Tcp(socket), service: (port.service)(config, parts, addr) })
        };
        self.0.into_iter().map(listen).collect::<Result<_, _>>().map(Listeners)
    }
}

impl Listeners {
    /// The address of a listener, by its setting.
    pub(crate) fn addr(&self, setting: &str) -> Option<SocketAddr> {
        self.0.iter().filter_map(|open| open.port).find_map(|(known, addr)| (known == setting).then_some(addr))
    }

    /// The same with another one, whose socket was opened elsewhere.
    pub(crate) fn and(mut self, socket: Socket, service: Service) -> Self {
        self.0.push(Open { port: None, socket, service });
        self
    }

    /// Serves until `shutdown` completes and the requests under way have been answered. Returns what `shutdown` returned. Listeners that
    /// end with the process run among its `tasks`.
    pub(crate) async fn serve<T: Default>(self, tasks: &mut JoinSet<()>, shutdown: impl Future<Output = T>) -> T {
        let stop = watch::Sender::new(false);
        let mut draining = JoinSet::new();
        for Open { socket, service, .. } in self.0 {
            let Service { router, tls, limits, proxies, meters, budget, end } = service;
            let listener = Listener { socket, tls, limits, proxies, meters, budget };
            match end {
                End::Drained(stopping, drain) => {
                    let mut stopped = stop.subscribe();
                    // An error means that the process is being dropped.
                    let shutdown = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
                    draining.spawn(listener.serve(router, shutdown, stopping, drain));
                }
                End::WithProcess => {
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
            // A panic of a listener is one of the process.
            _ = draining.join_all() => {}
            () = shutdown => {}
        }
        outcome
    }
}
