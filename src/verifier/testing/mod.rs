//! An issuer for your own tests: it signs real tokens, publishes real keys over real HTTP, and has a clock that you control.
//!
//! It needs the feature `testing`, for your `[dev-dependencies]`: it adds no server, no database and no OpenSSL.
//!
//! ```
//! use std::time::Duration;
//!
//! use sealwright::verifier::testing::Issuer;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! let issuer = Issuer::start().await?;
//! let verifier = issuer.verifier("https://orders.example").build()?;
//!
//! let token = issuer.token("https://orders.example").scope("orders:read").sign()?;
//! assert!(verifier.verify(&token).await?.has_scope("orders:read"));
//!
//! issuer.clock().advance(Duration::from_secs(631));
//! assert_eq!(verifier.verify(&token).await.unwrap_err().code(), "expired");
//!
//! // Hostile tokens, each with the reason for which it must be refused.
//! for hostile in issuer.hostile_tokens("https://orders.example", "orders:read")? {
//!     assert_eq!(verifier.verify(&hostile.token).await.unwrap_err().code(), hostile.code, "{}", hostile.name);
//! }
//! # Ok(()) }) }
//! ```
//!
//! # Testing an API
//!
//! Pass the [`Verifier`](super::Verifier) to the function that builds the API's router. Production passes a verifier for the real
//! issuer; a test passes one from [`Issuer::verifier`]. Everything else is the production code: the tokens are signed, the keys are fetched over
//! HTTP, and the layer runs before the handlers. `examples/tested_api.rs` is such an API with its tests, to copy.
//!
//! | what to test | how |
//! |---|---|
//! | each route requires its scope | [`Issuer::token`] with one scope, then the other; [`Issuer::tokens_without_scope`] for lookalikes, each 403 |
//! | a user sees only their own data | [`TokenBuilder::user`] with two subjects |
//! | apps and users are distinguished | [`TokenBuilder::client`] beside [`TokenBuilder::user`] |
//! | claims of your own | [`TokenBuilder::claim`], and the same token without it |
//! | no route was forgotten | [`Issuer::hostile_tokens`] to every route, each 401 (400 if it does not have the form of a token), and none reaches a handler; [`Hostile::in_header`] says which cannot be sent in a header as they are |
//! | a token expires | [`TokenBuilder::lifetime`], then [`ManualClock::advance`](crate::clock::ManualClock::advance) of [`Issuer::clock`] past it and the leeway of 30 s; no test sleeps |
//! | the issuer is down | [`Issuer::go_down`] before the first request: 503 with `Retry-After`, never 401; after it: served with the cached keys; then [`Issuer::come_back`], and advance its clock by `Retry-After` |
//! | a key is replaced | [`Issuer::rotate`], and advance its clock by 10 s: tokens of the new key are valid |
//! | a key is withdrawn | [`Issuer::withdraw`], a token with a [`lifetime`](TokenBuilder::lifetime) of two hours, advance its clock by an hour, and wait until [`Issuer::key_fetches`] has grown: the fetch runs in the background |
//! | a token is revoked | [`TokenBuilder::revocable`], [`Issuer::revoke`], advance its clock by 8 s, and send the token until it is refused, with 401: the list is fetched in the background |
//! | the status list cannot be fetched | [`Issuer::answer_status_list`] with [`Behavior::Down`]: served, and 503 after [`Builder::revocation_max_stale`](super::Builder::revocation_max_stale) |
//! | the status list is forged or repeated | [`Issuer::hostile_status_lists`]: none changes the status of a token |
//! | the issuer sends invalid answers | [`Issuer::answer_keys`] with each [`Behavior`] |
//!
//! An API in another language can be tested against the same issuer: `examples/test_issuer.rs` serves it and prints the tokens, and
//! `sealwright probe` sends them.

mod attacker;
mod certificate;
mod hostile;
mod hostile_list;
mod issuer;
mod listed;
mod listener;
mod pause;
mod published;
mod status_list;
mod token;

pub use hostile::{Hostile, InHeader, MadeBy};
pub use hostile_list::HostileList;
pub use issuer::Issuer;
pub use published::Behavior;
pub use token::TokenBuilder;
