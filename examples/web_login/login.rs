//! A person's login, in the session of their browser. The browser itself has the session's id, and nothing else.

use std::{future::Future, net::IpAddr, sync::Arc};

use sealwright::client::{self, Secret, Tokens, Users};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::task::TaskTracker;
use tower_sessions::Session;

use crate::failure::Failure;

/// Where it lies in a session.
const KEY: &str = "login";

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Login {
    /// What the person typed.
    pub(crate) name: String,
    pub(crate) tokens: Tokens,
}

/// Begins logins, goes on with them and ends them.
#[derive(Clone)]
pub(crate) struct Logins(Arc<Shared>);

struct Shared {
    users: Users,
    /// Whose turn it is to replace the login of a session: sessions share a few locks, each always has the same.
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

    /// Exchanges the password for tokens, which the session keeps. The password is forgotten. All of it runs to its end although the
    /// browser may go away: a login that no session knows could be ended by nobody.
    pub(crate) async fn begin(&self, session: Session, from: IpAddr, name: String, password: String) -> Result<(), Failure> {
        let this = self.clone();
        let task = async move {
            let tokens = this.0.users.sign_in_from(from, &name, Secret::value(password)).await?;
            let login = Login { name, tokens };
            let stored = this.store(&session, &login).await;
            if stored.is_err() {
                // Nobody could go on with it.
                this.revoke(&login).await;
            }
            stored
        };
        self.0.tasks.spawn(task).await?
    }

    async fn store(&self, session: &Session, login: &Login) -> Result<(), Failure> {
        let before: Option<Login> = session.get(KEY).await?;
        // Who knew the session's id before does not know it now (session fixation).
        session.cycle_id().await?;
        session.insert(KEY, login).await?;
        session.save().await?;
        if let Some(before) = before {
            self.revoke(&before).await;
        }
        Ok(())
    }

    /// Does something for the user of a session. The user's token is good and the rights in `Login` are those of now when `work`
    /// begins; what was renewed lies in the session before it ends. All of it runs to its end although the browser may go away: the
    /// session would be left with a refresh token that is used up, and the login would end.
    pub(crate) async fn go_on<T, F>(
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
        // Once more: an API that refused the token made the client get another.
        self.keep(session, login, &user).await?;
        if session.is_modified() {
            // The session's layer writes it once more when the answer goes out. Who signed out meanwhile is not to be signed in by that.
            session.load().await?;
            session.get::<Login>(KEY).await?.ok_or(Failure::LoginEnded)?;
        }
        done
    }

    /// Puts what `user` holds into the session instead of `login`, if that has changed. Gives what the session holds then: when another
    /// request was first, that is what it brought, and the only one to go on with.
    async fn keep(&self, session: &Session, login: Login, user: &client::Session) -> Result<Login, Failure> {
        let Some(tokens) = user.tokens().filter(|tokens| *tokens != login.tokens) else { return Ok(login) };
        // In one process no two requests pass here at once. Between two, nothing is lost either: within 30 s the issuer answers a
        // refresh token that is used up with the same successor.
        let _turn = self.turn(session).await;
        // The session as it is in the store now, and not as this request found it.
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

    /// Ends the login, at the issuer if that answers, and here in any case.
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
            // It ends there by itself when nobody has used it for some days.
            eprintln!("a login lives on at the issuer: {error}");
        }
    }

    /// Waits for what goes on although its browser went away.
    pub(crate) async fn finish(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}
