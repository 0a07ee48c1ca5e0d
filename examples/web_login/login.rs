//! A user's login, in the session of their browser. The browser itself has only the session's id.

use std::{future::Future, net::IpAddr, sync::Arc};

use sealwright::client::{self, Secret, Tokens, Users};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::task::TaskTracker;
use tower_sessions::Session;

use crate::failure::Failure;

/// Its key in a session.
const KEY: &str = "login";

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Login {
    /// What the person typed.
    pub(crate) name: String,
    pub(crate) tokens: Tokens,
}

/// Begins, continues and ends logins.
#[derive(Clone)]
pub(crate) struct Logins(Arc<Shared>);

struct Shared {
    users: Users,
    /// Locks for replacing the login of a session. Sessions share them; each session always has the same one.
    turns: [Mutex<()>; 64],
    tasks: TaskTracker,
}

impl Logins {
    pub(crate) fn new(users: Users) -> Self {
        Self(Arc::new(Shared { users, turns: std::array::from_fn(|_| Mutex::default()), tasks: TaskTracker::new() }))
    }

    pub(crate) async fn is_signed_in(&self, session: &Session) -> Result<bool, Failure> {
        Ok(session.get::<Login>(KEY).await?.is_some())
    }

    /// Exchanges the password for tokens, which the session stores. The password is not stored. The task finishes even if the
    /// browser disconnects: otherwise a login could remain that no session knows and no one can end.
    pub(crate) async fn begin(&self, session: Session, from: IpAddr, name: String, password: String) -> Result<(), Failure> {
        let this = self.clone();
        let task = async move {
            let tokens = this.0.users.sign_in_from(from, &name, Secret::value(password)).await?;
            let login = Login { name, tokens };
            let stored = this.store(&session, &login).await;
            if stored.is_err() {
                // No session knows it.
                this.revoke(&login).await;
            }
            stored
        };
        self.0.tasks.spawn(task).await?
    }

    async fn store(&self, session: &Session, login: &Login) -> Result<(), Failure> {
        let before: Option<Login> = session.get(KEY).await?;
        // An attacker who knew the old id of the session does not know the new one (session fixation).
        session.cycle_id().await?;
        session.insert(KEY, login).await?;
        session.save().await?;
        if let Some(before) = before {
            self.revoke(&before).await;
        }
        Ok(())
    }

    /// Runs `work` for the user of a session. When it begins, the token is valid and the rights in `Login` are current; renewed tokens are in the
    /// session before it ends. The task finishes even if the browser disconnects: otherwise the
    /// session could keep a used refresh token, and the login would end.
    pub(crate) async fn continue_with<T, F>(
        &self,
        session: Session,
        work: impl FnOnce(client::Session, Login) -> F + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let this = self.clone();
        let task = async move {
            let done = this.renew_and(&session, work).await;
            if matches!(done, Err(Failure::LoginEnded)) {
                session.flush().await?;
            }
            done
        };
        self.0.tasks.spawn(task).await?
    }

    async fn renew_and<T, F>(&self, session: &Session, work: impl FnOnce(client::Session, Login) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let login: Login = session.get(KEY).await?.ok_or(Failure::LoginEnded)?;
        let user = self.0.users.resume(&login.tokens);
        user.token_source().token().await?;
        let login = self.keep(session, login, &user).await?;
        let user = self.0.users.resume(&login.tokens);
        let done = work(user.clone(), login.clone()).await;
        // Again, because the token is replaced when an API refuses it.
        self.keep(session, login, &user).await?;
        if session.is_modified() {
            // The session layer writes the session again with the answer. That must not sign in a user who has signed out meanwhile.
            session.load().await?;
            session.get::<Login>(KEY).await?.ok_or(Failure::LoginEnded)?;
        }
        done
    }

    /// Stores the current tokens of `user` in the session, if they differ from `login`. Returns the login in the session: if another
    /// request was first, the one that it stored, which is the only valid one.
    async fn keep(&self, session: &Session, login: Login, user: &client::Session) -> Result<Login, Failure> {
        let Some(tokens) = user.tokens().filter(|tokens| *tokens != login.tokens) else { return Ok(login) };
        // Within a process, only one request is here at a time. Two processes lose nothing either: within 30 s the issuer answers a
        // used refresh token with the same successor.
        let _turn = self.turn(session).await;
        // The current session in the store, not the one that this request loaded.
        session.load().await?;
        let held: Login = session.get(KEY).await?.ok_or(Failure::LoginEnded)?;
        if held.tokens != login.tokens {
            return Ok(held);
        }
        let login = Login { tokens, ..login };
        session.insert(KEY, &login).await?;
        session.save().await?;
        Ok(login)
    }

    async fn turn(&self, session: &Session) -> MutexGuard<'_, ()> {
        let turn = session.id().map_or(0, |id| id.0.rem_euclid(self.0.turns.len() as i128) as usize);
        self.0.turns[turn].lock().await
    }

    /// Ends the login at the issuer, if that answers, and here in any case.
    pub(crate) async fn end(&self, session: Session) -> Result<(), Failure> {
        let this = self.clone();
        let task = async move {
            if let Some(login) = session.get(KEY).await? {
                this.revoke(&login).await;
            }
            let _turn = this.turn(&session).await;
            Ok(session.flush().await?)
        };
        self.0.tasks.spawn(task).await?
    }

    async fn revoke(&self, login: &Login) {
        if let Err(error) = self.0.users.resume(&login.tokens).sign_out().await {
            // An unused login expires at the issuer after some days.
            eprintln!("a login continues at the issuer: {error}");
        }
    }

    /// Waits for the tasks whose browsers have disconnected.
    pub(crate) async fn finish(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}
