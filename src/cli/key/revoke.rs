use std::{fmt, time::Duration};

use clap::Args;
use serde::Serialize;

use crate::{
    cli::{
        Operator,
        confirmation::Confirmation,
        error::Error,
        output::{Output, note, rfc3339},
    },
    clock::{Clock, SystemClock},
    server::{
        commands::{Condemned, Successor},
        keys::withdrawal_before,
    },
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Revoke {
    /// The kid of the key
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

/// A key that was revoked, and the one that signs in its place.
#[derive(Debug, Serialize)]
pub(super) struct Revoked {
    kid: String,
    revoked_at: String,
    /// Until when verifiers that honour `max-age` may accept its tokens.
    verifiers_follow_by: String,
    successor: Option<Signing>,
}

#[derive(Debug, Serialize)]
struct Signing {
    kid: String,
    activates_at: String,
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kid, verifiers_follow_by, .. } = self;
        write!(f, "Revoked the key {kid}. Verifiers that honour max-age refuse its tokens by {verifiers_follow_by} at the latest.")?;
        self.successor.iter().try_for_each(|Signing { kid, .. }| write!(f, " The key {kid} signs now."))
    }
}

/// Revokes a key, after another signs in its place. Says what dies before it asks.
pub(super) async fn run(operator: &Operator, kid: &str, confirmation: Confirmation) -> Result<Revoked, Error> {
    let keys = operator.commands.keys();
    let planned = keys.condemned(kid, operator.act.now).await?;
    confirmation.require(async { Ok(question(&planned)) }).await?;
    let condemned = keys.replace(&operator.act_now(), kid).await?;
    if let Some(Successor { activates_at, .. }) = condemned.successor {
        // Every node has read the new key by then.
        note(&format!("another key signs in 2 s; if this is interrupted, run `sealwright key revoke {kid}`"));
        let clock = SystemClock;
        clock.sleep_until("revoke", withdrawal_before(activates_at)).await;
    }
    let act = operator.act_now();
    keys.revoke(&act, kid).await?;
    let signing = |successor: Successor| Some(Signing { kid: successor.kid?, activates_at: rfc3339(successor.activates_at) });
    Ok(Revoked {
        kid: kid.to_owned(),
        revoked_at: rfc3339(act.now),
        verifiers_follow_by: rfc3339(act.now + condemned.max_age),
        successor: condemned.successor.and_then(signing),
    })
}

fn question(condemned: &Condemned) -> String {
    let Condemned { kid, successor, max_age, not_alive_since } = condemned;
    let alone = not_alive_since.map(|since| {
        let since = rfc3339(since);
        format!("No server has been alive since {since} by the clock of this machine. If one is, this clock is ahead: set it first. ")
    });
    let alone = alone.unwrap_or_default();
    let replaced = match successor {
        Some(Successor { kid: Some(next), .. }) => format!("The key {next}, which is published already, signs from now on. "),
        Some(Successor { kid: None, algorithm, .. }) => format!("A new key for {algorithm} signs from now on. "),
        None => String::new(),
    };
    format!(
        "{alone}{replaced}The key {kid} leaves the JWKS at once. Every token that it signed is refused: by verifiers that honour max-age within {}, by \
         others when they fetch the JWKS again. Apps get new tokens with the credentials that they have; logins go on. Revoke it?",
        humantime::format_duration(Duration::from_secs(max_age.as_secs()))
    )
}
