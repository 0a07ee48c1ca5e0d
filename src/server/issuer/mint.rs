//! Builds and signs access tokens: RFC 9068 section 2.

use super::{Error, Fault, IssuedToken, TokenIssuer, target::Target};
use crate::{
    clock::Timestamp,
    entropy,
    protocol::AccessTokenClaims,
    server::model::{Client, CustomClaims, Resource, StatusIndex, TokenClaims, User},
};

/// The subject of a token.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    /// The client itself.
    Client,
    /// A user who entered the password at `auth_time`, and the position of the login in a status list.
    User { user: &'a User, auth_time: Timestamp, login: Option<&'a StatusIndex> },
}

impl TokenIssuer {
    /// Signs a token for `subject`, issued at `now`. When too many tokens wait for their signature, it fails before it does anything for another one.
    pub(super) async fn mint(&self, client: &Client, subject: Subject<'_>, target: Target, now: Timestamp) -> Result<IssuedToken, Error> {
        self.keys.require_place(target.resource.algorithm, now)?;
        // The shorter lifetime applies: a resource's limit holds for every client, and a client's for every resource.
        let limits = [client.token_lifetime, target.resource.token_lifetime];
        let lifetime =
            limits.into_iter().flatten().min().unwrap_or(self.policy.token_lifetime).duration().min(self.keys.longest_lifetime());
        let (iat, expires_at) = (now.seconds(), now + lifetime);
        let (sub, user, auth_time) = match subject {
            Subject::Client => (client.id.to_string(), None, None),
            Subject::User { user, auth_time, .. } => (user.id.to_string(), Some(user.id), Some(auth_time.seconds())),
        };
        let status = match subject {
            Subject::Client => self.revocations.of_client(client, now).await.map_err(Fault::from)?,
            Subject::User { login, .. } => login.map(|index| self.revocations.claim(index)),
        };
        let custom = custom_claims(client, &target.resource, subject);
        let registered = AccessTokenClaims {
            iss: self.issuer.clone(),
            exp: expires_at.seconds(),
            aud: target.resource.audience.clone(),
            sub,
            client_id: client.id.clone(),
            iat,
            jti: entropy::unique_id(),
            auth_time,
            scope: target.scope.clone(),
            status,
        };
        let access_token = self.keys.sign(TokenClaims { registered, custom }, target.resource.algorithm, now).await?;
        self.meters.tokens_issued.inc();
        Ok(IssuedToken { access_token, expires_at, expires_in: lifetime.as_secs(), scope: target.scope, refresh_token: None, user })
    }
}

/// The claims of a token beyond the registered ones. Where two sources have the same name, which commands refuse, the resource's fixed
/// claims precede the client's, and those precede the user's attributes.
fn custom_claims(client: &Client, resource: &Resource, subject: Subject<'_>) -> CustomClaims {
    let mut claims = CustomClaims::default();
    if let Subject::User { user, .. } = subject {
        for name in &resource.claims {
            if let Some(value) = user.claim(name) {
                claims.set(name.clone(), value);
            }
        }
    }
    claims.set_all(&client.fixed_claims);
    claims.set_all(&resource.fixed_claims);
    claims
}
