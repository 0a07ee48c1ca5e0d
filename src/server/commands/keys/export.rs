use std::path::{Path, PathBuf};

use super::Keys;
use crate::{
    clock::Timestamp,
    server::{
        commands::{Cause, Error},
        custody,
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
        custody::create(new_file().prefix(".sealwright-export-"), path, content).map_err(failed)
    }
}

/// Public keys are for everyone, as far as the umask allows: a temporary file is otherwise its owner's.
#[cfg(unix)]
fn new_file<'a>() -> tempfile::Builder<'a, 'a> {
    use std::{fs, os::unix::fs::PermissionsExt};

    let mut builder = tempfile::Builder::new();
    builder.permissions(fs::Permissions::from_mode(0o644));
    builder
}

#[cfg(not(unix))]
fn new_file<'a>() -> tempfile::Builder<'a, 'a> {
    tempfile::Builder::new()
}
