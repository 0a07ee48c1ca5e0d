//! A source of valid access tokens.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::Guard;
use http::HeaderValue;
use tokio::runtime::Handle;

use super::{Error, Tokens, exchange::Exchange, issued::IssuedTokens};
use crate::{
    clock::{SharedClock, Timestamp},
    kept::{Cached, Demand, Refresher},
};

/// A valid access token. Use it for one request, and ask the source again for the next one.
pub struct AccessToken(Guard<Option<Arc<Cached<IssuedTokens>>>>);

impl AccessToken {
    /// The token itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", |cached| cached.value.access())
    }

    /// `Bearer <token>`, for an `Authorization` header or gRPC metadata; marked as sensitive.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.0.as_ref().map_or_else(|| HeaderValue::from_static(""), |cached| cached.value.header().clone())
    }

    fn is_same_as(&self, cached: &Guard<Option<Arc<Cached<IssuedTokens>>>>) -> bool {
        matches!((&*self.0, &**cached), (Some(one), Some(other)) if Arc::ptr_eq(one, other))
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken")
    }
}

/// A source of valid access tokens. It caches one token in memory, refreshes it at four fifths of its life, and never fetches twice at once.
/// Its clones share the token; fetching ends when the last one is dropped.
#[derive(Clone)]
pub struct TokenSource(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) refresher: Refresher<Exchange>,
    /// Whether its user has signed out. Tokens that arrive after that are not handed out.
    closed: AtomicBool,
    /// The number of handles in the list of active logins, which no caller holds.
    registered: AtomicUsize,
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.refresher.fetch().fmt(f)
    }
}

/// The state of a token source.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// The remaining time for which the cached token is used. `None` if there is no usable token.
    pub expires_in: Option<Duration>,
    /// The scope of that token, as the issuer stated it.
    pub scope: Option<String>,
    /// Why the last attempt failed, and how long ago. `None` if it succeeded.
    pub last_error: Option<(Error, Duration)>,
    /// Whether an attempt is in flight.
    pub fetching: bool,
    /// The number of attempts, including one in flight.
    pub fetches: u64,
    /// The number of attempts that failed.
    pub failures: u64,
}

impl TokenSource {
    pub(super) fn new(exchange: Exchange, clock: SharedClock) -> Self {
        Self::of(Refresher::new(exchange, clock))
    }

    fn of(refresher: Refresher<Exchange>) -> Self {
        Self(Arc::new(Inner { refresher, closed: AtomicBool::new(false), registered: AtomicUsize::new(0) }))
    }

    /// Marks this handle as one of the list of active logins.
    pub(super) fn registered(self) -> Self {
        self.0.registered.fetch_add(1, Ordering::Relaxed);
        self
    }

