//! Revocation by a client: RFC 7009.

use super::{Error, Fault, Refusal, TokenIssuer, access_token::in_time};
use crate::{
    clock::Timestamp,
    protocol::ErrorCode,
    server::{
        model::{Client, Ending, Login, Revocation},
        own_token::{Limit, OwnToken},
    },
};

/// Section 2.1: the request is refused, and the token stays valid.
const FOREIGN: Error = Error::Rejected {
    refusal: Refusal::new(ErrorCode::InvalidGrant, "The token was not issued to this client."),
    cause: "the token belongs to another client",
};

/// Section 2.2.1.
const WITHOUT_STATUS: Refusal = Refusal::new(
    ErrorCode::UnsupportedTokenType,
    "The token has no status, because an older version issued it or status lists were off. Revoke the refresh token, or let it expire.",
);

impl TokenIssuer {
    /// Revokes a refresh token, with its login, or an access token. A token that is unknown, or that no verifier accepts any more, counts as revoked
    /// (section 2.2). One whose `exp` has passed is revoked like the others while verifiers may accept it.
    ///
    /// `token_type_hint` is ignored: the form of a token shows its type.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn revoke(&self, client: &Client, text: &str, now: Timestamp) -> Result<(), Error> {
        if let Some(token) = self.logins.read_token(text) {
            let _turn = self.turns.to_revoke(client).await?;
            return match self.logins.find(&token).await.map_err(Fault::from)? {
                Some((login, _)) => self.revoke_login(client, &login, now).await,
                None => Ok(()),
            };
        }
        match self.read_own_token(text, Limit::Acceptable(now))? {
            Ok(token) => self.revoke_access_token(client, token, now).await,
            Err(_) => Ok(()),
        }
    }

    async fn revoke_login(&self, client: &Client, login: &Login, now: Timestamp) -> Result<(), Error> {
        if login.client != client.id {
            self.report_foreign_token(client, login);
            return Err(FOREIGN);
        }
        self.logins.end(login, Ending::Revoked, now).await.map_err(Fault::from)?;
        Ok(())
    }

    /// A client's own token is revoked by its position. That of a user shares its position with all tokens of its login, which ends
    /// (section 2.1: revoking an access token may revoke the refresh token too).
    async fn revoke_access_token(&self, client: &Client, token: OwnToken, now: Timestamp) -> Result<(), Error> {
        // Unlike a refresh token, it is known to other clients by design: to the APIs that it was sent to.
        if token.client != client.id {
            return Err(FOREIGN);
        }
        let is_for_user = token.is_for_user();
        let Some(position) = token.position else {
            return Err(WITHOUT_STATUS.into());
        };
        // The revocations of one client lock the same rows, on PostgreSQL each with a connection.
        let _turn = self.turns.to_revoke(client).await?;
        if !is_for_user {
            in_time(self.store.revoke_index(position, Revocation::end_of_token(token.expires_at), now)).await?;
            return Ok(());
        }
        // Without a login there, the token is not valid: its login got another position when its tokens were revoked.
        match in_time(self.store.find_login_by_status(&position)).await? {
            Some(login) if login.client == client.id => self.revoke_login(client, &login, now).await,
            _ => Ok(()),
        }
    }
}
