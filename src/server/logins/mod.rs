//! Logins and their refresh tokens.

mod lifecycle;
mod refresh_token;

use std::time::Duration;

use crate::server::settings::{Error, Setting, Values, duration, number, setting};

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

const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

impl Policy {
    pub(crate) const SETTINGS: &'static [Setting] = &[
        setting("login_lifetime", Some("30days"), "maximum time that a user stays signed in", "a duration from 1h to 366days"),
        setting("login_idle_lifetime", Some("7days"), "how long a user stays signed in without a refresh", "a duration from 5m to 366days"),
        setting(
            "logins_per_user",
            Some("100"),
            "maximum number of logins of one user with one client; another one ends the least recently used",
            "a number from 1 to 10000",
        ),
    ];

    pub(crate) fn read(values: &Values) -> Result<Self, Error> {
        Ok(Self {
            lifetime: values.parse("login_lifetime", duration(Duration::from_secs(3600), YEAR))?,
            idle_lifetime: values.parse("login_idle_lifetime", duration(Duration::from_secs(300), YEAR))?,
            per_user: values.parse("logins_per_user", number(1, 10_000))?,
        })
    }
}
