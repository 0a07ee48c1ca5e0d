use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Cause, Commands, Error};

impl Commands {
    /// Copies an SQLite database into the new file `path`, and returns its absolute path.
    pub(crate) async fn backup(&self, path: &Path) -> Result<PathBuf, Error> {
        if !self.store.is_file() {
            return Err(Cause::BackupOfPostgres.into());
        }
        let failed = |source| Error::from(Cause::Backup { path: path.to_owned(), source });
        let target = std::path::absolute(path).map_err(failed)?;
        let folder = target.parent().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        // Fails early; `persist_noclobber` below decides.
        if target.symlink_metadata().is_ok() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        // A temporary file has mode 0600 from the start; the copy appears under its name complete or not at all.
        let copy = tempfile::Builder::new().prefix(".sealwright-backup-").tempfile_in(folder).map_err(failed)?;
        self.store.backup(copy.path()).await?;
        copy.as_file().sync_all().map_err(failed)?;
        copy.persist_noclobber(&target).map_err(|error| failed(error.error))?;
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(target)
    }
}
