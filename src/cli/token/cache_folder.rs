//! The folder of cached tokens, and the rule on its access: which users may read and write there.
//!
//! | subject | rule |
//! |---|---|
//! | its place | `sealwright-tokens` in `XDG_RUNTIME_DIR`, if that belongs to this process's user; else `sealwright-tokens-<uid>` in the temporary folder |
//! | its parent | belongs to this process's user or root, and only they can replace the folder: others may not write there, or it has the sticky bit |
//! | the folder | is not a symbolic link, belongs to this process's user, and no one else has access (0700) |
//! | a file in it | the same (0600) |
//!
//! A folder that breaks the rule is neither used nor changed. A file that does is not used, and is replaced. Files are opened
//! relative to the open folder, so a folder that is put in its place after the check is not used. Files with other names than this program's
//! are left alone.

use std::{
    env,
    fs::{self, DirBuilder, File, Metadata},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat},
    process::geteuid,
};
use zeroize::Zeroizing;

use super::unusable::Unusable;
use crate::{clock::Timestamp, entropy};

/// Maximum size of a file in bytes. An access token and a refresh token have at most 16 KiB each.
const MAX_LEN: u64 = 64 * 1024;
/// Files that were not written for this long are deleted, in seconds. An access token does not live longer than a day; a login that no script
/// renews for a week begins again.
const MAX_AGE: i64 = 7 * 24 * 3600;
/// Maximum number of files that are checked for their age.
const MAX_FILES: usize = 10_000;
/// The start of the name of a file that is being written.
const NEW: &str = ".new-";
/// The end of the name of a file that contains a token.
pub(super) const TOKEN: &str = ".json";
/// The end of the name of a file that is locked.
pub(super) const LOCK: &str = ".lock";
/// The lengths in base64url of a digest and of a unique id, which are parts of names.
const DIGEST_LEN: usize = 43;
const ID_LEN: usize = 22;

/// The folder, open.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    open: File,
}

impl Folder {
    /// Opens the folder of this process's user. Creates it if it does not exist.
    pub(super) fn open() -> Result<Self, Unusable> {
        Self::at(&place())
    }

    pub(super) fn at(path: &Path) -> Result<Self, Unusable> {
        let failed = |source: io::Error| Unusable::Failed { path: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            require_safe_parent(path, parent)?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        // Says more than the error with which `open` refuses it below.
        if is_link(path) {
            return Err(Unusable::Link(path.to_owned()));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = rustix::fs::open(path, flags, Mode::empty()).map(File::from).map_err(|errno| failed(errno.into()))?;
        require_ours(path, &open.metadata().map_err(failed)?)?;
        Ok(Self { path: path.to_owned(), open })
    }

    /// The content of a file. `None` if the file does not exist or is longer than any that this program writes.
    pub(super) fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Unusable> {
        let path = self.path(name);
        let failed = |source: io::Error| Unusable::Failed { path: path.clone(), source };
        let file = match self.open_file(name, OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) if is_link(&path) => return Err(Unusable::Link(path)),
            opened => opened.map_err(failed)?,
        };
        require_our_file(&path, &file.metadata().map_err(failed)?)?;
        // With room for all of it from the start: a vector that grows leaves copies behind.
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_LEN as usize + 1));
        file.take(MAX_LEN + 1).read_to_end(&mut content).map_err(failed)?;
        Ok(Some(content).filter(|content| content.len() as u64 <= MAX_LEN))
    }

    /// Replaces a file atomically: a reader finds the earlier content or the new one. A link in its place is replaced too, not followed.
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> Result<(), Unusable> {
        if content.len() as u64 > MAX_LEN {
            return Err(Unusable::TooLong(self.path(name)));
        }
        let new = format!("{NEW}{}", entropy::unique_id());
        let written = self.open_file(&new, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL).and_then(|mut file| file.write_all(content));
        let replaced = written.and_then(|()| Ok(renameat(&self.open, new.as_str(), &self.open, name)?));
        replaced.map_err(|source| {
            // The error matters more than a file that `delete_old` finds later.
            let _ = unlinkat(&self.open, new.as_str(), AtFlags::empty());
            Unusable::Failed { path: self.path(name), source }
        })
    }

    /// Opens a file that processes lock, and that stays empty. One that breaks the rule is replaced. It may be deleted before it is locked:
    /// see [`holds`](Self::holds).
    pub(super) fn lock_file(&self, name: &str) -> Result<File, Unusable> {
        match self.open_lock(name) {
            // Too many open files, for example, say nothing about this one.
            Err(Unusable::Failed { path, source }) if source.kind() != io::ErrorKind::PermissionDenied => {
                Err(Unusable::Failed { path, source })
            }
            Err(_) => {
                let _ = unlinkat(&self.open, name, AtFlags::empty());
                self.open_lock(name)
            }
            opened => opened,
        }
    }

    fn open_lock(&self, name: &str) -> Result<File, Unusable> {
        let path = self.path(name);
        let file = self.open_file(name, OFlags::RDWR | OFlags::CREATE).map_err(|source| {
            if is_link(&path) { Unusable::Link(path.clone()) } else { Unusable::Failed { path: path.clone(), source } }
        })?;
        let metadata = file.metadata().map_err(|source| Unusable::Failed { path: path.clone(), source })?;
        require_our_file(&path, &metadata)?;
        Ok(file)
    }

    /// Whether this is the file of that name, and not one that was deleted.
    pub(super) fn holds(&self, name: &str, file: &File) -> bool {
        let identity = |file: &File| file.metadata().ok().map(|found| (found.dev(), found.ino()));
        self.open_file(name, OFlags::RDONLY).is_ok_and(|current| identity(&current) == identity(file))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Deletes tokens that are no longer requested, their locks, and what processes that were killed left behind.
    pub(super) fn delete_old(&self, now: Timestamp) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for entry in entries.take(MAX_FILES).flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| is_name_of_ours(name)) else { continue };
            let is_old = entry.metadata().is_ok_and(|metadata| now.seconds().saturating_sub(metadata.mtime()) > MAX_AGE);
            if is_old {
                self.delete(name);
            }
        }
    }

    /// Deletes a file, unless it is a lock that a process holds. A lock is held meanwhile, so that no process takes it before it is deleted.
    fn delete(&self, name: &str) {
        let lock = if name.ends_with(LOCK) {
            let file = self.open_file(name, OFlags::RDWR).ok();
            let Some(file) = file.filter(|file| file.try_lock().is_ok() && self.holds(name, file)) else { return };
            Some(file)
        } else {
            None
        };
        // Another process may have deleted it.
        let _ = unlinkat(&self.open, name, AtFlags::empty());
        drop(lock);
    }

    /// Opens a file that is not a symbolic link. Does not wait for the other end of a pipe.
    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(openat(&self.open, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }
}

