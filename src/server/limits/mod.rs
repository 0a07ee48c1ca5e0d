//! Limits on failed attempts: how often a secret or a password may be wrong, per client, user name and source.

mod attempts;
mod known_sources;
mod network;
mod password_limits;

pub(crate) use attempts::{Attempts, Limited};
pub(crate) use known_sources::{KnownSources, LookUpError};
pub(crate) use network::Network;
pub(crate) use password_limits::{NotAdmitted, PasswordAttempt, PasswordLimits, Policy};
