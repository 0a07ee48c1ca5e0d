//! A verifier that an API embeds to check tokens offline.
//!
//! A complete API with axum. hyper uses the same layer, and tonic uses it with [`TokenLayer::grpc`]:
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
//! // A caller without the scope gets 403, and a challenge that names it.
//! async fn list(caller: Token<OrdersRead>) -> String {
//!     format!("orders of {}", caller.subject())
//! }
//!
//! async fn create(caller: Token<OrdersWrite>) -> (StatusCode, String) {
//!     (StatusCode::CREATED, format!("ordered through {}", caller.client_id()))
//! }
//!
//! fn app() -> Result<Router, BuildError> {
//!     // Nothing is fetched here, so the API starts while the issuer is down.
//!     let verifier = Verifier::for_issuer("https://auth.example").audience("https://orders.example").build()?;
//!     let readiness = verifier.clone();
//!     let ready = async move || if readiness.status().is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
//!     Ok(Router::new()
//!         .route("/orders", get(list).post(create))
//!         .layer(verifier.layer())                    // every route above requires a valid token, with or without `Token`
//!         .route("/health/ready", get(ready)))        // added after the layer: open to all
//! }
//! # app().unwrap();
//! ```
//!
//! The same without a layer:
//!
//! ```
//! use sealwright::verifier::{Error, Verifier};
//!
//! /// `token` is what follows `Authorization: Bearer`.
//! async fn orders_of(verifier: &Verifier, token: &str) -> Result<String, Error> {
//!     let claims = verifier.verify(token).await?;
//!     claims.require_scope("orders:read")?;
//!     Ok(format!("orders of {}", claims.subject()))
//! }
//!
//! /// The answer to a failure: the status and its headers.
//! fn answer(error: &Error) -> (u16, Option<String>, Option<u64>) {
//!     let www_authenticate = error.challenge();
//!     let retry_after = error.retry_after().map(|wait| wait.as_secs());
//!     (error.status(), www_authenticate, retry_after)
//! }
//! ```
//!
//! [`Claims::custom`] reads your own claims as your own type. Keys can also be given instead of fetched
//! ([`Builder::keys`]); one verifier can combine several issuers ([`Verifier::any_of`]); [`Verifier::status`] is for a
//! readiness check; `verifier::testing` (feature `testing`) is an issuer for your own tests.
//!
//! # What is checked
//!
//! In the order of [`Check`]: the token's size and form, its algorithm against the list of this API, that it requires no
//! extension, that it is an access token, that its issuer publishes the key that it names, the signature, and then its claims:
//! types, issuer, audience, the required claims (RFC 9068 section 2.2), its times, the scope, and its status. Header and claims are
//! parsed strictly, and the claims that you read come from the same parsing of the signed bytes. Keys that a token contains or points to are
//! ignored.
//!
//! Verified tokens are not cached: each is checked each time, so none outlives its key, and none is mistaken for another.
//!
//! # Where the keys come from
//!
//! From the issuer's metadata (RFC 8414), whose `issuer` must equal the configured one byte by byte, over `https`, or over `http`
//! to this machine. Certificates are checked by the system's rules (`SSL_CERT_FILE` sets other roots on Linux), and
//! `HTTPS_PROXY` is respected. One background task fetches the keys on first demand, and again at four fifths of the time that
//! the issuer's `Cache-Control` allows (10 min without one, 1 h at most, less up to a tenth so that many APIs do not fetch at
//! the same moment). It ends with the last clone of the verifier.
//!
//! - **A token with an unknown key** triggers one fetch that all such tokens share, but only if the last fetch is 10 s ago;
//!   otherwise it is refused at once. Fetches that only confirm the keys, about every 8 s with [revoked tokens](#revoked-tokens) looked up, come on top
//!   and do not count. A flood of such tokens never delays a token whose key is known.
//! - **A new key set replaces the previous one**: a key that the issuer withdrew is trusted until the next fetch, at most 48 min later, or
//!   12 s with [revoked tokens](#revoked-tokens) looked up. A document without a usable key is treated as a mistake and changes nothing.
//! - **While the issuer is down**, or returns something other than keys, the cached keys are used for up to an hour more
//!   ([`Builder::max_stale`]). This is a trade-off: an outage of the issuer does not take every API down, but a key that is withdrawn
//!   during the outage stays trusted for that time.
//! - **If it is unknown** whether a key belongs to the issuer, because there are no keys or the last fetch failed, the error is
//!   [`Error::KeysUnavailable`], a 503 and never a 401: the token is not at fault. The error carries the cause.
//! - **An unusable key** (another type, `use` or `key_ops` for another purpose, too short) is skipped and reported in the
//!   log and in [`Status`]; the others are used. Members that are not needed are ignored.
//! - **A key whose private half is published** (`d`, `p`, `k` and the like) is refused, under whichever `kid` it stands in the set, because
//!   anyone can sign with it. If no other key is left, the error is [`Error::KeysUnavailable`] from then on.
//! - **A duplicate member** (RFC 7517 sections 4 and 5) makes its key unusable, or, outside a key, the whole document.
//!
//! # Revoked tokens
//!
//! A token of Sealwright names a status list of its issuer and its position in it (draft-ietf-oauth-status-list). The verifier looks it up as its
//! last check, in memory: [`Builder::revocation`] turns that off or makes it strict. It learns of a revocation within 12 s, while it can fetch the list and
//! caches on the way hold it for no longer than a second.
//!
//! - **Where lists come from**: only from URLs below the issuer, and only if a token whose every other check has passed names them. A list is accepted
//!   only if the issuer signed it, if its `sub` is the URL from which it was fetched, and if it has not expired. It is refreshed at four fifths of its
//!   `ttl` (1 to 300 s; 10 s without one), or of the time to its `exp` if that is shorter, as long as tokens name it, and then for an hour or for
//!   [`Builder::revocation_max_stale`], whichever is longer, but for a day at most if it is gone. In an outage no list is forgotten, because its
//!   revocations would be.
//! - **A claim `status` of another kind**, such as a text, or with a list elsewhere, is ignored by default, and logged once: the issuer may have given
//!   the name to something else. With [`Builder::revocation`] set, it refuses the token.
//! - **The first token of a list** waits for it, as the first token of all waits for the keys.
//! - **The newest list wins**: an older one is never used, whatever a cache on the way repeats, until the one that is held has expired or its key is
//!   withdrawn. Lists of Sealwright are ordered by their `sealwright_epoch`, a count of revocations, then by `iat`. A list counts as confirmed when the
//!   issuer sends a newer one, or a 304 for the one that is held; an issuer without `ETag` confirms it by sending it again. Caches on the way may answer
//!   for two `ttl`; then the request has `no-cache`. An older list is an error only when the one that is held has not been confirmed for three `ttl`: for
//!   a moment, the nodes of an issuer may have different ones.
//! - **A node of the issuer that has lost its database**, or whose answers are errors, does not keep the verifier: the next requests open new connections,
//!   so that a load balancer can assign another node.
//! - **While a list cannot be fetched**, the newest one is used, for up to an hour ([`Builder::revocation_max_stale`]), also beyond its `exp`. Then, and
//!   with [`Revocation::Strict`] after three times its `ttl` or at its `exp`, the error is [`Error::StatusUnavailable`], a 503.
//! - **A list that the issuer does not have** (404, 410) refuses the token when the issuer has said so for a minute, and until the list can be fetched
//!   again: [`Error::BadStatus`]. Such an answer is not signed, so until then a list that was confirmed within three times its `ttl` is used; without one,
//!   the error is [`Error::StatusUnavailable`]. A list that ends before the token's position refuses it after one fetch.
//! - **Keys**: while tokens are looked up, the issuer's keys are confirmed with each fetch of a list, so that a withdrawn key is trusted no longer than a
//!   revoked token.
//!
//! A list takes 128 KiB of memory with Sealwright, and at most 1 MiB. An issuer may have 4,096 lists.
//!
//! # How to identify the caller
//!
//! A subject is unique only within its issuer: with several issuers, identify users by ([`Claims::issuer`],
//! [`Claims::subject`]).

mod builder;
mod challenge;
mod check;
mod checked;
mod claims;
mod clients;
mod error;
mod fetch;
mod key_cache;
mod layer;
mod one_issuer;
mod refused;
mod require;
mod resource_metadata;
mod revocation;
mod status;
mod status_lists;
#[cfg(feature = "testing")]
pub mod testing;
mod token;
#[expect(clippy::module_inception, reason = "the file of `Verifier`")]
mod verifier;

#[doc(inline)]
pub use crate::{protocol::Algorithm, scopes};
pub use builder::Builder;
pub use check::Check;
pub use claims::Claims;
pub use error::{BuildError, Error, KeyFetchError, StatusFetchError};
#[cfg(feature = "server")]
pub(crate) use layer::bearer;
pub use layer::{ResponseFuture, TokenLayer, TokenService};
pub use refused::Refused;
#[doc(hidden)]
pub use require::is_scope_token;
pub use require::{AnyOf, Anything, NamedScope, OfClient, OfUser, Require};
pub use resource_metadata::ResourceMetadata;
pub use revocation::Revocation;
pub use status::{IssuerStatus, KeyAvailability, Status, StatusListState};
pub use token::{NoCustom, Token};
pub use verifier::{Explanation, Verifier};
