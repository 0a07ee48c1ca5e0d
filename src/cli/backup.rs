//! `sealwright backup`: copies an SQLite database into one file.

use std::{fs, io, path::PathBuf};

use clap::Args;

use super::{Database, error::Error, output::say};

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The file to create; it must not exist yet
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
        // Fails early; `persist_noclobber` below decides.
        if target.symlink_metadata().is_ok() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        // A temporary file has mode 0600 from the start; the copy appears under its name complete or not at all.
        let copy = tempfile::Builder::new().prefix(".sealwright-backup-").tempfile_in(folder).map_err(failed)?;
        database.store.backup(copy.path()).await?;
        copy.as_file().sync_all().map_err(failed)?;
        copy.persist_noclobber(&target).map_err(|error| failed(error.error))?;
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        say(&format!(
            "copied the database to {}; store it apart from sealing.key. After restoring it, run `sealwright restored` once",
            target.display()
        ))
    }
}
