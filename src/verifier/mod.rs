//! What an API embeds to check tokens by itself, offline.
//!
//! A whole API, with axum; hyper takes the same layer, and tonic takes it with [`TokenLayer::grpc`]:
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::get};
//! use sealwright::verifier::{BuildError, Token, Verifier, scopes};
//!
//! scopes! {
//!     pub OrdersRead = "orders:read";
//!     pub OrdersWrite = "orders:write";
//! }
//!
//! // Who does not hold the scope gets 403, and a challenge that names it.
//! async fn list(caller: Token<OrdersRead>) -> String {
//!     format!("orders of {}", caller.subject())
//! }
//!
//! async fn create(caller: Token<OrdersWrite>) -> (StatusCode, String) {
//!     (StatusCode::CREATED, format!("ordered by way of {}", caller.client_id()))
//! }
//!
//! fn app() -> Result<Router, BuildError> {
//!     // Nothing is fetched here: it starts while the issuer is down.
//!     let verifier = Verifier::for_issuer("https://auth.example").audience("https://orders.example").build()?;
//!     let readiness = verifier.clone();
//!     let ready = async move || if readiness.status().is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
//!     Ok(Router::new()
//!         .route("/orders", get(list).post(create))
//!         .layer(verifier.layer())                    // no good token, no entry: also for routes without `Token`
//!         .route("/health/ready", get(ready)))        // below the layer: open to all
//! }
//! # app().unwrap();
//! ```
//!
//! The same by hand, for everything that no layer fits:
//!
//! ```
//! use sealwright::verifier::{Error, Verifier};
//!
//! /// What stood behind `Authorization: Bearer`.
//! async fn orders_of(verifier: &Verifier, token: &str) -> Result<String, Error> {
//!     let claims = verifier.verify(token).await?;
//!     claims.require_scope("orders:read")?;
//!     Ok(format!("orders of {}", claims.subject()))
//! }
//!
//! /// What to answer when it fails: the status, and the headers that go with it.
//! fn answer(error: &Error) -> (u16, Option<String>, Option<u64>) {
//!     let www_authenticate = error.challenge();
//!     let retry_after = error.retry_after().map(|wait| wait.as_secs());
//!     (error.status(), www_authenticate, retry_after)
//! }
//! ```
//!
//! [`Claims::custom`] reads claims of your own as your own type. Keys can also be given, and are then never fetched
//! ([`Builder::keys`]); several issuers can stand behind one verifier ([`Verifier::any_of`]); [`Verifier::status`] is for a
//! readiness check; `verifier::testing` (feature `testing`) is an issuer for your own tests.
//!
//! # What is checked
//!
//! In the order of [`Check`]: the token's size and form, its algorithm against the list of this API, that it asks for no
//! extension, that it is an access token, that its issuer publishes the key that it names, the signature, and then its claims:
//! types, issuer, audience, what every access token has (RFC 9068 section 2.2), its time, and the scope. Header and claims are
//! parsed strictly, and what you see is what was checked: the same parsing, of the bytes that were signed. Keys that a token brings along or points to are ignored.
//!
//! No token is remembered: each is checked each time, so none outlives its key, and none is taken for another's.
//!
//! # Where the keys come from
//!
//! From the issuer's metadata (RFC 8414), whose `issuer` must be the one that you named, to the letter; over `https`, or `http`
//! to this machine. Certificates are judged as the machine judges them (`SSL_CERT_FILE` names other roots on Linux), and
//! `HTTPS_PROXY` is obeyed. One task in the background fetches them when they are first needed, and again at four fifths of the time that
//! the issuer's `Cache-Control` gives (10 min when it gives none, 1 h at most, less up to a tenth so that many APIs do not come at
//! the same moment). It ends with the last clone of the verifier.
//!
//! - **A token with an unknown key** provokes one fetch that all such tokens share, and only when the last one is 10 s ago;
//!   otherwise it is refused at once. A flood of them never delays a token whose key is known.
//! - **A set replaces the one before**: a key that the issuer withdrew is trusted until the next fetch, at most 48 min later, and
//!   then no more. A document without any key that can be used is taken for a mistake, and changes nothing.
//! - **While the issuer is down**, or answers with something else than keys, the keys at hand are used for an hour more
//!   ([`Builder::max_stale`]). That is a choice: an outage of the issuer is not one of every API, and a key that is withdrawn
//!   during it is trusted for so long.
//! - **Where nobody can say** whether a key is the issuer's, because there are no keys or the last fetch failed, the answer is
//!   [`Error::KeysUnavailable`], a 503, never a 401: it is not the token's fault.
//! - **One key that cannot be used** (another type, `use` or `key_ops` for something else, too short) is skipped and said in the
//!   log and in [`Status`]; the others serve. Members that are not needed are not looked at.
//! - **A key whose private half is published** (`d`, `p`, `k` and the like) is refused, under whichever `kid` it stands in the set, since
//!   anyone can sign with it. If no other key is left, the answer is [`Error::KeysUnavailable`] from then on.
//! - **A member that is there twice** (RFC 7517 sections 4 and 5) refuses the key that it stands in, or, outside a key, the whole document.
//!
//! # Whom a token speaks for
//!
//! A subject is unique together with its issuer only: with several issuers, keep users by ([`Claims::issuer`],
//! [`Claims::subject`]).

