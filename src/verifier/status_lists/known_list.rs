//! One status list that a token has named, fetched or not.

use std::{
    ptr,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use url::Url;

use super::{
    Rules, StatusLists,
    list::Seen,
    missing::Missing,
    source::{COOL_DOWN, ListSource, Origin},
};
use crate::{
    clock::Timestamp,
    kept::Refresher,
    verifier::{Error, Revocation, StatusFetchError, status::StatusListState},
};

#[derive(Debug)]
pub(in crate::verifier) struct KnownList {
    /// Keeps the newest list that was seen, however old: whether it may be used is decided here.
    refresher: Refresher<ListSource>,
    first_named_at: Timestamp,
}

/// Times are of the steady clock.
impl KnownList {
    pub(super) fn new(origin: Arc<Origin>, url: Url, owner: Weak<StatusLists>, now: Timestamp) -> Self {
        let clock = Arc::clone(&origin.clock);
        let (used_at, missing) = (AtomicI64::new(now.seconds()), Missing::default());
        Self { refresher: Refresher::new(ListSource { origin, url, owner, used_at, missing }, clock), first_named_at: now }
    }

    /// Looks up the token at a position. See [`StatusLists::check`].
    pub(super) fn check(self: &Arc<Self>, index: u64, rules: Rules, now: Timestamp, wait_for: &mut Option<Arc<Self>>) -> Result<(), Error> {
        let source = self.refresher.fetch();
        source.note_use(now);
        let cached = self.refresher.cached();
        let seen = cached.as_deref().map(|cached| &*cached.value);
        let missing = &source.missing;
        // What is said for less than a minute does not count as long as the list is fresh: it is not signed.
        if missing.is_certain() || (missing.is_said() && seen.is_none_or(|seen| seen.is_stale(now))) {
            return self.check_missing(seen, index, wait_for);
        }
        let Some(seen) = seen else { return self.check_without_list(rules, now, wait_for) };
        self.refresher.ensure_running();
        let valid = seen.list.is_valid(index);
        if valid == Some(false) {
            // Also if the list is too old to accept a token.
            return Err(Error::Revoked);
        }
        // Also if the list is not stale yet: the token may have been revoked since.
        if self.is_overdue(seen, now) {
            *wait_for = Some(Arc::clone(self));
        }
        if valid.is_none() {
            self.check_beyond(seen, now, wait_for)
        } else if !seen.is_stale(now) || (rules.mode != Revocation::Strict && now < seen.confirmed_at + rules.max_stale) {
            Ok(())
        } else {
            self.unavailable(Some(seen), wait_for)
        }
    }

    /// While the issuer says that there is no such list, and the one that is held is not fresh.
    fn check_missing(self: &Arc<Self>, seen: Option<&Seen>, index: u64, wait_for: &mut Option<Arc<Self>>) -> Result<(), Error> {
        self.refresher.ensure_running();
        if seen.is_some_and(|seen| seen.list.is_valid(index) == Some(false)) {
            return Err(Error::Revoked);
        }
        if self.refresher.fetch().missing.is_certain() {
            return Err(Error::BadStatus("its status list does not exist any more"));
        }
        self.unavailable(seen, wait_for)
    }

    fn check_without_list(self: &Arc<Self>, rules: Rules, now: Timestamp, wait_for: &mut Option<Arc<Self>>) -> Result<(), Error> {
        if !self.refresher.has_outcome() {
            // Before anything else starts an attempt: caches on the way must not answer.
            self.refresher.demand();
            let refused = self.unavailable(None, wait_for);
            // The attempt may have ended meanwhile.
            *wait_for = Some(Arc::clone(self));
            return refused;
        }
        self.refresher.ensure_running();
        if rules.mode != Revocation::Strict && now < self.first_named_at + rules.max_stale {
            return Ok(());
        }
        self.unavailable(None, wait_for)
    }

    /// For a position that the list does not have: it may have grown since it was fetched.
    fn check_beyond(self: &Arc<Self>, seen: &Seen, now: Timestamp, wait_for: &mut Option<Arc<Self>>) -> Result<(), Error> {
        if self.refresher.last_attempt_failed() {
            return self.unavailable(Some(seen), wait_for);
        }
        if now >= seen.asked_at + COOL_DOWN {
            *wait_for = Some(Arc::clone(self));
        }
        Err(Error::BadStatus("its position is not in its status list"))
    }

    /// Whether the attempt that was due has neither succeeded nor failed: the process was suspended, or had no runtime.
    fn is_overdue(&self, seen: &Seen, now: Timestamp) -> bool {
        let timeout = self.refresher.fetch().origin.keys_source().timeout;
        now >= seen.asked_at + seen.list.ttl + timeout && !self.refresher.last_attempt_failed()
    }

    /// The result is unknown, and an attempt may change that, or one that has ended since `seen` was read. Otherwise the caller does not check the
    /// token again for nothing.
    fn unavailable(self: &Arc<Self>, seen: Option<&Seen>, wait_for: &mut Option<Arc<Self>>) -> Result<(), Error> {
        // In this order: an attempt replaces the list before it ends.
        let may_change = self.refresher.permits_demand() || self.has_replaced(seen);
        *wait_for = may_change.then(|| Arc::clone(self));
        let cause = match self.refresher.last_error() {
            Some((error, _)) => error.to_string(),
            None => {
                let why = if self.refresher.has_outcome() {
                    "the issuer has not confirmed it in time"
                } else {
                    "no attempt to fetch it has ended yet; outside a tokio runtime, none begins"
                };
                format!("{}: {why}", self.refresher.fetch().url)
            }
        };
        let retry_after = self.refresher.retry_after(self.refresher.now());
        Err(Error::StatusUnavailable { retry_after, cause: Some(StatusFetchError(cause)) })
    }

    /// Whether the list has been fetched or confirmed since `seen` was read.
    fn has_replaced(&self, seen: Option<&Seen>) -> bool {
        let cached = self.refresher.cached();
        cached.as_deref().is_some_and(|cached| !seen.is_some_and(|seen| ptr::eq(seen, &raw const *cached.value)))
    }

    /// Waits for an attempt to fetch the list, if one is possible.
    pub(in crate::verifier) async fn refresh(&self) {
        self.refresher.refresh().await;
    }

    /// When a token last named it, in seconds, and up to a minute off.
    pub(super) fn used_at(&self) -> i64 {
        self.refresher.fetch().used_at.load(Relaxed)
    }

    pub(super) fn attempts(&self) -> (u64, u64) {
        self.refresher.attempts()
    }

    pub(super) fn state(&self) -> StatusListState {
        let (cached, source) = (self.refresher.cached(), self.refresher.fetch());
        let (steady, now) = (source.origin.clock.steady(), self.refresher.now());
        let seen = cached.as_deref().map(|cached| &cached.value);
        let (fetches, failures) = self.attempts();
        StatusListState {
            uri: source.url.as_str().to_owned(),
            age: seen.map(|seen| steady.since(seen.confirmed_at)),
            is_stale: seen.is_none_or(|seen| seen.is_stale(steady)),
            is_gone: source.missing.is_certain(),
            last_error: self.refresher.last_error().map(|(error, at)| (error.to_string(), now.since(at))),
            fetching: self.refresher.is_fetching(),
            fetches,
            failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        clock::{Clock, ManualClock, SharedClock},
        verifier::{clients::Clients, fetch::KeySource, key_cache::KeyCache, status_lists::list::accepted},
    };

    /// A list of an issuer at a port where no one listens.
    fn unreachable(clock: &ManualClock) -> Arc<KnownList> {
        let ListSource { origin, url, owner, .. } = source(clock);
        Arc::new(KnownList::new(origin, url, owner, clock.steady()))
    }

    fn source(clock: &ManualClock) -> ListSource {
        let shared: SharedClock = Arc::new(clock.clone());
        let source = KeySource {
            issuer: "http://127.0.0.1:1".parse().unwrap(),
            jwks_uri: None,
            algorithms: Vec::new(),
            max_stale: Duration::ZERO,
            clients: Clients::new("test".to_owned(), Duration::from_secs(5), Arc::clone(&shared)),
            timeout: Duration::from_secs(5),
            pause_divisor: 1,
        };
        let keys = Arc::new(KeyCache::new(source, Arc::clone(&shared)));
        let origin = Arc::new(Origin { keys, accepted: accepted(), leeway: 0, clock: shared });
        let url = Url::parse("http://127.0.0.1:1/oauth/status-lists/x").unwrap();
        ListSource { origin, url, owner: Weak::new(), used_at: AtomicI64::new(clock.steady().seconds()), missing: Missing::default() }
    }

    #[tokio::test]
    async fn a_token_waits_only_for_an_attempt_that_is_possible() {
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
        let list = unreachable(&clock);
        let waits = || {
            let mut wait_for = None;
            let rules = Rules { mode: Revocation::Strict, chosen: true, max_stale: Duration::ZERO };
            let refused = list.check(0, rules, clock.steady(), &mut wait_for).unwrap_err();
            assert_eq!(refused.code(), "status_unavailable");
            wait_for.is_some()
        };
        assert!(waits(), "no attempt was made yet");
        list.refresh().await;
        assert_eq!(list.attempts(), (1, 1));
        // Else each token of an outage would be checked again, with its signature.
        assert!(!waits(), "the next attempt is in a second");
        clock.advance(Duration::from_secs(1));
        assert!(waits());
    }

    /// A thread may lose its core between the two: the first token of a list would be refused although its list has just arrived.
    #[tokio::test]
    async fn a_token_is_checked_again_if_an_attempt_ended_while_it_was_checked() {
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
        let (older, current) = (Seen::all_valid(clock.steady()), Arc::new(Seen::all_valid(clock.steady())));
        let (shared, usable_until): (SharedClock, _) = (Arc::new(clock.clone()), clock.now() + Duration::from_secs(60));
        let refresher = Refresher::with_value(source(&clock), shared, Arc::clone(&current), usable_until);
        let list = Arc::new(KnownList { refresher, first_named_at: clock.steady() });
        list.refresh().await;
        let waits = |seen: &Seen| {
            let mut wait_for = None;
            assert_eq!(list.unavailable(Some(seen), &mut wait_for).unwrap_err().code(), "status_unavailable");
            wait_for.is_some()
        };
        assert!(!waits(&current), "the next attempt is in a second");
        assert!(waits(&older), "there is another list than the one that was read");
    }
}
