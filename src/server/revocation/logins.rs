//! Logins: how they begin, take a step, and end.

use std::time::Duration;

use tokio::time::timeout;

use super::{Policy, RefreshToken};
use crate::{
    clock::{SharedClock, Timestamp},
    protocol::{Audience, ClientId, Scope},
    server::{
        keys::MacKey,
        model::{Ending, Login, LoginFilter, LoginId, PasswordProof, UserId},
        store::{Error, SignedIn, SourceMark, Store},
        telemetry,
    },
};

/// How long the database may take to answer about a login: an app that is told to come again comes while a lost answer is still
/// given again, which is [`Login::REPEAT`].
const PATIENCE: Duration = Duration::from_secs(8);

/// The logins of this issuer.
#[derive(Debug, Clone)]
pub(crate) struct Logins {
    policy: Policy,
    store: Store,
    key: MacKey,
    clock: SharedClock,
}

/// What a login is about.
#[derive(Debug)]
pub(crate) struct NewLogin<'a> {
    pub(crate) user: UserId,
    pub(crate) client: &'a ClientId,
    pub(crate) audience: &'a Audience,
    pub(crate) scope: &'a Scope,
    /// From where the user signs in.
    pub(crate) source: SourceMark,
}

impl Logins {
    /// The name of the key of refresh tokens in the database.
    pub(crate) const KEY: &str = "refresh_token";

    pub(crate) const fn new(policy: Policy, store: Store, key: MacKey, clock: SharedClock) -> Self {
        Self { policy, store, key, clock }
    }

    /// The steady time, by which the age and the end of logins are measured.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.steady()
    }

    /// Begins a login at `now`, by the wall clock. `None` if its user or client was disabled, or the password was changed, in the
    /// meantime.
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
        };
        let signed_in = SignedIn { login: login.clone(), proof, source: new.source, limit: self.policy.per_user };
        let Some(displaced) = self.store.insert_login(signed_in).await? else { return Ok(None) };
        for id in displaced {
            log_end(&Login { id, ..login.clone() }, Ending::Displaced);
        }
        Ok(Some(login))
    }

    /// The refresh token that `text` is, and its login as it stands now.
    pub(crate) async fn find(&self, text: &str) -> Result<Option<(RefreshToken, Login)>, Error> {
        let Some(token) = RefreshToken::read(text, &self.key) else { return Ok(None) };
        let finding = self.store.find_login(&token.login);
        let login = timeout(PATIENCE, finding).await.map_err(|_| Error::Silent(PATIENCE))??;
        Ok(login.map(|login| (token, login)))
    }

    /// The text of the current refresh token of `login`.
    pub(crate) fn current_token(&self, login: &Login) -> String {
        RefreshToken { login: login.id.clone(), generation: login.generation }.to_text(&self.key)
    }

    /// The text of the refresh token after the current one of `login`.
    pub(crate) fn next_token(&self, login: &Login) -> String {
        RefreshToken { login: login.id.clone(), generation: login.generation + 1 }.to_text(&self.key)
    }

    /// Takes `login` to its next generation. False: somebody else changed it first; look again.
    pub(crate) async fn step(&self, login: &Login) -> Result<bool, Error> {
        let stepping = self.store.step_login(login, self.clock.clone(), self.policy.idle_lifetime);
        timeout(PATIENCE, stepping).await.map_err(|_| Error::Silent(PATIENCE))?
    }

    /// Ends a login; whoever is first logs it.
    pub(crate) async fn end(&self, login: &Login, because: Ending, now: Timestamp) -> Result<(), Error> {
        if self.store.end_logins(LoginFilter::Id(login.id.clone()), because, now).await? == 1 {
            log_end(login, because);
        }
        Ok(())
    }
}

fn log_end(login: &Login, because: Ending) {
    let (id, client, user) = (login.id.as_str(), login.client.as_str(), login.user.to_string());
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: telemetry::SECURITY,
                {
                    login.id = id,
                    client.id = client,
                    user.id = user,
                    because = because.as_str(),
                    event = "login.ended",
                },
                "a login ended"
            )
        };
    }
    match because {
        Ending::Replay => line!(warn),
        _ => line!(info),
    }
}
