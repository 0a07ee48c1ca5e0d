//! Whether a user is who they say they are.

use super::{
    Error, Limited, Registry, Verdict,
    limits::{Asking, NotAdmitted},
    network::Network,
};
use crate::{
    protocol::ClientId,
    server::{
        model::{Password, PasswordProof, User, UserId, Username},
        store::SourceMark,
        workers::{Share, Unserved},
    },
};

/// A user name and password, the client that sent them, and the user's network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignIn<'a> {
    pub(crate) client: &'a ClientId,
    pub(crate) username: &'a str,
    pub(crate) password: &'a str,
    pub(crate) network: &'a Network,
}

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
    /// The user of this name and password; and the proof, for writing down what follows.
    ///
    /// An unknown user, a wrong password and a disabled user get one answer, for one look-up and one hash each.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn sign_in(&self, asked: SignIn<'_>) -> Result<(User, PasswordProof), SignInError> {
        if Password::is_too_long(asked.password) {
            return Err(SignInError::TooLong);
        }
        let user = asked.username.parse::<Username>().ok();
        let name = user.as_ref().map_or(asked.username, Username::as_str);
        let asking = Asking { client: asked.client, name, user: user.as_ref(), network: asked.network };
        let attempt = self.passwords.limits.admit(asking).await.map_err(|refused| match refused {
            NotAdmitted::Limited(kind, limited) => {
                self.count_limited(kind);
                SignInError::Limited(limited)
            }
            NotAdmitted::Fault(error) => error.into(),
        })?;
        let judged = self.judge(user.as_ref(), asked, attempt.is_at_known_source()).await;
        match &judged {
            Ok(_) => attempt.succeeded(),
            // A fault of this server is not a failed attempt.
            Err(SignInError::Unserved(_) | SignInError::Fault(_)) => attempt.give_back(),
            Err(_) => drop(attempt),
        }
        judged
    }

    /// The mark to store for the source of a sign-in, so that it is recognized the next time.
    pub(crate) fn mark_source(&self, client: &ClientId, user: UserId, network: &Network) -> SourceMark {
        self.passwords.limits.known.mark(client, user, network)
    }

    /// The mark of a sign-in's source was stored.
    pub(crate) async fn source_was_marked(&self, client: &ClientId, user: &Username) {
        self.passwords.limits.known.look_again(client, user).await;
    }

    /// `at_known_source`: it is known already that the user has signed in from there before. Otherwise that is looked up if needed.
    async fn judge(&self, name: Option<&Username>, asked: SignIn<'_>, at_known_source: bool) -> Result<(User, PasswordProof), SignInError> {
        let known = match name {
            Some(name) => self.store.find_credentials(name).await.map_err(Error::from)?,
            None => None,
        };
        // What cannot be a password is compared all the same, as it is: it matches nothing.
        let typed = asked.password;
        let sent = Password::parse(typed).map_or_else(|_| typed.to_owned(), |password| password.expose().to_owned());
        let unknown = Share { client: asked.client.to_string(), source: asked.network.to_string(), known_user: None };
        let at_known = |name: &Username| Share { known_user: Some(name.to_string()), ..unknown.clone() };
        let share = name.filter(|_| at_known_source).map_or_else(|| unknown.clone(), at_known);
        let other = async {
            let name = name.filter(|_| !at_known_source)?;
            // If this cannot be found out, the caller takes the turn of an unknown source, and is refused if the queue is full.
            let found = self.passwords.limits.known.contain(asked.client, name, asked.network).await.unwrap_or(false);
            found.then(|| at_known(name))
        };
        let stored = known.as_ref().map(|known| known.password_hash.clone());
        let verdict = self.passwords.hasher.verify(&share, other, sent, stored).await?;
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
