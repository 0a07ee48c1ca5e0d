//! Why a guard did not start.

use std::io;

use super::rules::RuleFileError;
use crate::{
    proxy,
    server::{edge::TlsError, process::ListenError},
    verifier,
};

/// Why a guard did not start. Each text says how to fix it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] pub(super) StartError);

#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Rules(#[from] RuleFileError),
    #[error("the rule file has no [[issuer]], so no token can be accepted: add the issuer of the API's tokens")]
    NoIssuer,
    #[error("the rule file cannot be used: {0}")]
    Issuers(#[from] verifier::BuildError),
    #[error("upstream cannot be used: {0}")]
    Upstream(#[from] proxy::BuildError),
    #[error("the threads of this process cannot be used: {0}")]
    Threads(io::Error),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Error {
    /// Whether the rules are invalid, so that another start would fail in the same way.
    pub(crate) const fn is_of_rules(&self) -> bool {
        matches!(self.0, StartError::Rules(_) | StartError::NoIssuer | StartError::Issuers(_))
    }
}
