//! The file of the sealing keys: created once, replaced as a whole, with the owner and the mode that it has.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::SecretString;

use super::key_set::KeySet;
use crate::server::{
    custody::{self, SecretFile},
    keys::{Error, Policy},
};

/// How the names of temporary files begin.
const TEMPORARY: &str = ".sealing.key-";

/// A file with a set of sealing keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server::keys) struct KeyFile(PathBuf);

impl KeyFile {
    /// The file in the policy's folder.
    pub(in crate::server::keys) fn of(policy: &Policy) -> Self {
        let dir = std::path::absolute(&policy.dir).unwrap_or_else(|_| policy.dir.clone());
        Self(dir.join("sealing.key"))
    }

    pub(in crate::server::keys) fn at(path: &Path) -> Self {
        Self(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
    }

    /// The file beside this one that keeps earlier keys: backups that were made under one need it.
    pub(in crate::server::keys) fn of_retired(&self) -> Self {
        Self(self.0.with_extension("key.retired"))
    }

    pub(in crate::server::keys) fn path(&self) -> &Path {
        &self.0
    }

    pub(in crate::server::keys) fn error(&self, source: io::Error) -> Error {
        Error::File { place: self.0.clone(), source: Arc::new(source) }
    }

    /// Reads the file, if there is one. It must be private.
    pub(in crate::server::keys) fn read(&self) -> Result<Option<KeySet>, Error> {
        custody::require_private(SecretFile::SealingKey, &self.0)?;
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => SecretString::from(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.error(error)),
        };
        let malformed = |why: &str| Error::SealingKeyMalformed { place: self.0.display().to_string(), why: why.to_owned() };
        KeySet::parse(&text).map(Some).map_err(malformed)
    }

    /// Creates the file, atomically. Returns false if there is one already.
    pub(in crate::server::keys) fn create(&self, keys: &KeySet) -> Result<bool, Error> {
        let temporary = self.written(keys).map_err(|error| self.error(error))?;
        match temporary.persist_noclobber(&self.0) {
            Ok(_) => self.sync_folder().map(|()| true),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(self.error(error.error)),
        }
    }

    /// Refuses to overwrite a file.
    pub(in crate::server::keys) fn require_absent(&self) -> Result<(), Error> {
        if self.0.symlink_metadata().is_ok() { Err(self.error(io::ErrorKind::AlreadyExists.into())) } else { Ok(()) }
    }

    /// Whether the file is a link to one that others manage, such as a mounted secret.
    pub(in crate::server::keys) fn is_link(&self) -> bool {
        self.0.is_symlink()
    }

    /// Replaces the content, atomically. The file gets the owner, the group and the mode of `like`, so that
    /// the users who could read it still can.
    pub(in crate::server::keys) fn replace(&self, keys: &KeySet, like: &Self) -> Result<(), Error> {
        let replaced = || {
            let temporary = self.written(keys)?;
            keep_access(temporary.as_file(), &fs::metadata(&like.0)?)?;
            temporary.as_file().sync_all()?;
            temporary.persist(&self.0)?;
            Ok(())
        };
        // A file that is mounted by itself cannot be renamed over (EBUSY), and its file system may be read-only.
        replaced().map_err(|source| Error::NotReplaced { place: self.0.clone(), source: Arc::new(source) })?;
        self.sync_folder()
    }

    /// A temporary file with the keys. It has mode 0600 from the start.
    fn written(&self, keys: &KeySet) -> io::Result<tempfile::NamedTempFile> {
        let folder = self.0.parent().ok_or(io::ErrorKind::NotFound)?;
        let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
        file.write_all(keys.to_text().as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    }

    /// Removes what a process left that was killed while it wrote. Only one process at a time may write.
    pub(in crate::server::keys) fn remove_leftovers(&self) -> Result<(), Error> {
        let removed = || {
            for entry in fs::read_dir(self.0.parent().ok_or(io::ErrorKind::NotFound)?)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        removed().map_err(|error| self.error(error))
    }

    fn sync_folder(&self) -> Result<(), Error> {
        let synced = self.0.parent().map_or(Ok(()), |folder| fs::File::open(folder).and_then(|folder| folder.sync_all()));
        synced.map_err(|error| self.error(error))
    }
}

/// Gives a new file the owner, the group and the mode of another, without write access for the group. Only root can give a file away.
#[cfg(unix)]
fn keep_access(file: &fs::File, like: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};

    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (like.uid(), like.gid())
        && let Err(error) = fchown(file, Some(like.uid()), Some(like.gid()))
    {
        let owner = like.uid();
        return Err(io::Error::new(error.kind(), format!("it belongs to the user {owner}, who must run this command ({error})")));
    }
    file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o640))
}

#[cfg(not(unix))]
fn keep_access(_: &fs::File, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}
