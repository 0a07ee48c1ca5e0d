//! The client credentials grant: RFC 6749 section 4.4.

use super::{Error, IssuedToken, TargetRequest, TokenIssuer, mint::Subject};
use crate::{clock::Timestamp, server::model::Client};

/// A token request by which a client acts on its own behalf.
#[derive(Debug)]
pub(crate) struct ClientCredentialsGrant {
    pub(crate) target: TargetRequest,
}

impl TokenIssuer {
    /// Issues a token whose subject is the client itself. There is no refresh token (RFC 6749 section 4.4.3).
    pub(super) async fn client_credentials(
        &self,
        client: &Client,
        request: &ClientCredentialsGrant,
        now: Timestamp,
    ) -> Result<IssuedToken, Error> {
        let target = self.target(client, &request.target).await?;
        self.mint(client, Subject::Client, target, now).await
    }
}
