//! Whether a user is who they say they are.

use super::{Error, Limited, Registry, Verdict};
use crate::{
    protocol::ClientId,
    server::{
        model::{Password, User, UserId, Username},
        store::PasswordProof,
        workers::Unserved,
    },
};

/// Why a user was not signed in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignInError {
    /// Longer than any password is.
    #[error("the password is too long")]
    TooLong,
    /// The caller learns that it was refused and nothing else; the cause is for the log.
    #[error("{0}")]
    Rejected(&'static str),
    #[error("too many failed attempts")]
    Limited(Limited),
    #[error("the password could not be checked: {0}")]
    Unserved(#[from] Unserved),
    #[error(transparent)]
    Fault(#[from] Error),
}

impl Registry {
    /// The user of this name and password, for `client`; and the proof, for writing down what follows.
    ///
    /// An unknown user, a wrong password and a disabled user get one answer, for one look-up and one hash each. Attempts that are
    /// under way count as failures until they succeed.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn sign_in(&self, client: &ClientId, username: &str, password: &str) -> Result<(User, PasswordProof), SignInError> {
        if Password::is_too_long(password) {
            return Err(SignInError::TooLong);
        }
        let name = username.parse::<Username>().ok();
        let key = [client.as_str(), name.as_ref().map_or(username, Username::as_str)];
        self.passwords.attempts.count(key).await.map_err(|limited| {
            self.count_limited("password");
            SignInError::Limited(limited)
        })?;

        match self.judge(name.as_ref(), password).await {
            Ok(signed_in) => {
                self.passwords.attempts.forgive(key).await;
                Ok(signed_in)
            }
            Err(error) => {
                if matches!(error, SignInError::Unserved(_) | SignInError::Fault(_)) {
                    // Our fault is nobody's failure.
                    self.passwords.attempts.take_back(key).await;
                }
                Err(error)
            }
        }
    }

    async fn judge(&self, name: Option<&Username>, password: &str) -> Result<(User, PasswordProof), SignInError> {
        let known = match name {
            Some(name) => self.store.find_credentials(name).await.map_err(Error::from)?,
            None => None,
        };
        // What cannot be a password is compared all the same, as it is: it matches nothing.
        let sent = Password::parse(password).map_or_else(|_| password.to_owned(), |password| password.expose().to_owned());
        let verdict = self.passwords.hasher.verify(sent, known.as_ref().map(|known| known.password_hash.clone())).await?;
        let Some(known) = known else { return Err(SignInError::Rejected("unknown user")) };
        let Verdict::Right { rehash } = verdict else { return Err(SignInError::Rejected("wrong password")) };
        // Only who knew the password costs another look.
        let user = self.find_enabled_user(known.id).await?.ok_or(SignInError::Rejected("disabled user"))?;
        Ok((user, PasswordProof { hash: known.password_hash, rehash }))
    }

    /// The user of this id, unless disabled or deleted.
    pub(crate) async fn find_enabled_user(&self, id: UserId) -> Result<Option<User>, Error> {
        let user = self.store.find_user_by_id(id).await?;
        Ok(user.filter(|user| user.disabled_at.is_none()))
    }
}
