use serde::Serialize;

use crate::{
    clock::Timestamp,
    server::{
        commands::tokens::{FOLLOWED_WITHIN, RevokedToken},
        model::rfc3339,
    },
};

/// An access token that was revoked.
#[derive(Debug, Serialize)]
pub(crate) struct RevokedTokenView {
    pub(crate) client_id: String,
    pub(crate) jti: String,
    pub(crate) sub: String,
    /// None: it is a client's own token, or the user was deleted.
    pub(crate) username: Option<String>,
    /// The login that was ended, if it is a user's token.
    pub(crate) login: Option<String>,
    /// When it would have expired.
    pub(crate) expires_at: String,
    #[serde(flatten)]
    pub(crate) revoked: RevokedView,
}

/// The tokens of a client or a user that were revoked.
#[derive(Debug, Serialize)]
pub(crate) struct RevokedTokensView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    /// Whether there were tokens to revoke.
    pub(crate) tokens_revoked: bool,
    /// The logins of the user that were ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logins_ended: Option<u64>,
    /// The logins of users by the client, which go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logins_continued: Option<u64>,
    #[serde(flatten)]
    pub(crate) revoked: RevokedView,
}

/// When tokens were revoked.
#[derive(Debug, Serialize)]
pub(crate) struct RevokedView {
    pub(crate) revoked_at: String,
    /// Until when verifiers that read the status lists may accept them.
    pub(crate) verifiers_follow_by: String,
}

impl RevokedView {
    pub(crate) fn at(now: Timestamp) -> Self {
        Self { revoked_at: rfc3339(now), verifiers_follow_by: rfc3339(now + FOLLOWED_WITHIN) }
    }
}

impl RevokedTokenView {
    pub(crate) fn new(token: &RevokedToken, now: Timestamp) -> Self {
        Self {
            client_id: token.client.to_string(),
            jti: token.jti.clone(),
            sub: token.sub.clone(),
            username: token.username.as_ref().map(ToString::to_string),
            login: token.login.as_ref().map(ToString::to_string),
            expires_at: rfc3339(token.expires_at),
            revoked: RevokedView::at(now),
        }
    }
}