    /// Reverts [`registered`](Self::registered).
    pub(super) fn unregister(&self) {
        self.0.registered.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a caller holds a handle.
    pub(super) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.0) > self.0.registered.load(Ordering::Relaxed)
    }

    fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }

    /// A source that continues with stored tokens.
    pub(super) fn resume(exchange: Exchange, tokens: &Tokens, clock: SharedClock) -> Self {
        let usable_until = Timestamp::from_seconds(tokens.usable_until);
        let issued = IssuedTokens::new(&tokens.access_token, tokens.refresh_token(), tokens.scope.clone(), usable_until);
        // If the access token is unusable, the refresh token may still be good.
        let issued = issued.or_else(|| IssuedTokens::new("none", tokens.refresh_token(), None, Timestamp::from_seconds(0)));
        Self::of(match issued {
            Some(issued) => {
                let usable_until = issued.expires_at();
                Refresher::with_value(exchange, clock, Arc::new(issued), usable_until)
            }
            None => Refresher::new(exchange, clock),
        })
    }

    /// A valid token: from memory, or after one fetch that all callers share.
    ///
    /// # Errors
    ///
    /// Why there is no token. While the next attempt is not due yet, the error is returned at once.
    pub async fn token(&self) -> Result<AccessToken, Error> {
        if let Some(token) = self.cached() {
            return Ok(token);
        }
        self.0.refresher.refresh().await;
        self.usable(self.0.refresher.now()).ok_or_else(|| self.why_none())
    }

    /// The cached token, if it is usable. Requests a refresh if one is due.
    fn cached(&self) -> Option<AccessToken> {
        let now = self.0.refresher.now();
        let cached = self.0.refresher.cached();
        let token = cached.as_ref().filter(|cached| cached.is_usable(now) && !self.is_closed())?;
        token.mark_used();
        if token.is_due(now) {
            self.0.refresher.demand();
        }
        Some(AccessToken(cached))
    }

    fn usable(&self, now: Timestamp) -> Option<AccessToken> {
        let cached = self.0.refresher.cached();
        let usable = cached.as_ref().is_some_and(|cached| {
            cached.mark_used();
            cached.is_usable(now) && !self.is_closed()
        });
        usable.then_some(AccessToken(cached))
    }

    fn why_none(&self) -> Error {
        if self.is_closed() {
            return Error::LoginEnded;
        }
        let wait = self.0.refresher.retry_after(self.0.refresher.now());
        let error = self.0.refresher.last_error().map(|(error, _)| error.with_retry_after(wait));
        // No attempt was made, or the token expired before this caller was scheduled.
        let no_attempt = || Error::Unreachable { reason: "no token arrived in time".to_owned(), retry_after: wait };
        if Handle::try_current().is_err() { Error::NoRuntime } else { error.unwrap_or_else(no_attempt) }
    }

    /// Reports that an API refused this token, so that the next call of [`token`](Self::token) fetches another. Returns `false` and does nothing
    /// if there is another token already, if this one is less than 10 s old (an API that refuses every token must not cause a token request for
    /// each API request), or if the issuer may not be asked yet.
    pub fn invalidate(&self, token: &AccessToken) -> bool {
        let cached = self.0.refresher.cached();
        let accepted = token.is_same_as(&cached) && matches!(self.0.refresher.demand(), Demand::Pending(_));
        if let Some(cached) = cached.as_ref().filter(|_| accepted) {
            cached.discard();
        }
        accepted
    }

    /// Fetches another token in the background, if the refused one is still the current one. It stays in use meanwhile, as with
    /// [`replace`](Self::replace). Not for a login, whose tokens the application stores after its request.
    pub(crate) fn renew(&self, refused: &AccessToken) {
        if refused.is_same_as(&self.0.refresher.cached()) {
            let _ = self.0.refresher.demand();
        }
    }

    /// Another token than the refused one, if there is one. The refused token stays in use meanwhile: other APIs may accept it, and the issuer
    /// may be down. Fails only if the login has ended, because then no further token can follow.
    pub(crate) async fn replace(&self, refused: &AccessToken) -> Result<Option<AccessToken>, Error> {
        if refused.is_same_as(&self.0.refresher.cached()) {
            self.0.refresher.refresh().await;
        }
        match self.0.refresher.last_error() {
            Some((Error::LoginEnded, _)) => Err(Error::LoginEnded),
            _ => Ok(self.usable(self.0.refresher.now()).filter(|token| !refused.is_same_as(&token.0))),
        }
    }

    /// The state of the source. Does not wait and fetches nothing.
    #[must_use]
    pub fn status(&self) -> Status {
        let now = self.0.refresher.now();
        let cached = self.0.refresher.cached();
        let usable = cached.as_ref().filter(|cached| cached.is_usable(now) && !self.is_closed());
        let (fetches, failures) = self.0.refresher.attempts();
        Status {
            expires_in: usable.map(|cached| cached.usable_until().since(now)),
            scope: usable.and_then(|cached| cached.value.scope().map(str::to_owned)),
            last_error: self.0.refresher.last_error().map(|(error, at)| (error, now.since(at))),
            fetching: self.0.refresher.is_fetching(),
            fetches,
            failures,
        }
    }

    pub(super) fn tokens(&self) -> Option<Tokens> {
        let cached = self.0.refresher.cached();
        cached.as_ref().filter(|_| !self.is_closed()).map(|cached| Tokens {
            access_token: cached.value.access().to_owned(),
            refresh_token: cached.value.refresh_token().map(str::to_owned),
            scope: cached.value.scope().map(str::to_owned),
            usable_until: cached.usable_until().seconds(),
        })
    }

    /// Ends the login, at the issuer and here.
    pub(super) async fn revoke(&self) -> Result<(), Error> {
        let cached = self.0.refresher.cached().clone();
        let Some(cached) = cached else { return Ok(()) };
        cached.discard();
        if self.0.refresher.fetch().is_login() {
            self.0.closed.store(true, Ordering::Relaxed);
        }
        if Handle::try_current().is_err() {
            return Err(Error::NoRuntime);
        }
        match cached.value.refresh_token() {
            Some(refresh) => {
                let exchange = self.0.refresher.fetch();
                let revoked = self.0.refresher.with_timeout(exchange.timeout, exchange.revoke(refresh, self.0.refresher.now())).await;
                let timed_out = || Error::Unreachable { reason: "no complete answer in time".to_owned(), retry_after: Duration::ZERO };
                revoked.unwrap_or_else(|| Err(timed_out()))
            }
            None => Ok(()),
        }
    }
}
