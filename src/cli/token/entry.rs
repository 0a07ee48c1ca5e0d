//! What the cache holds of one kind of token.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{client::StoredToken, clock::Timestamp};

/// How long after a refresh whose answer was lost it may be repeated, and when the repetition ends. Afterwards, the issuer may take the refresh
/// token for a stolen one, and end the login: this product's does after 30 s.
const REPEAT_BEGINS: Duration = Duration::from_secs(20);
const REPEAT_ENDS: Duration = Duration::from_secs(25);

/// A token, and what happened since. Times are seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    token: Option<StoredToken>,
    /// When the refresh token of `token` was first sent, or was about to be.
    refresh_began_at: Option<i64>,
    failure: Option<Failure>,
}

/// The last attempt to get a token, if it failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    why: String,
    /// The number of attempts that failed since one succeeded.
    count: u32,
    failed_at: i64,
    next_at: i64,
}

impl Entry {
    pub(super) fn of(token: StoredToken) -> Self {
        Self { token: Some(token), ..Self::default() }
    }

    pub(super) const fn token(&self) -> Option<&StoredToken> {
        self.token.as_ref()
    }

    pub(super) const fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    pub(super) fn failures(&self) -> u32 {
        self.failure.as_ref().map_or(0, |failure| failure.count)
    }

    /// Notes that a refresh begins, and returns the token with the time limit for it. `None` if there is no refresh token, or if it was sent too
    /// long ago to be sent again.
    pub(super) fn begin_refresh(&mut self, now: Timestamp) -> Option<(StoredToken, Duration)> {
        let token = self.token.as_ref().filter(|token| token.has_refresh_token())?;
        let began = Timestamp::from_seconds(*self.refresh_began_at.get_or_insert(now.seconds()));
        (began <= now && now < began + REPEAT_BEGINS).then(|| (token.clone(), (began + REPEAT_ENDS).since(now)))
    }

    /// Notes that an attempt failed, and when another is due.
    pub(super) fn fail(&mut self, why: String, pause: Duration, now: Timestamp) {
        let count = self.failures().saturating_add(1);
        self.failure = Some(Failure { why, count, failed_at: now.seconds(), next_at: (now + pause).to_whole_second().seconds() });
    }
}

impl Failure {
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// The time until another attempt is due. `None` if one is due now, or if the clock was set back since.
    pub(super) fn pause(&self, now: Timestamp) -> Option<Duration> {
        let left = Timestamp::from_seconds(self.next_at).since(now);
        Some(left).filter(|left| !left.is_zero() && self.failed_at <= now.seconds())
    }
}
