//! Why the cache of tokens is not used.

use std::{io, path::PathBuf};

/// Why the cache, or a file of it, is not used. Each text says how to fix it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("{} is a symbolic link, which someone else may have put there: remove it", .0.display())]
    Link(PathBuf),
    #[error("{} is not a regular file: remove it", .0.display())]
    NotAFile(PathBuf),
    #[error("{} belongs to the user {owner}, and this process runs as {user}: remove it, or set XDG_RUNTIME_DIR to a folder of your own",
        path.display())]
    Owner { path: PathBuf, owner: u32, user: u32 },
    #[error("{} can be read or written by others (its mode is {mode:o}): remove it, and consider who may have read a token in it", path.display())]
    Mode { path: PathBuf, mode: u32 },
    #[error(
        "{} is in the folder {}, which others may write to (its mode is {mode:o}), so they can replace it: chmod go-w that folder, or set \
         XDG_RUNTIME_DIR to a folder of your own",
        path.display(), parent.display()
    )]
    Parent { path: PathBuf, parent: PathBuf, mode: u32 },
    #[error(
        "{} is in the folder {}, whose owner, the user {owner}, can replace it: set XDG_RUNTIME_DIR to a folder of your own",
        path.display(), parent.display()
    )]
    ParentOwner { path: PathBuf, parent: PathBuf, owner: u32 },
    #[error("{} would be longer than 64 KiB: the issuer's answer is too long to be cached", .0.display())]
    TooLong(PathBuf),
    #[error("{}: {source}; make it usable, or set XDG_RUNTIME_DIR to a folder of your own", path.display())]
    Failed { path: PathBuf, source: io::Error },
}
