//! From a socket to requests: connections and their limits, TLS, trusted proxies, the memory of unauthenticated requests, and stopping.

mod activity;
mod budget;
mod certificate;
mod connection;
mod control;
mod limits;
mod listener;
#[cfg(unix)]
mod pathname;
mod peer;
mod places;
mod proxies;
mod socket;
mod stopping;
mod tls;
mod traffic;
mod unreadable;

pub(crate) use budget::{Charge, Exhausted, MemoryBudget};
pub(crate) use certificate::{Certificate, Concern};
pub(crate) use limits::{ConnectionLimits, connections_behind};
pub(crate) use listener::{Bound, Drain, Listener};
#[cfg(unix)]
pub(crate) use pathname::{PathnameError, PathnameSocket};
pub(crate) use peer::Peer;
pub(crate) use places::source_network;
pub(crate) use proxies::TrustedProxies;
pub(crate) use socket::Socket;
pub(crate) use stopping::Stopping;
pub(crate) use tls::{Tls, TlsError, TlsFiles};
pub(crate) use traffic::Traffic;
