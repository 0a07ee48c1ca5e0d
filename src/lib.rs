//! Sealwright issues signed access tokens: trusted apps exchange their credentials for one, and every API checks it by
//! itself, offline, with the public keys that Sealwright publishes. The package holds the server, a `verifier` that an API embeds, and a
//! `client` that an app embeds.
//!
//! # The map
//!
//! | room | what it does |
//! |---|---|
//! | [`protocol`] | the words on the wire; every type parses, cites its RFC, and does no input or output |
//! | `clock` | the one source of time; tests move it |
//! | `entropy` | the one source of randomness |
//! | `server` | wires the rooms below together and runs them |
//! | `server::config` | flags over environment over a file over defaults |
//! | `server::management` | what is for operators alone: metrics and health, on a listener of their own |
//! | `server::http` | speaks HTTP and knows no rule: every route on one page, every error rendered in one place |
//! | `server::commands` | what an operator can do, each action once; records every change in its transaction |
//! | `server::issuer` | decides what a client may have, and what the token says; one grant, one file |
//! | `server::registry` | knows who may ask: clients and users, how they prove it, and how often they may fail to |
//! | `server::restore` | notices that a database was lost, copied or set back, and makes a restored one safe to serve |
//! | `server::custody` | the one rule for files that hold secrets: who may read and write them |
//! | `server::revocation` | logins: how they begin, take a step from refresh token to refresh token, and end |
//! | `server::keys` | signs: the sealing key, the signing keys, the ring that holds them, the published set |
//! | `server::store` | remembers: all the SQL there is, one file per noun |
//! | `server::model` | describes: plain data and its lawful transitions |
//! | `verifier` | what an API embeds to check tokens by itself: the check is pure, at a given time; the issuer's keys are kept fresh; a layer and extractors stand before its handlers |
//! | `verifier::testing` | an issuer in memory for the tests of an API, and hostile tokens as data |
//! | `client` | what a trusted app embeds: it gets its tokens and attaches them, to the origins that it was given alone |
//! | `kept` | a value that an issuer gives for a time (its keys, a token), kept in memory: fetched ahead, never twice at once |
//! | `outbound` | HTTP to an issuer: bounded in time and size, following nobody elsewhere |
//! | `cli` | the terminal door: one command, one file |
//!
//! Imports run one way, from the lower lines of this list to none above them:
//! `cli → server → http → commands → issuer → registry → restore → revocation → keys → store → model → protocol → {clock, entropy}`, and beside the server
//! `{verifier, client} → {kept, outbound} → protocol`. `tests/architecture.rs` holds that, and more.
//!
//! # Recipes
//!
//! **To add a grant**, touch in this order: `protocol/identifiers` (its `GrantType`), `issuer/<grant>` (its rule, ending in
//! `mint`), `issuer/mod` (`Grant`, `TokenIssuer::issue`, and `Policy::served` if a setting turns it off), `http/token` (the
//! form to the `Grant`). Metadata follows `Policy::served`; `tests/server/discovery.rs` (MD4) tries what it advertises.
//!
//! **To add an endpoint**: `http/<noun>` (a handler that reads, calls one room, and answers), `http/mod` (`ROUTES`),
//! `http/error` (if it fails in a new way), `protocol/metadata` (if clients look it up), `openapi.yaml`, `tests/server/<noun>`.
//!
//! **To add an error's text**, or change one: where it is said, and `x-errors` and the table of `openapi.yaml`. Every answer that a test
//! reads is held against both.
//!
//! **To add a table**: `migrations/<next>.sql` (one text for both databases; it only adds), `store/schema` (its line),
//! `model/<noun>` (the row as a type), `store/<noun>` (its SQL; every write through `Store::write`, raising its epoch first).
//!
//! **To add a claim**: `protocol/claims` (the member, citing its RFC), `issuer/mint` (its value),
//! `tests/server/access_token.rs` (AT1 lists every member).
//!
//! **To add an algorithm**: `protocol/jwk` (`Algorithm` and its public form), `keys/signer` (`JwsSigner` over aws-lc-rs, and
//! how a key is made), `keys/rotation` (which algorithms are in use), `tests/server/access_token.rs` (OpenSSL verifies it).
//!
//! **To add an operator's action**: `commands/<noun>` (takes an `Act`), `store/<noun>` (`Store::change` records it with its detail),
//! `cli/<noun>`, and `restore/lost` (what to do when it is lost).
//!
//! **To add a metric**: `server/meters` (its name, its unit, its help, and a handle that is public to the rooms), then where the thing
//! happens; what is looked up and not counted, `server/management`. `examples/grafana-dashboard.json` shows it.
//!
//! **To add a setting**: `config/settings` (its line), `config/mod` (the room's `Policy` that it goes into),
//! `examples/sealwright.toml`; a bound also stands in the README's table of limits.
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `server` (default) | the authorization server and its command line, with `verifier` |
//! | `verifier` | the verifier alone: no server, no SQL, no OpenSSL |
//! | `client` | the client alone: no server, no SQL, no OpenSSL |
//! | `testing` | `verifier::testing`: no server, no SQL, no OpenSSL either |
//! | `vendored` (default) | OpenSSL built from source for josekit, which needs `build-essential` alone |
//!
//! Without features there is [`protocol`] alone.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(any(feature = "client", feature = "server", feature = "verifier"))]
pub mod clock;
#[cfg(any(feature = "client", feature = "server", feature = "verifier"))]
mod entropy;
#[cfg(any(feature = "client", feature = "verifier"))]
#[cfg_attr(not(all(feature = "client", feature = "verifier")), expect(dead_code, reason = "each of the two uses its part"))]
mod kept;
#[cfg(any(feature = "client", feature = "verifier"))]
mod outbound;
pub mod protocol;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "verifier")]
pub mod verifier;
