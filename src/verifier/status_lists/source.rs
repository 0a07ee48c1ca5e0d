//! Fetches one status list.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use reqwest::{
    Response, StatusCode,
    header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH},
};
use tracing::{Span, field::Empty};
use url::Url;

use super::{
    StatusLists,
    list::{Arrival, Compared, DEFAULT_TTL, Seen, StatusList, words},
    missing::{Missing, Said},
};
use crate::{
    clock::{SharedClock, Timestamp},
    jwt::{Accepted, Unverified},
    kept::{Fetch, FetchError, Fetched, Outcome, Prefetch, RefreshPolicy},
    outbound::{RequestError, body},
    protocol::StatusListClaims,
    verifier::{
        fetch::{KeySource, age},
        key_cache::KeyCache,
    },
};

/// Minimum time between the start of one attempt and the next one on demand.
pub(super) const COOL_DOWN: Duration = Duration::from_secs(2);
/// How long a list is fetched at least after the last token that named it, and how long at most one that is gone: Sealwright's tokens live no longer.
const IDLE: Duration = Duration::from_secs(3600);
const MAX_IDLE_IF_GONE: Duration = Duration::from_secs(86_400);
/// How exactly the time of the last token is known. A coarse time is rarely written, so that readers on many cores share the cache line.
const USED_EVERY_S: i64 = 60;
/// Maximum length of an `ETag` in bytes. A longer one is ignored.
const MAX_ETAG_LEN: usize = 256;

/// Why the answer with a list that is not newer is refused.
const OLDER: &str = "it is older than the list that was seen before";
const REPEATED: &str = "it is the list that was seen before, in full where 304 is expected: that does not confirm it";

/// What the lists of one issuer share.
#[derive(Debug)]
pub(super) struct Origin {
    /// The issuer's keys, which also check its lists.
    pub(super) keys: Arc<KeyCache>,
    pub(super) accepted: Accepted,
    pub(super) leeway: i64,
    pub(super) clock: SharedClock,
}

/// The source of one list.
#[derive(Debug)]
pub(super) struct ListSource {
    pub(super) origin: Arc<Origin>,
    pub(super) url: Url,
    /// The lists among which it is, to remove it when it is no longer used.
    pub(super) owner: Weak<StatusLists>,
    /// When a token last named it, in seconds of the steady clock.
    pub(super) used_at: AtomicI64,
    /// Whether the issuer says that there is no such list.
    pub(super) missing: Missing,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct ListError {
    reason: String,
    /// Whether the issuer answered that there is no such list.
    is_missing: bool,
}

/// What the next attempt takes into account.
#[derive(Debug, Default)]
pub(super) struct ListState {
    /// Whether the last answer confirmed nothing, so that a cache on the way may repeat old ones.
    doubtful: bool,
}

impl ListSource {
    pub(super) fn note_use(&self, now: Timestamp) {
        let (now, used_at) = (now.seconds(), self.used_at.load(Relaxed));
        if !(0..USED_EVERY_S).contains(&now.saturating_sub(used_at)) {
            self.used_at.store(now, Relaxed);
        }
    }

    /// Forgets a list that no token names, after an attempt that said `said`. Not while tokens would still be accepted by it: the next one would find a
    /// list that was never fetched. Nor in an outage: the revocations that it shows would be lost, and the time for which it is used would begin again;
    /// of one that is gone, the tokens would be accepted again.
    fn forget_if_idle(&self, said: Said, now: Timestamp) {
        let idle = now.since(Timestamp::from_seconds(self.used_at.load(Relaxed)));
        let Some(owner) = self.owner.upgrade() else { return };
        let kept_for = IDLE.max(owner.rules.max_stale);
        let is_unused = match said {
            Said::Exists => idle >= kept_for,
            Said::Missing => self.missing.is_certain() && idle >= kept_for.min(MAX_IDLE_IF_GONE),
            Said::Nothing => false,
        };
        if is_unused {
            owner.forget(self.url.as_str());
        }
    }

    /// Whether a list no longer stands in the way of an older one: it has expired, or the issuer has withdrawn its key, with which others may have
    /// signed a list that is the newest for ever.
    fn is_obsolete(&self, list: &StatusList, now: Timestamp) -> bool {
        let withdrawn = self.origin.keys.cached().as_deref().is_some_and(|cached| !list.is_signed_by(&cached.value));
        withdrawn || list.has_expired(now)
    }

