//! The rule for files that contain secrets: which users may read, write and own them.
//!
//! | subject | rule |
//! |---|---|
//! | others | may neither read nor write the file |
//! | its group | may read it (`root:ssl-cert` 0640, a Kubernetes volume with `fsGroup`), but not write it |
//! | its owner | is this process's user or root; a TLS key may belong to anyone, such as the user of an ACME client |
//! | a symbolic link | is followed: its target obeys this rule, and the link belongs to this process's user or root |
//! | the folder | is not writable by everyone, unless it has the sticky bit, which keeps others from replacing files |
//! | the folder of a Unix socket | belongs to this process's user or root, and no one else may write to it: while the socket is not there, the sticky bit keeps no one from creating it |
//!
//! This program creates files with mode 0600 and folders with mode 0700. It refuses a file that breaks the rule and does not change it: its
//! content may have been read already, which the operator must consider. There is one exception: if the process owns the file, its group may
//! write it, and others have no access, the group's write permission is removed. Kubernetes gives every file of a volume with `fsGroup` that
//! mode at each mount. Systems other than Unix have no such modes; there the rule does nothing.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The kind of a file that contains secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
pub(crate) enum SecretFile {
    #[strum(to_string = "the sealing key")]
    SealingKey,
    #[strum(to_string = "the database file")]
    Database,
    #[strum(to_string = "the TLS key")]
    TlsKey,
    /// The file of a signing key that is imported, or of the key of a client.
    #[strum(to_string = "the private key")]
    PrivateKey,
    #[strum(to_string = "the configuration file")]
    Configuration,
    /// A file that a variable such as `SEALWRIGHT_SEALING_KEY_FILE` names, or an option such as `--secret-file`.
    #[strum(to_string = "the file of the secret")]
    Value,
}

/// Why a file that contains secrets is refused. Each text says how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(unix), expect(dead_code, reason = "other systems have no such modes"))]
pub(crate) enum Exposed {
    #[error("{kind} {} can be read or written by others (its mode is {mode:o}): chmod {} it, and consider who may have read it{}",
        path.display(), if mode & 0o040 == 0 { "600" } else { "600 (or 640, if its group is meant to read)" }, volume(*linked))]
    Mode { kind: SecretFile, path: PathBuf, mode: u32, linked: bool },
    #[error("{kind} {} belongs to the user {owner}, and this process runs as {user}: run it as that user, or give the file to {user} or to root by chown",
        path.display())]
    Owner { kind: SecretFile, path: PathBuf, owner: u32, user: u32 },
    #[error("{kind} {} is a symbolic link that belongs to the user {owner}, who can change its target: give the file itself, or create the link as {user} or root",
        path.display())]
    Link { kind: SecretFile, path: PathBuf, owner: u32, user: u32 },
    #[error("{kind} {} is in the folder {}, which everyone may write to (its mode is {mode:o}), so anyone can replace the file: chmod o-w the folder",
        path.display(), folder.display())]
    Folder { kind: SecretFile, path: PathBuf, folder: PathBuf, mode: u32 },
    #[error("others can replace the socket {}: the folder {} belongs to the user {owner}, and its mode is {mode:o}; give a folder that belongs to the user {user} or to root, and to which no one else may write (chmod go-w)",
        path.display(), folder.display())]
    SocketFolder { path: PathBuf, folder: PathBuf, owner: u32, mode: u32, user: u32 },
}

const fn volume(linked: bool) -> &'static str {
    if linked {
        "; for a Kubernetes volume set defaultMode: 0400, or 0440 with fsGroup"
    } else {
        "; Docker Compose mounts the file of a secret as it is on the host, so change it there, and for a secret of Docker Swarm set mode: 0400 and uid"
    }
}

#[cfg(unix)]
const BY_GROUP: u32 = 0o020;
#[cfg(unix)]
const BY_OTHERS_OR_WRITABLE_BY_GROUP: u32 = 0o007 | BY_GROUP;

/// Whether `owner` is the user of this process, who is `user`, or root.
#[cfg(unix)]
const fn is_ours(owner: u32, user: u32) -> bool {
    const ROOT: u32 = 0;
    owner == user || owner == ROOT
}

