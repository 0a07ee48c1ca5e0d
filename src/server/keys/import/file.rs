//! Reads the file of a private key: an ordinary file that others cannot read, and nothing that blocks or that is endless.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use zeroize::Zeroizing;

use super::Refused;
use crate::server::custody::{self, SecretFile};

/// More than any private key needs, with the certificates that may stand beside it.
const LONGEST: u64 = 64 * 1024;

pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let unreadable = |error: io::Error| Refused::Unreadable(Arc::new(error));
    // Says more than the error with which `open` refuses it below.
    if path.symlink_metadata().map_err(unreadable)?.is_symlink() {
        return Err(Refused::Link);
    }
    custody::require_private(SecretFile::PrivateKey, path)?;
    let file = open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Refused::NotAFile);
    }
    // The checks above are of the path, where the file may have been replaced since.
    custody::require_private_open(SecretFile::PrivateKey, path, &metadata)?;
    if metadata.len() > LONGEST {
        return Err(Refused::TooLong);
    }
    // With room for all of it from the start: a vector that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
    file.take(LONGEST + 1).read_to_end(&mut content).map_err(unreadable)?;
    match content.len() as u64 {
        0 => Err(Refused::Empty),
        length if length > LONGEST => Err(Refused::TooLong),
        _ => Ok(content),
    }
}

/// Opens a file that is not a symbolic link. Does not wait for the other end of a pipe.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;

    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}
