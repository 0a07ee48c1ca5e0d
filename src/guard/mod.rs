//! The guard: the verifier as a process in front of an API in any language (`sealwright guard`).
//!
//! It answers a gateway that asks about each request, or forwards what it admits to the API. Rules in a file say what a request needs. A
//! request that no rule is for is denied; one that the guard and the API could read in different ways is refused.
//!
//! One request: `front` gives it an id and a span; `gateway` finds out which request a check is about; `gate` decides by the rules and the
//! verifier; `token_headers` say to the API who calls; `upstream` forwards; every `refusal` is rendered in one place.

pub mod config;
mod error;
mod front;
mod gate;
mod gateway;
#[expect(clippy::module_inception, reason = "the file of `Guard`")]
mod guard;
mod management;
mod meters;
mod parts;
mod refusal;
mod rules;
mod token_headers;
mod unread;
mod upstream;
mod verifier_meters;

pub use crate::server::process::Reload;
pub use config::Config;
pub use error::Error;
pub use guard::Guard;

pub(crate) use rules::{Explanation, RuleFile, RuleFileError};
