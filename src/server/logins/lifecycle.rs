//! Logins: how they begin, are refreshed, and end.

use std::time::Duration;

use super::{Policy, RefreshToken};
use crate::{
    clock::{SharedClock, Timestamp},
    protocol::{Audience, ClientId, Scope},
    server::{
        keys::MacKey,
        model::{Ending, Login, LoginId, LoginToken, PasswordProof, StatusIndex, TokensSince, UserId},
        store::{Error, SignedIn, SourceMark, Store, within},
        telemetry,
    },
};

/// Time limit for one database access. It is shorter than [`Login::REPEAT`], so that a client that retries after a 503 still gets the
/// successor of its refresh token.
const TIME_LIMIT: Duration = Duration::from_secs(8);

/// The logins of this issuer.
#[derive(Debug)]
pub(crate) struct Logins {
    policy: Policy,
    store: Store,
    key: MacKey,
    clock: SharedClock,
}

/// The properties of a login that begins.
#[derive(Debug)]
pub(crate) struct NewLogin<'a> {
    pub(crate) user: UserId,
    pub(crate) client: &'a ClientId,
    pub(crate) audience: &'a Audience,
    pub(crate) scope: &'a Scope,
    /// The rights by which it was decided.
    pub(crate) since: TokensSince,
    /// Where the user signs in from.
    pub(crate) source: SourceMark,
    /// The position of its tokens in a status list.
    pub(crate) status: Option<StatusIndex>,
    /// When its access token expires.
    pub(crate) tokens_end_at: Timestamp,
}

impl Logins {
    /// The name, in the database, of the MAC key for refresh tokens.
    pub(crate) const KEY: &str = "refresh_token";

    pub(crate) const fn new(policy: Policy, store: Store, key: MacKey, clock: SharedClock) -> Self {
        Self { policy, store, key, clock }
    }

    /// The steady time, by which the age and the expiry of logins are measured.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.steady()
    }

    /// Begins a login at `now`, by the wall clock. Returns `None` if the user or the client was disabled, the password was changed, or a
    /// right was withdrawn, after they were checked.
    pub(crate) async fn begin(&self, new: NewLogin<'_>, proof: PasswordProof, now: Timestamp) -> Result<Option<Login>, Error> {
        let begun = self.now();
        let login = Login {
            id: LoginId::generate(),
            user: new.user,
            client: new.client.clone(),
            audience: new.audience.clone(),
            scope: new.scope.clone(),
            generation: 1,
            created_at: now,
            stepped_at: begun,
            idle_ends_at: begun + self.policy.idle_lifetime.min(self.policy.lifetime),
            absolute_ends_at: begun + self.policy.lifetime,
            ended_at: None,
            ended_because: None,
            status: new.status,
        };
        let NewLogin { since, source, tokens_end_at, .. } = new;
        let signed_in = SignedIn { login: login.clone(), proof, since, source, tokens_end_at, limit: self.policy.per_user };
        let Some(displaced) = self.store.insert_login(signed_in).await? else { return Ok(None) };
        for id in displaced {
            log_end(&Login { id, ..login.clone() }, Ending::Displaced);
        }
        Ok(Some(login))
    }

    /// Parses and verifies a refresh token, in memory.
    pub(crate) fn read_token(&self, text: &str) -> Option<RefreshToken> {
        RefreshToken::read(text, &self.key)
    }

    /// Reads the login of a refresh token, and whether everything that was withdrawn has reached it.
    pub(crate) async fn find(&self, token: &RefreshToken) -> Result<Option<(Login, bool)>, Error> {
        within(TIME_LIMIT, self.store.find_login(&token.login)).await
    }

    /// The current refresh token of `login`.
    pub(crate) fn current_token(&self, login: &Login) -> String {
        RefreshToken { login: login.id.clone(), generation: login.generation }.to_text(&self.key)
    }

    /// The successor of the current refresh token of `login`.
    pub(crate) fn next_token(&self, login: &Login) -> String {
        RefreshToken { login: login.id.clone(), generation: login.generation + 1 }.to_text(&self.key)
    }

    /// Advances `login` to its next generation, with the access token `token`. Returns false if it has changed since it was read, has lost the
    /// position of the token, or a right was withdrawn; the caller then reads it again.
    pub(crate) async fn step(&self, login: &Login, token: LoginToken<'_>) -> Result<bool, Error> {
        within(TIME_LIMIT, self.store.step_login(login, token, self.clock.clone(), self.policy.idle_lifetime)).await
    }

    /// Whether `login` still has the position of `token`, which repeats its last one, and the rights by which that was decided.
    pub(crate) async fn repeat(&self, login: &Login, token: LoginToken<'_>) -> Result<bool, Error> {
        within(TIME_LIMIT, self.store.repeat_login(&login.id, token)).await
    }

    /// Ends a login. Only the request that actually ends it writes the log line.
    pub(crate) async fn end(&self, login: &Login, reason: Ending, now: Timestamp) -> Result<(), Error> {
        if self.store.end_login(login.id.clone(), reason, now).await? {
            log_end(login, reason);
        }
        Ok(())
    }
}

fn log_end(login: &Login, reason: Ending) {
    let (id, client, user) = (login.id.as_str(), login.client.as_str(), login.user.to_string());
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: telemetry::SECURITY,
                {
                    login.id = id,
                    client.id = client,
                    user.id = user,
                    reason = reason.as_str(),
                    event = "login.ended",
                },
                "a login ended"
            )
        };
    }
    match reason {
        Ending::Replay => line!(warn),
        _ => line!(info),
    }
}
