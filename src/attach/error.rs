//! Why this program did not start.

use std::io;

use super::listen::ListenAt;
#[cfg(unix)]
use crate::server::edge::PathnameError;
use crate::{client, proxy, server::process};

/// Why this program did not start. Each text says how to fix it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] StartError);

#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Management(#[from] process::ListenError),
    #[error("cannot listen on {at}: {source}; does another process listen there? Give another address")]
    Listen { at: ListenAt, source: io::Error },
    #[cfg(unix)]
    #[error(transparent)]
    Socket(#[from] PathnameError),
    #[cfg(not(unix))]
    #[error("this system has no Unix sockets, so nothing can listen on {0}")]
    NoUnixSockets(ListenAt),
    #[error(transparent)]
    Client(#[from] client::BuildError),
    #[error(transparent)]
    Forwarder(#[from] proxy::BuildError),
    #[error("the system's trust roots could not be read: {0}")]
    Roots(#[from] tokio::task::JoinError),
}
