//! One token for a process that soon ends, and that stores it for the next one: `sealwright token get`.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{BuildError, Builder, Error, exchange::Exchange, issued::IssuedTokens};
use crate::{
    clock::{Clock, Timestamp},
    kept::Fetch,
};

/// The name under which this room sleeps.
const SINGLE_FETCH: &str = "single fetch";

/// Fetches one token at a time. Nothing runs in the background, and nothing is kept in memory.
#[derive(Debug)]
pub(crate) struct SingleFetch(Exchange);

impl Builder {
    /// Builds a client for a process that needs one token and then ends.
    pub(crate) fn single_fetch(self) -> Result<SingleFetch, BuildError> {
        Ok(SingleFetch(self.exchange()?))
    }
}

impl SingleFetch {
    /// Makes one attempt to get a token. The login of `previous` is refreshed, if it has one.
    pub(crate) async fn token(&self, previous: Option<&StoredToken>, within: Duration, clock: &dyn Clock) -> Result<StoredToken, Error> {
        let now = clock.now();
        let previous = previous.map(|stored| Arc::clone(&stored.issued));
        let fetched = async { self.0.fetch(&mut (), true, previous, now).await };
        let fetched = tokio::select! {
            fetched = fetched => fetched,
            () = clock.sleep_until(SINGLE_FETCH, now + within) => {
                return Err(self.0.unfinished("no complete answer in time".to_owned()));
            }
        };
        let issued = fetched.map_err(|failed| failed.error)?.value;
        Ok(StoredToken { issued, requested_at: now })
    }
}

/// A token that one process got and others use, with the refresh token of its login. `Debug` shows neither.
#[derive(Clone)]
pub(crate) struct StoredToken {
    issued: Arc<IssuedTokens>,
    requested_at: Timestamp,
}

impl fmt::Debug for StoredToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredToken").field("requested_at", &self.requested_at).finish_non_exhaustive()
    }
}

/// The form in which it is stored. Times are seconds since 1970-01-01T00:00:00Z.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Stored {
    access_token: String,
    refresh_token: Option<String>,
    scope: Option<String>,
    requested_at: i64,
    expires_at: i64,
}

impl StoredToken {
    /// Reads what [`to_json`](Self::to_json) wrote. `None` for anything else, and for a token that no header may contain.
    pub(crate) fn read(json: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(json).ok()?;
        let expires_at = Timestamp::from_seconds(stored.expires_at);
        let issued = IssuedTokens::new(&stored.access_token, stored.refresh_token.as_deref(), stored.scope.clone(), expires_at)?;
        Some(Self { issued: Arc::new(issued), requested_at: Timestamp::from_seconds(stored.requested_at) })
    }

    pub(crate) fn to_json(&self) -> serde_json::Result<Zeroizing<Vec<u8>>> {
        let stored = Stored {
            access_token: self.access_token().to_owned(),
            refresh_token: self.issued.refresh_token().map(str::to_owned),
            scope: self.scope().map(str::to_owned),
            requested_at: self.requested_at.seconds(),
            expires_at: self.issued.expires_at().seconds(),
        };
        serde_json::to_vec(&stored).map(Zeroizing::new)
    }

    pub(crate) fn access_token(&self) -> &str {
        self.issued.access()
    }

    /// The granted scope. `None` if the issuer did not state it.
    pub(crate) fn scope(&self) -> Option<&str> {
        self.issued.scope()
    }

    /// Whether it has not expired. A token from the future is not valid: the clock that its times come from was wrong, or this one is.
    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        self.requested_at <= now && now < self.issued.expires_at()
    }

    /// Whether four fifths of its life have passed.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        now >= self.requested_at + self.issued.expires_at().since(self.requested_at) / 5 * 4
    }

    /// The rest of its life.
    pub(crate) fn expires_in(&self, now: Timestamp) -> Duration {
        self.issued.expires_at().since(now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::{
        client::{Credentials, Secret},
        clock::ManualClock,
    };

    const NOON: i64 = 1_795_500_000;

    fn stored(change: impl FnOnce(&mut serde_json::Value)) -> Option<StoredToken> {
        let mut json = serde_json::json!({
            "access_token": "eyJ.a-b_c.d", "refresh_token": "swr_x", "scope": "orders:read", "requested_at": NOON, "expires_at": NOON + 600,
        });
        change(&mut json);
        StoredToken::read(json.to_string().as_bytes())
    }

    #[test]
    fn a_stored_token_is_read_as_it_was_written() {
        let token = stored(|_| {}).unwrap();
        let again = StoredToken::read(&token.to_json().unwrap()).unwrap();
        assert_eq!((again.access_token(), again.scope()), ("eyJ.a-b_c.d", Some("orders:read")));
        assert_eq!(again.issued.refresh_token(), Some("swr_x"));
        assert_eq!((again.requested_at, again.issued.expires_at()), (token.requested_at, token.issued.expires_at()));
    }

    #[test]
    fn hd7_a_stored_token_is_not_shown() {
        let shown = format!("{:?}", stored(|_| {}).unwrap());
        assert!(!shown.contains("eyJ") && !shown.contains("swr_"), "{shown}");
    }

    #[test]
    fn a_stored_token_is_due_at_four_fifths_of_its_life_and_valid_to_its_end() {
        let token = stored(|_| {}).unwrap();
        let at = |seconds: i64| Timestamp::from_seconds(NOON + seconds);
        for (seconds, valid, due) in [(-1, false, false), (0, true, false), (479, true, false), (480, true, true), (599, true, true)] {
            assert_eq!((token.is_valid(at(seconds)), token.is_due(at(seconds))), (valid, due), "after {seconds} s");
        }
        assert!(!token.is_valid(at(600)));
        assert_eq!(token.expires_in(at(599)), Duration::from_secs(1));
        let never_valid = stored(|json| json["expires_at"] = (NOON - 1).into()).unwrap();
        assert!(!never_valid.is_valid(at(0)) && !never_valid.is_valid(at(-1)));
    }

    #[test]
    fn anything_else_is_not_read_as_a_stored_token() {
        for token in ["", "a\r\nX-Admin: 1", "a b", "\u{e9}", &"a".repeat(16 * 1024 + 1)] {
            assert!(stored(|json| json["access_token"] = token.into()).is_none(), "{token:?}");
        }
        for (name, value) in
            [("expires_at", "soon".into()), ("scope", 1.into()), ("other", 1.into()), ("requested_at", serde_json::Value::Null)]
        {
            assert!(stored(|json| json[name] = value).is_none(), "{name}");
        }
        for text in ["", "{", "[]", "null", "{\"access_token\":\"eyJ\"}", "\0\0\0\0"] {
            assert!(StoredToken::read(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[tokio::test]
    async fn an_issuer_that_does_not_answer_is_waited_for_up_to_a_limit() {
        const WITHIN: Duration = Duration::from_secs(3);
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}", silent.local_addr().unwrap());
        let fetch = Credentials::client("billing", Secret::value("secret")).issuer(issuer).single_fetch().unwrap();
        let clock = ManualClock::at(Timestamp::from_seconds(NOON));
        let (token, ()) = tokio::join!(fetch.token(None, WITHIN, &clock), async {
            while clock.sleepers() != [SINGLE_FETCH] {
                tokio::task::yield_now().await;
            }
            clock.advance(WITHIN);
        });
        assert!(matches!(token, Err(Error::Unreachable { .. })), "{token:?}");
    }
}
