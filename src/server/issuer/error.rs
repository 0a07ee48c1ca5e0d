use std::{borrow::Cow, time::Duration};

use crate::{
    protocol::ErrorCode,
    server::{
        keys::{SignError, VerifyError},
        registry, revocation, store,
        workers::WorkError,
    },
};

/// Why no token was issued. The variant says whose fault it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The caller's fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The caller's fault. The cause is written to the log and not sent to the caller.
    #[error("{cause}")]
    Rejected { refusal: Refusal, cause: &'static str },
    /// Like `Rejected`, with a cause that describes the mistake in the request. It is safe to log.
    #[error("{cause}")]
    Explained { refusal: Refusal, cause: String },
    /// The caller's fault: too many failed attempts. The next attempt is allowed after this time.
    #[error("too many failed attempts")]
    Limited(Duration),
    /// This server's fault.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The error response to a refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{description}")]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    /// For the developer of the client (RFC 6749 section 5.2). A fixed text, in which a scope token may stand (`excess`); it repeats nothing
    /// else of what was sent.
    pub(crate) description: Cow<'static, str>,
}

impl Refusal {
    pub(crate) const fn new(code: ErrorCode, description: &'static str) -> Self {
        Self { code, description: Cow::Borrowed(description) }
    }
}

/// A failure of this server. The cause is written to the log and not sent to the caller.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct Fault {
    /// Whether a retry of the same request may succeed.
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

impl From<revocation::Error> for Fault {
    fn from(error: revocation::Error) -> Self {
        match error {
            revocation::Error::Store(error) => error.into(),
            revocation::Error::Gone => Self { transient: true, cause: error.to_string() },
        }
    }
}

impl From<WorkError> for Fault {
    fn from(error: WorkError) -> Self {
        Self { transient: error == WorkError::QueueFull, cause: error.to_string() }
    }
}

impl From<VerifyError> for Fault {
    fn from(error: VerifyError) -> Self {
        Self { transient: matches!(error, VerifyError::Blind(_)), cause: error.to_string() }
    }
}

impl From<SignError> for Error {
    fn from(error: SignError) -> Self {
        let transient = matches!(error, SignError::Work(WorkError::QueueFull) | SignError::NoActiveKey);
        Fault { transient, cause: error.to_string() }.into()
    }
}
