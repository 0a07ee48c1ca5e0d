//! The verifier against the tokens that others got wrong: every one is refused, for the reason that is its own.

mod header;
mod issuers;
mod key_cache;
mod keys;
mod lawful;
mod outage;
mod payload;
mod support;
