//! The refresh grant: RFC 6749 section 6, with rotation as RFC 9700 section 4.14 asks, and one mercy: a repeated request gets
//! the same successor for a little while, so that a lost answer signs nobody out.

use super::{Error, Fault, Issued, Refusal, TargetRequest, TokenIssuer, mint::Subject, mistake, target::Target};
use crate::{
    clock::Timestamp,
    protocol::{ErrorCode, Scope},
    server::{
        model::{Client, Ending, Login, Permission, Standing},
        secret::Redacted,
        telemetry,
    },
};

/// An app goes on with what a password began.
#[derive(Debug)]
pub(crate) struct Refresh {
    pub(crate) refresh_token: Redacted,
    pub(crate) target: TargetRequest,
}

/// Steps that others may take between our look and ours before we give up. One is enough: after it the token is the one before.
const TRIES: usize = 3;

const REFUSED: Refusal = Refusal::new(ErrorCode::InvalidGrant, "The refresh token is not good (any more).");

fn refuse(cause: &'static str) -> Error {
    Error::Rejected { refusal: REFUSED, cause }
}

impl TokenIssuer {
    pub(super) async fn refresh(&self, client: &Client, request: &Refresh, now: Timestamp) -> Result<Issued, Error> {
        for _ in 0..TRIES {
            let found = self.logins.find(request.refresh_token.expose()).await.map_err(Fault::from)?;
            let (token, login) = found.ok_or_else(|| refuse("no such refresh token"))?;
            if login.client != client.id {
                self.alarm_foreign_token(client, &login);
                return Err(refuse("the refresh token of another client"));
            }
            let login = match login.standing(token.generation, self.logins.now()) {
                Standing::Over => return Err(refuse("the login is over")),
                Standing::Replay => {
                    self.logins.end(&login, Ending::Replay, now).await.map_err(Fault::from)?;
                    self.meters.replays.inc();
                    return Err(refuse("replay of a used refresh token; its login has ended"));
                }
                Standing::Unclear => {
                    let cause = "the clock of this node is more than 60 s behind that of another node when that one took the step: synchronize both, and restart the other \
                                 if its clock was set back while it ran"
                        .to_owned();
                    return Err(Fault { transient: true, cause }.into());
                }
                Standing::Current | Standing::Repeat => login,
            };
            // Everything that can go wrong comes before the step, signing included: whoever gets no answer keeps a token that is
            // good. A token that was signed in vain goes nowhere.
            let (permission, scope) = self.still_allowed(client, &login, &request.target).await?;
            let target = Target { audience: &login.audience, permission, scope };
            let subject = Subject::User { id: login.user, auth_time: login.created_at };
            let mut issued = self.mint(client, subject, target, now).await?;
            if login.generation == token.generation {
                issued.refresh_token = Some(self.logins.next_token(&login));
                if !self.logins.step(&login).await.map_err(Fault::from)? {
                    continue;
                }
            } else {
                issued.refresh_token = Some(self.logins.current_token(&login));
            }
            return Ok(issued);
        }
        Err(Fault { transient: true, cause: "the login kept changing".to_owned() }.into())
    }

    /// Reports a client that presented a genuine refresh token of another client: the token has leaked. The login is not ended,
    /// since otherwise any client could end another's logins.
    pub(super) fn alarm_foreign_token(&self, client: &Client, login: &Login) {
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

    /// What client and user may have today of what the login was granted; less, if the request asks for less.
    async fn still_allowed<'a>(&self, client: &'a Client, login: &Login, asked: &TargetRequest) -> Result<(&'a Permission, Scope), Error> {
        match &asked.resource {
            Some(Ok(audience)) if *audience != login.audience => {
                let refusal = Refusal::new(ErrorCode::InvalidTarget, "The refresh token is for another resource.");
                return Err(Error::Explained { refusal, cause: mistake::other_resource(audience, std::iter::once(&login.audience)) });
            }
            Some(Err(text)) => {
                let refusal = Refusal::new(ErrorCode::InvalidTarget, "The resource is malformed.");
                return Err(Error::Explained { refusal, cause: mistake::in_resource(text.expose()) });
            }
            Some(Ok(_)) | None => {}
        }
        // RFC 6749 section 6: never more than was granted at the beginning.
        let wanted = match &asked.scope {
            Some(Ok(scope)) if *scope <= login.scope => scope,
            Some(scope) => {
                let refusal = Refusal::new(ErrorCode::InvalidScope, "The scope is malformed or holds more than the login was granted.");
                let cause = match scope {
                    Ok(scope) => mistake::excess_scope(scope, |token| login.scope.contains(token)),
                    Err(text) => mistake::in_scope(text.expose()),
                };
                return Err(Error::Explained { refusal, cause });
            }
            None => &login.scope,
        };
        let user = self.registry.find_enabled_user(login.user).await.map_err(Fault::from)?;
        let user = user.ok_or_else(|| refuse("the user is disabled or deleted"))?;
        let permission =
            client.permissions.get(&login.audience).ok_or_else(|| refuse("the client is not allowed at the resource any more"))?;
        let of_user = user.permissions.get(&login.audience).ok_or_else(|| refuse("the user is not allowed at the resource any more"))?;
        let still = login.scope.intersection(&permission.scope).intersection(of_user);
        if still.is_empty() {
            return Err(refuse("nothing of the scope is allowed any more"));
        }
        let scope = wanted.intersection(&still);
        if scope.is_empty() {
            return Err(Refusal::new(ErrorCode::InvalidScope, "Nothing of that scope is allowed any more.").into());
        }
        Ok((permission, scope))
    }
}
