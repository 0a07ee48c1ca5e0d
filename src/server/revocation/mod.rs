//! Revokes: logins, the refresh tokens that carry them on, and how they end.

mod logins;
mod refresh_token;

use std::time::Duration;

pub(crate) use logins::{Logins, NewLogin};
pub(crate) use refresh_token::RefreshToken;

/// What logins obey.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// How long a login goes on without a refresh.
    pub(crate) idle_lifetime: Duration,
    /// How long it goes on at most.
    pub(crate) lifetime: Duration,
    /// Logins that one user may have by one client.
    pub(crate) per_user: u32,
}
