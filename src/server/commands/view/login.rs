use serde::Serialize;

use super::{Viewed, rfc3339_if_any};
use crate::{
    clock::Timestamp,
    server::{commands::logins::NamedLogin, model::rfc3339},
};

/// A login.
#[derive(Debug, Serialize)]
pub(crate) struct LoginView {
    pub(crate) id: String,
    pub(crate) sub: String,
    /// None: the user was deleted.
    pub(crate) username: Option<String>,
    pub(crate) client_id: String,
    pub(crate) resource: String,
    pub(crate) scope: String,
    pub(crate) created_at: String,
    /// When it was last refreshed, or else when it began.
    pub(crate) last_used_at: String,
    /// When it ends unless it is refreshed.
    pub(crate) idle_ends_at: String,
    /// When it ends, whether or not it is refreshed.
    pub(crate) absolute_ends_at: String,
    pub(crate) ended_at: Option<String>,
    pub(crate) end_reason: Option<String>,
    pub(crate) over: bool,
}

impl Viewed for NamedLogin {
    type View = LoginView;
    const NAME: &'static str = "id";

    fn view(&self, now: Timestamp) -> LoginView {
        let (login, username) = self;
        LoginView {
            id: login.id.to_string(),
            sub: login.user.to_string(),
            username: username.as_ref().map(ToString::to_string),
            client_id: login.client.to_string(),
            resource: login.audience.to_string(),
            scope: login.scope.to_string(),
            created_at: rfc3339(login.created_at),
            last_used_at: rfc3339(login.stepped_at),
            idle_ends_at: rfc3339(login.idle_ends_at),
            absolute_ends_at: rfc3339(login.absolute_ends_at),
            ended_at: rfc3339_if_any(login.ended_at),
            end_reason: login.ended_because.clone(),
            over: login.is_over(now),
        }
    }
}
