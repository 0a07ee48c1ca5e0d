//! Passwords: which may be set, and how they are hashed and compared.

mod hashing;
mod rules;

pub(crate) use hashing::{Comparison, PasswordHasher, Policy as HashingPolicy};
pub(crate) use rules::Policy as PasswordRules;
