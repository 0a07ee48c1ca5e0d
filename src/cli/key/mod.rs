//! `sealwright key`: signing keys.

mod list;
mod reseal;

use clap::Subcommand;

use super::{Operator, error::Error};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List all signing keys, the newest first
    List(list::List),
    /// Replace the sealing key while servers run; run it again if it was interrupted
    Reseal(reseal::ResealKeys),
}

impl Command {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        match self {
            Self::List(list) => list.run(operator).await,
            Self::Reseal(reseal) => reseal.run(operator).await,
        }
    }
}
