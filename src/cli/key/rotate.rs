use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::revoke::{self, Revoked};
use crate::{
    cli::{
        Operator,
        algorithm::algorithm,
        confirmation::Confirmation,
        error::Error,
        output::{Output, positive_duration, rfc3339, warn},
    },
    protocol::Algorithm,
    server::commands::Successor,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Rotate {
    /// The algorithm whose key is replaced; required if keys of several algorithms sign
    #[arg(long, value_name = "ALGORITHM", value_parser = algorithm())]
    alg: Option<Algorithm>,
    /// How long the next key is published before it signs, at least 2h [default: the setting key_publish_lead]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, conflicts_with = "now")]
    lead: Option<Duration>,
    /// Let the next key sign at once. Only with --compromised: verifiers that have cached the JWKS do not know it
    #[arg(long, requires = "compromised")]
    now: bool,
    /// Revoke the key that signs: it leaves the JWKS at once, and all of its tokens are refused
    #[arg(long, requires = "now")]
    compromised: bool,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    output: Output,
}

/// The next key.
#[derive(Debug, Serialize)]
pub(super) struct Next {
    kid: String,
    alg: String,
    activates_at: String,
    predecessor: String,
    predecessor_expires_at: String,
}

impl From<&Successor> for Next {
    fn from(successor: &Successor) -> Self {
        Self {
            kid: successor.kid.clone().unwrap_or_default(),
            alg: successor.algorithm.to_string(),
            activates_at: rfc3339(successor.activates_at),
            predecessor: successor.predecessor.clone(),
            predecessor_expires_at: rfc3339(successor.predecessor_expires_at),
        }
    }
}

impl Rotate {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let keys = operator.commands.keys();
        let now = operator.act.now;
        let algorithm = match self.alg {
            Some(algorithm) => algorithm,
            None => match keys.algorithms(now).await?[..] {
                [only] => only,
                [] => Algorithm::Rs256,
                ref several => {
                    return Err(Error::SeveralAlgorithms(several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
                }
            },
        };
        if self.compromised {
            let kid = keys.signing(algorithm, now).await?;
            let revoked = revoke::run(operator, &kid, self.confirmation).await?;
            return self.output.print(&revoked, Revoked::to_string);
        }
        let planned = keys.rotation(algorithm, self.lead, now).await?;
        if let Some(since) = planned.not_alive_since {
            let since = rfc3339(since);
            warn(&format!(
                "no server has been alive since {since} by the clock of this machine; if one is, this clock is ahead: set it first"
            ));
        }
        self.confirmation.require(async { Ok(format!("{} Continue?", sentences(&planned, "is published now, and"))) }).await?;
        let done = keys.rotate(&operator.act_now(), algorithm, self.lead).await?;
        self.output.print(&Next::from(&done), |_| sentences(&done, "is published, and"))
    }
}

pub(super) fn sentences(successor: &Successor, is_published: &str) -> String {
    let Successor { kid, algorithm, activates_at, predecessor, predecessor_expires_at, .. } = successor;
    let next = kid.as_ref().map(|kid| format!(", {kid},")).unwrap_or_default();
    format!(
        "The next key for {algorithm}{next} {is_published} signs from {} on. Until then the key {predecessor} signs; it is published until {}. \
         No token becomes invalid.",
        rfc3339(*activates_at),
        rfc3339(*predecessor_expires_at)
    )
}
