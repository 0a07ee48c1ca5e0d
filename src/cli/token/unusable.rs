//! Why the cache of tokens is not used.

use std::{io, path::PathBuf};

/// Why the cache, or a file of it, is not used. Each text says how to fix it.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(unix), expect(dead_code, reason = "other systems have no such modes"))]
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
        "{} is in the folder {}, which everyone may write to (its mode is {mode:o}), so anyone can replace it: chmod o-w the folder, or set \
         XDG_RUNTIME_DIR to a folder of your own",
        path.display(), parent.display()
    )]
    Parent { path: PathBuf, parent: PathBuf, mode: u32 },
    #[error("{}: {source}", path.display())]
    Failed { path: PathBuf, source: io::Error },
    #[error("this system has no file modes that would keep tokens private")]
    #[cfg_attr(unix, expect(dead_code, reason = "this system has such modes"))]
    NoModes,
}
