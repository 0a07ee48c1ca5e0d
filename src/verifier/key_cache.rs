//! The cached keys of an issuer: refreshed in time, and used for a bounded time while the issuer is down.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tracing::{Span, field::Empty};

use super::{
    Error, KeyFetchError,
    fetch::{Fetcher, KeySource},
};
use crate::{
    clock::Timestamp,
    jwt::KeySet,
    kept::{Fetch, FetchError, Fetched, Outcome, Prefetch, RefreshPolicy, Refresher},
    outbound::RequestError,
    protocol::Issuer,
};

/// The keys of one issuer.
pub(super) type KeyCache = Refresher<KeySource>;

const POLICY: RefreshPolicy = RefreshPolicy {
    cool_down: Duration::from_secs(10),
    min_interval: Duration::from_secs(10),
    retry_bounds: (Duration::from_secs(10), Duration::from_secs(30)),
    max_backoff: Duration::from_secs(30),
    // While the issuer is slow, requests of strangers must not pile up.
    max_waiters: 4096,
    demand_backs_off: false,
    prefetch: Prefetch::Always,
    lifetime_from_request: false,
};

/// The error while there are no usable keys.
pub(super) fn unavailable(keys: &KeyCache, now: Timestamp) -> Error {
    Error::KeysUnavailable { retry_after: keys.retry_after(now), cause: keys.last_error().map(|(reason, _)| KeyFetchError(reason)) }
}

/// Logs which keys of an issuer are not used, and why.
pub(super) fn log_skipped(keys: &KeySet, issuer: &Issuer) {
    for why in keys.skipped() {
        tracing::warn!(%issuer, "a key of the issuer is not used: {why}");
    }
}

impl Fetch for KeySource {
    type Value = KeySet;
    type Error = String;
    type State = Fetcher;

    const WHAT: &'static str = "the issuer's keys";

    fn policy(&self) -> RefreshPolicy {
        let shorter = |pause: Duration| pause / self.pause_divisor;
        RefreshPolicy {
            cool_down: shorter(POLICY.cool_down),
            min_interval: shorter(POLICY.min_interval),
            retry_bounds: (shorter(POLICY.retry_bounds.0), shorter(POLICY.retry_bounds.1)),
            ..POLICY
        }
    }

    fn initial_state(&self) -> Fetcher {
        Fetcher::new()
    }

    fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    fn span(&self) -> Span {
        tracing::info_span!("fetch_keys", issuer = %self.issuer, outcome = Empty)
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn unfinished(&self, reason: String) -> String {
        reason
    }

    async fn fetch(
        &self,
        fetcher: &mut Fetcher,
        forced: bool,
        cached: Option<Arc<KeySet>>,
        now: Timestamp,
    ) -> Result<Fetched<KeySet>, FetchError<String>> {
        let answer = fetcher.fetch(self, forced, now).await.map_err(|error| self.failed(error))?;
        let keys = match (answer.keys, &cached) {
            (Some(keys), _) => Arc::new(keys),
            (None, Some(cached)) => Arc::clone(cached),
            // A task without cached keys sends no tag, so the 304 is a mistake of the issuer.
            (None, None) => return Err(self.failed(RequestError::Unreachable("it answers 304 to an unconditional request".to_owned()))),
        };
        if !cached.is_some_and(|previous| keys.is_same_as(&previous)) {
            tracing::info!(issuer = %self.issuer, kids = ?keys.kids().collect::<BTreeSet<_>>(), "the issuer's keys changed");
            log_skipped(&keys, &self.issuer);
        }
        // Even with a shorter `max-age`, the keys stay usable until the issuer can be asked again and has had time to answer.
        let shortest = POLICY.cool_down + self.timeout;
        Ok(Fetched { value: keys, fresh: answer.ttl, usable: answer.ttl.saturating_add(self.max_stale).max(shortest) })
    }

    fn ended(&self, error: Option<&String>) {
        if error.is_some() {
            self.clients.reconnect();
        }
    }
}

impl KeySource {
    fn failed(&self, error: RequestError) -> FetchError<String> {
        let (error, outcome) = match error {
            RequestError::Unreachable(reason) => (reason, Outcome::Unreachable),
            RequestError::Status { retry_after, reason, .. } => (reason, Outcome::Unusable(retry_after.unwrap_or_default())),
            RequestError::Invalid(reason) => (reason, Outcome::Unusable(Duration::ZERO)),
            RequestError::OtherIssuer { url, claimed } => {
                let expected = self.issuer.as_str();
                let reason =
                    format!("{url}: it is the metadata of {claimed:?}, and the verifier is for {expected:?}: both must be the same text");
                (reason, Outcome::Unusable(Duration::ZERO))
            }
        };
        FetchError { error, outcome }
    }
}
