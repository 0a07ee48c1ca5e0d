//! The client credentials grant: RFC 6749 section 4.4.

use super::{Error, Issued, TargetRequest, TokenIssuer, mint::Subject};
use crate::{clock::Timestamp, server::model::Client};

/// A trusted app asks for itself.
#[derive(Debug)]
pub(crate) struct ClientCredentials {
    pub(crate) target: TargetRequest,
}

impl TokenIssuer {
    /// The client is its own subject; there is nobody else to ask. No refresh token (RFC 6749 section 4.4.3).
    pub(super) async fn client_credentials(&self, client: &Client, request: &ClientCredentials, now: Timestamp) -> Result<Issued, Error> {
        let target = request.target.resolve(client)?;
        self.mint(client, Subject::Client, target, now).await
    }
}
