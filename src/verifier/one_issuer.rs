//! The tokens of one issuer, judged with its keys.

use std::sync::Arc;

use super::{
    Check, Claims, Error, IssuerStatus, KeyState,
    check::{Expected, check},
    key_cache::{KeyCache, unavailable},
    signature::KeySet,
};
use crate::{
    clock::{SharedClock, Timestamp},
    kept::Held,
};

#[derive(Debug)]
pub(super) struct OneIssuer {
    pub(super) expected: Expected,
    pub(super) keys: Keys,
    pub(super) clock: SharedClock,
}

#[derive(Debug)]
pub(super) enum Keys {
    /// Given at the building.
    Fixed(KeySet),
    Fetched(KeyCache),
}

/// The keys that may be used at `now`, unless there are none: no key is left of a set that publishes the private half of each.
fn usable(held: &Option<Arc<Held<KeySet>>>, now: Timestamp) -> Option<&Held<KeySet>> {
    held.as_deref().filter(|held| held.is_usable(now) && !held.value.is_empty())
}

impl OneIssuer {
    /// Judges a token with the keys in memory. Takes no lock and awaits nothing while there are keys.
    pub(super) fn check(&self, token: &str, passed: impl FnMut(Check)) -> Result<Claims, Error> {
        let now = self.clock.now();
        let seconds = now.seconds();
        match &self.keys {
            Keys::Fixed(keys) => check(token, |kid, algorithm| keys.find(kid, algorithm), &self.expected, seconds, passed),
            Keys::Fetched(cache) => {
                let held = cache.held();
                let find = |kid: &str, algorithm| match usable(&held, now).map(|held| held.value.find(kid, algorithm)) {
                    // After an attempt that failed nobody can say whether the issuer has an unknown key by now.
                    Some(found) if found.is_ok() || !cache.last_attempt_failed() => found,
                    _ => Err(unavailable(cache, now)),
                };
                check(token, find, &self.expected, seconds, passed)
            }
        }
    }

    /// The same, after at most one attempt to fetch the keys when they do not suffice.
    pub(super) async fn verify(&self, token: &str) -> Result<Claims, Error> {
        self.keep();
        let outcome = self.check(token, |_| ());
        match &self.keys {
            Keys::Fetched(cache) if matches!(outcome, Err(Error::UnknownKey | Error::KeysUnavailable { .. })) => {
                cache.catch_up().await;
                self.check(token, |_| ())
            }
            _ => outcome,
        }
    }

    /// Fetches the keys unless there are some that are good.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        self.keep();
        let Keys::Fetched(cache) = &self.keys else { return Ok(()) };
        if usable(&cache.held(), self.clock.now()).is_none() {
            cache.catch_up().await;
        }
        let now = self.clock.now();
        if usable(&cache.held(), now).is_some() { Ok(()) } else { Err(unavailable(cache, now)) }
    }

    pub(super) fn keep(&self) {
        if let Keys::Fetched(cache) = &self.keys {
            cache.keep();
        }
    }

    pub(super) fn status(&self) -> IssuerStatus {
        let now = self.clock.now();
        if let Keys::Fetched(cache) = &self.keys
            && usable(&cache.held(), now).is_none()
        {
            cache.ask();
        }
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
        };
        match &self.keys {
            Keys::Fixed(keys) => described(Some(keys), KeyState::Fixed),
            Keys::Fetched(cache) => {
                let held = cache.held().clone();
                let state = match usable(&held, now) {
                    Some(held) if held.is_fresh(now) => KeyState::Fresh,
                    Some(_) => KeyState::Stale,
                    None => KeyState::Missing,
                };
                let (fetches, failures) = cache.attempts();
                IssuerStatus {
                    age: held.as_ref().map(|held| now.since(held.fetched_at)),
                    last_error: cache.last_error().map(|(why, at)| (why, now.since(at))),
                    fetching: cache.is_fetching(),
                    fetches,
                    failures,
                    ..described(held.as_ref().map(|held| Arc::as_ref(&held.value)), state)
                }
            }
        }
    }
}
