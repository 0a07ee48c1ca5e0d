use std::time::Duration;

use super::{Act, Error, NotRevoked};
use crate::{
    clock::Timestamp,
    protocol::{ClientId, Issuer, SecretForm, find_secret},
    server::{
        keys,
        logins::RefreshToken,
        model::{LoginId, Revocation, Username, facts, rfc3339},
        own_token::{Limit, OwnKeys, OwnToken},
        store::Store,
    },
};

/// How soon verifiers that read the status lists refuse a revoked token, while they can fetch them: half a second until every node has noticed the
/// revocation, one and a quarter until the list is signed again, up to two in a cache that keeps to `max-age=1` (ages are whole seconds), eight until a
/// verifier fetches it again, and a quarter for the requests. A cache that holds a list for longer adds that time.
pub(crate) const FOLLOWED_WITHIN: Duration = Duration::from_secs(12);

/// The commands on access tokens.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    pub(super) store: &'a Store,
    pub(super) keys: &'a keys::Policy,
    /// `None` if the settings of this process do not name it.
    pub(super) issuer: Option<&'a Issuer>,
}

/// A token that was revoked.
#[derive(Debug)]
pub(crate) struct RevokedToken {
    pub(crate) client: ClientId,
    pub(crate) jti: String,
    pub(crate) sub: String,
    /// When it would have expired.
    pub(crate) expires_at: Timestamp,
    /// The login that was ended for it, if it was a user's.
    pub(crate) login: Option<LoginId>,
    /// The name of the user, unless they were deleted.
    pub(crate) username: Option<Username>,
}

impl Tokens<'_> {
    /// Revokes an access token: that of a client alone, and that of a user by ending the login, whose tokens share a position (RFC 7009
    /// section 2.1).
    ///
    /// # Errors
    ///
    /// If the text is not an access token of this issuer, verifiers refuse it already, or the database fails.
    pub(crate) async fn revoke(&self, act: &Act, token: &str) -> Result<RevokedToken, Error> {
        let token = self.check(token, act.now).await?;
        let is_for_user = token.is_for_user();
        let OwnToken { client, subject: sub, jti, expires_at, position, .. } = token;
        let position = position.ok_or(NotRevoked::NoStatus(expires_at))?;
        let target = format!("{client} {jti}");
        let expiry = ("expires_at", rfc3339(expires_at).into());
        if !is_for_user {
            let revoked = self.store.revoke_client_token(act, position, Revocation::end_of_token(expires_at), target, facts([expiry]));
            if !revoked.await? {
                return Err(NotRevoked::Already.into());
            }
            return Ok(RevokedToken { client, jti, sub, expires_at, login: None, username: None });
        }
        // A login whose tokens were revoked has another position, or has ended.
        let login = self.store.find_login_by_status(&position).await?.filter(|login| login.ended_at.is_none());
        let login = login.ok_or(NotRevoked::Already)?;
        let named = facts([expiry, ("login", login.id.to_string().into()), ("sub", sub.clone().into())]);
        self.store.revoke_user_token(act, login.id.clone(), target, named).await?;
        // Only for the message: a damaged user must not turn what was done into an error.
        let username = self.store.find_user_by_id(login.user).await.ok().flatten().map(|user| user.username);
        Ok(RevokedToken { client, jti, sub, expires_at, login: Some(login.id), username })
    }

    /// Checks that a token is from this issuer and that verifiers may accept it.
    async fn check(&self, token: &str, now: Timestamp) -> Result<OwnToken, Error> {
        match find_secret(token) {
            Some(SecretForm::RefreshToken) => {
                let login = RefreshToken::unverified_login(token);
                return Err(login.map_or(NotRevoked::NotAnAccessToken("it contains a refresh token"), NotRevoked::RefreshToken).into());
            }
            Some(SecretForm::ClientSecret) => return Err(NotRevoked::ClientSecret.into()),
            Some(SecretForm::Jwt) | None => {}
        }
        let published = keys::KeyRequests::read(self.keys, self.store, now).await?.key_set()?;
        let read = OwnToken::read(token, OwnKeys::Stored(&published), self.issuer, Limit::Acceptable(now));
        Ok(read.map_err(NotRevoked::from)?)
    }
}