/// Where the folder is.
fn place() -> PathBuf {
    let user = geteuid().as_raw();
    // A relative path is invalid (XDG Base Directory Specification). One of another user is left over from before `sudo`.
    let is_valid = |path: &PathBuf| path.is_absolute() && fs::metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == user);
    match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(is_valid) {
        Some(runtime) => runtime.join("sealwright-tokens"),
        None => {
            let temporary = Some(env::temp_dir()).filter(|path| path.is_absolute());
            temporary.unwrap_or_else(|| PathBuf::from("/tmp")).join(format!("sealwright-tokens-{user}"))
        }
    }
}

/// Whether this program gives files such names.
fn is_name_of_ours(name: &str) -> bool {
    let is_base64url =
        |text: &str, len: usize| text.len() == len && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let digest = name.strip_suffix(TOKEN).or_else(|| name.strip_suffix(LOCK));
    digest.is_some_and(|digest| is_base64url(digest, DIGEST_LEN)) || name.strip_prefix(NEW).is_some_and(|id| is_base64url(id, ID_LEN))
}

/// Refuses a parent in which other users could replace the folder.
fn require_safe_parent(path: &Path, parent: &Path) -> Result<(), Unusable> {
    const ROOT: u32 = 0;
    const BY_OTHERS: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    let found = fs::metadata(parent).map_err(|source| Unusable::Failed { path: parent.to_owned(), source })?;
    let (path, parent, owner, mode) = (path.to_owned(), parent.to_owned(), found.uid(), found.mode() & 0o7777);
    if owner != ROOT && owner != geteuid().as_raw() {
        return Err(Unusable::ParentOwner { path, parent, owner });
    }
    if mode & BY_OTHERS != 0 && mode & STICKY == 0 {
        return Err(Unusable::Parent { path, parent, mode });
    }
    Ok(())
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// Refuses what belongs to another user, and what others can read or write.
fn require_ours(path: &Path, found: &Metadata) -> Result<(), Unusable> {
    const BY_OTHERS: u32 = 0o077;
    let (path, user, owner, mode) = (path.to_owned(), geteuid().as_raw(), found.uid(), found.mode() & 0o777);
    if owner != user {
        return Err(Unusable::Owner { path, owner, user });
    }
    if mode & BY_OTHERS != 0 {
        return Err(Unusable::Mode { path, mode });
    }
    Ok(())
}

fn require_our_file(path: &Path, found: &Metadata) -> Result<(), Unusable> {
    require_ours(path, found)?;
    if found.is_file() { Ok(()) } else { Err(Unusable::NotAFile(path.to_owned())) }
}
