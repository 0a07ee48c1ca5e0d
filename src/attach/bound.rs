//! The sockets of the listeners: bound first, so that a start beside a running process changes nothing, and listened on last.

use std::net::IpAddr;

#[cfg(unix)]
use super::socket::{BoundSocket, SocketFile};
use super::{error::StartError, listen::ListenAt};
use crate::server::edge::{Bound, Socket};

/// A socket that accepts no connections yet.
#[derive(Debug)]
pub(super) struct BoundAt {
    at: ListenAt,
    socket: Unopened,
}

#[derive(Debug)]
enum Unopened {
    Loopback(Bound),
    #[cfg(unix)]
    Unix(BoundSocket),
}

/// What must be kept as long as a socket is listened on.
#[cfg(unix)]
pub(super) type Kept = SocketFile;
#[cfg(not(unix))]
pub(super) type Kept = ();

impl BoundAt {
    /// `mode` is that of a Unix socket.
    pub(super) async fn bind(at: ListenAt, mode: u32) -> Result<Self, StartError> {
        match at {
            ListenAt::Loopback(addr) => {
                let bound = Bound::bind(addr).map_err(|source| StartError::Listen { at, source })?;
                // The system has chosen the port, if it was 0.
                Ok(Self { at: ListenAt::Loopback(bound.addr()), socket: Unopened::Loopback(bound) })
            }
            #[cfg(unix)]
            ListenAt::Unix(path) => {
                let bound = BoundSocket::bind(&path, mode).await?;
                Ok(Self { at: ListenAt::Unix(path), socket: Unopened::Unix(bound) })
            }
            #[cfg(not(unix))]
            ListenAt::Unix(path) => {
                let _ = mode;
                Err(StartError::NoUnixSockets(ListenAt::Unix(path)))
            }
        }
    }

    pub(super) const fn at(&self) -> &ListenAt {
        &self.at
    }

    /// The address that a browser could reach it at.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match &self.at {
            ListenAt::Loopback(addr) => Some(addr.ip()),
            ListenAt::Unix(_) => None,
        }
    }

    pub(super) fn listen(self) -> Result<(Socket, Option<Kept>), StartError> {
        let at = self.at;
        match self.socket {
            Unopened::Loopback(bound) => {
                let socket = bound.listen().map_err(|source| StartError::Listen { at, source })?;
                Ok((Socket::Tcp(socket), None))
            }
            #[cfg(unix)]
            Unopened::Unix(bound) => {
                let (socket, file) = bound.listen()?;
                Ok((Socket::Unix(socket), Some(file)))
            }
        }
    }
}
