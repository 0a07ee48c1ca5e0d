//! The refresh grant: RFC 6749 section 6, with rotation (RFC 9700 section 4.14) and a grace period: for a short time, a repeated request
//! gets the same new refresh token, so that a lost answer does not sign the user out.

use secrecy::{ExposeSecret, SecretString};

use super::{
    Error, Fault, IssuedToken, Refusal, TargetRequest, TokenIssuer, excess::refuse_excess, mint::Subject, mistake, target::Target,
};
use crate::{
    clock::Timestamp,
    protocol::{ErrorCode, ScopeToken},
    server::{
        model::{Client, Ending, Login, LoginToken, Standing, TokensSince, User},
        telemetry,
    },
};

/// A token request with a refresh token.
#[derive(Debug)]
pub(crate) struct RefreshGrant {
    pub(crate) refresh_token: SecretString,
    pub(crate) target: TargetRequest,
}

/// Attempts if another request changes the login between the read and the write. Two would do: after one rotation by another request, the
/// presented token is the previous one.
const TRIES: usize = 3;

const REFUSED: Refusal = Refusal::new(ErrorCode::InvalidGrant, "The refresh token is invalid or has expired.");

fn refuse(cause: &'static str) -> Error {
    Error::Rejected { refusal: REFUSED, cause }
}

impl TokenIssuer {
    pub(super) async fn refresh(&self, client: &Client, request: &RefreshGrant, now: Timestamp) -> Result<IssuedToken, Error> {
        let unknown = || refuse("unknown refresh token");
        let token = self.logins.read_token(request.refresh_token.expose_secret()).ok_or_else(unknown)?;
        for _ in 0..TRIES {
            let (login, reached) = self.logins.find(&token).await.map_err(Fault::from)?.ok_or_else(unknown)?;
            if login.client != client.id {
                self.report_foreign_token(client, &login);
                return Err(refuse("the refresh token belongs to another client"));
            }
            let login = match login.standing(token.generation, self.logins.now()) {
                Standing::Over => return Err(refuse("the login has ended")),
                Standing::Replay => {
                    self.logins.end(&login, Ending::Replay, now).await.map_err(Fault::from)?;
                    self.meters.replays.inc();
                    return Err(refuse("replay of a used refresh token; its login was ended"));
                }
                Standing::Unclear => {
                    let cause = "this node's clock is more than 60 s behind that of the node that issued the refresh token: synchronize both clocks, and restart \
                                 the other node if its clock was set back while it ran"
                        .to_owned();
                    return Err(Fault { transient: true, cause }.into());
                }
                Standing::Current | Standing::Repeat => login,
            };
            // Everything that can fail happens before the rotation, including signing: a client that gets an error still has a valid
            // refresh token. An access token that was signed for nothing is dropped.
            let (target, user) = self.still_allowed(client, &login, &request.target).await?;
            if !reached {
                let cause = "what was withdrawn from the client or the user has not reached the login yet".to_owned();
                return Err(Fault { transient: true, cause }.into());
            }
            let since = TokensSince::of(client, &user);
            let status = self.revocations.of_login(&login, since, now).await.map_err(Fault::from)?;
            let subject = Subject::User { user: &user, auth_time: login.created_at, login: status.as_ref() };
            let mut issued = self.mint(client, subject, target, now).await?;
            let access_token = LoginToken { status: status.as_ref(), since, expires_at: issued.expires_at };
            // A withdrawal that comes after this check revokes the position.
            let unchanged = if login.generation == token.generation {
                issued.refresh_token = Some(self.logins.next_token(&login));
                self.logins.step(&login, access_token).await
            } else {
                issued.refresh_token = Some(self.logins.current_token(&login));
                self.logins.repeat(&login, access_token).await
            };
            if unchanged.map_err(Fault::from)? {
                return Ok(issued);
            }
        }
        let cause = "other requests kept changing the login, or a right was withdrawn, which this node or this login has not followed yet";
        Err(Fault { transient: true, cause: cause.to_owned() }.into())
    }

    /// Reports a client that presented a genuine refresh token of another client: the token has leaked. The login is not ended,
    /// since otherwise any client could end another's logins.
    pub(super) fn report_foreign_token(&self, client: &Client, login: &Login) {
        self.meters.foreign_refresh_tokens.inc();
        tracing::warn!(
            target: telemetry::ALERT,
            event = "refresh_token.foreign",
            client.id = client.id.as_str(),
            login.id = login.id.as_str(),
            login.client = login.client.as_str(),
            user.id = login.user.to_string(),
            "a client presented the refresh token of another client"
        );
    }

    /// The login's resource, the part of its scope that client and user still have, reduced to the requested scope if there is one, and
    /// the user.
    async fn still_allowed(&self, client: &Client, login: &Login, request: &TargetRequest) -> Result<(Target, User), Error> {
        if let Some(audience) = request.resource.as_ref().filter(|audience| **audience != login.audience) {
            let refusal = Refusal::new(ErrorCode::InvalidTarget, "The refresh token is for another resource.");
            return Err(Error::Explained { refusal, cause: mistake::other_resource(audience, std::iter::once(&login.audience)) });
        }
        // RFC 6749 section 6: the scope must not exceed what was originally granted.
        match &request.scope {
            Some(scope) if *scope <= login.scope => {}
            Some(scope) => {
                let granted = |token: &ScopeToken| login.scope.contains(token);
                let named = |scope_token: &str| format!("The login was not granted the scope token {scope_token}.");
                let unnamed = "The scope exceeds what the login was granted.";
                return Err(refuse_excess(scope, granted, named, unnamed, mistake::excess_scope_of_login(scope, granted)));
            }
            None => {}
        }
        let user = self.registry.find_enabled_user(login.user).await.map_err(Fault::from)?;
        let user = user.ok_or_else(|| refuse("the user is disabled or deleted"))?;
        let of_client = client.permissions.get(&login.audience).ok_or_else(|| refuse("the client is no longer allowed at the resource"))?;
        let of_user = user.permissions.get(&login.audience).ok_or_else(|| refuse("the user is no longer allowed at the resource"))?;
        let still = login.scope.intersection(of_client).intersection(of_user);
        if still.is_empty() {
            return Err(refuse("no part of the login's scope is allowed any longer"));
        }
        let scope = request.scope.as_ref().map_or_else(|| still.clone(), |scope| scope.intersection(&still));
        if scope.is_empty() {
            return Err(Refusal::new(ErrorCode::InvalidScope, "No part of the requested scope is allowed any longer.").into());
        }
        Ok((Target { resource: self.resource(&login.audience).await?, scope }, user))
    }
}
