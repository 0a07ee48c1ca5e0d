//! `sealwright probe`: sends hostile tokens to an API, and reports what it lets through and what to change.
//!
//! The probe serves the [testing issuer](crate::verifier::testing) at the address that the API trusts, so the API is attacked as it runs, in any
//! language. Only an API that accepts the probe's own good tokens, and nothing without one, is attacked.
//!
//! One run: `ready` finds out whether the API can be probed; `tokens` sends tokens, `requests` sends a good token in wrong places and
//! requests without one, and `key_use` watches what the API fetches. Each adds `Evidence` to `Findings`; `report` groups it, and `junit` and `sarif`
//! write it for others to read.

mod advice;
mod api;
mod findings;
mod junit;
mod key_use;
mod kind;
mod options;
mod ready;
mod report;
mod requests;
mod run;
mod sarif;
mod shown;
mod tls;
mod tokens;
mod unprobed;

pub(crate) use advice::Library;
pub(crate) use junit::{junit, junit_of_unprobed};
pub(crate) use kind::Severity;
pub(crate) use options::{Certificate, Options};
pub(crate) use report::{Finding, Report};
pub(crate) use run::Probe;
pub(crate) use sarif::sarif;
pub(crate) use unprobed::Unprobed;
