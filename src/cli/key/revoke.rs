use std::{fmt, time::Duration};

use clap::Args;
use serde::Serialize;

use crate::{
    cli::{
        Operator,
        confirmation::Confirmation,
        error::Error,
        output::{Output, rfc3339},
    },
    clock::{Clock, SystemClock},
    server::{
        commands::{Condemned, Successor},
        keys::READ_WITHIN,
    },
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Revoke {
    /// The kid of the key
    #[arg(allow_hyphen_values = true)]
    kid: String,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    output: Output,
}

impl Revoke {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let revoked = run(operator, &self.kid, self.confirmation).await?;
        self.output.print(&revoked, Revoked::to_string)
    }
}

/// How long the next key is published before the other is revoked: with [`READ_WITHIN`], two seconds before it signs.
const PUBLISHED_FIRST: Duration = Duration::from_millis(1300);

/// A key that was revoked, and the one that signs in its place.
#[derive(Debug, Serialize)]
pub(super) struct Revoked {
    kid: String,
    revoked_at: String,
    /// Until when verifiers that honour `max-age` may accept its tokens.
    verifiers_follow_by: String,
    /// The key that signs in its place.
    successor: Option<String>,
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kid, verifiers_follow_by, .. } = self;
        write!(
            f,
            "Revoked the key {kid}. If every server can read the database, verifiers that honour max-age refuse its tokens by \
             {verifiers_follow_by} at the latest."
        )?;
        self.successor.iter().try_for_each(|kid| write!(f, " The key {kid} signs now."))
    }
}

/// Revokes a key, and lets another sign in its place. Says what dies before it asks.
pub(super) async fn run(operator: &Operator, kid: &str, confirmation: Confirmation) -> Result<Revoked, Error> {
    let keys = operator.commands.keys();
    let planned = keys.condemned(kid, operator.act.now).await?;
    confirmation.require(async { Ok(question(&planned)) }).await?;
    let condemned = keys.replace(&operator.act_now(), kid).await?;
    let successor = condemned.successor.and_then(|successor| successor.kid);
    if successor.is_some() {
        wait(PUBLISHED_FIRST).await;
    }
    let act = operator.act_now();
    keys.revoke(&act, kid).await?;
    if let Some(successor) = &successor {
        // No node publishes the revoked key then, so that verifiers that fetch the next one do not get it again.
        wait(READ_WITHIN).await;
        keys.activate(&operator.act_now(), successor).await?;
    }
    Ok(Revoked { kid: kid.to_owned(), revoked_at: rfc3339(act.now), verifiers_follow_by: rfc3339(act.now + condemned.max_age), successor })
}

async fn wait(duration: Duration) {
    SystemClock.sleep_until("revoke", SystemClock.now() + duration).await;
}

fn question(condemned: &Condemned) -> String {
    let Condemned { kid, successor, max_age } = condemned;
    let replaced = match successor {
        Some(Successor { kid: Some(next), .. }) => format!("The key {next}, which is published already, signs from now on. "),
        Some(Successor { kid: None, algorithm, .. }) => format!("A new key for {algorithm} signs from now on. "),
        None => String::new(),
    };
    format!(
        "{replaced}The key {kid} leaves the JWKS at once. Every token that it signed is refused: by verifiers that honour max-age within {}, by \
         others when they fetch the JWKS again. Apps get new tokens with the credentials that they have; logins go on. Revoke it?",
        humantime::format_duration(Duration::from_secs(max_age.as_secs()))
    )
}
