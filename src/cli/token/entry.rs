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
        let began = Timestamp::from_seconds(*self.refresh_began_at.get_or_insert_with(|| now.seconds()));
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_795_500_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(NOON + seconds)
    }

    fn entry(refresh_token: Option<&str>) -> Entry {
        let token = serde_json::json!({
            "access_token": "eyJ.a-b_c.d", "refresh_token": refresh_token, "scope": null, "requested_at": NOON - 500, "expires_at": NOON + 100,
        });
        serde_json::from_value(serde_json::json!({ "token": token })).unwrap()
    }

    #[test]
    fn a_refresh_is_repeated_for_20_s_and_ends_after_25_s() {
        let limit = |entry: &mut Entry, seconds| entry.begin_refresh(at(seconds)).map(|(_, limit)| limit.as_secs());
        let mut begun = entry(Some("swr_x"));
        assert_eq!(limit(&mut begun, 0), Some(25));
        let mut stored: Entry = serde_json::from_str(&serde_json::to_string(&begun).unwrap()).unwrap();
        for (seconds, left) in [(1, Some(24)), (19, Some(6)), (20, None), (3600, None), (-1, None), (2, Some(23))] {
            assert_eq!(limit(&mut stored, seconds), left, "after {seconds} s");
        }
        assert_eq!(limit(&mut entry(None), 0), None);
    }

    #[test]
    fn a_failure_is_followed_by_a_pause_unless_the_clock_is_set_back() {
        let mut failed = entry(None);
        assert!(failed.failure().is_none());
        failed.fail("first".to_owned(), Duration::from_secs(1), at(0));
        failed.fail("second".to_owned(), Duration::from_secs(60), at(0));
        let failure = failed.failure().unwrap();
        assert_eq!((failure.why(), failed.failures()), ("second", 2));
        for (seconds, left) in [(0, Some(60)), (59, Some(1)), (60, None), (-1, None)] {
            assert_eq!(failure.pause(at(seconds)).map(|left| left.as_secs()), left, "after {seconds} s");
        }
    }
}
