//! Errors of the pages, with one text for the log and another for the browser.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use sealwright::client::{self, Party};
use tokio::task::JoinError;
use tower_sessions::{session, session_store};

use crate::page;

/// The text is for the log, and contains neither a token nor what a user typed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no user is signed in, or the login has ended")]
    LoginEnded,
    #[error("the user has no right here")]
    NoRight,
    #[error("{0}")]
    Client(client::Error),
    #[error("the session store: {0}")]
    Store(session::Error),
    #[error("the orders API answers {0}")]
    Orders(StatusCode),
    #[error("a task did not finish: {0}")]
    Task(#[from] JoinError),
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        match error {
            client::Error::LoginEnded => Self::LoginEnded,
            // No scope was requested by name, so client and user have no scope in common.
            client::Error::Refused { code, .. } if code == "invalid_scope" => Self::NoRight,
            error => Self::Client(error),
        }
    }
}

impl From<session::Error> for Failure {
    fn from(error: session::Error) -> Self {
        Self::Store(match error {
            // The text may quote the content of the session.
            session::Error::SerdeJson(_) => session::Error::Store(session_store::Error::Decode("a session of another version".to_owned())),
            error => error,
        })
    }
}

impl Failure {
    fn page(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Client(error) if error.party() == Party::Api => (
                StatusCode::BAD_GATEWAY,
                "The orders do not answer. What you ordered just now may have come through: look at the list before you order it again.",
            ),
            Self::Client(client::Error::Limited { .. }) => {
                (StatusCode::TOO_MANY_REQUESTS, "A wrong password was entered for this name too often. Wait a little, and try again.")
            }
            Self::Client(error) if matches!(error.party(), Party::Network | Party::Issuer) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The server that signs people in cannot do so right now. Nothing was changed; try again in a moment.",
            ),
            Self::Store(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "This shop cannot see right now who is signed in. Nothing is lost; try again in a moment.",
            ),
            Self::NoRight => (StatusCode::FORBIDDEN, page::NO_RIGHT),
            Self::Orders(_) => (StatusCode::BAD_GATEWAY, "The orders cannot be reached as they should be. Try again in a moment."),
            Self::LoginEnded | Self::Client(_) | Self::Task(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "Something is wrong with this shop. Its operator finds the cause in its log.")
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if matches!(self, Self::LoginEnded) {
            // Not 401: that has to name a scheme by which browsers would ask for the password themselves (RFC 9110 section 15.5.2).
            let form = page::sign_in("", Some("Your login has ended. Sign in again to go on."));
            return (StatusCode::FORBIDDEN, form).into_response();
        }
        eprintln!("{self}");
        let (status, sentence) = self.page();
        let mut response = (status, page::sorry(sentence)).into_response();
        if let Self::Client(error) = &self
            && let Some(wait) = error.retry_after()
        {
            // In whole seconds, and not before.
            response.headers_mut().insert(header::RETRY_AFTER, (wait.as_secs() + 1).into());
        }
        response
    }
}
