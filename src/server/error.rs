//! Why a server did not start.

use std::{io, net::SocketAddr};

use super::{edge::TlsError, keys, restore, store};

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