    /// Fetches the list, and returns what is known after that.
    async fn ask(&self, state: &mut ListState, forced: bool, held: Option<&Seen>) -> Result<Fetched<Seen>, RequestError> {
        let (asked_at, source) = (self.origin.clock.steady(), self.origin.keys_source());
        let is_obsolete = |held: &&Seen| self.is_obsolete(&held.list, asked_at);
        let is_replaced_soon = |held: &&Seen| held.list.is_due_at(asked_at + held.list.ttl);
        let known = held.filter(|held| held.etag.is_some() && !is_replaced_soon(held) && !is_obsolete(held));
        // Set until the answer says otherwise, because an attempt that times out is dropped here.
        let doubtful = std::mem::replace(&mut state.doubtful, true);
        // Without a condition, only the issuer's own answer can confirm the list that is held.
        let end_to_end = doubtful || forced || known.map_or_else(|| held.is_some(), |known| known.needs_the_issuer(asked_at));
        let http = source.clients.get(&source.issuer).await?;
        let mut request = http.get(self.url.clone()).header("accept", StatusListClaims::MEDIA_TYPE);
        if end_to_end {
            // RFC 9111 section 5.2.1.4: caches on the way ask the issuer.
            request = request.header(CACHE_CONTROL, "no-cache");
        }
        if let Some(etag) = known.and_then(|held| held.etag.as_ref()) {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = request.send().await?;
        let age = age(response.headers());
        let confirmed_at = asked_at - age;
        let mut is_older = false;
        let seen = match known {
            Some(held) if response.status() == StatusCode::NOT_MODIFIED => held.confirmed(confirmed_at, asked_at, end_to_end),
            _ => {
                let etag = response.headers().get(ETAG).filter(|etag| (1..=MAX_ETAG_LEN).contains(&etag.len())).cloned();
                let list = self.read(response).await?;
                let held = held.filter(|held| !is_obsolete(held));
                match held.map(|held| (held, list.order.compared_with(held.list.order))) {
                    None | Some((_, Compared::Newer)) => {
                        Seen { list: Arc::new(list), etag, confirmed_at, confirmed_end_to_end_at: confirmed_at, asked_at }
                    }
                    // The node that sent it may have lost its database since. Another has confirmed the revocations that it shows.
                    Some((held, Compared::Ahead)) => Seen { list: Arc::new(list), etag, ..held.confirmed(confirmed_at, asked_at, true) },
                    Some((held, Compared::Behind)) => Seen { asked_at, ..held.clone() },
                    // The issuer could not say that it is unchanged in any other way.
                    Some((held, Compared::Same)) if end_to_end && (etag.is_none() || known.is_none()) && !list.is_due_at(asked_at) => {
                        Seen { etag, ..held.confirmed(confirmed_at, asked_at, end_to_end) }
                    }
                    // Another node's, with other content, signed in the same second.
                    Some((held, Compared::Same))
                        if etag.is_some() && known.is_some_and(|known| known.etag != etag) && !held.is_stale(asked_at) =>
                    {
                        Seen { asked_at, ..held.clone() }
                    }
                    // A cache may repeat it.
                    Some((_, Compared::Same)) => return Err(RequestError::invalid(&self.url, REPEATED)),
                    // The nodes of an issuer drop a revocation that has ended at slightly different times, each under its latest epoch.
                    Some((held, Compared::Older)) if !held.is_stale(asked_at) => {
                        is_older = true;
                        Seen { asked_at, ..held.clone() }
                    }
                    Some((_, Compared::Older)) => return Err(RequestError::invalid(&self.url, OLDER)),
                }
            }
        };
        let ttl = seen.list.ttl;
        state.doubtful = is_older || asked_at >= seen.confirmed_at + ttl;
        if state.doubtful {
            source.clients.reconnect();
        }
        // The next attempt is at four fifths of this, less up to a tenth: never before half the `ttl`, whatever the age, unless the list expires. After
        // an older list it is as soon as possible: another node may have what was revoked since.
        let fresh = if is_older { Duration::ZERO } else { ttl.saturating_sub(age).max(ttl * 7 / 10).min(seen.list.lasts(asked_at)) };
        Ok(Fetched { fresh, usable: Duration::MAX, value: Arc::new(seen) })
    }

    async fn read(&self, response: Response) -> Result<StatusList, RequestError> {
        let invalid = |why: &str| RequestError::invalid(&self.url, why);
        let token = String::from_utf8(body(&self.url, response).await?).map_err(|_| invalid("it is not a signed JWT"))?;
        let unverified = Unverified::read(token.trim_ascii_end(), &self.origin.accepted).map_err(|error| invalid(words(error)))?;
        let kid = unverified.kid().map_err(|error| invalid(words(error)))?.to_owned();
        let (algorithm, keys) = (unverified.algorithm(), &self.origin.keys);
        let find = || {
            let cached = keys.cached().clone().filter(|cached| cached.is_usable(self.origin.clock.now()));
            cached.filter(|cached| cached.value.find(&kid, algorithm).is_ok())
        };
        let mut with_key = find();
        if with_key.is_none() {
            // The key may be a new one.
            keys.refresh().await;
            with_key = find();
        }
        let with_key = with_key.ok_or_else(|| invalid("it is signed by a key that the issuer does not publish"))?;
        let key = with_key.value.find(&kid, algorithm).map_err(|error| invalid(words(error)))?;
        let at = Arrival { wall: self.origin.clock.now(), steady: self.origin.clock.steady() };
        StatusList::verify(unverified, key, self.url.as_str(), at, self.origin.leeway).map_err(|why| invalid(&why))
    }
}

impl Origin {
    /// The issuer and the settings for requests are those of its keys.
    pub(super) fn keys_source(&self) -> &KeySource {
        self.keys.fetch()
    }
}

impl Fetch for ListSource {
    type Value = Seen;
    type Error = ListError;
    type State = ListState;

