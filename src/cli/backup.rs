//! `sealwright backup`: an SQLite database as one file.

use std::{fs, io, path::PathBuf};

use clap::Args;

use super::{Database, error::Error, output::say};

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The file to make; it must not be there yet
    file: PathBuf,
}

impl Backup {
    pub(super) async fn run(self, database: &Database) -> Result<(), Error> {
        if !database.store.is_file() {
            return Err(Error::BackupOfPostgres);
        }
        let failed = |source| Error::Backup { path: self.file.clone(), source };
        let target = std::path::absolute(&self.file).map_err(failed)?;
        let folder = target.parent().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        // Before the work; the end decides.
        if target.symlink_metadata().is_ok() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        // A temporary file has mode 0600 from the start; the copy appears under its name whole or not at all.
        let copy = tempfile::Builder::new().prefix(".sealwright-backup-").tempfile_in(folder).map_err(failed)?;
        database.store.backup(copy.path()).await?;
        copy.as_file().sync_all().map_err(failed)?;
        copy.persist_noclobber(&target).map_err(|error| failed(error.error))?;
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        say(&format!(
            "copied the database into {}; keep it apart from sealing.key, and run `sealwright restored` once after putting it back",
            target.display()
        ))
    }
}
