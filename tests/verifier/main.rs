//! The verifier against the tokens that others got wrong: every one is refused, for the reason that is its own.

mod header;
mod keys;
mod lawful;
mod payload;
mod support;
