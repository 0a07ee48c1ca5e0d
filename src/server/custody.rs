//! The one rule for files that hold secrets: who may read them, who may write them, and whose they are.
//!
//! | what | rule |
//! |---|---|
//! | others | may neither read nor write the file |
//! | its group | may read it (`root:ssl-cert` 0640, a Kubernetes volume with `fsGroup`), and not write it |
//! | its owner | is this process's user or root; a TLS key may belong to anyone, such as the user of an ACME client |
//! | a symbolic link | is followed: the file it leads to obeys this rule, and the link belongs to this process's user or root |
//! | the folder | is not writable by everyone, unless it has the sticky bit, which keeps others from replacing files |
//!
//! Files that this program makes have mode 0600 and folders 0700. A file that breaks the rule is refused and not changed: its content may
//! have been read already, which only a person can judge. One thing is put right: a file of this process's own that its group may
//! write, and others may not reach. Kubernetes makes every file of a volume with `fsGroup` like that at each mount. Systems other than Unix have no such modes; there the rule does nothing.

use std::path::{Path, PathBuf};

/// A file that holds secrets, in words for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    SealingKey,
    Database,
    TlsKey,
    Configuration,
    /// A file that a variable such as `SEALWRIGHT_SEALING_KEY_FILE` names.
    Value,
}

impl Kept {
    const fn as_str(self) -> &'static str {
        match self {
            Self::SealingKey => "the sealing key",
            Self::Database => "the database file",
            Self::TlsKey => "the TLS key",
            Self::Configuration => "the configuration file",
            Self::Value => "the secret's file",
        }
    }
}

/// Why a file that holds secrets is not used. Each text says how to put it right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(unix), expect(dead_code, reason = "other systems have no such modes"))]
pub(crate) enum Exposed {
    #[error("{} {} can be read or written by others (its mode is {mode:o}): chmod {} it, and consider who may have read it{}",
        kept.as_str(), path.display(), if mode & 0o040 == 0 { "600" } else { "600 (or 640, if its group is meant to read)" }, volume(*linked))]
    Mode { kept: Kept, path: PathBuf, mode: u32, linked: bool },
    #[error("{} {} belongs to the user {owner}, and this process runs as {user}: run it as that user, or give the file to {user} or to root by chown",
        kept.as_str(), path.display())]
    Owner { kept: Kept, path: PathBuf, owner: u32, user: u32 },
    #[error("{} {} is a symbolic link that belongs to the user {owner}, who can make it lead elsewhere: name the file itself, or make the link as {user} or root",
        kept.as_str(), path.display())]
    Link { kept: Kept, path: PathBuf, owner: u32, user: u32 },
    #[error("{} {} lies in the folder {}, which everyone may write to (its mode is {mode:o}), so anyone can replace the file: chmod o-w the folder",
        kept.as_str(), path.display(), folder.display())]
    Folder { kept: Kept, path: PathBuf, folder: PathBuf, mode: u32 },
}

const fn volume(linked: bool) -> &'static str {
    if linked {
        "; for a Kubernetes volume set defaultMode: 0400, or 0440 with fsGroup"
    } else {
        "; for a Docker secret set its mode: 0400 and uid"
    }
}

/// Refuses a file that others can read or write. One that is not there is refused for its folder alone.
#[cfg(unix)]
pub(crate) fn require_private(kept: Kept, path: &Path) -> Result<(), Exposed> {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    const ROOT: u32 = 0;
    const STICKY: u32 = 0o1000;
    const BY_EVERYONE: u32 = 0o002;
    const BY_GROUP: u32 = 0o020;
    const BY_OTHERS_OR_WRITABLE_BY_GROUP: u32 = 0o007 | BY_GROUP;
    let user = rustix::process::geteuid().as_raw();
    let ours = |owner| owner == user || owner == ROOT;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let link = fs::symlink_metadata(&absolute).ok();
    let linked = link.as_ref().is_some_and(fs::Metadata::is_symlink);
    let target = fs::canonicalize(&absolute).ok().filter(|_| linked);
    for folder in [Some(&absolute), target.as_ref()].into_iter().flatten().filter_map(|path| path.parent()) {
        let Ok(metadata) = fs::metadata(folder) else { continue };
        let mode = metadata.mode() & 0o7777;
        if mode & BY_EVERYONE != 0 && mode & STICKY == 0 {
            return Err(Exposed::Folder { kept, path: absolute.clone(), folder: folder.to_owned(), mode });
        }
    }
    if let Some(link) = link.filter(|link| linked && !ours(link.uid())) {
        return Err(Exposed::Link { kept, path: absolute, owner: link.uid(), user });
    }
    // What is missing or cannot be reached is reported where it is opened.
    let Ok(file) = fs::metadata(&absolute) else { return Ok(()) };
    if !file.is_file() {
        return Ok(());
    }
    let mut mode = file.mode() & 0o777;
    let own = matches!(kept, Kept::SealingKey | Kept::Database) && file.uid() == user;
    if own && mode & BY_OTHERS_OR_WRITABLE_BY_GROUP == BY_GROUP {
        let tightened = fs::Permissions::from_mode(mode & !BY_GROUP);
        if fs::set_permissions(&absolute, tightened).is_ok() {
            mode &= !BY_GROUP;
        }
    }
    if mode & BY_OTHERS_OR_WRITABLE_BY_GROUP != 0 {
        return Err(Exposed::Mode { kept, path: absolute, mode, linked });
    }
    if kept != Kept::TlsKey && !ours(file.uid()) {
        return Err(Exposed::Owner { kept, path: absolute, owner: file.uid(), user });
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn require_private(_: Kept, _: &Path) -> Result<(), Exposed> {
    Ok(())
}

/// The same for a database and the files that SQLite keeps beside it.
pub(crate) fn require_private_database(path: &Path) -> Result<(), Exposed> {
    for end in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        require_private(Kept::Database, Path::new(&name))?;
    }
    Ok(())
}

/// Makes a folder for secrets, and those above it, for this process's user alone. One that is there stays as it is.
pub(crate) fn make_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}