mod builder;
mod challenge;
mod check;
mod claims;
mod error;
mod fetch;
mod jwk;
mod key_cache;
mod layer;
mod leak;
mod members;
mod one_issuer;
mod refused;
mod resource_metadata;
mod signature;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod token;

use std::{collections::HashSet, sync::Arc};

use tracing::{Instrument, Span, field::Empty};

#[doc(inline)]
pub use crate::scopes;
pub use builder::Builder;
pub use check::Check;
pub use claims::Claims;
pub use error::{BuildError, Error};
pub use layer::{Answer, TokenLayer, TokenService};
pub use refused::Refused;
pub use resource_metadata::ResourceMetadata;
pub use status::{IssuerStatus, KeyState, Status};
#[doc(hidden)]
pub use token::is_scope_token;
pub use token::{AnyOf, Anything, NoCustom, OfClient, OfUser, Require, Scope, Token};

use one_issuer::OneIssuer;
use status::Counters;

/// An algorithm by which tokens can be checked: who checks cannot sign (RFC 7518 section 3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// EdDSA with Ed25519, also by its newer name (RFC 9864).
    EdDsa,
}

impl Algorithm {
    /// The algorithm of this registered name, to the letter: `rs256` and `none` are none.
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "RS384" => Some(Self::Rs384),
            "RS512" => Some(Self::Rs512),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// Checks tokens for one API. A handle: cloning it is cheap, and the clones share keys and counters.
#[derive(Debug, Clone)]
pub struct Verifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// At least one.
    issuers: Vec<Arc<OneIssuer>>,
    counters: Counters,
}

/// Which checks a token passed, and what came of it. See [`Verifier::explain`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Explanation {
    /// The checks that it passed, in their order.
    pub passed: Vec<Check>,
    /// The check that it failed. None: it passed them all, or it cannot be said which of several issuers it belongs to.
    pub failed: Option<Check>,
    /// What [`Verifier::verify`] would say.
    pub outcome: Result<Claims, Error>,
}

impl Verifier {
    /// Begins a verifier for tokens of `issuer`, which is compared byte by byte.
    pub fn for_issuer(issuer: impl Into<String>) -> Builder {
        Builder::new(issuer.into())
    }

    /// One verifier for the tokens of several issuers: each token is judged by the verifier of the issuer that it names, with that
    /// issuer's keys alone.
    ///
    /// ```
    /// # use sealwright::verifier::{BuildError, Verifier};
    /// # fn main() -> Result<(), BuildError> {
    /// let ours = Verifier::for_issuer("https://auth.example").audience("https://orders.example").build()?;
    /// let partner = Verifier::for_issuer("https://login.partner.example").audience("orders").algorithms(["ES256"]).build()?;
    /// let verifier = Verifier::any_of([ours, partner])?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// When there is none, or two of them are for one issuer.
    pub fn any_of(verifiers: impl IntoIterator<Item = Self>) -> Result<Self, BuildError> {
        let issuers: Vec<_> = verifiers.into_iter().flat_map(|verifier| verifier.0.issuers.clone()).collect();
        if issuers.is_empty() {
            return Err(BuildError::NoIssuer);
        }
        let mut seen = HashSet::new();
        if let Some(twice) = issuers.iter().find(|one| !seen.insert(one.expected.issuer.as_str())) {
            return Err(BuildError::IssuerTwice(twice.expected.issuer.to_string()));
        }
        Ok(Self::of(issuers))
    }

    fn of(issuers: Vec<Arc<OneIssuer>>) -> Self {
        Self(Arc::new(Inner { issuers, counters: Counters::default() }))
    }

    /// Checks a token: its header, its signature, then its claims. Waits for the issuer only when the keys in memory do not
    /// suffice and it may be asked; the wait is shared, and bounded by [`Builder::fetch_timeout`]. Call it in a tokio runtime
    /// with input, output and time: elsewhere nothing is fetched.
    ///
    /// # Errors
    ///
    /// The first reason to refuse the token, or [`Error::KeysUnavailable`].
    pub async fn verify(&self, token: &str) -> Result<Claims, Error> {
        self.verify_within(Self::span(), token).await
    }

