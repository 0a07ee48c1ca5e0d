//! Checks the tokens of one issuer with its keys.

use std::sync::Arc;

use super::{
    Check, Claims, Error, IssuerStatus, KeyAvailability, Revocation,
    check::{Expected, check},
    key_cache::{KeyCache, unavailable},
    status_lists::{KnownList, StatusClaim, StatusLists},
};
use crate::{
    clock::{SharedClock, Timestamp},
    jwt::KeySet,
    kept::Cached,
};

#[derive(Debug)]
pub(super) struct OneIssuer {
    pub(super) expected: Expected,
    pub(super) keys: Keys,
    /// `None` if revoked tokens are not refused.
    pub(super) status_lists: Option<Arc<StatusLists>>,
    pub(super) clock: SharedClock,
}

#[derive(Debug)]
pub(super) enum Keys {
    /// Given when the verifier was built.
    Fixed(KeySet),
    Fetched(Arc<KeyCache>),
}

/// The result of a check with what is in memory.
#[derive(Debug)]
pub(super) struct CheckedInMemory {
    pub(super) outcome: Result<Claims, Error>,
    /// An attempt to fetch this may change the outcome.
    pub(super) wait_for: Option<WaitFor>,
}

#[derive(Debug)]
pub(super) enum WaitFor {
    Keys,
    StatusList(Arc<KnownList>),
}

/// The cached keys, if they may be used at `now` and are not empty: no key is left of a set that publishes the private half of each.
fn usable(cached: &Option<Arc<Cached<KeySet>>>, now: Timestamp) -> Option<&Cached<KeySet>> {
    cached.as_deref().filter(|cached| cached.is_usable(now) && !cached.value.is_empty())
}

impl OneIssuer {
    /// Checks a token with the cached keys and status lists. Takes no lock and does not wait.
    pub(super) fn check(&self, token: &str, passed: impl FnMut(Check)) -> CheckedInMemory {
        let now = self.clock.now();
        let seconds = now.seconds();
        let mut list = None;
        let status = |claim: Option<StatusClaim>| match &self.status_lists {
            Some(lists) => lists.check(claim, now, &mut list),
            None => Ok(()),
        };
        let outcome = match &self.keys {
            Keys::Fixed(keys) => check(token, |kid, algorithm| Ok(keys.find(kid, algorithm)?), status, &self.expected, seconds, passed),
            Keys::Fetched(cache) => {
                let cached = cache.cached();
                let find = |kid: &str, algorithm| match usable(&cached, now).map(|cached| cached.value.find(kid, algorithm)) {
                    // After a failed attempt, an unknown key may be a new key of the issuer.
                    Some(found) if found.is_ok() || !cache.last_attempt_failed() => Ok(found?),
                    _ => Err(unavailable(cache, now)),
                };
                check(token, find, status, &self.expected, seconds, passed)
            }
        };
        let wait_for = match (&outcome, &self.keys) {
            (Err(Error::UnknownKey | Error::KeysUnavailable { .. }), Keys::Fetched(_)) => Some(WaitFor::Keys),
            _ => list.map(WaitFor::StatusList),
        };
        CheckedInMemory { outcome, wait_for }
    }

    /// As [`check`](Self::check), after at most one attempt to fetch the keys, and then one to fetch the status list, if the cached ones are not
    /// sufficient.
    pub(super) async fn verify(&self, token: &str) -> Result<Claims, Error> {
        self.ensure_fetching();
        let mut checked = self.check(token, |_| ());
        if let (Some(WaitFor::Keys), Keys::Fetched(cache)) = (&checked.wait_for, &self.keys) {
            cache.refresh().await;
            checked = self.check(token, |_| ());
        }
        if let Some(WaitFor::StatusList(list)) = checked.wait_for {
            list.refresh().await;
            checked = self.check(token, |_| ());
        }
        checked.outcome
    }

    /// Fetches the keys, unless usable ones are cached.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        self.ensure_fetching();
        let Keys::Fetched(cache) = &self.keys else { return Ok(()) };
        if usable(&cache.cached(), self.clock.now()).is_none() {
            cache.refresh().await;
        }
        let now = self.clock.now();
        if usable(&cache.cached(), now).is_some() { Ok(()) } else { Err(unavailable(cache, now)) }
    }

    pub(super) fn ensure_fetching(&self) {
        if let Keys::Fetched(cache) = &self.keys {
            cache.ensure_running();
        }
    }

    pub(super) fn status(&self) -> IssuerStatus {
        let now = self.clock.now();
        if let Keys::Fetched(cache) = &self.keys
            && usable(&cache.cached(), now).is_none()
        {
            cache.demand();
        }
        let list_attempts = self.status_lists.as_ref().map(|lists| lists.attempts()).unwrap_or_default();
        let described = |keys: Option<&KeySet>, state| IssuerStatus {
            issuer: self.expected.issuer.to_string(),
            keys: state,
            kids: keys.map(|keys| keys.kids().map(str::to_owned).collect()).unwrap_or_default(),
            skipped: keys.map(|keys| keys.skipped().to_vec()).unwrap_or_default(),
            age: None,
            last_error: None,
            fetching: false,
            fetches: 0,
            failures: 0,
            revocation: self.status_lists.as_ref().map_or(Revocation::Off, |lists| lists.mode()),
            status_lists: self.status_lists.as_ref().map(|lists| lists.states()).unwrap_or_default(),
            status_list_fetches: list_attempts.0,
            status_list_failures: list_attempts.1,
        };
        match &self.keys {
            Keys::Fixed(keys) => described(Some(keys), KeyAvailability::Fixed),
            Keys::Fetched(cache) => {
                let cached = cache.cached().clone();
                let state = match usable(&cached, now) {
                    Some(cached) if cached.is_fresh(now) => KeyAvailability::Fresh,
                    Some(_) => KeyAvailability::Stale,
                    None => KeyAvailability::Missing,
                };
                let (fetches, failures) = cache.attempts();
                IssuerStatus {
                    age: cached.as_ref().map(|cached| now.since(cached.fetched_at)),
                    last_error: cache.last_error().map(|(error, at)| (error, now.since(at))),
                    fetching: cache.is_fetching(),
                    fetches,
                    failures,
                    ..described(cached.as_ref().map(|cached| Arc::as_ref(&cached.value)), state)
                }
            }
        }
    }
}
