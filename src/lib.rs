//! Sealwright issues signed access tokens.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
mod entropy;
pub mod protocol;
#[cfg(feature = "server")]
pub mod server;
