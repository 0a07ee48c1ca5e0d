//! Plain data and its valid transitions. No input, no output, no clock.

mod change;
mod client;
mod filter;
mod listed;
mod login;
mod password;
mod resource;
mod signing_key;
mod time_text;
mod token_lifetime;
mod user;
mod username;

pub(crate) use change::{Change, Detail, DetailedChange, Facts, facts};
pub use client::Client;
pub(crate) use client::{ClientChange, StoredSecret};
pub(crate) use filter::{ChangeFilter, ClientFilter, LoginListFilter, ResourceFilter, UserFilter};
pub(crate) use listed::{Damaged, Listed};
pub(crate) use login::{Ending, Login, LoginFilter, LoginId, Standing};
pub use password::Password;
pub use resource::Resource;
pub(crate) use resource::ResourceChange;
pub(crate) use signing_key::{KeyState, SigningKeyRow};
pub(crate) use time_text::rfc3339;
pub use token_lifetime::TokenLifetime;
pub use user::User;
pub(crate) use user::{PasswordProof, UserChange, UserId};
pub use username::Username;
