//! Signed access tokens for APIs and the apps that call them. Trusted apps exchange their credentials for a token; every API checks
//! it offline, with the public keys that Sealwright publishes.
//!
//! This package holds three sides: the server (the `sealwright` program), the [`verifier`] that an API embeds, and the [`client`] that an
//! app embeds. The last two need neither the server nor each other.
//!
//! # Check tokens in an API
//!
//! ```
//! use axum::{Router, routing::get};
//! use sealwright::verifier::{BuildError, Token, Verifier, scopes};
//!
//! scopes! { pub OrdersRead = "orders:read"; }
//!
//! async fn list(caller: Token<OrdersRead>) -> String {
//!     format!("orders of {}", caller.subject())
//! }
//!
//! fn app() -> Result<Router, BuildError> {
//!     // Nothing is fetched yet, so the API starts while the issuer is down.
//!     let verifier = Verifier::for_issuer("https://auth.example").audience("https://orders.example").build()?;
//!     Ok(Router::new().route("/orders", get(list)).layer(verifier.layer()))
//! }
//! # app().unwrap();
//! ```
//!
//! [`verifier`] goes on from here: other frameworks, checks by hand, what is checked, where the keys come from, and tests.
//!
//! # Get and attach tokens in an app
//!
//! ```
//! use sealwright::client::{BuildError, Client, Credentials, Error, Secret};
//!
//! fn orders_api() -> Result<Client, BuildError> {
//!     Credentials::client("billing", Secret::file("/run/secrets/billing"))
//!         .issuer("https://auth.example")
//!         .resource("https://orders.example")
//!         .attach_to(["https://orders.example"])          // no other origin ever receives the token
//!         .build()
//! }
//!
//! async fn orders(api: &Client) -> Result<String, Error> {
//!     Ok(api.get("https://orders.example/orders").send().await?.text().await?)
//! }
//! # orders_api().unwrap();
//! ```
//!
//! [`client`] goes on from here: other HTTP clients, web applications whose users sign in, outages, and errors.
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `server` (default) | the authorization server and its command line, with `verifier` and `client` |
//! | `verifier` | the verifier alone: no server, no SQL, no OpenSSL |
//! | `client` | the client alone: no server, no SQL, no OpenSSL |
//! | `testing` | `verifier::testing`, an issuer for the tests of an API: no server, no SQL, no OpenSSL |
//! | `vendored` (default) | OpenSSL built from source for josekit; the build then needs `build-essential` only |
//!
//! An API or an app turns the defaults off: `default-features = false, features = ["verifier"]`. Without features, the package holds only
//! [`protocol`], the words on the wire.
//!
//! # Where to go
//!
//! - [Securing an API, from zero](../../../docs/securing-an-api.md): a tutorial with an issuer, an API, an app and a user.
//! - [Verifying tokens](../../../docs/verifying.md) and [Getting tokens](../../../docs/getting-tokens.md), with figures.
//! - [Operating](../../../docs/operating.md) and [Configuration](../../../docs/configuration.md) of the server.
//! - [Architecture](../../../docs/architecture.md) (`docs/architecture.md` in the repository), for those who change the code: the map of all
//!   modules, and [recipes](../../../docs/architecture.md#recipes) that list the files to touch for a grant, an endpoint, a
//!   client-authentication method, a route for operators, an algorithm and more.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "server")]
pub mod attach;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(any(feature = "client", feature = "server", feature = "verifier"))]
pub mod clock;
#[cfg(any(feature = "client", feature = "server", feature = "verifier"))]
mod entropy;
#[cfg(feature = "server")]
pub mod guard;
#[cfg(feature = "verifier")]
mod jwt;
#[cfg(any(feature = "client", feature = "verifier"))]
#[cfg_attr(not(all(feature = "client", feature = "verifier")), expect(dead_code, reason = "each of the two uses its part"))]
mod kept;
#[cfg(any(feature = "client", feature = "verifier"))]
mod outbound;
#[cfg(feature = "server")]
mod probe;
pub mod protocol;
#[cfg(feature = "server")]
mod proxy;
#[cfg(feature = "server")]
pub mod server;
#[cfg(any(feature = "client", feature = "server", feature = "testing"))]
mod signing;
#[cfg(feature = "verifier")]
pub mod verifier;
