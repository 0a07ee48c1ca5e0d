//! The resource owner password credentials grant: RFC 6749 section 4.3.
//!
//! RFC 9700 section 2.4 says that it must not be used, because the app sees the user's password. It exists for first-party apps, works
//! only for clients that have the grant type, and can be turned off by a setting.

use std::{net::IpAddr, sync::Arc};

use secrecy::SecretString;

use super::{Error, Fault, IssuedToken, Refusal, TargetRequest, TokenIssuer, mint::Subject, target::Target};
use crate::{
    clock::Timestamp,
    protocol::{ErrorCode, GrantType},
    server::{
        limits::Network,
        logins::NewLogin,
        model::{Client, TokensSince},
        registry::{SignIn, SignInError},
    },
};

/// A token request with the user name and the password that a user typed into an app.
#[derive(Debug)]
pub(crate) struct PasswordGrant {
    pub(crate) username: String,
    pub(crate) password: SecretString,
    /// The address of the user, for the limits on failed attempts.
    pub(crate) source: IpAddr,
    pub(crate) target: TargetRequest,
}

/// One answer for every cause, so that a guesser learns nothing from it.
const REFUSED: Refusal = Refusal::new(ErrorCode::InvalidGrant, "The user name or the password is wrong.");

impl TokenIssuer {
    pub(super) async fn password(&self, client: &Client, request: &PasswordGrant, now: Timestamp) -> Result<IssuedToken, Error> {
        // Checked first, because it does not depend on the user: it costs no hash and does not count as a failed attempt.
        let target = self.target(client, &request.target).await?;
        // A hash takes 50 times as long as a signature.
        self.keys.require_place(target.resource.algorithm, now)?;
        let audience = &target.resource.audience;
        let network = Network::of(request.source);
        let sign_in = SignIn { client: &client.id, username: &request.username, password: &request.password, network: &network };
        for _ in 0..TRIES {
            let (user, proof) = self.registry.sign_in(sign_in).await?;
            // Scope tokens that the user does not have are dropped. The answer contains the granted scope.
            let allowed = user.permissions.get(audience);
            let scope = allowed.map(|allowed| target.scope.intersection(allowed)).unwrap_or_default();
            if scope.is_empty() {
                return Err(Refusal::new(ErrorCode::InvalidScope, "This user is allowed none of the requested scope.").into());
            }
            let status = self.revocations.of_new_login(now).await.map_err(Fault::from)?;
            let subject = Subject::User { user: &user, auth_time: now, login: status.as_ref() };
            let mut issued =
                self.mint(client, subject, Target { resource: Arc::clone(&target.resource), scope: scope.clone() }, now).await?;
            // The login is created last, so that it exists only if its token was signed.
            let source = self.registry.mark_source(&client.id, user.id, &network);
            let since = TokensSince::of(client, &user);
            let tokens_end_at = issued.expires_at;
            let new = NewLogin { user: user.id, client: &client.id, audience, scope: &scope, since, source, status, tokens_end_at };
            let Some(login) = self.logins.begin(new, proof, now).await.map_err(Fault::from)? else { continue };
            self.registry.source_was_marked(&client.id, &user.username).await;
            if client.grants.contains(&GrantType::RefreshToken) {
                issued.refresh_token = Some(self.logins.current_token(&login));
            }
            return Ok(issued);
        }
        Err(Error::Rejected { refusal: REFUSED, cause: "user, password or client changed while the user signed in" })
    }
}

/// Attempts if the user or the client changes between the check and the write. An operator may have changed it, which the second attempt
/// sees, or another sign-in has rehashed the password with stronger parameters.
const TRIES: usize = 2;

impl From<SignInError> for Error {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::TooLong => Refusal::new(ErrorCode::InvalidRequest, "The password is longer than 1,024 characters.").into(),
            SignInError::Rejected(cause) => Self::Rejected { refusal: REFUSED, cause },
            SignInError::Limited(limited) => Self::Limited(limited.0),
            SignInError::Work(error) => Fault::from(error).into(),
            SignInError::Fault(error) => Fault::from(error).into(),
        }
    }
}
