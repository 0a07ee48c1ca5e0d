//! Introspection: RFC 7662.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{
    Error, Fault, TokenIssuer,
    access_token::{cause, in_time},
};
use crate::{
    clock::Timestamp,
    server::{
        keys::SKEW,
        model::Client,
        own_token::{Limit, OwnToken},
        store::TokenState,
    },
};

/// What a client learns about a token.
#[derive(Debug)]
pub(crate) enum Introspection {
    Active(ActiveToken),
    /// The token is invalid, or the client may not introspect it. The cause is for the log: the client does not learn it (section 2.2).
    Inactive(&'static str),
}

/// A valid access token.
#[derive(Debug)]
pub(crate) struct ActiveToken {
    /// Its claims as they were signed, except `status`: this answer is more recent than the status list.
    pub(crate) claims: BTreeMap<String, Box<RawValue>>,
    /// The subject, if it is a user.
    pub(crate) user: Option<ActiveUser>,
}

#[derive(Debug)]
pub(crate) struct ActiveUser {
    pub(crate) sub: String,
    pub(crate) username: String,
}

impl TokenIssuer {
    /// Describes an access token to a client that introspects the tokens of its resource. No other client learns whether it is valid,
    /// not even the one that it was issued to (section 4). `now` is by the wall clock.
    ///
    /// `token_type_hint` is ignored: the form of a token shows its type. A refresh token is inactive here, because no API may take one.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn introspect(&self, client: &Client, text: &str, now: Timestamp) -> Result<Introspection, Error> {
        let token = match self.read_own_token(text, Limit::Valid(now))? {
            Ok(token) => token,
            Err(not_own) => return Ok(Introspection::Inactive(cause(&not_own))),
        };
        if !client.introspects.contains(&token.audience) {
            return Ok(Introspection::Inactive("the client does not introspect tokens of its resource (client update --add-introspects)"));
        }
        if self.has_expired(&token, now)? {
            return Ok(Introspection::Inactive("it has expired"));
        }
        let state = in_time(self.find_token_state(client, &token)).await?;
        if let Some(why) = token.why_inactive(state.as_ref()) {
            return Ok(Introspection::Inactive(why));
        }
        let damaged =
            |error: serde_json::Error| Fault { transient: false, cause: format!("the claims of a token cannot be read: {error}") };
        let mut claims: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&token.payload).map_err(damaged)?;
        claims.remove("status");
        let user = state.and_then(|state| state.user).map(|user| ActiveUser { sub: token.subject, username: user.username });
        Ok(Introspection::Active(ActiveToken { claims, user }))
    }

    /// Whether a token that is valid by the wall clock, which its `exp` is from, has expired by the steady clock: when the wall clock was set back, no
    /// token becomes valid again. If it was set back by so much that it may have been corrected, it is not known which of the two is right.
    fn has_expired(&self, token: &OwnToken, now: Timestamp) -> Result<bool, Fault> {
        let steady = self.logins.now();
        let behind = steady.since(now);
        if token.expires_at > steady {
            Ok(false)
        } else if behind <= SKEW {
            Ok(true)
        } else {
            let cause = format!(
                "the clock of this machine was set back by {} s, and whether the token has expired is not known: if it is right now, restart this server",
                behind.as_secs()
            );
            Err(Fault { transient: true, cause })
        }
    }

    /// Reads from the database what decides whether a token is valid: always there, so that a change counts at once on every node. The clients that
    /// ask take turns.
    async fn find_token_state(&self, client: &Client, token: &OwnToken) -> Result<Option<TokenState>, Fault> {
        let _turn = self.turns.to_introspect(client).await?;
        let OwnToken { kid, client, subject, position, .. } = token;
        Ok(self.store.find_token_state(kid, client, subject, position.as_ref(), self.logins.now()).await?)
    }
}