/// Refuses a file that others can read or write. For a missing file, checks only its folder.
#[cfg(unix)]
pub(crate) fn require_private(kind: SecretFile, path: &Path) -> Result<(), Exposed> {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    const STICKY: u32 = 0o1000;
    const BY_EVERYONE: u32 = 0o002;
    let user = rustix::process::geteuid().as_raw();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let link = fs::symlink_metadata(&absolute).ok();
    let linked = link.as_ref().is_some_and(fs::Metadata::is_symlink);
    let target = fs::canonicalize(&absolute).ok().filter(|_| linked);
    for folder in [Some(&absolute), target.as_ref()].into_iter().flatten().filter_map(|path| path.parent()) {
        let Ok(metadata) = fs::metadata(folder) else { continue };
        let mode = metadata.mode() & 0o7777;
        if mode & BY_EVERYONE != 0 && mode & STICKY == 0 {
            return Err(Exposed::Folder { kind, path: absolute.clone(), folder: folder.to_owned(), mode });
        }
    }
    if let Some(link) = link.filter(|link| linked && !is_ours(link.uid(), user)) {
        return Err(Exposed::Link { kind, path: absolute, owner: link.uid(), user });
    }
    // A missing or inaccessible file is reported when it is opened.
    let Ok(file) = fs::metadata(&absolute) else { return Ok(()) };
    if !file.is_file() {
        return Ok(());
    }
    let mut mode = file.mode() & 0o777;
    let own = matches!(kind, SecretFile::SealingKey | SecretFile::Database) && file.uid() == user;
    if own && mode & BY_OTHERS_OR_WRITABLE_BY_GROUP == BY_GROUP {
        let tightened = fs::Permissions::from_mode(mode & !BY_GROUP);
        if fs::set_permissions(&absolute, tightened).is_ok() {
            mode &= !BY_GROUP;
        }
    }
    require_mode_and_owner(kind, absolute, (mode, file.uid()), linked)
}

#[cfg(not(unix))]
pub(crate) fn require_private(_: SecretFile, _: &Path) -> Result<(), Exposed> {
    Ok(())
}

/// The same for a database and the files that SQLite creates beside it.
pub(crate) fn require_private_database(path: &Path) -> Result<(), Exposed> {
    for end in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        require_private(SecretFile::Database, Path::new(&name))?;
    }
    Ok(())
}

/// Refuses an open file that others can read or write, by its own metadata: at `path` there may be another file by now.
#[cfg(unix)]
pub(crate) fn require_private_open(kind: SecretFile, path: &Path, file: &fs::Metadata) -> Result<(), Exposed> {
    use std::os::unix::fs::MetadataExt;

    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    require_mode_and_owner(kind, absolute, (file.mode() & 0o777, file.uid()), false)
}

#[cfg(not(unix))]
pub(crate) fn require_private_open(_: SecretFile, _: &Path, _: &fs::Metadata) -> Result<(), Exposed> {
    Ok(())
}

#[cfg(unix)]
fn require_mode_and_owner(kind: SecretFile, path: PathBuf, (mode, owner): (u32, u32), linked: bool) -> Result<(), Exposed> {
    let user = rustix::process::geteuid().as_raw();
    if mode & BY_OTHERS_OR_WRITABLE_BY_GROUP != 0 {
        return Err(Exposed::Mode { kind, path, mode, linked });
    }
    if kind != SecretFile::TlsKey && !is_ours(owner, user) {
        return Err(Exposed::Owner { kind, path, owner, user });
    }
    Ok(())
}

/// Refuses a folder in which anyone but the user of this process and root could create a socket at `path`. A missing folder is reported when
/// the socket is bound.
#[cfg(unix)]
pub(crate) fn require_own_folder(path: &Path) -> Result<(), Exposed> {
    use std::{fs, os::unix::fs::MetadataExt};

    const BY_ANYONE_ELSE: u32 = BY_GROUP | 0o002;
    let user = rustix::process::geteuid().as_raw();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let Some(folder) = absolute.parent() else { return Ok(()) };
    let Ok(metadata) = fs::metadata(folder) else { return Ok(()) };
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if mode & BY_ANYONE_ELSE == 0 && is_ours(owner, user) {
        return Ok(());
    }
    Err(Exposed::SocketFolder { folder: folder.to_owned(), path: absolute, owner, mode, user })
}

/// Writes the new file `path`, which appears under its name complete or not at all, and returns its absolute path. `temporary` gives the prefix of its
/// name until then, and its mode: 0600 unless it says otherwise.
pub(crate) fn create(temporary: &tempfile::Builder<'_, '_>, path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let target = std::path::absolute(path)?;
    let folder = target.parent().ok_or(io::ErrorKind::NotFound)?;
    let opened = File::open(folder)?;
    let mut file = temporary.tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(&target).map_err(|error| error.error)?;
    // After an error, there is no file.
    opened.sync_all().inspect_err(|_| drop(fs::remove_file(&target)))?;
    Ok(target)
}

/// Creates a folder for secrets and its parents, accessible only to the user of this process. An existing folder is not changed.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}
