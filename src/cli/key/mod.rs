//! `sealwright key`: signing keys.

mod list;

use clap::Subcommand;

use super::{Operator, error::Error};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List all signing keys, the newest first
    List(list::List),
}

impl Command {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        match self {
            Self::List(list) => list.run(operator).await,
        }
    }
}
