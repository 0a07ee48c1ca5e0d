//! The login of one user, continued.

use std::fmt;

use http::Method;
use reqwest::{IntoUrl, Request, Response};

use super::{
    Error, RequestBuilder, Status, TokenSource, Tokens,
    active_logins::ActiveLogins,
    request::{Sender, request_methods},
};
use crate::clock::SharedClock;

/// The login of one user: calls APIs in the user's name, renews the tokens, and signs the user out. Made by
/// [`Users::resume`](super::Users::resume). Its clones share the login.
#[derive(Clone)]
pub struct Session {
    sender: Sender,
    /// The logins of the [`Users`](super::Users) to which this one belongs.
    logins: ActiveLogins,
    clock: SharedClock,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sender { source, origins, .. } = &self.sender;
        f.debug_struct("Session").field("source", source).field("origins", origins).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) const fn new(sender: Sender, logins: ActiveLogins, clock: SharedClock) -> Self {
        Self { sender, logins, clock }
    }

    request_methods!();

    /// The current tokens, for the application to store. `None` after [`sign_out`](Self::sign_out).
    #[must_use]
    pub fn tokens(&self) -> Option<Tokens> {
        let tokens = self.sender.source.tokens()?;
        // The application may come back with these tokens, and must find this login by them.
        if let Some(refresh) = tokens.refresh_token() {
            self.logins.share(refresh, self.clock.now(), || self.sender.source.clone());
        }
        Some(tokens)
    }

    /// The tokens, renewed if they are due: for an application that needs to know what the user may do before it calls an API.
    ///
    /// # Errors
    ///
    /// If there is no valid token.
    pub async fn renewed(&self) -> Result<Tokens, Error> {
        self.sender.source.token().await?;
        self.tokens().ok_or(Error::LoginEnded)
    }

    /// Ends the login at the issuer (RFC 7009), and discards the tokens here. An access token that an API has received stays valid until it
    /// expires.
    ///
    /// # Errors
    ///
    /// If the issuer did not confirm it: the login then continues there until it expires.
    pub async fn sign_out(&self) -> Result<(), Error> {
        self.sender.source.revoke().await
    }
}
