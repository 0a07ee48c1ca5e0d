//! User authentication by password.

use secrecy::{ExposeSecret, SecretString};

use super::{Error, Registry};
use crate::{
    protocol::ClientId,
    server::{
        limits::{Limited, Network, NotAdmitted, PasswordAttempt},
        model::{Password, PasswordProof, User, UserId, Username},
        passwords::Comparison,
        store::SourceMark,
        workers::{QueueShare, WorkError},
    },
};

/// A user name and password, the client that sent them, and the user's network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignIn<'a> {
    pub(crate) client: &'a ClientId,
    pub(crate) username: &'a str,
    pub(crate) password: &'a SecretString,
    pub(crate) network: &'a Network,
}

/// Why a user was not signed in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignInError {
    /// The password exceeds the maximum length.
    #[error("the password is too long")]
    TooLong,
    /// The cause is written to the log and not sent to the caller.
    #[error("{0}")]
    Rejected(&'static str),
    #[error("too many failed attempts")]
    Limited(Limited),
    #[error("the password could not be checked: {0}")]
    Work(#[from] WorkError),
    #[error(transparent)]
    Fault(#[from] Error),
}

impl Registry {
    /// Authenticates a user. The returned proof is needed to begin a login.
    ///
    /// An unknown user, a wrong password and a disabled user get the same answer, at the cost of one look-up and one hash each.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn sign_in(&self, asked: SignIn<'_>) -> Result<(User, PasswordProof), SignInError> {
        if Password::is_too_long(asked.password.expose_secret()) {
            return Err(SignInError::TooLong);
        }
        let user = asked.username.parse::<Username>().ok();
        let name = user.as_ref().map_or(asked.username, Username::as_str);
        let guess = PasswordAttempt { client: asked.client, name, user: user.as_ref(), network: asked.network };
        let attempt = self.0.passwords.limits.admit(guess).await.map_err(|refused| match refused {
            NotAdmitted::Limited(kind, limited) => {
                self.count_limited(kind);
                SignInError::Limited(limited)
            }
            NotAdmitted::Fault(error) => SignInError::Fault(error.into()),
        })?;
        let outcome = self.check_password(user.as_ref(), asked, attempt.is_at_known_source()).await;
        match &outcome {
            Ok(_) => attempt.succeeded(),
            // A fault of this server is not a failed attempt.
            Err(SignInError::Work(_) | SignInError::Fault(_)) => attempt.give_back(),
            Err(_) => drop(attempt),
        }
        outcome
    }

    /// The mark to store for the source of a sign-in, so that the source is recognized next time.
    pub(crate) fn mark_source(&self, client: &ClientId, user: UserId, network: &Network) -> SourceMark {
        self.0.passwords.limits.known.mark(client, user, network)
    }

    /// Must be called when the mark of a source was stored.
    pub(crate) async fn source_was_marked(&self, client: &ClientId, user: &Username) {
        self.0.passwords.limits.known.forget_cached(client, user).await;
    }

    /// `at_known_source`: the user is known to have signed in from this source before. If false, that is looked up when needed.
    async fn check_password(
        &self,
        name: Option<&Username>,
        asked: SignIn<'_>,
        at_known_source: bool,
    ) -> Result<(User, PasswordProof), SignInError> {
        let known = match name {
            Some(name) => self.0.store.find_credentials(name).await.map_err(Error::from)?,
            None => None,
        };
        // A text that is not a valid password is compared as it is, so that it costs the same. It matches nothing.
        let typed = asked.password.expose_secret();
        let sent = Password::parse(typed).map_or_else(|_| asked.password.clone(), Password::into_secret);
        let unknown = QueueShare { client: asked.client.to_string(), source: asked.network.to_string(), known_user: None };
        let at_known = |name: &Username| QueueShare { known_user: Some(name.to_string()), ..unknown.clone() };
        let share = name.filter(|_| at_known_source).map_or_else(|| unknown.clone(), at_known);
        let other = async {
            let name = name.filter(|_| !at_known_source)?;
            // If the look-up fails, the source counts as unknown, and the caller is refused if the queue is full.
            let found = self.0.passwords.limits.known.contain(asked.client, name, asked.network).await.unwrap_or(false);
            found.then(|| at_known(name))
        };
        let stored = known.as_ref().map(|known| known.password_hash.clone());
        let verdict = self.0.passwords.hasher.verify(&share, other, sent, stored).await?;
        let Some(known) = known else { return Err(SignInError::Rejected("unknown user")) };
        let Comparison::Right { rehash } = verdict else { return Err(SignInError::Rejected("wrong password")) };
        // A second read, only after a correct password.
        let user = self.find_enabled_user(known.id).await?.ok_or(SignInError::Rejected("disabled user"))?;
        Ok((user, PasswordProof { hash: known.password_hash, rehash }))
    }

    /// Finds a user by id, unless it is disabled or deleted.
    pub(crate) async fn find_enabled_user(&self, id: UserId) -> Result<Option<User>, Error> {
        let user = self.0.store.find_user_by_id(id).await?;
        Ok(user.filter(|user| user.disabled_at.is_none()))
    }
}
