use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::Keys;
use crate::{
    clock::Timestamp,
    server::{
        commands::{Cause, Error},
        keys::Export,
    },
};

impl Keys<'_> {
    /// The public keys that are published at `now`, or those of them that `kids` names.
    pub(crate) async fn export(&self, kids: &[String], now: Timestamp) -> Result<Export, Error> {
        Ok(self.requests(now).await?.export(kids).await?)
    }

    /// Writes exported keys to the new file `path`, and returns its absolute path.
    pub(crate) fn write_export(path: &Path, content: &[u8]) -> Result<PathBuf, Error> {
        let failed = |source| Error::from(Cause::Export { path: path.to_owned(), source });
        let target = std::path::absolute(path).map_err(failed)?;
        let folder = target.parent().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        // It appears under its name complete or not at all.
        let mut file = new_file().prefix(".sealwright-export-").tempfile_in(folder).map_err(failed)?;
        file.write_all(content).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist_noclobber(&target).map_err(|error| failed(error.error))?;
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(target)
    }
}

/// Public keys are for everyone, as far as the umask allows: a temporary file is otherwise its owner's.
#[cfg(unix)]
fn new_file<'a>() -> tempfile::Builder<'a, 'a> {
    use std::os::unix::fs::PermissionsExt;

    let mut builder = tempfile::Builder::new();
    builder.permissions(fs::Permissions::from_mode(0o644));
    builder
}

#[cfg(not(unix))]
fn new_file<'a>() -> tempfile::Builder<'a, 'a> {
    tempfile::Builder::new()
}