    async fn verify_within(&self, span: Span, token: &str) -> Result<Claims, Error> {
        let verifying = async {
            match self.choose(token) {
                Ok(issuer) => issuer.verify(token).await,
                Err(error) => Err(error),
            }
        };
        let outcome = verifying.instrument(span.clone()).await;
        self.conclude(&span, &outcome);
        outcome
    }

    /// Checks a token with the keys in memory: never any input or output, nor a wait. Fetching begins with
    /// [`verify`](Self::verify), [`ready`](Self::ready) or [`status`](Self::status), and goes on by itself.
    ///
    /// # Errors
    ///
    /// The first reason to refuse the token, or [`Error::KeysUnavailable`].
    pub fn verify_cached(&self, token: &str) -> Result<Claims, Error> {
        let span = Self::span();
        let outcome = span.in_scope(|| self.check_cached(token));
        self.conclude(&span, &outcome);
        outcome
    }

    fn check_cached(&self, token: &str) -> Result<Claims, Error> {
        self.choose(token).and_then(|issuer| issuer.check(token, |_| ()))
    }

    /// The span of one token. Of the token itself nothing goes into it.
    fn span() -> Span {
        tracing::info_span!("verify_token", outcome = Empty, client.id = Empty, user.id = Empty)
    }

    /// The one place where what became of a token is counted, and said to whoever traces.
    fn conclude(&self, span: &Span, outcome: &Result<Claims, Error>) {
        match outcome {
            Ok(claims) => {
                self.0.counters.accepted();
                span.record("outcome", "accepted");
                span.record("client.id", claims.client_id());
                if claims.subject() != claims.client_id() {
                    span.record("user.id", claims.subject());
                }
            }
            Err(error) => {
                self.0.counters.refused(error);
                span.record("outcome", error.code());
            }
        }
    }

    /// Sees to it that keys are being kept.
    fn keep(&self) {
        self.0.issuers.iter().for_each(|issuer| issuer.keep());
    }

    /// A layer that lets no request in without a good token, for axum, hyper, tonic ([`TokenLayer::grpc`]) and everything else that tower's
    /// layers fit.
    ///
    /// Every route that is added before the layer is behind it, whether or not its handler looks at the token. What is added below
    /// is open to all: routes, nested routers, a fallback, and what a later `merge` brings. Layer after the last of them, and open a route
    /// on purpose by writing it below. CORS preflights carry no token: put a CORS layer outside, that is, below this one in the code, and
    /// let it expose `WWW-Authenticate` and `Retry-After` if scripts are to read them.
    #[must_use]
    pub fn layer(&self) -> TokenLayer {
        TokenLayer::new(self.clone())
    }

    /// As [`verify`](Self::verify), and says which checks the token passed: for whoever wonders why it is refused. Counts nothing.
    pub async fn explain(&self, token: &str) -> Explanation {
        let issuer = match self.choose(token) {
            Ok(issuer) => issuer,
            Err(error) => return Explanation { passed: Vec::new(), failed: None, outcome: Err(error) },
        };
        // It brings the keys that the explanation is made with.
        let _ = issuer.verify(token).await;
        let mut passed = Vec::new();
        let outcome = issuer.check(token, |check| passed.push(check));
        let failed = outcome.is_err().then(|| Check::ALL.into_iter().find(|check| !passed.contains(check))).flatten();
        Explanation { passed, failed, outcome }
    }

    /// Fetches the keys of every issuer unless there are some that are good: for a start that waits until it can serve.
    ///
    /// # Errors
    ///
    /// [`Error::KeysUnavailable`] when those of one issuer are not to be had now. Fetching goes on.
    pub async fn ready(&self) -> Result<(), Error> {
        // All of them begin; then each is waited for.
        self.keep();
        let mut outcome = Ok(());
        for issuer in &self.0.issuers {
            outcome = outcome.and(issuer.ready().await);
        }
        outcome
    }

    /// How it is doing: keys, their age, the last error, counters. For a readiness check ([`Status::is_ready`]) and for metrics.
    /// Waits for nothing; called in a tokio runtime, it sees to it that keys are being fetched.
    #[must_use]
    pub fn status(&self) -> Status {
        let status = |issuer: &Arc<OneIssuer>| {
            issuer.keep();
            issuer.status()
        };
        self.0.counters.status(self.0.issuers.iter().map(status).collect())
    }

    /// Whose keys are to judge a token.
    fn choose(&self, token: &str) -> Result<&OneIssuer, Error> {
        if let [only] = &self.0.issuers[..] {
            return Ok(only);
        }
        let longest = self.0.issuers.iter().map(|issuer| issuer.expected.max_token_len).max().unwrap_or_default();
        let named = check::unverified_issuer(token, longest)?;
        let issuer = self.0.issuers.iter().find(|issuer| issuer.expected.issuer.as_str() == named);
        issuer.map(Arc::as_ref).ok_or(Error::WrongIssuer)
    }
}
