//! Plain data and its valid transitions. No input, no output, no clock.

mod change;
mod client;
mod login;
mod password;
mod resource;
mod signing_key;
mod token_lifetime;
mod user;
mod username;

pub(crate) use change::Change;
pub(crate) use client::{Client, ClientChange, StoredSecret};
pub(crate) use login::{Ending, Login, LoginFilter, LoginId, Standing};
pub(crate) use password::Password;
pub(crate) use resource::{Resource, ResourceChange};
pub(crate) use signing_key::{KeyState, SigningKeyRow};
pub(crate) use token_lifetime::TokenLifetime;
pub(crate) use user::{PasswordProof, User, UserChange, UserId};
pub(crate) use username::Username;
