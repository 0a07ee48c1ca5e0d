use std::time::Duration;

use crate::{
    protocol::ErrorCode,
    server::{keys::SignError, registry, store, workers::Unserved},
};

/// Whose fault it is that there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The caller's.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The caller's, for a cause that only the log may know.
    #[error("{cause}")]
    Rejected { refusal: Refusal, cause: &'static str },
    /// The same, with a cause that says what is wrong with what was sent; fit for a log.
    #[error("{cause}")]
    Explained { refusal: Refusal, cause: String },
    /// The caller's: too many failed attempts. After this long one more may be made.
    #[error("too many failed attempts")]
    Limited(Duration),
    /// Ours.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A request that is refused, and what to tell who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{description}")]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    /// For the developer of the client (RFC 6749 section 5.2). Our own fixed words: what was sent is never repeated.
    pub(crate) description: &'static str,
}

impl Refusal {
    pub(crate) const fn new(code: ErrorCode, description: &'static str) -> Self {
        Self { code, description }
    }
}

/// A request that could not be served. The cause is for the log alone.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct Fault {
    /// Whether the same request may succeed a little later.
    pub(crate) transient: bool,
    pub(crate) cause: String,
}

impl From<store::Error> for Fault {
    fn from(error: store::Error) -> Self {
        Self { transient: error.is_transient(), cause: error.to_string() }
    }
}

impl From<registry::Error> for Fault {
    fn from(error: registry::Error) -> Self {
        Self { transient: error.is_transient(), cause: error.to_string() }
    }
}

impl From<Unserved> for Fault {
    fn from(unserved: Unserved) -> Self {
        Self { transient: unserved == Unserved::Full, cause: unserved.to_string() }
    }
}

impl From<SignError> for Error {
    fn from(error: SignError) -> Self {
        let transient = matches!(error, SignError::Unserved(Unserved::Full) | SignError::NoActiveKey);
        Fault { transient, cause: error.to_string() }.into()
    }
}
