//! `sealwright key`: signing keys.

mod fetchers;
mod list;
mod plan;
mod time_line;

use clap::Subcommand;

use super::{Operator, error::Error};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List all signing keys and draw their lives, the newest first
    List(list::List),
    /// Show what will happen to the signing keys, and when
    Plan(plan::Plan),
}

impl Command {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        match self {
            Self::List(list) => list.run(operator).await,
            Self::Plan(plan) => plan.run(operator).await,
        }
    }
}