    const WHAT: &'static str = "a status list of the issuer";

    fn policy(&self) -> RefreshPolicy {
        RefreshPolicy {
            cool_down: COOL_DOWN,
            min_interval: Duration::from_secs(1),
            retry_bounds: (Duration::from_secs(1), Duration::from_secs(30)),
            // As often as a list of the default `ttl` is fetched anyway.
            max_backoff: Duration::from_secs(8),
            max_waiters: 4096,
            // In an outage, each token would be one more attempt.
            demand_backs_off: true,
            prefetch: Prefetch::Always,
            lifetime_from_request: true,
        }
    }

    fn initial_state(&self) -> ListState {
        ListState::default()
    }

    fn issuer(&self) -> &str {
        self.origin.keys_source().issuer.as_str()
    }

    fn span(&self) -> Span {
        tracing::info_span!("fetch_status_list", issuer = %self.origin.keys_source().issuer, uri = %self.url, outcome = Empty)
    }

    fn timeout(&self) -> Duration {
        self.origin.keys_source().timeout
    }

    fn unfinished(&self, reason: String) -> ListError {
        ListError { reason: format!("{}: {reason}", self.url), is_missing: false }
    }

    async fn fetch(
        &self,
        state: &mut ListState,
        forced: bool,
        held: Option<Arc<Seen>>,
        _: Timestamp,
    ) -> Result<Fetched<Seen>, FetchError<ListError>> {
        // While tokens are looked up, a withdrawn key is noticed as soon as a revoked token. Half the time, because the pauses between two
        // attempts vary.
        self.origin.keys.confirm(held.as_ref().map_or(DEFAULT_TTL, |held| held.list.ttl) / 2);
        self.ask(state, forced, held.as_deref()).await.map_err(|error| {
            let is_missing = matches!(error, RequestError::Status { status: 404 | 410, .. });
            let (reason, outcome) = match error {
                RequestError::Unreachable(reason) => (reason, Outcome::Unreachable),
                RequestError::Status { retry_after, reason, .. } => (reason, Outcome::Unusable(retry_after.unwrap_or_default())),
                RequestError::Invalid(reason) | RequestError::OtherIssuer { url: reason, .. } => {
                    (reason, Outcome::Unusable(Duration::ZERO))
                }
            };
            FetchError { error: ListError { reason, is_missing }, outcome }
        })
    }

    fn ended(&self, error: Option<&ListError>) {
        let now = self.origin.clock.steady();
        let said = match error {
            None => Said::Exists,
            Some(error) if error.is_missing => Said::Missing,
            Some(_) => Said::Nothing,
        };
        self.missing.note(said, now);
        // Not for ever, because other lists and the keys are fetched on the same connections.
        let is_still_gone = said == Said::Missing && self.missing.is_certain();
        if error.is_some() && !is_still_gone {
            self.origin.keys_source().clients.reconnect();
        }
        self.forget_if_idle(said, now);
    }
}
