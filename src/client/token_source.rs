//! A token that is always good, for whoever attaches it.

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
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Error, exchange::Exchange};
use crate::{
    clock::{SharedClock, Timestamp},
    kept::{Held, Kept, Turn},
};

/// Bytes of a token at most.
const MAX_TOKEN_LEN: usize = 16 * 1024;
const BEARER: &str = "Bearer ";

/// What one answer of the issuer brought.
pub(super) struct Issued {
    /// `Bearer <token>`, marked as a secret.
    header: HeaderValue,
    refresh: Option<Zeroizing<String>>,
    /// What it grants. None: nobody said.
    scope: Option<String>,
    expires_at: Timestamp,
}

impl Issued {
    /// None: no header may hold it (RFC 6750 section 2.1), or it is longer than 16 KiB.
    pub(super) fn new(access: &str, refresh: Option<&str>, scope: Option<String>, expires_at: Timestamp) -> Option<Self> {
        let lawful =
            (1..=MAX_TOKEN_LEN).contains(&access.len()) && access.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
        let mut header = HeaderValue::try_from(format!("{BEARER}{access}")).ok().filter(|_| lawful)?;
        header.set_sensitive(true);
        let refresh = refresh.filter(|refresh| refresh.len() <= MAX_TOKEN_LEN).map(|refresh| Zeroizing::new(refresh.to_owned()));
        Some(Self { header, refresh, scope, expires_at })
    }

    pub(super) fn refresh_token(&self) -> Option<&str> {
        self.refresh.as_ref().map(|refresh| refresh.as_str())
    }

    pub(super) fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// With this scope, where the issuer said none.
    pub(super) fn or_scope(self, scope: String) -> Self {
        Self { scope: self.scope.or_else(|| Some(scope).filter(|scope| !scope.is_empty())), ..self }
    }

    pub(super) const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    fn access(&self) -> &str {
        self.header.to_str().map_or("", |header| &header[BEARER.len()..])
    }
}

/// An access token that is good now. Keep it for one request: ask for the next one anew.
pub struct AccessToken(Guard<Option<Arc<Held<Issued>>>>);

impl AccessToken {
    /// The token, for whatever is no HTTP header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", |held| held.value.access())
    }

    /// `Bearer <token>`, for an `Authorization` header or gRPC metadata; marked as a secret.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.0.as_ref().map_or_else(|| HeaderValue::from_static(""), |held| held.value.header.clone())
    }

    fn is_same_as(&self, held: &Guard<Option<Arc<Held<Issued>>>>) -> bool {
        matches!((&*self.0, &**held), (Some(one), Some(other)) if Arc::ptr_eq(one, other))
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken")
    }
}

/// A source of tokens that are always good: one is kept in memory, fetched anew at four fifths of its life, and never fetched twice at
/// once. Its clones share it; fetching ends with the last one.
#[derive(Clone)]
pub struct TokenSource(Arc<Inner>);

struct Inner {
    kept: Kept<Exchange>,
    /// Whether its user has gone. What comes in after that is given to nobody.
    closed: AtomicBool,
    /// Under how many refresh tokens it is kept at hand: handles that nobody outside has.
    registered: AtomicUsize,
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.kept.source().fmt(f)
    }
}

/// How a source is doing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// For how long the token that it holds is still used. None: it holds none that may be used.
    pub expires_in: Option<Duration>,
    /// The scope of that token, as the issuer said it.
    pub scope: Option<String>,
    /// Why the last attempt failed, and how long ago that was. None: it did not.
    pub last_error: Option<(Error, Duration)>,
    /// Whether an attempt is under way.
    pub fetching: bool,
    /// Attempts, with that one.
    pub fetches: u64,
    /// The attempts that failed.
    pub failures: u64,
}

impl TokenSource {
    pub(super) fn new(exchange: Exchange, clock: SharedClock) -> Self {
        Self::of(Kept::new(exchange, clock))
    }

    fn of(kept: Kept<Exchange>) -> Self {
        Self(Arc::new(Inner { kept, closed: AtomicBool::new(false), registered: AtomicUsize::new(0) }))
    }

    /// This handle is kept at hand.
    pub(super) fn registered(self) -> Self {
        self.0.registered.fetch_add(1, Ordering::Relaxed);
        self
    }

    /// And is given up again.
    pub(super) fn unregister(&self) {
        self.0.registered.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn is_held_by_others(&self) -> bool {
        Arc::strong_count(&self.0) > self.0.registered.load(Ordering::Relaxed)
    }

    fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }

    /// A source that goes on with tokens from earlier.
    pub(super) fn resume(exchange: Exchange, tokens: &Tokens, clock: SharedClock) -> Self {
        let usable_until = Timestamp::from_seconds(tokens.usable_until);
        let issued = Issued::new(&tokens.access_token, tokens.refresh_token.as_deref(), tokens.scope.clone(), usable_until);
        // Without a token that can be read there may still be a refresh token to get one by.
        let issued = issued.or_else(|| Issued::new("none", tokens.refresh_token.as_deref(), None, Timestamp::from_seconds(0)));
        let kept = match issued {
            Some(issued) => {
                let usable_until = issued.expires_at;
                Kept::with(exchange, clock, Arc::new(issued), usable_until)
            }
            None => Kept::new(exchange, clock),
        };
        Self::of(kept)
    }

    /// A token that is good now: from memory, or after one fetch that all callers share.
    ///
    /// # Errors
    ///
    /// Why there is none; while the next attempt is some way off, at once.
    pub async fn token(&self) -> Result<AccessToken, Error> {
        if let Some(token) = self.held() {
            return Ok(token);
        }
        self.0.kept.catch_up().await;
        self.good(self.0.kept.now()).ok_or_else(|| self.why_none())
    }

