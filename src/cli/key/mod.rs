//! `sealwright key`: signing keys.

mod export;
mod fetchers;
mod import;
mod list;
mod plan;
mod reseal;
mod revoke;
mod rotate;
mod time_line;

use clap::Subcommand;

use super::{Operator, error::Error};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List all signing keys and draw their lives, the newest first
    List(list::List),
    /// Show what will happen to the signing keys, and when
    Plan(plan::Plan),
    /// Replace the key that signs before its time: the next one is published now and signs after the lead
    Rotate(rotate::Rotate),
    /// Withdraw a key at once: all tokens that it signed are refused
    Revoke(revoke::Revoke),
    /// Make a private key from elsewhere the next one of its algorithm: it is published now, and signs after the lead
    Import(import::Import),
    /// Print the public keys, for verifiers that cannot fetch them
    Export(export::Export),
    /// Replace the sealing key while servers run; run it again if it was interrupted
    Reseal(reseal::ResealKeys),
}

impl Command {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        match self {
            Self::List(list) => list.run(operator).await,
            Self::Plan(plan) => plan.run(operator).await,
            Self::Rotate(rotate) => rotate.run(operator).await,
            Self::Revoke(revoke) => revoke.run(operator).await,
            Self::Import(import) => import.run(operator).await,
            Self::Export(export) => export.run(operator).await,
            Self::Reseal(reseal) => reseal.run(operator).await,
        }
    }
}
