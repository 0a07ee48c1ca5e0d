//! Revocation by a client: RFC 7009.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{Error, Fault, Refusal, TokenIssuer};
use crate::{
    clock::Timestamp,
    protocol::ErrorCode,
    server::model::{Client, Ending},
};

impl TokenIssuer {
    /// Ends the login of a refresh token. A token that is unknown or already invalid counts as revoked (section 2.2).
    ///
    /// `token_type_hint` is ignored: the form of a token shows its type.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn revoke(&self, client: &Client, token: &str, now: Timestamp) -> Result<(), Error> {
        let Some((_, login)) = self.logins.find(token).await.map_err(Fault::from)? else {
            return if looks_like_a_jwt(token) {
                Err(Refusal::new(ErrorCode::UnsupportedTokenType, "Access tokens cannot be revoked; they expire soon.").into())
            } else {
                Ok(())
            };
        };
        if login.client != client.id {
            self.report_foreign_token(client, &login);
            // Section 2.1: the request is refused, and the token stays valid.
            let refusal = Refusal::new(ErrorCode::InvalidGrant, "The token was not issued to this client.");
            return Err(Error::Rejected { refusal, cause: "the token belongs to another client" });
        }
        self.logins.end(&login, Ending::Revoked, now).await.map_err(Fault::from)?;
        Ok(())
    }
}

/// Whether a token has the form of a JWS (RFC 7515 section 7.1): three parts, of which the first is a JSON object in base64url.
fn looks_like_a_jwt(token: &str) -> bool {
    let Some((header, rest)) = token.split_once('.') else { return false };
    let json = BASE64_URL_SAFE_NO_PAD.decode(header).ok();
    let object = json.and_then(|json| serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&json).ok());
    object.is_some() && rest.matches('.').count() == 1
}
