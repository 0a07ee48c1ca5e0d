//! Plain data and its valid transitions. No input, no output, no clock.

mod change;
mod client;
mod custom_claims;
mod filter;
mod listed;
mod login;
mod password;
mod resource;
mod signing_key;
mod time_text;
mod token_lifetime;
mod token_size;
mod user;
mod username;

pub(crate) use change::{Change, Detail, DetailedChange, Facts, facts};
pub(crate) use client::StoredSecret;
pub use client::{Client, ClientChange};
pub(crate) use custom_claims::TokenClaims;
pub use custom_claims::{ClaimName, ClaimValue, CustomClaims};
pub(crate) use filter::{ChangeFilter, ClientFilter, LoginListFilter, ResourceFilter, UserFilter};
pub use listed::Damaged;
pub(crate) use listed::Listed;
pub use login::LoginId;
pub(crate) use login::{Ending, Login, LoginFilter, Standing};
pub use password::Password;
pub use resource::{Resource, ResourceChange};
pub(crate) use signing_key::{KeyState, SigningKeyRow};
pub(crate) use time_text::rfc3339;
pub use token_lifetime::TokenLifetime;
pub(crate) use token_size::require_fitting;
pub(crate) use user::{PasswordProof, UserId};
pub use user::{User, UserChange};
pub use username::Username;
