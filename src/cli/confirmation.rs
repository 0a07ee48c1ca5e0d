//! Confirmation of commands that cannot be undone.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;

use super::error::Error;
use crate::server::caller_text;

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Confirmation {
    /// Do not ask. Required where there is no terminal to ask on
    #[arg(long)]
    yes: bool,
}

impl Confirmation {
    /// Whether the operator is asked.
    pub(super) const fn asks(self) -> bool {
        !self.yes
    }

    /// Asks the operator, unless `--yes` was given. Without a terminal, nothing is asked and nothing is done.
    pub(super) async fn require(self, question: impl Future<Output = Result<String, Error>>) -> Result<(), Error> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(Error::NotConfirmable);
        }
        let question = question.await?;
        let mut stderr = io::stderr();
        write!(stderr, "{} [y/N] ", caller_text::printable_lines(&question)).and_then(|()| stderr.flush()).map_err(Error::Output)?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map_err(Error::Input)?;
        if ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) { Ok(()) } else { Err(Error::NotConfirmed) }
    }
}
