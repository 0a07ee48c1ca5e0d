//! The resource owner password credentials grant: RFC 6749 section 4.3.
//!
//! RFC 9700 section 2.4 says that it must not be used: it shows the user's password to the app. It is here for apps of the
//! same house as the server, for clients that were given it, and a setting turns it off.

use std::net::IpAddr;

use super::{Error, Fault, Issued, Refusal, TargetRequest, TokenIssuer, mint::Subject, target::Target};
use crate::{
    clock::Timestamp,
    protocol::{ErrorCode, GrantType},
    server::{
        model::Client,
        registry::{Network, SignIn, SignInError},
        revocation::NewLogin,
        secret::Redacted,
    },
};

/// An app passes on what its user typed.
#[derive(Debug)]
pub(crate) struct Password {
    pub(crate) username: String,
    pub(crate) password: Redacted,
    /// The address of the user, for limits.
    pub(crate) source: IpAddr,
    pub(crate) target: TargetRequest,
}

/// One answer for every cause: who guesses must not learn how close it came.
const REFUSED: Refusal = Refusal::new(ErrorCode::InvalidGrant, "The user name or the password is wrong.");

impl TokenIssuer {
    pub(super) async fn password(&self, client: &Client, request: &Password, now: Timestamp) -> Result<Issued, Error> {
        // What does not depend on the user comes first: it costs no hash and counts as no failure.
        let asked = request.target.resolve(client)?;
        let network = Network::of(request.source);
        let sign_in = SignIn { client: &client.id, username: &request.username, password: request.password.expose(), network: &network };
        for _ in 0..TRIES {
            let (user, proof) = self.registry.sign_in(sign_in).await?;
            // What the client may have there and the user may not is dropped; the answer's scope shows it.
            let allowed = user.permissions.get(asked.audience);
            let scope = allowed.map(|allowed| asked.scope.intersection(allowed)).unwrap_or_default();
            if scope.is_empty() {
                return Err(Refusal::new(ErrorCode::InvalidScope, "This user is allowed nothing of that scope.").into());
            }
            let subject = Subject::User { id: user.id, auth_time: now };
            let mut issued = self.mint(client, subject, Target { scope: scope.clone(), ..asked }, now).await?;
            // The login comes last: nobody has one without having got its token.
            let source = self.registry.mark_source(&client.id, user.id, &network);
            let new = NewLogin { user: user.id, client: &client.id, audience: asked.audience, scope: &scope, source };
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

/// What was checked may change until it is written down: by somebody's will, which the second look sees, or because another
/// sign-in hashed the password anew under raised parameters.
const TRIES: usize = 2;

impl From<SignInError> for Error {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::TooLong => Refusal::new(ErrorCode::InvalidRequest, "The password is longer than 1,024 characters.").into(),
            SignInError::Rejected(cause) => Self::Rejected { refusal: REFUSED, cause },
            SignInError::Limited(limited) => Self::Limited(limited.0),
            SignInError::Unserved(unserved) => Fault::from(unserved).into(),
            SignInError::Fault(error) => Fault::from(error).into(),
        }
    }
}
