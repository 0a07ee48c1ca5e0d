//! Why a server did not start.

use std::io;

use super::{edge::TlsError, keys, process::ListenError, restore, store};

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
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Error {
    /// Whether another process uses the port.
    pub(crate) fn is_address_in_use(&self) -> bool {
        matches!(&self.0, StartError::Listen(error) if error.is_address_in_use())
    }
}
