//! The [`client`](crate::client) as a process beside an app in any language: what the app sends to it goes to the API with a good token on it.
//!
//! `sealwright attach --listen 127.0.0.1:9100 --to https://orders.example`
//!
//! **Every process that reaches the listener acts as the client.** So it listens on loopback addresses and Unix sockets only, and refuses
//! what a web page sends through the browser of this machine.
//!
//! The token goes to the origins of the setting `to` and nowhere else: a redirect is given to the app, and not followed.

mod config;
mod draft;
mod error;
mod failure;
mod front;
mod listen;
mod management;
mod meters;
mod open;
mod pages;
mod place;
mod program;
mod repeatable;
mod route;
mod sending;
mod tokens;

pub use config::{Config, SETTINGS};
pub use error::Error;
pub use program::Attach;

pub(crate) use config::PROGRAM;
