//! A client for trusted apps: it fetches tokens and attaches them to requests.
//!
//! ```
//! use sealwright::client::{BuildError, Client, Credentials, Error, Secret};
//!
//! /// Called once, at the start. Nothing is fetched: it works while the issuer is down.
//! fn orders_api() -> Result<Client, BuildError> {
//!     Credentials::client("billing", Secret::file("/run/secrets/billing"))
//!         .issuer("https://auth.example")
//!         .scopes(["orders:read"])
//!         .resource("https://orders.example")
//!         .attach_to(["https://orders.example"])          // the token is sent to no other origin
//!         .build()
//! }
//!
//! /// From then on, each request carries a valid token.
//! async fn orders(api: &Client) -> Result<String, Error> {
//!     let answer = api.get("https://orders.example/orders").send().await?;
//!     Ok(answer.text().await?)
//! }
//! # orders_api().unwrap();
//! ```
//!
//! For tonic and other tower clients there is a layer ([`Client::layer`]), for websockets and everything else the [`TokenSource`], and for the
//! users of a web application [`Users`].
//!
//! # When a token is fetched
//!
//! The first request that needs a token fetches it; requests that arrive meanwhile share that fetch. The token is then used from memory. If it
//! was used, it is refreshed in the background at four fifths of its life (less up to a tenth, so that many apps do not fetch at the same
//! moment). The last tenth of its life, at most 30 s, is left unused. So only the first request waits for a token.
//!
//! - **While the issuer is down**, the cached token is used to its end. A failed attempt never discards a valid token. The pauses between
//!   attempts grow from 1 to 30 s; `Retry-After` is respected up to an hour.
//! - **A secret or a private key in a file or a variable is read for each token request**, so it can be replaced while the app runs. If the issuer
//!   refuses it, the next attempt is a minute later.
//! - **When an API answers 401** and says `invalid_token`, the request is sent once more with another token, unless the body is a stream or the
//!   token is less than 10 s old. If it gives no reason, only a request with an idempotent method is sent again, so that no write happens twice.
//! - **A user's refresh token is never used twice at once.** If an answer is lost, the same refresh token is sent again, and the issuer
//!   returns the same successor.
//!
//! The background task ends when the last clone of the client is dropped.
//!
//! # Where a token is sent
//!
//! Only to the origins of [`Builder::attach_to`]. A request to any other origin is sent without a token, and the first one to each is logged as a
//! warning. A redirect to another host or port drops the token, and one from `https` to `http` is not followed. Origins are `https`, or `http` on
//! this machine.
//!
//! # When there is no token
//!
//! [`Error`] says which [`Party`] can fix the problem: the app, the issuer's operator, the network, the user, or the API. Errors, `Debug` output and
//! the log never contain a secret or a token. Spans named `fetch_token` record the outcome of each attempt.

mod active_logins;
mod attach;
#[expect(clippy::module_inception, reason = "the file of `Client`")]
mod client;
mod connection;
mod credentials;
mod error;
mod exchange;
mod issued;
mod origins;
mod place;
mod private_key;
mod proof;
mod refused_token;
mod request;
mod secret;
mod session;
#[cfg(feature = "server")]
mod standing;
#[cfg(feature = "server")]
mod stored;
mod token_source;
mod tokens;
mod users;

pub use attach::{AttachLayer, AttachService};
pub use client::Client;
pub use credentials::{Builder, Credentials};
pub use error::{BuildError, Error, Party};
pub use private_key::PrivateKey;
pub use proof::Proof;
#[cfg(feature = "server")]
pub(crate) use refused_token::RefusedToken;
pub use request::RequestBuilder;
/// The underlying HTTP client: [`Builder::http`] and [`RequestBuilder::map`] expose its types.
pub use reqwest;
pub use secret::Secret;
pub use session::Session;
#[cfg(feature = "server")]
pub(crate) use stored::{SingleFetch, StoredToken};
pub use token_source::{AccessToken, Status, TokenSource};
pub use tokens::Tokens;
pub use users::Users;
