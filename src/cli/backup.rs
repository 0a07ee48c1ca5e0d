//! `sealwright backup`: copies an SQLite database into one file.

use std::path::PathBuf;

use clap::Args;

use super::{Operator, error::Error, output::say};

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The file to create; it must not exist yet
    file: PathBuf,
}

impl Backup {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let copy = operator.commands.backup(&self.file).await?;
        say(&format!(
            "copied the database to {}; store it apart from sealing.key. After restoring it, run `sealwright restored` once",
            copy.display()
        ))
    }
}
