//! What an operator can do with signing keys.

mod list;
mod plan;
