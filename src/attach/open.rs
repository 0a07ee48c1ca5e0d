//! Opens the sockets of the listeners.

use super::{error::StartError, listen::ListenAt};
#[cfg(unix)]
use crate::server::edge::PathnameSocket;
use crate::server::edge::{Bound, Socket};

/// A socket that is listened on, and where.
#[derive(Debug)]
pub(super) struct OpenAt {
    pub(super) at: ListenAt,
    pub(super) socket: Socket,
}

impl OpenAt {
    /// `mode` is that of a Unix socket.
    pub(super) async fn open(at: ListenAt, mode: u32) -> Result<Self, StartError> {
        match at {
            ListenAt::Loopback(addr) => {
                let failed = |source| StartError::Listen { at: ListenAt::Loopback(addr), source };
                let bound = Bound::bind(addr).map_err(failed)?;
                // The system has chosen the port, if it was 0.
                let at = ListenAt::Loopback(bound.addr());
                Ok(Self { at, socket: Socket::Tcp(bound.listen().map_err(failed)?) })
            }
            #[cfg(unix)]
            ListenAt::Unix(path) => {
                let socket = Socket::Unix(PathnameSocket::listen(&path, mode).await?);
                Ok(Self { at: ListenAt::Unix(path), socket })
            }
            #[cfg(not(unix))]
            ListenAt::Unix(path) => {
                let _ = mode;
                Err(StartError::NoUnixSockets(ListenAt::Unix(path)))
            }
        }
    }
}
