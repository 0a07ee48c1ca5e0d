//! Logins and their refresh tokens.

mod lifecycle;
mod refresh_token;

use std::time::Duration;

pub(crate) use lifecycle::{Logins, NewLogin};
pub(crate) use refresh_token::RefreshToken;

/// The settings of logins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// How long a login lives without a refresh.
    pub(crate) idle_lifetime: Duration,
    /// How long it lives at most.
    pub(crate) lifetime: Duration,
    /// Maximum number of logins per user and client.
    pub(crate) per_user: u32,
}
