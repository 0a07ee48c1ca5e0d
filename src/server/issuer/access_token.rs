//! The access tokens of this issuer that come back to it: which of them are still valid.

use std::{future::Future, time::Duration};

use tokio::time::timeout;

use super::{Fault, TokenIssuer};
use crate::server::{
    own_token::{Limit, NotOwn, OwnKeys, OwnToken},
    store::{self, TokenState},
};

/// Time limit for one database access.
const TIME_LIMIT: Duration = Duration::from_secs(8);

impl OwnToken {
    /// Why it is not valid any more, by the state of its client, its user, its login and its key. `None` if it is valid.
    pub(super) fn why_inactive(&self, state: Option<&TokenState>) -> Option<&'static str> {
        let Some(state) = state else { return Some("its client was deleted") };
        let user_missing = self.is_for_user() && state.user.is_none();
        let user_disabled = self.is_for_user() && state.user.as_ref().is_some_and(|user| user.disabled);
        let has_position = self.position.is_some();
        [
            (state.key_revoked, "its key was withdrawn"),
            (state.client_disabled, "its client is disabled"),
            // Deleting a client sets the positions of its tokens. Without one, the times decide, although clocks differ.
            (!has_position && self.issued_at < state.client_created_at, "it was issued to an earlier client of the same name"),
            (user_missing, "its user was deleted"),
            (user_disabled, "its user is disabled"),
            (has_position && !state.has_list, "it was issued before the database was restored"),
            (has_position && state.position_set, "it was revoked"),
            (has_position && self.is_for_user() && !state.login_open, "its login has ended, or lost a right"),
        ]
        .into_iter()
        .find_map(|(applies, why)| applies.then_some(why))
    }
}

impl TokenIssuer {
    /// Reads a token and checks its signature, its issuer and its expiry, in memory.
    pub(super) fn read_own_token(&self, text: &str, limit: Limit) -> Result<Result<OwnToken, NotOwn>, Fault> {
        let keys = OwnKeys::Ring(&self.keys, self.logins.now());
        match OwnToken::read(text, keys, Some(&self.issuer), limit) {
            Err(NotOwn::Unknowable(error)) => Err(error.into()),
            read => Ok(read),
        }
    }
}

/// Limits the time of a database access.
pub(super) async fn in_time<T, E: Into<Fault>>(access: impl Future<Output = Result<T, E>>) -> Result<T, Fault> {
    timeout(TIME_LIMIT, access).await.map_err(|_| store::Error::Silent(TIME_LIMIT))?.map_err(Into::into)
}

/// Why a text is not a valid token, for the log.
pub(super) const fn cause(not_own: &NotOwn) -> &'static str {
    match *not_own {
        NotOwn::Form(why) => why,
        NotOwn::UnknownKey { .. } | NotOwn::BadSignature => "it is not signed by a published key of this issuer",
        NotOwn::Incomplete => "it lacks a claim, or one is malformed",
        NotOwn::OtherIssuer { .. } => "its issuer is another one",
        NotOwn::Expired(_) => "it has expired",
        NotOwn::ForeignList(_) => "its status list is not one of this issuer",
        NotOwn::Unknowable(_) => "this node may not know its key yet",
    }
}