    /// The token in memory, while it is good.
    fn held(&self) -> Option<AccessToken> {
        let now = self.0.kept.now();
        let held = self.0.kept.held();
        let token = held.as_ref().filter(|held| held.is_usable(now) && !self.is_closed())?;
        token.note_use();
        if token.is_due(now) {
            // Whoever comes now goes on with it; the next one is on its way.
            self.0.kept.ask();
        }
        Some(AccessToken(held))
    }

    fn good(&self, now: Timestamp) -> Option<AccessToken> {
        let held = self.0.kept.held();
        let good = held.as_ref().is_some_and(|held| {
            held.note_use();
            held.is_usable(now) && !self.is_closed()
        });
        good.then_some(AccessToken(held))
    }

    fn why_none(&self) -> Error {
        if self.is_closed() {
            return Error::LoginEnded;
        }
        let wait = self.0.kept.retry_after(self.0.kept.now());
        let why = self.0.kept.last_error().map(|(why, _)| why.again_after(wait));
        // Nobody asked, or what came was over again before this caller was served.
        let unasked = || Error::Unreachable { why: "no token came in time".to_owned(), retry_after: wait };
        if Handle::try_current().is_err() { Error::NoRuntime } else { why.unwrap_or_else(unasked) }
    }

    /// Says that an API refused this token: the next call of [`token`](Self::token) brings another. False, and nothing happens, when
    /// there is another already, when this one is not 10 s old (an API that refuses every token must not make the issuer issue one
    /// for each request), or when the issuer is not to be asked yet.
    pub fn invalidate(&self, token: &AccessToken) -> bool {
        let held = self.0.kept.held();
        let may = token.is_same_as(&held) && matches!(self.0.kept.ask(), Turn::Wait(_));
        if let Some(held) = held.as_ref().filter(|_| may) {
            held.give_up();
        }
        may
    }

    /// Another token than the one that an API refused, if there is one. The refused one stays in force meanwhile: other APIs may take
    /// it, and the issuer may be down. An error only when the login has ended: nothing else will ever come of it.
    pub(super) async fn replace(&self, refused: &AccessToken) -> Result<Option<AccessToken>, Error> {
        if refused.is_same_as(&self.0.kept.held()) {
            self.0.kept.catch_up().await;
        }
        match self.0.kept.last_error() {
            Some((Error::LoginEnded, _)) => Err(Error::LoginEnded),
            _ => Ok(self.good(self.0.kept.now()).filter(|token| !refused.is_same_as(&token.0))),
        }
    }

    /// How it is doing. Waits for nothing, and fetches nothing.
    #[must_use]
    pub fn status(&self) -> Status {
        let now = self.0.kept.now();
        let held = self.0.kept.held();
        let usable = held.as_ref().filter(|held| held.is_usable(now) && !self.is_closed());
        let (fetches, failures) = self.0.kept.attempts();
        Status {
            expires_in: usable.map(|held| held.usable_until().since(now)),
            scope: usable.and_then(|held| held.value.scope.clone()),
            last_error: self.0.kept.last_error().map(|(error, at)| (error, now.since(at))),
            fetching: self.0.kept.is_fetching(),
            fetches,
            failures,
        }
    }

    pub(super) fn tokens(&self) -> Option<Tokens> {
        let held = self.0.kept.held();
        held.as_ref().filter(|_| !self.is_closed()).map(|held| Tokens {
            access_token: held.value.access().to_owned(),
            refresh_token: held.value.refresh_token().map(str::to_owned),
            scope: held.value.scope.clone(),
            usable_until: held.usable_until().seconds(),
        })
    }

    /// Ends the login, at the issuer and here.
    pub(super) async fn revoke(&self) -> Result<(), Error> {
        let held = self.0.kept.held().clone();
        let Some(held) = held else { return Ok(()) };
        held.give_up();
        if self.0.kept.source().goes_on_with_a_login() {
            self.0.closed.store(true, Ordering::Relaxed);
        }
        if Handle::try_current().is_err() {
            return Err(Error::NoRuntime);
        }
        match held.value.refresh_token() {
            Some(refresh) => {
                let exchange = self.0.kept.source();
                let revoked = self.0.kept.within(exchange.timeout, exchange.revoke(refresh, self.0.kept.now())).await;
                let late = || Error::Unreachable { why: "no whole answer in time".to_owned(), retry_after: Duration::ZERO };
                revoked.unwrap_or_else(|| Err(late()))
            }
            None => Ok(()),
        }
    }
}

/// What of a token's life is left unused: for what is in flight when it ends, and for clocks that differ. Less than what is left when
/// it is fetched anew, so that there is time for that.
pub(super) fn margin(lifetime: Duration) -> Duration {
    (lifetime / 10).min(Duration::from_secs(30))
}

/// The tokens of one user's login, for the application to store on its side: in a session, never in a browser. Whoever has them is
/// the user, so `Debug` does not show them, and they are wiped from memory when they go; what stores them writes them out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Tokens {
    access_token: String,
    refresh_token: Option<String>,
    scope: Option<String>,
    /// Until when the access token is used. Seconds since 1970-01-01T00:00:00Z.
    usable_until: i64,
}

impl Tokens {
    /// What the user may do by way of this application, as the issuer said it: scope tokens with a space between.
    #[must_use]
    pub fn scope(&self) -> &str {
        self.scope.as_deref().unwrap_or_default()
    }

    /// Whether `token` is among them.
    #[must_use]
    pub fn has_scope(&self, token: &str) -> bool {
        self.scope().split(' ').any(|held| held == token)
    }

    pub(super) fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_deref()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("scope", &self.scope).field("usable_until", &self.usable_until).finish_non_exhaustive()
    }
}
