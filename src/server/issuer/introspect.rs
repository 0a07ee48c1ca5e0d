//! Introspection: RFC 7662.

use std::{collections::BTreeMap, time::Duration};

use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{
    Error, Fault, TokenIssuer,
    access_token::{cause, in_time},
};
use crate::server::{
    model::Client,
    own_token::{Limit, OwnToken},
    store::TokenState,
    workers::{FairTurns, QueueShare},
};

/// How long an introspection waits for its turn at the database.
const TURN_WAIT: Duration = Duration::from_secs(2);
/// How many wait at most.
const WAITING: usize = 1024;

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
    /// Introspections have at most half of the database's connections, so that tokens are issued and revoked whatever APIs ask.
    pub(crate) fn introspections(connections: u32) -> FairTurns {
        FairTurns::new(usize::try_from(connections / 2).unwrap_or(usize::MAX).max(1), WAITING)
    }

    /// Describes an access token to a client that introspects the tokens of its resource. No other client learns whether it is valid,
    /// not even the one that it was issued to (section 4).
    ///
    /// `token_type_hint` is ignored: the form of a token shows its type. A refresh token is inactive here, because no API may take one.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn introspect(&self, client: &Client, text: &str) -> Result<Introspection, Error> {
        let token = match self.read_own_token(text, Limit::Valid(self.logins.now()))? {
            Ok(token) => token,
            Err(not_own) => return Ok(Introspection::Inactive(cause(&not_own))),
        };
        if !client.introspects.contains(&token.audience) {
            return Ok(Introspection::Inactive("the client does not introspect tokens of its resource (client update --add-introspects)"));
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

    /// Reads from the database what decides whether a token is valid: always there, so that a change counts at once on every node. The clients that
    /// ask take turns.
    async fn find_token_state(&self, client: &Client, token: &OwnToken) -> Result<Option<TokenState>, Fault> {
        let share = QueueShare { client: client.id.to_string(), ..QueueShare::default() };
        let turn = timeout(TURN_WAIT, self.introspections.take(&share)).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(Fault { transient: true, cause: "too many introspections wait for the database".to_owned() });
        };
        let OwnToken { kid, client, subject, position, .. } = token;
        Ok(self.store.find_token_state(kid, client, subject, position.as_ref(), self.logins.now()).await?)
    }
}
