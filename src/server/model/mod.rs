//! Describes: plain data and its lawful transitions. No input, no output, no clock.

mod client;
mod resource;
mod signing_key;
mod token_lifetime;

pub(crate) use client::{Client, ClientChange, Permission, StoredSecret};
pub(crate) use resource::{Resource, ResourceChange};
pub(crate) use signing_key::{KeyState, SigningKeyRow};
pub(crate) use token_lifetime::TokenLifetime;
